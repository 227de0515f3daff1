"""Cohorts: folders of cases that have truth masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.case import Case, ImageSource
from deeppsma.io.image_files import ImageFile
from deeppsma.io.layouts import load_case


@dataclass(frozen=True)
class LabelledCase:
    """A case, its truth masks on the PETs' grids, and the folder that holds them."""

    folder: Path
    case: Case
    truths: dict[Tracer, ImageSource]


def cohort_folders(cohort: Path) -> list[Path]:
    """The cases' folders, by name: every visible folder of the cohort.

    Raises
    ------
    InputError
        If there is none.
    """
    folders = sorted(p for p in cohort.iterdir() if p.is_dir() and p.name[0] != ".") if cohort.is_dir() else []
    if not folders:
        raise InputError(cohort, "no folders of cases", "give a folder of train_XXXX or of platform cases with truth")
    return folders


def truth_case(folder: Path) -> Path | None:
    """The case that a folder is, or whose folder ``truth`` it is; None for anything else."""
    for case in (folder, folder.parent):
        if (case / "input").is_dir() and (case / "truth").is_dir() and folder in (case, case / "truth"):
            return case
    return folder if (folder / Tracer.PSMA.upper() / "TTB.nii.gz").exists() else None


def load_labelled(folder: Path) -> LabelledCase:
    """Load a case of a cohort.

    Parameters
    ----------
    folder
        A ``train_XXXX`` folder, or one with ``input`` in the platform's layout and ``truth/{psma,fdg}.mha``.

    Raises
    ------
    InputError
        If the case is unusable, or a truth mask is missing or on another grid.
    """
    platform = (folder / "input").is_dir()
    case = load_case(folder / "input" if platform else folder)
    case.require_both()
    truths: dict[Tracer, ImageSource] = {}
    for tracer in case.tracers:
        study = case.study(tracer)
        truth = ImageFile(folder / "truth" / f"{tracer}.mha") if platform else study.truth
        if truth is None:
            raise InputError(folder, f"no truth for {tracer.upper()}", "give a cohort with truth masks")
        if not truth.geometry.same_grid(study.pet.geometry):
            raise InputError(truth.path, "not on its PET's grid", "give the truth that belongs to this PET")
        truths[tracer] = truth
    return LabelledCase(folder, case, truths)
