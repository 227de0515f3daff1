"""A result as DICOM objects: SEG, RTSTRUCT, SR, picture and report of each tracer, for the study that its PET is of.

Lesions have the numbers of the report's table: the same division into foci makes both.
"""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deeppsma.core.defaults import DICOM_KINDS
from deeppsma.core.errors import OutputError
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.case import Case
from deeppsma.io.dicom.header import DAMAGE
from deeppsma.io.dicom.lesion_map import LesionFigures, LesionMap
from deeppsma.io.dicom.result_object import require_highdicom, save
from deeppsma.io.dicom.result_source import Provenance, ResultSource
from deeppsma.io.dicom.study import DicomPatient
from deeppsma.models.weights import NOTICE
from deeppsma.reporting.case_result import CaseResult, case_result
from deeppsma.reporting.content import ReportContent, report_content
from deeppsma.reporting.finding_sites import finding_site
from deeppsma.reporting.lesion_table import FocusMap, Lesion, LesionTable, lesion_table

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True)
class DicomRequest:
    """Which objects are wanted.

    Parameters
    ----------
    kinds
        Of `deeppsma.core.defaults.DICOM_KINDS`; empty for none.
    pseudonymize
        Whether to replace the patient's and the studies' identity.
    asked
        Whether somebody asked for them; what nobody asked for may fail without harm to the masks.

    Raises
    ------
    ValueError
        If there is no such kind, or figures are wanted without the segments that they refer to.
    """

    kinds: tuple[str, ...]
    pseudonymize: bool = False
    asked: bool = True

    def __post_init__(self) -> None:
        if strange := [kind for kind in self.kinds if kind not in DICOM_KINDS]:
            raise ValueError(f"{strange[0]!r} is no kind of DICOM object: choose of {', '.join(DICOM_KINDS)}, or none")
        if "sr" in self.kinds and "seg" not in self.kinds:
            raise ValueError("the SR's figures refer to the SEG's segments: choose seg,sr")
        if self.pseudonymize and not self.kinds:
            raise ValueError("there is no DICOM object to pseudonymize")


@dataclass(frozen=True)
class DicomObjects:
    """Writes a result's objects.

    Parameters
    ----------
    request
        What is wanted.
    sources
        The PETs by tracer.
    synthetic
        Whether the phantom made the patient; pages say so.
    """

    request: DicomRequest
    sources: Mapping[Tracer, ResultSource] = field(default_factory=dict)
    synthetic: bool = False

    @classmethod
    def of(cls, request: DicomRequest, patient: DicomPatient, synthetic: bool = False) -> DicomObjects:
        """Make ready, before anything that takes time.

        Raises
        ------
        InputError
            If a PET lacks what results must refer to.
        ConfigurationError
            If highdicom is not installed.
        """
        require_highdicom()
        pseudonym = patient.name if request.pseudonymize else ""
        sources = {t: ResultSource.of(t, patient.pet(t), pseudonym) for t in patient.tracers}
        return cls(request, sources, synthetic)

    def write(self, folder: Path, case: Case, masks: Mapping[Tracer, Volume], run_report: Mapping[str, Any]) -> None:
        """Write ``folder/{psma,fdg}/{kind}.dcm`` of a result in memory.

        Parameters
        ----------
        folder
            Made; where something fails, it is not there.
        case, masks, run_report
            As `deeppsma.reporting.report_files.report` takes them.

        Raises
        ------
        DeepPsmaError
            One line: what cannot be made.
        """
        about = provenance(run_report, datetime.now())
        together = case.fdg_to_psma is not None or len(masks) == 1
        groups = [tuple(masks)] if together else [(tracer,) for tracer in masks]
        try:
            for group in groups:
                found = {tracer: masks[tracer] for tracer in group}
                if "pdf" in self.request.kinds:
                    content = report_content(case_result(case, found, run_report, self.synthetic))
                    self._write(folder, content.result, content.table, about, content)
                else:
                    result = case_result(case, found, run_report, self.synthetic, with_ct=False)
                    self._write(folder, result, lesion_table(result), about)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _write(
        self,
        folder: Path,
        result: CaseResult,
        table: LesionTable,
        about: Provenance,
        content: ReportContent | None = None,
    ) -> None:
        from deeppsma.reporting.pdf import report_pdf

        pdf = report_pdf(content) if content is not None else b""
        for tracer in result.tracers:
            found = lesion_map(table.of(tracer), table.maps[tracer], result.scans[tracer].threshold_suv)
            picture = _picture(result, tracer, about) if "capture" in self.request.kinds else b""
            objects = made(self.sources[tracer], found, about, self.request.kinds, picture, pdf)
            save(objects, folder / str(tracer))


