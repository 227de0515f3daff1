"""GTRC-Net's step from classes to a mask, on a case: by vote on foci, or by growing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.tracer import Tracer
from deeppsma.models.gtrc.consensus import Consensus
from deeppsma.pipeline.recipe import ConsensusStep
from deeppsma.postprocessing.consensus import grow_quickly, vote
from deeppsma.postprocessing.foci import FocusRule
from deeppsma.preprocessing.orientation import Orientation
from deeppsma.preprocessing.prepared_case import PreparedCase


@dataclass(frozen=True)
class Decided:
    """What the step gives: the mask [z, y, x] on the crop, and a row of plain values for each focus."""

    mask: NDArray[np.bool_]
    foci: tuple[dict[str, Any], ...] = field(default_factory=tuple)


def apply_consensus(
    step: ConsensusStep,
    consensus: Consensus | None,
    case: PreparedCase,
    tracer: Tracer,
    disease: NDArray[np.float32],
    normal: NDArray[np.float32],
) -> Decided:
    """Make a mask of the networks' classes.

    Parameters
    ----------
    step
        How.
    consensus
        Of the tracer, where the step votes.
    case, tracer
        Whose space.
    disease, normal
        Probabilities [n] at the space's above-threshold voxels; of the rest, background.

    Notes
    -----
    Foci are made in the order of voxels of the PET's file, because the published numbering depends on it. Published,
    the networks' classes are known below the threshold, too; here only above it, so that `grow` starts from there
    alone. For `vote` that makes no difference.

    Raises
    ------
    ValueError
        If the step votes and there is no consensus.
    """
    space = case.spaces[tracer]
    background = 1 - disease - normal
    ttb, norm = (np.zeros(space.geometry.shape_zyx, bool) for _ in range(2))
    # The class of the highest probability; of equal ones the first.
    ttb[space.hot] = (disease > background) & (disease >= normal)
    norm[space.hot] = (normal > background) & (normal > disease)
    if step.method == "grow":
        ratio = np.where(space.hot, np.float32(1), np.float32(0))
        return Decided(grow_quickly(ratio, ttb, norm, space.geometry.spacing_zyx, step.radius_mm))
    if consensus is None:
        raise ValueError(f"no consensus for {tracer}")
    grid = case.grid(tracer)
    suv = Orientation.of(grid).turned_back(case.pet(tracer).voxels)
    with case.log.watch.stage("foci"):
        result = vote(
            _over_threshold(suv, case.case.study(tracer).threshold_suv),
            case.on_pet(tracer, case.sight(tracer, tracer).hu(), np.float32).voxels,
            case.on_pet(tracer, ttb).voxels > 0,
            case.on_pet(tracer, norm).voxels > 0,
            grid.spacing_zyx,
            consensus,
            FocusRule(step.prominence, step.ball_radius_mm, step.published_numbering),
        )
        # Single precision may round a voxel up to the threshold that is just below it.
        mask = case.on_crop(tracer, result.mask) & space.hot
        return Decided(mask, tuple(_in_mm(row, case, tracer) for row in result.rows()))


def _over_threshold(suv: NDArray[np.float32], threshold_suv: float) -> NDArray[np.float32]:
    """PET over threshold, divided in double precision as ITK does, slice by slice to spare memory."""
    ratio = np.empty(suv.shape, np.float32)
    for one, other in zip(suv, ratio, strict=True):
        other[...] = one.astype(np.float64) / threshold_suv
    return ratio


def _in_mm(row: dict[str, Any], case: PreparedCase, tracer: Tracer) -> dict[str, Any]:
    index = np.array([[row["centre_z"], row["centre_y"], row["centre_x"]]])
    x, y, z = case.grid(tracer).index_to_world(index)[0].tolist()
    rest = {key: value for key, value in row.items() if not key.startswith("centre_")}
    return {"focus": rest.pop("focus"), "x_mm": x, "y_mm": y, "z_mm": z} | rest
