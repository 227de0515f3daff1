import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates, zoom

from deeppsma.models.nnunet.plans import Resampling
from deeppsma.preprocessing.splines import resized, spline_matrix


def test_resizing_by_hand():
    ramp = np.arange(4, dtype=np.float32).reshape(4, 1, 1)
    twice = resized(ramp, (8, 1, 1), Resampling(1))
    assert twice.ravel() == pytest.approx([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    assert resized(ramp, (4, 1, 1), Resampling(3)) is ramp
    step = np.array([0, 0, 1, 1], np.float32).reshape(4, 1, 1)
    assert 0 <= resized(step, (11, 1, 1), Resampling(3)).min() <= resized(step, (11, 1, 1), Resampling(3)).max() <= 1
    planes = np.arange(3, dtype=np.float32).reshape(3, 1, 1).repeat(4, 1).repeat(4, 2)
    apart = resized(planes, (6, 8, 8), Resampling(3, 0), coarse=0)
    assert apart[:, 0, 0].tolist() == [0, 0, 1, 1, 2, 2]
    smooth = resized(planes, (6, 4, 4), Resampling(3, 1), coarse=0)
    assert smooth[:, 0, 0] == pytest.approx([0, 0.25, 0.75, 1.25, 1.75, 2])


@given(
    st.tuples(*[st.integers(1, 60)] * 3),
    st.tuples(*[st.integers(1, 120)] * 3),
    st.sampled_from([0, 1, 2, 3]),
    st.integers(0, 99),
)
@settings(deadline=None, max_examples=25)
def test_splines_are_scipys(old, new, order, seed):
    """Every shape, more than one block of lines among them."""
    image = np.random.default_rng(seed).normal(size=old).astype(np.float32)
    factors = [n / o for n, o in zip(new, old, strict=True)]
    theirs = zoom(image.astype(float), factors, order=order, mode="nearest", grid_mode=True)
    theirs = np.clip(theirs, image.min(), image.max())
    assert resized(image, new, Resampling(order)) == pytest.approx(theirs, abs=2e-5)


@pytest.mark.parametrize("coarse", [0, 1, 2])
@pytest.mark.parametrize("order_z", [1, 3])
def test_planes_across_a_coarse_axis_are_resampled_by_themselves(coarse, order_z):
    image = np.random.default_rng(coarse).normal(size=(5, 6, 7)).astype(np.float32)
    new = (11, 9, 8)
    ours = resized(image, new, Resampling(3, order_z), coarse)
    planes = []
    for plane in np.moveaxis(image, coarse, 0):
        shape = np.delete(new, coarse)
        larger = zoom(plane.astype(float), shape / np.array(plane.shape), order=3, mode="nearest", grid_mode=True)
        planes.append(np.clip(larger, plane.min(), plane.max()))
    flat = np.stack(planes, axis=coarse)
    position = (np.arange(new[coarse]) + 0.5) * (image.shape[coarse] / new[coarse]) - 0.5
    index = np.meshgrid(*(position if axis == coarse else np.arange(new[axis]) for axis in range(3)), indexing="ij")
    theirs = map_coordinates(flat, index, order=order_z, mode="nearest")
    assert ours == pytest.approx(theirs, abs=2e-5)


def test_a_matrix_keeps_what_is_flat():
    assert spline_matrix(7, 19, 3).sum(axis=1) == pytest.approx(np.ones(19))
    assert spline_matrix(4, 4, 3) == pytest.approx(np.eye(4))
