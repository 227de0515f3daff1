"""SUV: vendor headers, reference objects, the real series, and each rule by hand."""

from __future__ import annotations

import math
import os
from datetime import timedelta
from pathlib import Path

import pytest
from builders.dicom_files import (
    code,
    edited,
    injected,
    injection_edited,
    pet_slice,
    set_or_take,
    vendor_slices,
    write_pet,
)
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.header import Header
from deeppsma.io.dicom.reference_time import mean_count_time_s, reference_of
from deeppsma.io.dicom.suv import SuvDerivation, derive_suv
from deeppsma.preprocessing.dicom_inspection import inspect

HALF_LIFE_S = 6586.2
#: Weight over dose at injection, g / Bq, of the builder's patient.
UNDECAYED = 70_000 / 350e6
OBJECTS = os.environ.get("DEEPPSMA_SUV")
REAL_SERIES = os.environ.get("DEEPPSMA_STS")


def headers_of(*images: Dataset) -> list[Header]:
    return [Header(Path(f"{number}.dcm"), image) for number, image in enumerate(images)]


def derived(edit=None, count: int = 2, tracer: Tracer | None = None) -> SuvDerivation:
    images = [pet_slice(number, count) for number in range(count)]
    for image in images:
        if edit is not None:
            edit(image)
    return derive_suv(headers_of(*images), tracer)


def decayed(minutes: float, half_life_s: float = HALF_LIFE_S) -> float:
    return 2 ** (-minutes * 60 / half_life_s)


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("GE_MEDICAL_AND_BQML", 0.0005367387681819742),
        ("SIEMENS", 0.00042748316187197236),
        ("PHILIPS_BQML", 0.0007463747013889488),
        ("RADIOPHARM_DATETIME_UNDEFINED", 0.0003721089202818729),
    ],
)
def test_real_vendor_headers_give_the_factors_that_their_repository_expects(name: str, factor: float) -> None:
    suv = derive_suv(headers_of(*vendor_slices(name)))
    assert suv.factor == pytest.approx(factor, rel=1e-6)


def test_philips_own_factors_confirm_the_one_computed() -> None:
    suv = derive_suv(headers_of(*vendor_slices("PHILIPS_BQML")))
    assert any("Philips's own factors" in check for check in suv.checks)
    assert not suv.warnings


def test_philips_own_factors_that_say_otherwise_are_a_warning() -> None:
    images = vendor_slices("PHILIPS_BQML")
    for image in images:
        image.PatientWeight = 80
    assert any("differ from this by 25 %" in warning for warning in derive_suv(headers_of(*images)).warnings)


@pytest.mark.skipif(OBJECTS is None, reason="DEEPPSMA_SUV does not name the folder of the reference objects")
@pytest.mark.parametrize("name", ["0_0", "1_0", "2_0", "2_4", "3_0", "3_2", "4_0", "5_0"])
def test_reference_objects_come_out_as_0_20_1_00_4_00(name: str) -> None:
    (row,) = inspect(Path(OBJECTS or "") / "objects" / f"DRO_{name}").as_dict()["series"]
    assert row["refused"] is None
    found = [row["suv"][key] for key in ("min", "median", "max")]
    assert found == pytest.approx([0.2, 1.0, 4.0], rel=2e-3)  # stored values are whole numbers


@pytest.mark.skipif(OBJECTS is None, reason="DEEPPSMA_SUV does not name the folder of the reference objects")
def test_the_reference_object_in_ideal_body_weight_is_refused() -> None:
    (row,) = inspect(Path(OBJECTS or "") / "objects" / "DRO_2_2").as_dict()["series"]
    assert "SUVType (0054,1006) is IBW" in row["refused"]
    assert row["suv"] is None


@pytest.mark.skipif(REAL_SERIES is None, reason="DEEPPSMA_STS does not name the folder of the real series")
def test_the_real_series_comes_out_as_four_other_programs_have_it() -> None:
    found = inspect(Path(REAL_SERIES or "") / "image")
    (row,) = found.as_dict()["series"]
    assert row["role"] == "fdg-pet"
    assert row["suv"]["factor"] == pytest.approx(2.42903e-4, rel=2e-6)
    assert row["suv"]["max"] == pytest.approx(66.52, abs=0.005)
    assert row["suv"]["dose_share"] == pytest.approx(0.66, abs=0.005)


def test_start_is_weight_over_what_is_left_of_the_dose() -> None:
    suv = derived()
    assert suv.factor == pytest.approx(UNDECAYED / decayed(60))
    assert suv.uptake_min == pytest.approx(60)
    assert suv.reference.startswith("SeriesTime")


