"""The node at work: one loop that pairs, runs and sends, one job at a time, beside a receiver in its own threads."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deeppsma.core.errors import InputError
from deeppsma.io.dicom.site import Site, read_site
from deeppsma.operation.metrics import Metrics
from deeppsma.operation.node.child import run_process, segment_command
from deeppsma.operation.node.jobs import QUEUED, SENDING, JobStore, NodeJob
from deeppsma.operation.node.pairing import StudyFacts, is_whole, look_at, ready_jobs
from deeppsma.operation.node.receiver import Receiver
from deeppsma.operation.node.sender import AwayError, RefusedError, has_all, result_objects, send
from deeppsma.operation.node.settings import NodeSettings
from deeppsma.operation.node.spool import Spool, StoredStudy, write_whole
from deeppsma.operation.serve import log

_DAY_S = 86400.0
_POLL_S, _NAP_S, _SWEEP_S, _METRICS_S = 1.0, 0.1, 600.0, 15.0
_BACKOFF_MAX_S = 3600.0
#: Where results lie below a job's output.
RESULT_FOLDER = "dicom"
Command = Callable[[Path, Path], Sequence[str]]


class Node:
    """Everything but the signals; made after the storage folder has been locked.

    Parameters
    ----------
    settings
        Of the hospital.
    command
        What runs a job, of its images' folder and the result's; ``deeppsma segment`` unless told.
    poll_s
        How often it looks for work.
    """

    def __init__(self, settings: NodeSettings, command: Command | None = None, poll_s: float = _POLL_S) -> None:
        self.settings, self._poll_s = settings, poll_s
        self._command = command or (lambda images, out: segment_command(settings.run, images, out))
        self._storage = Path(settings.storage)
        self.spool = Spool(self._storage)
        self.jobs = JobStore(self._storage, self.spool)
        self.receiver = Receiver(settings.receive, self.spool, settings.keep.free_gb_min * 1e9)
        self.metrics = Metrics({"recipe": settings.run.recipe})
        self._site = read_site(Path(settings.run.site)) if settings.run.site else Site()
        self._facts: dict[tuple[str, str, float], StudyFacts] = {}
        # No lock: it is set by a signal's handler, which would wait for the very thread that it interrupts.
        self._stopping = False
        self._next_sweep = self._next_metrics = 0.0

    def stop(self) -> None:
        """Let `serve` end soon; a job that runs is begun anew at the next start."""
        self._stopping = True

    def serve(self) -> None:
        """Listen and work until `stop`.

        Raises
        ------
        ConfigurationError
            If the port cannot be had.
        """
        port = self.receiver.start()
        self.metrics.ready = True
        log("node listens", ae_title=self.settings.receive.ae_title, port=port, **self.jobs.counts())
        try:
            while not self._stopping:
                if not self.step():
                    self._pause()
        finally:
            self.receiver.stop()
            log("node stopped", **self.jobs.counts())

    def _pause(self) -> None:
        until = time.monotonic() + self._poll_s
        while not self._stopping and time.monotonic() < until:
            time.sleep(_NAP_S)

    def step(self) -> bool:
        """Do what is due: make jobs, sweep, and run or send one job; False if there was none."""
        self._make_jobs()
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + _SWEEP_S
            self.sweep()
        if time.monotonic() >= self._next_metrics:
            self._next_metrics = time.monotonic() + _METRICS_S
            self._write_metrics()
        now = time.time()
        due = [job for job in self.jobs.active() if job.not_before <= now]
        # Results first: they are someone's answer.
        for job in sorted(due, key=lambda one: one.state != SENDING):
            self._guarded(job)
            self._next_metrics = 0.0
            return True
        return False

    def sweep(self) -> None:
        """Forget what is older than it may be."""
        keep = self.settings.keep
        for study in self.spool.sweep(keep.waiting_days * _DAY_S):
            log("study expired", study=study.key)
        for job in self.jobs.sweep(keep.results_days * _DAY_S, keep.dead_days * _DAY_S):
            log("job forgotten", job=job.key, state=job.state)

    def _make_jobs(self) -> None:
        stored = {(study.patient, study.key): study for study in self.spool.studies()}
        now, facts = time.time(), []
        seen = {}
        for (patient, key), study in stored.items():
            if now - study.arrived < self.settings.pair.quiet_s:
                facts.append(StudyFacts(patient, key, study.arrived, None, frozenset()))  # still coming: not looked at
                continue
            known = self._facts.get((patient, key, study.arrived)) or look_at(study, self._site)
            seen[patient, key, study.arrived] = known
            facts.append(known)
        before, self._facts = self._facts, seen
        taken = set()
        for ready in ready_jobs(facts, self.settings.pair, now):
            self._made([stored[one.patient, one.key] for one in ready])
            taken |= {(one.patient, one.key) for one in ready}
        for one in facts:
            arrival = one.patient, one.key, one.arrived
            if arrival not in before and arrival[:2] not in taken and is_whole(one, self.settings.pair, now):
                self._came_again(stored[one.patient, one.key])

    def _made(self, studies: Sequence[StoredStudy]) -> None:
        job = self.jobs.make(studies)
        log("job", job=job.key, state=job.state, studies=[study.key for study in studies])

    def _came_again(self, study: StoredStudy) -> None:
        """One study of a pair that is at work or done: it would end as a second result, of one tracer."""
        job = self.jobs.of_pair(study.fingerprint())
        if job is not None:
            job = self.jobs.take_again(job, study)
            log("study came again", job=job.key, state=job.state)

    def _guarded(self, job: NodeJob) -> None:
        """A job's step; a bug in it counts as an attempt that failed, and does not end the node."""
        try:
            if job.state == QUEUED:
                self._run(job)
            else:
                self._send(job)
        except Exception as error:  # noqa: BLE001 - the next job must find a node
            # Where, not what: messages of libraries may quote headers.
            log("bug", job=job.key, error=type(error).__name__, at=traceback.format_tb(error.__traceback__)[-1])
            for fresh in self.jobs.active():
                if fresh.key == job.key:
                    counted = max(fresh.attempts, job.attempts + 1)
                    self._failed(self.jobs.update(fresh, attempts=counted), f"a bug: {type(error).__name__}")

    def _run(self, job: NodeJob) -> None:
        if self.jobs.output(job).is_dir():  # killed between the result and its state
            self.jobs.result_kept(job)
            return
        if job.attempts >= self.settings.run.attempts:
            self._give_up(job, f"begun {job.attempts} times and never ended (the node was killed, or out of memory)")
            return
        job = self.jobs.begin(job)
        log("job begins", job=job.key, attempt=job.attempts)
        began, self.metrics.busy = time.monotonic(), True
        try:
            command = self._command(self.jobs.input(job), self.jobs.attempt(job))
            said = self.jobs.folder(job) / "said.txt"
            ended = run_process(command, said, self.settings.run.time_limit_s, lambda: self._stopping)
        finally:
            self.metrics.busy = False
        seconds = time.monotonic() - began
        if ended.status is None:
            self.jobs.update(job, attempts=job.attempts - 1)
            log("job interrupted", job=job.key)
            return
        if ended.status == 0 and not any((self.jobs.attempt(job) / RESULT_FOLDER).rglob("*.dcm")):
            self._failed(job, "no DICOM object was written", seconds)
        elif ended.status == 0:
            said.unlink(missing_ok=True)
            self.jobs.keep_result(job)
            self.metrics.case("done", seconds)
            log("job done", job=job.key, seconds=round(seconds, 3))
        elif ended.status == InputError.exit_code:  # the same images would be refused again
            self.metrics.case("failed", seconds)
            self._give_up(job, ended.line)
        else:
            self._failed(job, ended.line, seconds, ended.status)

    def _send(self, job: NodeJob) -> None:
        away: list[str] = []
        refused: list[str] = []
        try:
            objects = result_objects(self.jobs.output(job) / RESULT_FOLDER)
        except RefusedError as error:
            self._give_up(job, str(error))
            return
        for to in self.settings.send:
            if to.name in job.delivered:
                continue
            try:
                # An archive that passes a study on whenever something of it is new would have it come for ever.
                there = job.again and has_all(objects, to, self.settings.receive.ae_title)
                if not there:
                    send(objects, to, self.settings.receive.ae_title)
            except AwayError as error:
                away.append(str(error))
                log("destination away", job=job.key, to=to.name)
            except RefusedError as error:
                refused.append(str(error))
                log("result refused", job=job.key, to=to.name)
            else:
                job = self.jobs.update(job, delivered=(*job.delivered, to.name))
                log("result sent", job=job.key, to=to.name, objects=0 if there else len(objects), confirmed=to.confirm)
        if refused:
            self._failed(self.jobs.update(job, attempts=job.attempts + 1), refused[0])
        elif not away:
            self.jobs.finish(job)
            log("job finished", job=job.key)
        elif time.time() - job.made > self.settings.keep.waiting_days * _DAY_S:
            self._give_up(job, f"for {self.settings.keep.waiting_days:g} days: {away[0]}")
        else:
            pause_s = self._pause_s(job.absences)
            self.jobs.update(job, absences=job.absences + 1, not_before=time.time() + pause_s, reason=away[0])

    def _failed(self, job: NodeJob, reason: str, seconds: float | None = None, status: int = 0) -> None:
        """An attempt has failed: again later, or no more."""
        if seconds is not None:
            self.metrics.case("failed", seconds)
        if job.attempts >= self.settings.run.attempts:
            self._give_up(job, reason)
            return
        pause_s = self._pause_s(job.attempts - 1)
        self.jobs.update(job, not_before=time.time() + pause_s, reason=reason)
        log("attempt failed", job=job.key, state=job.state, attempt=job.attempts, status=status, again_in_s=pause_s)

    def _give_up(self, job: NodeJob, reason: str) -> None:
        self.jobs.give_up(job, reason)
        log("job given up", job=job.key, state=job.state, attempts=job.attempts)

    def _pause_s(self, failures: int) -> float:
        return min(self.settings.run.backoff_s * 2.0 ** min(failures, 20), _BACKOFF_MAX_S)

    def _write_metrics(self) -> None:
        """``metrics.prom`` in the storage folder, for Prometheus's textfile collector."""
        counts: dict[str, Any] = {**self.jobs.counts(), "waiting": sum(1 for _ in self.spool.studies())}
        lines = ["# TYPE deeppsma_node_jobs gauge"]
        lines += [f'deeppsma_node_jobs{{state="{state}"}} {count}' for state, count in counts.items()]
        write_whole(self._storage / "metrics.prom", (self.metrics.text() + "\n".join(lines) + "\n").encode())
