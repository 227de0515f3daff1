"""``deeppsma dicom``: what a folder of DICOM files holds."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


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
    add_choice(action)
    action.set_defaults(run=_inspect)


def add_choice(command: argparse.ArgumentParser) -> None:
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


def _inspect(options: argparse.Namespace) -> None:
    from deeppsma.io.dicom.inspect import inspect
    from deeppsma.io.dicom.site import read_site

    found = inspect(options.folder, read_site(options.site, tuple(options.tracer)))
    if options.json:
        print(json.dumps(found.as_dict(), indent=1))
        for path, reason in found.scan.unreadable:
            print(f"not readable: {path.name}: {reason}", file=sys.stderr)
        return
    print("\n".join(found.lines()))
