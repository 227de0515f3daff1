import numpy as np
import pytest
import SimpleITK as sitk
from grand_challenge_metrics.stats import (
    calculate_confusion_matrix,
    dice_from_confusion_matrix,
    relative_absolute_volume_difference,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from deeppsma.evaluation.metrics import Scores, contour, dice, score

NO_PET = np.ones((4, 4, 4), np.float32)


def mask(*voxels, shape=(4, 4, 4)):
    out = np.zeros(shape, bool)
    for voxel in voxels:
        out[voxel] = True
    return out


def test_by_hand():
    truth = mask((0, 0, 0), (0, 0, 1), (3, 3, 3))
    predicted = mask((0, 0, 1), (0, 0, 2), (2, 0, 0), (2, 0, 1))
    suv = NO_PET.copy()
    suv[0, 0, 0], suv[0, 0, 1], suv[3, 3, 3] = 4, 8, 6  # truth: mean 6
    suv[0, 0, 2], suv[2, 0, 0], suv[2, 0, 1] = 2, 1, 1  # predicted: mean 3
    scores = score(predicted, truth, suv, 0.5)
    assert scores.dsc == pytest.approx(2 * 1 / 7)
    assert scores.surface_dsc == pytest.approx(2 * 1 / 7)  # every voxel is contour
    assert scores.fpv_ml == pytest.approx(2 * 0.5)  # the pair at z = 2
    assert scores.fnv_ml == pytest.approx(1 * 0.5)  # the voxel in the corner
    assert scores.volume_error_percent == pytest.approx(100 / 3)
    assert scores.suv_mean_error_percent == pytest.approx(-50)
    assert (scores.lesions, scores.lesions_found, scores.false_lesions) == (2, 1, 1)


def test_edges_connect_and_corners_do_not():
    truth = mask((0, 0, 0))
    by_edge, by_corner = mask((0, 0, 0), (0, 1, 1)), mask((0, 0, 0), (1, 1, 1))
    assert score(by_edge, truth, NO_PET, 1.0).fpv_ml == 0
    assert score(by_corner, truth, NO_PET, 1.0).fpv_ml == 1


def test_empty_masks():
    empty, some = mask(), mask((1, 1, 1))
    assert score(empty, empty, NO_PET, 1.0) == Scores(1, 1, 0, 0, 0, 0, 0, 0, 0)
    assert score(some, empty, NO_PET, 1.0) == Scores(0, 0, 1, 0, 100, 100, 0, 0, 1)
    assert score(empty, some, NO_PET, 1.0) == Scores(0, 0, 0, 1, -100, -100, 1, 0, 0)


def test_a_contour_by_hand():
    cube = np.zeros((7, 7, 7), bool)
    cube[2:5, 2:5, 2:5] = True
    assert contour(cube).sum() == 26  # all but the centre
    larger = np.zeros((7, 7, 7), bool)
    larger[1:6, 1:6, 1:6] = True
    assert score(larger, cube, np.ones((7, 7, 7), np.float32), 1.0).surface_dsc == 0  # no tolerance
    assert not contour(np.ones((3, 3, 3), bool)).any()  # the border of an image is not outside


@given(st.integers(0, 9999), st.floats(0.2, 0.8))
@settings(deadline=None, max_examples=40)
def test_contours_agree_with_simpleitk(seed, p):
    a = np.random.default_rng(seed).random((7, 6, 5)) < p
    theirs = sitk.GetArrayFromImage(sitk.LabelContour(sitk.GetImageFromArray(a.view(np.uint8)))) > 0
    assert np.array_equal(contour(a), theirs)


@given(st.integers(0, 9999), st.floats(0.01, 0.6), st.floats(0.01, 0.6))
@settings(deadline=None)
def test_dice_agrees_with_simpleitk(seed, p, q):
    rng = np.random.default_rng(seed)
    a, b = rng.random((6, 5, 4)) < p, rng.random((6, 5, 4)) < q
    a[0, 0, 0] = True
    measures = sitk.LabelOverlapMeasuresImageFilter()
    measures.Execute(sitk.GetImageFromArray(a.view(np.uint8)), sitk.GetImageFromArray(b.view(np.uint8)))
    assert dice(a, b) == pytest.approx(measures.GetDiceCoefficient())


@given(st.integers(0, 9999), st.floats(0.02, 0.3), st.floats(0.02, 0.3))
@settings(deadline=None, max_examples=40)
def test_scores_agree_with_simpleitk(seed, p, q):
    """Volumes, SUVmean and whole-image scores, by other means."""
    rng = np.random.default_rng(seed)
    found, truth = rng.random((8, 7, 6)) < p, rng.random((8, 7, 6)) < q
    found[0, 0, 0] = truth[7, 6, 5] = True
    suv = rng.uniform(0.5, 30, found.shape).astype(np.float32)
    scores = score(found, truth, suv, 0.1)
    statistics = sitk.LabelStatisticsImageFilter()
    mean = []
    for each in (found, truth):
        statistics.Execute(sitk.GetImageFromArray(suv), sitk.GetImageFromArray(each.view(np.uint8)))
        mean.append(statistics.GetMean(1))
    assert scores.suv_mean_error_percent == pytest.approx(100 * (mean[0] / mean[1] - 1), abs=1e-3)
    measures = sitk.LabelOverlapMeasuresImageFilter()
    measures.Execute(sitk.GetImageFromArray(truth.view(np.uint8)), sitk.GetImageFromArray(found.view(np.uint8)))
    assert scores.volume_error_percent == pytest.approx(100 * (found.sum() / truth.sum() - 1))
    assert scores.dsc == pytest.approx(measures.GetDiceCoefficient())
    assert 0 <= scores.lesions_found <= scores.lesions
    assert (scores.fnv_ml > 0) == (scores.lesions_found < scores.lesions)
    assert (scores.fpv_ml > 0) == (scores.false_lesions > 0)


@given(st.integers(0, 9999), st.floats(0.02, 0.3), st.floats(0.02, 0.3))
@settings(deadline=None, max_examples=40)
def test_scores_agree_with_evalutils(seed, p, q):
    """The platform's own package, on masks and on their contours as SimpleITK draws them."""
    rng = np.random.default_rng(seed)
    found, truth = rng.random((8, 7, 6)) < p, rng.random((8, 7, 6)) < q
    found[0, 0, 0] = truth[7, 6, 5] = True
    scores = score(found, truth, np.ones(found.shape, np.float32), 0.1)

    def their_dice(a, b):
        matrix = calculate_confusion_matrix(y_true=b.astype(int).ravel(), y_pred=a.astype(int).ravel(), labels=[0, 1])
        return dice_from_confusion_matrix(matrix)[1]

    def edge(a):
        return sitk.GetArrayFromImage(sitk.LabelContour(sitk.GetImageFromArray(a.view(np.uint8)))) > 0

    assert scores.dsc == pytest.approx(their_dice(found, truth), abs=1e-6)
    assert scores.surface_dsc == pytest.approx(their_dice(edge(found), edge(truth)), abs=1e-6)
    theirs = 100 * relative_absolute_volume_difference(truth, found)
    assert abs(scores.volume_error_percent) == pytest.approx(theirs)


@given(st.integers(0, 9999), st.floats(0.02, 0.3), st.floats(0.02, 0.3))
@settings(deadline=None, max_examples=40)
def test_untouched_components_agree_with_a_graph_of_voxels(seed, p, q):
    """FPV, FNV and lesions by another road: voxels are nodes, joined where they share a face or an edge."""
    rng = np.random.default_rng(seed)
    found, truth = rng.random((7, 6, 5)) < p, rng.random((7, 6, 5)) < q

    def alone(mask, other):
        index = np.argwhere(mask)
        steps = np.abs(index[:, None] - index[None])
        joined = (steps.max(axis=2, initial=0) <= 1) & (steps.sum(axis=2) <= 2)
        count, of = connected_components(joined, directed=False)
        touched = {int(k) for k in of[other[mask]]}
        return count, count - len(touched), sum(int(k) not in touched for k in of)

    scores = score(found, truth, np.ones(found.shape, np.float32), 0.5)
    lesions, missed, missed_voxels = alone(truth, found)
    _, false, false_voxels = alone(found, truth)
    assert (scores.lesions, scores.lesions_found, scores.false_lesions) == (lesions, lesions - missed, false)
    assert scores.fnv_ml == pytest.approx(0.5 * missed_voxels)
    assert scores.fpv_ml == pytest.approx(0.5 * false_voxels)


def test_shapes_must_match():
    with pytest.raises(ValueError, match="one shape"):
        score(mask(), mask(shape=(2, 2, 2)), NO_PET, 1.0)
    with pytest.raises(ValueError, match="one shape"):
        score(mask(), mask(), np.ones((2, 2, 2), np.float32), 1.0)
