import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppsma.box import Box
from deeppsma.nnunet.plans import Normalisation, Resampling
from deeppsma.nnunet.preprocess import Prepared, coarse_axis, normalised, planned_shape, resized
from deeppsma.nnunet.windows import planned_weights, planned_windows

INSIDE = np.array([[[True, True, True, False]]])


def image(*values):
    return np.array(values, np.float32).reshape(1, 1, -1)


def test_normalisations_by_hand():
    def run(how, *values):
        return normalised(image(*values), INSIDE, how).ravel().tolist()

    assert run(Normalisation("NoNormalization"), 1, 2, 3, 0) == [1, 2, 3, 0]
    assert run(Normalisation("RescaleTo01Normalization"), 1, 2, 3, 5) == [0, 0.25, 0.5, 1]
    assert run(Normalisation("CTNormalization", False, 10.0, 5.0, 0.0, 20.0), -5, 10, 15, 50) == [-2, 0, 1, 2]
    whole = run(Normalisation("ZScoreNormalization"), 1, 1, 3, 3)
    assert whole == pytest.approx([-1, -1, 1, 1])
    inside = run(Normalisation("ZScoreNormalization", True), 1, 2, 3, 0)
    assert inside == pytest.approx([-1.2247, 0, 1.2247, 0], abs=1e-4)
    assert run(Normalisation("ZScoreNormalization"), 2, 2, 2, 2) == [0, 0, 0, 0]


def test_shapes_and_coarse_axes_by_hand():
    assert planned_shape((10, 20, 20), (3.0, 2.0, 2.0), (1.5, 4.0, 3.0)) == (20, 10, 13)
    assert planned_shape((1, 1, 1), (1.0, 1.0, 1.0), (50.0, 1.0, 1.0)) == (1, 1, 1)
    auto = Resampling(3)
    assert coarse_axis((3.0, 1.0, 1.0), (1.0, 1.0, 1.0), auto) is None  # a ratio of 3 is not yet coarse
    assert coarse_axis((3.1, 1.0, 1.0), (1.0, 1.0, 1.0), auto) == 0
    assert coarse_axis((1.0, 1.0, 1.0), (1.0, 1.0, 4.0), auto) == 2
    assert coarse_axis((4.0, 4.0, 1.0), (1.0, 1.0, 1.0), auto) is None  # two coarse axes
    assert coarse_axis((2.0, 1.0, 1.0), (1.0, 1.0, 1.0), Resampling(3, separate_z=True)) == 0
    assert coarse_axis((9.0, 1.0, 1.0), (1.0, 1.0, 1.0), Resampling(3, separate_z=False)) is None


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


@given(st.integers(2, 9), st.integers(2, 9), st.integers(2, 9), st.permutations([0, 1, 2]))
@settings(deadline=None, max_examples=30)
def test_the_way_back_inverts_axes_crop_and_spacing(a, b, c, transpose):
    """A voxel's index, sent there and back through centres, is its own."""
    whole = np.zeros((12, 12, 12), bool)
    box = Box((1, 2, 3), (1 + a, 2 + b, 3 + c))
    made = Prepared(np.zeros((1, 2 * a, 2 * b, c), np.float32), box, tuple(transpose), None)
    inner = [None] * 3
    for planned, axis in enumerate(transpose):
        inner[axis] = box.slices[planned]
    whole[tuple(inner)] = True
    index = made.index_of(whole)
    back = (index + 0.5) / np.array([2, 2, 1]) - 0.5 + box.start_zyx
    assert back == pytest.approx(np.argwhere(whole)[:, transpose].astype(float))


def test_the_nearest_plane_across_a_coarse_axis():
    made = Prepared(np.zeros((1, 2, 4, 4), np.float32), Box((0, 0, 0), (4, 4, 4)), (0, 1, 2), 0)
    column = np.zeros((4, 4, 4), bool)
    column[:, 0, 0] = True
    assert made.index_of(column)[:, 0].tolist() == [0, 0, 1, 1]


def test_windows_lie_evenly():
    starts = [box.start_zyx[0] for box in planned_windows((110, 4, 4), (64, 4, 4))]
    assert starts == [0, 23, 46]
    (small,) = planned_windows((5, 4, 3), (8, 4, 8))
    assert small.start_zyx == (-1, 0, -2)
    with pytest.raises(ValueError, match="cannot cover"):
        planned_windows((4, 4, 4), (4, 4, 4), 0)


@given(st.integers(1, 40), st.sampled_from([4, 8, 12]))
@settings(deadline=None)
def test_windows_cover_every_voxel(size, patch):
    seen = np.zeros(size, int)
    for box in planned_windows((size, 4, 4), (patch, 4, 4)):
        seen[max(box.start_zyx[0], 0) : box.stop_zyx[0]] += 1
    assert (seen > 0).all()


def test_weights_peak_in_the_middle_and_never_vanish():
    weights = planned_weights((16, 8, 9))
    assert weights.dtype == np.float16
    assert np.unravel_index(weights.argmax(), weights.shape) == (8, 4, 4)
    assert weights.max() == 10
    assert weights.min() > 0
