"""Hands cases to Dask's workers, one to each at a time, and notices what ends without an answer.

Each task is pinned to a worker: Dask would hand a second one to a busy worker, and count it among the victims when the
first one ends the process. A worker that is gone costs the case that it had an attempt; the case is begun again after
the others, so that one that kills its process does not hold them up. One that has used up its time is not.
"""

from __future__ import annotations

import logging
import math
import queue
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from deeppsma.operation.cohort.plan import CaseTask
from deeppsma.operation.cohort.workers import Attempt, Kind

if TYPE_CHECKING:
    from distributed import Client, Future

_log = logging.getLogger("deeppsma")

#: How often it is looked whether workers have come or gone.
_LOOK_S = 0.5
#: How long a scheduler may be silent.
_SILENCE_S = 30.0
#: So long after a case's time is up its worker must be gone; else it hangs where the system cannot end it.
_GRACE_S = 30.0
_ENDED = "ended its process (out of memory, or a crash?)"


@dataclass(frozen=True)
class Stopped:
    """Why cases were left.

    Parameters
    ----------
    line
        For people.
    exit_status
        For the shell.
    """

    line: str
    exit_status: int


@dataclass(frozen=True)
class Limits:
    """When to give up.

    Parameters
    ----------
    tries
        On a case that ends its process, runs out of memory, or is in trouble.
    troubles
        So many cases in trouble one after the other, and none that ends
        otherwise, stop everything.
    no_workers_s
        So long without any worker does, too.
    """

    tries: int = 3
    troubles: int = 4
    no_workers_s: float = 300.0


@dataclass(frozen=True)
class _Running:
    """A case that a worker has."""

    task: CaseTask
    future: Future
    began: float = field(default_factory=time.monotonic)

    def late_s(self) -> float:
        """Seconds since its time was up; negative while there is some left, or no limit."""
        limit_s = self.task.limit_s
        return -math.inf if limit_s is None else time.monotonic() - self.began - limit_s


class Dispatch:
    """Runs tasks on a cluster.

    Parameters
    ----------
    client
        Connected.
    work
        What a worker runs.
    limits
        When to give up.
    ended
        Called once for each case that ends: with its last attempt, and its
        task.
    """

    def __init__(
        self,
        client: Client,
        work: Callable[[CaseTask], Attempt],
        limits: Limits,
        ended: Callable[[Attempt, CaseTask], None],
    ) -> None:
        self._client, self._work, self._limits, self._ended = client, work, limits, ended
        self._waiting: deque[CaseTask] = deque()
        self._running: dict[str, _Running] = {}  # by worker
        self._stuck: set[str] = set()  # workers that hang
        self._answers: queue.SimpleQueue[tuple[str, Future]] = queue.SimpleQueue()
        self._workers: frozenset[str] = frozenset()
        self._looked = self._last_seen = 0.0
        self._troubles = 0

    def run(self, tasks: Sequence[CaseTask]) -> Stopped | None:
        """Run all; gives why some are left, None if none is."""
        self._waiting.extend(tasks)
        self._last_seen = time.monotonic()
        while self._waiting or self._running:
            if (stopped := self._look()) is not None:
                return stopped
            self._hand_out()
            try:
                worker, future = self._answers.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            if (stopped := self._answer(worker, future)) is not None:
                return stopped
        return None

    def _look(self) -> Stopped | None:
        """Who is there; what those had who are gone is begun again."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return None
        self._looked = now
        try:
            there = self._client.sync(self._client.scheduler.ncores, workers=None, callback_timeout=_SILENCE_S)
        except (OSError, TimeoutError, RuntimeError) as error:
            return Stopped(f"the scheduler is gone ({type(error).__name__})", 8)
        self._stuck &= set(there)
        self._give_up_what_hangs()
        self._workers = frozenset(there) - self._stuck
        if self._workers:
            self._last_seen = now
        elif now - self._last_seen > self._limits.no_workers_s:
            return Stopped(f"no worker for {self._limits.no_workers_s:.0f} s", 8)
        for worker in [each for each in self._running if each not in self._workers]:
            if self._running[worker].future.status == "finished":  # its answer is on the way
                continue
            gone = self._running.pop(worker)
            gone.future.cancel(force=True, msg="its worker is gone")
            self._lost(gone)
        return None

    def _give_up_what_hangs(self) -> None:
        """End cases whose workers are there long after their time is up: nothing more is handed to those."""
        for worker, running in list(self._running.items()):
            if running.late_s() > _GRACE_S and running.future.status != "finished":
                del self._running[worker]
                running.future.cancel(force=True, msg="it hangs")
                self._stuck.add(worker)
                self._too_late(running.task)

    def _lost(self, running: _Running) -> None:
        """What becomes of a case whose process has ended: it is begun again, unless its time was up."""
        if running.late_s() >= 0:
            self._too_late(running.task)
        else:
            self._again(running.task, _ENDED)

    def _too_late(self, task: CaseTask) -> None:
        line = f"not done within {task.limit_s:.6g} s (--case-deadline)"
        _log.warning("%s: %s", task.case.name, line)
        self._ended(Attempt(task.case.name, Kind.GIVEN_UP, line), task)

    def _hand_out(self) -> None:
        for worker in sorted(self._workers - self._running.keys()):
            if not self._waiting:
                return
            task, began = self._waiting.popleft(), time.monotonic()
            future = self._client.submit(self._work, task, workers=[worker], pure=False, retries=0)
            self._running[worker] = _Running(task, future, began)
            future.add_done_callback(lambda done, worker=worker: self._answers.put((worker, done)))

    def _answer(self, worker: str, future: Future) -> Stopped | None:
        if worker not in self._running or self._running[worker].future is not future:
            return None  # was given up before
        if future.status in {"cancelled", "lost"}:
            self._looked = 0.0
            if (stopped := self._look()) is not None:
                return stopped
            if worker in self._running:
                self._again(self._running.pop(worker).task, "its answer was lost")
            return None
        running = self._running.pop(worker)
        task = running.task
        try:
            attempt = future.result(timeout=_SILENCE_S)
        except Exception as error:  # noqa: BLE001 - Dask raises whatever it could not do
            if type(error).__name__ == "KilledWorker":
                self._workers -= {worker}  # until it is seen again, under another address
                self._lost(running)
                return None
            attempt = Attempt(task.case.name, Kind.TROUBLE, f"the worker could not run it: {_line(error)}")
        future.release()
        if attempt.kind is Kind.TROUBLE:
            return self._trouble(attempt, task)
        self._troubles = 0
        if attempt.kind is Kind.SHORT:
            self._again(task, attempt.line)
        else:
            self._ended(attempt, task)
        return None

    def _trouble(self, attempt: Attempt, task: CaseTask) -> Stopped | None:
        self._troubles += 1
        if self._troubles >= self._limits.troubles or not (self._waiting or self._running):
            return Stopped(attempt.line, attempt.exit_status)
        self._again(task, attempt.line)
        return None

    def _again(self, task: CaseTask, line: str) -> None:
        """Begin a case again, after all others; or end it, where it has been begun often enough."""
        name = task.case.name
        if task.attempt >= self._limits.tries:
            times = f"{task.attempt} times" if task.attempt > 1 else "once"
            self._ended(Attempt(name, Kind.GIVEN_UP, f"begun {times}, at last: {line}"), task)
            return
        _log.warning("%s: %s; begun again (attempt %d of %d)", name, line, task.attempt + 1, self._limits.tries)
        self._waiting.append(replace(task, attempt=task.attempt + 1))


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
