"""TotalSegmentator as another process, against a stand-in that takes the same options and writes the same file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from deeppsma.core.errors import InputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.volume import Volume
from deeppsma.io import organ_segmenter
from deeppsma.io.organ_segmenter import OrganSegmenter

CT = Volume(
    np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) - 1000, Geometry((4, 5, 6), (3.0, 2.0, 2.0), (1.0, -2.0, 3.0))
)
STAND_IN = """#!{python}
import json, os, sys
import SimpleITK as sitk
options = sys.argv[1:]
assert options[-1] in ("--quiet", "--fast") and "--ml" in options, options
settings = json.load(open(os.path.join(os.environ["TOTALSEG_HOME_DIR"], "config.json")))
assert settings["send_usage_stats"] is False
assert any(n.startswith("Dataset297_") for n in os.listdir(os.environ["TOTALSEG_WEIGHTS_PATH"]))
assert os.environ["https_proxy"].startswith("http://127.0.0.1")
ct = sitk.ReadImage(options[options.index("-i") + 1])
labels = sitk.Cast(ct > -950, sitk.sitkUInt8) * 5
{then}
sitk.WriteImage(labels, options[options.index("-o") + 1])
"""


def stand_in(folder: Path, then: str = "") -> OrganSegmenter:
    program = folder / "TotalSegmentator"
    program.write_text(STAND_IN.format(python=sys.executable, then=then))
    program.chmod(0o755)
    (folder / "weights/Dataset297_TotalSegmentator_total_3mm_1559subj").mkdir(parents=True)
    return OrganSegmenter(folder / "weights", str(program))


def test_its_label_map_lies_on_the_cts_grid(tmp_path: Path) -> None:
    organs = stand_in(tmp_path).segment(CT)
    assert organs.geometry == CT.geometry
    np.testing.assert_array_equal(organs.voxels, np.where(CT.voxels > -950, 5, 0))


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        ("sys.exit('no weights found')", "ended with 1 and no organ map .no weights found"),
        ("sys.exit(0)", "ended with 0 and no organ map .no word"),
        ("labels = labels * 40", "organ labels from 0 to 200"),
        ("labels.SetOrigin((9, 9, 9))", "an organ map of 4 x 5 x 6"),
    ],
)
def test_what_it_does_wrong_is_one_line(then: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=expected):
        stand_in(tmp_path, then).segment(CT)


def test_without_the_program_or_its_weights_nothing_is_started(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such program"):
        OrganSegmenter(tmp_path, str(tmp_path / "nothing")).segment(CT)
    segmenter = stand_in(tmp_path)
    with pytest.raises(InputError, match=r"no folder Dataset291_\*"):
        OrganSegmenter(segmenter.weights, segmenter.program, fast=False).segment(CT)
    with pytest.raises(InputError, match=r"no folder Dataset297_\*"):
        OrganSegmenter(tmp_path / "none", segmenter.program).segment(CT)


def test_one_that_never_ends_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(organ_segmenter, "_TIMEOUT_S", 0.3)
    with pytest.raises(InputError, match=r"no end after 0.3 s"):
        stand_in(tmp_path, "import time; time.sleep(30)").segment(CT)


def test_one_that_cannot_be_started_is_one_line(tmp_path: Path) -> None:
    segmenter = stand_in(tmp_path)
    Path(segmenter.program).write_text("#!/nowhere/python\n")
    with pytest.raises(InputError, match="cannot be started"):
        segmenter.segment(CT)


def test_devices_are_two(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="device must be"):
        OrganSegmenter(tmp_path, device="tpu")
