"""What a second opinion looks at: one tracer of a case, as arrays on the crop of that tracer's grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.geometry import VectorZyx
from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume
from deeppsma.inference.logits import Logits, mean_logits
from deeppsma.postprocessing.fusion import seen_elsewhere
from deeppsma.preprocessing.spaces import Space

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
    mask
        [n] what the recipe calls disease; None: what the mean of both spaces does.
    members
        [n] mean of both spaces' logits of each network, where several answer.
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
    mask: NDArray[np.bool_] | None = None
    members: tuple[NDArray[np.float32], ...] = ()

    def __post_init__(self) -> None:
        grid = self.hot.shape
        for name in ("suv", "other_suv", "labels", "hounsfield"):
            image = getattr(self, name)
            if image is not None and image.shape != grid:
                raise ValueError(f"{name} {image.shape} is not on the grid of the hot voxels, {grid}")
        count = int(self.hot.sum())
        single = {name: getattr(self, name) for name in ("own", "other", "other_tracer", "mask")}
        for name, values in (*single.items(), *(("members", each) for each in self.members)):
            if values is not None and values.shape != (count,):
                raise ValueError(f"{name} {values.shape} must have a value for each of {count} hot voxels")

    @property
    def mean(self) -> NDArray[np.float32]:
        """[n] mean of both spaces' logits; the own one where the other space does not see a voxel."""
        return _mean_of_spaces(self.own, self.other)

    @property
    def found(self) -> NDArray[np.bool_]:
        """[n] what is disease before the second opinion."""
        return self.mean >= 0 if self.mask is None else self.mask

    @property
    def missing(self) -> tuple[str, ...]:
        """What there is not, in words, for the run report."""
        lacks = ((self.labels is None, "organ map"), (self.hounsfield is None, "CT"))
        return tuple(f"{self.tracer.upper()} {what}" for is_missing, what in lacks if is_missing)


def gather_evidence(
    tracer: Tracer,
    spaces: Mapping[Tracer, Space],
    members: Sequence[Logits],
    thresholds: Mapping[Tracer, float],
    fdg_to_psma: RigidTransform | None,
    organs: Volume | None,
    ct: Volume | None,
    mask: NDArray[np.bool_] | None = None,
) -> Evidence:
    """Evidence on one tracer.

    Parameters
    ----------
    tracer
        Whose hot voxels; it must have a space.
    spaces, fdg_to_psma
        As for `deeppsma.postprocessing.fusion.fuse`.
    members
        Of each network, one or more: one class, disease or not. What was not
        asked in the other space, or there, is not known.
    thresholds
        SUV by tracer; of the other one only if there is one.
    organs, ct
        This tracer's, on grids of their own; None where there is none.
    mask
        As for `Evidence`.
    """
    space = spaces[tracer]
    grid = space.geometry
    seen = np.full(grid.shape_zyx, np.nan, dtype=np.float32)
    together = mean_logits(members)
    if together.knows(tracer.other, tracer):
        seen[space.needed[tracer.other]] = together.of(tracer.other, tracer)[0]
    own = [np.asarray(each.of(tracer, tracer)[0], dtype=np.float32) for each in members]
    other = [_seen_from_other(tracer, spaces, each, fdg_to_psma) for each in members]
    nothing = np.zeros(grid.shape_zyx, dtype=np.float32)
    return Evidence(
        tracer,
        space.pet[tracer],
        space.pet.get(tracer.other, nothing),
        space.hot,
        thresholds[tracer],
        thresholds.get(tracer.other, 1.0),
        np.mean(own, axis=0, dtype=np.float32),
        np.mean(other, axis=0, dtype=np.float32),
        seen[space.hot],
        None if organs is None else resample(organs, grid, labels=True),
        None if ct is None else resample(ct, grid, outside=_AIR_HU),
        grid.spacing_zyx,
        mask,
        tuple(_mean_of_spaces(*each) for each in zip(own, other, strict=True)) if len(members) > 1 else (),
    )


def _mean_of_spaces(own: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(np.isnan(other), own, (own + other) / 2)


def _seen_from_other(
    tracer: Tracer, spaces: Mapping[Tracer, Space], logits: Logits, fdg_to_psma: RigidTransform | None
) -> NDArray[np.float32]:
    """Logits of a tracer's hot voxels from the other tracer's space, [n]; NaN where that does not see them."""
    own = spaces[tracer]
    if fdg_to_psma is None or tracer.other not in spaces or not logits.knows(tracer, tracer.other):
        return np.full(int(own.hot.sum()), np.nan, dtype=np.float32)
    values, seen = seen_elsewhere(own, spaces[tracer.other], tracer, logits, fdg_to_psma)
    return np.where(seen, values, np.float32(np.nan))
