"""How a program ends: one last line on stderr, and a status of the table in ``docs/input.md``.

Nothing that takes time is imported here: entry points call `guarded` first,
and import what they need inside of it, so that a signal or short memory
during these imports ends in one line, too.
"""

from __future__ import annotations

import gc
import io
import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from deeppsma.core.errors import DeepPsmaError
from deeppsma.core.interruption import EXIT_INTERRUPTED, end_in_one_line, ignore_from_now, line_of
from deeppsma.core.memory import require_memory, reuse_memory, short_of_memory
from deeppsma.core.threads import prepare_threads

#: What a shell reports for a process that ran out of memory, or wrote to a reader who had left.
EXIT_OUT_OF_MEMORY, EXIT_PIPE = 137, 141
#: A file or folder that the operating system refuses.
EXIT_FILES = 6


class SaidAlready(Exception):  # noqa: N818 - what ends so is no error of this process
    """Another process of this program's has failed and said its line; only the status is passed on."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def guarded(work: Callable[[], None]) -> int:
    """Run ``work``; turn what goes wrong into one last line on stderr and an exit status.

    Parameters
    ----------
    work
        The program.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    Exception
        What has no place in the table is a bug, and is not hidden.
    """
    end_in_one_line()
    prepare_threads()
    reuse_memory()
    tell_notes()
    for stream in (sys.stdout, sys.stderr):  # names of files are shown somehow, whatever the terminal can write
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        require_memory()
        return _piped(work)
    except SaidAlready as ended:
        return ended.status
    except DeepPsmaError as error:
        return _fail(f"deeppsma: error: {error}", error.exit_code)
    except KeyboardInterrupt:
        return _fail(line_of("interrupted"), EXIT_INTERRUPTED)
    except Exception as error:
        said = short_of_memory(error)
        if said is not None:
            line = f"deeppsma: error: out of memory{f' ({said})' if said else ''}; give the process more memory"
            return _fail(line, EXIT_OUT_OF_MEMORY)
        if not isinstance(error, OSError):
            raise
        where, found = error.filename or "a file", error.strerror or str(error)
        return _fail(f"deeppsma: error: {where}: {found}; check the path, and that this user may use it", EXIT_FILES)


class _OnStderr(logging.Handler):
    """Shows a record on what stderr is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"note: {record.getMessage()}", file=sys.stderr, flush=True)


def tell_notes() -> None:
    """Show what the library logs on stderr: ``note: ...``, a line each."""
    logger = logging.getLogger("deeppsma")
    logger.handlers = [_OnStderr()]


def leave(status: int) -> NoReturn:
    """End this program; its work is done, and signals have come too late to change that.

    Raises
    ------
    SystemExit
        With the status.
    """
    ignore_from_now()
    gc.freeze()  # or the interpreter looks for garbage among all of torch before it goes: 0.8 s
    sys.exit(status)


def _piped(work: Callable[[], None]) -> int:
    try:
        work()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has seen enough ('| head')
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    return 0


def _fail(line: str, status: int) -> int:
    sys.stdout.flush()
    print(line, file=sys.stderr, flush=True)
    return status
