"""What became of each case, in its own folder; everything else about a cohort is made anew from these.

``OUT/cohort.json`` says what was asked for; ``OUT/cases/NAME/cohort_case.json`` what became of a case, written after
its result. A case without it is left: nobody has finished it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from deeppsma._version import __version__
from deeppsma.core.errors import ConfigurationError, InputError, OutputError
from deeppsma.core.settings import from_plain, read_json, write_json
from deeppsma.core.whole_files import PARTIAL_SUFFIX, whole_file
from deeppsma.operation.cohort.plan import CohortRequest

ASKED_NAME, RECORD_NAME, CHANGED_NAME = "cohort.json", "cohort_case.json", "cohort_changed.json"
FORMAT = 1


class Outcome(StrEnum):
    """What became of a case."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    LEFT = "left"


@dataclass(frozen=True)
class CaseRecord:
    """What became of a case that was finished.

    Parameters
    ----------
    name
        Of the case.
    outcome
        Done, refused (its files cannot be used) or failed (a bug, or it
        ended its process, or ran out of memory, each time).
    line
        Why it is not done; empty if it is.
    method_key, stamp, content
        See `deeppsma.operation.cohort.key`; empty where they were not found.
    files
        SHA-256 of each file of the result, by path in the case's folder.
    seconds, cpu_seconds
        That it took, and the process's processor time, in its last attempt.
    attempts
        How often it was begun.
    device
        Where the networks ran, and in which precision.
    notes
        What was not done beside the masks, a line each.
    host
        Of the worker.
    ended
        UTC, ISO 8601.
    detail
        A bug's traceback.
    """

    name: str
    outcome: Outcome
    line: str = ""
    method_key: str = ""
    stamp: str = ""
    content: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    attempts: int = 1
    device: str = ""
    notes: tuple[str, ...] = ()
    host: str = ""
    ended: str = ""
    detail: str = ""

    def __post_init__(self) -> None:
        if self.outcome is Outcome.LEFT:
            raise ValueError("a case that is left has no record")
        if (self.outcome is Outcome.DONE) == bool(self.line):
            raise ValueError(f"{self.name}: a case that is not done says why, and only that")


@dataclass(frozen=True)
class Account:
    """Cases by outcome; each that was asked for is in one of them.

    Parameters
    ----------
    asked, done, refused, failed, left
        How many.

    Raises
    ------
    ValueError
        If they do not add up.
    """

    asked: int
    done: int = 0
    refused: int = 0
    failed: int = 0
    left: int = 0

    def __post_init__(self) -> None:
        if self.asked != self.done + self.refused + self.failed + self.left:
            raise ValueError(f"cases do not add up: {self}")

    @classmethod
    def of(cls, outcomes: Mapping[str, Outcome]) -> Account:
        """Count the outcome of each case."""
        counts = Counter(outcomes.values())
        return cls(len(outcomes), **{each.value: counts[each] for each in Outcome})

    def __str__(self) -> str:
        parts = " + ".join(f"{getattr(self, each.value)} {each.value}" for each in Outcome)
        return f"{self.asked} cases = {parts}"


@dataclass(frozen=True)
class Asked:
    """What was asked for, of all starts into the same folder.

    Parameters
    ----------
    method_key
        Of every result there.
    recipe, version
        For people, and for messages.
    cases
        Folder of each case, by name.
    format
        Of the file.
    """

    method_key: str
    recipe: str
    version: str
    cases: Mapping[str, str]
    format: int = FORMAT


@dataclass(frozen=True)
class Ledger:
    """A cohort's folder of results.

    Parameters
    ----------
    out
        The folder.
    """

    out: Path

    def slot(self, name: str) -> Path:
        """Folder of a case's result."""
        return self.out / "cases" / name

    def record(self, name: str) -> CaseRecord | None:
        """What became of a case; None while it is left, and where the record is damaged: it is run again."""
        changed = read_record(self.slot(name) / CHANGED_NAME)
        return changed if changed is not None else read_record(self.slot(name) / RECORD_NAME)

    def write(self, record: CaseRecord) -> None:
        """Record what became of a case.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        write_record(self.slot(record.name), record)

    def asked(self) -> Asked:
        """What was asked for.

        Raises
        ------
        InputError
            If no cohort was run there, or its file is damaged.
        """
        path = self.out / ASKED_NAME
        if not path.is_file():
            raise InputError(path, "no such file", "give a folder that deeppsma cohort wrote")
        try:
            return from_plain(Asked, read_json(path, "give another folder"))
        except ValueError as error:
            raise InputError(path, f"not what deeppsma cohort writes ({error})", "give another folder") from None

    def ask(self, request: CohortRequest, key: str, cases: Mapping[str, str]) -> Asked:
        """Note what is asked for, with what was asked for before.

        Raises
        ------
        ConfigurationError
            If the folder holds results of another method, or something else.
        """
        before: Mapping[str, str] = {}
        if (self.out / ASKED_NAME).exists():
            found = self.asked()
            if found.method_key != key:
                said = f"holds results of recipe {found.recipe}, deeppsma {found.version}, or of other weights"
                remedy = f"results of recipe {request.settings.recipe}, deeppsma {__version__} need a new folder"
                raise ConfigurationError(self.out, said, remedy)
            before = found.cases
        elif self.out.is_dir() and any(_is_foreign(path.name) for path in self.out.iterdir()):
            raise ConfigurationError(self.out, "holds something else than a cohort's results", "give a new folder")
        asked = Asked(key, request.settings.recipe, __version__, {**before, **cases})
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            write_json(self.out / ASKED_NAME, _plain(asked))
        except OSError as error:
            found_out = f"cannot be written to ({error.strerror})"
            raise OutputError(self.out, found_out, "give a folder that this user may write to") from None
        return asked

    def outcomes(self, names: Iterable[str]) -> dict[str, Outcome]:
        """Outcome of each case, as the folders say."""
        records = {name: self.record(name) for name in names}
        return {name: record.outcome if record is not None else Outcome.LEFT for name, record in records.items()}


def read_record(path: Path) -> CaseRecord | None:
    """A record; None where there is none, or none that can be read."""
    import msgspec

    try:
        return msgspec.json.decode(path.read_bytes(), type=CaseRecord)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None


def write_record(slot: Path, record: CaseRecord, name: str = RECORD_NAME) -> None:
    """Write a record into a case's folder, in one step, and let it reach the disk.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    slot.mkdir(parents=True, exist_ok=True)
    with whole_file(slot / name, lasting=True) as partial:
        partial.write_text(json.dumps(_plain(record), indent=1) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(value)


def _is_foreign(name: str) -> bool:
    """Whether a file is none that a start which was killed at once leaves."""
    return name[0] != "." and name != f"{ASKED_NAME}{PARTIAL_SUFFIX}"
