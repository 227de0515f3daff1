"""Cohorts whose cases say in a file what becomes of them; workers import this module as whoever starts them does."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from pathlib import Path

from deeppsma.core.errors import InputError
from deeppsma.operation.cohort.plan import CaseTask
from deeppsma.operation.cohort.workers import Attempt, Made, run_case

BEHAVIOUR = "behaviour.txt"
REPORT = {
    "report_version": 2,
    "notice": "Not for clinical use.",
    "case": "",
    "findings": {
        "psma": {"threshold_suv": 3.0, "volume_ml": 12.5, "components": 2, "suv_max": 9.0, "suv_mean": 4.5},
        "fdg": {"threshold_suv": 2.5, "volume_ml": 0.0, "components": 0, "suv_max": None, "suv_mean": None},
    },
    "fallbacks": ["CT not used: there is none"],
    "recipe": {"name": "single"},
    "members": [],
    "device": "cpu (1 threads), float32",
    "windows": {"run": 1, "skipped": 0},
    "inputs": {},
    "seconds": {"network": 0.1},
    "peak_memory_mb": 100,
    "versions": {"deeppsma": "0.1.0"},
}


def write_stub_case(folder: Path, behaviour: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / BEHAVIOUR).write_text(behaviour, encoding="utf-8")
    return folder


def stub_work(task: CaseTask) -> Attempt:
    """`run_case`, with a stand-in for the networks where a case says what becomes of it."""
    return run_case(task, stub_result if (task.case.folder / BEHAVIOUR).exists() else None)


def stub_result(task: CaseTask) -> Made:
    behaviour = (task.case.folder / BEHAVIOUR).read_text(encoding="utf-8")
    what, _, argument = behaviour.partition(" ")
    if what == "kill" or (what == "kill-once" and task.attempt == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":  # with the interpreter's lock: no other thread runs meanwhile
        ctypes.PyDLL(None).sleep(600)
    if what == "deaf":  # as a process whose file system hangs: no signal ends it
        ctypes.CDLL(None).signal(signal.SIGALRM, signal.SIG_IGN)
        time.sleep(600)
    if what == "wait":
        time.sleep(float(argument))
    if what == "refuse":
        raise InputError(task.case.folder / "PET.nii.gz", "an empty PET", "give another")
    if what == "bug":
        raise KeyError("liver")
    if what == "memory" or (what == "memory-once" and task.attempt == 1):
        raise MemoryError("no more of it")
    if what == "full":
        raise OSError(28, "No space left on device", str(task.slot))
    task.slot.mkdir(parents=True, exist_ok=True)
    (task.slot / "run_report.json").write_text(json.dumps({**REPORT, "case": task.case.name}), encoding="utf-8")
    return Made("cpu (1 threads), float32")
