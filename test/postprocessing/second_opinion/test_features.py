from dataclasses import replace

import numpy as np
import pytest
from builders.second_opinions import small_evidence

from deeppsma.core.anatomy import HIP_LEFT, HIP_RIGHT, LIVER, LUNG_UPPER_LEFT, LUNG_UPPER_RIGHT, VERTEBRAE
from deeppsma.core.tracer import Tracer
from deeppsma.postprocessing.second_opinion.features import FeatureTable, describe
from deeppsma.postprocessing.second_opinion.pieces import pieces


@pytest.fixture
def evidence():
    return small_evidence()


def pieces_of(evidence):
    return pieces(evidence.suv / 3, evidence.hot, evidence.mean >= 0, evidence.spacing_zyx)


def test_features_solved_by_hand(evidence):
    piece = pieces_of(evidence)
    table = describe(evidence, piece)
    lesion = piece[np.flatnonzero(evidence.mean >= 0)[0]]
    suv = evidence.suv[evidence.hot][piece == lesion]
    assert table.column("suv.log_mean")[lesion] == pytest.approx(np.log(suv.mean() / 3), rel=1e-5)
    assert table.column("suv.log_max")[lesion] == pytest.approx(np.log(suv.max() / 3), rel=1e-5)
    assert np.exp(table.column("suv.log_volume_ml")[lesion]) == pytest.approx(len(suv) * 0.064, rel=1e-5)
    assert table.column("network.mean_q50")[lesion] == pytest.approx(4.0)
    assert table.column("network.apart")[lesion] == pytest.approx(2.0)
    assert table.column("ct.mean")[lesion] == pytest.approx(300)
    assert table.column("organ.bone")[lesion] == 1
    liver = int(np.argmax(table.column("organ.liver_spleen")))
    assert table.column("organ.liver_spleen")[liver] == 1
    assert table.column("network.mean_share")[liver] == 0
    # The patient's liver is imaged at 6, twice the threshold; all rows say so.
    assert np.allclose(table.column("patient.log_liver"), np.log(2), atol=0.02)


def test_what_each_network_says_solved_by_hand(evidence):
    piece = pieces_of(evidence)
    first = evidence.mean
    lesion = piece[np.flatnonzero(first >= 0)[0]]
    second = np.where(piece == lesion, np.float32(-1), np.float32(-20))
    table = describe(replace(evidence, members=(first, second)), piece)
    assert table.column("members.1_logit")[lesion] == pytest.approx(4.0)
    assert table.column("members.2_logit")[lesion] == pytest.approx(-1.0)
    assert table.column("members.2_probability")[lesion] == pytest.approx(1 / (1 + np.e))
    assert table.column("members.apart")[lesion] == pytest.approx(5.0)
    assert table.column("members.2_logit").min() == pytest.approx(-12.0)  # beyond it a network has no more to say
    alone = describe(evidence, piece)
    assert not any(name.startswith("members.") for name in alone.names)
    assert table.column("suv.log_max").tolist() == alone.column("suv.log_max").tolist()


def test_where_in_the_body_a_focus_lies(evidence):
    piece = pieces_of(evidence)
    labels = evidence.labels.copy()
    labels[0, 2:12, :10], labels[0, 2:12, 14:] = HIP_RIGHT, HIP_LEFT
    labels[11, 0:8, :10], labels[11, 0:8, 14:] = LUNG_UPPER_RIGHT, LUNG_UPPER_LEFT
    table = describe(replace(evidence, labels=labels), piece)
    lesion = piece[np.flatnonzero(evidence.mean >= 0)[0]]
    # Lungs lie 11 voxels over the hips and 3 before them; the lesion is centred 5 over and about half a voxel behind.
    trunk = np.hypot(11, 3)
    assert table.column("place.height")[lesion] == pytest.approx((5 * 11 + 0.5 * 3) / trunk**2, abs=0.02)
    assert table.column("place.lateral")[lesion] == pytest.approx((18 - 11.5) / trunk, abs=0.05)
    mirrored = describe(replace(evidence, labels=_other_way_round(labels)), piece)
    assert mirrored.column("place.lateral")[lesion] == pytest.approx(table.column("place.lateral")[lesion])


