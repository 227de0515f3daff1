"""SUV held against the activity that the image shows, and against the liver."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders.dicom_files import edited, write_pet

from deeppsma.core.anatomy import LIVER
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.dicom.study import open_patient
from deeppsma.io.dicom.suv import SuvDerivation
from deeppsma.io.suv_record import LiverRecord, SuvRecord
from deeppsma.preprocessing.suv_check import NO_LIVER, check_suv, known_weight_kg

GRID = Geometry((30, 30, 30), (4.0, 4.0, 4.0))
DERIVED = SuvDerivation((0.5, 0.25), "BQML", "by hand", dose_mbq=350.12345, tags=("Units (0054,1001)",))


def pet(suv: float) -> Volume:
    return Volume(np.full(GRID.shape_zyx, suv, dtype=np.float32), GRID)


def organs(label: int) -> Volume:
    return Volume(np.full(GRID.shape_zyx, label, dtype=np.uint8), GRID)


def test_figures_by_hand() -> None:
    check = check_suv(pet(2.0), 10.0, organs(LIVER), Tracer.FDG)
    assert (check.low, check.median, check.high) == (2.0, 2.0, 2.0)
    assert check.dose_share == pytest.approx(2.0 * 27000 * 0.064 / 10e3)
    record = check.record(DERIVED)
    assert (record.factor_min, record.factor_max, record.dose_mbq, record.dose_share) == (0.25, 0.5, 350.123, 0.346)
    assert record.tags == ("Units (0054,1001)",)
    assert record.liver is not None
    liver = record.liver
    assert (liver.median_suv, liver.sd_suv, liver.usual_suv, liver.plausible) == (2.0, 0.0, (1.0, 4.5), True)
    whole, of_liver = check.lines()
    assert whole.endswith("0.35 of the activity seen")
    assert "median 2.00, mean 2.00 +- 0.00 (usual 1 to 4.5)" in of_liver


def test_ten_times_too_much_is_said_twice() -> None:
    whole, of_liver = check_suv(pet(20.0), 10.0, organs(LIVER), Tracer.FDG).lines()
    assert whole.endswith("3.46 of the activity seen (a whole body has 0.2 to 1.1: check the units)")
    assert of_liver.endswith("unusual, check SUV")


def test_a_liver_that_is_not_checked_says_why() -> None:
    without = check_suv(pet(2.0), None, None, None)
    assert without.lines()[1] == "liver not checked, because there is no organ map"
    assert without.as_dict() == {"dose_share": None, "liver": None, "liver_unchecked": "there is no organ map"}
    assert check_suv(pet(2.0), None, organs(1), None).unchecked == NO_LIVER


def test_an_image_without_a_voxel_above_zero() -> None:
    check = check_suv(pet(0.0), 70.0, None, None)
    assert (check.low, check.median, check.high, check.dose_share) == (0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(("weight", "expected"), [(70.0, 70.0), (0.0, None), (None, None)])
def test_where_the_scanner_gives_suv_the_headers_weight_counts(
    weight: float | None, expected: float | None, tmp_path: Path
) -> None:
    write_pet(tmp_path, edited(Units="GML", PatientWeight=weight))
    assert known_weight_kg(open_patient(tmp_path).pet(Tracer.FDG)) == expected


def test_a_record_is_whole() -> None:
    with pytest.raises(ValueError, match="SUV factors from 2"):
        SuvRecord("BQML", "", 2.0, 1.0, liver_unchecked="no map")
    with pytest.raises(ValueError, match="says why not"):
        SuvRecord("BQML", "", 1.0, 1.0)
    with pytest.raises(ValueError, match="says why not"):
        liver = LiverRecord(2.0, 2.0, 0.1, 600.0, (1.0, 4.5), True)
        SuvRecord("BQML", "", 1.0, 1.0, liver=liver, liver_unchecked="no map")
