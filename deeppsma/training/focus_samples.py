"""What a second opinion is fitted on: the foci of a case, their features, and how much of each is disease."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.tracer import Tracer
from deeppsma.core.whole_files import whole_file
from deeppsma.postprocessing.second_opinion.basins import Neighbours
from deeppsma.postprocessing.second_opinion.evidence import Evidence
from deeppsma.postprocessing.second_opinion.features import describe
from deeppsma.postprocessing.second_opinion.pieces import pieces_of


@dataclass(frozen=True)
class FocusSample:
    """One tracer of a case: n hot voxels in foci.

    Parameters
    ----------
    names
        Of the features.
    features
        [focus, feature] float32.
    piece
        [n] focus of each hot voxel.
    network
        [n] mean logits.
    found
        [n] what the recipe calls disease.
    either
        [n] the same, and what the network calls disease in either space.
    truth
        [n] whether it is disease.
    lesion
        [n] number of the true lesion that a voxel belongs to, -1 outside;
        18 neighbours.
    flat, shape_zyx
        [n] places of the hot voxels on the crop, and that crop's shape.
    voxel_ml
        Volume of a voxel.
    outside_ml
        True disease outside the hot voxels; 0 for truth that keeps to the
        threshold.
    """

    names: NDArray[np.str_]
    features: NDArray[np.float32]
    piece: NDArray[np.int32]
    network: NDArray[np.float32]
    found: NDArray[np.bool_]
    either: NDArray[np.bool_]
    truth: NDArray[np.bool_]
    lesion: NDArray[np.int32]
    flat: NDArray[np.int64]
    shape_zyx: NDArray[np.int64]
    voxel_ml: NDArray[np.float64]
    outside_ml: NDArray[np.float64]

    @property
    def hot(self) -> NDArray[np.bool_]:
        """The hot voxels on their crop, [z, y, x]."""
        hot = np.zeros(tuple(self.shape_zyx), dtype=bool)
        hot.reshape(-1)[self.flat] = True
        return hot

    @property
    def share(self) -> NDArray[np.float64]:
        """How much of each focus is disease, [focus], 0 to 1."""
        count = len(self.features)
        diseased = np.asarray(np.bincount(self.piece, self.truth, count), dtype=np.float64)
        return diseased / np.bincount(self.piece, minlength=count)

    @property
    def focus_ml(self) -> NDArray[np.float64]:
        """Volume of each focus, [focus]."""
        return np.bincount(self.piece, minlength=len(self.features)).astype(np.float64) * float(self.voxel_ml)


def make_focus_sample(evidence: Evidence, truth: NDArray[np.bool_]) -> FocusSample:
    """Sample of one tracer.

    Parameters
    ----------
    evidence
        Of the tracer.
    truth
        [z, y, x] on the same crop.
    """
    piece = pieces_of(evidence)
    table = describe(evidence, piece)
    inside = truth[evidence.hot]
    lesion = Neighbours.of(evidence.hot).components(inside.astype(np.int8))
    numbers = np.full(len(inside), -1, dtype=np.int32)
    numbers[inside] = np.unique(lesion[inside], return_inverse=True)[1]
    voxel_ml = float(np.prod(evidence.spacing_zyx)) / 1000
    return FocusSample(
        np.array(table.names),
        table.values,
        piece,
        evidence.mean,
        evidence.found,
        evidence.found | (evidence.own >= 0) | (evidence.other >= 0),
        inside,
        numbers,
        np.flatnonzero(evidence.hot),
        np.array(evidence.hot.shape),
        np.array(voxel_ml),
        np.array(float((truth & ~evidence.hot).sum()) * voxel_ml),
    )


def save_focus_samples(path: Path, samples: Mapping[Tracer, FocusSample]) -> None:
    """Write the samples of a case; an earlier file stays whole until this one is."""
    arrays = {
        f"{tracer}.{each.name}": getattr(sample, each.name)
        for tracer, sample in samples.items()
        for each in fields(FocusSample)
    }
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


def load_focus_samples(path: Path) -> dict[Tracer, FocusSample]:
    """Samples of a case by tracer; a tracer without a hot voxel has none."""
    with np.load(path, allow_pickle=False) as content:
        return {
            tracer: FocusSample(**{each.name: content[f"{tracer}.{each.name}"] for each in fields(FocusSample)})
            for tracer in Tracer
            if f"{tracer}.piece" in content
        }
