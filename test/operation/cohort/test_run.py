"""A cohort through real workers: each case is accounted for once, whatever happens to whom."""

from __future__ import annotations

import sys

import pytest
from builders.cases import write_platform_case
from builders.cohorts import stub_work, write_stub_case

from deeppsma.cli.commands import main
from deeppsma.core.errors import ConfigurationError, OutputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.publishing import locked
from deeppsma.io.result_folder import mask_path
from deeppsma.operation.cohort import cluster, dispatch
from deeppsma.operation.cohort.ledger import Ledger, Outcome
from deeppsma.operation.cohort.plan import CohortRequest, CohortSettings
from deeppsma.operation.cohort.run import run_cohort
from deeppsma.operation.job import Job, run_job

ENDS = {
    "a-real": None,
    "b-kills": "kill",
    "c-stub": "",
    "d-kills-once": "kill-once",
    "e-refused": "refuse",
    "f-bug": "bug",
    "g-short-once": "memory-once",
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory, tiny_weights):
    root = tmp_path_factory.mktemp("cohort")
    for name, behaviour in ENDS.items():
        if behaviour is None:
            write_platform_case(root / "in" / name / "input")
        else:
            write_stub_case(root / "in" / name, behaviour)
    return CohortRequest(root / "in", root / "out", CohortSettings("single", "cpu", tiny_weights), workers=2, tries=2)


@pytest.fixture(scope="module")
def ended(asked):
    accounts = []
    return run_cohort(asked, stub_work, accounts.append), accounts


def test_every_case_is_accounted_for_once(asked, ended):
    end, accounts = ended
    assert end.stopped is None
    assert str(end.account) == "7 cases = 4 done + 1 refused + 2 failed + 0 left"
    outcomes = Ledger(asked.out).outcomes(ENDS)
    assert {name for name, outcome in outcomes.items() if outcome is not Outcome.DONE} == set(end.not_done)
    assert "begun 2 times, at last: ended its process" in end.not_done["b-kills"]
    assert "a bug: KeyError" in end.not_done["f-bug"]
    assert Ledger(asked.out).record("d-kills-once").attempts == 2
    assert Ledger(asked.out).record("g-short-once").attempts == 2
    assert Ledger(asked.out).record("c-stub").attempts == 1
    assert [account.left for account in accounts] == list(range(7, -1, -1))


def test_masks_are_those_of_segment(asked, ended, tmp_path):
    run_job(Job(asked.cohort / "a-real/input", tmp_path, "single", "cpu", asked.settings.weights))
    for tracer in Tracer:
        stored = mask_path(Ledger(asked.out).slot("a-real"), tracer).read_bytes()
        assert stored == mask_path(tmp_path, tracer).read_bytes()


def test_a_second_start_runs_nothing(asked, ended, monkeypatch):
    monkeypatch.setattr("deeppsma.operation.cohort.run.connected", None)
    assert run_cohort(asked).account == ended[0].account


def test_the_command_counts_and_has_a_status_of_its_own(asked, ended, capsys):
    given = ["cohort", str(asked.cohort), str(asked.out), "--recipe", "single", "--weights"]
    assert main([*given, str(asked.settings.weights)]) == 8
    said = capsys.readouterr()
    assert "7 cases = 4 done + 1 refused + 2 failed + 0 left" in said.out
    assert "e-refused: " in said.err
    assert said.err.splitlines()[-1].startswith("deeppsma: error: 3 cases are not done")


def test_another_recipe_into_the_same_folder_is_refused(asked, ended, capsys):
    given = ["cohort", str(asked.cohort), str(asked.out), "--recipe", "bothways", "--weights"]
    assert main([*given, str(asked.settings.weights)]) == ConfigurationError.exit_code
    assert "need a new folder" in capsys.readouterr().err


def test_two_runs_do_not_share_a_folder(asked, ended, monkeypatch):
    monkeypatch.setattr("deeppsma.io.publishing.LOCK_WAIT_S", 0.1)
    with locked(asked.out), pytest.raises(OutputError, match="another run is writing there"):
        run_cohort(asked)


def test_a_full_disk_leaves_the_rest(tmp_path, tiny_weights):
    for number in range(12):
        write_stub_case(tmp_path / f"in/c{number:02d}", "" if number < 2 else "full")
    settings = CohortSettings("single", "cpu", tiny_weights)
    end = run_cohort(CohortRequest(tmp_path / "in", tmp_path / "out", settings, workers=1), stub_work)
    assert end.stopped is not None
    assert "No space left on device" in end.stopped.line
    assert str(end.account) == "12 cases = 2 done + 0 refused + 0 failed + 10 left"


def test_cases_that_hang_are_ended_and_the_rest_goes_on(tmp_path, tiny_weights, monkeypatch):
    monkeypatch.setattr(dispatch, "_GRACE_S", 1.0)
    ends = {"a-hangs": "hang", "b-deaf": "deaf", "c-stub": "", "d-waits": "wait 0.2", "e-kills-once": "kill-once"}
    for name, behaviour in ends.items():
        write_stub_case(tmp_path / "in" / name, behaviour)
    settings = CohortSettings("single", "cpu", tiny_weights)
    request = CohortRequest(tmp_path / "in", tmp_path / "out", settings, workers=2, case_deadline=6.0)
    end = run_cohort(request, stub_work)
    assert end.stopped is None
    assert str(end.account) == "5 cases = 3 done + 0 refused + 2 failed + 0 left"
    assert end.not_done == dict.fromkeys(["a-hangs", "b-deaf"], "not done within 6 s (--case-deadline)")
    record = Ledger(tmp_path / "out").record("a-hangs")
    assert record.attempts == 1
    assert record.content, "what was run is known: it is not run again unless it changes"


def test_without_dask_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigurationError, match=r"deeppsma\[cohort\]"):
        cluster.require_dask()


def test_cores_and_gpus_are_shared_out(monkeypatch):
    monkeypatch.setattr(cluster, "usable_cores", lambda: 8)
    monkeypatch.setattr(cluster, "visible_gpus", list)
    assert [each["OMP_NUM_THREADS"] for each in cluster.worker_environments(None, "auto")] == ["2"] * 4
    assert [each["OMP_NUM_THREADS"] for each in cluster.worker_environments(16, "cpu")] == ["1"] * 16
    monkeypatch.setattr(cluster, "visible_gpus", lambda: ["2", "GPU-x"])
    found = cluster.worker_environments(None, "auto")
    assert [each["CUDA_VISIBLE_DEVICES"] for each in found] == ["2", "GPU-x"]
    assert not any("CUDA_VISIBLE_DEVICES" in each for each in cluster.worker_environments(2, "cpu"))


def test_gpus_are_those_that_the_process_may_use():
    assert cluster.visible_gpus({"CUDA_VISIBLE_DEVICES": "1, 3"}) == ["1", "3"]
    assert cluster.visible_gpus({"CUDA_VISIBLE_DEVICES": ""}) == []
    assert cluster.visible_gpus({"CUDA_VISIBLE_DEVICES": "-1"}) == []
