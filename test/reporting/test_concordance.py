import numpy as np
import pytest
from builders.results import TYPICAL, Spot, organ_map, result

from deeppsma.core import anatomy as organs
from deeppsma.core.tracer import Tracer
from deeppsma.reporting.concordance import Match, concordance
from deeppsma.reporting.lesion_table import lesion_table
from deeppsma.reporting.pairing import Nearness
from deeppsma.reporting.reference_uptake import blood_pool_suv


def judged(spots, **options):
    case = result(spots, **options)
    table = lesion_table(case)
    return table, concordance(case, table)


def test_pairs_are_found_after_registration():
    table, found = judged(TYPICAL)
    p1 = found.counterparts["P1"]
    assert (p1.match, p1.group, p1.partners, p1.distance_mm) == (Match.CONCORDANT, "C1", ("F1",), 0)
    assert p1.other_suv_max == 5
    assert found.counterparts["F1"].group == "C1"
    alone = found.counterparts["F2"]
    assert (alone.match, alone.group, alone.other_suv_max) == (Match.ONLY, "", 1)
    # All of P1's volume is shared, P2's is not; F1's is, F2's is not.
    assert found.shared_ml[Tracer.PSMA][5.0] == pytest.approx(6.4)
    assert found.single_ml[Tracer.PSMA][5.0] == pytest.approx(0.32)
    assert found.class_ml(table, Tracer.FDG, Match.ONLY) == pytest.approx(64 * 0.08)
    assert any("below 2 ml" in note for note in found.counterparts["P2"].notes)


@pytest.mark.parametrize(
    ("gap", "distance", "paired_from"), [(-2, 0, 0.0), (-1, 0, 5.0), (0, 4.0, 10.0), (1, 8.0, 99.0)]
)
def test_a_fifth_of_a_lesion_must_lie_on_or_beside_the_others(gap, distance, paired_from):
    """Boxes side by side in steps of a row, 4 mm: of P1's six rows two, one, none lie inside, the next at 4 mm."""
    _, found = judged({
        Tracer.PSMA: [Spot((30, 8, 20), (4, 6, 4), 9.0)],
        Tracer.FDG: [Spot((30, 14 + gap, 22), (4, 6, 4), 9.0)],
    })  # fmt: skip
    assert found.counterparts["P1"].distance_mm == pytest.approx(distance)
    for tolerance in (0.0, 5.0, 10.0):
        shared = found.shared_ml[Tracer.PSMA][tolerance]
        assert shared == pytest.approx(96 * 0.08 if tolerance >= paired_from else 0)
    assert (found.counterparts["P1"].match is Match.CONCORDANT) == (paired_from <= 5)


def test_a_lesion_that_only_touches_a_pair_stays_alone_and_a_host_is_concordant_by_its_guest():
    """Most of F1 lies in the long P1, which is so its partner; P2 touches F1's edge."""
    _, found = judged({
        Tracer.PSMA: [Spot((30, 14, 20), (4, 4, 20), 9.0), Spot((30, 20, 24), (4, 6, 4), 8.0)],
        Tracer.FDG: [Spot((30, 14, 26), (4, 6, 4), 9.0)],
    })  # fmt: skip
    assert found.counterparts["F1"].partners == ("P1",)
    assert found.counterparts["P1"].partners == ("F1",)
    assert found.counterparts["P1"].match is Match.CONCORDANT
    touching = found.counterparts["P2"]
    assert (touching.distance_mm, touching.partners, touching.group) == (4.0, (), "")
    assert touching.match is Match.ONLY
    assert touching.other_suv_max == 1


def test_a_lesion_without_a_voxel_has_no_nearness():
    with pytest.raises(ValueError, match="one at least"):
        Nearness(np.empty(0), np.empty(0, int))


