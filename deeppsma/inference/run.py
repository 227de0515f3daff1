"""Run a network on a space: on a device, in a precision, with less memory where it must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.errors import WeightsError
from deeppsma.core.tracer import Tracer
from deeppsma.inference.device import OPENVINO, ComputePlan, cpu_plan
from deeppsma.inference.openvino_engine import OpenVinoNetwork
from deeppsma.inference.task import NotFiniteError, RunWindow, Task

if TYPE_CHECKING:
    import torch


def window_runner(network: torch.nn.Module | OpenVinoNetwork, plan: ComputePlan) -> RunWindow:
    """A network on a device, in a precision."""
    if isinstance(network, OpenVinoNetwork):
        if plan.device == OPENVINO:
            return network.runner(plan.precision)
        network = network.in_torch()
    import torch

    network.to(plan.device)
    dtype = getattr(torch, plan.precision)

    def run(window: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.autocast(plan.device, dtype, enabled=dtype is not torch.float32):
            out = network(torch.from_numpy(window)[None].to(plan.device))
        return np.asarray(out[0].float().cpu().numpy())

    return run


@dataclass(frozen=True)
class Outcome:
    """What a task gave, and how.

    Parameters
    ----------
    logits
        By tracer; see `deeppsma.inference.task.Task.run`.
    plan
        The plan that succeeded; the next task starts from it.
    windows_run, windows_skipped, windows_settled
        Of the attempt that succeeded: run; left out because they hold no needed
        voxel; left out because other members had settled what they would say.
    """

    logits: Mapping[Tracer, NDArray[np.float32]]
    plan: ComputePlan
    windows_run: int
    windows_skipped: int
    windows_settled: int = 0


def run_task(
    network: torch.nn.Module | OpenVinoNetwork,
    task: Task,
    plan: ComputePlan,
    on_window: Callable[[], None] | None = None,
    on_fallback: Callable[[str], None] | None = None,
    make_runner: Callable[[Any, ComputePlan], RunWindow] = window_runner,
) -> Outcome:
    """Run a task; where memory or precision do not suffice, step down.

    Where memory runs out: smaller windows, then the CPU. Where half precision
    overflows: single precision. Each attempt starts from the first window, so
    that what comes out depends only on the attempt that succeeded.

    Parameters
    ----------
    network, task, plan
        What to run, where.
    on_window
        Called after each window.
    on_fallback
        Told of every step down.
    make_runner
        Puts the network on a device; tests replace it.

    Raises
    ------
    MemoryError
        If the last attempt runs out of memory, too.
    WeightsError
        If the network's output is not finite even in single precision.
    """
    while True:
        small = plan.small_windows and task.small_windows  # another member may have asked for them
        attempt = replace(task, windows=task.small_windows) if small else task
        try:
            logits = attempt.run(make_runner(network, plan), on_window)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            following, words = _less_memory(task, plan)
            reason = f"out of memory on {plan.device} with windows of {attempt.windows[0].shape_zyx}"
            if following is None:
                raise MemoryError(reason) from None
        except NotFiniteError:
            reason = f"the network's output is not finite in {plan.precision}"
            if plan.precision == "float32":
                raise WeightsError("network", reason, "check the weights and the PET's values") from None
            following, words = replace(plan, precision="float32"), "float32"
        else:
            ran, settled = attempt.windows_needed, attempt.windows_spared
            return Outcome(logits, plan, ran, len(attempt.windows) - ran - settled, settled)
        give_back(plan.device)
        if on_fallback is not None:
            on_fallback(f"{reason}: went on with {words}")
        plan = following


def _less_memory(task: Task, plan: ComputePlan) -> tuple[ComputePlan | None, str]:
    """The next plan down the ladder, in words too; None at its end."""
    if not plan.small_windows and task.small_windows:
        return replace(plan, small_windows=True), f"windows of {task.small_windows[0].shape_zyx}"
    if plan.device != "cpu":
        return cpu_plan(), "torch on the CPU" if plan.device == OPENVINO else "the CPU"
    return None, ""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, the device's or the host's, did not suffice."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # Not every allocation goes through torch's own allocator.
    said = str(error)
    return any(sign in said for sign in ("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED"))


def give_back(device: str) -> None:
    """Return memory that torch keeps for later to the device."""
    import torch

    if device == "cuda":
        torch.cuda.empty_cache()
