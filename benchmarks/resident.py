"""Whether a process that stays grows: many small cases through the engine of ``deeppsma serve``.

    python -m benchmarks.resident FOLDER [--cases 200] [--recipe second_opinion] [--shipped]

FOLDER gets ten synthetic patients of coarse voxels, which are run in turn, and a tiny random network; with
``--shipped`` the shipped weights are taken.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cohort_material import small_cohort, tiny_weights
from deeppsma.core.threads import prepare_threads
from deeppsma.operation.engine import Engine
from deeppsma.operation.job import Job
from deeppsma.operation.metrics import resident_bytes

_PATIENTS = 10


def resident_mb(engine: Engine, patients: list[Path], cases: int) -> Iterator[float]:
    """Run cases one after the other; gives the resident size after each, MB."""
    with tempfile.TemporaryDirectory() as out:
        for number in range(cases):
            engine.run(Job(patients[number % len(patients)], Path(out), engine.recipe, engine.device, engine.weights))
            yield resident_bytes() / 1e6


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--recipe", default="second_opinion")
    parser.add_argument("--shipped", action="store_true")
    options = parser.parse_args()
    prepare_threads()
    made = small_cohort(options.folder / "patients", _PATIENTS)
    patients = [folder / "input" if (folder / "input").is_dir() else folder for folder in made]
    weights = None if options.shipped else tiny_weights(options.folder / "weights")
    engine = Engine(options.recipe, "cpu", weights)
    engine.warm()
    began, found = time.monotonic(), list[float]()
    for mb in resident_mb(engine, patients, options.cases):
        found.append(mb)
        if len(found) in {1, 20, 50, 100, 200} or len(found) == options.cases:
            used = resource.getrusage(resource.RUSAGE_SELF)
            spent = f"{time.monotonic() - began:.0f} s, {used.ru_utime + used.ru_stime:.0f} CPU s since the start"
            print(
                f"{len(found)} cases: {mb:.0f} MB resident, {max(found):.0f} at most after a case, {spent}", flush=True
            )


if __name__ == "__main__":
    main()
