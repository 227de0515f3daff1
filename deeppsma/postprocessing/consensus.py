"""Consensus of GTRC-Net: each focus is disease or not as a whole, by vote of networks that see six numbers of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.geometry import VectorZyx
from deeppsma.models.gtrc.consensus import FEATURES, Consensus
from deeppsma.postprocessing.foci import GTRC_FOCI, FocusRule, FocusTable, divide, measure
from deeppsma.postprocessing.region_growing import within_radius


@dataclass(frozen=True, eq=False)
class ConsensusResult:
    """What came of a vote.

    Parameters
    ----------
    mask
        [z, y, x], disease.
    foci
        What was voted on.
    features
        [n, feature], by `deeppsma.models.gtrc.consensus.FEATURES`.
    votes
        By fold, [n]: whether it takes the focus for disease.
    disease
        [n], the verdict: more than half of the folds.
    added
        Voxels that no focus brought in, but the network's own answer.
    """

    mask: NDArray[np.bool_]
    foci: FocusTable
    features: NDArray[np.float64]
    votes: Mapping[str, NDArray[np.bool_]]
    disease: NDArray[np.bool_]
    added: int

    def rows(self) -> list[dict[str, Any]]:
        """A row for each focus, plain values; the column names have the units."""
        rows = []
        for n, number in enumerate(self.foci.number.tolist()):
            z, y, x = self.foci.centre_zyx[n].tolist()
            row = {"focus": number, "centre_z": z, "centre_y": y, "centre_x": x}
            row |= dict(zip(FEATURES, self.features[n].tolist(), strict=True))
            row |= {f"vote_{fold}": int(votes[n]) for fold, votes in self.votes.items()}
            rows.append(row | {"disease": int(self.disease[n])})
        return rows


def vote(
    ratio: NDArray[np.floating],
    ct_hu: NDArray,
    ttb: NDArray[np.bool_],
    normal: NDArray[np.bool_],
    spacing_zyx: VectorZyx,
    consensus: Consensus,
    rule: FocusRule = GTRC_FOCI,
) -> ConsensusResult:
    """Let a consensus decide on the foci of a PET.

    Parameters
    ----------
    ratio
        [z, y, x], PET / threshold; the whole PET, because what is a peak may be decided beyond a crop.
    ct_hu
        CT on the same grid; only what lies in foci is looked at.
    ttb, normal
        What the network calls disease and normal uptake; neither need keep to the threshold.
    spacing_zyx
        mm.
    consensus
        Of this PET's tracer.
    rule
        How the above-threshold voxels are divided.

    Returns
    -------
    ConsensusResult
        Foci that more than half of the folds vote for, and whatever the network calls disease at or above the
        threshold. No above-threshold voxel: an empty mask and no focus.

    Raises
    ------
    ValueError
        If shapes differ, or a number of a focus is not finite.
    """
    if not ratio.shape == ct_hu.shape == ttb.shape == normal.shape:
        raise ValueError(f"ratio {ratio.shape}, CT {ct_hu.shape}, ttb {ttb.shape}, normal {normal.shape} differ")
    above = ratio >= 1
    volume_ml = float(np.prod(np.asarray(spacing_zyx, np.float64))) / 1000
    foci = measure(divide(ratio, above, spacing_zyx, rule), {"ratio": ratio, "ct": ct_hu}, volume_ml)
    columns = [
        foci.volume_ml,
        foci.maximum["ratio"],
        foci.mean["ratio"],
        foci.mean["ct"],
        foci.share(ttb),
        foci.share(normal),
    ]
    features = np.stack(columns, axis=1)
    votes = consensus.votes(features)
    disease = 2 * votes.sum(axis=0) > len(votes)
    mask = foci.selected(disease)
    voted = int(mask.sum())
    mask |= ttb & above
    by_fold = dict(zip(consensus.networks, votes, strict=True))
    return ConsensusResult(mask, foci, features, by_fold, disease, int(mask.sum()) - voted)


def grow_quickly(
    ratio: NDArray[np.floating],
    ttb: NDArray[np.bool_],
    normal: NDArray[np.bool_],
    spacing_zyx: VectorZyx,
    radius_mm: float = 7.0,
) -> NDArray[np.bool_]:
    """GTRC-Net's variant without foci: ttb grown to above-threshold voxels, without normal uptake.

    Parameters
    ----------
    ratio, ttb, normal, spacing_zyx
        As in `vote`. What the network calls ttb below the threshold grows, too.
    radius_mm
        How far.

    Raises
    ------
    ValueError
        If shapes differ or the radius is not positive.
    """
    if not ratio.shape == ttb.shape == normal.shape:
        raise ValueError(f"ratio {ratio.shape}, ttb {ttb.shape} and normal {normal.shape} differ")
    if not radius_mm > 0:
        raise ValueError(f"radius_mm must be positive, not {radius_mm}")
    above = ratio >= 1
    return (within_radius(ttb, spacing_zyx, radius_mm) & above & ~normal) | (ttb & above)
