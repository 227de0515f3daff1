import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from deeppsma.core.errors import InputError, OutputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import rotation_matrix
from deeppsma.core.volume import Volume
from deeppsma.io import publishing
from deeppsma.io import result_folder as masks
from deeppsma.io.image_files import ImageFile, write_image
from deeppsma.io.result_folder import REPORT_NAME, finished_mask, mask_path, output_folder, write_result

ROOT = Path(__file__).resolve().parents[2]
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

    def fail_second(source, target):
        if Path(source).name != REPORT_NAME + ".partial":
            moved.append(target)
        if len(moved) == 2:
            raise OSError(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr(os, "replace", fail_second)
    with pytest.raises(OutputError, match="could not be written"), output_folder(tmp_path) as staging:
        write_result(staging, tmp_path, result(), {})
    assert len(moved) == 2
    assert list(tmp_path.rglob("*")) == []


def test_an_image_of_another_name_in_a_masks_place_is_refused(tmp_path):
    place = mask_path(tmp_path, Tracer.FDG).parent
    place.mkdir(parents=True)
    (place / "old.mha").write_text("of another program")
    with pytest.raises(OutputError, match=r"holds old\.mha"), output_folder(tmp_path):
        pass
    assert (place / "old.mha").exists()
    assert not list(tmp_path.glob(f"{publishing.STAGING_PREFIX}*"))


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
    with pytest.raises(OutputError, match="is a file, where a folder"), output_folder(tmp_path):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["images"]


def test_a_second_run_into_one_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "LOCK_WAIT_S", 0.2)
    with output_folder(tmp_path) as staging:
        with pytest.raises(OutputError, match="another run is writing there"), output_folder(tmp_path):
            pass
        assert list(tmp_path.iterdir()) == [staging]
        write_result(staging, tmp_path, result(), {"versions": {"deeppsma": "x"}})
    assert mask_path(tmp_path, Tracer.FDG).exists()


def test_a_second_run_waits_for_a_short_one(tmp_path):
    holding = threading.Event()

    def first() -> None:
        with output_folder(tmp_path):
            holding.set()
            time.sleep(0.5)

    other = threading.Thread(target=first)
    other.start()
    holding.wait()
    with output_folder(tmp_path) as staging:  # made anew if the first one removed it
        assert staging.exists()
    other.join()


@pytest.mark.parametrize("place", ["images", "images/fdg-pet-ttb"])
def test_a_link_inside_the_output_folder_is_refused(tmp_path, place):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "out" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="is a link"), output_folder(tmp_path / "out"):
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_mask_of_that_name_that_is_not_ours_is_not_touched(tmp_path):
    mask_path(tmp_path, Tracer.FDG).parent.mkdir(parents=True)
    mask_path(tmp_path, Tracer.FDG).write_text("of another program")
    with pytest.raises(OutputError, match="which no run of deeppsma wrote"), output_folder(tmp_path):
        pass
    assert mask_path(tmp_path, Tracer.FDG).read_text() == "of another program"


def test_a_disk_that_is_full_for_a_small_mask_is_an_output_error(tmp_path, monkeypatch):
    def cut(volume, path, compress=True):
        write_image(volume, path, compress)
        path.write_bytes(path.read_bytes()[:-20])

    monkeypatch.setattr(masks, "write_image", cut)
    with pytest.raises(OutputError, match="does not read back") as caught, output_folder(tmp_path) as staging:
        write_result(staging, tmp_path, result(), {})
    assert caught.value.exit_code == 3
    assert list(tmp_path.rglob("*")) == []


def test_short_memory_is_not_blamed_on_the_disk(tmp_path, monkeypatch):
    def no_memory(volume, path, compress=True):
        raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr(masks, "write_image", no_memory)
    with pytest.raises(MemoryError), output_folder(tmp_path) as staging:
        write_result(staging, tmp_path, result(), {})


def test_a_folder_that_cannot_be_locked_is_said(tmp_path, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(publishing.fcntl, "flock", no_locks)
    with output_folder(tmp_path) as staging:
        write_result(staging, tmp_path, result(), {"fallbacks": ["one"]})
    said = json.loads((tmp_path / REPORT_NAME).read_text())["fallbacks"]
    assert said[0] == "one"
    assert "cannot be locked (Function not implemented)" in said[1]


RUN = """
import os, signal, sys
from pathlib import Path
import numpy as np
from deeppsma.core.geometry import Geometry
from deeppsma.core.interruption import end_in_one_line
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.result_folder import output_folder, write_result
end_in_one_line()
out, number, move = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
real, moved = os.replace, []
def replace(source, target):
    real(source, target)
    moved.extend([target] if not str(source).endswith(".partial") else [])
    if len(moved) == move:
        os.kill(os.getpid(), number)
with output_folder(out) as staging:
    masks = {t: Volume(np.full((4, 4, 4), move % 2, np.uint8), Geometry((4, 4, 4), (2, 2, 2))) for t in Tracer}
    os.replace = replace
    write_result(staging, out, masks, {"versions": {"deeppsma": "x"}}, b"png")
"""


def run_and_hit(out, number, move):
    return subprocess.run(
        [sys.executable, "-c", RUN, str(out), str(int(number)), str(move)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_a_run_killed_between_its_moves_left_is_recognised_and_cleared(tmp_path):
    assert run_and_hit(tmp_path, signal.SIGKILL, 1).returncode == -signal.SIGKILL
    assert mask_path(tmp_path, Tracer.PSMA).exists()
    assert not (tmp_path / REPORT_NAME).exists()
    with pytest.raises(InputError, match="left by a run that did not end"):
        finished_mask(tmp_path, Tracer.PSMA)
    with output_folder(tmp_path) as staging:
        assert list(tmp_path.iterdir()) == [staging]
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_killed_after_its_last_move_left_counts(tmp_path):
    assert run_and_hit(tmp_path, signal.SIGKILL, 3).returncode == -signal.SIGKILL
    assert finished_mask(tmp_path, Tracer.PSMA).exists()
    with output_folder(tmp_path) as staging:
        assert list(tmp_path.iterdir()) == [staging]


def test_a_run_that_is_told_to_end_between_its_moves_completes_them_and_says_so(tmp_path):
    done = run_and_hit(tmp_path, signal.SIGTERM, 1)
    assert done.returncode == 143
    assert done.stderr.splitlines() == [
        f"deeppsma: error: terminated from outside (a time limit?); the result had been written before, to {tmp_path}"
    ]
    assert json.loads((tmp_path / REPORT_NAME).read_text())["versions"]
    assert all(mask_path(tmp_path, tracer).exists() for tracer in Tracer)
    assert not list(tmp_path.glob(".deeppsma-partial-*"))


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
