"""What becomes of a focus: the network's voxels and the trees' verdict on the focus, joined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.tracer import Tracer
from deeppsma.postprocessing.second_opinion.evidence import Evidence
from deeppsma.postprocessing.second_opinion.features import LOGIT_LIMIT, FeatureTable, describe
from deeppsma.postprocessing.second_opinion.grouped import Groups
from deeppsma.postprocessing.second_opinion.pieces import pieces_of
from deeppsma.postprocessing.second_opinion.trees import Forest, mean_score

#: Share of the network's own logit in the sum: it decides where the trees are undecided, and shapes the edge.
NETWORK_WEIGHT = 0.1


class Role(StrEnum):
    """What a tracer's trees may do to its mask."""

    DECIDES = "decides"
    #: They take away what the network found, and add nothing.
    REMOVES = "removes"
    #: They give probabilities alone.
    SAYS = "says"


@dataclass(frozen=True)
class SecondOpinion:
    """The model of one tracer.

    Parameters
    ----------
    tracer
        Whose foci.
    features
        Names of the columns that the forests were fitted on, in their order.
    forests
        Their mean is a focus's logit.
    offset
        Added to it before the decision: above 0 small true lesions are
        spared, and more false ones with them.
    role
        What it may do to the mask.
    card
        What it was fitted on, and how well it does there; JSON values.
    within
        Weight of the network within a focus; see `join`.
    """

    tracer: Tracer
    features: tuple[str, ...]
    forests: tuple[Forest, ...]
    offset: float
    role: Role = Role.DECIDES
    card: Mapping[str, Any] = field(default_factory=dict)
    within: float = 0.0

    def __post_init__(self) -> None:
        if not self.forests or len(set(self.features)) != len(self.features):
            raise ValueError("a second opinion needs forests, and each feature once")
        if max(forest.columns for forest in self.forests) > len(self.features):
            raise ValueError(f"forests that look at more than {len(self.features)} features")
        if not np.isfinite(self.offset):
            raise ValueError(f"offset must be finite, not {self.offset}")
        if not 0 <= self.within < np.inf:
            raise ValueError(f"the weight within a focus must be 0 or more, not {self.within}")

    def columns(self, table: FeatureTable) -> NDArray[np.float32]:
        """The features that it was fitted on, in their order; of networks that did not answer they are not known, NaN.

        Raises
        ------
        ValueError
            If the table has not all others: it is of another version.
        """
        missing = [name for name in self.features if name not in table.names]
        if others := [name for name in missing if not name.startswith("members.")]:
            raise ValueError(f"no feature {', '.join(others)}: the model is of another version")
        unknown = np.full(len(table.values), np.nan, dtype=np.float32)
        chosen = [unknown if name in missing else table.column(name) for name in self.features]
        return np.stack(chosen, axis=1)

    def logit(self, table: FeatureTable) -> NDArray[np.float64]:
        """Log odds of each focus, [focus], before the offset."""
        return mean_score(self.forests, self.columns(table))


@dataclass(frozen=True)
class Opinion:
    """What the trees say of one tracer's foci.

    Parameters
    ----------
    piece
        [n] focus of each hot voxel.
    table
        Features of the foci.
    logit, probability
        [focus] log odds that a focus is disease, and the same as a
        probability; as calibrated on the patients it was fitted on.
    found
        [n] what the recipe calls disease without the trees.
    disease
        [n] what is disease after both, as far as the model's role goes.
    missing
        What the trees had to do without, in words.
    network
        [n] the network's logits.
    """

    piece: NDArray[np.int32]
    table: FeatureTable
    logit: NDArray[np.float64]
    probability: NDArray[np.float64]
    found: NDArray[np.bool_]
    disease: NDArray[np.bool_]
    missing: tuple[str, ...]
    network: NDArray[np.floating]

    def disease_at(
        self, model: SecondOpinion, cutoff: float, found: NDArray[np.bool_] | None = None
    ) -> NDArray[np.bool_]:
        """``disease`` at another cutoff, by the model whose opinion this is; ``found`` as for `judged`."""
        return judged(self.network, self.piece, self.logit, model.offset, model.role, cutoff, found, model.within)

    def unconvinced_by(self, model: SecondOpinion, cutoff: float) -> int:
        """How many foci would be disease at a cutoff, were one of the tracer's foci likely to be; 0 if one is."""
        if model.role is not Role.DECIDES or convincing(self.logit, cutoff):
            return 0
        joined = join(self.network, self.piece, self.logit, model.offset - _log_odds(cutoff), model.within)
        return len(np.unique(self.piece[joined]))


