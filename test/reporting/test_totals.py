import math

import numpy as np
import pytest
from builders.results import TYPICAL, Spot, result

from deeppsma.core.tracer import Tracer
from deeppsma.preprocessing.liver_threshold import liver_uptake
from deeppsma.reporting.concordance import concordance
from deeppsma.reporting.content import notes
from deeppsma.reporting.criteria import criteria, repeatability
from deeppsma.reporting.lesion_table import lesion_table
from deeppsma.reporting.promise import UNCERTAIN, draft_mitnm
from deeppsma.reporting.reference_uptake import liver_suv
from deeppsma.reporting.review import review
from deeppsma.reporting.totals import totals


def made(spots, **options):
    case = result(spots, **options)
    table = lesion_table(case)
    return case, table, totals(case, table)


def test_sums_by_hand():
    _, _, sums = made(TYPICAL)
    psma = sums[Tracer.PSMA]
    assert psma.whole.volume_ml == pytest.approx(84 * 0.08)
    # 80 voxels of 12 and 4 of 6: the mean over all voxels, not of the two lesions' means (9).
    assert psma.whole.suv_mean == pytest.approx((80 * 12 + 4 * 6) / 84)
    assert psma.whole.total_uptake_g == pytest.approx((80 * 12 + 4 * 6) * 0.08)
    assert (psma.whole.foci, psma.whole.small_foci, psma.components) == (1, 1, 2)
    assert psma.by_region["bone"].volume_ml == pytest.approx(84 * 0.08)
    assert psma.rethresholded_ml["SUV \N{GREATER-THAN OR EQUAL TO} 4"] == pytest.approx(84 * 0.08)
    assert "SUV \N{GREATER-THAN OR EQUAL TO} 2.5" not in psma.rethresholded_ml
    assert psma.liver_suv == (1.0, 0.0)


def test_forty_one_per_cent_is_of_each_focus_own_maximum():
    spots = [Spot((30, 10, 10), (4, 4, 4), 4.0), Spot((30, 10, 14), (4, 4, 1), 20.0)]
    _, table, sums = made({Tracer.PSMA: spots})
    assert len(table.lesions) == 1
    share = next(ml for name, ml in sums[Tracer.PSMA].rethresholded_ml.items() if name.startswith("41"))
    assert share == pytest.approx(16 * 0.08)  # 4 is below 0.41 * 20


def test_no_disease_has_no_mean_and_no_criterion_fails():
    case, table, sums = made({Tracer.PSMA: [], Tracer.FDG: []})
    assert sums[Tracer.PSMA].whole.volume_ml == 0
    assert math.isnan(sums[Tracer.PSMA].whole.suv_mean)
    values = {c.name: c.value for c in criteria(table, sums, concordance(case, table))}
    assert values["PSMA SUVmean of all disease"] == "no PSMA lesion"
    assert values["FDG metabolic tumour volume"] == "0.0 ml"
    assert values["FDG lesions without PSMA disease"] == "0 of 0 (0.0 ml)"


def test_liver_without_disease_and_without_a_map():
    case, _, _ = made({Tracer.PSMA: [Spot((46, 10, 4), (4, 4, 4), 9.0)]})
    pet = case.scans[Tracer.PSMA].pet
    pet.voxels[:] += np.random.default_rng(1).normal(0, 0.1, pet.voxels.shape)
    mean, spread = liver_suv(case.scans[Tracer.PSMA])
    assert (mean, spread) == pytest.approx((1.0, 0.1), abs=0.01)
    # Whatever is hot in a map's liver, a kidney too, is no liver; and one result has one liver.
    pet.voxels[46:56, 20:24, 4:8] += 30
    assert liver_suv(case.scans[Tracer.PSMA])[1] == pytest.approx(0.1, abs=0.02)
    assert liver_suv(case.scans[Tracer.PSMA])[0] == liver_uptake(pet, case.scans[Tracer.PSMA].organs).mean_suv
    case, _, _ = made({Tracer.PSMA: []}, with_organs=False)
    assert liver_suv(case.scans[Tracer.PSMA]) is None
    case, _, _ = made({Tracer.PSMA: []})
    case.scans[Tracer.PSMA].organs.voxels[45:] = 0
    assert liver_suv(case.scans[Tracer.PSMA]) is None


def test_criteria_are_values_and_name_the_lesions():
    case, table, sums = made(TYPICAL)
    values = {c.name: c.value for c in criteria(table, sums, concordance(case, table))}
    assert values["Highest PSMA SUVmax of a lesion"] == "12.0 (P1)"
    assert values["PSMA lesions with SUVmax of 10 or less"] == "1 of 2 (0.3 ml): P2"
    assert values["FDG lesions without PSMA disease"] == "1 of 2 (5.1 ml): F2"
    assert values["PSMA tumour volume and foci, recorded for follow-up"] == "6.7 ml; 1 focus, 1 small beside them"
    asked = next(c.value for c in criteria(table, sums, None, draft_mitnm(table, sums, True)) if "PPP2" in c.name)
    assert asked == (
        "M1a no focus found; M1b present; M1c no focus found; 6.7 ml; 1 focus, 1 small beside them; "
        "expression score not assessed"
    )
    assert values["FDG metabolic tumour volume"] == f"{(80 + 64) * 0.08:.1f} ml"
    assert all(c.source and c.caveat and c.rule for c in criteria(table, sums, None))
    assert [r.coefficient_percent for r in repeatability()] == [17.0, 23.2, 28.1, 24.4, 25.3, 31.0]


