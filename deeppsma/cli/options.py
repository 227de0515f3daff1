"""Options that several commands share, and how options become a request."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from deeppsma.core.defaults import DEVICES

_Request = TypeVar("_Request")


def request(cls: type[_Request], options: argparse.Namespace, **more: Any) -> _Request:
    """A command's request of its options: each field takes the option of its name.

    Parameters
    ----------
    cls
        A dataclass that checks its values when it is made.
    options
        Parsed; lists become tuples. A field without an option keeps its
        default.
    more
        Fields that no option gives as it is.

    Raises
    ------
    ConfigurationError
        If a value makes no sense.
    """
    from deeppsma.core.errors import ConfigurationError

    given = {field.name: getattr(options, field.name) for field in fields(cls) if hasattr(options, field.name)}  # type: ignore[arg-type]
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    try:
        return cls(**values | more)
    except ValueError as error:
        raise ConfigurationError("options", str(error), "see --help of this command") from None


def add_device(command: argparse.ArgumentParser) -> None:
    """Where networks run."""
    command.add_argument(
        "--device",
        choices=DEVICES,
        default="auto",
        help="auto: a GPU if one works, else torch on the CPU; openvino: the CPU, in half the time (an extra)",
    )


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


def duration(text: str) -> float | None:
    """Seconds of an option such as 25m; None for "none".

    Raises
    ------
    ArgumentTypeError
        If it is no duration.
    """
    from deeppsma.core.clock import duration_s

    try:
        return duration_s(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
