"""A cohort whose workers and drivers are killed at random: every case is accounted for once, with the right masks.

    python -m benchmarks.cohort_kills FOLDER [--cases 200] [--seed 0]

Makes small synthetic patients and a few that are broken, segments each in one process as a reference, then starts
``deeppsma cohort`` again and again while a seeded killer sends SIGKILL to workers, and SIGKILL or SIGTERM to the
driver, until a start ends by itself. FOLDER keeps the patients; results are made anew.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.cohort_material import small_cohort, tiny_weights
from deeppsma.core.tracer import Tracer
from deeppsma.io.result_folder import mask_path
from deeppsma.operation.cohort.ledger import Ledger, Outcome
from deeppsma.operation.cohort.plan import find_cases
from deeppsma.operation.engine import Engine
from deeppsma.operation.job import Job

RECIPE = "single"
BROKEN = 4


@dataclass
class Killer:
    """Kills processes of a driver.

    Parameters
    ----------
    random
        Seeded.
    worker_every_s, driver_every_s
        Mean times between two kills.
    """

    random: random.Random
    worker_every_s: float
    driver_every_s: float
    killed: Counter[str] = field(default_factory=Counter)

    def watch(self, driver: subprocess.Popen[bytes], limit_s: float) -> None:
        """Kill until the driver has ended; orphans are an error."""
        began = time.monotonic()
        next_worker = began + self.random.expovariate(1 / self.worker_every_s)
        next_driver = began + self.random.expovariate(1 / self.driver_every_s)
        while driver.poll() is None:
            now = time.monotonic()
            if now - began > limit_s:
                raise SystemExit(f"the driver did not end in {limit_s:.0f} s")
            if now > next_driver:
                number = self.random.choice([signal.SIGKILL, signal.SIGTERM])
                family = workers_of(driver.pid)
                driver.send_signal(number)
                self.killed[f"driver by {number.name}"] += 1
                driver.wait(30)
                _, alive = psutil.wait_procs(family, timeout=60)
                self.killed["orphans"] += len(alive)
                return
            if now > next_worker:
                next_worker = now + self.random.expovariate(1 / self.worker_every_s)
                if family := workers_of(driver.pid):
                    self.random.choice(family).kill()
                    self.killed["worker"] += 1
            time.sleep(0.05)


def workers_of(pid: int) -> list[psutil.Process]:
    """Worker processes of a driver."""
    try:
        children = psutil.Process(pid).children(recursive=True)
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker-every-s", type=float, default=8.0)
    parser.add_argument("--driver-every-s", type=float, default=60.0)
    options = parser.parse_args()
    began = time.monotonic()
    cohort, weights, out = options.folder / "in", tiny_weights(options.folder / "weights"), options.folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    small_cohort(cohort, options.cases)
    for number in range(BROKEN):
        (cohort / f"broken_{number}").mkdir(exist_ok=True)
        (cohort / f"broken_{number}/inputs.json").write_text("[]", encoding="utf-8")
    made_s = time.monotonic() - began
    reference(cohort, weights, options.folder / "plain")
    plain_s = time.monotonic() - began - made_s
    killer = Killer(random.Random(options.seed), options.worker_every_s, options.driver_every_s)  # noqa: S311
    command = [sys.executable, "-m", "deeppsma", "cohort", str(cohort), str(out), "--recipe", RECIPE, "--workers", "2"]
    command += ["--weights", str(weights), "--device", "cpu"]
    starts = 0
    while True:
        starts += 1
        with (options.folder / "log.txt").open("ab") as log:
            driver = subprocess.Popen(command, stdout=log, stderr=log)
            killer.watch(driver, 3600)
        done = sum(each is Outcome.DONE for each in outcomes(out, cohort).values())
        print(
            f"start {starts}: status {driver.returncode}, {done} done, killed so far {dict(killer.killed)}", flush=True
        )
        if driver.returncode in (0, 8) and Outcome.LEFT not in outcomes(out, cohort).values():
            break
    cohort_s = time.monotonic() - began - made_s - plain_s
    print(f"made in {made_s:.0f} s, plain {plain_s:.0f} s, cohort with kills {cohort_s:.0f} s, load {os.getloadavg()}")
    check(cohort, out, options.folder / "plain", options.cases)


def outcomes(out: Path, cohort: Path) -> dict[str, Outcome]:
    """Of every case asked for, as the disk has it."""
    return Ledger(out).outcomes(case.name for case in find_cases(cohort))


def reference(cohort: Path, weights: Path, out: Path) -> None:
    """Every case as ``deeppsma segment`` has it, in one process; those that are there stay."""
    engine = Engine(RECIPE, "cpu", weights)
    for case in find_cases(cohort):
        if not case.name.startswith("broken") and not (out / case.name / "run_report.json").exists():
            engine.run(Job(case.folder, out / case.name, RECIPE, "cpu", weights))


def check(cohort: Path, out: Path, plain: Path, cases: int) -> None:
    """Exactly one outcome a case, masks as the reference has them, nothing left behind.

    Raises
    ------
    SystemExit
        If not.
    """
    found = outcomes(out, cohort)
    counts = Counter(found.values())
    other = 0
    for name, outcome in found.items():
        if outcome is Outcome.DONE:
            slots = [Ledger(out).slot(name), plain / name]
            one, two = ([mask_path(slot, tracer).read_bytes() for tracer in Tracer] for slot in slots)
            other += one != two
    begun_again = sum((r.attempts > 1) for name in found if (r := Ledger(out).record(name)) is not None)
    remains = list((out / "cases").rglob(".deeppsma-partial-*"))
    print(f"{len(found)} cases: {dict(counts)}; masks that differ: {other}; begun again: {begun_again}")
    for name, outcome in found.items():
        if outcome is Outcome.FAILED and (record := Ledger(out).record(name)) is not None:
            print(f"{name}: {record.line}")
    accounted = len(found) == cases + BROKEN and counts[Outcome.REFUSED] == BROKEN and not counts[Outcome.LEFT]
    if not accounted or other or remains:
        raise SystemExit("not as it should be")


if __name__ == "__main__":
    main()
