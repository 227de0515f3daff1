"""Lesions of the FDG mask, and what PSMA says of the same place.

PaIRe report, section 4.3. A lesion is a connected component of the FDG mask. "The same place" is the report's
(an organ of the same label), or one in space (within some millimetres after registration), which tells two lesions
of one organ apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box
from deeppsma.core.components import components_of
from deeppsma.core.resampling import resample_labels
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume
from deeppsma.preprocessing.spaces import mapped_indices

MATCHES = ("organ", "space")


@dataclass(frozen=True)
class Lesion:
    """A component of the FDG mask.

    Parameters
    ----------
    number
        Its label in the image of components.
    labels
        TotalSegmentator labels that it touches, without 0.
    volume_ml, suv_max
        Of the lesion, on FDG.
    psma
        Whether PSMA finds disease at the same place.
    centre_xyz_mm
        Mean of its voxels' centres.
    """

    number: int
    labels: tuple[int, ...]
    volume_ml: float
    suv_max: float
    psma: bool
    centre_xyz_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """What the lesions of a case are looked at with; arrays [z, y, x].

    Parameters
    ----------
    fdg
        FDG mask on its grid.
    suv
        FDG PET on that grid.
    psma
        PSMA mask, on its own grid.
    fdg_organs, psma_organs
        Label maps on grids of their own; None counts as no organ anywhere.
    fdg_to_psma
        Maps FDG points to PSMA points.
    """

    fdg: Volume
    suv: NDArray[np.float32]
    psma: Volume
    fdg_organs: Volume | None
    psma_organs: Volume | None
    fdg_to_psma: RigidTransform


def find_lesions(scene: Scene, match: str, radius_mm: float = 0.0) -> tuple[NDArray[np.int32], list[Lesion]]:
    """Lesions of the FDG mask, with their features.

    Parameters
    ----------
    scene
        The case.
    match, radius_mm
        What "the same place" is; see `deeppsma.postprocessing.lesion_classifier`.

    Returns
    -------
    components, lesions
        Image of the lesions' numbers on the FDG grid, 0 elsewhere; the
        lesions by number. None for an empty mask.
    """
    from scipy.ndimage import find_objects

    components, _ = components_of(scene.fdg.voxels > 0)
    around = Box.around_mask(components > 0)
    if around is None:
        return components, []
    organs = resample_labels(scene.fdg_organs, scene.fdg.geometry.cropped(around))
    supported = _organs_of_disease(scene) if match == "organ" else _lesions_near(components, scene, radius_mm)
    lesions = []
    for number, place in enumerate(find_objects(components), start=1):
        mine = components[place] == number
        inside = tuple(slice(s.start - a, s.stop - a) for s, a in zip(place, around.start_zyx, strict=True))
        labels = tuple(int(each) for each in np.unique(organs[inside][mine]) if each)
        psma = bool(set(labels) & supported) if match == "organ" else number in supported
        index = np.argwhere(mine) + [s.start for s in place]
        centre = scene.fdg.geometry.index_to_world(index.astype(float)).mean(axis=0)
        volume_ml = float(mine.sum()) * scene.fdg.geometry.voxel_volume_ml
        x, y, z = (float(value) for value in centre)
        lesions.append(Lesion(number, labels, volume_ml, float(scene.suv[place][mine].max()), psma, (x, y, z)))
    return components, lesions


def _organs_of_disease(scene: Scene) -> set[int]:
    """Labels in which PSMA finds disease."""
    around = Box.around_mask(scene.psma.voxels > 0)
    if around is None:
        return set()
    labels = resample_labels(scene.psma_organs, scene.psma.geometry.cropped(around))
    return {int(each) for each in np.unique(labels[scene.psma.voxels[around.slices] > 0]) if each}


def _lesions_near(components: NDArray[np.int32], scene: Scene, radius_mm: float) -> set[int]:
    """Numbers of the lesions that lie within a radius of PSMA disease, after registration."""
    from scipy.spatial import cKDTree

    disease = np.argwhere(scene.psma.voxels > 0)
    if not len(disease):
        return set()
    spacing = np.array(scene.psma.geometry.spacing_zyx)
    tree = cKDTree(disease * spacing)
    numbers = components[components > 0]
    near: set[int] = set()
    start = 0
    # Both in the PSMA grid's own axes, in mm: a rigid map keeps distances.
    for index in mapped_indices(components > 0, scene.fdg.geometry, scene.psma.geometry, scene.fdg_to_psma):
        distance, _ = tree.query(index * spacing, distance_upper_bound=radius_mm * (1 + 1e-9))
        near |= {int(each) for each in np.unique(numbers[start : start + len(index)][np.isfinite(distance)])}
        start += len(index)
    return near