def made(
    source: ResultSource,
    found: LesionMap,
    about: Provenance,
    kinds: Sequence[str],
    picture: bytes = b"",
    pdf: bytes = b"",
) -> dict[str, Dataset]:
    """Objects of one tracer by kind.

    Parameters
    ----------
    source, found, about
        The PET, its lesions, whose work.
    kinds
        Which.
    picture, pdf
        PNG and PDF for those kinds.

    Raises
    ------
    OutputError
        If an object cannot be made of what the PET's headers say.
    """
    from deeppsma.io.dicom.write_pages import capture, encapsulated_pdf
    from deeppsma.io.dicom.write_rtstruct import structure_set
    from deeppsma.io.dicom.write_seg import segmentation
    from deeppsma.io.dicom.write_sr import measurement_report

    objects: dict[str, Dataset] = {}
    how: dict[str, Callable[[], Dataset]] = {
        "seg": lambda: segmentation(source, found, about),
        "rtstruct": lambda: structure_set(source, found, about),
        "sr": lambda: measurement_report(source, found, about, objects["seg"]),
        "capture": lambda: capture(source, about, picture),
        "pdf": lambda: encapsulated_pdf(source, about, pdf),
    }
    for kind in (each for each in DICOM_KINDS if each in kinds):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pydicom and highdicom mind the hospital's values
                objects[kind] = how[kind]()
        except DAMAGE as error:
            what = f"DICOM {kind} of the {source.tracer.upper()} PET"
            reason = f"cannot be made ({type(error).__name__}: {str(error)[:160]})"
            raise OutputError(what, reason, "choose --dicom without it, or none, and tell us") from error
    return objects


def lesion_map(lesions: Sequence[Lesion], foci: FocusMap, threshold_suv: float) -> LesionMap:
    """Lesions of the table as the writers take them.

    Parameters
    ----------
    lesions
        Of one tracer, by number.
    foci
        Which voxel is whose.
    threshold_suv
        Of the tracer.
    """
    labels = np.zeros(foci.geometry.shape_zyx, np.uint8 if len(lesions) < 256 else np.uint16)
    labels[foci.box.slices] = foci.labels
    return LesionMap(tuple(map(_figures, lesions)), labels, threshold_suv)


def _figures(lesion: Lesion) -> LesionFigures:
    place = lesion.naming.first
    site, side = finding_site(place)
    words = "" if place.name.startswith("unnamed") else place.text
    return LesionFigures(
        lesion.id,
        words,
        lesion.volume_ml,
        lesion.suv_max,
        lesion.suv_mean,
        lesion.suv_peak,
        lesion.total_uptake_g,
        site,
        side,
    )


def provenance(run_report: Mapping[str, Any], created: datetime, reviewed: bool = False) -> Provenance:
    """Whose work a result is, from its run report: recipe, weights and version make the method.

    Parameters
    ----------
    run_report
        As JSON values; what it does not say counts as not known.
    created
        When the objects are made.
    reviewed
        Whether a physician's decisions are in the masks.
    """
    recipe = run_report.get("recipe") or {}
    weights = sorted(str(member.get("sha256")) for member in run_report.get("members") or [])
    version = (run_report.get("versions") or {}).get("deeppsma", "?")
    name = str(recipe.get("name", "?"))
    method = hashlib.sha256("\n".join([name, str(version), *weights]).encode()).hexdigest()
    notes = tuple(str(line) for line in run_report.get("fallbacks") or ())
    return Provenance(method, name, str(run_report.get("notice") or NOTICE), created, reviewed, notes)


def _picture(result: CaseResult, tracer: Tracer, about: Provenance) -> bytes:
    from deeppsma.reporting.pictures import SYNTHETIC, overview

    scan = result.scans[tracer]
    kind = SYNTHETIC if result.synthetic else ""
    note = f"{kind}{result.name}, recipe {about.recipe}. {NOTICE}"
    return overview({tracer: scan.pet}, {tracer: scan.mask}, {tracer: scan.threshold_suv}, note=note)
