"""Each series of a folder looked at: what it is, its tracer and SUV, or the one line why it cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.files import FolderScan, scan_folder
from deeppsma.io.dicom.organ_map import OrganMap, open_organ_map
from deeppsma.io.dicom.series import (
    SEG_CLASSES,
    DicomSeries,
    SeriesFiles,
    check_pet_kind,
    group_series,
    open_series,
)
from deeppsma.io.dicom.site import Site
from deeppsma.io.dicom.suv import derive_suv
from deeppsma.io.dicom.tracer import TracerEvidence, identify_tracer


@dataclass(frozen=True)
class Candidate:
    """A series that may have a role.

    Parameters
    ----------
    files
        Its files.
    series
        A PET in SUV or a CT in HU; None where it is neither, or refused.
    organs
        An organ map; None where it is none.
    evidence
        Of a PET's tracer.
    refused
        Why it cannot be used; "" where it can.
    """

    files: SeriesFiles
    series: DicomSeries | None = None
    organs: OrganMap | None = None
    evidence: TracerEvidence | None = None
    refused: str = ""

    @property
    def is_pet(self) -> bool:
        """A PET that can be used."""
        return self.series is not None and self.series.suv is not None

    @property
    def is_ct(self) -> bool:
        """A CT that can be used."""
        return self.series is not None and self.series.suv is None

    @property
    def tracer(self) -> Tracer | None:
        """Of a PET; None where it is not known."""
        return self.evidence.tracer if self.evidence is not None else None


def examine(files: SeriesFiles, site: Site, folder: Path) -> Candidate:
    """Look at a series: headers only, but for doubled slices.

    Parameters
    ----------
    files
        The series.
    site
        May say its tracer.
    folder
        Messages name files from there.

    Returns
    -------
    Candidate
        Never raises over a series that cannot be used: ``refused`` says why.
    """
    evidence: TracerEvidence | None = None
    try:
        if files.first.text("SOPClassUID") in SEG_CLASSES:
            return Candidate(files, organs=open_organ_map(files))
        if files.modality == "PT":
            evidence = identify_tracer(files.headers, site.tracer_of(files))
            check_pet_kind(files)
        series = open_series(files)
        if files.modality == "PT":
            series = series.in_suv(derive_suv(series.stack.headers, evidence.tracer if evidence else None))
    except InputError as error:
        return Candidate(files, evidence=evidence, refused=shown_from(folder, error))
    return Candidate(files, series, evidence=evidence)


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


def shown_from(folder: Path, error: InputError) -> str:
    """An error's line with the path from the folder on, as its names above it are known."""
    where = Path(error.where)
    if where.is_relative_to(folder) and where != folder:
        where = where.relative_to(folder)
    return str(type(error)(where, error.found, error.remedy))
