"""A job's process: ``deeppsma segment``, which ends when the node ends, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deeppsma.operation.node.settings import Run

_PR_SET_PDEATHSIG = 1
_POLL_S, _ENDS_S = 0.1, 5.0
_LAST_BYTES = 4000


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Parameters
    ----------
    status
        Exit status; negative for a signal; None where it was stopped because the node stops.
    line
        Its last line on stderr.
    """

    status: int | None
    line: str


def segment_command(run: Run, images: Path, out: Path) -> list[str]:
    """The command of a job."""
    command = [sys.executable, "-m", "deeppsma", "segment", str(images), str(out)]
    command += ["--recipe", run.recipe, "--device", run.device, "--dicom", ",".join(run.results)]
    if run.site:
        command += ["--site", run.site]
    return [*command, *run.options]


def run_process(command: Sequence[str], said: Path, time_limit_s: float, stopping: Callable[[], bool]) -> Ended:
    """Run a command to its end.

    Parameters
    ----------
    command
        What is run.
    said
        File for what it writes on stdout and stderr.
    time_limit_s
        Then it is ended.
    stopping
        Asked on the way; when it says yes, the process is ended.

    Returns
    -------
    Ended
        What it said last is in one line.
    """
    parent = [sys.executable, "-m", __name__, str(os.getpid())]
    until = time.monotonic() + time_limit_s
    with said.open("wb") as out:
        process = subprocess.Popen([*parent, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            while process.poll() is None:
                if stopping():
                    return Ended(None, "the node stops")
                if time.monotonic() > until:
                    return Ended(-signal.SIGKILL, f"took longer than {time_limit_s:g} s")
                time.sleep(_POLL_S)
        finally:
            _end(process)
    return Ended(process.returncode, last_line(said) or f"ended with status {process.returncode} and said nothing")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_ENDS_S)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def last_line(said: Path) -> str:
    """Last line of a file of text; "" where there is none."""
    lines = said.read_bytes()[-_LAST_BYTES:].decode("utf-8", errors="replace").strip().splitlines()
    return " ".join(lines[-1].split()) if lines else ""


def _with_the_parent(parent: int) -> None:
    """From now on the system kills this process when its parent is gone; what it executes inherits that."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # gone before that took effect
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _with_the_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - the command is the node's own
