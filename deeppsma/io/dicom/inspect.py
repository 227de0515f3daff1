"""What a folder of DICOM files holds: series, roles, tracers, SUV and how it was found, what was refused and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deeppsma.core.errors import InputError
from deeppsma.core.volume import Volume
from deeppsma.io.dicom.choose import Choice, choose
from deeppsma.io.dicom.examine import Candidate, examine, shown_from
from deeppsma.io.dicom.files import FolderScan, scan_folder
from deeppsma.io.dicom.injection import weight_kg
from deeppsma.io.dicom.series import DicomSeries, group_series
from deeppsma.io.dicom.site import Site

#: Of the activity injected, a whole body's PET shows this share; far outside it a unit is wrong.
DOSE_SHARE_LIMITS = (0.2, 1.1)


@dataclass(frozen=True)
class SuvSummary:
    """Figures of a PET in SUV.

    Parameters
    ----------
    low, median, high
        Minimum and median over voxels above 0, maximum; 0 where no voxel is above 0.
    dose_share
        Sum of SUV times volume over body weight: the share of the injected activity that the image shows. None
        where the weight is not known.
    """

    low: float
    median: float
    high: float
    dose_share: float | None = None

    def describe(self) -> str:
        """One line, with what is odd about it."""
        out = f"SUV above 0: {self.low:.3g} to {self.high:.4g}, median {self.median:.3g}"
        if self.dose_share is None:
            return out
        low, high = DOSE_SHARE_LIMITS
        odd = "" if low <= self.dose_share <= high else f" (a whole body has {low:g} to {high:g}: check the units)"
        return f"{out}; {self.dose_share:.2f} of the activity seen{odd}"


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
    summaries
        SUV figures of the PETs, by series UID.
    """

    scan: FolderScan
    candidates: tuple[Candidate, ...]
    choice: Choice
    summaries: dict[str, SuvSummary]

    def as_dict(self) -> dict[str, Any]:
        """As JSON values; holds nothing of the patient but the figures of the injection and the weight."""
        return {"series": [self._row(candidate) for candidate in self.candidates]}

    def _row(self, candidate: Candidate) -> dict[str, Any]:
        suv = None
        summary = self.summaries.get(candidate.files.uid)
        if candidate.series is not None and candidate.series.suv is not None and summary is not None:
            suv = {
                "factor": candidate.series.suv.factor,
                "min": summary.low,
                "median": summary.median,
                "max": summary.high,
                "derivation": candidate.series.suv.as_dict(),
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
        if summary := self.summaries.get(candidate.files.uid):
            out.append(f"  {summary.describe()}")
        expected = candidate.series.expected_slices
        if expected is not None and expected > len(candidate.series.stack.headers):
            out.append(f"  warning: {len(candidate.series.stack.headers)} of {expected} slices (0054,0081) are here")
        return out + [f"  note: {note}" for note in candidate.series.notes]


def look_into(folder: Path, site: Site) -> tuple[FolderScan, tuple[Candidate, ...]]:
    """Scan a folder and examine each of its series; headers only.

    Parameters
    ----------
    folder
        Of DICOM files, and any others.
    site
        A hospital's rules.

    Raises
    ------
    InputError
        If there is no such folder, or no DICOM file in it.
    """
    scan = scan_folder(folder)
    if not scan.headers and not scan.unreadable:
        raise InputError(folder, f"no DICOM file among {scan.other_count} files", "give a folder of DICOM files")
    return scan, tuple(examine(files, site, folder) for files in group_series(scan.headers))


def inspect(folder: Path | str, site: Site | None = None) -> Inspection:
    """Look at everything a folder holds, with the pixels of its PETs.

    Parameters
    ----------
    folder
        Of DICOM files, and any others.
    site
        A hospital's rules.

    Raises
    ------
    InputError
        If there is no such folder, or no DICOM file in it.
    """
    folder, site = Path(folder), site or Site()
    scan, candidates = look_into(folder, site)
    summaries: dict[str, SuvSummary] = {}
    looked: list[Candidate] = []
    for candidate in candidates:
        kept = candidate
        if candidate.is_pet and candidate.series is not None:
            try:
                summaries[candidate.files.uid] = summarise(candidate.series.read(), _weight_kg(candidate.series))
            except InputError as error:
                kept = replace(candidate, series=None, refused=shown_from(folder, error))
        looked.append(kept)
    return Inspection(scan, tuple(looked), choose(looked, site), summaries)


def _weight_kg(series: DicomSeries) -> float | None:
    """The weight that SUV was computed with, or that the header has beside SUV; None where it has none that can be."""
    if series.suv is not None and series.suv.weight_kg is not None:
        return series.suv.weight_kg
    try:
        return weight_kg(series.stack.headers)[0]
    except InputError:
        return None


def summarise(pet: Volume, weight_kg: float | None) -> SuvSummary:
    """Figures of a PET in SUV.

    Parameters
    ----------
    pet
        [z, y, x], SUV.
    weight_kg
        None where it is not known.
    """
    values = pet.voxels
    above = values[values > 0]
    median = float(np.median(above)) if above.size else 0.0
    share = None
    if weight_kg:
        total_ml = float(values.sum(dtype=np.float64)) * pet.geometry.voxel_volume_ml
        share = total_ml / (weight_kg * 1000)
    low, high = (float(above.min()), float(above.max())) if above.size else (0.0, 0.0)
    return SuvSummary(low, median, high, share)
