"""The organ map as a segmenter gives it: ragged, incomplete, now and then wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.core import anatomy as organs
from deeppsma.core.geometry import Geometry
from deeppsma.phantom.anatomy.scene import Scene, smooth_field

#: How far edges are off, mm (standard deviation), and over what distance the error keeps its sign.
_EDGE_MM, _EDGE_CORRELATION_MM = 1.8, 14.0
#: Shares: parts missed; parts cut off; maps whose vertebrae or ribs are counted one off; maps with a merged pair.
_MISSED, _CUT, _OFF_BY_ONE, _MERGED = 0.015, 0.02, 0.06, 0.06
_NEIGHBOURS = (
    (organs.PROSTATE, organs.BLADDER),
    (organs.DUODENUM, organs.SMALL_BOWEL),
    (organs.SMALL_BOWEL, organs.COLON),
    (organs.SPLEEN, organs.STOMACH),
    (organs.KIDNEY_LEFT, organs.SPLEEN),
    (organs.ADRENAL_RIGHT, organs.LIVER),
)


@dataclass(frozen=True)
class OrganMap:
    """Labels [z, y, x] uint8, and what is wrong with them, for the patient's card."""

    labels: NDArray[np.uint8]
    errors: tuple[str, ...]


def segmented(scene: Scene, part_map: NDArray[np.uint8], rng: np.random.Generator) -> OrganMap:
    """What a segmenter makes of the CT.

    Parameters
    ----------
    scene
        Whose parts have labels.
    part_map
        [z, y, x] uint8: the scene's, as it stood during the CT.
    rng
        Source of the errors.
    """
    errors: list[str] = []
    table = np.array([0, *(part.label for part in scene.parts)], dtype=np.uint8)
    for number in np.flatnonzero((rng.random(len(table)) < _MISSED) & (table > 0)):
        errors.append(f"missed {scene.parts[number - 1].name}")
        table[number] = 0
    if rng.random() < _MERGED:
        lost, kept = _NEIGHBOURS[int(rng.integers(len(_NEIGHBOURS)))]
        table[table == lost] = kept
        errors.append(f"label {lost} given to {kept}")
    for first, last in ((27, 49), (92, 103), (104, 115)):
        if rng.random() < _OFF_BY_ONE:
            from_label = int(rng.integers(first, last))
            counted = (table >= from_label) & (table < last)
            table[counted] += 1
            errors.append(f"labels {from_label} to {last - 1} counted one off")
    labels = table[part_map]
    for number in np.flatnonzero((rng.random(len(table)) < _CUT) & (table > 0)):
        z = np.flatnonzero((part_map == number).any(axis=(1, 2)))
        if len(z) > 4:
            cut = int(rng.integers(z[0] + 1, z[-1]))
            half = slice(cut, int(z[-1]) + 1) if rng.random() < 0.5 else slice(int(z[0]), cut)
            labels[half][part_map[half] == number] = 0
            errors.append(f"cut {scene.parts[number - 1].name}")
    return OrganMap(_ragged(labels, scene.geometry, rng), tuple(errors))


def _ragged(labels: NDArray[np.uint8], geometry: Geometry, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Each voxel takes the label of a place one or two millimetres off."""
    shifted = []
    for axis, step in enumerate(geometry.spacing_zyx):
        field = smooth_field(geometry, _EDGE_CORRELATION_MM, rng) * np.float32(_EDGE_MM / step)
        # Dithered: an error of less than a voxel moves its share of the edge.
        field += rng.integers(-128, 128, labels.shape, dtype=np.int8) * np.float32(1 / 256)
        shape = [1, 1, 1]
        shape[axis] = -1
        place = np.arange(labels.shape[axis]).reshape(shape) + np.rint(field, out=field).astype(np.int16)
        shifted.append(np.clip(place, 0, labels.shape[axis] - 1))
    return np.asarray(labels[shifted[0], shifted[1], shifted[2]])
