"""The data model: a case has a study per tracer and the transform between them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deeppsma.core.anatomy import check_labels
from deeppsma.core.errors import InputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.settings import read_json
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform, to_other_session
from deeppsma.core.volume import Volume
from deeppsma.io import grand_challenge as sockets
from deeppsma.io.image_files import ImageFile
from deeppsma.io.transform_files import from_challenge, read_challenge_transform, read_tfm

#: Reconstructions leave small negative values; a whole SUV below zero is another unit or a broken file.
SUV_MIN = -1.0
#: Undiluted urine reaches some hundreds; a PET in Bq/ml has thousands in any tissue.
SUV_MAX = 2000.0
#: Thresholds in use lie between 2 and 5; beyond these limits it is another quantity.
THRESHOLD_MIN_SUV, THRESHOLD_MAX_SUV = 0.1, 100.0
#: A scanner's padding may lie below air; a CT without a voxel of air is none, or shifted.
HU_MIN, AIR_BELOW_HU, HU_MAX = -10000.0, -200.0, 70000.0
_DATA_SET_NAMES = {"pet": "PET", "ct": "CT", "organs": "totseg_24", "truth": "TTB"}


@dataclass(frozen=True)
class Study:
    """One tracer's PET/CT session.

    Parameters
    ----------
    tracer
        Which tracer.
    pet
        PET in SUV.
    threshold_suv
        Voxels at or above it may be disease, all others are not.
    organs
        TotalSegmentator label map on a grid of its own, or None.
    ct
        CT, or None. Nothing reads it unless a network asks for it.
    truth
        Physicians' mask on the PET's grid, or None (the data set has it).
    """

    tracer: Tracer
    pet: ImageFile
    threshold_suv: float
    organs: ImageFile | None = None
    ct: ImageFile | None = None
    truth: ImageFile | None = None

    def read_pet(self) -> Volume:
        """PET in SUV, float32.

        Raises
        ------
        InputError
            If the values cannot be SUV.
        """
        volume = self.pet.read(np.float32)
        low, high = float(volume.voxels.min()), float(volume.voxels.max())
        if low < SUV_MIN:
            raise InputError(self.pet.path, f"SUV down to {low:.4g}", "give the PET in SUV; it is never negative")
        if high > SUV_MAX:
            raise InputError(
                self.pet.path, f"SUV up to {high:.4g}", "give the PET in SUV (body weight); this looks like Bq/ml"
            )
        if high <= 0:
            raise InputError(self.pet.path, "no voxel above zero", "give the PET in SUV; this image is empty")
        return volume

    def read_organs(self) -> Volume | None:
        """Organ labels, uint8; None where the case has no organ map.

        Raises
        ------
        InputError
            If labels are not whole numbers from 0 to 117.
        """
        if self.organs is None:
            return None
        volume = self.organs.read()
        check_labels(volume.voxels, self.organs.path)
        if volume.voxels.dtype == np.uint8:
            return volume
        return Volume(volume.voxels.astype(np.uint8), volume.geometry)

    def read_ct(self) -> Volume | None:
        """CT in HU; None where the case has none.

        Raises
        ------
        InputError
            If the values cannot be HU.
        """
        if self.ct is None:
            return None
        volume = self.ct.read()
        low, high = float(volume.voxels.min()), float(volume.voxels.max())
        if not HU_MIN <= low < AIR_BELOW_HU or high > HU_MAX:
            raise InputError(self.ct.path, f"values from {low:g} to {high:g}", "give the CT in Hounsfield units")
        return volume


@dataclass(frozen=True)
class Case:
    """A patient: two studies and the rigid transform between them.

    Parameters
    ----------
    name
        For reports.
    psma, fdg
        The two studies.
    fdg_to_psma
        Maps a world point of the FDG session to the PSMA session.
    """

    name: str
    psma: Study
    fdg: Study
    fdg_to_psma: RigidTransform

    def study(self, tracer: Tracer) -> Study:
        """The study of a tracer."""
        return self.psma if tracer is Tracer.PSMA else self.fdg

    @property
    def thresholds(self) -> dict[Tracer, float]:
        """SUV thresholds by tracer."""
        return {tracer: self.study(tracer).threshold_suv for tracer in Tracer}

    def transform(self, tracer: Tracer) -> RigidTransform:
        """Maps a world point of ``tracer``'s session to the other session."""
        return to_other_session(tracer, self.fdg_to_psma)


