"""A scheduler and workers that somebody else started, as on a cluster: found by its file, and lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders.cohorts import stub_work, write_stub_case

from deeppsma.core.errors import CohortError, ConfigurationError
from deeppsma.operation.cohort.plan import CohortRequest, CohortSettings
from deeppsma.operation.cohort.run import run_cohort

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def started(tmp_path):
    """A scheduler, and one worker of two threads; gives the scheduler's file and its process."""
    file = tmp_path / "scheduler.json"
    path = os.pathsep.join([str(ROOT), str(ROOT / "test"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    loopback = ["--host", "127.0.0.1", "--no-dashboard"]
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--scheduler-file", str(file), "--port", "0", *loopback]
    worker = [*dask, "worker", "--scheduler-file", str(file), "--nthreads", "2", "--no-nanny", *loopback]
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    processes = [subprocess.Popen(command, **quiet) for command in (scheduler, worker)]
    yield file, processes[0]
    for process in reversed(processes):
        process.kill()
        process.wait(20)


def request(root: Path, file: Path) -> CohortRequest:
    return CohortRequest(root / "in", root / "out", CohortSettings("single"), scheduler=str(file))


def test_a_scheduler_file_is_enough_and_a_scheduler_that_dies_leaves_the_rest(tmp_path, started, monkeypatch):
    monkeypatch.setattr("deeppsma.operation.cohort.dispatch._SILENCE_S", 3.0)
    file, scheduler = started
    for number in range(8):
        write_stub_case(tmp_path / f"in/c{number}", "" if number < 3 else "wait 0.2")
    until = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < until
        time.sleep(0.05)

    def watch(account):
        if account.done == 3:
            scheduler.kill()

    end = run_cohort(request(tmp_path, file), stub_work, watch)
    assert end.stopped is not None
    assert "scheduler" in end.stopped.line
    assert end.account.done + end.account.left == 8
    assert 3 <= end.account.done <= 4  # the one that was being run may have ended
    assert end.account.left >= 4


def test_workers_that_do_not_start_are_tried_again_and_then_one_line(tmp_path, monkeypatch):
    tried = []

    def fail(**_):
        tried.append(1)
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr("distributed.SpecCluster", fail)
    write_stub_case(tmp_path / "in/a")
    asked = CohortRequest(tmp_path / "in", tmp_path / "out", CohortSettings("single"), workers=1)
    with pytest.raises(CohortError, match=r"could not be started, 3 times \(Nanny failed"):
        run_cohort(asked, stub_work)
    assert len(tried) == 3


def test_a_scheduler_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("deeppsma.operation.cohort.cluster._CONNECT_S", 0.5)
    write_stub_case(tmp_path / "in/a")
    with pytest.raises(ConfigurationError, match="no such scheduler file"):
        run_cohort(request(tmp_path, tmp_path / "none.json"), stub_work)
    with pytest.raises(ConfigurationError, match="cannot be reached"):
        run_cohort(request(tmp_path, "tcp://127.0.0.1:9"), stub_work)