def test_uptake_without_disease_is_graded_by_the_threshold_and_the_blood():
    place = (30, 24, 36)
    for suv, match in ((4.0, Match.UNSEGMENTED), (2.0, Match.BELOW), (0.9, Match.ONLY)):
        _, found = judged({
            Tracer.PSMA: [Spot(place, (6, 6, 6), 9.0)],
            Tracer.FDG: [Spot((27, 20, 34), (12, 14, 14), suv, found=False)],
        })  # fmt: skip
        assert found.counterparts["P1"].match is match
        assert found.counterparts["P1"].other_suv_max == pytest.approx(suv)


def test_without_an_organ_map_faint_uptake_is_not_told_from_none_and_that_is_said():
    _, found = judged(TYPICAL, with_organs=False)
    assert found.counterparts["F2"].match is Match.ONLY
    assert "blood pool not measured" in found.counterparts["F2"].notes[0]
    assert found.blood_suv == {Tracer.PSMA: None, Tracer.FDG: None}


def test_bladder_hides_and_the_field_of_view_ends():
    _, found = judged({Tracer.PSMA: [Spot((2, 13, 22), (4, 4, 4), 9.0)], Tracer.FDG: []})
    assert found.counterparts["P1"].match is Match.UNKNOWN
    assert "hidden" in found.counterparts["P1"].notes[0]
    # The two leftmost columns of the FDG scan lie in no PSMA column: FDG points go 8 mm to the right.
    _, found = judged({Tracer.PSMA: [], Tracer.FDG: [Spot((30, 20, 0), (4, 4, 2), 9.0)]})
    assert found.counterparts["F1"].match is Match.UNKNOWN
    assert "field of view" in found.counterparts["F1"].notes[0]


def test_several_partners_are_one_group():
    _, found = judged({
        Tracer.PSMA: [Spot((30, 20, 20), (4, 4, 12), 9.0)],
        Tracer.FDG: [Spot((30, 20, 22), (4, 4, 3), 9.0), Spot((30, 20, 30), (4, 4, 4), 9.0)],
    })  # fmt: skip
    assert found.counterparts["P1"].partners == ("F1", "F2")
    assert {c.group for c in found.counterparts.values()} == {"C1"}


def test_blood_is_the_eroded_aortas_without_disease():
    case = result({Tracer.PSMA: [Spot((26, 12, 22), (24, 6, 6), 2.0, found=False), Spot((30, 14, 24), (3, 2, 2), 9.0)]})
    scan = case.scans[Tracer.PSMA]
    scan.pet.voxels[(organ_map().voxels == organs.AORTA) & (np.indices((60, 40, 50))[0] == 26)] = 50  # the eroded rim
    assert blood_pool_suv(scan) == pytest.approx(2.0)
    scan.organs.voxels[scan.organs.voxels == organs.AORTA] = 0
    assert blood_pool_suv(scan) is None
    scan.organs.voxels[30:32, 14:17, 24:27] = organs.AORTA
    assert blood_pool_suv(scan) is None


def test_one_tracer_alone_and_no_lesion():
    case = result({Tracer.PSMA: TYPICAL[Tracer.PSMA]})
    assert concordance(case, lesion_table(case)) is None
    _, found = judged({Tracer.PSMA: [], Tracer.FDG: []})
    assert found.counterparts == {}
    assert found.shared_ml[Tracer.FDG] == {0.0: 0, 5.0: 0, 10.0: 0}


def test_a_hot_organ_beside_a_partner_is_not_the_partners_uptake():
    """The FDG disease takes up 5; the bladder beside it, 30."""
    spots = {
        Tracer.PSMA: [Spot((9, 12, 22), (4, 4, 4), 9.0)],
        Tracer.FDG: [Spot((9, 12, 24), (4, 4, 4), 5.0), Spot((7, 12, 24), (2, 4, 4), 30.0, found=False)],
    }
    _, found = judged(spots)
    assert found.counterparts["P1"].match is Match.CONCORDANT
    assert found.counterparts["P1"].other_suv_max == 5
