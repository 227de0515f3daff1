"""Jobs on the disk: what a restart makes of every state that a kill can leave."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from deeppsma.operation.node.jobs import DEAD, DONE, GATHERING, QUEUED, SENDING, JobStore, NodeJob
from deeppsma.operation.node.spool import Identity, Spool


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path)


@pytest.fixture
def store(tmp_path, spool):
    return JobStore(tmp_path, spool)


def fill(spool, *studies):
    """Studies of one image each; gives them as the spool has them."""
    for study in studies:
        spool.store(Identity("P", study, f"{study}.1", f"{study}.1.1"), study.encode())
    return list(spool.studies())


def kept_result(store, job):
    job = store.begin(job)
    (store.attempt(job) / "dicom").mkdir(parents=True)
    (store.attempt(job) / "dicom/seg.dcm").write_bytes(b"result")
    return store.keep_result(job)


def images(folder):
    return sorted(path.read_bytes() for path in folder.rglob("*.dcm"))


def test_a_job_takes_its_studies_out_of_the_spool(spool, store):
    job = store.make(fill(spool, "1", "2"))
    assert job.state == QUEUED
    assert images(store.input(job)) == [b"1", b"2"]
    assert not list(spool.studies())
    assert store.active() == [job]


def test_a_result_is_kept_and_the_images_go_when_it_has_arrived(tmp_path, spool, store):
    job = kept_result(store, store.make(fill(spool, "1", "2")))
    assert job.state == SENDING
    assert job.attempts == 0
    store.finish(job)
    assert not store.active()
    assert images(tmp_path / "done") == [b"result"]
    assert store.counts()[DONE] == 1


def test_what_is_given_up_keeps_images_and_reason(tmp_path, spool, store):
    job = store.make(fill(spool, "1", "2"))
    store.give_up(job, "cannot\n be used")
    assert (tmp_path / "dead" / job.key / "reason.txt").read_text() == "cannot be used\n"
    assert images(tmp_path / "dead") == [b"1", b"2"]


def test_an_attempt_is_counted_before_it_begins_and_clears_the_last_one(spool, store):
    job = store.begin(store.make(fill(spool, "1")))
    store.attempt(job).mkdir()
    again = store.begin(store.active()[0])
    assert again.attempts == 2
    assert not store.attempt(job).exists()


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_killed_while_studies_are_moved(tmp_path, spool, store, moved):
    studies = fill(spool, "1", "2")
    names = tuple((study.patient, study.key) for study in studies)
    job = NodeJob("k", GATHERING, names, ("f1", "f2"), time.time())
    store.folder(job).mkdir()
    store.update(job)
    for patient, study in names[:moved]:
        store.input(job).mkdir(exist_ok=True)
        spool.move(patient, study, store.input(job) / study)
    (recovered,) = JobStore(tmp_path, Spool(tmp_path)).active()
    assert recovered.state == QUEUED
    assert images(store.input(job)) == [b"1", b"2"]
    assert not list(spool.studies())


def test_killed_before_the_first_state(tmp_path, store):
    (tmp_path / "jobs/k").mkdir()
    assert not JobStore(tmp_path, Spool(tmp_path)).active()
    assert not (tmp_path / "jobs/k").exists()


@pytest.mark.parametrize("state", [DONE, DEAD])
def test_killed_while_it_ends(tmp_path, spool, store, state):
    job = kept_result(store, store.make(fill(spool, "1")))
    store.update(job, state=state, reason="why")
    recovered = JobStore(tmp_path, Spool(tmp_path))
    assert not recovered.active()
    assert recovered.counts()[state] == 1
    assert (tmp_path / state / job.key / "input").exists() == (state == DEAD)


def test_killed_while_it_is_swept(tmp_path, store):
    (tmp_path / "done/k/output").mkdir(parents=True)
    JobStore(tmp_path, Spool(tmp_path))
    assert not (tmp_path / "done/k").exists()


def test_studies_of_a_job_at_work_that_come_again_change_nothing(spool, store):
    job = store.make(fill(spool, "1", "2"))
    assert store.make(fill(spool, "1", "2")) == job
    assert not list(spool.studies())
    assert images(store.input(job)) == [b"1", b"2"]


def test_studies_of_a_job_that_is_done_have_the_same_result_sent_again(spool, store):
    job = kept_result(store, store.make(fill(spool, "1", "2")))
    store.finish(store.update(job, delivered=("PACS",)))
    again = store.make(fill(spool, "2", "1"))
    assert (again.key, again.state, again.delivered) == (job.key, SENDING, ())
    assert images(store.output(again)) == [b"result"]
    assert not list(spool.studies())


def test_studies_of_a_job_that_was_given_up_are_tried_anew(spool, store):
    job = store.begin(store.make(fill(spool, "1")))
    store.give_up(job, "no")
    again = store.make(fill(spool, "1"))
    assert (again.key, again.state, again.attempts) == (job.key, QUEUED, 0)
    assert images(store.input(again)) == [b"1"]


def test_what_was_given_up_on_the_way_goes_on_there(spool, store):
    job = kept_result(store, store.make(fill(spool, "1")))
    store.give_up(job, "refused")
    (again,) = store.revive()
    assert (again.key, again.state) == (job.key, SENDING)


def test_one_study_of_a_pair_is_known_again_but_not_one_that_ran_alone(spool, store):
    store.finish(kept_result(store, store.make(fill(spool, "1", "2"))))
    store.finish(kept_result(store, store.make(fill(spool, "3"))))
    (one,) = fill(spool, "1")
    pair = store.of_pair(one.fingerprint())
    assert pair is not None
    assert store.take_again(pair, one).state == SENDING
    assert not list(spool.studies())
    (three,) = fill(spool, "3")
    assert store.of_pair(three.fingerprint()) is None


def test_another_image_makes_another_job(spool, store):
    first = store.make(fill(spool, "1"))
    spool.store(Identity("P", "1", "1.1", "1.1.2"), b"late")
    assert store.make(list(spool.studies())).key != first.key


def test_what_ended_long_ago_is_swept(tmp_path, spool, store):
    store.finish(kept_result(store, store.make(fill(spool, "1"))))
    store.give_up(store.make(fill(spool, "2")), "no")
    assert store.sweep(100, 100) == []
    assert [job.state for job in store.sweep(-1, 100)] == [DONE]
    assert [job.state for job in store.sweep(-1, -1)] == [DEAD]
    assert not list((tmp_path / "done").iterdir())
    assert not list((tmp_path / "dead").iterdir())


def test_a_state_that_is_none_is_refused(spool, store):
    job = store.make(fill(spool, "1"))
    with pytest.raises(ValueError, match="gathering, queued"):
        store.update(job, state="lost")
    assert json.loads((store.folder(job) / "job.json").read_text())["state"] == QUEUED
    shutil.rmtree(store.folder(job))
