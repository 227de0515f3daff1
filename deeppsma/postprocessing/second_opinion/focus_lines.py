"""What the run report says of each focus: where, how large, how probable, why, and whether a reader should look."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.postprocessing.second_opinion.decide import Opinion, SecondOpinion, reasons
from deeppsma.postprocessing.second_opinion.evidence import Evidence
from deeppsma.postprocessing.second_opinion.grouped import Groups

#: Between these probabilities a reader should decide; what neither the network nor the trees take for disease, and
#: is below the lower one, has no line.
UNSURE = (0.2, 0.8)
#: Lesions below this volume, and below this one if FDG alone shows them, are worth a look.
_SMALL_ML, _FDG_ONLY_ML = 0.5, 2.0


def focus_lines(
    model: SecondOpinion, opinion: Opinion, evidence: Evidence, geometry: Geometry
) -> tuple[dict[str, Any], ...]:
    """A line for each focus that the network or the trees take for disease, or might; JSON values.

    Parameters
    ----------
    model, opinion, evidence
        Of one tracer.
    geometry
        Grid of the crop that the evidence is on.

    Returns
    -------
    tuple of dict
        By falling volume. ``probability`` is the trees', as calibrated on
        the patients that they were fitted on; ``decision`` what became of the
        network's voxels: "kept", "added", "removed", "changed" (some of
        them), or "left out"; ``reasons`` the features that moved the log
        odds most; ``review`` why a reader should look.
    """
    count = len(opinion.logit)
    sizes = np.bincount(opinion.piece, minlength=count)
    found = np.bincount(opinion.piece, opinion.found, count)
    disease = np.bincount(opinion.piece, opinion.disease, count)
    told = np.flatnonzero((found > 0) | (disease > 0) | (opinion.probability >= UNSURE[0]))
    told = told[np.argsort(-sizes[told], kind="stable")]
    if not len(told):
        return ()
    centres = _centres(evidence.hot, opinion.piece, count, geometry)
    highest = np.zeros(count)
    np.maximum.at(highest, opinion.piece, evidence.suv[evidence.hot])
    why = reasons(model, opinion.table)
    reviews = review(opinion, evidence)
    return tuple(
        {
            "centre_xyz_mm": [round(float(value), 1) for value in centres[number]],
            "volume_ml": round(float(sizes[number]) * geometry.voxel_volume_ml, 3),
            "suv_max": round(float(highest[number]), 3),
            "probability": round(float(opinion.probability[number]), 4),
            "network_probability": round(float(opinion.table.column("network.mean_probability")[number]), 4),
            "decision": _decision(int(found[number]), int(disease[number])),
            "reasons": [{"feature": name, "log_odds": round(moved, 3)} for name, moved in why[number]],
            "review": reviews[number],
        }
        for number in told.tolist()
    )


def review(opinion: Opinion, evidence: Evidence) -> list[list[str]]:
    """Why a reader should look at each focus, in words; nothing where he need not.

    Parameters
    ----------
    opinion, evidence
        Of one tracer.
    """
    table, probability = opinion.table, opinion.probability
    count = len(probability)
    voxel_ml = float(np.prod(evidence.spacing_zyx)) / 1000
    volume_ml = np.bincount(opinion.piece, minlength=count) * voxel_ml
    likely = probability >= 0.5
    kept = np.bincount(opinion.piece, opinion.disease, minlength=count) > 0
    own, other = table.column("network.own_share"), table.column("network.other_share")
    hotter_near = table.column("around.4mm_log_max") > table.column("suv.log_max")
    alone = table.column("other_tracer.hot_share") == 0
    checks = (
        ("unsure", (probability >= UNSURE[0]) & (probability <= UNSURE[1])),
        ("kept though unlikely", kept & (probability < UNSURE[0])),
        ("the two spaces disagree", ~np.isnan(other) & ((own >= 0.5) != (other >= 0.5))),
        (f"smaller than {_SMALL_ML:g} ml", likely & (volume_ml < _SMALL_ML)),
        ("beside hotter uptake", likely & hotter_near),
        (
            f"FDG alone, smaller than {_FDG_ONLY_ML:g} ml",
            likely & alone & (volume_ml < _FDG_ONLY_ML) & (evidence.tracer is Tracer.FDG),
        ),
    )
    return [[words for words, flagged in checks if flagged[number]] for number in range(count)]


def _centres(hot: NDArray[np.bool_], piece: NDArray[np.integer], count: int, geometry: Geometry) -> NDArray[np.float64]:
    groups = Groups(piece, count)
    return geometry.index_to_world(np.stack([groups.mean(axis) for axis in np.nonzero(hot)], axis=1))


def _decision(found: int, disease: int) -> str:
    if not disease:
        return "removed" if found else "left out"
    if not found:
        return "added"
    return "kept" if disease == found else "changed"
