"""Breathing: what hangs on the diaphragm moves up and down while the PET is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.phantom.anatomy.scene import Frame

#: Share of a breath's depth and share of the time spent near it: men linger at expiration.
_PHASES = ((0.05, 0.45), (0.35, 0.30), (0.85, 0.25))
#: Levels (mm, standard man) between which the trunk moves; fully around the diaphragm.
_HEIGHTS, _MOVING = (110.0, 240.0, 300.0, 400.0, 470.0, 590.0), (0.0, 0.75, 1.0, 1.0, 0.6, 0.0)


@dataclass(frozen=True)
class Breathing:
    """One session's breathing, as depths below full expiration.

    Parameters
    ----------
    depth_mm
        How far the diaphragm travels (measured: liver 13, kidneys 11 mm).
    ct_depth_mm
        Where it stands during the CT.
    """

    depth_mm: float
    ct_depth_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Breathing:
        """One session's; most CTs are taken in shallow breathing, some in deep inspiration."""
        depth = float(np.clip(rng.lognormal(np.log(12), 0.35), 4, 28))
        held = float(rng.uniform(15, 30)) if rng.random() < 0.1 else float(rng.uniform(0, 1)) * depth
        return cls(depth, held)


class Motion:
    """Moves images of one frame down by depths of breath."""

    def __init__(self, frame: Frame) -> None:
        step = frame.geometry.spacing_zyx[0]
        z = frame.z
        share = np.interp(z[:, z.shape[1] // 2, z.shape[2] // 2], _HEIGHTS, _MOVING).astype(np.float32)
        moving = np.flatnonzero(share > 0)
        self._slab = slice(int(moving[0]), int(moving[-1]) + 1)
        x, y = frame.x[self._slab], frame.y[self._slab]
        # Full motion inside the cage, none at its wall and none at the spine.
        cage = 1.35 - (x / 150) ** 2 - ((y + 8) / 96) ** 2
        spine = np.exp(-((x / 34) ** 2) - ((y - 62) / 36) ** 2)
        inside = np.clip(np.clip(cage / 0.5, 0, 1) - 1.2 * spine, 0, 1)
        self._share = np.asarray(share[self._slab, None, None] * inside / step, dtype=np.float32)

    def moved(self, voxels: NDArray, depth_mm: float) -> NDArray:
        """Labels after a breath of a depth, [z, y, x]: the nearest voxel's."""
        out = voxels.copy()
        out[self._slab] = self._gathered(voxels, self._shift(depth_mm))
        return out

    def averaged(self, activity: NDArray[np.float32], breathing: Breathing) -> NDArray[np.float32]:
        """Activity, [z, y, x], as it is measured over many breaths."""
        out = activity.copy()
        out[self._slab] = 0
        for depth, weight in _PHASES:
            # Whole voxels: the scanner blurs far more than half of one.
            out[self._slab] += np.float32(weight) * self._gathered(activity, self._shift(depth * breathing.depth_mm))
        return out

    def _shift(self, depth_mm: float) -> NDArray[np.intp]:
        return np.asarray(np.rint(self._share * np.float32(depth_mm)), dtype=np.intp)

    def _gathered(self, voxels: NDArray, shift: NDArray[np.intp]) -> NDArray:
        """The slab's voxels, each from so many voxels above."""
        shift += np.arange(self._slab.start, self._slab.stop)[:, None, None]
        return np.take_along_axis(voxels, np.minimum(shift, len(voxels) - 1, out=shift), axis=0)
