"""Volumes of the same lesions at other thresholds: what the tumour volume would be if the threshold were another.

PaIRe's report wishes for an adaptive threshold. Nothing is segmented anew: a voxel outside a lesion stays outside, so
that thresholds below the case's own have no answer here; they take another run. Every figure is marked as
re-thresholded where it is shown.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: SUV, and the share of a lesion's own maximum, that are in use.
FIXED_SUV, SHARE_OF_MAXIMUM = (2.5, 3.0, 4.0), 0.41
#: What the last rules are called.
SHARE_RULE, LIVER_RULE = "41 % of each lesion's SUVmax", "liver's mean + 2 SD"


def fixed_rule(suv: float) -> str:
    """What a fixed threshold is called."""
    return f"SUV \N{GREATER-THAN OR EQUAL TO} {suv:g}"


def rethresholded_ml(
    suv: NDArray[np.floating],
    lesions: NDArray[np.integer],
    voxel_ml: float,
    threshold_suv: float,
    liver_suv: float | None = None,
) -> dict[str, float]:
    """Volume of lesions at other thresholds.

    Parameters
    ----------
    suv
        SUV of the lesions' voxels, in any order.
    lesions
        Number of the lesion, from 1, that each voxel belongs to.
    voxel_ml
        Volume of a voxel.
    threshold_suv
        The case's own; rules below it are left out.
    liver_suv
        A threshold that was measured in the liver; None where there is none.

    Returns
    -------
    dict
        ml by rule; 0 without lesions.

    Raises
    ------
    ValueError
        If the shapes differ, a voxel belongs to no lesion, or has no volume.
    """
    if suv.shape != lesions.shape:
        raise ValueError(f"SUV {suv.shape} and lesions {lesions.shape} must have one shape")
    if not voxel_ml > 0:
        raise ValueError(f"voxel_ml must be positive, not {voxel_ml}")
    if lesions.size and lesions.min() < 1:
        raise ValueError("every voxel must belong to a lesion, from 1")
    fixed = {fixed_rule(value): value for value in FIXED_SUV} | ({LIVER_RULE: liver_suv} if liver_suv else {})
    # The case's own threshold may have been written with fewer digits than the rule has.
    found = {rule: suv >= value for rule, value in fixed.items() if value >= threshold_suv * (1 - 1e-6)}
    hottest = np.zeros(int(lesions.max(initial=0)) + 1)
    np.maximum.at(hottest, lesions, suv)
    found[SHARE_RULE] = suv >= SHARE_OF_MAXIMUM * hottest[lesions]
    return {rule: round(float(kept.sum()) * voxel_ml, 3) for rule, kept in found.items()}
