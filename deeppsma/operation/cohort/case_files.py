"""What a cohort keeps of a case beside its masks: a small picture, the lesions, and the report where it is wanted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deeppsma.core.tracer import Tracer
from deeppsma.core.whole_files import whole_file

if TYPE_CHECKING:
    from deeppsma.io.case import Case
    from deeppsma.operation.cohort.plan import CaseTask
    from deeppsma.pipeline.segment import Segmentation

THUMBNAIL_NAME = "thumbnail.png"
#: A man of 1.1 m on the scanner becomes 160 pixels.
_PIXEL_MM = 7.0
_GAP_PX = 4
_COLOURS = 24


def write_thumbnail(staging: Path, case: Case, result: Segmentation) -> None:
    """Write a small projection of each tracer, masks outlined, PSMA first."""
    (staging / THUMBNAIL_NAME).write_bytes(thumbnail(case, result))


def thumbnail(case: Case, result: Segmentation) -> bytes:
    """A PNG of at most some 10 kB."""
    import io

    from PIL import Image

    from deeppsma.reporting.pictures import BLACK_AT_THRESHOLDS, RED, projection

    panels = []
    for tracer in (each for each in Tracer if each in result.masks):
        study = case.study(tracer)
        black_suv = BLACK_AT_THRESHOLDS[tracer] * study.threshold_suv
        panels.append(projection(study.read_pet(), [(result.masks[tracer], RED)], black_suv, _PIXEL_MM))
    size = sum(panel.width for panel in panels) + _GAP_PX * (len(panels) - 1), max(panel.height for panel in panels)
    canvas = Image.new("RGB", size, "white")
    x = 0
    for panel in panels:
        canvas.paste(panel, (x, 0))
        x += panel.width + _GAP_PX
    out = io.BytesIO()
    canvas.quantize(_COLOURS).save(out, "PNG", optimize=True)
    return out.getvalue()


def write_lesions(task: CaseTask, case: Case, result: Segmentation) -> tuple[str, ...]:
    """Write ``lesions.csv`` into a case's slot, or the whole report where that is wanted; gives what was not done.

    Raises
    ------
    DeepPsmaError
        As of `deeppsma.reporting.report_files.write_report`.
    OSError
        If the table cannot be written.
    """
    from deeppsma.reporting.case_result import case_result
    from deeppsma.reporting.content import report_content
    from deeppsma.reporting.pictures import kind_of_patient
    from deeppsma.reporting.report_files import CSV_NAME, Report, write_report
    from deeppsma.reporting.tables import lesions_csv

    synthetic = bool(kind_of_patient(task.case.folder))
    report = result.report.as_dict()
    apart = len(result.masks) == len(Tracer) and case.fdg_to_psma is None
    if task.settings.report and not apart:
        write_report(Report(report_content(case_result(case, result.masks, report, synthetic))), task.slot)
        return ()
    # No figure of a lesion needs the CT.
    case = replace(case, studies={t: replace(case.study(t), ct=None) for t in case.tracers})
    together = [{tracer: mask} for tracer, mask in result.masks.items()] if apart else [result.masks]
    tables = [lesions_csv(report_content(case_result(case, masks, report, synthetic))) for masks in together]
    text = tables[0] + "".join(table.partition("\r\n")[2] for table in tables[1:])
    with whole_file(task.slot / CSV_NAME) as partial:
        partial.write_bytes(text.encode("utf-8"))
    unmatched = ("no transform between the sessions: lesions of the two tracers are not held against each other",)
    unwritten = ("no report, which needs that transform",) if task.settings.report else ()
    return unmatched + unwritten if apart else ()
