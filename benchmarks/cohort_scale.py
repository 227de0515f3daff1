"""What a cohort costs beside the networks, and what a second worker brings.

    python -m benchmarks.cohort_scale FOLDER --stubs 10000
    python -m benchmarks.cohort_scale FOLDER --cases 40

``--stubs``: that many cases whose result is a stand-in go through scheduler, worker, hashes, records and tables.
``--cases``: small synthetic patients and a tiny network, in one process, then with one worker, then with two.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.cohort_material import small_cohort, tiny_weights
from deeppsma.core.threads import prepare_threads
from deeppsma.operation.cohort.ledger import Account, Ledger
from deeppsma.operation.cohort.plan import CaseTask, CohortRequest, CohortSettings, find_cases
from deeppsma.operation.cohort.run import CohortEnd, run_cohort
from deeppsma.operation.cohort.summary import Gathered, write_summary
from deeppsma.operation.cohort.tables import case_lines, write_tables
from deeppsma.operation.cohort.workers import Attempt, Made, run_case

_REPORT = {
    "notice": "Not for clinical use.",
    "findings": {tracer: {"volume_ml": 1.0, "components": 1, "threshold_suv": 3.0} for tracer in ("psma", "fdg")},
    "recipe": {"name": "single"},
    "fallbacks": [],
}


def stub_work(task: CaseTask) -> Attempt:
    """All that is done with a case but segmenting it."""
    return run_case(task, _stand_in)


def _stand_in(task: CaseTask) -> Made:
    task.slot.mkdir(parents=True, exist_ok=True)
    (task.slot / "run_report.json").write_text(json.dumps(_REPORT), encoding="utf-8")
    return Made("none: a stand-in")


def cpu_s() -> float:
    """Processor time of this process and of children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def timed(name: str, work: Callable[[], object], cases: int) -> object:
    """Run, and print what it took."""
    began, cpu_began = time.monotonic(), cpu_s()
    result = work()
    wall, cpu = time.monotonic() - began, cpu_s() - cpu_began
    each = f"{1000 * wall / cases:.1f} ms and {1000 * cpu / cases:.1f} CPU ms a case"
    print(f"{name}: {wall:.1f} s, {cpu:.1f} CPU s; {each}; load {os.getloadavg()[0]:.1f}", flush=True)
    return result


def stubs(folder: Path, count: int) -> None:
    """Cases without images through everything.

    Raises
    ------
    SystemExit
        If a case is not accounted for as done.
    """
    for number in range(count):
        place = folder / f"in/{number:06d}"
        if not place.exists():
            place.mkdir(parents=True)
            (place / "image").write_bytes(number.to_bytes(8, "little"))
    request = CohortRequest(folder / "in", folder / "out", CohortSettings("single", "cpu"), workers=2)
    shutil.rmtree(request.out, ignore_errors=True)
    end = timed("first start", lambda: run_cohort(request, stub_work), count)
    again = timed("second start", lambda: run_cohort(request, stub_work), count)
    ledger = Ledger(request.out)
    gathered = Gathered()
    timed("tables", lambda: write_tables(ledger, gathered.passing(case_lines(ledger))), count)
    timed("summary", lambda: write_summary(ledger, gathered), count)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    assert isinstance(end, CohortEnd)
    assert isinstance(again, CohortEnd)
    print(f"{end.account}; again: {again.account}; the driver's peak {peak_mb:.0f} MB")
    if not end.account == again.account == Account(count, done=count):
        raise SystemExit("not as it should be")


def scaling(folder: Path, count: int) -> None:
    """The same patients in one process, by one worker, and by two."""
    from deeppsma.operation.engine import Engine
    from deeppsma.operation.job import Job

    weights = tiny_weights(folder / "weights")
    small_cohort(folder / "in", count)
    cases = find_cases(folder / "in")
    for name in ("plain", "one", "two"):
        shutil.rmtree(folder / name, ignore_errors=True)
    engine = Engine("single", "cpu", weights)

    def plain() -> None:
        for case in cases:
            engine.run(Job(case.folder, folder / "plain" / case.name, "single", "cpu", weights))

    timed("one process, no cohort", plain, count)
    settings = CohortSettings("single", "cpu", weights)
    for name, workers in (("one", 1), ("two", 2)):
        request = CohortRequest(folder / "in", folder / name, settings, workers=workers)
        end = timed(f"{name} worker(s)", partial(run_cohort, request), count)
        assert isinstance(end, CohortEnd)
        print(end.account)
        records = [Ledger(folder / name).record(case.name) for case in cases]
        spent = [record for record in records if record is not None]
        print(f"  in workers: {sum(r.cpu_seconds for r in spent) / count:.2f} CPU s a case")


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stubs", type=int, default=0)
    parser.add_argument("--cases", type=int, default=0)
    options = parser.parse_args()
    prepare_threads()
    if options.stubs:
        stubs(options.folder / "stubs", options.stubs)
    if options.cases:
        scaling(options.folder / "cases", options.cases)


if __name__ == "__main__":
    main()
