import re

import pytest

from deeppsma.core.errors import ConfigurationError
from deeppsma.core.tracer import Tracer
from deeppsma.evaluation import report_tables as tables
from deeppsma.evaluation.metrics import Scores
from deeppsma.evaluation.report_tables import beside_the_report, means, orders, reported


def scores(dsc, volume, suv):
    return Scores(dsc, 0.5, 2.0, 3.0, volume, suv, 4, 3, 1)


def test_means_keep_signs_and_take_each_tracers_own_error():
    row = means({Tracer.FDG: [scores(0.5, 10, 1), scores(0.7, -30, 2)], Tracer.PSMA: [scores(0.9, 5, -4)]})
    assert row[Tracer.FDG] == pytest.approx([0.6, 0.5, 2, 3, -10])
    assert row[Tracer.PSMA] == pytest.approx([0.9, 0.5, 2, 3, -4])


@pytest.mark.parametrize(("table", "rows"), [("folds", 5), ("postprocessing", 4), ("unseen", 4)])
def test_the_reports_figures_are_whole(table, rows):
    found = reported(table)
    assert len(found) == rows
    for row in found.values():
        assert len(row[Tracer.PSMA]) == 5
        assert len(row[Tracer.FDG]) == (4 if table == "unseen" else 5)
        assert all(0.7 < row[tracer][0] < 1 for tracer in Tracer)


def test_each_row_stands_above_the_reports():
    row = {Tracer.FDG: [0.5, 0.4, 1, 2, -3], Tracer.PSMA: [0.6, 0.5, 1, 2, 3]}
    lines = beside_the_report(
        {"single": row, "trivial": row},
        reported("unseen") | reported("postprocessing"),
        {"single": "2 x", "trivial": "1 y"},
    )
    assert len(lines.splitlines()) == 5
    ours, theirs, trivial = lines.splitlines()[2:]
    assert ours.startswith("| single | 2 x | 0.500 | 0.400 | 1.0 | 2.0 | -3.0 | 0.600 |")
    assert theirs.startswith("|  | *report: real* | 0.924 |")
    assert trivial.startswith("| trivial | 1 y |")
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines.splitlines()}) == 1


def test_a_missing_figure_is_empty():
    row = {Tracer.FDG: [0.5, 0.4, 1, 2, -3], Tracer.PSMA: [0.6, 0.5, 1, 2, 3]}
    theirs = beside_the_report({"bothways": row}, reported("unseen"), {"bothways": "2 x"}).splitlines()[3]
    assert "| 5.8 |  | 0.872 |" in theirs


def test_orders_are_said():
    def row(fdg, psma):
        return {Tracer.FDG: [fdg], Tracer.PSMA: [psma]}

    said = orders({"a": row(0.1, 0.9), "b": row(0.2, 0.8), "c": row(1, 1)}, {"a": row(0.9, 0.9), "b": row(0.3, 0.3)})
    assert said == (
        "FDG by mean DSC: here b > a; in the report a > b. PSMA by mean DSC: here a > b; in the report a > b."
    )


def test_a_damaged_file_of_figures_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "read_toml", lambda *_: (tmp_path / "x.toml", {"folds": {"fold 0": {"fdg": [1]}}}))
    with pytest.raises(ConfigurationError, match=r"x.toml: no table folds"):
        reported("folds")
