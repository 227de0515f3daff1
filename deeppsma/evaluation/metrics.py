"""How well a mask agrees with the truth: the organisers' six figures, and lesion by lesion.

Source: the challenge's evaluation page and script; components are
18-connected. What the script leaves undefined (0 / 0 for empty masks) is
defined here: two empty masks agree fully, an empty and a filled one not at
all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deeppsma.core.box import Box

_CONNECTIVITY_18 = ndimage.generate_binary_structure(3, 2)
_FACES = ndimage.generate_binary_structure(3, 1)


@dataclass(frozen=True)
class Scores:
    """Scores of one mask.

    Parameters
    ----------
    dsc
        Dice similarity coefficient; 1 where both masks are empty, 0 where
        one is.
    surface_dsc
        Dice of the masks' contour voxels: no tolerance. Empty masks as for
        ``dsc``.
    fpv_ml
        Volume of predicted components that touch no truth.
    fnv_ml
        Volume of truth components that touch no prediction.
    volume_error_percent
        Predicted over true volume, less 1, in %, signed; 0 where both are
        empty, 100 where only the truth is.
    suv_mean_error_percent
        The same of the masks' mean SUV; -100 where only the prediction is
        empty.
    lesions, lesions_found
        Components of the truth; those that the prediction touches.
    false_lesions
        Predicted components that touch no truth.
    """

    dsc: float
    surface_dsc: float
    fpv_ml: float
    fnv_ml: float
    volume_error_percent: float
    suv_mean_error_percent: float
    lesions: int
    lesions_found: int
    false_lesions: int


def score(
    predicted: NDArray[np.bool_], truth: NDArray[np.bool_], suv: NDArray[np.float32], voxel_volume_ml: float
) -> Scores:
    """Score a mask against the truth.

    Parameters
    ----------
    predicted, truth
        [z, y, x] bool of one shape.
    suv
        PET on the same grid.
    voxel_volume_ml
        Volume of a voxel.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if not predicted.shape == truth.shape == suv.shape:
        raise ValueError(f"prediction {predicted.shape}, truth {truth.shape} and PET {suv.shape} must have one shape")
    # Both masks' box, and a voxel around it: nothing outside counts.
    around = Box.around_mask(predicted | truth)
    if around is None:
        return Scores(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0, 0, 0)
    box = around.grown((1, 1, 1)).clipped(truth.shape).slices
    predicted, truth, suv = predicted[box], truth[box], suv[box]
    false, missed = _untouched(predicted, truth), _untouched(truth, predicted)
    return Scores(
        dsc=dice(predicted, truth),
        surface_dsc=dice(contour(predicted), contour(truth)),
        fpv_ml=false.voxels * voxel_volume_ml,
        fnv_ml=missed.voxels * voxel_volume_ml,
        volume_error_percent=_error_percent(float(predicted.sum()), float(truth.sum())),
        suv_mean_error_percent=_error_percent(_mean(suv, predicted), _mean(suv, truth)),
        lesions=missed.components,
        lesions_found=missed.components - missed.untouched,
        false_lesions=false.untouched,
    )


@dataclass(frozen=True)
class LesionCounts:
    """Components of the truth, those that the answer touches, and components of the answer that touch no truth."""

    lesions: int
    found: int
    false: int


def count_lesions(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> LesionCounts:
    """Count lesions alone, for which no PET is needed; arguments as of `score`.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"prediction {predicted.shape} and truth {truth.shape} must have one shape")
    around = Box.around_mask(predicted | truth)
    if around is None:
        return LesionCounts(0, 0, 0)
    predicted, truth = predicted[around.slices], truth[around.slices]
    missed, false = _untouched(truth, predicted), _untouched(predicted, truth)
    return LesionCounts(missed.components, missed.components - missed.untouched, false.untouched)


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Dice similarity coefficient; 1 where both masks are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def contour(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of a mask with a face that touches the outside; the image's border is not outside."""
    return np.asarray(mask & ~ndimage.binary_erosion(mask, _FACES, border_value=1))


@dataclass(frozen=True)
class _Untouched:
    """Of a mask's components: all of them, and those that the other mask touches nowhere."""

    components: int
    untouched: int
    voxels: int


def _untouched(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> _Untouched:
    labels, count = ndimage.label(mask, _CONNECTIVITY_18)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    alone = np.bincount(labels[other], minlength=count + 1)[1:] == 0
    return _Untouched(count, int(alone.sum()), int(sizes[alone].sum()))


def _mean(suv: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    return float(suv[mask].mean(dtype=np.float64)) if mask.any() else 0.0


def _error_percent(found: float, true: float) -> float:
    if true == 0:
        return 0.0 if found == 0 else 100.0
    return 100 * (found / true - 1)
