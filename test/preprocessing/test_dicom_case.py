"""A case of DICOM studies: thresholds, organ maps and the transform that a hospital does not have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders.cases import write_platform_case
from builders.dicom_files import write_ct, write_pet
from builders.patients import small_patient

from deeppsma.core.errors import InputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume
from deeppsma.io.image_files import write_image
from deeppsma.phantom.write_cohort import write_patient
from deeppsma.preprocessing import dicom_case
from deeppsma.preprocessing.dicom_case import DicomOptions, open_case, open_dicom_case
from deeppsma.preprocessing.registration import Registration, RegistrationQuality

GIVEN = DicomOptions(thresholds_suv={Tracer.FDG: 2.5})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("phantom") / "case_0003"
    write_patient(small_patient(3, "pet"), place, "dicom")
    return place / "input"


@pytest.fixture
def registers(monkeypatch: pytest.MonkeyPatch):
    """Registration is tested elsewhere: here it gives what a test says."""

    def give(quality: RegistrationQuality) -> None:
        transform = RigidTransform(translation_xyz=(1.0, 2.0, 3.0))
        monkeypatch.setattr(dicom_case, "register", lambda *_: Registration(transform, quality))

    return give


def test_thresholds_and_transform_are_found_and_told(folder: Path, registers) -> None:
    registers(RegistrationQuality(0.95, 0.9, 5.0, 1.0, 0.1))
    case = open_dicom_case(folder).case
    made = small_patient(3, "pet")
    assert case.thresholds[Tracer.PSMA] == 3.0
    # The phantom's own rule takes the true liver; this one the segmenter's map.
    assert case.thresholds[Tracer.FDG] == pytest.approx(made.sessions[Tracer.FDG].pet.threshold_suv, rel=0.02)
    assert case.fdg_to_psma == RigidTransform(translation_xyz=(1.0, 2.0, 3.0))
    notes = "\n".join(case.notes)
    for expected in ("FDG threshold: SUV", "liver core", "of the activity seen", "registration: correlation 0.950"):
        assert expected in notes


def test_a_failed_registration_leaves_each_tracer_alone(folder: Path, registers) -> None:
    registers(RegistrationQuality(0.1, 0.1, 5.0, 1.0, 50.0))
    case = open_case(folder)
    assert case.fdg_to_psma is None
    (said,) = [note for note in case.notes if "registration: failed (correlation 0.10" in note]
    assert said.endswith("unless --registration gives a transform")


def test_without_a_liver_the_threshold_is_asked_for(tmp_path: Path) -> None:
    write_pet(tmp_path)
    with pytest.raises(InputError, match=r"no FDG threshold.*--organs fdg=FILE.*--fdg-threshold SUV"):
        open_dicom_case(tmp_path)
    case = open_dicom_case(tmp_path, GIVEN).case
    assert case.thresholds == {Tracer.FDG: 2.5}
    assert case.fdg_to_psma is None
    assert "FDG threshold: SUV 2.5, as given" in case.notes
    assert any("organ map: none" in note for note in case.notes)


def test_an_organ_map_from_a_file(tmp_path: Path) -> None:
    grid = Geometry((4, 8, 8), (4.0, 4.0, 4.0), (-16.0, -16.0, 100.0))
    write_image(Volume(np.ones(grid.shape_zyx, dtype=np.uint8), grid), tmp_path / "organs.nii.gz")
    options = DicomOptions(thresholds_suv={Tracer.FDG: 2.5}, organs={Tracer.FDG: tmp_path / "organs.nii.gz"})
    case = open_dicom_case(write_pet(tmp_path / "in"), options).case
    assert case.fdg.read_organs() is not None
    assert "FDG organ map: the file given" in case.notes


def test_an_organ_map_that_the_host_makes(tmp_path: Path) -> None:
    class StandIn:
        program = "/opt/TotalSegmentator"

        def segment(self, ct: Volume) -> Volume:
            return Volume(np.full(ct.voxels.shape, 5, dtype=np.uint8), ct.geometry)

    write_pet(tmp_path)
    write_ct(tmp_path)
    case = open_dicom_case(tmp_path, DicomOptions(thresholds_suv={Tracer.FDG: 2.5}, segmenter=StandIn())).case  # type: ignore[arg-type]
    assert "FDG organ map: made by TotalSegmentator of the FDG CT" in case.notes
    organs = case.fdg.read_organs()
    assert organs is not None
    assert (organs.voxels == 5).all()


def test_sessions_of_one_frame_of_reference_need_no_registration(tmp_path: Path) -> None:
    from builders.dicom_files import as_psma

    def together(image) -> None:
        image.FrameOfReferenceUID = "1.2.3"

    def psma(image) -> None:
        as_psma(image)
        together(image)

    write_pet(tmp_path, together)
    write_pet(tmp_path, psma, study="2", series="7")
    case = open_dicom_case(tmp_path, GIVEN).case
    assert case.fdg_to_psma == RigidTransform()


def test_without_cts_there_is_no_transform(tmp_path: Path) -> None:
    from builders.dicom_files import as_psma

    write_pet(tmp_path)
    write_pet(tmp_path, as_psma, study="2", series="7")
    case = open_dicom_case(tmp_path, GIVEN).case
    assert case.fdg_to_psma is None
    assert any("not possible without both CTs" in note for note in case.notes)


def test_a_transform_that_is_given_is_taken(tmp_path: Path) -> None:
    from builders.dicom_files import as_psma

    write_pet(tmp_path)
    write_pet(tmp_path, as_psma, study="2", series="7")
    given = RigidTransform(translation_xyz=(4.0, 0.0, 0.0))
    options = DicomOptions(thresholds_suv={Tracer.FDG: 2.5}, fdg_to_psma=given)
    case = open_dicom_case(tmp_path, options).case
    assert case.fdg_to_psma == given
    assert "registration: as given" in case.notes


def test_any_layout_is_opened_as_what_it_is(tmp_path: Path) -> None:
    assert open_case(write_platform_case(tmp_path / "input")).tracers == (Tracer.PSMA, Tracer.FDG)
    write_pet(tmp_path / "dicom/FDG")
    assert open_case(tmp_path / "dicom", GIVEN).tracers == (Tracer.FDG,)
    write_patient(small_patient(3, "none"), tmp_path / "train_0003", "train")
    assert open_case(tmp_path / "train_0003").tracers == (Tracer.PSMA, Tracer.FDG)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: empty; give a platform input folder"):
        open_case(tmp_path / "empty")
