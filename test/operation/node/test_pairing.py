"""Which studies make a job: both tracers of a patient, whole, near in time; one alone when the wait is over."""

from __future__ import annotations

from datetime import date
from itertools import permutations

import pytest
from builders.dicom_files import as_psma, edited, write_ct, write_pet

from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.site import Site
from deeppsma.operation.node.pairing import StudyFacts, look_at, ready_jobs
from deeppsma.operation.node.settings import Pair
from deeppsma.operation.node.spool import StoredStudy

NOW = 1e9
RULES = Pair(quiet_s=60, slices_wait_minutes=30, wait_hours=24, days_apart_max=30)
PSMA, FDG = frozenset({Tracer.PSMA}), frozenset({Tracer.FDG})


def study(key, tracers, day=1, age_s=100.0, patient="p", **more):
    return StudyFacts(patient, key, NOW - age_s, date(2025, 1, day) if day else None, frozenset(tracers), **more)


def keys(jobs):
    return sorted(tuple(sorted(one.key for one in job)) for job in jobs)


def test_two_tracers_of_a_patient_are_a_job_in_any_order():
    mine = [study("a", PSMA), study("b", FDG, 3), study("c", FDG, patient="q")]
    for order in permutations(mine):
        assert keys(ready_jobs(order, RULES, NOW)) == [("a", "b")]


def test_a_study_with_both_tracers_is_a_job_at_once():
    assert keys(ready_jobs([study("a", PSMA | FDG)], RULES, NOW)) == [("a",)]


def test_images_that_still_come_are_waited_for():
    assert not ready_jobs([study("a", PSMA), study("b", FDG, age_s=59)], RULES, NOW)
    assert ready_jobs([study("a", PSMA), study("b", FDG, age_s=60)], RULES, NOW)


def test_announced_slices_are_waited_for_but_not_for_ever():
    missing = {"complete": False}
    assert not ready_jobs([study("a", PSMA), study("b", FDG, age_s=1700, **missing)], RULES, NOW)
    assert ready_jobs([study("a", PSMA), study("b", FDG, age_s=1800, **missing)], RULES, NOW)


def test_two_studies_of_one_tracer_are_no_pair():
    assert not ready_jobs([study("a", PSMA), study("b", PSMA)], RULES, NOW)
    assert not ready_jobs([study("a", PSMA), study("b", ())], RULES, NOW)


def test_the_nearest_days_go_together():
    waiting = [study("a", PSMA, 1), study("b", PSMA, 10), study("c", FDG, 12)]
    assert keys(ready_jobs(waiting, RULES, NOW)) == [("b", "c")]


def test_days_far_apart_are_no_pair():
    far = [study("a", PSMA, 1), study("b", FDG, 31)]
    assert keys(ready_jobs(far, RULES, NOW)) == [("a", "b")]
    assert not ready_jobs(far, Pair(days_apart_max=29), NOW)
    assert keys(ready_jobs([study("a", PSMA, 0), study("b", FDG, 31)], RULES, NOW)) == [("a", "b")]


def test_one_alone_runs_when_the_wait_is_over_if_it_may():
    alone = study("a", PSMA, age_s=24 * 3600)
    assert keys(ready_jobs([alone], RULES, NOW)) == [("a",)]
    assert not ready_jobs([study("a", PSMA, age_s=24 * 3600 - 1)], RULES, NOW)
    assert not ready_jobs([alone], Pair(alone=False), NOW)


def test_one_alone_waits_while_its_partner_is_coming():
    assert not ready_jobs([study("a", PSMA, age_s=24 * 3600), study("b", FDG, age_s=1)], RULES, NOW)


def test_a_study_without_a_pet_is_no_job():
    assert not ready_jobs([study("a", (), age_s=99 * 3600, has_pet=False)], RULES, NOW)


@pytest.fixture
def stored(tmp_path):
    def store(*folders):
        place = tmp_path / "study"
        place.mkdir()
        for number, folder in enumerate(folders):
            folder.rename(place / str(number))
        return StoredStudy("p", "s", place, NOW)

    return store


def test_facts_come_from_the_headers(tmp_path, stored):
    facts = look_at(stored(write_ct(tmp_path / "ct"), write_pet(tmp_path / "pet", as_psma)), Site())
    assert facts == StudyFacts("p", "s", NOW, date(2025, 3, 6), PSMA)
    assert not look_at(StoredStudy("p", "s", tmp_path / "study/0", NOW), Site()).has_pet


def test_the_site_says_the_tracer(tmp_path, stored):
    assert look_at(stored(write_pet(tmp_path / "pet")), Site(psma=("PET WB",))).tracers == PSMA


def test_missing_slices_are_seen_where_they_count(tmp_path, stored):
    write_pet(tmp_path / "pet", edited(NumberOfSlices=5))
    write_pet(tmp_path / "mip", edited(NumberOfSlices=50, SeriesType=["WHOLE BODY", "REPROJECTION"]), series="5")
    assert not look_at(stored(tmp_path / "pet"), Site()).complete
    (tmp_path / "study/0").rename(tmp_path / "gone")
    (tmp_path / "mip").rename(tmp_path / "study/0")
    assert look_at(StoredStudy("p", "s", tmp_path / "study", NOW), Site()).complete


def test_what_cannot_be_read_says_nothing(tmp_path, stored):
    write_pet(tmp_path / "pet")
    for path in (tmp_path / "pet").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    facts = look_at(stored(tmp_path / "pet"), Site())
    assert not facts.has_pet
