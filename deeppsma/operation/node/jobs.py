"""Jobs on the disk: a folder each, whose ``job.json`` is the state; replaced in one step, so a kill leaves old or new.

``jobs/KEY`` is at work, ``done/KEY`` was sent and holds the result alone, ``dead/KEY`` was given up, with its images
and ``reason.txt``. A key is made of the images: the same studies again are the same job, and its result, once it is
there, is what is sent, however often; so nothing reaches an archive twice under other UIDs.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from deeppsma.core.settings import from_plain
from deeppsma.operation.node.spool import Spool, StoredStudy, sync_folder, write_whole

GATHERING, QUEUED, SENDING, DONE, DEAD = STATES = ("gathering", "queued", "sending", "done", "dead")
_RECORD = "job.json"
_KEY_DIGITS = 16


@dataclass(frozen=True)
class NodeJob:
    """One or two studies on their way.

    Parameters
    ----------
    key
        Hash of the images.
    state
        "gathering" (studies are being moved in), "queued" (waits or runs), "sending", "done", "dead".
    studies
        Hashes of patient and study, as the spool has them.
    fingerprints
        Of the studies.
    made
        Seconds since 1970.
    attempts
        How often it was begun, or its result refused; counted before it begins, so that a job that takes the whole
        machine down is counted, too.
    absences
        How often a destination was away, for the pause until the next try.
    not_before
        When it is tried next.
    delivered
        Destinations that have all of it.
    again
        Whether it was done, and its studies have come again.
    reason
        Why it was given up, or failed last.
    """

    key: str
    state: str
    studies: tuple[tuple[str, str], ...]
    fingerprints: tuple[str, ...]
    made: float
    attempts: int = 0
    absences: int = 0
    not_before: float = 0.0
    delivered: tuple[str, ...] = ()
    again: bool = False
    reason: str = ""

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"a job is {', '.join(STATES)}, not {self.state!r}")


class JobStore:
    """Makes, finds and moves jobs; one process at a time.

    Parameters
    ----------
    storage
        The node's folder.
    spool
        Where studies come from.
    """

    def __init__(self, storage: Path, spool: Spool) -> None:
        self._spool = spool
        self._jobs, self._done, self._dead = (storage / name for name in ("jobs", "done", "dead"))
        for folder in (self._jobs, self._done, self._dead):
            folder.mkdir(parents=True, exist_ok=True)
        self._recover()

    def folder(self, job: NodeJob) -> Path:
        """Where a job at work lies."""
        return self._jobs / job.key

    def input(self, job: NodeJob) -> Path:
        """Its images."""
        return self.folder(job) / "input"

    def output(self, job: NodeJob) -> Path:
        """Its result; there only when it is whole."""
        return self.folder(job) / "output"

    def attempt(self, job: NodeJob) -> Path:
        """Where the attempt that runs writes: a folder of its own, as one that was killed may still be writing."""
        return self.folder(job) / f"attempt-{job.attempts}"

    def active(self) -> list[NodeJob]:
        """Jobs at work, oldest first."""
        return sorted(_read_all(self._jobs), key=lambda job: (job.made, job.key))

    def counts(self) -> dict[str, int]:
        """How many jobs there are, by state."""
        out = dict.fromkeys(STATES, 0)
        for job in [*self.active(), *_read_all(self._done), *_read_all(self._dead)]:
            out[job.state] += 1
        return out

    def make(self, studies: Sequence[StoredStudy]) -> NodeJob:
        """The job of some studies, which leave the spool; one that has been made before goes on, or is sent again."""
        fingerprints = tuple(sorted(study.fingerprint() for study in studies))
        key = hashlib.sha256(" ".join(fingerprints).encode()).hexdigest()[:_KEY_DIGITS]
        known = self._again(key)
        if known is None:
            names = tuple((study.patient, study.key) for study in studies)
            known = NodeJob(key, GATHERING, names, fingerprints, time.time())
            self.folder(known).mkdir()
            self.update(known)
            return self._gather(known)
        for study in studies:
            self._spool.drop(study)
        return known

    def of_pair(self, fingerprint: str) -> NodeJob | None:
        """The job at work, or done, of two studies of which one is this; it has come again, without the other."""
        for job in [*_read_all(self._jobs), *_read_all(self._done)]:
            if fingerprint in job.fingerprints and len(job.fingerprints) > 1:
                return job
        return None

    def take_again(self, job: NodeJob, study: StoredStudy) -> NodeJob:
        """A study of a job has come again: its result is sent again, if it was; the study leaves the spool."""
        known = self._again(job.key)
        self._spool.drop(study)
        return known or job

    def update(self, job: NodeJob, **changes: Any) -> NodeJob:
        """Write a job's new state; gives it."""
        changed = replace(job, **changes)
        write_whole(self.folder(job) / _RECORD, json.dumps(asdict(changed), indent=1).encode())
        return changed

    def begin(self, job: NodeJob) -> NodeJob:
        """Count an attempt, and clear what earlier ones have left."""
        begun = self.update(job, attempts=job.attempts + 1)
        for remains in self.folder(job).glob("attempt-*"):
            shutil.rmtree(remains, ignore_errors=True)
        return begun

    def keep_result(self, job: NodeJob) -> NodeJob:
        """The attempt has succeeded: its folder is the result from now on."""
        os.rename(self.attempt(job), self.output(job))
        sync_folder(self.folder(job))
        return self.result_kept(job)

    def result_kept(self, job: NodeJob) -> NodeJob:
        """The result is there: what comes next is sending."""
        return self.update(job, state=SENDING, attempts=0, absences=0, not_before=0.0, reason="")

    def finish(self, job: NodeJob) -> NodeJob:
        """All of it has arrived; images go at once."""
        return self._end(self.update(job, state=DONE, reason=""))

    def give_up(self, job: NodeJob, reason: str) -> NodeJob:
        """Put a job aside, with the reason in one line."""
        return self._end(self.update(job, state=DEAD, reason=" ".join(reason.split())))

    def revive(self) -> list[NodeJob]:
        """Take up all jobs that were given up; gives them."""
        return [job for dead in _read_all(self._dead) if (job := self._again(dead.key)) is not None]

    def sweep(self, results_s: float, dead_s: float) -> list[NodeJob]:
        """Forget jobs that ended so long ago; gives them."""
        now, gone = time.time(), []
        for place, age_s in ((self._done, results_s), (self._dead, dead_s)):
            for job in _read_all(place):
                if now - (place / job.key / _RECORD).stat().st_mtime > age_s:
                    _remove(place / job.key)
                    gone.append(job)
        return gone

    def _recover(self) -> None:
        """Go on where a process was killed."""
        for folder in list(self._jobs.iterdir()):
            if not (folder / _RECORD).exists():  # killed before its first state: no study has been moved yet
                _remove(folder)
        for place in (self._done, self._dead):
            for folder in place.iterdir():
                if not (folder / _RECORD).exists():  # half swept
                    _remove(folder)
        for job in self.active():
            if job.state == GATHERING:
                self._gather(job)
            elif job.state in (DONE, DEAD):
                self._end(job)

    def _gather(self, job: NodeJob) -> NodeJob:
        self.input(job).mkdir(exist_ok=True)
        for patient, study in job.studies:
            place = self.input(job) / study
            if not place.exists():
                self._spool.move(patient, study, place)
        return self.update(job, state=QUEUED)

    def _again(self, key: str) -> NodeJob | None:
        """A job that has been made before, at work again; None if there is none."""
        if (self._jobs / key / _RECORD).exists():
            return _read(self._jobs / key)
        for place in (self._done, self._dead):
            if not (place / key / _RECORD).exists():
                continue
            os.rename(place / key, self._jobs / key)
            sync_folder(self._jobs)
            job = _read(self._jobs / key)
            has_result = self.output(job).is_dir()
            fresh = {"attempts": 0, "absences": 0, "not_before": 0.0, "delivered": (), "made": time.time()}
            again = place == self._done
            return self.update(job, state=SENDING if has_result else QUEUED, again=again, **fresh)
        return None

    def _end(self, job: NodeJob) -> NodeJob:
        folder = self.folder(job)
        for remains in folder.glob("attempt-*"):
            shutil.rmtree(remains, ignore_errors=True)
        if job.state == DONE:
            shutil.rmtree(self.input(job), ignore_errors=True)
        else:
            write_whole(folder / "reason.txt", f"{job.reason}\n".encode())
        target = (self._done if job.state == DONE else self._dead) / job.key
        os.rename(folder, target)
        sync_folder(target.parent)
        return job


def _read_all(place: Path) -> list[NodeJob]:
    return [_read(folder) for folder in place.iterdir() if (folder / _RECORD).exists()]


def _read(folder: Path) -> NodeJob:
    return from_plain(NodeJob, json.loads((folder / _RECORD).read_text(encoding="utf-8")))


def _remove(folder: Path) -> None:
    """Remove a job's folder, its state first: what is left of a kill is then known as remains."""
    (folder / _RECORD).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