def test_admin_is_weight_over_dose_without_decay() -> None:
    assert derived(edited(DecayCorrection="ADMIN")).factor == pytest.approx(UNDECAYED)


def test_admin_needs_no_time_and_says_so() -> None:
    def edit(image: Dataset) -> None:
        image.DecayCorrection = "ADMIN"
        injection_edited(RadiopharmaceuticalStartTime=None, RadiopharmaceuticalStartDateTime=None)(image)

    suv = derived(edit)
    assert suv.factor == pytest.approx(UNDECAYED)
    assert any("no times" in warning for warning in suv.warnings)


def test_an_uncorrected_image_is_corrected_slice_by_slice() -> None:
    images = [pet_slice(number, 2) for number in range(2)]
    for image, at in zip(images, ("110000", "111000"), strict=True):
        image.DecayCorrection, image.AcquisitionTime = "NONE", at
        image.CorrectedImage = ["ATTN", "SCAT"]
    suv = derive_suv(headers_of(*images))
    # Mean over a frame of 180 s from its start, in closed form: (1 - 2^-(t/T)) T / (t ln 2).
    mean = (1 - 2 ** (-180 / HALF_LIFE_S)) * HALF_LIFE_S / (180 * math.log(2))
    assert suv.factor == pytest.approx([UNDECAYED / decayed(60) / mean, UNDECAYED / decayed(70) / mean])


def test_without_decay_correction_the_third_witness_decides() -> None:
    assert derived(edited(DecayCorrection="NONE", DecayFactor=1.0)).warnings
    with pytest.raises(InputError, match="is NONE, but CorrectedImage lists DECY"):
        derived(edited(DecayCorrection="NONE", DecayFactor=1.02))


def test_midnight_lies_between_injection_and_scan() -> None:
    def edit(image: Dataset) -> None:
        image.SeriesTime = image.AcquisitionTime = "002000"
        injection_edited(RadiopharmaceuticalStartTime="232000", RadiopharmaceuticalStartDateTime=None)(image)

    assert derived(edit).uptake_min == pytest.approx(60)


def test_midnight_lies_within_the_scan_and_the_date_stays_the_series() -> None:
    images = [pet_slice(number, 2) for number in range(2)]
    for image, at in zip(images, ("235800", "000300"), strict=True):
        image.SeriesTime, image.AcquisitionTime = "235800", at
        injection_edited(RadiopharmaceuticalStartTime="225800", RadiopharmaceuticalStartDateTime=None)(image)
    assert derive_suv(headers_of(*images)).uptake_min == pytest.approx(60)


def test_a_moment_alone_is_enough() -> None:
    assert derived(injection_edited(RadiopharmaceuticalStartTime=None)).uptake_min == pytest.approx(60)


def test_a_moment_with_an_offset_is_the_scanners_local_time() -> None:
    edit = injection_edited(RadiopharmaceuticalStartDateTime="20250306100000.00+0100")
    assert derived(edit).uptake_min == pytest.approx(60)


def test_a_moment_in_another_zone_is_moved_to_the_scanners() -> None:
    def edit(image: Dataset) -> None:
        image.TimezoneOffsetFromUTC = "+0100"
        injection_edited(RadiopharmaceuticalStartDateTime="20250306090000+0000")(image)

    assert derived(edit).uptake_min == pytest.approx(60)


def test_a_shifted_date_leaves_the_clock_time() -> None:
    suv = derived(injection_edited(RadiopharmaceuticalStartDateTime="19000101100000"))
    assert suv.uptake_min == pytest.approx(60)
    assert any("only its clock time" in warning for warning in suv.warnings)


def test_a_shifted_series_date_leaves_the_clock_time() -> None:
    suv = derived(edited(SeriesDate="19000101"))
    assert suv.uptake_min == pytest.approx(60)
    assert any("SeriesDate" in warning for warning in suv.warnings)


def test_siemens_rounds_the_series_time_up() -> None:
    suv = derived(edited(SeriesTime="110000.9", AcquisitionTime="110000.0"))
    assert suv.reference.startswith("SeriesTime")


def redated(image: Dataset) -> None:
    """The scan began at 11:00; the series was made later."""
    image.SeriesTime = "123000"


def test_a_redated_series_is_computed_back() -> None:
    middle_s = mean_count_time_s(180, HALF_LIFE_S)
    images = [pet_slice(number, 2) for number in range(2)]
    for number, image in enumerate(images):
        redated(image)
        image.AcquisitionTime = f"11{3 * number:02d}00"
        image.FrameReferenceTime = 1000 * (180 * number + middle_s)
    suv = derive_suv(headers_of(*images))
    assert suv.uptake_min == pytest.approx(60, abs=1e-3)
    assert "FrameReferenceTime" in suv.reference


