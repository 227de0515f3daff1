"""A report's files beside a result: page, PDF, CSV, JSON, and which voxel belongs to which lesion."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.errors import InputError, OutputError
from deeppsma.core.settings import read_json
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.core.whole_files import whole_file
from deeppsma.io.case import Case
from deeppsma.io.result_folder import READING_NAMES, REPORT_NAME
from deeppsma.reporting.case_result import CaseResult, case_result, load_case_result
from deeppsma.reporting.content import ReportContent, report_content
from deeppsma.reporting.html import report_html
from deeppsma.reporting.review import CANDIDATE_OFFSET
from deeppsma.reporting.tables import lesions_csv, report_json
from deeppsma.reporting.viewer.volumes import ViewerVolumes, viewer_volumes

_log = logging.getLogger("deeppsma")

HTML_NAME, PDF_NAME, CSV_NAME, FOCI_NAME, JSON_NAME = READING_NAMES


@dataclass(frozen=True)
class Report:
    """A report in memory; notebooks show it.

    Parameters
    ----------
    content
        What it says.
    with_ct
        Whether the page holds the CT, which shows the face.
    """

    content: ReportContent
    with_ct: bool = True

    @cached_property
    def html(self) -> str:
        """The page."""
        return report_html(self.content, self.volumes)

    @cached_property
    def volumes(self) -> ViewerVolumes:
        """What page and PDF draw from."""
        made = self.content
        return viewer_volumes(made.result, made.table, made.review.candidates, self.with_ct)

    def _repr_html_(self) -> str:
        from html import escape

        frame = 'width="100%" height="900" sandbox="allow-scripts allow-downloads"'
        return f'<iframe title="report" srcdoc="{escape(self.html)}" {frame}></iframe>'

    def save(self, out: Path | str, with_pdf: bool = True) -> list[Path]:
        """Write all files of the report into a result's folder; see `write_report`."""
        return write_report(self, Path(out), with_pdf)


def report(
    case: Case,
    masks: Mapping[Tracer, Volume],
    run_report: Mapping[str, Any] | None = None,
    synthetic: bool = False,
    with_ct: bool = True,
) -> Report:
    """Report of a case with masks in memory.

    Parameters
    ----------
    case
        What was segmented.
    masks
        0/1 on the PETs' grids, by tracer: `Segmentation.masks`.
    run_report
        As JSON values: `RunReport.as_dict()`; without one the methods say what is missing.
    synthetic
        Whether the phantom made the patient.
    with_ct
        Whether the page holds the CT, which shows the face.

    Examples
    --------
    >>> result = deeppsma.segment(case)  # doctest: +SKIP
    >>> deeppsma.report(case, result.masks, result.report.as_dict())  # doctest: +SKIP
    """
    return Report(report_content(case_result(case, masks, run_report or {}, synthetic)), with_ct)


def report_of_folder(out: Path, case: Case, synthetic: bool = False, with_ct: bool = True) -> Report:
    """Report of a stored result; see `deeppsma.reporting.case_result.load_case_result`."""
    return Report(report_content(load_case_result(out, case, synthetic)), with_ct)


def write_report(made: Report, out: Path, with_pdf: bool = True) -> list[Path]:
    """Write ``report.html``, ``report.pdf``, ``lesions.csv``, ``report_foci.npz`` and, last, ``report.json``.

    Parameters
    ----------
    made
        The report.
    out
        A folder that is there.
    with_pdf
        Whether to write the PDF, which needs the package reportlab.

    Raises
    ------
    OutputError
        If a file cannot be written; no ``report.json`` is there then.
    ConfigurationError
        If the PDF is wanted and reportlab is not installed.
    """
    from deeppsma.reporting.pdf import report_pdf

    content = made.content
    files: dict[str, bytes] = {HTML_NAME: made.html.encode("utf-8")}
    if with_pdf:
        files[PDF_NAME] = report_pdf(content, made.volumes)
    files[CSV_NAME] = lesions_csv(content).encode("utf-8")
    files[FOCI_NAME] = focus_voxels(content)
    files[JSON_NAME] = (json.dumps(report_json(content), indent=1, allow_nan=False) + "\n").encode("utf-8")
    try:
        # The last one says that the others are whole.
        (out / JSON_NAME).unlink(missing_ok=True)
        if not with_pdf and (out / PDF_NAME).exists():
            (out / PDF_NAME).unlink()
            _log.warning("%s: removed, it was an earlier report's", out / PDF_NAME)
        for name, data in files.items():
            with whole_file(out / name) as partial:
                partial.write_bytes(data)
    except OSError as error:
        found = f"the report could not be written ({error.strerror})"
        raise OutputError(out, found, "check the folder's free space and rights") from None
    return [out / name for name in files]


def focus_voxels(content: ReportContent) -> bytes:
    """Which voxel belongs to which lesion or possible miss: an uncompressed-index NPZ without objects.

    For each tracer ``{tracer}_voxels`` (flat indices of the PET's grid, C order), ``{tracer}_numbers`` (lesion
    numbers; possible misses from `CANDIDATE_OFFSET` + 1 on) and ``{tracer}_shape`` (z, y, x).
    """
    arrays: dict[str, NDArray] = {}
    for tracer in content.result.tracers:
        foci = content.table.maps[tracer]
        shape = foci.geometry.shape_zyx
        index, owners = foci.voxels
        numbers: list[NDArray] = [owners]
        voxels: list[NDArray] = [index]
        for number, candidate in enumerate((c for c in content.review.candidates if c.tracer is tracer), start=1):
            voxels.append(candidate.voxels_zyx)
            numbers.append(np.full(len(candidate.voxels_zyx), CANDIDATE_OFFSET + number, np.uint16))
        flat = np.ravel_multi_index(tuple(np.concatenate(voxels).T), shape)
        arrays |= {
            f"{tracer}_voxels": np.asarray(flat, np.int64),
            f"{tracer}_numbers": np.concatenate(numbers),
            f"{tracer}_shape": np.array(shape, np.int64),
        }
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def read_report_json(out: Path) -> dict[str, Any]:
    """A stored report's figures.

    Raises
    ------
    InputError
        If there is no report, or it is damaged.
    """
    path = out / JSON_NAME
    if not path.is_file():
        remedy = f"make one: deeppsma report {out} CASE" if (out / REPORT_NAME).is_file() else "give a result's folder"
        raise InputError(path, "no such file", remedy)
    content = read_json(path, "make the report again")
    if not isinstance(content, dict) or not isinstance(content.get("masks_sha256"), dict):
        raise InputError(path, "no report", "make the report again")
    return content


__all__ = ["CaseResult", "Report", "read_report_json", "report", "report_of_folder", "write_report"]
