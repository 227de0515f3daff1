"""The FDG threshold of a patient from his own liver: mean + 2 standard deviations in the liver's core.

The challenge gives a threshold with each case; a hospital has none. The core is what lies 10 mm or more inside the
liver of the organ map, so that neither breathing nor neighbours count; voxels far from the core's median (lesions,
vessels) are left out. For PSMA the challenge's fixed 3 holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from deeppsma.core.anatomy import LIVER
from deeppsma.core.box import Box
from deeppsma.core.geometry import Geometry
from deeppsma.core.resampling import resample_labels
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume

PSMA_THRESHOLD_SUV = 3.0
#: How deep inside the liver the core begins, and how large it must be.
DEPTH_MM, CORE_MIN_ML = 10.0, 50.0
#: Voxels farther from the median than this many robust standard deviations are no liver.
OUTLIER_SD = 3.0
#: A mean outside these is said: wrong units, wrong times, or a diseased liver. PSMA ligands differ much: some leave
#: by the liver, some by the kidneys alone.
LIVER_USUAL_SUV = {Tracer.FDG: (1.0, 4.5), Tracer.PSMA: (1.0, 25.0)}
_SD_PER_MAD = 1.4826


@dataclass(frozen=True)
class LiverUptake:
    """Uptake in the liver's core.

    Parameters
    ----------
    median_suv, mean_suv, sd_suv
        Over the core, without what is no liver.
    core_ml
        What they are of.
    left_out_ml
        Voxels of the core that are far from its median.
    """

    median_suv: float
    mean_suv: float
    sd_suv: float
    core_ml: float
    left_out_ml: float

    @property
    def threshold_suv(self) -> float:
        """Mean + 2 standard deviations."""
        return self.mean_suv + 2 * self.sd_suv

    def usual(self, tracer: Tracer | None) -> tuple[float, float]:
        """Between which a mean lies as a rule; where the tracer is not known, of any."""
        if tracer is not None:
            return LIVER_USUAL_SUV[tracer]
        lows, highs = zip(*LIVER_USUAL_SUV.values(), strict=True)
        return min(lows), max(highs)

    def plausible(self, tracer: Tracer | None) -> bool:
        """Whether this mean does."""
        low, high = self.usual(tracer)
        return low <= self.mean_suv <= high

    def describe(self, tracer: Tracer | None) -> str:
        """One line, with what is usual."""
        low, high = self.usual(tracer)
        odd = "" if self.plausible(tracer) else ": unusual, check SUV"
        return (
            f"liver core {self.core_ml:.0f} ml ({self.left_out_ml:.0f} ml left out): SUV median {self.median_suv:.2f}, "
            f"mean {self.mean_suv:.2f} +- {self.sd_suv:.2f} (usual {low:g} to {high:g}){odd}"
        )


def liver_uptake(pet: Volume, organs: Volume) -> LiverUptake | None:
    """Uptake in the core of the liver.

    Parameters
    ----------
    pet
        SUV.
    organs
        TotalSegmentator label map of the same session, on a grid of its own.

    Returns
    -------
    LiverUptake or None
        None where the map shows no liver, or too little of it.
    """
    from scipy import ndimage

    box = _around_liver(pet.geometry, organs)
    if box is None:
        return None
    liver = resample_labels(organs, pet.geometry.cropped(box)) == LIVER
    # Where the image cuts the liver, its core keeps away from the cut, too.
    depth_mm = ndimage.distance_transform_edt(np.pad(liver, 1), sampling=pet.geometry.spacing_zyx)[1:-1, 1:-1, 1:-1]
    values = pet.voxels[box.slices][depth_mm >= DEPTH_MM].astype(np.float64)
    voxel_ml = pet.geometry.voxel_volume_ml
    if values.size * voxel_ml < CORE_MIN_ML:
        return None
    median = np.median(values)
    spread = _SD_PER_MAD * np.median(np.abs(values - median))
    kept = values[np.abs(values - median) <= OUTLIER_SD * spread] if spread > 0 else values
    left_out_ml = (values.size - kept.size) * voxel_ml
    return LiverUptake(float(np.median(kept)), float(kept.mean()), float(kept.std()), kept.size * voxel_ml, left_out_ml)


def _around_liver(grid: Geometry, organs: Volume) -> Box | None:
    """Part of a grid that can show a map's liver; None without one."""
    there = Box.around_mask(organs.voxels == LIVER)
    if there is None:
        return None
    corners = np.array(list(product(*zip(there.start_zyx, np.array(there.stop_zyx) - 1, strict=True))), np.float64)
    box = Box.around_points(grid.world_to_index(organs.geometry.index_to_world(corners)))
    box = None if box is None else box.grown((1, 1, 1)).clipped(grid.shape_zyx)
    return None if box is None or 0 in box.shape_zyx else box
