import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import dense_patch_slices
from monai.inferers.utils import sliding_window_inference

from deeppsma.core.box import Box
from deeppsma.inference.sliding_window import blend, gaussian_profile, plan_windows

sizes = st.tuples(*[st.integers(1, 20)] * 3)
patches = st.tuples(*[st.integers(1, 9)] * 3)


@given(sizes, patches, st.sampled_from([0.0, 0.25, 0.5, 0.75]))
def test_windows_cover_every_voxel(shape, patch, overlap):
    covered = np.zeros(shape, bool)
    for window in plan_windows(shape, patch, overlap):
        assert window.shape_zyx == patch
        covered[window.clipped(shape).slices] = True
    assert covered.all()


@given(st.integers(2, 30), st.integers(2, 12), st.sampled_from([0.25, 0.5, 0.75]))
def test_windows_lie_where_monai_puts_them(size, patch, overlap):
    if size < patch:
        return
    interval = max(1, int(patch * (1 - overlap)))
    theirs = [s[0].start for s in dense_patch_slices((size,), (patch,), (interval,), return_slice=True)]
    ours = [w.start_zyx[0] for w in plan_windows((size, 1, 1), (patch, 1, 1), overlap)]
    assert ours == theirs


def ramp(window, values):
    """A 'network' whose answer depends on where in the window a voxel lies."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in window.shape_zyx], indexing="ij")
    inner = window.clipped(values.shape)
    out = np.zeros((2, *window.shape_zyx), np.float32)
    out[(slice(None), *inner.relative_to(window).slices)] = values[inner.slices]
    return out * (1 + 0.1 * z + 0.01 * y) + 0.001 * x + np.float32(window.start_zyx[0])


@given(sizes, patches, st.integers(0, 999), st.floats(0, 0.4))
@settings(deadline=None)
def test_skipping_changes_nothing_at_the_needed_voxels(shape, patch, seed, share):
    rng = np.random.default_rng(seed)
    needed, values = rng.random(shape) < share, rng.random(shape, dtype=np.float32)
    windows = plan_windows(shape, patch, 0.5)
    runs = []

    def run(window):
        runs.append(window)
        return ramp(window, values)

    few = blend(windows, needed, 2, run)
    ran = len(runs)
    everything = blend(windows, np.ones(shape, bool), 2, run, skip=False)[:, needed.ravel()]
    assert np.array_equal(few, everything)
    assert ran == sum(needed[w.clipped(shape).slices].any() for w in windows)


def test_blending_by_hand():
    # Two windows of 3 on a line of 5 (overlap 1/3): only the middle voxel has two answers.
    windows = plan_windows((1, 1, 5), (1, 1, 3), 1 / 3)
    assert [w.start_zyx[2] for w in windows] == [0, 2]
    values = {0: [1.0, 2, 3], 2: [30.0, 40, 50]}

    def run(window):
        return np.array(values[window.start_zyx[2]], np.float32).reshape(1, 1, 1, 3)

    out = blend(windows, np.ones((1, 1, 5), bool), 1, run)
    assert out[0] == pytest.approx([1, 2, (3 + 30) / 2, 40, 50])  # both see it at their edge: equal weights


def test_agrees_with_monai_on_a_whole_volume():
    rng = np.random.default_rng(0)
    shape, patch = (21, 17, 19), (8, 8, 8)
    volume = rng.standard_normal((1, 1, *shape)).astype(np.float32)
    network = torch.nn.Conv3d(1, 2, 3, padding=1)
    with torch.inference_mode():
        expected = sliding_window_inference(
            torch.from_numpy(volume), patch, 1, network, overlap=0.5, mode="gaussian", sigma_scale=0.125
        )[0].numpy()

        def run(window):
            cut = volume[(slice(None), slice(None), *window.slices)]
            return network(torch.from_numpy(np.ascontiguousarray(cut)))[0].numpy()

        ours = blend(plan_windows(shape, patch, 0.5), np.ones(shape, bool), 2, run).reshape(2, *shape)
    assert np.abs(ours - expected).max() < 2e-3


def test_nothing_needed_runs_nothing():
    def run(window):
        raise AssertionError(window)

    assert blend(plan_windows((4, 4, 4), (2, 2, 2), 0.5), np.zeros((4, 4, 4), bool), 2, run).shape == (2, 0)


def test_a_gap_between_windows_is_noticed():
    with pytest.raises(ValueError, match="do not cover"):
        blend([Box((0, 0, 0), (1, 1, 2))], np.ones((1, 1, 4), bool), 1, lambda w: np.ones((1, 1, 1, 2), np.float32))


@pytest.mark.parametrize(("patch", "overlap"), [((0, 1, 1), 0.5), ((1, 1, 1), 1.0), ((1, 1, 1), -0.1)])
def test_impossible_plans_are_refused(patch, overlap):
    with pytest.raises(ValueError, match="cannot cover"):
        plan_windows((4, 4, 4), patch, overlap)


def test_weights_are_symmetric_and_never_zero():
    weights = gaussian_profile((5, 6, 7))
    assert weights.min() > 0
    assert np.allclose(weights, weights[::-1, ::-1, ::-1])
    assert weights[2].argmax() in (2 * 7 + 3, 3 * 7 + 3)
