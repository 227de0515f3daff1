"""What a reader would measure in each tissue of an imaged PET."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.resampling import resample
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume
from deeppsma.phantom.anatomy.scene import Scene
from deeppsma.phantom.scan.imaging import PetScan

#: Uptake of a tissue is measured up to this many voxels inside, if that leaves enough of them.
_DEPTHS, _ENOUGH_VOXELS = 4, 800


def imaged_suv(
    scene: Scene, part_map: NDArray[np.uint8], pet: PetScan, patient_from_scanner: RigidTransform
) -> dict[str, tuple[float, float]]:
    """Mean and maximum SUV of each tissue on the PET, disease left out.

    Parameters
    ----------
    scene
        Whose parts have tissues.
    part_map
        [z, y, x] uint8: the scene's, as organs lay on average.
    pet, patient_from_scanner
        What was imaged, and the map from its world to the patient's frame.

    Returns
    -------
    dict
        By tissue; what lies outside the field of view is missing.
    """
    names = sorted({part.tissue for part in scene.parts})
    tissue_map = np.array([0, *(1 + names.index(part.tissue) for part in scene.parts)], dtype=np.uint8)[part_map]
    seen = resample(Volume(tissue_map, scene.geometry), pet.geometry, patient_from_scanner, labels=True)
    seen[pet.truth] = 0
    inside = seen > 0
    depth = _depth(seen)[inside]
    # One cell per depth and tissue.
    cell = depth * (len(names) + 1) + seen[inside]
    shape = (_DEPTHS, len(names) + 1)
    voxels = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    sums = np.bincount(cell, weights=pet.suv[inside], minlength=voxels.size).reshape(shape)
    highest = np.zeros(voxels.size, dtype=np.float32)
    np.maximum.at(highest, cell, pet.suv[inside])
    highest = highest.reshape(shape)
    measured: dict[str, tuple[float, float]] = {}
    for number, tissue in enumerate(names, start=1):
        # A reader keeps clear of hot neighbours where the organ is large enough.
        levels = [d for d in range(_DEPTHS) if voxels[d:, number].sum() >= (_ENOUGH_VOXELS if d else 1)]
        if levels:
            d = levels[-1]
            mean = sums[d:, number].sum() / voxels[d:, number].sum()
            measured[tissue] = (round(float(mean), 3), round(float(highest[d:, number].max()), 3))
    return measured


def _depth(tissues: NDArray[np.uint8]) -> NDArray[np.intp]:
    """How many voxels deep each voxel lies in its tissue, up to the last of `_DEPTHS`."""
    depth = np.zeros(tissues.shape, dtype=np.intp)
    deep = tissues > 0
    for _ in range(1, _DEPTHS):
        same = deep.copy()
        for axis in range(3):
            for step in (1, -1):
                same &= np.roll(np.where(deep, tissues, 0), step, axis=axis) == tissues
        deep = same
        depth += deep
    return depth
