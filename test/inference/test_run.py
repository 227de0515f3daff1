from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.cases import TINY_BLOCKS, TINY_NETWORK, memory_case

from deeppsma.core.errors import WeightsError
from deeppsma.core.tracer import Tracer
from deeppsma.inference.device import ComputePlan
from deeppsma.inference.run import out_of_memory, run_task, window_runner
from deeppsma.inference.sliding_window import blend
from deeppsma.inference.task import plan_task
from deeppsma.models.build import build_network
from deeppsma.preprocessing.prepared_case import PreparedCase

CPU = ComputePlan("cpu", "float32")
LARGER = replace(TINY_NETWORK, patch_zyx=(32, 16, 16))
BOTH = (Tracer.PSMA, Tracer.FDG)


@pytest.fixture(scope="module")
def scene():
    return PreparedCase(memory_case(blob_count=2))


def plan(scene, config, space=None):
    space = space or scene.spaces[Tracer.PSMA]
    return plan_task(config, space, scene.channels(config, Tracer.PSMA), BOTH, 0.5)


@pytest.mark.parametrize("config", [replace(TINY_NETWORK, patch_zyx=(16, 8, 8)), TINY_BLOCKS])
def test_skipping_windows_changes_no_logit(scene, config):
    torch.manual_seed(1)
    job = plan(scene, config)
    runner = window_runner(build_network(config).eval(), CPU)
    ran = []
    few = job.run(runner, lambda: ran.append(1))
    everything = job.run(runner, skip=False)
    assert len(ran) == sum(job.holds_needed(w) for w in job.windows)
    for tracer in BOTH:
        assert np.array_equal(few[tracer], everything[tracer])
        assert few[tracer].shape[1] == job.space.needed[tracer].sum()


def test_some_windows_really_are_skipped(scene):
    space = scene.spaces[Tracer.PSMA]
    lonely = np.zeros(space.geometry.shape_zyx, bool)
    lonely[0, 0, 0] = True
    lonely_space = replace(space, needed=dict.fromkeys(Tracer, lonely))
    job = plan(scene, replace(TINY_NETWORK, patch_zyx=(16, 8, 8)), lonely_space)
    assert 0 < sum(job.holds_needed(w) for w in job.windows) < len(job.windows)


def test_native_logits_are_those_of_the_dense_network(scene):
    """One window over all: every needed voxel has the network's own answer."""
    config = replace(TINY_NETWORK, patch_zyx=(32, 32, 32))
    torch.manual_seed(1)
    network = build_network(config).eval()
    job = plan(scene, config)
    (window,) = job.windows
    dense = window_runner(network, CPU)(job.window_input(window))
    logits = job.run(window_runner(network, CPU))
    inside = tuple(slice(-a, -a + n) for a, n in zip(window.start_zyx, job.needed.shape, strict=True))
    for row, tracer in enumerate((Tracer.FDG, Tracer.PSMA)):
        assert logits[tracer][0] == pytest.approx(dense[row][inside][job.space.needed[tracer]], abs=1e-4)


def test_block_logits_are_interpolated_by_hand(scene):
    job = plan(scene, TINY_BLOCKS)
    assert TINY_BLOCKS.block_zyx(job.space.geometry) == (2, 1, 1)
    ramp = np.arange(job.needed.shape[0], dtype=np.float32)

    def rising(window_box):
        z = np.clip(np.arange(window_box.start_zyx[0], window_box.stop_zyx[0]), 0, len(ramp) - 1)
        return np.broadcast_to(ramp[z][None, :, None, None], (2, *window_box.shape_zyx)).astype(np.float32)

    values = blend(job.windows, job.needed, 2, rising)
    native = job._at_native(values[0], Tracer.PSMA)
    z = np.argwhere(job.space.needed[Tracer.PSMA])[:, 0]
    expected = np.clip((z - 0.5) / 2, 0, len(ramp) - 1)  # native voxels 0 and 1 make working voxel 0
    assert native == pytest.approx(expected, abs=1e-5)


