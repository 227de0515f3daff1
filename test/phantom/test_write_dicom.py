"""A synthetic patient as DICOM studies, and back: the same SUV, HU, labels and grids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from builders.patients import small_patient

from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.study import open_patient
from deeppsma.phantom.write_cohort import write_patient
from deeppsma.phantom.write_dicom import DicomLayout
from deeppsma.preprocessing.dicom_inspection import inspect


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("phantom") / "case_0003"
    write_patient(small_patient(3, "pet"), place, "dicom")
    return place


def test_what_is_written_is_read_back(folder: Path) -> None:
    made, patient = small_patient(3, "pet"), open_patient(folder / "input")
    for tracer in Tracer:
        session = made.sessions[tracer]
        pet = patient.pet(tracer).read()
        assert pet.geometry.same_grid(session.pet.geometry)
        # 16 bits for each slice: half a step of the slice's own maximum.
        steps = session.pet.suv.max(axis=(1, 2), keepdims=True) / 32767
        assert (np.abs(pet.voxels - np.maximum(session.pet.suv, 0)) <= 0.51 * steps + 1e-5).all()
        ct, organs = patient.ct(tracer), patient.organs(tracer)
        assert ct is not None
        assert session.ct is not None
        np.testing.assert_array_equal(ct.read().voxels, session.ct.voxels)
        assert organs is not None
        np.testing.assert_array_equal(organs.read().voxels, session.organ_labels)
        assert organs.geometry.same_grid(session.organ_geometry)
        truth = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"truth/{tracer}.mha")))
        np.testing.assert_array_equal(truth, session.pet.truth)


def test_the_same_patient_has_the_same_uids(folder: Path, tmp_path: Path) -> None:
    write_patient(small_patient(3, "pet"), tmp_path / "again", "dicom")
    rows = [inspect(place / "input").as_dict()["series"] for place in (folder, tmp_path / "again")]
    assert rows[0] == rows[1]
    assert sorted(row["role"] for row in rows[0]) == [
        f"{t}-{part}" for t in ("fdg", "psma") for part in ("ct", "organs", "pet")
    ]


@pytest.mark.parametrize("habit", ["ge", "siemens"])
def test_either_habit_gives_the_same_suv_and_its_decay_factors_fit(habit: str, tmp_path: Path) -> None:
    made = small_patient(3, "none")
    from deeppsma.phantom.write_cohort import _images

    tmp_path.joinpath("x").mkdir()
    layout = DicomLayout(80.0, dict.fromkeys(Tracer, habit))
    layout.write(tmp_path / "x", {Tracer.FDG: _images(made, Tracer.FDG)}, made.fdg_to_psma)
    assert layout.holds(tmp_path / "x")
    found = inspect(tmp_path / "x/input")
    (pet,) = found.choice.pets.values()
    assert pet.series is not None
    assert pet.series.suv is not None
    assert not pet.series.suv.warnings
    (check,) = [line for line in pet.series.suv.checks if line.startswith("DecayFactor")]
    assert ("start" if habit == "ge" else "middle") in check
    assert float(check.split("apart by ")[1].split(" ")[0]) < 1e-5
    assert pet.series.read().voxels.max() == pytest.approx(made.sessions[Tracer.FDG].pet.suv.max(), rel=1e-4)


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="weight_kg must be positive"):
        DicomLayout(0.0)
    with pytest.raises(ValueError, match="habits are"):
        DicomLayout(80.0, {Tracer.FDG: "philips"})
    with pytest.raises(InputError, match="DICOM has no thresholds"):
        DicomLayout().read(tmp_path)
