"""A cohort from folder to folder: what is missing is run, and every case is accounted for."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from deeppsma.core.errors import OutputError
from deeppsma.core.interruption import state_outcome, undone_at_end
from deeppsma.io.publishing import locked
from deeppsma.operation.cohort.cluster import connected, require_dask
from deeppsma.operation.cohort.dispatch import Dispatch, Limits, Stopped
from deeppsma.operation.cohort.key import content, method_key, stamp
from deeppsma.operation.cohort.ledger import Account, CaseRecord, Ledger, Outcome
from deeppsma.operation.cohort.plan import CaseTask, CohortCase, CohortRequest, find_cases
from deeppsma.operation.cohort.standing import Standings
from deeppsma.operation.cohort.workers import Attempt, Kind, run_case

#: Told the account when work begins, and after each case that ends.
Progress = Callable[[Account], None]


@dataclass(frozen=True)
class CohortEnd:
    """How a cohort run ended.

    Parameters
    ----------
    account
        Of the cases that were asked for.
    not_done
        Why, by case, of those that were refused or failed.
    stopped
        Why cases are left; None if none is.
    """

    account: Account
    not_done: Mapping[str, str]
    stopped: Stopped | None


class _Tally:
    """Counts as cases end."""

    def __init__(self, outcomes: Mapping[str, Outcome], progress: Progress | None) -> None:
        self._asked, self._counts, self._progress = len(outcomes), Counter(outcomes.values()), progress
        self.tell()

    def end(self, outcome: Outcome) -> None:
        self._counts[Outcome.LEFT] -= 1
        self._counts[outcome] += 1
        self.tell()

    def tell(self) -> None:
        if self._progress is not None:
            self._progress(self.account)

    @property
    def account(self) -> Account:
        return Account(self._asked, **{each.value: self._counts[each] for each in Outcome})


def run_cohort(
    request: CohortRequest,
    work: Callable[[CaseTask], Attempt] = run_case,
    progress: Progress | None = None,
    limits: Limits | None = None,
) -> CohortEnd:
    """Run what is missing of a cohort.

    Parameters
    ----------
    request
        What is asked for.
    work
        What a worker runs; tests and benchmarks give stand-ins.
    progress
        Told how it goes.
    limits
        When to give up.

    Raises
    ------
    DeepPsmaError
        If nothing can be begun.
    """
    require_dask()
    cases = {case.name: case for case in find_cases(request.cohort)}
    key, ledger = method_key(request.settings), Ledger(request.out)
    try:
        with locked(request.out):
            ledger.ask(request, key, {name: str(case.folder) for name, case in cases.items()})
            standings = Standings(ledger, key, request.verify, request.retry_failed)
            outcomes = {case.name: outcome for case, outcome in standings.of_all(list(cases.values()))}
            tally = _Tally(outcomes, progress)
            left = [cases[name] for name, outcome in outcomes.items() if outcome is Outcome.LEFT]
            stopped = _run(request, key, left, tally, work, limits or Limits(request.tries)) if left else None
            # What lies on the disk counts, not what was heard of it.
            return CohortEnd(Account.of(ledger.outcomes(cases)), _not_done(ledger, cases), stopped)
    except OSError as error:
        found = f"cannot be written to ({error.strerror or error})"
        raise OutputError(error.filename or request.out, found, "check the folder's free space and rights") from None


def _run(
    request: CohortRequest,
    key: str,
    left: list[CohortCase],
    tally: _Tally,
    work: Callable[[CaseTask], Attempt],
    limits: Limits,
) -> Stopped | None:
    ledger = Ledger(request.out)

    def ended(attempt: Attempt, task: CaseTask) -> None:
        if attempt.kind is Kind.GIVEN_UP:
            ledger.write(_given_up(attempt, task))
        tally.end(Outcome.FAILED if attempt.kind is Kind.GIVEN_UP else Outcome(attempt.kind.value))

    def stated() -> None:
        state_outcome(f"{tally.account}; start it again to go on")

    tasks = [
        CaseTask(case, request.cohort, ledger.slot(case.name), request.settings, key, limit_s=request.case_deadline)
        for case in left
    ]
    with undone_at_end(stated), connected(request.scheduler, request.workers, request.settings.device) as client:
        return Dispatch(client, work, limits, ended).run(tasks)


def _given_up(attempt: Attempt, task: CaseTask) -> CaseRecord:
    """Record of a case that no worker could end."""
    record = CaseRecord(task.case.name, Outcome.FAILED, attempt.line, task.method_key, attempts=task.attempt)
    record = replace(record, host=socket.gethostname(), ended=datetime.now(UTC).isoformat(timespec="seconds"))
    with suppress(OSError):
        record = replace(record, stamp=stamp(task.case.folder), content=content(task.case.folder))
    return record


def _not_done(ledger: Ledger, cases: Mapping[str, CohortCase]) -> dict[str, str]:
    records = {name: ledger.record(name) for name in cases}
    return {name: record.line for name, record in records.items() if record is not None and record.line}
