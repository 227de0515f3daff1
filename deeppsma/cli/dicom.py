"""``deeppsma dicom``: what a folder of DICOM files holds."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deeppsma.core.defaults import DICOM_DEFAULT, DICOM_KINDS, dicom_kinds

if TYPE_CHECKING:
    from deeppsma.core.tracer import Tracer
    from deeppsma.preprocessing.dicom_case import DicomOptions


def add_dicom(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The ``dicom`` command and its actions."""
    command = commands.add_parser("dicom", help="look into a folder of DICOM files")
    actions = command.add_subparsers(title="actions", required=True, metavar="ACTION")
    action = actions.add_parser(
        "inspect",
        help="series, their parts, tracers, SUV and how it was found",
        description="Lists every series of FOLDER: its part, its tracer and what says so, how SUV follows from its "
        "header, SUV figures, or the line that says why it cannot be used. Headers and PET pixels are read, nothing "
        "is written.",
    )
    action.add_argument("folder", type=Path, metavar="FOLDER", help="any mix of files of one patient")
    action.add_argument("--json", action="store_true", help="as JSON")
    _add_organs(action)
    add_choice(action)
    action.set_defaults(run=_inspect)


def add_choice(command: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Options that decide which series plays which part."""
    command.add_argument(
        "--tracer",
        action="append",
        default=[],
        metavar="SERIES=TRACER",
        help="a PET's tracer, psma or fdg, by its series UID or the UID's end; against what its header says",
    )
    command.add_argument(
        "--site", type=Path, metavar="FILE", help="TOML: which series to take where several would do; see docs/dicom.md"
    )


def _add_organs(command: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    command.add_argument(
        "--organs",
        action="append",
        default=[],
        metavar="TRACER=FILE",
        help="TotalSegmentator's label map of the tracer's session, as NIfTI or MHA",
    )


def add_dicom_case(command: argparse.ArgumentParser) -> None:
    """Options of a case that is DICOM."""
    group = command.add_argument_group("for DICOM", "what a hospital's folder does not say; see docs/dicom.md")
    group.add_argument("--fdg-threshold", type=float, metavar="SUV", help="default: mean + 2 SD of the liver's core")
    group.add_argument("--psma-threshold", type=float, metavar="SUV", help="default: 3")
    _add_organs(group)
    group.add_argument(
        "--registration", type=Path, metavar="FILE", help="ITK transform, FDG to PSMA (default: found from the CTs)"
    )
    group.add_argument(
        "--totalsegmentator-weights",
        type=Path,
        metavar="DIR",
        help="make missing organ maps by TotalSegmentator, which must be installed, with the weights that lie there",
    )
    add_choice(group)


def add_dicom_out(command: argparse.ArgumentParser) -> None:
    """Options of results as DICOM objects."""
    kinds, usual = ",".join(DICOM_KINDS), ",".join(DICOM_DEFAULT)
    group = command.add_argument_group("results as DICOM", "see docs/dicom.md")
    group.add_argument(
        "--dicom",
        dest="dicom_out",
        type=dicom_kinds,
        metavar="KINDS",
        help=f"objects for the PETs' studies, into OUT/dicom: of {kinds}, or none (default for DICOM files: {usual})",
    )
    group.add_argument(
        "--pseudonymize",
        action="store_true",
        help="in those objects, replace name, number, dates and all UIDs of patient and studies",
    )


def dicom_options(options: argparse.Namespace) -> DicomOptions:
    """What was said of DICOM.

    Raises
    ------
    ConfigurationError
        If an organ map or the site file is not named as it should be.
    """
    from deeppsma.core.tracer import Tracer
    from deeppsma.io.dicom.site import read_site
    from deeppsma.io.organ_segmenter import OrganSegmenter
    from deeppsma.io.transform_files import read_tfm
    from deeppsma.preprocessing.dicom_case import DicomOptions

    thresholds = {Tracer.FDG: options.fdg_threshold, Tracer.PSMA: options.psma_threshold}
    weights = options.totalsegmentator_weights
    return DicomOptions(
        read_site(options.site, tuple(options.tracer)),
        {tracer: value for tracer, value in thresholds.items() if value is not None},
        _organs_of(options),
        OrganSegmenter(weights) if weights is not None else None,
        read_tfm(options.registration) if options.registration is not None else None,
    )


def _organs_of(options: argparse.Namespace) -> dict[Tracer, Path]:
    from deeppsma.core.errors import ConfigurationError
    from deeppsma.core.tracer import Tracer

    organs = {}
    for given in options.organs:
        tracer, _, path = given.partition("=")
        if tracer not in tuple(Tracer) or not path:
            raise ConfigurationError("--organs", f"{given!r}", "give psma=FILE or fdg=FILE")
        organs[Tracer(tracer)] = Path(path)
    return organs


def _inspect(options: argparse.Namespace) -> None:
    from deeppsma.io.dicom.site import read_site
    from deeppsma.preprocessing.dicom_inspection import inspect

    found = inspect(options.folder, read_site(options.site, tuple(options.tracer)), _organs_of(options))
    if options.json:
        print(json.dumps(found.as_dict(), indent=1))
        for path, reason in found.scan.unreadable:
            print(f"not readable: {path.name}: {reason}", file=sys.stderr)
        return
    print("\n".join(found.lines()))
