"""The data model: a case has a study per tracer, and the transform between them.

A case comes from folders (`deeppsma.io.layouts.load_case`), from files of one's own choosing
(`Case.from_files`), or from memory (`Case.from_images`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from deeppsma.core.anatomy import check_labels
from deeppsma.core.errors import InputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform, to_other_session
from deeppsma.core.volume import Volume
from deeppsma.io.image_files import ImageFile
from deeppsma.io.suv_record import SuvRecord

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Reconstructions leave small negative values; a whole SUV below zero is another unit or a broken file.
SUV_MIN = -1.0
#: Undiluted urine reaches some hundreds; a PET in Bq/ml has thousands in any tissue.
SUV_MAX = 2000.0
#: Thresholds in use lie between 2 and 5; beyond these limits it is another quantity.
THRESHOLD_MIN_SUV, THRESHOLD_MAX_SUV = 0.1, 100.0
#: A scanner's padding may lie below air; a CT without a voxel of air is none, or shifted.
HU_MIN, AIR_BELOW_HU, HU_MAX = -10000.0, -200.0, 70000.0


class ImageSource(Protocol):
    """Where an image comes from; only what is asked for is read."""

    @property
    def path(self) -> Path:
        """Names the image in messages."""
        ...

    @property
    def geometry(self) -> Geometry:
        """Its grid; no voxel is read for it."""
        ...

    @property
    def unsaid_position(self) -> str | None:
        """What the source does not say of its position, and what is assumed; None where it says all."""
        ...

    def read(self, dtype: type[np.float32] | None = None) -> Volume:
        """Read the voxels, as float32 or as they are."""
        ...


@dataclass(frozen=True)
class MemoryImage:
    """An image that is in memory already.

    Parameters
    ----------
    volume
        Voxels and grid.
    path
        Names it in messages.

    Raises
    ------
    InputError
        If the grid has fewer than two voxels along an axis, or voxels are NaN
        or infinite.
    """

    volume: Volume
    path: Path

    def __post_init__(self) -> None:
        if min(self.volume.geometry.shape_zyx) < 2:
            raise InputError(self.path, f"voxels of shape {self.volume.geometry.shape_zyx}", "give one 3-D volume")
        voxels = self.volume.voxels
        if voxels.dtype.kind == "f" and not np.isfinite([voxels.min(), voxels.max()]).all():
            raise InputError(self.path, "NaN or infinite voxels", "give finite values everywhere")

    @property
    def geometry(self) -> Geometry:
        """Its grid."""
        return self.volume.geometry

    @property
    def unsaid_position(self) -> str | None:
        """Nothing: a grid in memory says all."""
        return None

    def read(self, dtype: type[np.float32] | None = None) -> Volume:
        """The voxels; do not change them."""
        if dtype is None or self.volume.voxels.dtype == dtype:
            return self.volume
        return Volume(self.volume.voxels.astype(dtype), self.volume.geometry)


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
    suv
        How SUV came about and what it was held against; None where the PET was given in SUV.
    """

    tracer: Tracer
    pet: ImageSource
    threshold_suv: float
    organs: ImageSource | None = None
    ct: ImageSource | None = None
    truth: ImageSource | None = None
    suv: SuvRecord | None = None

    def __post_init__(self) -> None:
        check_threshold(self.threshold_suv, self.pet.path)

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
    """A patient: a study per tracer, and the rigid transform between their sessions.

    Parameters
    ----------
    name
        For reports.
    studies
        By tracer; one or both.
    fdg_to_psma
        Maps a world point of the FDG session to the PSMA session. None where
        it is not known: then each tracer is seen in its own space alone.
    notes
        What the reader of the results must know of how the case was made, a
        line each; they go into the run report's fallbacks.

    Raises
    ------
    InputError
        If there is no study, or grids of one session do not overlap, or the
        transform puts one PET wholly outside the other.
    """

    name: str
    studies: Mapping[Tracer, Study]
    fdg_to_psma: RigidTransform | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.studies:
            raise InputError(self.name, "a case without a study", "give a PSMA or an FDG PET")
        for tracer, study in self.studies.items():
            if study.tracer is not tracer:
                raise InputError(
                    study.pet.path, f"a {study.tracer.upper()} study given as {tracer.upper()}", "swap them"
                )
        _check_grids(self)

    @classmethod
    def from_images(
        cls,
        psma_pet: Volume | sitk.Image | None = None,
        fdg_pet: Volume | sitk.Image | None = None,
        *,
        thresholds: Mapping[Tracer, float],
        fdg_to_psma: RigidTransform | None = None,
        organs: Mapping[Tracer, Volume | sitk.Image] | None = None,
        cts: Mapping[Tracer, Volume | sitk.Image] | None = None,
        name: str = "case",
    ) -> Case:
        """A case from images in memory.

        Parameters
        ----------
        psma_pet, fdg_pet
            PETs in SUV: SimpleITK images, or `Volume` for numpy arrays with
            their geometry. One may be missing.
        thresholds
            SUV by tracer, of the PETs given.
        fdg_to_psma
            Maps FDG points to PSMA points, mm; None if it is not known.
        organs, cts
            By tracer: TotalSegmentator's labels, and HU, on grids of their
            own.
        name
            For reports.

        Raises
        ------
        InputError
            As for files: what cannot be a PET, a threshold or a grid.
        """
        pets = {Tracer.PSMA: psma_pet, Tracer.FDG: fdg_pet}
        studies = {}
        for tracer, pet in pets.items():
            if pet is None:
                continue
            if tracer not in thresholds:
                raise InputError(name, f"no threshold for the {tracer.upper()} PET", "give thresholds by tracer")
            studies[tracer] = Study(
                tracer,
                _image_in_memory(pet, f"{tracer.upper()} PET"),
                thresholds[tracer],
                _in_memory((organs or {}).get(tracer), f"{tracer.upper()} organ map"),
                _in_memory((cts or {}).get(tracer), f"{tracer.upper()} CT"),
            )
        return cls(name, studies, fdg_to_psma)

    @classmethod
    def from_files(
        cls,
        psma_pet: Path | str | None = None,
        fdg_pet: Path | str | None = None,
        *,
        thresholds: Mapping[Tracer, float],
        fdg_to_psma: RigidTransform | None = None,
        organs: Mapping[Tracer, Path | str] | None = None,
        cts: Mapping[Tracer, Path | str] | None = None,
        name: str = "case",
    ) -> Case:
        """A case from image files of one's own choosing; as `from_images`, with paths.

        Transforms in files are read by `deeppsma.read_tfm` (ITK) and
        `deeppsma.read_challenge_transform`.
        """
        studies = {}
        for tracer, pet in {Tracer.PSMA: psma_pet, Tracer.FDG: fdg_pet}.items():
            if pet is None:
                continue
            if tracer not in thresholds:
                raise InputError(pet, "no threshold for it", "give thresholds by tracer")
            studies[tracer] = Study(
                tracer,
                ImageFile(Path(pet)),
                thresholds[tracer],
                _file((organs or {}).get(tracer)),
                _file((cts or {}).get(tracer)),
            )
        return cls(name, studies, fdg_to_psma)

    @property
    def tracers(self) -> tuple[Tracer, ...]:
        """Those that there is a study of, PSMA first."""
        return tuple(tracer for tracer in Tracer if tracer in self.studies)

    def study(self, tracer: Tracer) -> Study:
        """The study of a tracer.

        Raises
        ------
        KeyError
            If there is none.
        """
        return self.studies[tracer]

    @property
    def psma(self) -> Study:
        """The PSMA study."""
        return self.studies[Tracer.PSMA]

    @property
    def fdg(self) -> Study:
        """The FDG study."""
        return self.studies[Tracer.FDG]

    @property
    def thresholds(self) -> dict[Tracer, float]:
        """SUV thresholds by tracer."""
        return {tracer: self.studies[tracer].threshold_suv for tracer in self.tracers}

    def require_both(self) -> None:
        """Refuse a case of one tracer: trainings and scores are of both.

        Raises
        ------
        InputError
            If a study is missing.
        """
        for tracer in Tracer:
            if tracer not in self.studies:
                where = self.studies[tracer.other].pet.path.parent
                raise InputError(where, f"no {tracer.upper()} study beside it", "give cases with both tracers")

    def transform(self, tracer: Tracer) -> RigidTransform:
        """Maps a world point of ``tracer``'s session to the other session.

        Raises
        ------
        ValueError
            If it is not known.
        """
        if self.fdg_to_psma is None:
            raise ValueError("the sessions of this case are not registered")
        return to_other_session(tracer, self.fdg_to_psma)