def test_a_redated_series_with_references_at_the_frames_start() -> None:
    images = [pet_slice(number, 2) for number in range(2)]
    for number, image in enumerate(images):
        redated(image)
        image.AcquisitionTime, image.FrameReferenceTime = f"11{3 * number:02d}00", 180_000 * number
    suv = derive_suv(headers_of(*images))
    assert suv.uptake_min == pytest.approx(60)
    assert "start" in suv.reference


def test_a_redated_series_whose_slices_disagree_takes_the_first_acquisition_and_warns() -> None:
    images = [pet_slice(number, 2) for number in range(2)]
    for number, image in enumerate(images):
        redated(image)
        image.FrameReferenceTime = 90_000 + 180_000 * number
    suv = derive_suv(headers_of(*images))
    assert suv.reference == "earliest AcquisitionTime (0008,0032)"
    assert any("nothing else" in warning for warning in suv.warnings)


def test_a_redated_ge_series_has_ges_own_time() -> None:
    def edit(image: Dataset) -> None:
        redated(image)
        image.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20250306105900.00")

    suv = derived(edit)
    assert suv.uptake_min == pytest.approx(59)
    assert "(0009,100D)" in suv.reference


@pytest.mark.parametrize(
    ("group", "element", "creator"), [(0x0009, 0x0D, "GEMS_PETD_01"), (0x0071, 0x22, "SIEMENS MED PT")]
)
def test_vendors_own_times_are_held_against_the_reference(group: int, element: int, creator: str) -> None:
    def edit(at: str):
        return lambda image: image.private_block(group, creator, create=True).add_new(element, "DT", at)

    assert any("agrees" in check for check in derived(edit("20250306110000.00")).checks)
    assert any("-300 s" in warning for warning in derived(edit("20250306105500.00")).warnings)


def test_counts_with_philips_suv_factor() -> None:
    def edit(image: Dataset) -> None:
        image.Units = "CNTS"
        image.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0x00, "DS", "0.0005")

    assert derived(edit).factor == 0.0005
    assert not derived(edit).warnings


def test_counts_with_philips_activity_factor_go_on_as_activity() -> None:
    def edit(image: Dataset) -> None:
        image.Units = "CNTS"
        block = image.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x00, "DS", "0")
        block.add_new(0x09, "DS", "2.5")

    assert derived(edit).factor == pytest.approx(2.5 * UNDECAYED / decayed(60))


def test_counts_with_factors_of_unknown_representation() -> None:
    def edit(image: Dataset) -> None:
        image.Units = "CNTS"
        image.add_new(0x70530010, "LO", "Philips PET Private Group")
        image.add_new(0x70531000, "UN", b"0.0005 ")

    assert derived(edit).factor == 0.0005


def test_another_vendors_block_at_philips_place_is_not_philips() -> None:
    def edit(image: Dataset) -> None:
        image.Units = "CNTS"
        image.private_block(0x7053, "SOMEBODY ELSE", create=True).add_new(0x00, "DS", "0.0005")

    with pytest.raises(InputError, match="without Philips's factors"):
        derived(edit)


def test_philips_factors_beside_activity_do_not_multiply() -> None:
    def edit(image: Dataset) -> None:
        block = image.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x00, "DS", f"{2.5 * UNDECAYED / decayed(60):.10g}")
        block.add_new(0x09, "DS", "2.5")

    assert derived(edit).factor == pytest.approx(UNDECAYED / decayed(60))


@pytest.mark.parametrize("kind", [None, "BW"])
def test_suv_already(kind: str | None) -> None:
    assert derived(edited(Units="GML", SUVType=kind)).factor == 1.0


def test_the_scanners_suv_of_an_undecayed_image_is_said() -> None:
    assert any("taken as it is" in warning for warning in derived(edited(Units="GML", DecayCorrection=None)).warnings)


def test_a_dose_in_mbq_is_taken_as_such() -> None:
    suv = derived(injection_edited(RadionuclideTotalDose=350))
    assert suv.factor == pytest.approx(UNDECAYED / decayed(60))
    assert any("taken as MBq" in warning for warning in suv.warnings)


def test_a_weight_in_grams_is_taken_as_such() -> None:
    suv = derived(edited(PatientWeight=70_000))
    assert suv.factor == pytest.approx(UNDECAYED / decayed(60))
    assert any("grams" in warning for warning in suv.warnings)


def test_a_missing_half_life_is_the_nuclides_by_code() -> None:
    suv = derived(injection_edited(RadionuclideHalfLife=None))
    assert suv.half_life_s == HALF_LIFE_S
    assert any("is missing" in warning for warning in suv.warnings)


