"""``python -m benchmarks.hostile --cases 10000``: the long run, and its table."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.hostile.material import make_material
from benchmarks.hostile.trials import FORMATS, Trial, Trials


def run_trials(cases: int, seed: int, jobs: int, folder: Path, only: str = "") -> Iterator[Trial]:
    """Run trials 0 to ``cases`` - 1 in ``jobs`` worker processes.

    Parameters
    ----------
    cases, seed
        The same seed gives the same trials, whatever the number of jobs.
    jobs
        Worker processes.
    folder
        A folder of one's own, empty.
    only
        Part of a format's name; empty for all.
    """
    material = make_material(folder / "material")
    parts = [Trials(material, folder / f"job_{job}", seed) for job in range(jobs)]
    if jobs == 1:
        yield from parts[0].run(range(cases), only)
        return
    with ThreadPoolExecutor(jobs) as pool:
        ranges = [range(job, cases, jobs) for job in range(jobs)]
        for done in pool.map(lambda part, numbers: list(part.run(numbers, only)), parts, ranges):
            yield from done


def table(trials: Iterable[Trial]) -> str:
    """Outcomes by format, in Markdown; unclean ones in the last column."""
    counts: dict[str, Counter[str]] = {}
    unclean: Counter[str] = Counter()
    for trial in trials:
        counts.setdefault(trial.format, Counter())[trial.outcome] += 1
        unclean[trial.format] += not trial.clean
    outcomes = sorted({outcome for counter in counts.values() for outcome in counter})
    lines = ["| format | trials | " + " | ".join(outcomes) + " | unclean |"]
    lines.append("| --- |" + " ---: |" * (len(outcomes) + 2))
    for name in [each.name for each in FORMATS if each.name in counts]:
        cells = [str(counts[name][outcome]) for outcome in outcomes]
        lines.append(f"| {name} | {counts[name].total()} | {' | '.join(cells)} | {unclean[name]} |")
    whole = [str(sum(counter[outcome] for counter in counts.values())) for outcome in outcomes]
    total = sum(counter.total() for counter in counts.values())
    lines.append(f"| all | {total} | {' | '.join(whole)} | {unclean.total()} |")
    return "\n".join(lines)


def main() -> int:
    """Entry point; 1 if any trial is unclean."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description=__doc__)
    parser.add_argument("--cases", type=int, default=300, help="trials (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="of all trials (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes (default 1)")
    parser.add_argument("--only", default="", metavar="FORMAT", help="part of a format's name")
    options = parser.parse_args()
    done: list[Trial] = []
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        for trial in run_trials(options.cases, options.seed, options.jobs, Path(folder), options.only):
            done.append(trial)
            if not trial.clean:
                print(f"trial {trial.number} ({trial.format}): {trial.outcome}: {trial.detail}", flush=True)
            if len(done) % 500 == 0:
                print(f"... {len(done)} of {options.cases}, {time.monotonic() - start:.0f} s", flush=True)
    print(f"\n{table(done)}")
    return 0 if all(trial.clean for trial in done) else 1


if __name__ == "__main__":
    sys.exit(main())
