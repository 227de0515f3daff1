"""``deeppsma doctor``: whether this machine and installation are fit for a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from deeppsma.cli.options import add_device, add_weights
from deeppsma.core.defaults import DEFAULT_RECIPE


def add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The ``doctor`` command."""
    command = commands.add_parser(
        "doctor",
        help="test this machine and installation",
        description="Checks memory, write access, device and precision, verifies the weights of a recipe and runs one "
        "window of each of its networks. Says what is wrong and the remedy; ends with 0 if a run will work.",
    )
    command.add_argument("--out", type=Path, metavar="DIR", help="also whether results can be written there")
    command.add_argument("--recipe", default=DEFAULT_RECIPE, help=f"whose networks (default {DEFAULT_RECIPE})")
    add_device(command)
    add_weights(command)
    command.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> None:
    from deeppsma.core.errors import ConfigurationError
    from deeppsma.operation.doctor import examine

    failed = []
    for finding in examine(options.out, options.weights, options.device, options.recipe):
        print(finding, flush=True)
        failed += [finding.check] if finding.state == "failed" else []
    if failed:
        raise ConfigurationError("doctor", f"{', '.join(failed)} failed", "see the lines above")
