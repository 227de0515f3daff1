"""A patient's folder of DICOM files: the chosen PETs, CTs and organ maps as image sources, and how they were chosen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.choose import Choice, choose, days_apart
from deeppsma.io.dicom.examine import Candidate, look_into
from deeppsma.io.dicom.organ_map import OrganMap
from deeppsma.io.dicom.series import DicomSeries
from deeppsma.io.dicom.site import Site

_INSPECT = "'deeppsma dicom inspect' lists all series"


@dataclass(frozen=True)
class DicomPatient:
    """What a folder holds of a patient, decided.

    Parameters
    ----------
    choice
        Series by their part; without problems.
    notes
        How they were chosen and how SUV follows, a line each, for the run report.
    """

    choice: Choice
    notes: tuple[str, ...]

    @property
    def tracers(self) -> tuple[Tracer, ...]:
        """Those that there is a PET of, PSMA first."""
        return tuple(tracer for tracer in Tracer if tracer in self.choice.pets)

    @property
    def name(self) -> str:
        """A name that tells nothing of the patient: the same studies have the same."""
        uids = sorted(candidate.files.first.text("StudyInstanceUID") for candidate in self.choice.pets.values())
        return f"dicom-{hashlib.sha256(' '.join(uids).encode()).hexdigest()[:8]}"

    def pet(self, tracer: Tracer) -> DicomSeries:
        """PET in SUV."""
        series = self.choice.pets[tracer].series
        if series is None:
            raise ValueError(f"the {tracer.upper()} PET was refused")
        return series

    def ct(self, tracer: Tracer) -> DicomSeries | None:
        """CT in HU; None where there is none that fits."""
        candidate = self.choice.cts.get(tracer)
        return candidate.series if candidate else None

    def organs(self, tracer: Tracer) -> OrganMap | None:
        """Organ map that came as DICOM; None where there is none."""
        candidate = self.choice.organs.get(tracer)
        return candidate.organs if candidate else None

    @property
    def one_frame(self) -> bool:
        """Whether both PETs lie in one frame of reference: no registration is needed."""
        frames = {self.pet(tracer).frame_of_reference for tracer in self.tracers}
        return len(self.tracers) == len(Tracer) and len(frames) == 1 and "" not in frames


def open_patient(folder: Path | str, site: Site | None = None) -> DicomPatient:
    """Choose a patient's series; headers only.

    Parameters
    ----------
    folder
        Any mix of files of one patient.
    site
        A hospital's rules.

    Raises
    ------
    InputError
        One line: what cannot be read, used or decided, and what to do.
    """
    folder, site = Path(folder), site or Site()
    scan, candidates = look_into(folder, site)
    if scan.unreadable:
        path, reason = scan.unreadable[0]
        others = f" (and {len(scan.unreadable) - 1} more)" if len(scan.unreadable) > 1 else ""
        raise InputError(path, f"{reason}{others}", "copy it again, or take it away if it is not needed")
    choice = choose(candidates, site)
    if choice.problems:
        raise InputError(folder, *_split(choice.problems[0]))
    _check_missing(folder, candidates, choice)
    return DicomPatient(choice, _notes(choice, candidates))


def _split(problem: str) -> tuple[str, str]:
    found, _, remedy = problem.rpartition("; ")
    return found, remedy


def _check_missing(folder: Path, candidates: tuple[Candidate, ...], choice: Choice) -> None:
    """Refuse where a PET is there that has no part only because it cannot be used or says no tracer."""
    if len(choice.pets) == len(Tracer):
        return
    used = {candidate.files.first.text("StudyInstanceUID") for candidate in choice.pets.values()}
    for candidate in candidates:
        if candidate.files.modality != "PT" or candidate.files.first.text("StudyInstanceUID") in used:
            continue
        if candidate.refused:
            raise InputError(folder, f"{candidate.files.label} cannot be used: {candidate.refused}", _INSPECT)
        if candidate.tracer is None:
            end = candidate.files.uid[-12:]
            found = f"{candidate.files.label}: its header does not say the tracer"
            raise InputError(folder, found, f"say it: --tracer {end}=psma or {end}=fdg")
    if not choice.pets:
        refused = [c for c in candidates if c.files.modality == "PT" and c.refused]
        why = f": {refused[0].refused}" if refused else f" in {len(candidates)} series"
        raise InputError(folder, f"no PET that can be used{why}", _INSPECT)


def _notes(choice: Choice, candidates: tuple[Candidate, ...]) -> tuple[str, ...]:
    notes = list(choice.reasons)
    for tracer, pet in choice.pets.items():
        if pet.series is None or pet.series.suv is None:
            continue
        name = f"{tracer.upper()} PET"
        if pet.evidence is not None:
            notes.append(f"{name}: {', '.join(pet.evidence.evidence) or 'tracer as the user says'}")
        notes.append(f"{name}: SUV from {pet.series.suv.describe()}")
        notes += [f"{name}: checked: {check}" for check in pet.series.suv.checks]
        notes += [f"{name}: {said}" for said in (*pet.series.suv.warnings, *pet.series.notes)]
    if len(choice.pets) == len(Tracer):
        days = days_apart(*(pet.files.first for pet in choice.pets.values()))
        notes.append("days between the sessions: " + ("not known" if days is None else str(days)))
    else:
        notes.append("one tracer only")
    unused = sum(choice.role(candidate) is None for candidate in candidates)
    return (*notes, f"{unused} further series in the folder have no part")
