"""Refine FDG lesions by PSMA: a lesion that PSMA does not support must be large, hot, or outside organs to stay.

PaIRe report, section 4.3. A lesion is a connected component of the FDG mask.
It stays if it lies wholly outside labelled organs, if it is large, or if a
logistic model of three features says so: whether PSMA finds disease at the
same place, the logarithm of the volume, and SUVmax. "The same place" is the
report's (an organ of the same label), or one in space (within some millimetres
after registration), which tells two lesions of one organ apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box
from deeppsma.core.errors import ConfigurationError
from deeppsma.core.jsonfile import read_json
from deeppsma.core.plain import from_plain
from deeppsma.core.resampling import resample_labels
from deeppsma.core.settings import names, resources_folder
from deeppsma.core.transforms import RigidTransform
from deeppsma.io.image_files import Volume
from deeppsma.preprocessing.spaces import mapped_indices

MATCHES = ("organ", "space")
KIND = "refinement"


@dataclass(frozen=True)
class RefinementModel:
    """A logistic model with the rules around it.

    Parameters
    ----------
    match
        "organ": PSMA disease lies in an organ of the same label. "space": it
        lies within ``radius_mm`` of the lesion.
    intercept, psma, log_volume, suv_max
        Coefficients; of 1 or 0, ln(volume in ml + 1), SUV.
    cutoff
        Score from which on a lesion stays.
    keep_above_ml
        A larger lesion stays whatever its score.
    radius_mm
        Of "space".
    summary, source, trained_on, figures
        For people; what cross-validation said.
    """

    match: str
    intercept: float
    psma: float
    log_volume: float
    suv_max: float
    cutoff: float = 0.5
    keep_above_ml: float = 7.0
    radius_mm: float = 0.0
    summary: str = ""
    source: str = ""
    trained_on: str = "unknown data"
    figures: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.match not in MATCHES:
            raise ValueError(f"match must be one of {', '.join(MATCHES)}, not {self.match!r}")
        numbers = (self.intercept, self.psma, self.log_volume, self.suv_max)
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in numbers):
            raise ValueError(f"coefficients must be finite numbers, not {numbers}")
        if not 0 < self.cutoff < 1 or self.keep_above_ml < 0:
            raise ValueError("the cutoff must be between 0 and 1, and keep_above_ml not negative")
        if (self.radius_mm > 0) != (self.match == "space"):
            raise ValueError("radius_mm belongs to match = space, and must be above 0 there")

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RefinementModel:
        """Model from JSON.

        Raises
        ------
        ValueError
            If a key is unknown or missing, or a value makes no sense.
        """
        return from_plain(cls, content)

    def score(self, lesion: Lesion) -> float:
        """Probability that a lesion is disease."""
        log_volume = math.log(lesion.volume_ml + 1)
        x = self.intercept + self.psma * lesion.psma + self.log_volume * log_volume + self.suv_max * lesion.suv_max
        return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))

    def verdict(self, lesion: Lesion) -> str:
        """Why a lesion stays; empty if it goes."""
        if not lesion.labels:
            return "outside organs"
        if lesion.volume_ml > self.keep_above_ml:
            return "large"
        return "score" if self.score(lesion) >= self.cutoff else ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


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


def load_model(name: str) -> RefinementModel:
    """The model of ``resources/refinement/{name}.json``, or of a file (a name that ends in ``.json``).

    Raises
    ------
    ConfigurationError
        If there is none of that name, or it makes no sense.
    """
    path = Path(name) if name.endswith(".json") else resources_folder() / KIND / f"{name}.json"
    if not path.is_file():
        there = ", ".join(names(KIND, "json"))
        raise ConfigurationError(KIND, f"no {name!r} there", f"choose one of {there}")
    content = read_json(path, "mend the file", ConfigurationError)
    try:
        return RefinementModel.from_dict(content)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(path, str(error), "mend the file") from None


def components_of(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Lesions of a mask: voxels that share a face or an edge; numbered from 1, and how many there are."""
    from scipy.ndimage import generate_binary_structure, label

    components, count = label(mask, generate_binary_structure(3, 2))
    return components, int(count)


def find_lesions(scene: Scene, match: str, radius_mm: float = 0.0) -> tuple[NDArray[np.int32], list[Lesion]]:
    """Lesions of the FDG mask, with their features.

    Parameters
    ----------
    scene
        The case.
    match, radius_mm
        What "the same place" is; see `RefinementModel`.

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


def refine(scene: Scene, model: RefinementModel) -> tuple[NDArray[np.bool_], list[dict[str, Any]]]:
    """FDG mask without the lesions that the model does not support.

    Returns
    -------
    mask, removed
        The mask, [z, y, x]; a line for the run report per lesion that went.
    """
    components, lesions = find_lesions(scene, model.match, model.radius_mm)
    removed = [lesion for lesion in lesions if not model.verdict(lesion)]
    mask = scene.fdg.voxels.astype(bool) & ~np.isin(components, [lesion.number for lesion in removed])
    return mask, [_said(lesion, model) for lesion in removed]


def _said(lesion: Lesion, model: RefinementModel) -> dict[str, Any]:
    return {
        "centre_xyz_mm": [round(value, 1) for value in lesion.centre_xyz_mm],
        "volume_ml": round(lesion.volume_ml, 3),
        "suv_max": round(lesion.suv_max, 3),
        "organ_labels": list(lesion.labels),
        "psma_at_the_same_place": lesion.psma,
        "score": round(model.score(lesion), 4),
    }


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
