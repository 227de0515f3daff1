"""What a worker does with a case. Expected ends are returned, never raised; networks stay loaded in the process.

A case is refused if its files cannot be used, and failed if a bug shows. Everything that other cases would meet, too
(no space left, a share that went away, weights that are not those of whoever asks) is trouble, and so is short memory:
nothing is recorded, and whoever asked decides whether the case is begun again.
"""

from __future__ import annotations

import resource
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from deeppsma.core.errors import ConfigurationError, DeepPsmaError, InputError, OutputError, WeightsError
from deeppsma.core.hashing import file_sha256
from deeppsma.core.memory import short_of_memory
from deeppsma.core.whole_files import PARTIAL_SUFFIX
from deeppsma.operation.cohort.key import content, method_key, stamp
from deeppsma.operation.cohort.ledger import CHANGED_NAME, RECORD_NAME, CaseRecord, Outcome, write_record
from deeppsma.operation.cohort.plan import CaseTask, CohortSettings

if TYPE_CHECKING:
    from deeppsma.operation.engine import Engine
    from deeppsma.preprocessing.dicom_case import DicomOptions

#: Longest traceback that is kept, its end.
_DETAIL_CHARACTERS = 4000

_engines: dict[CohortSettings, tuple[Engine, str]] = {}


class Kind(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    TROUBLE = "trouble"
    SHORT = "short of memory"
    GIVEN_UP = "given up"


@dataclass(frozen=True)
class Attempt:
    """How an attempt at a case ended; small, for it travels back.

    Parameters
    ----------
    name
        Of the case.
    kind
        How.
    line
        Why it is not done.
    exit_status
        Of the trouble, for the shell.
    """

    name: str
    kind: Kind
    line: str = ""
    exit_status: int = 1


@dataclass(frozen=True)
class Made:
    """A result that lies in its slot.

    Parameters
    ----------
    device
        Where the networks ran, and in which precision.
    notes
        What was not done beside the masks, a line each.
    """

    device: str
    notes: tuple[str, ...] = ()


#: Makes a case's result in its slot.
Compute = Callable[[CaseTask], Made]


def run_case(task: CaseTask, compute: Compute | None = None) -> Attempt:
    """Run a case, and record what became of it in its slot.

    Parameters
    ----------
    task
        What to do.
    compute
        Makes the result; by default the networks do.
    """
    with _ends_after(task.limit_s):
        return _run_case(task, compute)


@contextmanager
def _ends_after(limit_s: float | None) -> Iterator[None]:
    """The system ends this process if what is done within takes longer; whoever handed out the case says so.

    No thread of its own could: code that hangs may hold the interpreter's lock.
    """
    if limit_s is None:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, limit_s)  # nobody handles SIGALRM here: it ends the process
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _run_case(task: CaseTask, compute: Compute | None) -> Attempt:
    name, began, cpu_began = task.case.name, time.monotonic(), _cpu_s()
    try:
        before = _look_at(task)
        (task.slot / RECORD_NAME).unlink(missing_ok=True)  # from here on the earlier result is none
        record = _attempt(task, before, compute or segment_case)
        spent = {"seconds": round(time.monotonic() - began, 3), "cpu_seconds": round(_cpu_s() - cpu_began, 3)}
        where = {"host": socket.gethostname(), "ended": datetime.now(UTC).isoformat(timespec="seconds")}
        record = replace(record, attempts=task.attempt, **spent, **where)  # type: ignore[arg-type]
        write_record(task.slot, record)
        (task.slot / CHANGED_NAME).unlink(missing_ok=True)
    except _TroubleError as trouble:
        return Attempt(name, Kind.TROUBLE, trouble.line, trouble.exit_status)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a worker must outlive whatever a case does
        if (said := short_of_memory(error)) is not None:
            return Attempt(name, Kind.SHORT, f"out of memory ({said})" if said else "out of memory", 137)
        if isinstance(error, OSError):
            return Attempt(name, Kind.TROUBLE, _of_system(error), 6)
        return Attempt(name, Kind.TROUBLE, f"{type(error).__name__}: {error}")
    return Attempt(name, Kind(record.outcome.value), record.line)


class _TroubleError(Exception):
    """What is no fault of the case."""

    def __init__(self, line: str, exit_status: int) -> None:
        super().__init__(line)
        self.line, self.exit_status = line, exit_status


