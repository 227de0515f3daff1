"""What the container image's entry points say where ``docker run`` was given other things than they take."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deeppsma.core.errors import ConfigurationError, OutputError

_OTHER_COMMANDS = "settings are DEEPPSMA_* variables; other commands: docker run --entrypoint deeppsma IMAGE COMMAND"


def refuse_arguments(arguments: Sequence[str], taken: str = "this image takes none") -> None:
    """Refuse what stands behind the image's name; it would change nothing, and nobody would be told.

    Parameters
    ----------
    arguments
        What was given and is not known.
    taken
        What may be given, in words.

    Raises
    ------
    ConfigurationError
        If there are any.
    """
    if arguments:
        raise ConfigurationError(f"arguments {' '.join(arguments)!r}", taken, _OTHER_COMMANDS)


@contextmanager
def telling_of_mounts(out: Path, place: Path) -> Iterator[None]:
    """Where the image's output folder cannot be written to and nothing is mounted there, that is the remedy.

    Parameters
    ----------
    out
        Where results go.
    place
        The image's own output folder; of another one nothing is known.

    Raises
    ------
    OutputError
        The one of the block, with the remedy.
    """
    try:
        yield
    except OutputError as error:
        if out != place or Path(error.where) != out or os.path.ismount(out):
            raise
        remedy = f"{error.remedy}; mount one: -v FOLDER:{out}"
        raise OutputError(error.where, error.found, remedy) from None
