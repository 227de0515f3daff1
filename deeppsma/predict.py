"""Run a member on a space: logits at the voxels whose answer is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeppsma.box import Box
from deeppsma.channels import Channels
from deeppsma.compute import ComputePlan, cpu_plan
from deeppsma.network import NetworkConfig
from deeppsma.spaces import Space, mark_corners
from deeppsma.tracer import Tracer
from deeppsma.windows import blend, plan_windows

if TYPE_CHECKING:
    import torch

#: Logits [output, z, y, x] of a window [channel, z, y, x].
RunWindow = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Logits = Mapping[Tracer, NDArray[np.float32]]


@dataclass(frozen=True)
class Prediction:
    """What a network has to do on a space.

    Parameters
    ----------
    config
        The network's.
    space, channels
        Where, and with what input.
    wanted
        Tracers whose answers are needed in this space.
    needed
        Voxels of the working grid whose logits are needed, [z, y, x].
    windows
        All windows of the working grid.
    """

    config: NetworkConfig
    space: Space
    channels: Channels
    wanted: tuple[Tracer, ...]
    needed: NDArray[np.bool_]
    windows: list[Box]

    def run(self, run_window: RunWindow, on_window: Callable[[], None] | None = None, skip: bool = True) -> Logits:
        """Logits of the wanted tracers.

        Parameters
        ----------
        run_window
            The network.
        on_window
            Called after each window.
        skip
            Skip windows that cannot matter; False is for tests.

        Returns
        -------
        dict
            By tracer, [n] float32 for ``space.needed[tracer]`` in C order.
        """

        def run(window: Box) -> NDArray[np.float32]:
            out = run_window(self.channels.window(window))
            if on_window is not None:
                on_window()
            return out

        values = blend(self.windows, self.needed, len(self.config.outputs), run, skip)
        rows = {tracer: values[self.config.outputs.index(tracer.value)] for tracer in self.wanted}
        return {tracer: self._at_native(row, tracer) for tracer, row in rows.items()}

    def holds_needed(self, window: Box) -> bool:
        """Whether a window is run, or skipped."""
        return bool(self.needed[window.clipped(self.needed.shape).slices].any())

    def _at_native(self, values: NDArray[np.float32], tracer: Tracer) -> NDArray[np.float32]:
        native = self.space.needed[tracer]
        if self.channels.block_zyx == (1, 1, 1):
            return values[native[self.needed]]
        from scipy.ndimage import map_coordinates

        dense = np.zeros(self.needed.shape, dtype=np.float32)
        dense[self.needed] = values
        index = _working_index(self.channels, native)
        return np.asarray(map_coordinates(dense, index.T, order=1, mode="nearest"), dtype=np.float32)


def plan_prediction(
    config: NetworkConfig,
    space: Space,
    channels: Channels,
    wanted: tuple[Tracer, ...],
    overlap: float,
) -> Prediction:
    """Windows, and which voxels of the working grid are needed.

    Parameters
    ----------
    config, space, channels, wanted
        See `Prediction`.
    overlap
        Of the windows, in [0, 1).
    """
    needed = np.zeros(channels.geometry.shape_zyx, dtype=bool)
    for tracer in wanted:
        if channels.block_zyx == (1, 1, 1):
            needed |= space.needed[tracer]
        else:
            mark_corners(needed, _working_index(channels, space.needed[tracer]))
    windows = plan_windows(channels.geometry.shape_zyx, config.patch_zyx, overlap)
    return Prediction(config, space, channels, wanted, needed, windows)


def window_runner(network: torch.nn.Module, plan: ComputePlan) -> RunWindow:
    """A network on a device, in a precision."""
    import torch

    network.to(plan.device)
    dtype = getattr(torch, plan.precision)

    def run(window: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.autocast(plan.device, dtype, enabled=dtype is not torch.float32):
            out = network(torch.from_numpy(window)[None].to(plan.device))
        return np.asarray(out[0].float().cpu().numpy())

    return run


def predict(
    network: torch.nn.Module,
    prediction: Prediction,
    plan: ComputePlan,
    overlap: float,
    on_window: Callable[[], None] | None = None,
    on_fallback: Callable[[str], None] | None = None,
    make_runner: Callable[[torch.nn.Module, ComputePlan], RunWindow] = window_runner,
) -> tuple[Logits, ComputePlan]:
    """Run a prediction; where memory runs out, in smaller windows, then on the CPU.

    Each attempt starts from the first window, so that what comes out depends
    only on the attempt that succeeded.

    Parameters
    ----------
    network, prediction, plan, overlap
        What to run, where.
    on_window
        Called after each window.
    on_fallback
        Told of every step down.
    make_runner
        Puts the network on a device; tests replace it.

    Returns
    -------
    logits, plan
        The plan that succeeded: the next prediction starts from it.

    Raises
    ------
    MemoryError
        If the last attempt runs out of memory, too.
    """
    reason = ""
    for attempt, windows, words in _attempts(prediction, plan, overlap):
        if reason and on_fallback is not None:
            on_fallback(f"{reason}: {words}")
        try:
            return windows.run(make_runner(network, attempt), on_window), attempt
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            reason = f"out of memory on {attempt.device} with windows of {windows.windows[0].shape_zyx}"
            _give_back(attempt.device)
    raise MemoryError(reason)


def _attempts(
    prediction: Prediction, plan: ComputePlan, overlap: float
) -> Iterator[tuple[ComputePlan, Prediction, str]]:
    yield plan, prediction, "as planned"
    step = prediction.config.stride_zyx
    z, y, x = (max(s, n // 2 // s * s) for n, s in zip(prediction.config.patch_zyx, step, strict=True))
    if prediction.config.accepts((z, y, x)):
        smaller = replace(prediction, windows=plan_windows(prediction.needed.shape, (z, y, x), overlap))
        yield plan, smaller, f"windows of {(z, y, x)}"
    if plan.device != "cpu":
        yield cpu_plan(), prediction, "on the CPU"


def _out_of_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _give_back(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.empty_cache()


def _working_index(channels: Channels, native: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Continuous working-grid indices (n, 3) of native voxels, kept inside the grid."""
    block = np.array(channels.block_zyx, dtype=float)
    index = (np.argwhere(native) - (block - 1) / 2) / block
    return np.asarray(np.clip(index, 0, np.array(channels.geometry.shape_zyx) - 1))
