"""Which cases have to be run: those whose result is missing, or was made of other files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from deeppsma.core.hashing import file_sha256
from deeppsma.operation.cohort.key import content, stamp
from deeppsma.operation.cohort.ledger import (
    CHANGED_NAME,
    RECORD_NAME,
    CaseRecord,
    Ledger,
    Outcome,
    read_record,
    write_record,
)
from deeppsma.operation.cohort.plan import CohortCase

#: To look at files of a share is to wait.
_THREADS = 16


@dataclass(frozen=True)
class Standings:
    """Tells what stands of a case.

    Parameters
    ----------
    ledger
        Of the results that are there.
    key
        Of the method.
    verify
        Hash what is done, instead of trusting sizes and times.
    retry
        Run again what failed or was refused.
    """

    ledger: Ledger
    key: str
    verify: bool = False
    retry: bool = False

    def of_all(self, cases: Sequence[CohortCase]) -> Iterator[tuple[CohortCase, Outcome]]:
        """Of each case, in their order; `Outcome.LEFT` are to be run."""
        with ThreadPoolExecutor(_THREADS) as pool:
            yield from zip(cases, pool.map(self.of, cases), strict=True)

    def of(self, case: CohortCase) -> Outcome:
        """Of one case."""
        slot = self.ledger.slot(case.name)
        record = read_record(slot / RECORD_NAME)
        try:
            outcome, mixed = (Outcome.LEFT, "") if record is None else self._of_record(case, record)
        except OSError:  # a file of the case cannot be looked at: the worker says what is the matter
            return Outcome.LEFT
        if record is not None and mixed:
            line = f"{slot}: {mixed}; remove that folder to run the case again, or give another output folder"
            changed = CaseRecord(case.name, Outcome.REFUSED, line, record.method_key, ended=record.ended)
            write_record(slot, changed, CHANGED_NAME)
        else:
            (slot / CHANGED_NAME).unlink(missing_ok=True)
        return outcome

    def _of_record(self, case: CohortCase, record: CaseRecord) -> tuple[Outcome, str]:
        """What stands, and why a result that is there is of something else."""
        if record.method_key and record.method_key != self.key:
            return Outcome.REFUSED, "its result was made by another recipe, other weights or another version"
        now = stamp(case.folder)
        if record.outcome is not Outcome.DONE:
            return (record.outcome if now == record.stamp and not self.retry else Outcome.LEFT), ""
        if not self._is_whole(record):
            (self.ledger.slot(case.name) / RECORD_NAME).unlink(missing_ok=True)
            return Outcome.LEFT, ""
        if now != record.stamp or self.verify:
            if content(case.folder) != record.content:
                return Outcome.REFUSED, "its files have changed since its result was made"
            if now != record.stamp:
                self.ledger.write(replace(record, stamp=now))
        return Outcome.DONE, ""

    def _is_whole(self, record: CaseRecord) -> bool:
        slot = self.ledger.slot(record.name)
        for name, sha256 in record.files.items():
            path = slot / name
            if not path.is_file() or (self.verify and file_sha256(path) != sha256):
                return False
        return True
