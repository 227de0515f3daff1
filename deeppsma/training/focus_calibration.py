"""Whether a focus that is given 70 % is disease in seven of ten: reliability, expected calibration error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_BOOTSTRAPS = 500


@dataclass(frozen=True)
class Judged:
    """Foci with their probabilities from models that have not seen the patient.

    Parameters
    ----------
    probability
        [focus].
    disease
        [focus] bool.
    volume_ml
        [focus].
    patient
        [focus] number of the patient.
    """

    probability: NDArray[np.float64]
    disease: NDArray[np.bool_]
    volume_ml: NDArray[np.float64]
    patient: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len({len(self.probability), len(self.disease), len(self.volume_ml), len(self.patient)}) != 1:
            raise ValueError("each focus needs a probability, a truth, a volume and a patient")

    def where(self, chosen: NDArray) -> Judged:
        """Some of the foci."""
        return Judged(self.probability[chosen], self.disease[chosen], self.volume_ml[chosen], self.patient[chosen])


@dataclass(frozen=True)
class Bin:
    """Foci of about one probability: how many, their mean probability, and the share that is disease."""

    count: int
    probability: float
    share: float


def reliability(judged: Judged, bins: int = 10) -> list[Bin]:
    """Foci by tenths of probability; empty tenths are left out."""
    place = np.minimum((judged.probability * bins).astype(int), bins - 1)
    return [
        Bin(int(here.sum()), float(judged.probability[here].mean()), float(judged.disease[here].mean()))
        for here in (place == number for number in range(bins))
        if here.any()
    ]


def calibration_error(judged: Judged, bins: int = 10) -> float:
    """Expected calibration error: mean distance of probability and share, tenth by tenth; 0 without foci."""
    each = reliability(judged, bins)
    total = sum(b.count for b in each)
    return sum(b.count * abs(b.probability - b.share) for b in each) / total if total else 0.0


def calibration_interval(judged: Judged, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the calibration error, by drawing patients with replacement."""
    rng = np.random.default_rng(seed)
    patients = np.unique(judged.patient)
    of_patient = [np.flatnonzero(judged.patient == each) for each in patients]
    errors = [
        calibration_error(
            judged.where(np.concatenate([of_patient[k] for k in rng.integers(0, len(patients), len(patients))]))
        )
        for _ in range(_BOOTSTRAPS if len(patients) else 0)
    ]
    if not errors:
        return 0.0, 0.0
    low, high = np.percentile(errors, [2.5, 97.5])
    return float(low), float(high)


def open_to_doubt(judged: Judged, least: float = 0.02) -> Judged:
    """Foci that are not as good as certainly normal: the others would make any calibration look good."""
    return judged.where(judged.probability >= least)


def by_size(judged: Judged, edges_ml: Sequence[float] = (0.5, 2.0, 10.0)) -> dict[str, Judged]:
    """Foci by volume."""
    names = [f"below {edges_ml[0]:g} ml"]
    names += [f"{a:g} to {b:g} ml" for a, b in pairwise(edges_ml)]
    names += [f"{edges_ml[-1]:g} ml and more"]
    place = np.digitize(judged.volume_ml, edges_ml)
    return {name: judged.where(place == number) for number, name in enumerate(names)}


def draw_reliability(judged: Sequence[tuple[str, Judged]], path: str) -> None:
    """Draw the share that is disease over the probability, a line for each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, each in judged:
        bins = reliability(each)
        axes.plot([b.probability for b in bins], [b.share for b in bins], marker="o", label=name)
    axes.set(xlabel="probability", ylabel="share that is disease", xlim=(0, 1), ylim=(0, 1))
    axes.set_title("synthetic patients, cross-validated")
    axes.legend()
    figure.savefig(path, dpi=100)
