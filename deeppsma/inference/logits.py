"""What a network says of a case: logits of each tracer, as seen from each space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.tracer import Tracer


@dataclass(frozen=True)
class Logits:
    """Logits of one member, or of an ensemble's mean.

    Parameters
    ----------
    by_place
        By (tracer, whose space it was seen from): float32 [class, n] for the
        n voxels of that space's ``needed[tracer]``, in C order. One class is
        "disease or not"; two or three are background, disease, and normal
        uptake.
    """

    by_place: Mapping[tuple[Tracer, Tracer], NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if any(values.ndim != 2 for values in self.by_place.values()):
            raise ValueError("logits need two axes, class and voxel")

    def of(self, tracer: Tracer, seen_from: Tracer) -> NDArray[np.float32]:
        """Logits [class, n] of a tracer.

        Parameters
        ----------
        tracer
            Whose disease.
        seen_from
            Whose space.

        Raises
        ------
        KeyError
            If the network was not asked there.
        """
        return self.by_place[tracer, seen_from]

    def knows(self, tracer: Tracer, seen_from: Tracer) -> bool:
        """Whether the network was asked for a tracer in a space."""
        return (tracer, seen_from) in self.by_place

    def joined(self, seen_from: Tracer, found: Mapping[Tracer, NDArray[np.float32]]) -> Logits:
        """These, and what was found in one more space."""
        return Logits({**self.by_place, **{(tracer, seen_from): values for tracer, values in found.items()}})


def mean_logits(members: Sequence[Logits]) -> Logits:
    """Ensemble: mean of the members' logits, voxel by voxel (CDS).

    Raises
    ------
    ValueError
        If there is no member.
    """
    if not members:
        raise ValueError("an ensemble needs a member")
    places = members[0].by_place
    return Logits({p: np.mean([each.by_place[p] for each in members], axis=0, dtype=np.float32) for p in places})


def mean_probabilities(
    members: Sequence[NDArray[np.float32]], weights: Sequence[float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Ensemble: weighted means of the members' probabilities, voxel by voxel (PaIRe).

    Parameters
    ----------
    members
        Logits [class, n] of one tracer: of disease or not; or of background
        and disease; or of background, disease and normal uptake.
    weights
        Of the members.

    Returns
    -------
    disease, normal
        [n] float32. Members that do not know normal uptake do not count for
        it; 0 if none does.

    Raises
    ------
    ValueError
        If there is no member.
    """
    from scipy.special import expit, softmax

    if not members:
        raise ValueError("an ensemble needs a member")
    disease, normal, normal_weights = [], [], []
    for logits, weight in zip(members, weights, strict=True):
        if len(logits) == 1:
            disease.append(expit(logits[0]))
            continue
        classes = softmax(logits, axis=0)
        disease.append(classes[1])
        if len(classes) > 2:
            normal.append(classes[2])
            normal_weights.append(weight)
    mean = np.average(disease, axis=0, weights=weights)
    none = np.zeros(mean.shape)
    mean_normal = np.average(normal, axis=0, weights=normal_weights) if normal else none
    return mean.astype(np.float32), mean_normal.astype(np.float32)
