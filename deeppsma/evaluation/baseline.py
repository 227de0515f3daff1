"""The answer that needs no network: it shows how hard a case is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.anatomy import BLADDER, KIDNEY_LEFT, KIDNEY_RIGHT, LIVER
from deeppsma.core.resampling import resample
from deeppsma.core.volume import Volume

#: Organs in which no hot voxel counts.
EXCLUDED = (KIDNEY_RIGHT, KIDNEY_LEFT, LIVER, BLADDER)


def trivial_answer(pet: Volume, threshold_suv: float, organs: Volume | None) -> NDArray[np.bool_]:
    """Everything at or above the threshold outside kidneys, liver and bladder, [z, y, x].

    Parameters
    ----------
    pet, threshold_suv
        SUV.
    organs
        TotalSegmentator labels on any grid; without them no voxel is excluded.
    """
    hot = pet.voxels >= np.float32(threshold_suv)
    if organs is None:
        return np.asarray(hot)
    return np.asarray(hot & ~np.isin(resample(organs, pet.geometry, labels=True), EXCLUDED))
