import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from deeppsma.postprocessing.second_opinion.basins import Neighbours, basins

EIGHTEEN = ndimage.generate_binary_structure(3, 2)


def row(values):
    hot = np.ones((1, 1, len(values)), bool)
    return np.array(values, float), Neighbours.of(hot)


def test_two_peaks_with_a_deep_pass_are_two():
    values, neighbours = row([1, 5, 2, 4, 1])
    assert basins(values, neighbours, 1.0).tolist() == [1, 1, 1, 3, 3]
    assert basins(values, neighbours, 2.1).tolist() == [1, 1, 1, 1, 1]


def test_what_is_not_hot_parts_basins():
    hot = np.array([[[1, 1, 0, 1]]], bool)
    assert basins(np.array([1.0, 2.0, 3.0]), Neighbours.of(hot), 9.0).tolist() == [1, 1, 2]


def test_a_plateau_is_one_basin():
    values, neighbours = row([3, 3, 3, 3])
    assert len(set(basins(values, neighbours, 0.1).tolist())) == 1


@given(st.integers(0, 10_000), st.floats(0.01, 1))
@settings(max_examples=30, deadline=None)
def test_basins_are_connected_and_hold_one_prominent_peak(seed, prominence):
    rng = np.random.default_rng(seed)
    hot = rng.random((4, 5, 6)) < 0.7
    values = rng.random(int(hot.sum()))
    neighbours = Neighbours.of(hot)
    found = basins(values, neighbours, prominence)
    dense = np.full(hot.shape, -1)
    dense[hot] = found
    for peak in np.unique(found):
        assert ndimage.label(dense == peak, EIGHTEEN)[1] == 1
        assert values[found == peak].max() == values[peak]
    # No peak is left that stands out less than asked over the highest pass to a higher one that it touches.
    for a, b in zip(neighbours.first, neighbours.second, strict=True):
        if found[a] != found[b]:
            lower = min(values[found[a]], values[found[b]])
            assert lower - min(values[a], values[b]) >= prominence


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_components_are_those_of_scipy(seed):
    rng = np.random.default_rng(seed)
    hot = rng.random((4, 5, 6)) < 0.5
    expected, count = ndimage.label(hot, EIGHTEEN)
    found = Neighbours.of(hot).components(np.zeros(int(hot.sum()), int))
    assert len(set(found.tolist())) == count
    pairs = set(zip(found.tolist(), expected[hot].tolist(), strict=True))
    assert len(pairs) == count


def test_no_hot_voxel_has_no_basin():
    neighbours = Neighbours.of(np.zeros((2, 2, 2), bool))
    assert basins(np.zeros(0), neighbours, 0.1).shape == (0,)
    assert neighbours.components(np.zeros(0, int)).shape == (0,)


def test_keys_part_components():
    _, neighbours = row([1, 1, 1, 1])
    assert neighbours.components(np.array([0, 0, 1, 0])).tolist() == pytest.approx([0, 0, 1, 2])
