import sys

import pytest
from PIL import Image

from deeppsma.core.tracer import Tracer
from deeppsma.evaluation.froc import CUTOFFS, draw_froc, froc, froc_table
from deeppsma.evaluation.metrics import LesionCounts


def counts(lesions, found, false):
    return [LesionCounts(lesions, found, false)] * len(CUTOFFS)


def test_a_curve_by_hand():
    first = [LesionCounts(4, 4 if cutoff < 0.5 else 1, 6 if cutoff < 0.5 else 0) for cutoff in CUTOFFS]
    points = froc([first, counts(1, 1, 1)])
    assert [point.cutoff for point in points] == list(CUTOFFS)
    assert (points[0].sensitivity, points[0].false_per_patient) == (1.0, 3.5)
    assert (points[-1].sensitivity, points[-1].false_per_patient) == (2 / 5, 0.5)


def test_without_lesions_none_is_missed():
    assert froc([counts(0, 0, 2)])[0].sensitivity == 1


def test_what_is_no_curve_is_refused():
    with pytest.raises(ValueError, match="no patients"):
        froc([])
    with pytest.raises(ValueError, match="13 counts"):
        froc([[LesionCounts(1, 1, 1)]])


def test_table_and_picture(tmp_path, monkeypatch):
    curves = {Tracer.PSMA: froc([counts(4, 3, 2)]), Tracer.FDG: froc([counts(3, 1, 0)])}
    lines = froc_table(curves).splitlines()
    assert lines[2] == "| 0.01 | 75.0 % | 2.00 | 33.3 % | 0.00 |"
    assert len(lines) == 2 + len(CUTOFFS)
    draw_froc(curves, "a test", tmp_path / "froc.png")
    with Image.open(tmp_path / "froc.png") as picture:
        assert picture.width > 100
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError):
        draw_froc(curves, "a test", tmp_path / "froc.png")
