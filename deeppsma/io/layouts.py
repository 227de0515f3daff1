"""Layouts of a case on disk: the platform's input folder, and the public data set's ``train_XXXX`` folders.

Each layout is one class that recognises, reads and writes it; `load_case` asks them in turn. Headers, thresholds and
the transform are read and checked; voxels are not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from deeppsma.core.errors import InputError
from deeppsma.core.settings import read_json, write_json
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume
from deeppsma.io.case import Case, Study, check_threshold
from deeppsma.io.dicom.files import holds_dicom
from deeppsma.io.grand_challenge import CT, INPUTS_NAME, ORGANS, PET, REGISTRATION, SOCKETS, THRESHOLD, find_sockets
from deeppsma.io.image_files import ImageFile, write_image
from deeppsma.io.transform_files import from_challenge, read_challenge_transform, read_tfm, to_challenge, write_tfm


@dataclass(frozen=True)
class StudyImages:
    """What is written of a study.

    Parameters
    ----------
    pet
        SUV.
    threshold_suv
        SUV.
    organs, ct, truth
        TotalSegmentator's labels, HU, and the mask on the PET's grid; None
        where there is none.
    """

    pet: Volume
    threshold_suv: float
    organs: Volume | None = None
    ct: Volume | None = None
    truth: Volume | None = None


class Layout(Protocol):
    """A way to lay a case out in a folder."""

    #: Names the layout on the command line.
    name: str
    #: What folders of a cohort are called: ``{stem}_0042``.
    folder_stem: str

    def holds(self, folder: Path) -> bool:
        """Whether the folder looks like this layout."""
        ...

    def read(self, folder: Path) -> Case:
        """Open the case."""
        ...

    def write(self, folder: Path, studies: Mapping[Tracer, StudyImages], fdg_to_psma: RigidTransform) -> None:
        """Write a patient; the folder exists and is empty."""
        ...


class DataSetLayout:
    """``train_XXXX/{PSMA,FDG}/{PET,CT,totseg_24,TTB}.nii.gz``, ``threshold.json`` and ``rigid.tfm``."""

    name = "train"
    folder_stem = "train"
    #: Stems of the files, by kind.
    stems: Mapping[str, str] = {"pet": "PET", "ct": "CT", "organs": "totseg_24", "truth": "TTB"}

    def holds(self, folder: Path) -> bool:
        """Whether there is a folder of either tracer."""
        return any((folder / tracer.upper()).is_dir() for tracer in Tracer)

    def read(self, folder: Path) -> Case:
        """Open a ``train_XXXX`` folder; the folder of one tracer may be missing."""
        tracers = [tracer for tracer in Tracer if (folder / tracer.upper()).is_dir()]
        studies = {tracer: self._study(folder / tracer.upper(), tracer) for tracer in tracers}
        if len(studies) < len(Tracer):
            return Case(_case_name(folder), studies)
        path = folder / Tracer.FDG.upper() / "rigid.tfm"
        if not path.is_file():
            raise InputError(path, "no such file", "add the rigid transform with FDG fixed and PSMA moving")
        return Case(_case_name(folder), studies, read_tfm(path))

    def _study(self, place: Path, tracer: Tracer) -> Study:
        files = {kind: place / f"{stem}.nii.gz" for kind, stem in self.stems.items()}
        if not files["pet"].is_file():
            raise InputError(files["pet"], "no such file", "a train_XXXX folder has PSMA/PET.nii.gz and FDG/PET.nii.gz")
        offered = {kind: ImageFile(path) for kind, path in files.items() if path.is_file()}
        threshold = read_threshold(place / "threshold.json")
        return Study(tracer, offered["pet"], threshold, offered.get("organs"), offered.get("ct"), offered.get("truth"))

    def write(self, folder: Path, studies: Mapping[Tracer, StudyImages], fdg_to_psma: RigidTransform) -> None:
        """Write a patient as the data set has its."""
        for tracer, study in studies.items():
            place = folder / tracer.upper()
            place.mkdir()
            for kind, stem in self.stems.items():
                volume = getattr(study, kind)
                if volume is not None:
                    write_image(volume, place / f"{stem}.nii.gz")
            write_json(place / "threshold.json", {"suv_threshold": study.threshold_suv})
        if len(studies) == len(Tracer):
            write_tfm(fdg_to_psma, folder / Tracer.FDG.upper() / "rigid.tfm")
            write_tfm(fdg_to_psma.inverse(), folder / Tracer.PSMA.upper() / "rigid.tfm")


class PlatformLayout:
    """Grand Challenge's ``/input``: sockets, named by ``inputs.json``; see `deeppsma.io.grand_challenge`.

    A patient of a cohort has it in ``input``, and his truth in ``truth/{psma,fdg}.mha`` beside it.
    """

    name = "platform"
    folder_stem = "case"

    def holds(self, folder: Path) -> bool:
        """Whether there is a list of inputs, or anything at a socket's place."""
        return (folder / INPUTS_NAME).exists() or any((folder / s.relative_path).exists() for s in SOCKETS)

    def read(self, folder: Path) -> Case:
        """Open an input folder; all sockets of one tracer may be missing, and then the registration."""
        found = find_sockets(folder)
        tracers = [tracer for tracer in Tracer if any(s.tracer is tracer and s.slug in found for s in SOCKETS)]
        wanted = [s for s in SOCKETS if s.kind in (PET, THRESHOLD) and (s.tracer in tracers or not tracers)]
        if len(tracers) != 1:
            wanted += [s for s in SOCKETS if s.kind == REGISTRATION]
        missing = [s for s in wanted if s.slug not in found]
        if missing:
            others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            remedy = f"add {missing[0].relative_path}, and its interface to {INPUTS_NAME} if there is one"
            raise InputError(folder, f"socket {missing[0].slug} is missing{others}", remedy)

        def of(tracer: Tracer) -> Study:
            offered = {s.kind: found[s.slug] for s in SOCKETS if s.tracer is tracer and s.slug in found}
            threshold = offered[THRESHOLD]
            return Study(
                tracer,
                ImageFile(offered[PET].path),
                read_threshold(threshold.path, threshold.value),
                ImageFile(offered[ORGANS].path) if ORGANS in offered else None,
                ImageFile(offered[CT].path) if CT in offered else None,
            )

        studies = {tracer: of(tracer) for tracer in tracers}
        if len(studies) < len(Tracer):
            return Case(_case_name(folder), studies)
        registration = found["psma-to-fdg-registration"]
        if registration.value is None:
            return Case(_case_name(folder), studies, read_challenge_transform(registration.path))
        return Case(_case_name(folder), studies, from_challenge(registration.value, registration.path))

    def write(self, folder: Path, studies: Mapping[Tracer, StudyImages], fdg_to_psma: RigidTransform) -> None:
        """Write a patient: his ``input`` as the platform gives it, and his ``truth``."""
        listed = []
        for socket in SOCKETS:
            target = folder / "input" / socket.relative_path
            if socket.tracer is None:
                if len(studies) < len(Tracer):
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                write_json(target, to_challenge(fdg_to_psma))
            elif socket.tracer not in studies:
                continue
            elif socket.kind == THRESHOLD:
                target.parent.mkdir(parents=True, exist_ok=True)
                write_json(target, studies[socket.tracer].threshold_suv)
            else:
                volume = getattr(studies[socket.tracer], socket.kind)
                if volume is None:
                    continue
                target.mkdir(parents=True)
                write_image(volume, target / f"{socket.slug}.mha")
            interface = {"slug": socket.slug, "relative_path": socket.relative_path}
            listed.append({"file": None, "image": None, "value": None, "interface": interface})
        write_json(folder / "input" / INPUTS_NAME, listed)
        (folder / "truth").mkdir()
        for tracer, study in studies.items():
            if study.truth is not None:
                write_image(study.truth, folder / "truth" / f"{tracer}.mha")


