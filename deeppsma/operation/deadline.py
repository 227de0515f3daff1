"""A run that ends in time with the best answer that there is, whatever happens to the process that computes it.

This process loads no torch. It forks the one that does, watches it, and at the limit, on a signal from outside, or when
the other one crashes, hangs or is killed for its memory, publishes the best complete answer of
`deeppsma.operation.answers`. A handler or a thread in the computing process could not: a crash takes them along.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from deeppsma.core.errors import DeadlineError
from deeppsma.core.interruption import forget_everything, state_outcome, uninterrupted
from deeppsma.core.settings import write_json
from deeppsma.io.publishing import is_unfinished, publish
from deeppsma.io.result_folder import REPORT_NAME, output_folder

#: What a process says by its status of the case, or of what it was given: no answer may hide that.
_ERRORS = (2, 3, 4, 5, 6)
_POLL_S = 0.02
_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
#: From first to best; `deeppsma.operation.answers` makes them (and loads what this process does without).
_ANSWERS = ("1-threshold", "2-first-members", "3-full")


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Parameters
    ----------
    status
        For the shell.
    written
        Files of the answer that was published.
    cut
        Why it is not the full one; empty if it is.
    """

    status: int
    written: tuple[Path, ...] = ()
    cut: str = ""


def run_until(out: Path, until: float, compute: Callable[[Path], int]) -> Ended:
    """Compute in another process, and publish the best answer that is there in time.

    Parameters
    ----------
    out
        The output folder.
    until
        When the result must be there, on the clock of `time.monotonic`;
        publishing what lies ready takes well below a second.
    compute
        Called in the other process with the folder that answers go to; gives
        the exit status, its line on stderr said.

    Raises
    ------
    DeadlineError
        If there is no answer when time is up, or when the other process
        ended without one.
    OutputError
        As of `deeppsma.io.result_folder.output_folder`.
    """
    with output_folder(out) as staging:
        answers = staging / "answers"
        answers.mkdir()
        watched = _Watched(answers, compute)
        cut, status = watched.until(until)
        if status in _ERRORS:
            return Ended(status)
        best = best_answer(answers)
        if best is None:
            if watched.signal is not None:
                signal.raise_signal(watched.signal)  # ends as every program here: one line, nothing left
            if status in (130, 137, 143):  # it has said so itself
                return Ended(status)
            found = f"{cut} before there was any answer"
            raise DeadlineError(out, found, "give it more time or memory, or a smaller case")
        if best.name == _ANSWERS[-1]:
            cut = ""
        else:
            _say(best / REPORT_NAME, f"time limit: {cut or 'the run ended early'}; this is answer {best.name}")
        with uninterrupted():
            written = _publish(best, staging, out)
            state_outcome(f"the result had been written before, to {out}")
        return Ended(0, tuple(written), cut and f"{cut}; the answer is {best.name}")


class _Watched:
    """The computing process."""

    def __init__(self, answers: Path, compute: Callable[[Path], int]) -> None:
        self.signal: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _become_worker(parent, answers, compute)

    def until(self, limit: float) -> tuple[str, int | None]:
        """Wait until it ends or has to; gives why it did not end by itself, and its status if it did."""
        before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        try:
            while time.monotonic() < limit and self.signal is None:
                pid, state = os.waitpid(self._pid, os.WNOHANG)
                if pid:
                    return _how_it_ended(state)
                time.sleep(_POLL_S)
            self._kill()
            return ("terminated from outside" if self.signal is not None else "the time was up"), None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def _how_it_ended(state: int) -> tuple[str, int | None]:
    if os.WIFSIGNALED(state):
        number = os.WTERMSIG(state)
        what = "was killed (out of memory?)" if number == signal.SIGKILL else f"ended by {signal.Signals(number).name}"
        return f"the computing process {what}", None
    status = os.WEXITSTATUS(state)
    return (f"the computing process ended with status {status}" if status else ""), status


def _become_worker(parent: int, answers: Path, compute: Callable[[Path], int]) -> None:
    """In the forked process: own session, dies with its parent, and never returns."""
    status = 1
    try:
        forget_everything()  # what the parent undoes at its end is the parent's
        os.setsid()
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            status = compute(answers)
    except BaseException:  # noqa: BLE001 - nothing may get out of a fork, and nothing is hidden
        import traceback

        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def best_answer(answers: Path) -> Path | None:
    """Folder of the best complete answer; None if there is none."""
    there = [answers / name for name in _ANSWERS if (answers / name / REPORT_NAME).is_file()]
    whole = [place for place in there if not is_unfinished(place, place / REPORT_NAME)]
    return whole[-1] if whole else None


def _say(report: Path, line: str) -> None:
    content = json.loads(report.read_text(encoding="utf-8"))
    write_json(report, {**content, "fallbacks": [*content.get("fallbacks", []), line]})


def _publish(best: Path, staging: Path, out: Path) -> list[Path]:
    """Bring an answer up into the staging folder, away with the others, and publish it as every result."""
    for path in list(best.iterdir()):
        os.replace(path, staging / path.name)
    shutil.rmtree(staging / "answers")
    return publish(staging, out, REPORT_NAME)


def said(ended: Ended) -> str:
    """What to say of an answer that is not the full one; empty if it is."""
    return f"note: {ended.cut}" if ended.cut else ""
