"""Which series plays which part: rules, ties, sites, and what a folder of two patients gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.dicom_files import as_psma, edited, injection_edited, write_ct, write_pet
from pydicom.dataset import Dataset

from deeppsma.core.errors import ConfigurationError, InputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.site import Site, read_site
from deeppsma.io.dicom.study import open_patient
from deeppsma.preprocessing.dicom_inspection import inspect


def two_sessions(folder: Path, psma_edit=None) -> Path:
    write_pet(folder / "fdg")
    write_ct(folder / "fdg")

    def psma(image: Dataset) -> None:
        as_psma(image)
        if psma_edit is not None:
            psma_edit(image)

    write_pet(folder / "psma", psma, study="2")
    write_ct(folder / "psma", study="2")
    return folder


def roles(folder: Path, site: Site | None = None) -> dict[str, str | None]:
    rows = inspect(folder, site).as_dict()["series"]
    return {row["series_instance_uid"].split("10.999.")[1]: row["role"] for row in rows}


def test_two_sessions_get_their_parts(tmp_path: Path) -> None:
    assert roles(two_sessions(tmp_path)) == {
        "1.1": "fdg-pet",
        "1.2": "fdg-ct",
        "2.1": "psma-pet",
        "2.2": "psma-ct",
    }


def test_the_patient_is_named_by_nothing_of_his_and_reports_hold_no_name(tmp_path: Path) -> None:
    patient = open_patient(two_sessions(tmp_path))
    assert patient.tracers == (Tracer.PSMA, Tracer.FDG)
    assert patient.name.startswith("dicom-")
    for text in (
        *patient.notes,
        *(str(patient.pet(tracer).suv) for tracer in Tracer),
        *inspect(tmp_path).lines(),
        str(inspect(tmp_path).as_dict()),
    ):
        assert "SECRET" not in text
        assert "2025" not in text
    assert any("days between the sessions: 0" in note for note in patient.notes)


def test_two_reconstructions_are_undecided_and_a_site_decides(tmp_path: Path) -> None:
    two_sessions(tmp_path)
    write_pet(tmp_path / "earl", edited(SeriesDescription="PET EARL"), series="3")
    found = inspect(tmp_path)
    assert found.choice.pets.keys() == {Tracer.PSMA}
    assert "2 series could be the FDG PET" in found.choice.problems[0]
    with pytest.raises(InputError, match=r"2 series could be the FDG PET: .*EARL.*; say which by a pattern"):
        open_patient(tmp_path)
    assert roles(tmp_path, Site(pet=("EARL",)))["1.3"] == "fdg-pet"


def test_original_comes_before_derived_and_long_before_short(tmp_path: Path) -> None:
    write_pet(tmp_path / "a", count=8)
    write_pet(tmp_path / "b", edited(ImageType=["DERIVED", "PRIMARY"]), count=8, series="3")
    write_pet(tmp_path / "c", count=5, series="4")
    assert roles(tmp_path) == {"1.1": "fdg-pet", "1.3": None, "1.4": None}


def test_the_refused_series_does_not_stand_in_the_way(tmp_path: Path) -> None:
    two_sessions(tmp_path)
    write_pet(tmp_path / "nac", edited(CorrectedImage=["DECY"]), series="3")
    assert open_patient(tmp_path).tracers == (Tracer.PSMA, Tracer.FDG)


def test_a_ct_of_another_frame_of_reference_is_not_taken(tmp_path: Path) -> None:
    write_pet(tmp_path)
    write_ct(tmp_path, edited(FrameOfReferenceUID="1.2.3"))
    found = inspect(tmp_path)
    assert not found.choice.cts
    assert any("none of its frame of reference" in reason for reason in found.choice.reasons)


def test_a_ct_that_covers_half_is_not_taken(tmp_path: Path) -> None:
    write_pet(tmp_path, count=8)
    write_ct(tmp_path, count=4)
    assert any("none that covers 95 %" in reason for reason in inspect(tmp_path).choice.reasons)


def test_a_sagittal_ct_is_not_taken(tmp_path: Path) -> None:
    def sagittal(image: Dataset) -> None:
        image.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        image.ImagePositionPatient = [image.ImagePositionPatient[2], 0, 0]

    write_pet(tmp_path)
    write_ct(tmp_path, sagittal)
    assert any("none axial" in reason for reason in inspect(tmp_path).choice.reasons)


def test_ct_rules_in_order(tmp_path: Path) -> None:
    write_pet(tmp_path / "p")
    write_ct(tmp_path / "a")
    write_ct(tmp_path / "b", edited(PixelSpacing=[3.0, 3.0]), series="3")
    write_ct(tmp_path / "c", edited(AcquisitionTime="093000"), series="4")
    write_ct(tmp_path / "d", edited(SliceThickness=1.0), series="5")
    assert roles(tmp_path) == {"1.1": "fdg-pet", "1.2": "fdg-ct", "1.3": None, "1.4": None, "1.5": None}
    write_ct(tmp_path / "e", series="6")
    assert "2 series could be the FDG CT" in inspect(tmp_path).choice.problems[0]


def test_two_patients_are_refused_unless_the_site_says_that_they_are_one(tmp_path: Path) -> None:
    two_sessions(tmp_path, edited(PatientID="ANOTHER"))
    with pytest.raises(InputError, match="different PatientIDs: two patients"):
        open_patient(tmp_path)
    assert open_patient(tmp_path, Site(other_patient_id=True)).tracers == (Tracer.PSMA, Tracer.FDG)


def test_sessions_too_far_apart(tmp_path: Path) -> None:
    two_sessions(tmp_path, edited(StudyDate="20250106"))
    assert open_patient(tmp_path).tracers
    with pytest.raises(InputError, match="59 days apart, more than 30"):
        open_patient(tmp_path, Site(days_apart_max=30))


def test_a_series_that_is_not_whole(tmp_path: Path) -> None:
    write_pet(tmp_path, edited(NumberOfSlices=6))
    assert any("4 of 6 slices" in line for line in inspect(tmp_path).lines())
    with pytest.raises(InputError, match=r"6 slices \(0054,0081\), 4 are here"):
        open_patient(tmp_path)
    assert open_patient(tmp_path, Site(incomplete=True)).tracers == (Tracer.FDG,)


def test_one_tracer_alone_is_a_patient(tmp_path: Path) -> None:
    patient = open_patient(write_pet(tmp_path))
    assert patient.tracers == (Tracer.FDG,)
    assert "one tracer only" in patient.notes


def test_the_other_session_is_not_dropped_without_a_word(tmp_path: Path) -> None:
    two_sessions(tmp_path, edited(PatientWeight=None))
    with pytest.raises(InputError, match=r"cannot be used: .*PatientWeight .* is missing"):
        open_patient(tmp_path)


def test_an_unsaid_tracer_is_asked_for(tmp_path: Path) -> None:
    write_pet(tmp_path, injection_edited(RadiopharmaceuticalCodeSequence=None))
    (row,) = inspect(tmp_path).as_dict()["series"]
    assert (row["tracer"], row["refused"]) == (None, None)
    assert row["suv"]["factor"] > 0
    with pytest.raises(InputError, match=r"does not say the tracer; say it: --tracer"):
        open_patient(tmp_path)
    assert open_patient(tmp_path, read_site(None, ("999.1.1=psma",))).tracers == (Tracer.PSMA,)


def test_no_pet_at_all(tmp_path: Path) -> None:
    write_ct(tmp_path)
    with pytest.raises(InputError, match="no PET that can be used in 1 series"):
        open_patient(tmp_path)


def test_a_damaged_file_is_not_passed_over(tmp_path: Path) -> None:
    folder = write_pet(tmp_path)
    (folder / "x.dcm").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(InputError, match=r"x\.dcm: not a readable DICOM file"):
        open_patient(folder)


def test_a_site_tells_tracers_by_description(tmp_path: Path) -> None:
    write_pet(tmp_path, injection_edited(RadiopharmaceuticalCodeSequence=None))
    assert roles(tmp_path, Site(fdg=("^PET WB",)))["1.1"] == "fdg-pet"


def test_a_site_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text('pet = ["EARL"]\ndays_apart_max = 60\n')
    assert read_site(path, ("1.2=fdg",)) == Site(pet=("EARL",), days_apart_max=60, tracers=("1.2=fdg",))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("pet = 'EARL'", "pet: expected array"),
        ("pet = ['(']", "no regular expression"),
        ("days_apart_max = 0", "days_apart_max must be positive"),
        ("incomplete = 1", "incomplete: expected bool"),
        ("tracers = ['x=dota']", "SERIES=psma or SERIES=fdg"),
        ("tracers = 3", "mend it"),
        ("nonsense = 3", "unknown keys"),
        ("pet = [", "not readable as TOML"),
    ],
)
def test_a_wrong_site_file_is_one_line(content: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=expected):
        read_site(path)


def test_no_site_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not readable as TOML"):
        read_site(tmp_path / "none.toml")