def _look_at(task: CaseTask) -> CaseRecord:
    """A record with the case's hashes, its outcome still open.

    Raises
    ------
    _TroubleError
        If its files are gone, or this process would not do what was asked.
    """
    key = _engine(task.settings)[1]
    if key != task.method_key:
        found = f"{socket.gethostname()} has other weights, another recipe {task.settings.recipe} or another deeppsma"
        raise _TroubleError(f"{found}; install the same on all nodes", ConfigurationError.exit_code)
    record = CaseRecord(task.case.name, Outcome.REFUSED, "not run", key)
    try:
        return replace(record, stamp=stamp(task.case.folder), content=content(task.case.folder))
    except PermissionError as error:
        line = f"{error.filename}: this user may not read it; give the user read access to it"
        return replace(record, line=line, stamp="")
    except OSError as error:
        raise _TroubleError(f"{_of_system(error)}; is the share still there?", 6) from None


def _attempt(task: CaseTask, before: CaseRecord, compute: Compute) -> CaseRecord:
    if not before.content:
        return before
    try:
        made = compute(task)
    except (OutputError, WeightsError, ConfigurationError) as error:
        raise _TroubleError(str(error), error.exit_code) from None
    except DeepPsmaError as error:
        _still_there(task, before, error)
        return replace(before, line=str(error))
    except (Exception, SystemExit) as error:
        if short_of_memory(error) is not None or isinstance(error, OSError):
            raise
        line = " ".join(f"a bug: {type(error).__name__}: {error}".split())[:300]
        return replace(before, outcome=Outcome.FAILED, line=line, detail=traceback.format_exc()[-_DETAIL_CHARACTERS:])
    files = {str(path.relative_to(task.slot)): file_sha256(path) for path in _results(task.slot)}
    return replace(before, outcome=Outcome.DONE, line="", device=made.device, notes=made.notes, files=files)


def _still_there(task: CaseTask, before: CaseRecord, error: DeepPsmaError) -> None:
    """A case is blamed only if its files are there, can be read, and are those that were read.

    Raises
    ------
    _TroubleError
        If not.
    """
    try:
        same = content(task.case.folder) == before.content
    except OSError as problem:
        raise _TroubleError(f"{_of_system(problem)}; is the share still there?", 6) from None
    if not same:
        raise _TroubleError(f"{error} (its files changed meanwhile)", InputError.exit_code)


def _results(slot: Path) -> list[Path]:
    ours = (RECORD_NAME, CHANGED_NAME)
    files = (path for path in sorted(slot.rglob("*")) if path.is_file())
    return [p for p in files if p.name not in ours and p.suffix != PARTIAL_SUFFIX and not _hidden(p, slot)]


def _hidden(path: Path, slot: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(slot).parts)


def _engine(settings: CohortSettings) -> tuple[Engine, str]:
    """The process's engine, and the key of what it would do; made once."""
    if settings not in _engines:
        from deeppsma.operation.engine import Engine

        _engines[settings] = Engine(settings.recipe, settings.device, settings.weights), method_key(settings)
    return _engines[settings]


def segment_case(task: CaseTask) -> Made:
    """Segment a case into its slot, with lesion table, thumbnail and, where wanted, report.

    Raises
    ------
    DeepPsmaError
        As of `deeppsma.operation.job.run_job`.
    """
    from deeppsma.io.case import Case
    from deeppsma.operation.cohort.case_files import write_lesions, write_thumbnail
    from deeppsma.operation.job import Job
    from deeppsma.pipeline.segment import Segmentation

    settings, opened = task.settings, list[tuple[Case, Segmentation]]()

    def beside(staging: Path, case: Case, result: Segmentation) -> None:
        opened.append((case, result))
        write_thumbnail(staging, case, result)

    dicom = _dicom_options(settings)
    job = Job(task.case.folder, task.slot, settings.recipe, settings.device, settings.weights, dicom=dicom)
    _, report = _engine(settings)[0].run(job, beside)
    case, result = opened.pop()
    return Made(report.device, write_lesions(task, case, result))


def _dicom_options(settings: CohortSettings) -> DicomOptions:
    from deeppsma.core.tracer import Tracer
    from deeppsma.io.dicom.site import read_site
    from deeppsma.preprocessing.dicom_case import DicomOptions

    given = {Tracer.PSMA: settings.psma_threshold, Tracer.FDG: settings.fdg_threshold}
    thresholds = {tracer: value for tracer, value in given.items() if value is not None}
    return DicomOptions(read_site(settings.site, ()), thresholds)


def _of_system(error: OSError) -> str:
    return f"{error.filename or 'a file'}: {error.strerror or error}"


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
