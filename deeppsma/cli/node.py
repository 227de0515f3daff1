"""``deeppsma node``: a node in the hospital's network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deeppsma.operation.node.settings import NodeSettings


def add_node(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The ``node`` command."""
    command = commands.add_parser(
        "node",
        help="stay, take studies by DICOM, and send results back",
        description="Listens as a DICOM node. When a patient's PSMA and FDG studies are whole, it segments them and "
        "sends SEG, RTSTRUCT and SR back. What waits lies on the disk: a node that was killed goes on where it was. "
        "Events are JSON lines on stdout, without names. See docs/node.md. Not for clinical use.",
    )
    command.add_argument("--config", type=Path, required=True, metavar="FILE.toml", help="settings; see docs/node.md")
    command.add_argument("--check", action="store_true", help="read the settings, print all of them, and end")
    command.add_argument("--revive", action="store_true", help="take up again what was given up")
    command.set_defaults(run=_node)


def _node(options: argparse.Namespace) -> None:
    import json
    from dataclasses import asdict

    from deeppsma.operation.node.settings import read_settings

    settings = read_settings(options.config)
    _check_command(settings, options.config)
    if options.check:
        print(json.dumps(asdict(settings), indent=1))
        return

    from deeppsma.operation.node.program import serve_node

    serve_node(settings, options.revive)


def _check_command(settings: NodeSettings, config: Path) -> None:
    """Refuse options that ``segment`` does not know now, not at the first patient."""
    import io
    from contextlib import redirect_stderr

    from deeppsma.cli.commands import build_parser
    from deeppsma.core.errors import ConfigurationError
    from deeppsma.operation.node.child import segment_command

    command = segment_command(settings.run, Path("IMAGES"), Path("OUT"))
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            build_parser().parse_args(command[command.index("segment") :])
    except SystemExit:
        found = f"[run] makes no command of deeppsma segment ({said.getvalue().strip().splitlines()[-1]})"
        raise ConfigurationError(config, found, "mend it") from None
