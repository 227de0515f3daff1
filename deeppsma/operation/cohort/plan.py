"""What is asked for: which cases of a cohort, how they are run, and where results go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deeppsma.core.defaults import DEFAULT_RECIPE, DEVICES
from deeppsma.core.errors import ConfigurationError
from deeppsma.io.cohort import cohort_folders

#: A case that ends its process, or runs out of memory, is begun so often.
TRIES = 3


@dataclass(frozen=True)
class CohortSettings:
    """How every case is run; plain values, for they travel to workers.

    Parameters
    ----------
    recipe, device, weights
        As of `deeppsma.operation.job.Job`.
    report
        Also write each case's page, PDF and figures.
    site, psma_threshold, fdg_threshold
        What is said of DICOM; see `deeppsma.preprocessing.dicom_case`.
    """

    recipe: str = DEFAULT_RECIPE
    device: str = "auto"
    weights: Path | None = None
    report: bool = False
    site: Path | None = None
    psma_threshold: float | None = None
    fdg_threshold: float | None = None

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise ValueError(f"device must be one of {', '.join(DEVICES)}, not {self.device!r}")
        for name in ("psma_threshold", "fdg_threshold"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")


@dataclass(frozen=True)
class CohortRequest:
    """A cohort run.

    Parameters
    ----------
    cohort
        Folder of cases, a folder each, in any layout.
    out
        Results: ``cases/NAME``, tables, summary.
    settings
        How every case is run.
    scheduler
        A Dask scheduler's address, or its file; empty for a cluster on this
        machine.
    workers
        Processes of a cluster on this machine; None to choose.
    retry_failed
        Run again what failed or was refused.
    verify
        Hash inputs and results of what is done, instead of trusting sizes and
        times.
    tries
        How often a case is begun that ends its process.
    case_deadline
        Seconds after which a case is ended and counts as failed; None for
        never. The start of its worker's libraries is part of the first one's.
    """

    cohort: Path
    out: Path
    settings: CohortSettings = CohortSettings()
    scheduler: str = ""
    workers: int | None = None
    retry_failed: bool = False
    verify: bool = False
    tries: int = TRIES
    case_deadline: float | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be 1 or more, not {self.workers}")
        if self.workers is not None and self.scheduler:
            raise ValueError("the workers of a scheduler are started by whoever started it: leave --workers out")
        if self.tries < 1:
            raise ValueError(f"tries must be 1 or more, not {self.tries}")
        if self.case_deadline is not None and self.case_deadline <= 0:
            raise ValueError(f"the case deadline must be above 0, not {self.case_deadline}")
        cohort, out = self.cohort.resolve(), self.out.resolve()
        if cohort == out or cohort in out.parents or out in cohort.parents:
            raise ValueError(f"{self.out} and {self.cohort} lie in one another; give a folder elsewhere")


@dataclass(frozen=True)
class CohortCase:
    """A case of a cohort.

    Parameters
    ----------
    name
        Its folder's name, as it may be written anywhere: UTF-8, printable.
    folder
        What is opened.
    """

    name: str
    folder: Path


@dataclass(frozen=True)
class CaseTask:
    """What a worker is told to run.

    Parameters
    ----------
    case
        Which.
    cohort
        The folder that it belongs to.
    slot
        Where its result goes.
    settings
        How.
    method_key
        What the one who asks expects this worker's method to be; see
        `deeppsma.operation.cohort.key.method_key`.
    attempt
        From 1.
    limit_s
        After so many seconds the case ends its worker; None for never.
    """

    case: CohortCase
    cohort: Path
    slot: Path
    settings: CohortSettings
    method_key: str
    attempt: int = 1
    limit_s: float | None = None


def find_cases(cohort: Path) -> list[CohortCase]:
    """Cases of a cohort, by name: every visible folder.

    Parameters
    ----------
    cohort
        A case in the platform's layout may have its ``input`` in its folder.

    Raises
    ------
    InputError
        If there is none.
    ConfigurationError
        If two are told apart only by what cannot be written.
    """
    cases = [CohortCase(written(folder.name), _opened(folder)) for folder in cohort_folders(cohort)]
    seen: set[str] = set()
    for case in cases:
        if case.name in seen:
            raise ConfigurationError(cohort, f"two cases that are written {case.name}", "rename one of the folders")
        seen.add(case.name)
    return cases


def written(name: str) -> str:
    """A folder's name without what no table or page can hold: such characters become ``%`` and their number."""
    return "".join(each if each.isprintable() else f"%{ord(each):x}" for each in name)


def _opened(folder: Path) -> Path:
    inside = folder / "input"
    return inside if inside.is_dir() else folder
