import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppsma.case import load_case
from deeppsma.images import ImageFile
from deeppsma.organs import LABEL_MAX
from deeppsma.phantom import cohort as cohort_module
from deeppsma.phantom.cohort import CohortPlan, write_cohort, write_patient
from deeppsma.phantom.patient import draw_patient
from deeppsma.phantom.scanners import SCANNERS
from deeppsma.phantom.session import PhantomOptions
from deeppsma.phantom.shapes import Ellipsoid, Tube
from deeppsma.phantom.uptake import _FDG, _PSMA, draw_uptake
from deeppsma.tracer import Tracer

COARSE = PhantomOptions(with_ct=False, scene_spacing_mm=8.0)
#: Wide voxels: a patient in a second.
SMALL = replace(SCANNERS[0], name="test", spacing_zyx=(8.0, 8.0, 8.0), plane_size=72)
SMALL_SCANNERS = dict.fromkeys(Tracer, SMALL)


@pytest.fixture(scope="module")
def patient():
    return draw_patient(3, COARSE, SMALL_SCANNERS)


def test_the_same_seed_gives_the_same_patient(patient):
    again = draw_patient(3, COARSE, SMALL_SCANNERS)
    assert again.card == patient.card
    for tracer in Tracer:
        assert np.array_equal(again.sessions[tracer].pet.suv, patient.sessions[tracer].pet.suv)
        assert np.array_equal(again.sessions[tracer].organ_labels, patient.sessions[tracer].organ_labels)


def test_another_seed_gives_another_patient(patient):
    other = draw_patient(4, COARSE, SMALL_SCANNERS)
    assert other.card["lesions"] != patient.card["lesions"]


def test_truth_is_disease_above_threshold(patient):
    for session in patient.sessions.values():
        assert not session.pet.truth[session.pet.suv < session.pet.threshold_suv].any()
    assert patient.sessions[Tracer.PSMA].pet.truth.any()
    assert patient.sessions[Tracer.PSMA].pet.threshold_suv == 3.0
    assert 1.5 <= patient.sessions[Tracer.FDG].pet.threshold_suv < 6


def test_most_of_what_is_hot_is_no_disease(patient):
    """Otherwise the threshold alone would be an answer."""
    for session in patient.sessions.values():
        hot = session.pet.suv >= session.pet.threshold_suv
        assert session.pet.truth.sum() < 0.5 * hot.sum()


def test_organs_have_their_labels(patient):
    for session in patient.sessions.values():
        present = set(np.unique(session.organ_labels))
        assert max(present) <= LABEL_MAX
        assert len(present & {1, 2, 3, 5, 21, 51, 52, 90, 91}) >= 8  # a segmenter may miss one
        assert len(present & set(range(26, 51))) > 15


def test_the_registration_brings_the_livers_together(patient):
    from deeppsma.geometry import Geometry

    def liver_centre(tracer):
        session = patient.sessions[tracer]
        index = np.argwhere(session.organ_labels == 5)
        assert isinstance(session.organ_geometry, Geometry)
        return session.organ_geometry.index_to_world(index).mean(axis=0)

    fdg, psma = liver_centre(Tracer.FDG), liver_centre(Tracer.PSMA)
    apart = np.linalg.norm(patient.fdg_to_psma.apply(fdg[None])[0] - psma)
    assert apart < 25  # breathing and a coarse registration
    assert apart < np.linalg.norm(fdg - psma) + 25


@pytest.mark.parametrize("layout", ["platform", "train"])
def test_a_written_patient_reads_back(tmp_path, patient, layout):
    write_patient(patient, tmp_path / "p", layout)
    case = load_case(tmp_path / "p" / "input" if layout == "platform" else tmp_path / "p")
    for tracer in Tracer:
        session, study = patient.sessions[tracer], case.study(tracer)
        assert np.array_equal(study.read_pet().voxels, session.pet.suv)
        assert np.array_equal(study.read_organs().voxels, session.organ_labels)
        assert study.threshold_suv == session.pet.threshold_suv
        truth = study.truth or ImageFile(tmp_path / "p" / "truth" / f"{tracer}.mha")
        assert np.array_equal(truth.read().voxels > 0, session.pet.truth)
    assert np.allclose(case.fdg_to_psma.matrix, patient.fdg_to_psma.matrix, atol=1e-5)
    assert json.loads((tmp_path / "p/patient.json").read_text())["synthetic"] is True