def test_one_tracer_is_not_assessed_where_two_are_needed():
    _, table, sums = made({Tracer.FDG: TYPICAL[Tracer.FDG]})
    values = [c.value for c in criteria(table, sums, None)]
    assert sum(value.startswith("not assessed") for value in values) == 8
    assert draft_mitnm(table, sums, False)[0].evidence == "no PSMA result"


def test_draft_staging_gives_its_evidence():
    spots = [
        Spot((27, 24, 22), (4, 5, 4), 12.0),  # L4
        Spot((46, 14, 6), (4, 4, 4), 9.0),  # liver
        Spot((36, 13, 30), (4, 4, 4), 8.0),  # left of the aorta
    ]
    _, table, sums = made({Tracer.PSMA: spots})
    rows = {x.letter: x for x in draft_mitnm(table, sums, True)}
    assert rows["miM1b"].draft == rows["miM1c"].draft == rows["miM1a"].draft == "present"
    assert rows["miN"].draft == rows["miT"].draft == "no focus found"
    assert "1 focus in 1 bone; the pattern" in rows["miM1b"].evidence
    assert rows["miT"].evidence == "no PSMA focus called disease there"
    assert rows["miT2, T3a, T3b, T4, Tr"].draft == "not assessed"
    assert rows["PSMA expression"].draft == "100 % of the volume at or above the liver"
    assert draft_mitnm(table, sums, False)[0].draft == "not assessed"


def test_pelvic_nodes_on_both_sides_are_several_regions():
    from dataclasses import replace

    from deeppsma.reporting.anatomy_names import Naming, SiteName
    from deeppsma.reporting.lesion_table import LesionTable

    _, table, sums = made({Tracer.PSMA: TYPICAL[Tracer.PSMA]})

    def named(*sides):
        lesions = [
            replace(x, naming=Naming(SiteName("iliac", "node", "pelvic nodes", side), None, np.inf))
            for x, side in zip(table.lesions, sides, strict=True)
        ]
        return LesionTable(tuple(lesions), table.maps, table.components)

    def draft(t):
        return {x.letter: x.draft for x in draft_mitnm(t, sums, True)}

    assert draft(named("left", "left"))["miN"] == "miN1a or more"
    # Of the two, the second is small: no letter rests on it.
    assert draft(named("left", "right"))["miN"] == "miN1a or more; miN1b if small or doubtful foci count"

    def with_probabilities(*given):
        both = named("left", "right").lesions
        lesions = [replace(x, volume_ml=9.0, probability=p) for x, p in zip(both, given, strict=True)]
        return LesionTable(tuple(lesions), table.maps, table.components)

    assert draft(with_probabilities(0.9, None))["miN"] == "miN1b"
    assert draft(with_probabilities(0.9, 0.5))["miN"].startswith("miN1a or more;")
    assert draft(with_probabilities(0.4, 0.5))["miN"] == UNCERTAIN
    evidence = next(x.evidence for x in draft_mitnm(with_probabilities(0.5, 0.9), sums, True) if x.letter == "miN")
    assert evidence.startswith("P2 node, right iliac, 9.0 ml; P1 node, left iliac, 9.0 ml (p = 0.50)")


def test_specks_alone_make_no_letter_and_say_so():
    """Two voxels in the liver would make a patient M1c."""
    _, table, sums = made({Tracer.PSMA: [Spot((46, 14, 6), (1, 1, 2), 9.0), Spot((27, 24, 22), (1, 2, 2), 9.0)]})
    rows = {x.letter: x for x in draft_mitnm(table, sums, True)}
    assert rows["miM1c"].draft == rows["miM1b"].draft == UNCERTAIN
    assert "0.2 ml (small)" in rows["miM1c"].evidence
    assert "0 foci in 0 bones, 1 small or doubtful ones beside them" in rows["miM1b"].evidence


def test_a_letter_names_what_is_hot_there_and_not_called_disease():
    case, table, sums = made({Tracer.PSMA: [Spot((12, 30, 20), (3, 3, 3), 9.0, found=False)]})
    missed = review(case, table, None).candidates
    assert [c.naming.first.region for c in missed] == ["bone"]
    row = next(x for x in draft_mitnm(table, sums, True, missed) if x.letter == "miM1b")
    assert row.draft == "no focus found"
    assert row.evidence == (
        "no PSMA focus called disease there. Hot there but not called disease: PX1 (2.2 ml, SUVmax 9.0); "
        "see possible misses"
    )


def test_many_specks_are_said_first():
    specks = [Spot((4 * k, 8, 40), (1, 1, 2), 9.0) for k in range(12)] + [
        Spot((4 * k, 2, 40), (1, 1, 2), 9.0) for k in range(12)
    ]
    case, table, sums = made({Tracer.PSMA: specks})
    assert any(x.startswith("24 of 24 PSMA foci are small (together 3.8 of 3.8 ml)") for x in notes(case, table, sums))
    case, table, sums = made({Tracer.PSMA: specks[:19]})
    assert not any("are small" in x for x in notes(case, table, sums))


def test_a_spoilt_table_of_criteria_is_one_line(monkeypatch):
    from deeppsma.core.errors import ConfigurationError
    from deeppsma.reporting import criteria as module

    monkeypatch.setattr(module, "read_toml", lambda *_: ("criteria.toml", {"criterion": []}))
    module._table.cache_clear()
    with pytest.raises(ConfigurationError, match="no tables"):
        repeatability()
    module._table.cache_clear()
