from dataclasses import replace

import pytest
from builders.results import GRID, TYPICAL, Spot, result

from deeppsma.core.tracer import Tracer
from deeppsma.reporting.concordance import concordance
from deeppsma.reporting.lesion_table import lesion_table
from deeppsma.reporting.review import CANDIDATES, reasons_for, review


def made(spots, **options):
    case = result(spots, **options)
    table = lesion_table(case)
    return table, review(case, table, concordance(case, table))


def test_each_reason_is_given_where_it_holds_and_not_else():
    table, found = made(TYPICAL)
    assert "small: below 0.5 ml" in found.reasons["P2"]
    assert "P1" not in found.reasons
    lesion = table.by_id("P1")
    assert reasons_for(lesion, 3.0) == []
    assert reasons_for(replace(lesion, suv_max=3.3), 3.0) == ["SUVmax within 15 % of the threshold"]
    assert reasons_for(replace(lesion, at_border=True), 3.0) == ["cut by the end of the scan"]
    assert reasons_for(replace(lesion, probability=0.5), 3.0) == ["uncertain: p = 0.50"]
    kept = "unlikely: p = 0.01; kept so that few true lesions are lost"
    assert reasons_for(replace(lesion, probability=0.01), 3.0) == [kept]
    assert reasons_for(replace(lesion, probability=0.81), 3.0) == []
    assert reasons_for(replace(lesion, probability=0.9), 3.0) == []


def test_near_the_bladder_and_tracers_at_odds():
    spots = {
        Tracer.PSMA: [Spot((8, 12, 22), (4, 4, 4), 9.0)],
        Tracer.FDG: [Spot((8, 12, 22), (5, 4, 8), 4.0, found=False), Spot((40, 30, 36), (2, 2, 3), 8.0)],
    }
    _, found = made(spots)
    assert "within 5 mm of the bladder" in found.reasons["P1"]
    assert any("not called disease" in reason for reason in found.reasons["P1"])
    assert "FDG without PSMA disease, below 2 ml" in found.reasons["F1"]


def test_possible_misses_are_hot_apart_from_findings_and_not_in_normal_organs():
    spots = [
        Spot((30, 4, 40), (3, 3, 3), 7.0, found=False),  # apart: a possible miss of 27 voxels
        Spot((46, 10, 4), (4, 4, 4), 20.0, found=False),  # inside the liver
        Spot((20, 34, 10), (1, 1, 3), 30.0, found=False),  # 0.24 ml: too small
        Spot((10, 30, 40), (3, 3, 3), 9.0),  # a finding ...
        Spot((10, 30, 43), (3, 3, 3), 5.0, found=False),  # ... and its rim
    ]
    _, found = made({Tracer.PSMA: spots})
    assert [c.id for c in found.candidates] == ["PX1"]
    miss = found.candidates[0]
    assert miss.volume_ml == pytest.approx(27 * 0.08)
    assert (miss.suv_max, miss.suv_mean) == (7.0, 7.0)
    assert len(miss.voxels_zyx) == 27


def test_without_a_map_normal_organs_are_among_them_and_that_is_said():
    spots = [Spot((46, 10, 4), (4, 4, 4), 20.0, found=False)]
    _, found = made({Tracer.PSMA: spots}, with_organs=False)
    assert len(found.candidates) == 1
    assert "no organ map for PSMA" in found.note


def test_at_most_ten_the_hottest_first():
    spots = [Spot((6 * k % 54, 2 + 8 * (k // 9), 36 + 6 * (k % 2)), (3, 3, 2), 5.0 + k, found=False) for k in range(18)]
    _, found = made({Tracer.PSMA: spots}, with_organs=False)
    heat = [c.suv_max for c in found.candidates]
    assert len(heat) == CANDIDATES
    assert heat == sorted(heat, reverse=True)


def test_grid_is_what_the_tests_say():
    assert GRID.voxel_volume_ml == pytest.approx(0.08)


def test_what_trees_removed_comes_first_and_is_said():
    spots = [Spot((30, 4, 40), (3, 3, 3), 7.0, found=False), Spot((10, 30, 40), (3, 3, 3), 5.0, found=False)]
    case = result({Tracer.PSMA: spots})
    before = reviewed(case).candidates
    assert [(c.suv_max, c.note) for c in before] == [(7.0, ""), (5.0, "")]
    line = dict(zip(("x_mm", "y_mm", "z_mm"), before[1].hottest_xyz_mm, strict=True)) | {"probability": 0.031}
    for decision, said in (("removed", "the networks called it disease; removed at p = 0.03"), ("left out", "")):
        given = replace(case, run_report={**case.run_report, "foci": {"psma": [{**line, "decision": decision}]}})
        notes = {c.suv_max: c.note for c in reviewed(given).candidates}
        assert notes == {7.0: "", 5.0: said}
    removed = replace(case, run_report={**case.run_report, "foci": {"psma": [{**line, "decision": "removed"}]}})
    assert [c.suv_max for c in reviewed(removed).candidates] == [5.0, 7.0]


def reviewed(case):
    table = lesion_table(case)
    return review(case, table, concordance(case, table))
