import json
import os
from pathlib import Path

import numpy as np
import pytest

from deeppsma.core.errors import OutputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import rotation_matrix
from deeppsma.core.volume import Volume
from deeppsma.io import result_folder as masks
from deeppsma.io.image_files import ImageFile, write_image
from deeppsma.io.result_folder import mask_path, output_folder, write_result

OBLIQUE = Geometry(
    (4, 5, 6), (3.27, 2.865, 2.865), (-273.4, -512.123456789, 1e3 / 3), tuple(rotation_matrix([5, 9, -3]).ravel())
)


def result():
    rng = np.random.default_rng(0)
    return {tracer: Volume((rng.random(OBLIQUE.shape_zyx) < 0.2).astype(np.uint8), OBLIQUE) for tracer in Tracer}


def test_masks_land_on_the_exact_grid(tmp_path):
    with output_folder(tmp_path) as staging:
        write_result(staging, tmp_path, result(), {"a": 1}, b"png")
    for tracer in Tracer:
        again = ImageFile(mask_path(tmp_path, tracer)).read()
        assert again.voxels.dtype == np.uint8
        assert np.array_equal(again.voxels, result()[tracer].voxels)
        assert again.geometry.spacing_zyx == OBLIQUE.spacing_zyx
        assert again.geometry.origin_xyz == OBLIQUE.origin_xyz
        assert again.geometry.direction == pytest.approx(OBLIQUE.direction, abs=1e-15)
        assert b"CompressedData = True" in mask_path(tmp_path, tracer).read_bytes()[:600]
    assert json.loads((tmp_path / "run_report.json").read_text()) == {"a": 1}
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    expected = {f"images/{t}-pet-ttb/{t}-pet-ttb.mha" for t in Tracer} | {"run_report.json", "overview.png"}
    assert left == expected


def test_a_failure_on_the_second_mask_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def fail_second(volume, path, compress=True):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        write_image(volume, path, compress)

    monkeypatch.setattr(masks, "write_image", fail_second)
    with pytest.raises(OutputError, match="No space left"), output_folder(tmp_path) as staging:
        write_result(staging, tmp_path, result(), {})
    assert list(tmp_path.rglob("*")) == []


def test_a_failure_on_the_last_move_leaves_nothing(tmp_path, monkeypatch):
    real, moved = os.replace, []

    def fail_third(source, target):
        moved.append(target)
        if len(moved) == 3:
            raise OSError(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr(masks.os, "replace", fail_third)
    with pytest.raises(OutputError, match="could not be written"), output_folder(tmp_path) as staging:
        write_result(staging, tmp_path, result(), {})
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("error", [SystemExit(143), KeyboardInterrupt()])
def test_a_signal_between_the_two_masks_leaves_nothing(tmp_path, monkeypatch, error):
    real, moved = os.replace, []

    def end_second(source, target):
        moved.append(target)
        if len(moved) == 2:
            raise error
        real(source, target)

    monkeypatch.setattr(masks.os, "replace", end_second)
    with pytest.raises(type(error)), output_folder(tmp_path) as staging:
        write_result(staging, tmp_path, result(), {})
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_an_image_of_another_name_in_a_masks_place_is_refused(tmp_path):
    place = mask_path(tmp_path, Tracer.FDG).parent
    place.mkdir(parents=True)
    (place / "old.mha").write_text("of another program")
    with pytest.raises(OutputError, match=r"holds old\.mha"), output_folder(tmp_path):
        pass
    assert (place / "old.mha").exists()
    assert not list(tmp_path.glob(f"{masks.STAGING_PREFIX}*"))


@pytest.mark.parametrize("damage", ["value", "grid"])
def test_a_mask_that_reads_back_otherwise_is_refused(tmp_path, monkeypatch, damage):
    def write_wrong(volume, path, compress=True):
        voxels, grid = volume.voxels.copy(), volume.geometry
        if damage == "value":
            voxels[0, 0, 0] ^= 1
        else:
            grid = Geometry(grid.shape_zyx, grid.spacing_zyx)
        write_image(Volume(voxels, grid), path, compress)

    monkeypatch.setattr(masks, "write_image", write_wrong)
    with pytest.raises(OutputError, match="read"), output_folder(tmp_path) as staging:
        write_result(staging, tmp_path, result(), {})
    assert list(tmp_path.rglob("*")) == []


def test_an_error_inside_the_block_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), output_folder(tmp_path / "out") as staging:
        (staging / "half").write_text("half")
        raise KeyError
    assert not (tmp_path / "out").exists()  # this run made it


@pytest.mark.parametrize("name", ["run_report.json", "overview.png"])
def test_files_of_those_names_that_are_not_ours_are_not_touched(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match=name), output_folder(tmp_path):
        pass
    assert (tmp_path / name).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_earlier_result_of_ours_goes(tmp_path):
    (tmp_path / "run_report.json").write_text('{"versions": {"deeppsma": "0.1.0"}}')
    (tmp_path / "overview.png").write_text("old")
    with output_folder(tmp_path):
        assert not (tmp_path / "overview.png").exists()
        assert not (tmp_path / "run_report.json").exists()


def test_an_output_that_is_partly_in_the_way_leaves_no_staging_folder(tmp_path):
    (tmp_path / "images").write_text("a file, where a folder must be")
    with pytest.raises(OutputError, match="cannot be written to"), output_folder(tmp_path) as staging:
        write_result(staging, tmp_path, result(), {})
    assert [p.name for p in tmp_path.iterdir()] == ["images"]


def test_two_runs_into_one_folder_do_not_clear_each_others_work(tmp_path):
    with output_folder(tmp_path) as first, output_folder(tmp_path) as second:
        assert first != second
        write_result(second, tmp_path, result(), {"versions": {"deeppsma": "x"}})
        write_result(first, tmp_path, result(), {"versions": {"deeppsma": "x"}})
    assert mask_path(tmp_path, Tracer.FDG).exists()


def test_an_output_folder_that_is_not_utf8_is_refused(tmp_path):
    out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/l\xfct"))
    with pytest.raises(OutputError, match="not UTF-8"), output_folder(out):
        pass
    assert not out.exists()


def test_other_peoples_files_stay(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/notes.txt").write_text("mine")
    with output_folder(tmp_path) as staging:
        write_result(staging, tmp_path, result(), {"versions": {"deeppsma": "x"}})
    with output_folder(tmp_path):
        pass
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["notes.txt"]
