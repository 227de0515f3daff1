import json
from dataclasses import replace

import numpy as np
import pytest
from builders.patients import COARSE, SMALL_SCANNERS, small_patient

from deeppsma.core.anatomy import BLADDER, KIDNEY_LEFT, KIDNEY_RIGHT, LABEL_MAX, LIVER
from deeppsma.core.tracer import Tracer
from deeppsma.io.image_files import ImageFile
from deeppsma.io.layouts import load_case
from deeppsma.phantom.patient import draw_patient
from deeppsma.phantom.session import PhantomOptions
from deeppsma.phantom.write_cohort import write_patient

#: Disease of seed 3 as version 2's own code imaged it, ml.
VERSION_2 = {"psma": 230.91, "fdg": 25.09}


@pytest.fixture(scope="module")
def patient():
    return small_patient(3)


def test_the_same_seed_gives_the_same_patient(patient):
    again = draw_patient(3, COARSE, SMALL_SCANNERS)
    assert again.card == patient.card
    for tracer in Tracer:
        assert np.array_equal(again.sessions[tracer].pet.suv, patient.sessions[tracer].pet.suv)
        assert np.array_equal(again.sessions[tracer].organ_labels, patient.sessions[tracer].organ_labels)


def test_version_2_can_still_be_made():
    before = draw_patient(3, replace(COARSE, version=2), SMALL_SCANNERS)
    assert before.card["made_with"] == {"phantom": 2, "ct": "none", "scene_spacing_mm": 8.0}
    # Measured on a patient that version 2's own code made.
    assert before.card["sessions"]["psma"]["disease_ml"] == VERSION_2["psma"]
    assert before.card["sessions"]["fdg"]["disease_ml"] == VERSION_2["fdg"]


def test_another_seed_gives_another_patient(patient):
    other = small_patient(4)
    assert other.card["lesions"] != patient.card["lesions"]
    assert other.card["anatomy"] != patient.card["anatomy"]


def test_ct_changes_nothing_but_the_ct(patient):
    with_ct = small_patient(3, "pet")
    for tracer in Tracer:
        assert np.array_equal(with_ct.sessions[tracer].pet.suv, patient.sessions[tracer].pet.suv)
        assert np.array_equal(with_ct.sessions[tracer].organ_labels, patient.sessions[tracer].organ_labels)
    cards = [{**p.card, "made_with": None} for p in (with_ct, patient)]
    assert cards[0] == cards[1]


def test_truth_is_disease_above_threshold(patient):
    for session in patient.sessions.values():
        assert not session.pet.truth[session.pet.suv < session.pet.threshold_suv].any()
    assert patient.sessions[Tracer.PSMA].pet.truth.any()
    assert patient.sessions[Tracer.PSMA].pet.threshold_suv == 3.0
    assert 1.5 <= patient.sessions[Tracer.FDG].pet.threshold_suv < 6


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_not_all_that_is_hot_is_disease(seed):
    """Otherwise the threshold alone would be an answer."""
    for session in small_patient(seed).sessions.values():
        hot = session.pet.suv >= session.pet.threshold_suv
        assert session.pet.truth.sum() < 0.8 * hot.sum()


def test_organs_have_their_labels(patient):
    looked_at = 0
    for session in patient.sessions.values():
        present = set(np.unique(session.organ_labels).tolist())
        assert max(present) <= LABEL_MAX
        # A segmenter may miss one or two; what it finds lies where the body is.
        assert len(present & {1, 2, 3, 5, 21, 51, 52, 64, 91}) >= 7
        assert len(present & set(range(26, 51))) > 15
        centre_x = {label: _centre_xyz(session, label)[0] for label in (KIDNEY_LEFT, KIDNEY_RIGHT) if label in present}
        if len(centre_x) == 2:
            looked_at += 1
            assert centre_x[KIDNEY_LEFT] > centre_x[KIDNEY_RIGHT] + 50  # x runs to the patient's left
        if {LIVER, BLADDER} <= present:
            looked_at += 1
            assert _centre_xyz(session, LIVER)[2] > _centre_xyz(session, BLADDER)[2] + 100  # z to his head
    assert looked_at >= 2


def _centre_xyz(session, label):
    index = np.argwhere(session.organ_labels == label)
    return session.organ_geometry.index_to_world(index).mean(axis=0)


def test_the_registration_brings_the_livers_together():
    patient = small_patient(4)

    def liver_centre(tracer):
        session = patient.sessions[tracer]
        index = np.argwhere(session.organ_labels == LIVER)
        return session.organ_geometry.index_to_world(index).mean(axis=0)

    fdg, psma = liver_centre(Tracer.FDG), liver_centre(Tracer.PSMA)
    apart = np.linalg.norm(patient.fdg_to_psma.apply(fdg[None])[0] - psma)
    assert apart < 30  # breathing, and a coarse registration
    assert apart < np.linalg.norm(fdg - psma) + 25


@pytest.mark.parametrize("layout", ["platform", "train"])
def test_a_written_patient_reads_back(tmp_path, layout):
    patient = small_patient(3, "pet")
    write_patient(patient, tmp_path / "p", layout)
    case = load_case(tmp_path / "p" / "input" if layout == "platform" else tmp_path / "p")
    for tracer in Tracer:
        session, study = patient.sessions[tracer], case.study(tracer)
        assert np.array_equal(study.read_pet().voxels, session.pet.suv)
        assert np.array_equal(study.read_organs().voxels, session.organ_labels)
        assert np.array_equal(study.ct.read().voxels, session.ct.voxels)
        assert study.threshold_suv == session.pet.threshold_suv
        truth = study.truth or ImageFile(tmp_path / "p" / "truth" / f"{tracer}.mha")
        assert np.array_equal(truth.read().voxels > 0, session.pet.truth)
    assert np.allclose(case.fdg_to_psma.matrix, patient.fdg_to_psma.matrix, atol=1e-5)
    assert json.loads((tmp_path / "p/patient.json").read_text())["synthetic"] is True


def test_the_card_tells_what_was_drawn(patient):
    card = patient.card
    json.dumps(card)
    assert card["lesions"]
    for focus in (*card["lesions"], *card["pitfalls"]):
        assert set(focus) == {"kind", "site", "volume_ml", "suv"}
    assert any(lesion["volume_ml"] > 0 for lesion in card["lesions"])
    for tracer, session in card["sessions"].items():
        pet = patient.sessions[Tracer(tracer)].pet
        assert session["disease_ml"] == pytest.approx(pet.truth.sum() * pet.geometry.voxel_volume_ml, abs=0.01)
        assert session["imaged_suv"]["liver"]["mean"] > 0.5
        assert session["imaged_suv"]["liver"]["max"] >= session["imaged_suv"]["liver"]["mean"]
    assert card["sessions"]["fdg"]["radioligand"] == "18F-FDG"


def test_a_full_ct_covers_the_pet_on_another_grid():
    session = draw_patient(5, PhantomOptions(scene_spacing_mm=10.0), SMALL_SCANNERS).sessions[Tracer.PSMA]
    assert session.ct.voxels.shape[1:] == (512, 512)
    assert session.ct.geometry == session.organ_geometry
    assert session.ct.voxels.dtype == np.int16
    body = session.ct.voxels > -300
    assert 0.02 < body.mean() < 0.5


@pytest.mark.parametrize("wrong", [{"ct": "some"}, {"scene_spacing_mm": 0.1}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ValueError, match=r"ct must be|scene spacing"):
        PhantomOptions(**wrong)