def judge(model: SecondOpinion, evidence: Evidence, cutoff: float = 0.5) -> Opinion:
    """A second opinion on one tracer.

    Parameters
    ----------
    model
        Of that tracer.
    evidence
        See `deeppsma.postprocessing.second_opinion.evidence.gather_evidence`.
    cutoff
        Probability from which on a voxel is disease, of what the network and
        the trees say together.

    Returns
    -------
    Opinion
        Without foci where no voxel is hot.

    Raises
    ------
    ValueError
        If the model is of the other tracer.
    """
    if model.tracer is not evidence.tracer:
        raise ValueError(f"a model of {model.tracer.upper()} for {evidence.tracer.upper()}")
    network, found = evidence.mean, evidence.found
    piece = pieces_of(evidence)
    table = describe(evidence, piece)
    logit = model.logit(table)
    disease = judged(network, piece, logit, model.offset, model.role, cutoff, evidence.mask, model.within)
    return Opinion(piece, table, logit, 1 / (1 + np.exp(-logit)), found, disease, evidence.missing, network)


def judged(
    network: NDArray[np.floating],
    piece: NDArray[np.integer],
    logit: NDArray[np.floating],
    offset: float,
    role: Role,
    cutoff: float = 0.5,
    found: NDArray[np.bool_] | None = None,
    within: float = 0.0,
) -> NDArray[np.bool_]:
    """What is disease, [n], as far as a role goes.

    Parameters
    ----------
    network, piece, logit, offset, within
        As for `join`.
    role, cutoff
        As for `judge`.
    found
        [n] what is disease without the trees; None: what the network's logits
        say at the cutoff.

    Notes
    -----
    The offset spares small true lesions of men who have others. A man none of
    whose foci is likely to be disease has none for trees that decide: what the
    offset would spare there is false far more often than not.
    """
    at = _log_odds(cutoff)
    if found is None:
        found = np.asarray(network >= at)
    if role is Role.SAYS:
        return found
    joined = join(network, piece, logit, offset - at, within)
    if role is Role.REMOVES:
        return joined & found
    return joined if convincing(logit, cutoff) else np.zeros_like(joined)


def convincing(logit: NDArray[np.floating], cutoff: float = 0.5) -> bool:
    """Whether a focus is likely to be disease by itself, without the offset: as probable as the cutoff at least.

    Parameters
    ----------
    logit
        Of one tracer's foci, [focus]; without foci none is.
    cutoff
        As for `judge`.
    """
    return bool((logit >= _log_odds(cutoff)).any())


def _log_odds(cutoff: float) -> float:
    return float(np.log(cutoff / (1 - cutoff)))


def join(
    network: NDArray[np.floating],
    piece: NDArray[np.integer],
    logit: NDArray[np.floating],
    offset: float,
    within: float = 0.0,
) -> NDArray[np.bool_]:
    """Whether voxels are disease.

    Parameters
    ----------
    network
        [n] the network's logits.
    piece
        [n] focus of each voxel, from 0.
    logit
        [focus] what the trees say.
    offset
        Added to it.
    within
        Weight of how far a voxel's logit is from its focus's mean: the trees
        say how likely a focus is, the network where in it. With it a lesion
        in one focus with the bowel that it touches is found, though the focus
        as a whole is none.

    Notes
    -----
    Within a focus logits above 0 count as 0: how sure a network is of its
    mask is no evidence against trees that doubt it.
    """
    total = NETWORK_WEIGHT * network + logit[piece] + offset
    if within:
        clipped = np.clip(network, -LOGIT_LIMIT, 0)
        total += within * (clipped - Groups(piece, len(logit)).mean(clipped)[piece])
    return np.asarray(total >= 0)


def reasons(model: SecondOpinion, table: FeatureTable, most: int = 3) -> list[list[tuple[str, float]]]:
    """The features that moved each focus's logit most, with how far; see `Forest.contributions`.

    Parameters
    ----------
    model, table
        As for `SecondOpinion.logit`.
    most
        How many to name.
    """
    values = model.columns(table)
    if not len(values):
        return []
    moved = np.mean([forest.contributions(values) for forest in model.forests], axis=0)
    largest = np.argsort(-np.abs(moved), axis=1, kind="stable")[:, :most]
    return [
        [(model.features[column], float(row[column])) for column in columns if row[column] != 0]
        for row, columns in zip(moved, largest, strict=True)
    ]
