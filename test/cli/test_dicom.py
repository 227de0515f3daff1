"""``deeppsma dicom inspect``, and the options of a case that is DICOM."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders.dicom_files import edited, write_ct, write_pet

from deeppsma.cli.commands import main


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
    assert list(pet["suv"]) == ["factor", "min", "median", "max", "derivation"]
    assert "lists no ATTN" in refused["refused"]
    assert main(["dicom", "inspect", str(tmp_path)]) == 0
    assert "SUV factor" in capsys.readouterr().out


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
