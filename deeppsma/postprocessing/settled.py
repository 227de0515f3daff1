"""Which voxels members that have not answered yet cannot change any more.

A mean of probabilities is bounded by what each member may still say, 0 to 1. Nothing of the kind holds for a mean of
logits: a logit has no bound, so that one network may outweigh any number of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

#: Wider than what single precision rounds a mean of probabilities by.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Voter:
    """A member in a mean of probabilities.

    Parameters
    ----------
    weight
        In the mean.
    knows_normal
        Whether it tells normal uptake from background.
    logits
        What it said, [class, n]; None if it has not answered.
    """

    weight: float
    knows_normal: bool
    logits: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"a weight must be positive, not {self.weight}")


@dataclass(frozen=True, eq=False)
class Bounds:
    """Between which values mean probabilities will lie whatever is still said, each [n].

    Parameters
    ----------
    disease, disease_most, normal, normal_most
        Least and most.
    sum_most
        Of disease and normal uptake together.
    """

    disease: NDArray[np.float64]
    disease_most: NDArray[np.float64]
    normal: NDArray[np.float64]
    normal_most: NDArray[np.float64]
    sum_most: NDArray[np.float64]

    @classmethod
    def of(cls, voters: Sequence[Voter], count: int) -> Bounds:
        """Bounds at ``count`` voxels of the means that `deeppsma.inference.logits.mean_probabilities` will give.

        Raises
        ------
        ValueError
            If there is no voter.
        """
        if not voters:
            raise ValueError("a mean needs a member")
        known = [voter for voter in voters if voter.knows_normal]
        disease, open_disease = _sums(voters, count, 1)
        normal, open_normal = _sums(known, count, 2)
        most, normal_most = disease + open_disease, normal + open_normal
        together = disease + normal + open_disease if len(known) == len(voters) else most + normal_most
        low, high = disease - _ROUNDING, most + _ROUNDING
        return cls(low, high, normal - _ROUNDING, normal_most + _ROUNDING, together + 2 * _ROUNDING)

    def settled_by_cutoffs(self, cutoff: float, normal_cutoff: float) -> NDArray[np.bool_]:
        """Where it is certain on which side of both cutoffs the means will lie, [n]."""
        disease = (self.disease > cutoff) | (self.disease_most <= cutoff)
        return disease & ((self.normal > normal_cutoff) | (self.normal_most <= normal_cutoff))

    def settled_by_class(self) -> NDArray[np.bool_]:
        """Where it is certain which class of background, disease and normal uptake will have the highest mean, [n]."""
        disease = (2 * self.disease + self.normal > 1) & (self.disease > self.normal_most)
        normal = (2 * self.normal + self.disease > 1) & (self.normal > self.disease_most)
        background = (self.disease_most + self.sum_most < 1) & (self.normal_most + self.sum_most < 1)
        return disease | normal | background


def _sums(voters: Sequence[Voter], count: int, row: int) -> tuple[NDArray[np.float64], float]:
    """Share of a mean that is certain, [n], and share that is open."""
    certain, still_open = np.zeros(count), 0.0
    whole = sum(voter.weight for voter in voters)
    for voter in voters:
        if voter.logits is None:
            still_open += voter.weight / whole
        elif len(voter.logits) == 1:
            certain += voter.weight / whole * expit(voter.logits[0])
        else:
            certain += voter.weight / whole * softmax(voter.logits, axis=0)[row]
    return certain, still_open
