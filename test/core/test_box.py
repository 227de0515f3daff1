import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeppsma.core.box import Box

index = st.integers(-5, 12)


@st.composite
def boxes(draw):
    pairs = [sorted((draw(index), draw(index))) for _ in range(3)]
    return Box(tuple(p[0] for p in pairs), tuple(p[1] for p in pairs))


def test_around_mask_is_tight():
    mask = np.zeros((5, 6, 7), bool)
    mask[1, 2, 3] = mask[3, 2, 6] = True
    assert Box.around_mask(mask) == Box((1, 2, 3), (4, 3, 7))


def test_around_nothing_is_none():
    assert Box.around_mask(np.zeros((2, 2, 2), bool)) is None
    assert Box.around_points(np.zeros((0, 3))) is None


def test_around_points_holds_every_corner_of_interpolation():
    assert Box.around_points([[0.5, 1.0, 2.999]]) == Box((0, 1, 2), (2, 3, 4))


def test_a_box_that_stops_before_it_starts_is_refused():
    with pytest.raises(ValueError, match="stops before it starts"):
        Box((0, 0, 3), (1, 1, 2))


def test_slices_below_zero_are_refused():
    with pytest.raises(ValueError, match="below zero"):
        _ = Box((-1, 0, 0), (1, 1, 1)).slices


@given(boxes(), st.tuples(*[st.integers(1, 9)] * 3))
def test_clipping_keeps_exactly_the_voxels_inside(box, shape):
    inside = np.zeros(shape, bool)
    for z in range(max(box.start_zyx[0], 0), min(box.stop_zyx[0], shape[0])):
        for y in range(max(box.start_zyx[1], 0), min(box.stop_zyx[1], shape[1])):
            for x in range(max(box.start_zyx[2], 0), min(box.stop_zyx[2], shape[2])):
                inside[z, y, x] = True
    clipped = np.zeros(shape, bool)
    clipped[box.clipped(shape).slices] = True
    assert (clipped == inside).all()


@given(boxes(), boxes())
def test_union_holds_both(a, b):
    both = a.union(b)
    for box in (a, b):
        assert all(u <= v for u, v in zip(both.start_zyx, box.start_zyx, strict=True))
        assert all(u >= v for u, v in zip(both.stop_zyx, box.stop_zyx, strict=True))