def test_with_ct_it_covers_the_pet_on_another_grid():
    session = draw_patient(5, PhantomOptions(scene_spacing_mm=10.0), SMALL_SCANNERS).sessions[Tracer.PSMA]
    assert session.ct.shape[1:] == (512, 512)
    assert session.ct.dtype == np.int16
    assert session.ct.min() >= -1024
    body = session.ct > -300
    assert 0.02 < body.mean() < 0.5


def test_an_interrupted_cohort_goes_on(tmp_path, monkeypatch, patient):
    made = []

    def quick(seed, options):
        made.append(seed)
        return patient

    monkeypatch.setattr(cohort_module, "draw_patient", quick)
    plan = CohortPlan(tmp_path, 3, 7, "train", COARSE)
    next(iter(write_cohort(plan)))
    assert made == [7]
    folders = list(write_cohort(plan))
    assert made == [7, 8, 9]
    assert [f.name for f in folders] == ["train_0007", "train_0008", "train_0009"]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("wrong", [{"layout": "dicom"}, {"cases": 0}, {"seed": -1}])
def test_impossible_cohorts_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=r"must be|at least"):
        CohortPlan(tmp_path, **wrong)


def test_impossible_options_are_refused(tmp_path, patient):
    with pytest.raises(ValueError, match="scene spacing"):
        PhantomOptions(scene_spacing_mm=0.1)
    with pytest.raises(ValueError, match="jobs"):
        list(write_cohort(CohortPlan(tmp_path), jobs=0))
    with pytest.raises(ValueError, match="layout"):
        write_patient(patient, tmp_path / "p", "dicom")


def test_tumours_take_tracer_from_organs():
    few, much = (draw_uptake(Tracer.PSMA, np.random.default_rng(0), ml) for ml in (10, 3000))
    assert much["parotid"] < few["parotid"]
    assert much["muscle"] == few["muscle"]
    assert draw_uptake(Tracer.FDG, np.random.default_rng(0), 3000) == draw_uptake(
        Tracer.FDG, np.random.default_rng(0), 1
    )


def test_both_tracers_know_the_same_tissues():
    assert set(_PSMA) == set(_FDG)


@given(st.tuples(*[st.floats(-180, 180)] * 3), st.sampled_from([2, 4]), st.integers(0, 999))
@settings(max_examples=40)
def test_bounds_hold_the_whole_ellipsoid(turn, power, seed):
    shape = Ellipsoid((3, -2, 5), (9, 4, 6), turn, power)
    points = np.random.default_rng(seed).uniform(-16, 16, (3, 4000)).astype(np.float32)
    inside = shape.level(*points) <= 1
    low, high = shape.bounds()
    assert (points.T[inside] >= low - 1e-3).all()
    assert (points.T[inside] <= high + 1e-3).all()


def test_volume_and_level_by_hand():
    ball = Ellipsoid((0, 0, 0), (10, 10, 10))
    assert ball.volume_ml == pytest.approx(4.18879, rel=1e-5)
    assert ball.scaled(2).volume_ml == pytest.approx(8 * ball.volume_ml)
    tube = Tube.along([(0, 0, 0), (10, 0, 0)], 2)
    level = tube.level(*np.array([[5, 5, 13], [2, 3, 0], [0, 0, 0]], dtype=np.float32))
    assert level == pytest.approx([1, 2.25, 2.25])
    assert tube.moved((1, 0, 0)).bounds()[0].tolist() == [-1, -2, -2]
