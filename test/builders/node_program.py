"""A node with a job of a test's: ``node_program.py CONFIG [N]`` kills itself before its N-th step on the disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from pynetdicom.association import Association

from deeppsma.cli.exit_status import guarded
from deeppsma.operation.node.program import serve_node
from deeppsma.operation.node.settings import read_settings

STUB = Path(__file__).with_name("stub_job.py")


def stub(images: Path, out: Path) -> list[str]:
    return [sys.executable, str(STUB), str(images), str(out)]


def kill_before(number: int) -> None:
    """Count what changes the disk, starts a process or sends an object; SIGKILL comes before the given one."""
    steps = 0

    def counted(work):
        def step(*arguments, **more):
            nonlocal steps
            steps += 1
            if steps == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return work(*arguments, **more)

        return step

    for module, name in (
        (os, "replace"),
        (os, "rename"),
        (os, "mkdir"),
        (os, "unlink"),
        (os, "fsync"),
        (shutil, "rmtree"),
        (subprocess, "Popen"),
        (Association, "send_c_store"),
        (Association, "release"),
    ):
        setattr(module, name, counted(getattr(module, name)))


def main(arguments: list[str]) -> int:
    def work() -> None:
        settings = read_settings(Path(arguments[0]))
        if len(arguments) > 1:
            kill_before(int(arguments[1]))
        serve_node(settings, command=stub)

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
