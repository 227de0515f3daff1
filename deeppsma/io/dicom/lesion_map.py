"""Lesions as the writers of DICOM take them: figures, places as codes, and which voxel is whose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Code(NamedTuple):
    """A coded concept: value, scheme and meaning."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class LesionFigures:
    """One lesion's name and figures.

    Parameters
    ----------
    id
        "P1", as in the lesion table.
    place
        Its name in words; empty where it has none.
    site, laterality
        The same as codes, where there are.
    volume_ml, suv_max, suv_mean, suv_peak, total_uptake_g
        As in the lesion table; the last is TLG on FDG, PSMA-TL on PSMA.
    """

    id: str
    place: str
    volume_ml: float
    suv_max: float
    suv_mean: float
    suv_peak: float
    total_uptake_g: float
    site: Code | None = None
    laterality: Code | None = None


@dataclass(frozen=True)
class LesionMap:
    """All lesions of one PET.

    Parameters
    ----------
    lesions
        In the order of their numbers in ``labels``.
    labels
        [z, y, x] on the PET's grid: 1 for the voxels of the first lesion and so on, 0 for none's.
    threshold_suv
        All voxels of lesions reach it.
    """

    lesions: tuple[LesionFigures, ...]
    labels: NDArray
    threshold_suv: float

    def __post_init__(self) -> None:
        if self.labels.ndim != 3 or self.labels.dtype.kind != "u":
            raise ValueError("labels are unsigned whole numbers [z, y, x]")
        if int(self.labels.max(initial=0)) > len(self.lesions):
            raise ValueError(f"voxels of lesion {int(self.labels.max())}, of {len(self.lesions)}")

    @property
    def volume_ml(self) -> float:
        """Of all lesions."""
        return sum(lesion.volume_ml for lesion in self.lesions)

    @property
    def total_uptake_g(self) -> float:
        """Of all lesions."""
        return sum(lesion.total_uptake_g for lesion in self.lesions)

    def slices(self) -> NDArray[np.intp]:
        """Numbers of the slices with a lesion."""
        return np.flatnonzero(self.labels.any(axis=(1, 2)))