def load_case(folder: Path | str) -> Case:
    """Open a case: a platform input folder, or a ``train_XXXX`` folder of the data set.

    Headers, thresholds and the transform are read and checked; voxels are
    not.

    Parameters
    ----------
    folder
        The case.

    Raises
    ------
    InputError
        One line: which file, what was found, what to do.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "give a platform input folder or a train_XXXX folder")
    if (folder / Tracer.PSMA.upper()).is_dir() or (folder / Tracer.FDG.upper()).is_dir():
        case = _load_data_set(folder)
    else:
        case = _load_platform(folder)
    _check_grids(case)
    return case


def _load_platform(folder: Path) -> Case:
    found = sockets.find_sockets(folder)
    required = (sockets.PET, sockets.THRESHOLD, sockets.REGISTRATION)
    missing = [s for s in sockets.SOCKETS if s.kind in required and s.slug not in found]
    if missing:
        first = missing[0]
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        remedy = f"add {first.relative_path}, and its interface to inputs.json if there is one"
        raise InputError(folder, f"socket {first.slug} is missing{others}", remedy)

    def of(tracer: Tracer) -> Study:
        offered = {s.kind: found[s.slug] for s in sockets.SOCKETS if s.tracer is tracer and s.slug in found}
        threshold = offered[sockets.THRESHOLD]
        return Study(
            tracer,
            ImageFile(offered[sockets.PET].path),
            _read_threshold(threshold.path, threshold.value),
            ImageFile(offered[sockets.ORGANS].path) if sockets.ORGANS in offered else None,
            ImageFile(offered[sockets.CT].path) if sockets.CT in offered else None,
        )

    registration = found["psma-to-fdg-registration"]
    if registration.value is None:
        transform = read_challenge_transform(registration.path)
    else:
        transform = from_challenge(registration.value, registration.path)
    return Case(_case_name(folder), of(Tracer.PSMA), of(Tracer.FDG), transform)


def _case_name(folder: Path) -> str:
    """The folder's name; its parent's where it is just called "input"."""
    place = folder.resolve()
    return (place.parent.name or place.name) if place.name == "input" else place.name


def _load_data_set(folder: Path) -> Case:
    def of(tracer: Tracer) -> Study:
        place = folder / tracer.upper()
        files = {kind: place / f"{stem}.nii.gz" for kind, stem in _DATA_SET_NAMES.items()}
        if not files["pet"].is_file():
            raise InputError(files["pet"], "no such file", "a train_XXXX folder has PSMA/PET.nii.gz and FDG/PET.nii.gz")
        offered = {kind: ImageFile(path) for kind, path in files.items() if path.is_file()}
        return Study(
            tracer,
            offered["pet"],
            _read_threshold(place / "threshold.json", None),
            offered.get("organs"),
            offered.get("ct"),
            offered.get("truth"),
        )

    transform_path = folder / Tracer.FDG.upper() / "rigid.tfm"
    if not transform_path.is_file():
        raise InputError(transform_path, "no such file", "add the rigid transform with FDG fixed and PSMA moving")
    return Case(_case_name(folder), of(Tracer.PSMA), of(Tracer.FDG), read_tfm(transform_path))


def _read_threshold(path: Path, inline: Any) -> float:
    """SUV threshold: a bare number (platform) or ``{"suv_threshold": x}`` (data set)."""
    remedy = "give the SUV threshold as one positive number"
    content = read_json(path, remedy) if inline is None else inline
    if isinstance(content, dict) and "suv_threshold" in content:
        content = content["suv_threshold"]
    if isinstance(content, bool) or not isinstance(content, int | float):
        raise InputError(path, f"{json.dumps(content)[:60]} instead of a number", remedy)
    # NaN compares false to everything, so it is refused here, too.
    if not THRESHOLD_MIN_SUV <= content <= THRESHOLD_MAX_SUV:
        found = f"a threshold of {str(content)[:20]}"
        raise InputError(path, found, f"{remedy}, {THRESHOLD_MIN_SUV:g} to {THRESHOLD_MAX_SUV:g}")
    return float(content)


def _check_grids(case: Case) -> None:
    """The one place where grids are held against each other."""
    for tracer in Tracer:
        study = case.study(tracer)
        pet = study.pet.geometry
        for companion in (study.organs, study.ct):
            if companion is not None and not _overlap(pet, companion.geometry, RigidTransform()):
                raise InputError(
                    companion.path,
                    f"{companion.geometry.describe()} does not overlap the PET, {pet.describe()}",
                    "give images of one session with their true positions",
                )
        if study.truth is not None and not study.truth.geometry.same_grid(pet):
            raise InputError(
                study.truth.path,
                f"{study.truth.geometry.describe()} is not the PET's grid, {pet.describe()}",
                "give the truth on the grid of its PET",
            )
    if not _overlap(case.fdg.pet.geometry, case.psma.pet.geometry, case.fdg_to_psma):
        raise InputError(
            case.psma.pet.path,
            "the registration puts the PSMA PET wholly outside the FDG PET",
            "check the transform: it must map points of FDG space to PSMA space",
        )


def _overlap(fixed: Geometry, moving: Geometry, transform: RigidTransform) -> bool:
    """Whether the box around ``fixed``, seen in ``moving``'s voxels, meets that grid."""
    corners = moving.world_to_index(transform.apply(fixed.corners_world()))
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.array(moving.shape_zyx)
    return bool((high > -0.5).all() and (low < size - 0.5).all())
