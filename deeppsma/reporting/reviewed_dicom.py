"""A reviewed result as DICOM objects: the lesions that a physician kept, and the misses that he confirmed.

Lesions keep the numbers of the report that he looked at; confirmed misses keep theirs (PX1), after them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box
from deeppsma.core.defaults import DICOM_DEFAULT
from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.dicom.lesion_map import LesionFigures, LesionMap
from deeppsma.io.dicom.result_object import save
from deeppsma.io.dicom.study import DicomPatient
from deeppsma.reporting.anatomy_names import SiteName
from deeppsma.reporting.dicom_objects import DicomObjects, DicomRequest, made, provenance
from deeppsma.reporting.finding_sites import finding_site
from deeppsma.reporting.lesion_table import LETTERS
from deeppsma.reporting.review import CANDIDATE_OFFSET, is_kept
from deeppsma.reporting.suv_peak import RADIUS_MM, suv_peak

#: Flat indices of the PET's grid, and whose voxel each is.
Stored = tuple[NDArray[np.int64], NDArray[np.uint16]]


def write_reviewed(
    folder: Path,
    patient: DicomPatient,
    stored: Mapping[Tracer, Stored],
    decisions: Mapping[str, str],
    report: Mapping[str, Any],
    run_report: Mapping[str, Any],
    pseudonymize: bool = False,
) -> list[Path]:
    """Write ``folder/{psma,fdg}/{seg,rtstruct,sr}.dcm`` of a reviewed result.

    Parameters
    ----------
    folder
        Made.
    patient
        The DICOM series that the result is of.
    stored
        The report's foci, possible misses too.
    decisions
        By id.
    report, run_report
        The report's figures, and the run's own record.
    pseudonymize
        Whether to replace the patient's and the studies' identity.

    Raises
    ------
    InputError
        If the DICOM files are another patient's.
    DeepPsmaError
        One line: what cannot be made.
    """
    if run_report.get("case") != patient.name:
        found = f"the result is of case {run_report.get('case')}, these DICOM files are {patient.name}"
        raise InputError("--dicom-source", found, "give the folder that the result was made from")
    objects = DicomObjects.of(DicomRequest(DICOM_DEFAULT, pseudonymize), patient)
    about = provenance(run_report, datetime.now(), reviewed=True)
    written = []
    for tracer in (each for each in patient.tracers if each in stored):
        threshold = float(report["thresholds_suv"][tracer.value])
        found_there = kept(patient.pet(tracer).read(), stored[tracer], tracer, decisions, report, threshold)
        written += save(made(objects.sources[tracer], found_there, about, DICOM_DEFAULT), folder / str(tracer))
    return written


def kept(
    pet: Volume,
    stored: Stored,
    tracer: Tracer,
    decisions: Mapping[str, str],
    report: Mapping[str, Any],
    threshold_suv: float,
) -> LesionMap:
    """Lesions after a review, measured on the PET.

    Parameters
    ----------
    pet
        SUV.
    stored, tracer, decisions, report
        As of `write_reviewed`.
    threshold_suv
        Of the tracer.
    """
    voxels, numbers = stored
    labels = np.zeros(pet.geometry.shape_zyx, np.uint16)
    figures: list[LesionFigures] = []
    for number in np.unique(numbers).tolist():
        missed = number > CANDIDATE_OFFSET
        key = f"{LETTERS[tracer]}X{number - CANDIDATE_OFFSET}" if missed else f"{LETTERS[tracer]}{number}"
        if not is_kept(missed, decisions.get(key)):
            continue
        mine = voxels[numbers == number]
        labels.reshape(-1)[mine] = len(figures) + 1
        figures.append(_measured(pet, mine, key, report))
    return LesionMap(tuple(figures), labels, threshold_suv)


def _measured(pet: Volume, mine: NDArray[np.int64], key: str, report: Mapping[str, Any]) -> LesionFigures:
    grid = pet.geometry
    index = np.stack(np.unravel_index(mine, grid.shape_zyx), axis=-1)
    z, y, x = (int(RADIUS_MM / spacing) + 2 for spacing in grid.spacing_zyx)
    low, high = index.min(axis=0).tolist(), (index.max(axis=0) + 1).tolist()
    box = Box((low[0], low[1], low[2]), (high[0], high[1], high[2])).grown((z, y, x)).clipped(grid.shape_zyx)
    part = np.zeros(box.shape_zyx, bool)
    part[tuple((index - np.array(box.start_zyx)).T)] = True
    suv = pet.voxels[box.slices]
    mean, volume_ml = float(suv[part].mean(dtype=np.float64)), len(mine) * grid.voxel_volume_ml
    peak = suv_peak(suv, part, grid.spacing_zyx).suv
    rows = {row["id"]: row for name in ("lesions", "possible_misses") for row in report[name]}
    row = rows[key]
    site, side, place = None, None, str(row.get("near") or "")
    if "kind" in row:
        name = SiteName(row["name"], row["kind"], row["region"], row["side"], row["level"])
        site, side = finding_site(name)
        place = "" if name.name.startswith("unnamed") else name.text
    top = float(suv[part].max())
    return LesionFigures(key, place, volume_ml, top, mean, peak, volume_ml * mean, site, side)
