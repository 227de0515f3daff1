"""What a folder of DICOM files holds: series, roles, tracers, SUV and how it was found, what was refused and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.case import ImageSource
from deeppsma.io.dicom.choose import Choice, choose
from deeppsma.io.dicom.examine import Candidate, look_into, shown_from
from deeppsma.io.dicom.files import FolderScan
from deeppsma.io.dicom.site import Site
from deeppsma.io.image_files import ImageFile
from deeppsma.preprocessing.suv_check import NO_ORGAN_MAP, NO_PART, SuvCheck, check_suv, known_weight_kg


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Parameters
    ----------
    scan
        The folder.
    candidates
        Its series.
    choice
        Their parts.
    checks
        SUV figures of the PETs, by series UID.
    """

    scan: FolderScan
    candidates: tuple[Candidate, ...]
    choice: Choice
    checks: dict[str, SuvCheck]

    def as_dict(self) -> dict[str, Any]:
        """As JSON values; holds nothing of the patient but the figures of the injection and the weight."""
        return {"series": [self._row(candidate) for candidate in self.candidates]}

    def _row(self, candidate: Candidate) -> dict[str, Any]:
        suv = None
        check = self.checks.get(candidate.files.uid)
        if candidate.series is not None and candidate.series.suv is not None and check is not None:
            suv = {
                "factor": candidate.series.suv.factor,
                "min": check.low,
                "median": check.median,
                "max": check.high,
                "derivation": candidate.series.suv.as_dict(),
                **check.as_dict(),
            }
        return {
            "series_instance_uid": candidate.files.uid,
            "modality": candidate.files.modality,
            "role": self.choice.role(candidate),
            "tracer": str(candidate.tracer) if candidate.tracer else None,
            "suv": suv,
            "refused": candidate.refused or None,
        }

    def lines(self) -> list[str]:
        """For people to read."""
        out = []
        for candidate in self.candidates:
            out += self._described(candidate)
        out += [f"chosen: {reason}" for reason in self.choice.reasons]
        out += [f"undecided: {problem}" for problem in self.choice.problems]
        out += [f"not readable: {path.name}: {reason}" for path, reason in self.scan.unreadable]
        count = len(self.scan.headers)
        out.append(f"{count} DICOM files in {len(self.candidates)} series, {self.scan.other_count} other files")
        return out

    def _described(self, candidate: Candidate) -> list[str]:
        role = self.choice.role(candidate)
        description = candidate.files.first.text("SeriesDescription")
        out = [f"{candidate.files.label} {description!r}: {role or 'no part'}", f"  UID {candidate.files.uid}"]
        if candidate.refused:
            return [*out, f"  refused: {candidate.refused}"]
        if candidate.series is None:
            return out
        out.append(f"  {candidate.series.geometry.describe()}")
        if candidate.evidence is not None:
            name = candidate.tracer.upper() if candidate.tracer else "not said; use --tracer"
            out.append(f"  tracer {name}" + "".join(f"; {said}" for said in candidate.evidence.evidence))
        if candidate.series.suv is not None:
            suv = candidate.series.suv
            factor = (
                suv.factor if isinstance(suv.factor, float) else f"{min(suv.factors):.6g} to {max(suv.factors):.6g}"
            )
            out.append(f"  SUV factor {factor}: {suv.describe()}")
            out += [f"  checked: {check}" for check in suv.checks]
            out += [f"  warning: {warning}" for warning in suv.warnings]
        if check := self.checks.get(candidate.files.uid):
            out += [f"  {line}" for line in check.lines()]
        expected = candidate.series.expected_slices
        if expected is not None and expected > len(candidate.series.stack.headers):
            out.append(f"  warning: {len(candidate.series.stack.headers)} of {expected} slices (0054,0081) are here")
        return out + [f"  note: {note}" for note in candidate.series.notes]


def inspect(folder: Path | str, site: Site | None = None, organs: Mapping[Tracer, Path] | None = None) -> Inspection:
    """Look at everything a folder holds, with the pixels of its PETs; SUV is checked by activity and liver.

    Parameters
    ----------
    folder
        Of DICOM files, and any others.
    site
        A hospital's rules.
    organs
        Organ maps as files, by tracer; they come before those in the folder.

    Raises
    ------
    InputError
        If there is no such folder, or no DICOM file in it.
    """
    folder, site, organs = Path(folder), site or Site(), organs or {}
    scan, candidates = look_into(folder, site)
    choice = choose(candidates, site)
    checks: dict[str, SuvCheck] = {}
    looked: list[Candidate] = []
    for candidate in candidates:
        kept = candidate
        if candidate.is_pet:
            try:
                checks[candidate.files.uid] = _checked(candidate, choice, organs)
            except InputError as error:
                kept = replace(candidate, series=None, refused=shown_from(folder, error))
        looked.append(kept)
    choice = choose(looked, site)
    for pet in choice.pets.values():
        # It came into its part only now, because another PET's pixels are damaged.
        if checks[pet.files.uid].unchecked == NO_PART:
            checks[pet.files.uid] = _checked(pet, choice, organs)
    return Inspection(scan, tuple(looked), choice, checks)


def _checked(pet: Candidate, choice: Choice, given: Mapping[Tracer, Path]) -> SuvCheck:
    """Read a PET and check its SUV; an organ map that cannot be read is said, and is no fault of the PET's."""
    if pet.series is None:
        raise ValueError("a PET that was refused has no SUV")
    volume, weight = pet.series.read(), known_weight_kg(pet.series)
    tracer = next((tracer for tracer, chosen in choice.pets.items() if chosen is pet), None)
    if tracer is None:
        return check_suv(volume, weight, None, pet.tracer, NO_PART)
    source: ImageSource | None = ImageFile(given[tracer]) if tracer in given else None
    if source is None and (found := choice.organs.get(tracer)) is not None:
        source = found.organs
    try:
        organs = None if source is None else source.read()
    except InputError as error:
        return check_suv(volume, weight, None, tracer, f"the organ map cannot be read: {error.found}")
    return check_suv(volume, weight, organs, tracer, NO_ORGAN_MAP)
