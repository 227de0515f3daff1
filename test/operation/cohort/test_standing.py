"""What a second start runs, skips and refuses."""

from __future__ import annotations

import os

import pytest
from builders.cohorts import BEHAVIOUR, stub_work, write_stub_case

from deeppsma.operation.cohort.key import method_key
from deeppsma.operation.cohort.ledger import Ledger, Outcome
from deeppsma.operation.cohort.plan import CaseTask, CohortCase, CohortSettings
from deeppsma.operation.cohort.standing import Standings

SETTINGS = CohortSettings("single")


@pytest.fixture(scope="module")
def key():
    return method_key(SETTINGS)


@pytest.fixture
def ran(tmp_path, key):
    """Runs a case that does what it is told; gives case and ledger."""
    ledger = Ledger(tmp_path / "out")

    def run(behaviour=""):
        case = CohortCase("a", write_stub_case(tmp_path / "cohort/a", behaviour))
        stub_work(CaseTask(case, tmp_path / "cohort", ledger.slot("a"), SETTINGS, key))
        return case, ledger

    return run


def test_a_case_that_nobody_ran_is_left(tmp_path, key):
    case = CohortCase("a", write_stub_case(tmp_path / "a"))
    assert Standings(Ledger(tmp_path / "out"), key).of(case) is Outcome.LEFT


@pytest.mark.parametrize("verify", [False, True])
def test_what_is_done_is_not_run_again(ran, key, verify):
    case, ledger = ran()
    assert list(Standings(ledger, key, verify).of_all([case])) == [(case, Outcome.DONE)]


@pytest.mark.parametrize("behaviour", ["refuse", "bug"])
def test_what_was_not_done_is_run_again_when_asked_or_when_its_files_change(ran, key, behaviour):
    case, ledger = ran(behaviour)
    outcome = ledger.record("a").outcome
    assert outcome in (Outcome.REFUSED, Outcome.FAILED)
    assert Standings(ledger, key).of(case) is outcome
    assert Standings(ledger, key, retry=True).of(case) is Outcome.LEFT
    (case.folder / BEHAVIOUR).write_text("")
    assert Standings(ledger, key).of(case) is Outcome.LEFT


def test_files_that_changed_are_not_mixed_in(ran, key):
    case, ledger = ran()
    (case.folder / BEHAVIOUR).write_text("wait 0")
    assert Standings(ledger, key).of(case) is Outcome.REFUSED
    record = ledger.record("a")
    assert record.outcome is Outcome.REFUSED
    assert "its files have changed" in record.line
    assert str(ledger.slot("a")) in record.line
    (case.folder / BEHAVIOUR).write_text("")  # as they were, at another time
    assert Standings(ledger, key).of(case) is Outcome.DONE
    assert ledger.record("a").outcome is Outcome.DONE


def test_a_change_that_keeps_size_and_time_is_found_by_hashing(ran, key):
    case, ledger = ran("wait 0")
    path = case.folder / BEHAVIOUR
    before = path.stat()
    path.write_text("wait 1")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Standings(ledger, key).of(case) is Outcome.DONE
    assert Standings(ledger, key, verify=True).of(case) is Outcome.REFUSED


def test_a_new_time_alone_changes_nothing(ran, key):
    case, ledger = ran()
    os.utime(case.folder / BEHAVIOUR, ns=(1, 1))
    assert Standings(ledger, key).of(case) is Outcome.DONE
    os.chmod(case.folder / BEHAVIOUR, 0o600)
    assert Standings(ledger, key).of(case) is Outcome.DONE


def test_a_result_of_another_method_is_refused(ran):
    case, ledger = ran()
    assert Standings(ledger, "another").of(case) is Outcome.REFUSED
    assert "another recipe" in ledger.record("a").line


def test_a_result_that_lost_a_file_or_was_damaged_is_made_again(ran, key):
    case, ledger = ran()
    report = ledger.slot("a") / "run_report.json"
    report.write_text("damaged")
    assert Standings(ledger, key).of(case) is Outcome.DONE
    assert Standings(ledger, key, verify=True).of(case) is Outcome.LEFT
    assert ledger.record("a") is None


def test_a_case_that_cannot_be_looked_at_is_for_the_worker(ran, key):
    case, ledger = ran()
    (case.folder / BEHAVIOUR).unlink()
    case.folder.rmdir()
    assert Standings(ledger, key).of(case) is Outcome.LEFT
