"""An end from outside: SIGTERM, SIGHUP, Ctrl-C. One line, a status, and nothing half-written, at any moment.

A handler that raised an exception could be swallowed or abort the process
inside a library that is just being imported. So it ends the process itself:
it undoes what is registered with `undone_at_end`, says one line, and leaves.
A moment in which files must not be left in between is `uninterrupted`.

This module imports nothing that takes time: entry points install the handlers
first.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

#: What a shell reports for a process that was told to end.
EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143
#: How long processes of this one's have to end by themselves; the platform waits five seconds.
_CHILDREN_END_S = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

_undo: list[Callable[[], None]] = []
_outcome: list[str] = []
_held: list[int] | None = None


def end_in_one_line() -> None:
    """Let SIGTERM, SIGHUP and Ctrl-C end this process in one line on stderr.

    For programs only, in the main thread; a library leaves signals alone. A
    signal that the parent has had ignored (``nohup``) stays ignored.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def ignore_from_now() -> None:
    """Let nothing disturb the end of a program whose work is done: Python would die of a signal without a line."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def undone_at_end(undo: Callable[[], None]) -> Iterator[None]:
    """While the block runs, an end from outside calls ``undo`` first."""
    _undo.append(undo)
    try:
        yield
    finally:
        _undo.remove(undo)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Signals that come while the block runs take effect after it; other threads' blocks are not held up."""
    global _held  # noqa: PLW0603 - signals are the process's, too
    nested = _held is not None
    try:
        before = {} if nested else {number: signal.getsignal(number) for number in _SIGNALS}
        for number in before:
            signal.signal(number, _hold)
    except ValueError:  # not the main thread: signals are handled elsewhere
        yield
        return
    if not nested:
        _held = []
    try:
        yield
    finally:
        if not nested:
            came, _held = _held or [], None
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            for each in dict.fromkeys(came):
                signal.raise_signal(each)


def forget_everything() -> None:
    """For a process that was just forked: what is to be undone, and what was stated, is its parent's."""
    _undo.clear()
    _outcome.clear()


def state_outcome(text: str) -> None:
    """What the last line shall say of results if the process is ended from now on: "no result was written", ..."""
    _outcome[:] = [text]


def outcome() -> str:
    """What was stated last; empty if nothing was."""
    return _outcome[0] if _outcome else ""


def line_of(cause: str) -> str:
    """The last line: cause and outcome."""
    return f"deeppsma: error: {cause}{'; ' if outcome() else ''}{outcome()}"


def _hold(number: int, _frame: FrameType | None) -> None:
    if _held is not None:
        _held.append(number)


def _end(number: int, _frame: FrameType | None) -> None:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    for undo in reversed(_undo):
        with suppress(Exception):
            undo()
    with suppress(Exception):
        sys.stdout.flush()
    by_user = number == signal.SIGINT
    line = line_of("interrupted" if by_user else "terminated from outside (a time limit?)")
    with suppress(OSError):
        os.write(2, f"{_fresh_line()}{line}\n".encode(errors="backslashreplace"))
    _end_children()
    with suppress(Exception):
        _remove_semaphores()
    os._exit(EXIT_INTERRUPTED if by_user else EXIT_TERMINATED)


def _remove_semaphores() -> None:
    """Remove multiprocessing's named semaphores: no finalizer runs here, and its tracker would speak of a leak."""
    util, locks = sys.modules.get("multiprocessing.util"), sys.modules.get("multiprocessing.synchronize")
    if util is None or locks is None:
        return
    # All finalizers would be too many: some wait for locks that the interrupted code may hold.
    for finalizer in list(util._finalizer_registry.values()):
        if finalizer._callback is locks.SemLock._cleanup:
            finalizer()


def _fresh_line() -> str:
    """A progress bar may stand on the terminal's line."""
    return "\n" if os.isatty(2) else ""


def _end_children() -> None:
    """Processes that this one started for its own work would go on alone."""
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is None:
        return
    with suppress(Exception):
        children = multiprocessing.active_children()
        for child in children:
            child.terminate()
        until = time.monotonic() + _CHILDREN_END_S
        for child in children:
            child.join(max(0.0, until - time.monotonic()))
            child.kill()  # one that was just being forked has lost the first signal