def check_threshold(threshold_suv: float, where: Path) -> None:
    """Refuse what cannot be an SUV threshold; NaN compares false to everything, so it is refused, too.

    Raises
    ------
    InputError
        If it is not within `THRESHOLD_MIN_SUV` and `THRESHOLD_MAX_SUV`.
    """
    if not THRESHOLD_MIN_SUV <= threshold_suv <= THRESHOLD_MAX_SUV:
        found = f"a threshold of {str(threshold_suv)[:20]}"
        remedy = f"give the SUV threshold as one positive number, {THRESHOLD_MIN_SUV:g} to {THRESHOLD_MAX_SUV:g}"
        raise InputError(where, found, remedy)


def _in_memory(image: Volume | sitk.Image | None, name: str) -> MemoryImage | None:
    return None if image is None else _image_in_memory(image, name)


def _image_in_memory(image: Volume | sitk.Image, name: str) -> MemoryImage:
    if isinstance(image, Volume):
        return MemoryImage(image, Path(name))
    import SimpleITK as sitk

    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        found = f"{image.GetDimension()} dimensions, {image.GetNumberOfComponentsPerPixel()} values per voxel"
        raise InputError(name, found, "give one 3-D volume of one value per voxel")
    return MemoryImage(Volume(sitk.GetArrayFromImage(image), Geometry.from_sitk(image)), Path(name))


def _file(path: Path | str | None) -> ImageFile | None:
    return None if path is None else ImageFile(Path(path))


def _check_grids(case: Case) -> None:
    """The one place where grids are held against each other."""
    for study in case.studies.values():
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
    if case.fdg_to_psma is None or len(case.studies) < len(Tracer):
        return
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
