"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from deeppsma.inference.device import DEVICES


def add_device(command: argparse.ArgumentParser) -> None:
    """Where networks run."""
    command.add_argument("--device", choices=DEVICES, default="auto", help="auto: a GPU if one works")


def add_weights(command: argparse.ArgumentParser) -> None:
    """Where members are looked for."""
    command.add_argument(
        "--weights",
        type=Path,
        metavar="DIR",
        help="members here, or models of nnU-Net, come before the shipped ones",
    )


def add_jobs(command: argparse.ArgumentParser) -> None:
    """How many processes."""
    command.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
