import math

import numpy as np
import pytest
from builders.results import TYPICAL, Spot, result

from deeppsma.core.tracer import Tracer
from deeppsma.reporting.concordance import concordance
from deeppsma.reporting.criteria import criteria, repeatability
from deeppsma.reporting.lesion_table import lesion_table
from deeppsma.reporting.promise import draft_mitnm
from deeppsma.reporting.reference_uptake import liver_suv
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
    assert liver_suv(case.scans[Tracer.PSMA]) == (1.0, 0.0)
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
    assert values["FDG metabolic tumour volume"] == f"{(80 + 64) * 0.08:.1f} ml"
    assert all(c.source and c.caveat and c.rule for c in criteria(table, sums, None))
    assert [r.coefficient_percent for r in repeatability()] == [17.0, 23.2, 28.1, 24.4, 25.3, 31.0]


def test_one_tracer_is_not_assessed_where_two_are_needed():
    _, table, sums = made({Tracer.FDG: TYPICAL[Tracer.FDG]})
    values = [c.value for c in criteria(table, sums, None)]
    assert sum(value.startswith("not assessed") for value in values) == 6
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
    assert "1 foci in 1 bones" in rows["miM1b"].evidence
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
    assert draft(named("left", "right"))["miN"] == "miN1b"


def test_a_spoilt_table_of_criteria_is_one_line(monkeypatch):
    from deeppsma.core.errors import ConfigurationError
    from deeppsma.reporting import criteria as module

    monkeypatch.setattr(module, "read_toml", lambda *_: ("criteria.toml", {"criterion": []}))
    module._table.cache_clear()
    with pytest.raises(ConfigurationError, match="no tables"):
        repeatability()
    module._table.cache_clear()
