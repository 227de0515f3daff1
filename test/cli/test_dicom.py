"""``deeppsma dicom inspect``, and the options of a case that is DICOM."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from builders.dicom_files import edited, write_ct, write_pet

from deeppsma.cli.commands import main
from deeppsma.core.geometry import Geometry
from deeppsma.core.volume import Volume
from deeppsma.io.image_files import write_image


def test_inspect_tells_each_series_and_one_that_cannot_be_used_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_pet(tmp_path)
    write_ct(tmp_path)
    write_pet(tmp_path, edited(CorrectedImage=["DECY"]), series="9")
    assert main(["dicom", "inspect", str(tmp_path), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert list(content) == ["series"]
    keys = ["series_instance_uid", "modality", "role", "tracer", "suv", "refused"]
    assert all(list(row) == keys for row in content["series"])
    pet, _, refused = content["series"]
    assert (pet["role"], pet["tracer"], pet["refused"]) == ("fdg-pet", "fdg", None)
    figures = ["factor", "min", "median", "max", "derivation", "dose_share", "liver", "liver_unchecked"]
    assert list(pet["suv"]) == figures
    assert (pet["suv"]["liver"], pet["suv"]["liver_unchecked"]) == (None, "there is no organ map")
    assert "lists no ATTN" in refused["refused"]
    assert main(["dicom", "inspect", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "SUV factor" in said
    assert "liver not checked, because there is no organ map" in said


def test_inspect_takes_an_organ_map(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    grid = Geometry((4, 8, 8), (4.0, 4.0, 4.0), (-16.0, -16.0, 100.0))
    write_image(Volume(np.ones(grid.shape_zyx, dtype=np.uint8), grid), tmp_path / "organs.nii.gz")
    folder = write_pet(tmp_path / "in")
    assert main(["dicom", "inspect", str(folder), "--organs", f"fdg={tmp_path / 'organs.nii.gz'}"]) == 0
    assert "liver not checked, because the organ map shows no liver in the PET" in capsys.readouterr().out
    assert main(["dicom", "inspect", str(folder), "--organs", "liver=x.nii"]) == 5
    assert "give psma=FILE or fdg=FILE" in capsys.readouterr().err


def test_what_could_not_be_read_is_said_beside_the_json(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (write_pet(tmp_path) / "x.dcm").write_bytes(bytes(128) + b"DICM")
    assert main(["dicom", "inspect", str(tmp_path), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["series"]
    assert "not readable: x.dcm" in captured.err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--organs", "liver=x.nii"], "give psma=FILE or fdg=FILE"),
        (["--tracer", "1.2"], "SERIES=psma or SERIES=fdg"),
        (["--site", "nowhere.toml"], "not readable as TOML"),
    ],
)
def test_options_that_make_no_sense_are_one_line(
    options: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["segment", str(write_pet(tmp_path / "in")), str(tmp_path / "out"), *options]) == 5
    assert expected in capsys.readouterr().err.splitlines()[-1]
