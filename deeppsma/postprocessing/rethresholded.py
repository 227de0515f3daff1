"""Volumes of the same lesions at other thresholds: what the tumour volume would be if the threshold were another.

PaIRe's report wishes for an adaptive threshold. Nothing is segmented anew: a
voxel outside a lesion stays outside, so that a threshold below the case's own
changes nothing. Every figure is marked as re-thresholded.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.components import components_of

#: SUV, and the share of a lesion's own maximum, that are in use.
FIXED_SUV, SHARE_OF_MAXIMUM = (2.5, 3.0, 4.0), 0.41


def rethresholded_ml(
    suv: NDArray[np.floating], mask: NDArray[np.bool_], voxel_ml: float, liver_suv: float | None = None
) -> Mapping[str, float]:
    """Volume of a mask's lesions at other thresholds.

    Parameters
    ----------
    suv
        [z, y, x] SUV.
    mask
        [z, y, x] lesions; connected voxels (18 neighbours) are one.
    voxel_ml
        Volume of a voxel.
    liver_suv
        A threshold that was measured in the liver; None where there is none.

    Returns
    -------
    dict
        ml by rule: "SUV 2.5", "SUV 3", "SUV 4", "41 % of each lesion's
        maximum", "liver"; 0 for an empty mask.

    Raises
    ------
    ValueError
        If the shapes differ, or the voxel has no volume.
    """
    if suv.shape != mask.shape:
        raise ValueError(f"PET {suv.shape} and mask {mask.shape} must have one shape")
    if not voxel_ml > 0:
        raise ValueError(f"voxel_ml must be positive, not {voxel_ml}")
    inside = suv[mask]
    least: dict[str, float | NDArray] = {f"SUV {value:g}": value for value in FIXED_SUV}
    lesions, count = components_of(mask)
    highest = np.zeros(count + 1)
    np.maximum.at(highest, lesions[mask], inside)
    least[f"{SHARE_OF_MAXIMUM:.0%}".replace("%", " % of each lesion's maximum")] = (
        SHARE_OF_MAXIMUM * highest[lesions[mask]]
    )
    if liver_suv is not None:
        least["liver"] = liver_suv
    return {rule: round(float((inside >= value).sum()) * voxel_ml, 3) for rule, value in least.items()}
