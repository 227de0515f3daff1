from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppsma.core.box import Box
from deeppsma.inference.nnunet import planned_profile, planned_windows
from deeppsma.models.nnunet.plans import Normalisation, Plan, Resampling
from deeppsma.models.unet_config import UNetConfig
from deeppsma.preprocessing.nnunet import Prepared, coarse_axis, normalised, planned_shape, prepare

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


@given(st.integers(2, 9), st.integers(2, 9), st.integers(2, 9), st.permutations([0, 1, 2]))
@settings(deadline=None, max_examples=30)
def test_the_way_back_inverts_axes_crop_and_spacing(a, b, c, transpose):
    """A voxel's index, sent there and back through centres, is its own."""
    whole = np.zeros((12, 12, 12), bool)
    box = Box((1, 2, 3), (1 + a, 2 + b, 3 + c))
    made = Prepared((np.zeros((2 * a, 2 * b, c), np.float32),), box, tuple(transpose), None)
    inner = [None] * 3
    for planned, axis in enumerate(transpose):
        inner[axis] = box.slices[planned]
    whole[tuple(inner)] = True
    index = made.index_of(whole)
    back = (index + 0.5) / np.array([2, 2, 1]) - 0.5 + box.start_zyx
    assert back == pytest.approx(np.argwhere(whole)[:, transpose].astype(float))


def test_the_nearest_plane_across_a_coarse_axis():
    made = Prepared((np.zeros((2, 4, 4), np.float32),), Box((0, 0, 0), (4, 4, 4)), (0, 1, 2), 0)
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
    weights = planned_profile((16, 8, 9))
    assert weights.dtype == np.float16
    assert np.unravel_index(weights.argmax(), weights.shape) == (8, 4, 4)
    assert weights.max() == 10
    assert weights.min() > 0


def a_plan(*schemes, spacing=(2.0, 2.0, 2.0), inside_only=False):
    shape = UNetConfig("PlainConvUNet", len(schemes), 2, (2, 4), ((3, 3, 3),) * 2, ((1, 1, 1), (2, 2, 2)), (1, 1), (1,))
    normalisations = tuple(Normalisation(scheme, inside_only) for scheme in schemes)
    return Plan(shape, (8, 8, 8), spacing, (1, 0, 2), normalisations, Resampling(3), Resampling(1))


def counted(**images):
    """Channels, and how often each was made."""
    made = dict.fromkeys(images, 0)

    def make(name):
        made[name] += 1
        return images[name]

    return [(name, partial(make, name)) for name in images], made


SOME = np.random.default_rng(0).normal(size=(6, 8, 10)).astype(np.float32)
SPACING = (3.0, 2.0, 1.0)


def test_what_two_models_are_fed_alike_is_made_once():
    channels, made = counted(a=SOME, b=SOME + 1)
    shared = {}
    first = prepare(channels, SPACING, a_plan("NoNormalization", "ZScoreNormalization"), shared)
    assert made == {"a": 1, "b": 1}
    again = prepare(channels[::-1], SPACING, a_plan("ZScoreNormalization", "NoNormalization"), shared)
    assert made == {"a": 1, "b": 2}  # b once more, for the crop; a no more
    assert again.channels[0] is first.channels[1]
    assert again.channels[1] is first.channels[0]
    other = prepare(channels, SPACING, a_plan("NoNormalization", "NoNormalization"), shared)
    assert other.channels[1] is not first.channels[1]
    assert np.array_equal(other.channels[1], prepare(channels, SPACING, a_plan(*["NoNormalization"] * 2)).channels[1])
    prepare(channels, SPACING, a_plan(*["NoNormalization"] * 2, spacing=(1.0, 1.0, 1.0)), shared)
    assert len(shared) == 1  # of the other grid nothing is kept


def test_what_depends_on_the_other_channels_is_not_shared():
    half = SOME.copy()
    half[:, :4] = 0
    plan = a_plan("ZScoreNormalization", inside_only=True)
    shared = {}
    alone = prepare([("a", lambda: half)], SPACING, plan, shared)
    both = prepare(
        [("a", lambda: half), ("b", lambda: SOME)],
        SPACING,
        a_plan(*["ZScoreNormalization"] * 2, inside_only=True),
        shared,
    )
    assert alone.box.shape_zyx == (4, 6, 10)  # on planned axes
    assert both.box.shape_zyx == (8, 6, 10)
    once = prepare(
        [("a", lambda: half), ("b", lambda: SOME)], SPACING, a_plan(*["ZScoreNormalization"] * 2, inside_only=True)
    )
    assert np.array_equal(both.channels[0], once.channels[0])


def test_nothing_anywhere_is_not_cropped():
    empty = prepare([("a", lambda: np.zeros((4, 4, 4)))], (2.0, 2.0, 2.0), a_plan("ZScoreNormalization"))
    assert empty.box == Box.whole((4, 4, 4))
    assert not empty.channels[0].any()
    plan = a_plan("ZScoreNormalization", inside_only=True)
    assert not prepare([("a", lambda: np.zeros((4, 4, 4)))], (2.0, 2.0, 2.0), plan).channels[0].any()


def test_as_many_channels_as_the_plan_has():
    with pytest.raises(ValueError, match="1 channels for a network of 2"):
        prepare([("a", lambda: SOME)], SPACING, a_plan(*["NoNormalization"] * 2))
