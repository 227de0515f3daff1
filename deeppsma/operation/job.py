"""One job from folder to folder: what the command line and the container share."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from deeppsma.core.errors import DeepPsmaError
from deeppsma.core.stopwatch import Stopwatch
from deeppsma.io.case import Case
from deeppsma.io.layouts import load_case
from deeppsma.io.result_folder import output_folder, write_result
from deeppsma.models.store import WeightsStore
from deeppsma.models.weights import NOTICE
from deeppsma.pipeline.recipe import DEFAULT_RECIPE, load_recipe
from deeppsma.pipeline.segment import Segmentation, segment

#: What a shell reports for a process that ran out of memory, was told to end, or wrote to a reader who had left.
EXIT_OUT_OF_MEMORY = 137
EXIT_TERMINATED = 143
EXIT_PIPE = 141
#: A file or folder that the operating system refuses.
EXIT_FILES = 6


class _Terminated(BaseException):
    """SIGTERM or SIGHUP came; passes every ``except Exception`` on its way out, cleaning up."""


@dataclass(frozen=True)
class Job:
    """What to segment, how, and where the result goes.

    Parameters
    ----------
    case, out
        Folders.
    recipe
        Name of a recipe.
    device
        "auto", "cuda" or "cpu".
    weights
        Folder with members that come before the shipped ones, or None.
    picture
        Also write the projections.
    """

    case: Path
    out: Path
    recipe: str = DEFAULT_RECIPE
    device: str = "auto"
    weights: Path | None = None
    picture: bool = False


def run_job(job: Job, show_progress: bool = False) -> list[Path]:
    """Segment a case and write the result; returns the files written.

    Raises
    ------
    DeepPsmaError
        One line that names cause and remedy. ``job.out`` holds no result
        then.
    """
    watch = Stopwatch()
    with output_folder(job.out) as staging:
        with watch.stage("read headers"):
            case = load_case(job.case)
            recipe = load_recipe(job.recipe)
            store = WeightsStore.default(job.weights)
        result = segment(case, recipe, store, job.device, _bar if show_progress else None, watch)
        for line in result.report.fallbacks:
            print(f"note: {line}", file=sys.stderr)
        picture = _picture(job.case, case, result) if job.picture else None
        return write_result(staging, job.out, result.masks, result.report.as_dict(), picture)


def guarded(work: Callable[[], None]) -> int:
    """Run ``work``; turn what goes wrong into one last line on stderr and an exit status."""

    def terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise _Terminated

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, terminate)
    try:
        return _piped(work)
    except DeepPsmaError as error:
        return _fail(str(error), error.exit_code)
    except MemoryError as error:
        return _fail(f"out of memory ({error}); give the process more memory", EXIT_OUT_OF_MEMORY)
    except _Terminated:
        return _fail("terminated from outside (a time limit?); no result was written", EXIT_TERMINATED)
    except KeyboardInterrupt:
        return _fail("interrupted; no result was written", 130)
    except OSError as error:
        where = error.filename or "a file"
        return _fail(f"{where}: {error.strerror or error}; check the path, and that this user may use it", EXIT_FILES)


def _piped(work: Callable[[], None]) -> int:
    try:
        work()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has seen enough ('| head')
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    return 0


def _fail(line: str, status: int) -> int:
    sys.stdout.flush()
    print(f"deeppsma: error: {line}", file=sys.stderr, flush=True)
    return status


def _bar(total: int) -> Callable[[], None]:
    from tqdm import tqdm

    bar = tqdm(total=total, desc="network", unit="window", leave=False)

    def advance() -> None:
        bar.update()
        if bar.n >= total:
            bar.close()

    return advance


def _picture(folder: Path, case: Case, result: Segmentation) -> bytes:
    from deeppsma.reporting.pictures import kind_of_patient, overview

    return overview(
        {tracer: case.study(tracer).read_pet() for tracer in case.tracers},
        result.masks,
        case.thresholds,
        note=f"{kind_of_patient(folder)}{case.name}, recipe {result.report.recipe['name']}. {NOTICE}",
    )
