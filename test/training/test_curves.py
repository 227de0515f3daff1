import sys

import numpy as np
import pytest
from PIL import Image

from deeppsma.core.tracer import Tracer
from deeppsma.training.curves import Course, draw_curves, hours_of
from deeppsma.training.validation import Agreement, Validation

VALIDATION = Validation(0.5, {tracer: Agreement(0.75, 10.0, 4.0) for tracer in Tracer})


def write_course(folder, steps=10):
    course = Course(folder, 0)
    for step in range(steps):
        course.add(step, 1 / (step + 1), 1e-3, 36.0)
        if step % 3 == 2:
            course.add_validation(step, VALIDATION)


def test_a_course_is_kept_as_csv(tmp_path):
    write_course(tmp_path)
    assert (tmp_path / "curve.csv").read_text().splitlines()[:2] == [
        "step,loss,learning_rate,seconds",
        "0,1,0.001,36.000",
    ]
    lines = (tmp_path / "validation.csv").read_text().splitlines()
    assert lines[0].startswith("step,loss,")
    assert lines[1:] == [f"{step},0.5,0.75,10,4,0.75,10,4" for step in (2, 5, 8)]
    assert hours_of(tmp_path) == pytest.approx(0.1)


def test_a_resumed_course_drops_what_its_checkpoint_did_not_keep(tmp_path):
    write_course(tmp_path)
    with (tmp_path / "curve.csv").open("a") as file:
        file.write("10,0.0")  # cut off
    Course(tmp_path, 5)
    for name, steps in (("curve.csv", list("01234")), ("validation.csv", ["2"])):
        lines = (tmp_path / name).read_text().splitlines()
        assert [line.split(",")[0] for line in lines[1:]] == steps
    Course(tmp_path, 0)
    assert len((tmp_path / "curve.csv").read_text().splitlines()) == 1


def test_curves_are_drawn(tmp_path):
    write_course(tmp_path)
    with Image.open(draw_curves(tmp_path)) as picture:
        wide = np.asarray(picture)
    assert len(np.unique(wide.reshape(-1, wide.shape[2]), axis=0)) > 20
    (tmp_path / "validation.csv").unlink()
    with Image.open(draw_curves(tmp_path)) as picture:
        assert picture.width < wide.shape[1]


def test_without_matplotlib_there_is_no_picture(tmp_path, monkeypatch):
    write_course(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError):
        draw_curves(tmp_path)
