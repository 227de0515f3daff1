"""Spoilt series, one tag or file each: every one is listed with one line that names what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders.dicom_files import (
    Edit,
    code,
    ct_slice,
    edited,
    injected,
    injection_edited,
    pet_slice,
    set_or_take,
    write_ct,
    write_pet,
    write_slices,
)
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import JPEG2000Lossless

from deeppsma.core.errors import InputError
from deeppsma.preprocessing.dicom_inspection import inspect

NO_TIMES = {"RadiopharmaceuticalStartTime": None, "RadiopharmaceuticalStartDateTime": None}


def clock(at: str) -> Edit:
    return injection_edited(RadiopharmaceuticalStartTime=at, RadiopharmaceuticalStartDateTime=None)


def in_slice(number: int, keyword: str, value: object) -> Edit:
    """Only in the slice of that number from below."""

    def edit(image: Dataset) -> None:
        if round((image.ImagePositionPatient[2] - 100) / 4) == number:
            set_or_take(image, keyword, value)

    return edit


def several_injections(image: Dataset) -> None:
    image.RadiopharmaceuticalInformationSequence.append(injected(image))


def half_life_under(half_life_s: float, value: str, meaning: str) -> Edit:
    return injection_edited(
        RadionuclideHalfLife=half_life_s, RadionuclideCodeSequence=Items([code(value, "SRT", meaning)])
    )


def agent(value: str, scheme: str, meaning: str) -> Edit:
    return injection_edited(RadiopharmaceuticalCodeSequence=Items([code(value, scheme, meaning)]))


def both(*edits: Edit) -> Edit:
    def edit(image: Dataset) -> None:
        for one in edits:
            one(image)

    return edit


def counts(image: Dataset) -> None:
    image.Units = "CNTS"
    image.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0x00, "DS", "0")


SPOILT: dict[str, tuple[Edit, str]] = {
    # corrections and units
    "not attenuation-corrected": (edited(CorrectedImage=["NORM", "DECY"]), "lists no ATTN"),
    "corrections missing": (edited(CorrectedImage=None), "CorrectedImage (0028,0051) is missing"),
    "attenuation method none": (edited(AttenuationCorrectionMethod="NONE"), "AttenuationCorrectionMethod (0054,1101)"),
    "decay correction missing": (edited(DecayCorrection=None), "DecayCorrection (0054,1102) is missing"),
    "decay correction unknown": (edited(DecayCorrection="MIDDLE"), "is MIDDLE"),
    "start without decay": (edited(CorrectedImage=["ATTN"]), "is START, but CorrectedImage lists no DECY"),
    "none, yet decayed": (edited(DecayCorrection="NONE", DecayFactor=None), "is NONE, but CorrectedImage lists DECY"),
    "none without frame": (
        edited(DecayCorrection="NONE", CorrectedImage=["ATTN"], ActualFrameDuration=None),
        "ActualFrameDuration (0018,1242) is missing",
    ),
    "units missing": (edited(Units=None), "Units (0054,1001) is missing"),
    "units CM2ML": (edited(Units="CM2ML"), "is CM2ML"),
    "units PROPCNTS": (edited(Units="PROPCNTS"), "is PROPCNTS"),
    "units differ": (in_slice(2, "Units", "GML"), "Units (0054,1001) differs within the series"),
    "SUV of lean mass": (edited(Units="GML", SUVType="LBM"), "SUVType (0054,1006) is LBM"),
    "SUV of body surface": (edited(Units="GML", SUVType="BSA"), "SUVType (0054,1006) is BSA"),
    "counts without factors": (edited(Units="CNTS"), "without Philips's factors"),
    "counts with factors of 0": (counts, "without Philips's factors"),
    # patient and injection
    "weight missing": (edited(PatientWeight=None), "PatientWeight (0010,1030) is missing"),
    "weight 0": (edited(PatientWeight=0), "PatientWeight (0010,1030) is 0"),
    "weight and size swapped": (edited(PatientWeight=1.75), "size and weight swapped?"),
    "weight of a giant": (edited(PatientWeight=400), "is 400 kg"),
    "weight differs": (in_slice(1, "PatientWeight", 80), "PatientWeight (0010,1030) differs"),
    "no injection": (edited(RadiopharmaceuticalInformationSequence=None), "Sequence (0054,0016) is missing"),
    "two injections": (several_injections, "holds 2 items"),
    "dose missing": (injection_edited(RadionuclideTotalDose=None), "RadionuclideTotalDose (0018,1074) is missing"),
    "dose 0": (injection_edited(RadionuclideTotalDose=0), "RadionuclideTotalDose (0018,1074) is 0"),
    "dose in mCi": (injection_edited(RadionuclideTotalDose=10), "is 10 MBq"),
    "dose in kBq": (injection_edited(RadionuclideTotalDose=350e3), "is 0.35 MBq"),
    "dose of a generator": (injection_edited(RadionuclideTotalDose=1850e6), "is 1850 MBq"),
    "Ga-68's half-life under F-18": (half_life_under(4057.7, "C-111A1", "^18^Fluorine"), "the half-life of Ga-68"),
    "half-life in minutes": (injection_edited(RadionuclideHalfLife=109.77), "but the nuclide is F-18"),
    "half-life of nothing": (
        injection_edited(RadionuclideHalfLife=5000.0, RadionuclideCodeSequence=None),
        "of no nuclide known",
    ),
    "no nuclide at all": (
        injection_edited(RadionuclideHalfLife=None, RadionuclideCodeSequence=None),
        "no code names the nuclide",
    ),
    "code against its meaning": (half_life_under(109.0, "C-111A1", "^68^Gallium"), "the meaning Ga-68"),
    "two nuclides": (
        injection_edited(RadionuclideCodeSequence=Items([code("C-111A1", "SRT", "F"), code("C-131A3", "SRT", "G")])),
        "names 2 nuclides",
    ),
    "no time of injection": (injection_edited(**NO_TIMES), "RadiopharmaceuticalStartTime (0018,1072) is missing"),
    "injection after the scan": (clock("113000"), "is after the scan, or of the day before: it lies 1410 min"),
    "injection at the scan": (clock("105500"), "lies 5 min before"),
    "injection in the night": (clock("030000"), "lies 480 min before"),
    "two times of injection": (injection_edited(RadiopharmaceuticalStartTime="093000"), "are two times"),
    "long-lived nuclide with a shifted date": (
        both(
            half_life_under(45721, "C-127A2", "^64^Copper"),
            agent("none", "LOCAL", "PSMA"),
            injection_edited(RadiopharmaceuticalStartDateTime="20200101100000"),
        ),
        "is not within a day before the scan",
    ),
    "no acquisition time": (edited(AcquisitionTime=None), "AcquisitionTime (0008,0032) is missing"),
    "no date": (edited(AcquisitionDate=None, SeriesDate=None), "AcquisitionDate (0008,0022) is missing"),
    "offset no offset": (
        both(
            edited(TimezoneOffsetFromUTC="CET"),
            injection_edited(RadiopharmaceuticalStartDateTime="20250306100000+0100"),
        ),
        "TimezoneOffsetFromUTC (0008,0201)",
    ),
    # tracer
    "another tracer by code": (agent("724025002", "SCT", "Dotatate"), "names DOTATATE, neither PSMA nor FDG"),
    "code against text": (edited(SeriesDescription="PSMA WB"), "but SeriesDescription (0008,103E) names PSMA ligand"),
    "FDG of Ga-68": (half_life_under(4057.7, "C-131A3", "^68^Gallium"), "but the nuclide is Ga-68"),
    # kind of series
    "dynamic": (edited(SeriesType=["DYNAMIC", "IMAGE"]), "SeriesType (0054,1000) is DYNAMIC"),
    "gated": (edited(SeriesType=["GATED", "IMAGE"]), "SeriesType (0054,1000) is GATED"),
    "projection": (edited(SeriesType=["WHOLE BODY", "REPROJECTION"]), "a projection"),
    "MIP": (edited(ImageType=["DERIVED", "SECONDARY", "MIP"]), "made of another image"),
    "lossy": (edited(LossyImageCompression="01"), "values are not the scanner's"),
    "Enhanced PET": (edited(SOPClassUID="1.2.840.10008.5.1.4.1.1.130"), "Enhanced PET is not read"),
    "Legacy Enhanced PET": (edited(SOPClassUID="1.2.840.10008.5.1.4.1.1.128.1"), "Legacy Converted Enhanced PET"),
    "screen picture": (edited(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), "secondary capture"),
    "some other class": (edited(SOPClassUID="1.2.3.4"), "SOP class 1.2.3.4 is not read"),
    "class of one slice": (in_slice(1, "SOPClassUID", "1.2.3.4"), "SOP class 1.2.3.4 is not read"),
    "modality of one slice": (in_slice(1, "Modality", "RX"), "several modalities"),
    # geometry
    "slice tilted": (in_slice(2, "ImageOrientationPatient", [1, 0, 0, 0, 0.99, 0.14]), "differs from the other"),
    "orientation not orthogonal": (edited(ImageOrientationPatient=[1, 0, 0, 0.5, 1, 0]), "no pair of perpendicular"),
    "orientation missing": (edited(ImageOrientationPatient=None), "ImageOrientationPatient (0020,0037) is missing"),
    "position missing": (in_slice(1, "ImagePositionPatient", None), "ImagePositionPatient (0020,0032) is missing"),
    "position of two": (in_slice(1, "PixelSpacing", [4]), "holds 1 values, not 2"),
    "spacing missing": (edited(PixelSpacing=None), "PixelSpacing (0028,0030) is missing"),
    "spacing differs": (in_slice(1, "PixelSpacing", [3, 3]), "differs from the other"),
    "spacing 0": (edited(PixelSpacing=[0, 0]), "PixelSpacing (0028,0030) is not positive"),
    "spacing in metres": (edited(PixelSpacing=[0.004, 0.004]), "0.1 to 30 mm are taken"),
    "a gantry's tilt": (
        lambda image: setattr(
            image,
            "ImagePositionPatient",
            [-16, -16 + 0.3 * (image.ImagePositionPatient[2] - 100), image.ImagePositionPatient[2]],
        ),
        "tilted gantry",
    ),
    "a slow drift aside": (
        lambda image: setattr(
            image,
            "ImagePositionPatient",
            [-16, -16 + 0.03 * (image.ImagePositionPatient[2] - 100), image.ImagePositionPatient[2]],
        ),
        "drift aside",
    ),
    "slices too close": (in_slice(3, "ImagePositionPatient", [-16, -16, 109]), "slices too close"),
    "frame of reference differs": (in_slice(1, "FrameOfReferenceUID", "1.2.3"), "FrameOfReferenceUID (0020,0052)"),
    # pixels
    "no slope": (edited(RescaleSlope=None), "RescaleSlope (0028,1053) is missing"),
    "slope 0": (in_slice(1, "RescaleSlope", 0), "RescaleSlope (0028,1053) is 0"),
    "intercept": (in_slice(1, "RescaleIntercept", -10), "RescaleIntercept (0028,1052) is -10"),
    "colour": (edited(SamplesPerPixel=3, PhotometricInterpretation="RGB"), "SamplesPerPixel (0028,0002) is not 1"),
    "several frames": (edited(NumberOfFrames=3), "NumberOfFrames (0028,0008) is not 1"),
    "no rows": (edited(Rows=0, PixelData=b""), "Rows (0028,0010)"),
    "two patients in one series": (in_slice(1, "PatientID", "OTHER"), "PatientID (0010,0020) differs"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_series_is_one_line(name: str, tmp_path: Path) -> None:
    edit, expected = SPOILT[name]
    (row,) = inspect(write_pet(tmp_path, edit)).as_dict()["series"]
    assert row["refused"] is not None
    assert expected in row["refused"]
    assert "\n" not in row["refused"]
    assert row["suv"] is None
    assert row["role"] is None
    assert "SECRET" not in row["refused"]


def rewritten(change: Callable[[list[Path]], object]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write_pet(folder)
        change(sorted(folder.glob("*.dcm")))
        return folder

    return make


def drop(files: list[Path]) -> None:
    files[1].unlink()


def shift_copy(files: list[Path]) -> None:
    image = dcmread(files[1])
    pixels = image.pixel_array.copy()
    image.PixelData = (pixels + 1).tobytes()
    image.SOPInstanceUID += ".9"
    image.save_as(files[1].with_name("another.dcm"))


def cut(files: list[Path]) -> None:
    content = files[2].read_bytes()
    files[2].write_bytes(content[: len(content) - 40])


def jpeg_of_nothing(files: list[Path]) -> None:
    from pydicom.encaps import encapsulate

    image = dcmread(files[2])
    image.file_meta.TransferSyntaxUID = JPEG2000Lossless
    image.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
    image["PixelData"].is_undefined_length = True
    image.save_as(files[2])


def infinite_weight(files: list[Path]) -> None:
    for path in files:
        path.write_bytes(path.read_bytes().replace(b"70.0", b"1e99"))


def wrong_clock(files: list[Path]) -> None:
    for path in files:
        path.write_bytes(path.read_bytes().replace(b"\x06\x00100000", b"\x06\x0025:000"))


def no_bits(files: list[Path]) -> None:
    image = dcmread(files[1])
    del image.BitsAllocated
    image.save_as(files[1])


def worded_weight(files: list[Path]) -> None:
    for path in files:
        path.write_bytes(path.read_bytes().replace(b"70.0", b"7o,0"))


FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a slice missing": (rewritten(drop), "a gap of 8.000 mm before this slice (ImagePositionPatient -16, -16, 108)"),
    "a slice twice with other pixels": (rewritten(shift_copy), "with other pixels"),
    "a file cut short": (rewritten(cut), "pixels cannot be decoded"),
    "JPEG that does not decode": (rewritten(jpeg_of_nothing), "pixels cannot be decoded (JPEG 2000"),
    "one slice": (lambda folder: write_pet(folder, count=1), "a series of one slice"),
    "weight no number": (rewritten(worded_weight), "PatientWeight (0010,1030)"),
    "time of injection no time": (rewritten(wrong_clock), "RadiopharmaceuticalStartTime (0018,1072) is not a time"),
    "no bits": (rewritten(no_bits), "no description of its pixels"),
    "weight too large": (rewritten(infinite_weight), "PatientWeight (0010,1030) is 1e+96 kg"),
    "a localizer": (
        lambda folder: write_ct(folder, edited(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])),
        "a localizer, not a volume",
    ),
    "MR": (lambda folder: write_ct(folder, edited(Modality="MR")), "modality MR is not used"),
    "a CT in no unit": (lambda folder: write_ct(folder, edited(RescaleIntercept=None)), "RescaleIntercept (0028,1052)"),
}


@pytest.mark.parametrize("name", FILES)
def test_spoilt_files_are_one_line(name: str, tmp_path: Path) -> None:
    make, expected = FILES[name]
    (row,) = inspect(make(tmp_path / "in")).as_dict()["series"]
    assert row["refused"] is not None
    assert expected in row["refused"]


def test_a_slice_cut_in_half_is_seen_without_decoding(tmp_path: Path) -> None:
    images = [ct_slice(number, 3) for number in range(3)]
    for image in images:
        image.Rows = image.Columns = 64
    folder = write_slices(tmp_path / "in", images)
    last = sorted(folder.iterdir())[-1]
    last.write_bytes(last.read_bytes()[:3000])
    (row,) = inspect(folder).as_dict()["series"]
    assert "too few for 8192 bytes of pixels" in row["refused"]


def test_a_slice_far_off_by_drift(tmp_path: Path) -> None:
    images = [pet_slice(number, 60) for number in range(60)]
    for number, image in enumerate(images):
        image.ImagePositionPatient = [0, 0, 4.0 * number + (0.13 * number if number < 30 else 0.13 * (59 - number))]
    (row,) = inspect(write_slices(tmp_path / "in", images)).as_dict()["series"]
    assert "from where equal steps would put it" in row["refused"]


def test_all_slices_at_one_position(tmp_path: Path) -> None:
    folder = write_pet(tmp_path / "in", edited(ImagePositionPatient=[0, 0, 0]))
    (row,) = inspect(folder).as_dict()["series"]
    assert "all slices at one position" in row["refused"]


def test_identical_copies_of_slices_are_left_out_and_said(tmp_path: Path) -> None:
    folder = write_pet(tmp_path / "in")
    (tmp_path / "in/copy").mkdir()
    for path in sorted(folder.glob("*.dcm"))[:2]:
        (folder / "copy" / path.name).write_bytes(path.read_bytes())
    found = inspect(folder)
    assert found.as_dict()["series"][0]["refused"] is None
    assert any("2 identical copies of slices left out" in line for line in found.lines())


def test_a_localizer_in_a_ct_series_is_left_out_and_said(tmp_path: Path) -> None:
    images = [ct_slice(number, 4) for number in range(4)]
    images[3].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    images[3].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    found = inspect(write_slices(tmp_path / "in", images))
    assert found.as_dict()["series"][0]["refused"] is None
    assert any("1 localizer images left out" in line for line in found.lines())


def test_a_folder_without_dicom_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match="no DICOM file among 1 files"):
        inspect(tmp_path)


def test_no_such_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        inspect(tmp_path / "nowhere")


def test_a_marked_file_that_is_no_dicom_is_said(tmp_path: Path) -> None:
    folder = write_pet(tmp_path)
    (folder / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI" + bytes(20))
    found = inspect(folder)
    assert any("not readable: broken.dcm: not a readable DICOM file" in line for line in found.lines())
    assert found.as_dict()["series"][0]["refused"] is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said(tmp_path: Path) -> None:
    folder = write_pet(tmp_path)
    (folder / "locked.dcm").write_bytes(b"x")
    (folder / "locked.dcm").chmod(0)
    assert any("locked.dcm" in line for line in inspect(folder).lines())


def test_values_out_of_a_damaged_header_never_escape(tmp_path: Path) -> None:
    """Flipped bytes anywhere in a header give a row or a line, never a traceback."""
    rng = np.random.default_rng(0)
    folder = write_pet(tmp_path / "in", count=3)
    victim = sorted(folder.glob("*.dcm"))[1]
    whole = victim.read_bytes()
    for _ in range(60):
        spoilt = bytearray(whole)
        for place in rng.integers(132, len(whole), 3):
            spoilt[place] = rng.integers(0, 256)
        victim.write_bytes(bytes(spoilt))
        found = inspect(folder)
        assert found.as_dict()["series"] or found.scan.unreadable
