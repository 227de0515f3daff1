"""Contours along voxel edges: what is filled again is the mask."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.measure import grid_points_in_poly, label

from deeppsma.io.dicom.contours import voxel_edge_contours


def filled(contours, shape):
    """How many contours each voxel's centre lies in, by scikit-image."""
    return sum((grid_points_in_poly(shape, contour).astype(int) for contour in contours), np.zeros(shape, int))


def area(contour):
    y, x = contour.T
    return abs(np.sum(y * np.roll(x, -1) - x * np.roll(y, -1))) / 2


@settings(max_examples=400, deadline=None)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_any_mask_comes_back_whole(mask):
    contours = voxel_edge_contours(mask)
    np.testing.assert_array_equal(filled(contours, mask.shape), mask)
    # Keyholes have no area, and parts that touch at corners are contours of their own.
    assert sum(map(area, contours)) == mask.sum()
    assert len(contours) == label(mask, connectivity=1).max()


def test_a_large_random_mask_with_thousands_of_holes():
    rng = np.random.default_rng(0)
    mask = rng.random((80, 90)) < 0.9
    np.testing.assert_array_equal(filled(voxel_edge_contours(mask), mask.shape), mask)


def test_a_single_voxel_is_a_square_around_its_centre():
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    (contour,) = voxel_edge_contours(mask)
    assert sorted(map(tuple, contour)) == [(1.5, 2.5), (1.5, 3.5), (2.5, 2.5), (2.5, 3.5)]


def test_straight_stretches_have_no_points_between():
    (contour,) = voxel_edge_contours(np.ones((7, 30)))
    assert len(contour) == 4


def test_a_ring_is_one_closed_line_with_a_keyhole():
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    (contour,) = voxel_edge_contours(mask)
    # Outer and inner corners, and the keyhole's two ends twice, one of them a corner of the hole.
    assert len(contour) == 4 + 4 + 2 + 1
    assert [1.5, 1.5] in contour.tolist()


def test_nothing_has_no_contour():
    assert voxel_edge_contours(np.zeros((3, 3))) == []
