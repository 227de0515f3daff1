"""What a network has to do on a space: windows, and which voxels need an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box, IndexZyx
from deeppsma.core.tracer import Tracer
from deeppsma.inference.sliding_window import blend, plan_windows
from deeppsma.models.config import NetworkConfig
from deeppsma.preprocessing.channels import Channels
from deeppsma.preprocessing.spaces import Space, mark_corners

#: Logits [output, z, y, x] of a window [channel, z, y, x].
RunWindow = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class NotFiniteError(ArithmeticError):
    """A network's output holds NaN or infinity."""


@dataclass(frozen=True)
class Task:
    """What a network has to do on a space.

    Parameters
    ----------
    space
        Where.
    window_input
        The network's input in a window of its working grid, [channel, z, y, x].
    rows
        By wanted tracer: its rows of the network's output.
    index
        By wanted tracer: continuous indices (n, 3) on the working grid of the
        native voxels ``space.needed[tracer]``; None where the working grid is
        the space's own.
    needed
        Voxels of the working grid whose logits are needed, [z, y, x].
    windows
        All windows of the working grid.
    small_windows
        The same with windows of half the size, for when memory is short;
        empty if the network cannot run on them.
    profile
        Weight of a window's voxels; None for `deeppsma.inference.sliding_window.gaussian_profile`.
    folds
        How many networks in one: their rows follow each other, and are
        averaged.
    before
        `needed` before `only` made it less; None where it did not.
    """

    space: Space
    window_input: Callable[[Box], NDArray[np.float32]]
    rows: Mapping[Tracer, tuple[int, ...]]
    index: Mapping[Tracer, NDArray[np.float64] | None]
    needed: NDArray[np.bool_]
    windows: list[Box]
    small_windows: list[Box]
    profile: NDArray[np.floating] | None = None
    folds: int = 1
    before: NDArray[np.bool_] | None = None

    def only(self, tracer: Tracer, wanted: NDArray[np.bool_]) -> Task:
        """The same for fewer voxels; answers there stay what they are.

        Parameters
        ----------
        tracer
            The one that answers are wanted for.
        wanted
            [n], which of the voxels of ``space.needed[tracer]``.
        """
        if set(self.rows) != {tracer}:
            raise ValueError(f"answers for {sorted(self.rows)} are wanted, not for {tracer} alone")
        native = np.zeros(self.space.geometry.shape_zyx, dtype=bool)
        native[self.space.needed[tracer]] = wanted
        space = replace(self.space, needed={**self.space.needed, tracer: native})
        points = self.index[tracer]
        index = {tracer: None if points is None else points[wanted]}
        needed = needed_voxels(space, index, self.grid_shape)
        return replace(self, space=space, index=index, needed=needed, before=self.needed)

    def run(
        self, run_window: RunWindow, on_window: Callable[[], None] | None = None, skip: bool = True
    ) -> dict[Tracer, NDArray[np.float32]]:
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
            By tracer, float32 [class, n] for the n voxels of
            ``space.needed[tracer]`` in C order.
        """
        outputs = 1 + max((row for rows in self.rows.values() for row in rows), default=0)

        def run(window: Box) -> NDArray[np.float32]:
            out = run_window(self.window_input(window))[:outputs]
            if not np.isfinite(out).all():
                raise NotFiniteError
            if on_window is not None:
                on_window()
            return out

        values = blend(self.windows, self.needed, outputs, run, skip, self.profile)
        found = {}
        for tracer, rows in self.rows.items():
            mean = _mean_of_folds(values[list(rows)], self.folds, self.profile)
            found[tracer] = np.stack([self._at_native(each, tracer) for each in mean])
        return found

    @property
    def grid_shape(self) -> IndexZyx:
        """Of the working grid."""
        z, y, x = self.needed.shape
        return z, y, x

    def holds_needed(self, window: Box) -> bool:
        """Whether a window is run, or skipped."""
        return bool(self.needed[window.clipped(self.needed.shape).slices].any())

    @property
    def windows_needed(self) -> int:
        """How many windows are run."""
        return sum(self.holds_needed(window) for window in self.windows)

    @property
    def windows_spared(self) -> int:
        """How many windows are not run because of `only`."""
        return 0 if self.before is None else replace(self, needed=self.before).windows_needed - self.windows_needed

    def _at_native(self, values: NDArray[np.float32], tracer: Tracer) -> NDArray[np.float32]:
        index = self.index[tracer]
        if index is None:
            return values[self.space.needed[tracer][self.needed]]
        from scipy.ndimage import map_coordinates

        dense = np.zeros(self.needed.shape, dtype=np.float32)
        dense[self.needed] = values
        return np.asarray(map_coordinates(dense, index.T, order=1, mode="nearest"), dtype=np.float32)


def _mean_of_folds(
    values: NDArray[np.float32], folds: int, profile: NDArray[np.floating] | None
) -> NDArray[np.float32]:
    """Mean [class, n] of answers [fold * class, n], in the precision that windows were summed in.

    nnU-Net adds its folds one by one in half precision, which moves a logit by up to a few thousandths: where two
    classes are nearly equal that decides.
    """
    each = values.reshape(folds, -1, values.shape[1]).astype(values.dtype if profile is None else profile.dtype)
    total = each[0].copy()
    for fold in each[1:]:
        total += fold
    return (total / total.dtype.type(folds)).astype(np.float32)


def plan_task(
    config: NetworkConfig,
    space: Space,
    channels: Channels,
    wanted: tuple[Tracer, ...],
    overlap: float,
) -> Task:
    """Windows, and which voxels of the working grid are needed.

    Parameters
    ----------
    config, space, channels
        The network's configuration, where it runs, and its input.
    wanted
        Tracers whose answers are needed, of those that the network answers
        for.
    overlap
        Of the windows, in [0, 1).
    """
    native = channels.block_zyx == (1, 1, 1)
    index = {tracer: None if native else _working_index(channels, space.needed[tracer]) for tracer in wanted}
    shape = channels.geometry.shape_zyx
    small = _small_patch(config)
    return Task(
        space,
        channels.window,
        {tracer: config.rows(tracer) for tracer in wanted},
        index,
        needed_voxels(space, index, shape),
        plan_windows(shape, config.patch_zyx, overlap),
        plan_windows(shape, small, overlap) if config.accepts(small) else [],
    )


def needed_voxels(
    space: Space, index: Mapping[Tracer, NDArray[np.float64] | None], shape_zyx: IndexZyx
) -> NDArray[np.bool_]:
    """Voxels of a working grid that interpolation at native voxels touches.

    Parameters
    ----------
    space, index
        See `Task`.
    shape_zyx
        Of the working grid.
    """
    needed = np.zeros(shape_zyx, dtype=bool)
    for tracer, points in index.items():
        if points is None:
            needed |= space.needed[tracer]
        else:
            mark_corners(needed, points)
    return needed


def _small_patch(config: NetworkConfig) -> IndexZyx:
    z, y, x = (max(s, n // 2 // s * s) for n, s in zip(config.patch_zyx, config.stride_zyx, strict=True))
    return z, y, x


def _working_index(channels: Channels, native: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Continuous working-grid indices (n, 3) of native voxels, kept inside the grid."""
    block = np.array(channels.block_zyx, dtype=float)
    index = (np.argwhere(native) - (block - 1) / 2) / block
    return np.asarray(np.clip(index, 0, np.array(channels.geometry.shape_zyx) - 1))
