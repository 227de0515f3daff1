"""What a second opinion looks at: one tracer of a case, as arrays on the crop of that tracer's grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.geometry import VectorZyx
from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform, to_other_session
from deeppsma.core.volume import Volume
from deeppsma.inference.task import Logits
from deeppsma.preprocessing.spaces import Space, mapped_indices

#: Beyond a CT lies air.
_AIR_HU = -1000


@dataclass(frozen=True)
class Evidence:
    """All about one tracer's hot voxels; n of them, in C order.

    Parameters
    ----------
    tracer
        Whose voxels.
    suv, other_suv
        [z, y, x] SUV of this tracer, and of the other one on the same grid
        (0 outside its field of view).
    hot
        [z, y, x] voxels at or above the threshold.
    threshold_suv, other_threshold_suv
        Of both tracers.
    own, other
        [n] logits from this tracer's space and from the other's; NaN where
        the other one does not see a voxel.
    other_tracer
        [n] logits of the other tracer's disease at the same place; NaN where
        that tracer is below its threshold.
    labels
        [z, y, x] TotalSegmentator labels, or None without an organ map.
    hounsfield
        [z, y, x] CT, or None without a CT.
    spacing_zyx
        mm.
    """

    tracer: Tracer
    suv: NDArray[np.float32]
    other_suv: NDArray[np.float32]
    hot: NDArray[np.bool_]
    threshold_suv: float
    other_threshold_suv: float
    own: NDArray[np.float32]
    other: NDArray[np.float32]
    other_tracer: NDArray[np.float32]
    labels: NDArray[np.uint8] | None
    hounsfield: NDArray | None
    spacing_zyx: VectorZyx

    def __post_init__(self) -> None:
        grid = self.hot.shape
        for name in ("suv", "other_suv", "labels", "hounsfield"):
            image = getattr(self, name)
            if image is not None and image.shape != grid:
                raise ValueError(f"{name} {image.shape} is not on the grid of the hot voxels, {grid}")
        count = int(self.hot.sum())
        for name in ("own", "other", "other_tracer"):
            if getattr(self, name).shape != (count,):
                raise ValueError(f"{name} {getattr(self, name).shape} must have a value for each of {count} hot voxels")

    @property
    def mean(self) -> NDArray[np.float32]:
        """[n] mean of both spaces' logits; the own one where the other space does not see a voxel."""
        return np.where(np.isnan(self.other), self.own, (self.own + self.other) / 2)

    @property
    def missing(self) -> tuple[str, ...]:
        """What there is not, in words, for the run report."""
        lacks = ((self.labels is None, "organ map"), (self.hounsfield is None, "CT"))
        return tuple(f"{self.tracer.upper()} {what}" for is_missing, what in lacks if is_missing)


def gather_evidence(
    tracer: Tracer,
    spaces: Mapping[Tracer, Space],
    logits: Mapping[Tracer, Logits],
    thresholds: Mapping[Tracer, float],
    fdg_to_psma: RigidTransform,
    organs: Volume | None,
    ct: Volume | None,
) -> Evidence:
    """Evidence on one tracer.

    Parameters
    ----------
    tracer
        Whose hot voxels; it must have a space.
    spaces, logits
        By fixed tracer; see `deeppsma.postprocessing.fusion.fuse`.
    thresholds
        SUV by tracer.
    fdg_to_psma
        Maps FDG points to PSMA points.
    organs, ct
        This tracer's, on grids of their own; None where there is none.
    """
    space = spaces[tracer]
    grid = space.geometry
    seen = np.full(grid.shape_zyx, np.nan, dtype=np.float32)
    if tracer.other in logits[tracer]:
        seen[space.needed[tracer.other]] = logits[tracer][tracer.other]
    return Evidence(
        tracer,
        space.pet[tracer],
        space.pet[tracer.other],
        space.hot,
        thresholds[tracer],
        thresholds[tracer.other],
        np.asarray(logits[tracer][tracer], dtype=np.float32),
        seen_from_other(tracer, spaces, logits, fdg_to_psma),
        seen[space.hot],
        None if organs is None else resample(organs, grid, labels=True),
        None if ct is None else resample(ct, grid, outside=_AIR_HU),
        grid.spacing_zyx,
    )


def seen_from_other(
    tracer: Tracer, spaces: Mapping[Tracer, Space], logits: Mapping[Tracer, Logits], fdg_to_psma: RigidTransform
) -> NDArray[np.float32]:
    """Logits of a tracer's hot voxels from the other tracer's space, [n].

    Interpolated linearly; NaN where that space does not see at least half of
    what surrounds a voxel above the threshold, as in
    `deeppsma.postprocessing.fusion.fuse`.
    """
    from scipy.ndimage import map_coordinates

    own = spaces[tracer]
    out = np.full(int(own.hot.sum()), np.nan, dtype=np.float32)
    if tracer.other not in spaces or tracer not in logits[tracer.other]:
        return out
    other = spaces[tracer.other]
    known = other.needed[tracer].astype(np.float32)
    values = np.zeros_like(known)
    values[other.needed[tracer]] = logits[tracer.other][tracer]
    start = 0
    for index in mapped_indices(own.hot, own.geometry, other.geometry, to_other_session(tracer, fdg_to_psma)):
        sum_known, share = (map_coordinates(each, index.T, order=1) for each in (values, known))
        seen = share >= 0.5
        out[start : start + len(index)][seen] = sum_known[seen] / share[seen]
        start += len(index)
    return out