def test_two_of_three_witnesses_decide_on_the_nuclide() -> None:
    def edit(image: Dataset) -> None:
        injected(image).RadionuclideHalfLife = 4057.7
        injected(image).RadionuclideTotalDose = 150e6
        injected(image).RadionuclideCodeSequence = Items([code("C-131A1", "SRT", "^68^Gallium")])

    suv = derived(edit)
    assert suv.nuclide == "Ga-68"
    assert any("Ga-66" in warning for warning in suv.warnings)


def test_an_unusual_uptake_time_is_said() -> None:
    edit = injection_edited(RadiopharmaceuticalStartTime="103000", RadiopharmaceuticalStartDateTime=None)
    assert any("uptake time 30 min" in warning for warning in derived(edit).warnings)


def test_the_derivation_tells_no_date_and_no_clock_time() -> None:
    suv = derived()
    for told in (str(suv.as_dict()), suv.describe()):
        assert "2025" not in told
        assert "110000" not in told
        assert "SECRET" not in told


def test_tags_that_were_read_are_told_and_no_others() -> None:
    tags = derived().tags
    for read in ("Units (0054,1001)", "RadionuclideHalfLife (0018,1075)", "RadiopharmaceuticalStartTime (0018,1072)"):
        assert read in tags
    assert not [tag for tag in tags if "PatientName" in tag or "PatientSize" in tag]
    assert list(tags) == sorted(set(tags))
    already = derived(edited(Units="GML")).tags
    assert "Units (0054,1001)" in already
    assert not [tag for tag in already if "Dose" in tag or "SUVType" in tag], "absent, or not needed"

    def philips(image: Dataset) -> None:
        image.Units = "CNTS"
        image.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0x00, "DS", "0.0005")

    assert "Philips PET Private Group (7053,1000)" in derived(philips).tags


def test_no_slice_no_suv() -> None:
    with pytest.raises(ValueError, match="no slices"):
        derive_suv([])


def test_a_derivation_needs_positive_factors() -> None:
    with pytest.raises(ValueError, match="positive"):
        SuvDerivation((0.0,), "BQML", "")


@given(st.floats(1.0, 3600.0), st.floats(60.0, 1e6))
def test_the_mean_count_time_is_before_the_middle_and_after_the_start(duration_s: float, half_life_s: float) -> None:
    at_s = mean_count_time_s(duration_s, half_life_s)
    assert 0 < at_s <= duration_s / 2 * (1 + 1e-6)
    mean = (1 - 2 ** (-duration_s / half_life_s)) * half_life_s / (duration_s * math.log(2))
    assert 2 ** (-at_s / half_life_s) == pytest.approx(mean, rel=1e-6)


@given(st.integers(10, 359), st.sampled_from(["F-18", "Ga-68"]), st.floats(25, 300))
def test_a_later_injection_needs_less_activity_for_the_same_suv(minutes: int, nuclide: str, weight: float) -> None:
    half_life_s = HALF_LIFE_S if nuclide == "F-18" else 4057.7

    def edit(image: Dataset) -> None:
        scan = timedelta(hours=11) - timedelta(minutes=minutes)
        hours, rest = divmod(int(scan.total_seconds()), 3600)
        set_or_take(injected(image), "RadiopharmaceuticalStartDateTime", None)
        injected(image).RadiopharmaceuticalStartTime = f"{hours:02d}{rest // 60:02d}00"
        image.PatientWeight = round(weight, 2)
        injected(image).RadionuclideHalfLife = half_life_s
        name = ("C-111A1", "^18^Fluorine") if nuclide == "F-18" else ("C-131A3", "^68^Gallium")
        injected(image).RadionuclideCodeSequence = Items([code(name[0], "99SDM", name[1])])

    suv = derived(edit)
    expected = 1000 * round(weight, 2) / 350e6 * 2 ** (minutes * 60 / half_life_s)
    assert suv.factor == pytest.approx(expected, rel=1e-9)


def test_the_reference_needs_acquisition_times() -> None:
    image = pet_slice(0, 1)
    del image.AcquisitionTime
    with pytest.raises(InputError, match=r"AcquisitionTime \(0008,0032\) is missing"):
        reference_of(headers_of(image), HALF_LIFE_S)


def test_slices_of_one_series_may_write_the_weight_in_two_ways(tmp_path: Path) -> None:
    def edit(image: Dataset) -> None:
        image.PatientWeight = "70" if image.InstanceNumber % 2 else "70.0"

    (row,) = inspect(write_pet(tmp_path, edit)).as_dict()["series"]
    assert row["refused"] is None
