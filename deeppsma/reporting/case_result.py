"""What a report is made from: a case's images, the masks that were found, and the run's own record."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from deeppsma.core.errors import InputError
from deeppsma.core.settings import read_json
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform, to_other_session
from deeppsma.core.volume import Volume
from deeppsma.io.case import Case
from deeppsma.io.image_files import ImageFile
from deeppsma.io.result_folder import REPORT_NAME, mask_path


@dataclass(frozen=True)
class TracerResult:
    """One tracer's session and what was found in it.

    Parameters
    ----------
    tracer
        Which.
    pet
        SUV, float32.
    threshold_suv
        Voxels at or above it may be disease.
    mask
        0/1, uint8, on the PET's grid.
    organs
        TotalSegmentator labels on a grid of their own, or None.
    ct
        HU on a grid of its own, or None.
    """

    tracer: Tracer
    pet: Volume
    threshold_suv: float
    mask: Volume
    organs: Volume | None = None
    ct: Volume | None = None

    def __post_init__(self) -> None:
        if not self.mask.geometry.same_grid(self.pet.geometry):
            mask, pet = self.mask.geometry.describe(), self.pet.geometry.describe()
            raise ValueError(f"the {self.tracer} mask is on {mask}, its PET on {pet}")
        if not self.threshold_suv > 0:
            raise ValueError(f"the threshold must be above 0, not {self.threshold_suv}")

    @cached_property
    def mask_sha256(self) -> str:
        """Of the mask's voxels, in C order: what a review is bound to."""
        return hashlib.sha256(np.packbits(self.mask.voxels > 0).tobytes()).hexdigest()


@dataclass(frozen=True)
class CaseResult:
    """A case with its result.

    Parameters
    ----------
    name
        Of the case; never a patient's.
    scans
        One tracer or both.
    fdg_to_psma
        Maps FDG points to PSMA points; needed for both tracers.
    run_report
        The run report, as JSON values.
    synthetic
        Whether the phantom made the patient.
    """

    name: str
    scans: Mapping[Tracer, TracerResult]
    fdg_to_psma: RigidTransform | None = None
    run_report: Mapping[str, Any] = field(default_factory=dict)
    synthetic: bool = False

    def __post_init__(self) -> None:
        if not self.scans:
            raise ValueError("a report needs at least one tracer's result")
        if len(self.scans) == len(Tracer) and self.fdg_to_psma is None:
            raise ValueError("both tracers need the transform between them")

    @property
    def tracers(self) -> tuple[Tracer, ...]:
        """Those there are, PSMA first."""
        return tuple(tracer for tracer in Tracer if tracer in self.scans)

    def transform(self, tracer: Tracer) -> RigidTransform:
        """Maps a world point of ``tracer``'s session to the other session."""
        if self.fdg_to_psma is None:
            raise ValueError("one tracer alone has no transform")
        return to_other_session(tracer, self.fdg_to_psma)


def load_case_result(out: Path, case: Case, synthetic: bool = False) -> CaseResult:
    """A stored result with its case.

    Parameters
    ----------
    out
        Folder that ``deeppsma segment`` wrote.
    case
        What was segmented.
    synthetic
        Whether the phantom made the patient.

    Raises
    ------
    InputError
        If there is no result, or it is another case's.
    """
    report_path = out / REPORT_NAME
    if not report_path.is_file():
        raise InputError(out, f"no {REPORT_NAME} there", "give a folder that deeppsma segment wrote")
    report = read_json(report_path, "segment the case again")
    if not isinstance(report, dict):
        raise InputError(report_path, "no run report", "segment the case again")
    masks = {t: ImageFile(mask_path(out, t)).read() for t in case.tracers if mask_path(out, t).is_file()}
    if not masks:
        raise InputError(out, "no mask there", "give a folder that deeppsma segment wrote")
    try:
        result = case_result(case, masks, report, synthetic)
        _check_findings(result)
    except ValueError as error:
        raise InputError(out, str(error), "give the case that this result was made from") from None
    return result


def _check_findings(result: CaseResult) -> None:
    """Hold the uptake below the masks against what the run report says: another patient may have the same grid.

    Raises
    ------
    ValueError
        If it is another.
    """
    stored = result.run_report.get("findings")
    for tracer, scan in result.scans.items():
        said = stored.get(tracer.value) if isinstance(stored, Mapping) else None
        if not isinstance(said, Mapping):
            continue
        found = {"threshold_suv": scan.threshold_suv}
        if scan.mask.voxels.any():
            found["suv_max"] = float(scan.pet.voxels[scan.mask.voxels > 0].max())
        for name, value in found.items():
            expected = said.get(name)
            if isinstance(expected, int | float) and not math.isclose(expected, value, rel_tol=1e-3):
                raise ValueError(
                    f"{tracer.upper()} {name} is {value:.4g} in this case, {expected:.4g} in the run report"
                )


def case_result(
    case: Case,
    masks: Mapping[Tracer, Volume],
    run_report: Mapping[str, Any],
    synthetic: bool = False,
    with_ct: bool = True,
) -> CaseResult:
    """A case with masks in memory.

    Parameters
    ----------
    case, masks, run_report, synthetic
        As `CaseResult` says; a mask for each tracer that is to be reported.
    with_ct
        Whether to read CTs; figures of lesions need none.

    Raises
    ------
    ValueError
        If a mask is not on its PET's grid, or two tracers are not registered.
    InputError
        If an image cannot be read.
    """
    scans = {}
    for tracer in (t for t in case.tracers if t in masks):
        study, mask = case.study(tracer), masks[tracer]
        pet = study.read_pet()
        found = Volume((mask.voxels > 0).astype(np.uint8), mask.geometry)
        ct = study.read_ct() if with_ct else None
        scans[tracer] = TracerResult(tracer, pet, study.threshold_suv, found, study.read_organs(), ct)
    transform = case.fdg_to_psma if len(scans) == len(Tracer) else None
    return CaseResult(case.name, scans, transform, run_report, synthetic)