#: In the order in which they are asked whether a folder is theirs.
LAYOUTS: tuple[Layout, ...] = (DataSetLayout(), PlatformLayout())
_WHAT_TO_GIVE = "give a platform input folder, a train_XXXX folder, or a folder of DICOM files"


def layout_named(name: str) -> Layout:
    """The layout of a name.

    Raises
    ------
    ValueError
        If there is none.
    """
    for layout in LAYOUTS:
        if layout.name == name:
            return layout
    raise ValueError(f"layout must be one of {', '.join(layout.name for layout in LAYOUTS)}, not {name!r}")


def load_case(folder: Path | str) -> Case:
    """Open a case: a platform input folder, or a ``train_XXXX`` folder of the data set.

    Headers, thresholds and the transform are read and checked; voxels are
    not. A folder with one tracer's scan gives a case of one study.

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
        raise InputError(folder, "no such folder", _WHAT_TO_GIVE)
    for layout in LAYOUTS:
        if layout.holds(folder):
            return layout.read(folder)
    if not any(folder.iterdir()):
        raise InputError(folder, "empty", _WHAT_TO_GIVE)
    if holds_dicom(folder):
        raise InputError(folder, "holds DICOM files", "give the folder to segment itself, which reads them, too")
    try:
        return PlatformLayout().read(folder)  # says what is missing
    except InputError as error:
        found, remedy = (
            f"{error.found}, and no DICOM file found either",
            f"{error.remedy}; is the input folder one deeper?",
        )
        raise InputError(folder, found, remedy) from None


def _case_name(folder: Path) -> str:
    """The folder's name; its parent's where it is just called "input"."""
    place = folder.resolve()
    return (place.parent.name or place.name) if place.name == "input" else place.name


def read_threshold(path: Path, inline: Any = None) -> float:
    """SUV threshold: a bare number (platform) or ``{"suv_threshold": x}`` (data set).

    Parameters
    ----------
    path
        The JSON file; named in messages.
    inline
        Its content where it lies elsewhere.

    Raises
    ------
    InputError
        If it is no number, or no threshold.
    """
    remedy = "give the SUV threshold as one positive number"
    content = read_json(path, remedy) if inline is None else inline
    if isinstance(content, dict) and "suv_threshold" in content:
        content = content["suv_threshold"]
    if isinstance(content, bool) or not isinstance(content, int | float):
        raise InputError(path, f"{json.dumps(content)[:60]} instead of a number", remedy)
    check_threshold(content, path)
    return float(content)
