"""How well a mask agrees with the truth: the organisers' definitions.

Source: the challenge's evaluation page; components are 18-connected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_CONNECTIVITY_18 = ndimage.generate_binary_structure(3, 2)


@dataclass(frozen=True)
class Scores:
    """Scores of one mask.

    Parameters
    ----------
    dsc
        Dice similarity coefficient; 1 where both masks are empty, 0 where
        one is.
    fpv_ml
        Volume of predicted components that touch no truth.
    fnv_ml
        Volume of true components that touch no prediction.
    """

    dsc: float
    fpv_ml: float
    fnv_ml: float


def score(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], voxel_volume_ml: float) -> Scores:
    """Score a mask against the truth.

    Parameters
    ----------
    predicted, truth
        [z, y, x] bool of one shape.
    voxel_volume_ml
        Volume of a voxel.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"prediction {predicted.shape} and truth {truth.shape} must have one shape")
    return Scores(
        dice(predicted, truth),
        _untouched(predicted, truth) * voxel_volume_ml,
        _untouched(truth, predicted) * voxel_volume_ml,
    )


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Dice similarity coefficient; 1 where both masks are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def _untouched(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> int:
    """Voxels of the components of ``mask`` that share no voxel with ``other``."""
    labels, count = ndimage.label(mask, _CONNECTIVITY_18)
    if count == 0:
        return 0
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    touched = np.bincount(labels[other], minlength=count + 1) > 0
    return int(sizes[1:][~touched[1:]].sum())
