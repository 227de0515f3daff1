import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppsma.metrics import dice, score


def mask(*voxels, shape=(4, 4, 4)):
    out = np.zeros(shape, bool)
    for voxel in voxels:
        out[voxel] = True
    return out


def test_by_hand():
    truth = mask((0, 0, 0), (0, 0, 1), (3, 3, 3))
    predicted = mask((0, 0, 1), (0, 0, 2), (2, 0, 0), (2, 0, 1))
    scores = score(predicted, truth, 0.5)
    assert scores.dsc == pytest.approx(2 * 1 / 7)
    assert scores.fpv_ml == pytest.approx(2 * 0.5)  # the pair at z = 2
    assert scores.fnv_ml == pytest.approx(1 * 0.5)  # the voxel in the corner


def test_edges_connect_and_corners_do_not():
    truth = mask((0, 0, 0))
    by_edge, by_corner = mask((0, 0, 0), (0, 1, 1)), mask((0, 0, 0), (1, 1, 1))
    assert score(by_edge, truth, 1.0).fpv_ml == 0
    assert score(by_corner, truth, 1.0).fpv_ml == 1


def test_empty_masks():
    empty, some = mask(), mask((1, 1, 1))
    assert score(empty, empty, 1.0).dsc == 1
    assert (score(some, empty, 1.0).dsc, score(some, empty, 1.0).fpv_ml) == (0, 1)
    assert (score(empty, some, 1.0).dsc, score(empty, some, 1.0).fnv_ml) == (0, 1)


@given(st.integers(0, 9999), st.floats(0.01, 0.6), st.floats(0.01, 0.6))
@settings(deadline=None)
def test_dice_agrees_with_simpleitk(seed, p, q):
    rng = np.random.default_rng(seed)
    a, b = rng.random((6, 5, 4)) < p, rng.random((6, 5, 4)) < q
    a[0, 0, 0] = True
    measures = sitk.LabelOverlapMeasuresImageFilter()
    measures.Execute(sitk.GetImageFromArray(a.view(np.uint8)), sitk.GetImageFromArray(b.view(np.uint8)))
    assert dice(a, b) == pytest.approx(measures.GetDiceCoefficient())


def test_shapes_must_match():
    with pytest.raises(ValueError, match="one shape"):
        score(mask(), mask(shape=(2, 2, 2)), 1.0)