class Failing:
    """A runner factory that runs out of memory a number of times."""

    def __init__(self, times, error):
        self.times, self.error, self.plans, self.sizes = times, error, [], []

    def __call__(self, network, plan):
        def run(window):
            self.plans.append(plan.device)
            self.sizes.append(window.shape[1:])
            if len(self.plans) <= self.times:
                raise self.error
            return np.ones((2, *window.shape[1:]), np.float32)

        return run


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_the_ladder_on_a_gpu(scene, error):
    job, notes = plan(scene, LARGER), []
    failing = Failing(2, error)
    outcome = run_task(torch.nn.Identity(), job, ComputePlan("cuda", "float16"), None, notes.append, failing)
    assert failing.plans[:3] == ["cuda", "cuda", "cpu"]
    assert failing.sizes[:3] == [(32, 16, 16), (16, 8, 8), (32, 16, 16)]
    assert outcome.plan.device == "cpu"
    assert len(notes) == 2
    assert "windows of (16, 8, 8)" in notes[0]
    assert "went on with the CPU" in notes[1]
    assert (outcome.logits[Tracer.FDG] == 1).all()
    assert outcome.windows_run == job.windows_needed


def test_smaller_windows_may_be_enough(scene):
    notes = []
    failing = Failing(1, RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    outcome = run_task(torch.nn.Identity(), plan(scene, LARGER), CPU, None, notes.append, failing)
    assert outcome.plan == replace(CPU, small_windows=True)
    assert len(notes) == 1
    # The next prediction starts where this one succeeded.
    again = run_task(torch.nn.Identity(), plan(scene, LARGER), outcome.plan, None, notes.append, Failing(0, None))
    assert again.windows_run == outcome.windows_run
    assert len(notes) == 1


def test_small_windows_that_a_network_cannot_take_are_not_tried(scene):
    job = plan(scene, replace(TINY_NETWORK, patch_zyx=(16, 8, 8)))  # half of it is a single deepest voxel
    runner = Failing(0, None)
    outcome = run_task(torch.nn.Identity(), job, replace(CPU, small_windows=True), make_runner=runner)
    assert set(runner.sizes) == {(16, 8, 8)}
    assert outcome.windows_run == job.windows_needed


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("x"),
        MemoryError(),
        *map(RuntimeError, ["CUDA error: out of memory", "CUDNN_STATUS_ALLOC_FAILED"]),
    ],
)
def test_what_counts_asout_of_memory(error):
    assert out_of_memory(error)
    assert not out_of_memory(RuntimeError("shape mismatch"))


def test_half_precision_that_overflows_becomes_single_precision(scene):
    notes = []

    def overflowing(network, plan):
        value = 1.0 if plan.precision == "float32" else np.nan
        return lambda window: np.full((2, *window.shape[1:]), value, np.float32)

    half = ComputePlan("cpu", "bfloat16")
    outcome = run_task(torch.nn.Identity(), plan(scene, TINY_NETWORK), half, None, notes.append, overflowing)
    assert outcome.plan.precision == "float32"
    assert notes == ["the network's output is not finite in bfloat16: went on with float32"]


def test_nan_is_no_answer(scene):
    def broken(network, plan):
        return lambda window: np.full((2, *window.shape[1:]), np.nan, np.float32)

    with pytest.raises(WeightsError, match="not finite in float32"):
        run_task(torch.nn.Identity(), plan(scene, TINY_NETWORK), CPU, make_runner=broken)


def test_the_end_of_the_ladder_is_an_error(scene):
    with pytest.raises(MemoryError, match="out of memory on cpu"):
        run_task(torch.nn.Identity(), plan(scene, TINY_NETWORK), CPU, make_runner=Failing(99, MemoryError()))


def test_other_errors_are_not_taken_for_memory(scene):
    with pytest.raises(RuntimeError, match="shape"):
        run_task(torch.nn.Identity(), plan(scene, TINY_NETWORK), CPU, make_runner=Failing(9, RuntimeError("shape")))
