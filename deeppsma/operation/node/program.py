"""A node as a process of its own: one per storage folder, quiet libraries, a clean end at SIGTERM."""

from __future__ import annotations

import logging
import signal
import warnings
from pathlib import Path

from deeppsma.core.errors import ConfigurationError
from deeppsma.io.publishing import locked
from deeppsma.operation.node.node import Command, Node
from deeppsma.operation.node.settings import NodeSettings
from deeppsma.operation.serve import log


def serve_node(settings: NodeSettings, revive: bool = False, command: Command | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C; a job that runs then is begun anew at the next start.

    Parameters
    ----------
    settings
        Of the hospital.
    revive
        Take up again what was given up.
    command
        As of `Node`.

    Raises
    ------
    ConfigurationError
        If the storage or the port cannot be had.
    OutputError
        If another node has the storage.
    """
    _hush()
    storage = Path(settings.storage)
    try:
        storage.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(storage, f"cannot be made ({error.strerror})", "give another storage") from None
    with locked(storage):
        node = Node(settings, command)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: node.stop())
        for job in node.jobs.revive() if revive else []:
            log("job taken up again", job=job.key, state=job.state)
        node.serve()


def _hush() -> None:
    """Libraries quote headers in what they say: names and numbers of patients would stand in the log."""
    warnings.simplefilter("ignore")
    for name in ("pydicom", "pynetdicom"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logging.NullHandler()], False