def test_without_a_map_the_lungs_on_the_ct_say_where_a_focus_lies(evidence):
    piece = pieces_of(evidence)
    blind = replace(evidence, labels=None, spacing_zyx=(40.0, 40.0, 40.0))
    assert np.isnan(describe(blind, piece).column("place.height")).all()  # tissue throughout
    hounsfield = evidence.hounsfield.copy()
    hounsfield[7:11, 3:7, 4:10] = -900
    table = describe(replace(blind, hounsfield=hounsfield), piece)
    lesion = piece[np.flatnonzero(evidence.mean >= 0)[0]]
    # The lesion is centred 3.5 slices of 40 mm below the lungs, 1.5 rows before, 6.5 columns from the middle.
    places = [table.column(f"place.{name}")[lesion] for name in ("height", "lateral", "front")]
    assert places == pytest.approx([1 - 140 / 400, 260 / 400, -60 / 400], abs=0.08)


def _other_way_round(labels):
    swapped = {HIP_LEFT: HIP_RIGHT, HIP_RIGHT: HIP_LEFT}
    swapped |= {LUNG_UPPER_LEFT: LUNG_UPPER_RIGHT, LUNG_UPPER_RIGHT: LUNG_UPPER_LEFT}
    table = np.arange(256, dtype=np.uint8)
    for label, other in swapped.items():
        table[label] = other
    return table[labels]


def test_contrast_is_against_the_kind_of_organ(evidence):
    hot_spine = evidence.suv.copy()
    hot_spine[evidence.labels == VERTEBRAE[0]] *= 3
    hotter = replace(evidence, suv=hot_spine)
    piece = pieces_of(evidence)
    lesion = piece[np.flatnonzero(evidence.mean >= 0)[0]]
    before, after = (describe(each, piece).column("contrast.mean")[lesion] for each in (evidence, hotter))
    assert after == pytest.approx(before, abs=1e-4)  # lesion and marrow rose alike
    spine = [describe(each, piece).column("patient.log_spine")[0] for each in (evidence, hotter)]
    assert spine[1] - spine[0] == pytest.approx(np.log(3), abs=1e-4)


def test_what_is_missing_is_not_a_number_and_the_names_stay(evidence):
    piece = pieces_of(evidence)
    whole = describe(evidence, piece)
    blind = replace(evidence, labels=None, hounsfield=None, other=np.full_like(evidence.other, np.nan))
    table = describe(blind, piece)
    assert table.names == whole.names
    for name in table.names:
        unknown = name.startswith(("ct.", "organ.", "contrast.", "place.", "network.other")) or name == "network.apart"
        if unknown:
            assert np.isnan(table.column(name)).all(), name
    assert np.isnan(table.column("patient.log_liver")).all()
    assert not np.isnan(table.column("suv.log_mean")).any()
    assert blind.missing == ("FDG organ map", "FDG CT")
    assert evidence.missing == ()
    assert np.array_equal(blind.mean, blind.own)


def test_whole_features_are_finite(evidence):
    table = describe(evidence, pieces_of(evidence))
    unknown = [name for name in table.names if np.isnan(table.column(name)).all()]
    # Tissues that this image has not.
    assert set(unknown) == {f"patient.log_{t}" for t in ("spleen", "blood", "hips", "lung", "colon", "muscle")} | {
        "patient.lung_spread",
        # And no lungs and hips, between which a body is measured.
        "place.height",
        "place.lateral",
        "place.front",
    }
    assert len(table.names) == len(set(table.names)) == 85


def test_without_hot_voxels_there_are_no_foci(evidence):
    cold = replace(
        evidence,
        hot=np.zeros_like(evidence.hot),
        own=np.zeros(0, np.float32),
        other=np.zeros(0, np.float32),
        other_tracer=np.zeros(0, np.float32),
    )
    assert describe(cold, np.zeros(0, np.int32)).values.shape == (0, 85)


def test_what_does_not_fit_is_refused(evidence):
    with pytest.raises(ValueError, match="numbers of foci"):
        describe(evidence, np.zeros(3, np.int32))
    with pytest.raises(ValueError, match=r"labels .* is not on the grid"):
        replace(evidence, labels=evidence.labels[1:])
    with pytest.raises(ValueError, match=r"own .* must have a value"):
        replace(evidence, own=evidence.own[1:])
    with pytest.raises(ValueError, match="2 names for features"):
        FeatureTable(("a", "b"), np.zeros((3, 3), np.float32))


def test_the_other_tracer_is_seen(evidence):
    table = describe(evidence, pieces_of(evidence))
    assert evidence.tracer is Tracer.FDG
    # It is hot, and its disease is found, only where the lesion is.
    lesion = int(np.argmax(table.column("other_tracer.probability")))
    assert table.column("other_tracer.hot_share")[lesion] == 1
    assert table.column("network.mean_share")[lesion] == 1
    assert (np.delete(table.column("other_tracer.probability"), lesion) < 0.1).all()


def test_the_liver_has_its_label(evidence):
    assert (evidence.labels == LIVER).any()
