import os
from pathlib import Path

import numpy as np
import pytest
from builders.published_foci import divide_published
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deeppsma.core.tracer import Tracer
from deeppsma.io.layouts import load_case
from deeppsma.postprocessing.foci import GTRC_FOCI, FocusRule, divide, face_components

PLAIN = FocusRule(prominence=0.16666)


def without_gaps(labels):
    present, inverse = np.unique(labels, return_inverse=True)
    assert present[0] == 0 or (labels > 0).all()
    return inverse.reshape(labels.shape) + (present[0] > 0)


def same_partition(a, b):
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def blurred_noise(rng, shape, sigma, scale):
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal(shape), sigma)
    return (scale * (noise / max(noise.std(), 1e-3)) + 0.6).astype(np.float32)


IMAGES = st.tuples(
    st.integers(0, 100_000),
    st.tuples(st.integers(1, 17), st.integers(1, 15), st.integers(1, 16)),
    st.sampled_from([0.0, 0.7, 1.2, 2.5]),
    st.sampled_from([0.3, 0.7, 2.0]),
    st.sampled_from([None, 0.05, 0.1, 0.5]),
)
SPACINGS = st.sampled_from(
    [(3.27, 2.8646, 2.8646), (2.0, 4.0728, 4.0728), (4.0, 4.0, 4.0), (8.0, 5.0, 5.0), (9.0, 5, 5)]
)


def image_of(drawn):
    seed, shape, sigma, scale, step = drawn
    image = blurred_noise(np.random.default_rng(seed), shape, sigma, scale)
    # Steps make ties and plateaus, where only the same arithmetic in the same order gives the same foci.
    return image if step is None else np.maximum(np.round(image / step) * np.float32(step), 0).astype(np.float32)


@given(IMAGES, SPACINGS)
@settings(max_examples=300, deadline=None)
@example((0, (12, 12, 12), 0.7, 2.0, 0.5), (3.27, 2.8646, 2.8646))
def test_same_foci_as_the_published_way_on_whole_volumes(drawn, spacing):
    image = image_of(drawn)
    published = divide_published(image, spacing)
    ours = divide(image, image >= 1, spacing, GTRC_FOCI)
    assert np.array_equal(ours, without_gaps(published))


@given(IMAGES, SPACINGS)
@settings(max_examples=100, deadline=None)
@example((1, (11, 12, 3), 2.5, 2.0, 0.5), (9.0, 5, 5))  # a plateau whose voxels once multiplied until memory ran out
def test_without_the_quirk_each_focus_is_one_component_in_c_order(drawn, spacing):
    image = image_of(drawn)
    ours = divide(image, image >= 1, spacing, PLAIN)
    assert np.array_equal(ours > 0, image >= 1)
    _, first = np.unique(ours[ours > 0], return_index=True)
    assert np.array_equal(np.argsort(first), np.arange(len(first)))
    assert same_partition(ours, divide_published(image, spacing, quirk=False))


@given(st.integers(0, 10_000), st.floats(0.05, 0.9))
@settings(max_examples=50, deadline=None)
def test_face_components_are_those_of_scipy(seed, share):
    from scipy.ndimage import label

    mask = np.random.default_rng(seed).random((6, 7, 5)) < share
    expected, _ = label(mask)
    assert np.array_equal(face_components(np.flatnonzero(mask), mask.shape), expected[mask])


def line(*values):
    return np.array(values, np.float32).reshape(1, 1, -1)


def test_two_peaks_by_hand():
    # A way of single steps of 8 mm: the dip of 0.5 parts the peaks, that of 0.1 does not.
    image = line(0, 2, 1.5, 2.2, 0, 3, 2.95, 3.05, 0)
    foci = divide(image, image >= 1, (8, 8, 8), PLAIN)
    assert foci.ravel().tolist() == [0, 1, 2, 2, 0, 3, 3, 3, 0]


def test_the_published_quirk_by_hand():
    # The way may step over 8 mm: the voxel of 1.1 is no peak beside 3, and no neighbour over faces reaches it.
    image = line(0, 1.1, 0, 3, 0, 0, 0, 0, 2, 0)
    inside = image >= 1
    assert divide(image, inside, (4, 4, 4), PLAIN).ravel().tolist() == [0, 1, 0, 2, 0, 0, 0, 0, 3, 0]
    # As published it shares the number of the last peak, far away.
    assert divide(image, inside, (4, 4, 4), GTRC_FOCI).ravel().tolist() == [0, 2, 0, 1, 0, 0, 0, 0, 2, 0]
    # A peak below the threshold behind it takes that number.
    later = np.concatenate([image, line(0, 0, 0.5, 0)], axis=2)
    assert divide(later, later >= 1, (4, 4, 4), GTRC_FOCI).ravel().tolist()[:10] == [0, 3, 0, 1, 0, 0, 0, 0, 2, 0]


def test_an_image_flatter_than_the_prominence_has_no_peaks():
    image = np.full((3, 3, 3), 1.2, np.float32)
    assert (divide(image, image >= 1, (4, 4, 4), PLAIN) == 1).all()
    # As published its only focus is numbered 0 and lost.
    assert not divide(image, image >= 1, (4, 4, 4), GTRC_FOCI).any()


def test_nothing_inside_gives_no_focus():
    image = np.zeros((2, 3, 4), np.float32)
    assert not divide(image, image >= 1, (4, 4, 4), GTRC_FOCI).any()


def test_bad_arguments_are_refused():
    image = np.ones((2, 2, 2), np.float32)
    with pytest.raises(ValueError, match="one shape"):
        divide(image, np.ones((2, 2, 1), bool), (1, 1, 1), PLAIN)
    with pytest.raises(ValueError, match="finite"):
        divide(image * np.float32(np.nan), image > 0, (1, 1, 1), PLAIN)
    with pytest.raises(ValueError, match="prominence must be positive"):
        FocusRule(prominence=0)
    with pytest.raises(ValueError, match="ball_radius_mm must be positive"):
        FocusRule(ball_radius_mm=float("inf"))


#: A folder of platform inputs, */input, with grids and organ shapes of real scans; they are not ours to give.
REAL = os.environ.get("DEEPPSMA_REAL_SHAPES", "")


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="FOCI ON REAL GRIDS NOT TESTED: DEEPPSMA_REAL_SHAPES names no folder")
@pytest.mark.parametrize("tracer", list(Tracer))
def test_same_foci_on_real_grids(tracer):
    places = sorted(Path(REAL).glob("*/input"))
    assert len(places) >= 2
    for place in places:
        study = load_case(place).study(tracer)
        pet = study.read_pet()
        ratio = (pet.voxels / study.threshold_suv).astype(np.float32)
        spacing = pet.geometry.spacing_zyx
        ours = divide(ratio, ratio >= 1, spacing, GTRC_FOCI)
        assert np.array_equal(ours, without_gaps(divide_published(ratio, spacing)))
        assert ours.max() > 100
