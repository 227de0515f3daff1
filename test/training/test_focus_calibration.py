import numpy as np
import pytest
from PIL import Image

from deeppsma.training.focus_calibration import (
    Judged,
    by_size,
    calibration_error,
    calibration_interval,
    draw_reliability,
    open_to_doubt,
    reliability,
)


def judged(count=4000, too_sure=1.0, seed=0):
    rng = np.random.default_rng(seed)
    probability = rng.random(count)
    said = 1 / (1 + ((1 - probability) / probability) ** too_sure)
    return Judged(said, rng.random(count) < probability, rng.exponential(3, count), rng.integers(0, 40, count))


def test_four_foci_solved_by_hand():
    four = Judged(np.array([0.1, 0.15, 0.9, 1.0]), np.array([0, 0, 1, 1], bool), np.ones(4), np.arange(4))
    assert [(b.count, b.share) for b in reliability(four)] == [(2, 0.0), (2, 1.0)]
    assert calibration_error(four) == pytest.approx((2 * 0.125 + 2 * 0.05) / 4)
    assert len(open_to_doubt(four, 0.12).probability) == 3


def test_who_is_too_sure_is_found_out():
    assert calibration_error(judged()) < 0.03
    assert calibration_error(judged(too_sure=3.0)) > 0.08
    low, high = calibration_interval(judged(too_sure=3.0))
    assert low < calibration_error(judged(too_sure=3.0)) < high + 0.02
    assert calibration_interval(judged()) == calibration_interval(judged())


def test_foci_by_size():
    sizes = by_size(judged())
    assert list(sizes) == ["below 0.5 ml", "0.5 to 2 ml", "2 to 10 ml", "10 ml and more"]
    assert sizes["2 to 10 ml"].volume_ml.min() >= 2
    assert sum(len(each.disease) for each in sizes.values()) == 4000


def test_without_foci_there_is_no_error():
    none = judged(0)
    assert calibration_error(none) == 0
    assert calibration_interval(none) == (0, 0)
    with pytest.raises(ValueError, match="each focus needs"):
        Judged(np.zeros(2), np.zeros(1, bool), np.zeros(2), np.zeros(2, int))


def test_the_diagram_is_drawn(tmp_path):
    draw_reliability([("FDG", judged(300))], str(tmp_path / "r.png"))
    with Image.open(tmp_path / "r.png") as picture:
        assert picture.width > 100
