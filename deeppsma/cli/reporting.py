"""Commands on what was found: the report, a second visit, and a physician's review."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deeppsma.cli.dicom import add_choice, add_dicom_case, dicom_options
from deeppsma.core.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from deeppsma.preprocessing.dicom_case import DicomOptions


def add_reporting(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``report``, ``compare`` and ``apply-review``."""
    command = commands.add_parser(
        "report",
        help="page, PDF and tables of a result",
        description="Writes report.html (one file, opens by double click, loads nothing), report.pdf, lesions.csv and "
        "report.json into OUT. Every figure is explained in docs/report.md.",
    )
    command.add_argument("out", type=Path, metavar="OUT", help="result folder of 'deeppsma segment'")
    command.add_argument(
        "case",
        type=Path,
        nargs="?",
        metavar="CASE",
        help="the case that it was made from (default: the place in OUT/case.txt; it is not kept for DICOM)",
    )
    command.add_argument("--no-ct", action="store_true", help="leave the CT, which shows the face, out of the page")
    command.add_argument("--no-pdf", action="store_true", help="no PDF (it needs the package reportlab)")
    add_dicom_case(command)
    command.set_defaults(run=_report)
    command = commands.add_parser(
        "compare",
        help="a second visit against the first",
        description="PSMA volumes, new lesions after registration of the two visits, and the value of RECIP 1.0. "
        "Writes BEFORE and AFTER into AFTER/comparison.json and prints it. Both need a report.",
    )
    command.add_argument("before", type=Path, metavar="BEFORE", help="result folder of the first visit")
    command.add_argument("after", type=Path, metavar="AFTER", help="result folder of the second visit")
    command.add_argument("case_before", type=Path, metavar="CASE_BEFORE", help="case of the first visit")
    command.add_argument("case_after", type=Path, metavar="CASE_AFTER", help="case of the second visit")
    command.set_defaults(run=_compare)
    command = commands.add_parser(
        "apply-review",
        help="reviewed masks of a saved review",
        description="Writes the reviewed masks to OUT/reviewed: rejected foci left out, confirmed possible misses "
        "added. Who decided what is recorded there in run_report.json; the result itself stays as it is.",
    )
    command.add_argument("out", type=Path, metavar="OUT", help="result folder with its report")
    command.add_argument("review", type=Path, metavar="REVIEW", help="review.json that the page saved")
    command.add_argument(
        "--dicom-source",
        type=Path,
        metavar="FOLDER",
        help="the DICOM files that the result was made from: also write the reviewed SEG, RTSTRUCT and SR",
    )
    command.add_argument("--pseudonymize", action="store_true", help="in those, as 'segment' does")
    add_choice(command)
    command.set_defaults(run=_apply_review)


def write_report_of(
    out: Path, case: Path, with_ct: bool = True, with_pdf: bool = True, dicom: DicomOptions | None = None
) -> list[Path]:
    """Write the report of a stored result; returns its files.

    Raises
    ------
    DeepPsmaError
        One line that names cause and remedy.
    """
    from deeppsma.preprocessing.dicom_case import open_case
    from deeppsma.reporting.pdf import require_reportlab
    from deeppsma.reporting.pictures import kind_of_patient
    from deeppsma.reporting.report_files import report_of_folder, write_report

    if not out.is_dir():
        raise InputError(out, "no such folder", "give a folder that deeppsma segment wrote")
    if with_pdf:
        require_reportlab()
    made = report_of_folder(out, open_case(case, dicom), bool(kind_of_patient(case)), with_ct)
    return write_report(made, out, with_pdf)


def _report(options: argparse.Namespace) -> None:
    dicom = dicom_options(options)
    from deeppsma.io.result_folder import remembered_case

    case = options.case or remembered_case(options.out)
    for path in write_report_of(options.out, case, not options.no_ct, not options.no_pdf, dicom):
        print(path)


def _compare(options: argparse.Namespace) -> None:
    from deeppsma.preprocessing.dicom_case import open_case
    from deeppsma.reporting.compare import compare_folders, write_comparison

    found = compare_folders(
        options.before, open_case(options.case_before), options.after, open_case(options.case_after)
    )
    for line in found.lines():
        print(line)
    print(write_comparison(found, options.after))


def _apply_review(options: argparse.Namespace) -> None:
    from deeppsma.reporting.apply_review import apply_review

    dicom = None
    if options.dicom_source is not None:
        from deeppsma.io.dicom.site import read_site
        from deeppsma.io.dicom.study import open_patient

        dicom = open_patient(options.dicom_source, read_site(options.site, tuple(options.tracer)))
    elif options.pseudonymize:
        raise ConfigurationError("--pseudonymize", "there are no DICOM objects", "give --dicom-source, too")
    for path in apply_review(options.out, options.review, dicom, options.pseudonymize):
        print(path)
