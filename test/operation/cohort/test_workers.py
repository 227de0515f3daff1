"""How a worker tells ends of a case from trouble that is none of the case's fault."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace

import pytest
from builders.cases import write_platform_case
from builders.cohorts import stub_result, stub_work, write_stub_case

from deeppsma.core.errors import InputError, OutputError, WeightsError
from deeppsma.core.tracer import Tracer
from deeppsma.io.result_folder import mask_path
from deeppsma.models import weights
from deeppsma.operation.cohort.key import method_key
from deeppsma.operation.cohort.ledger import CHANGED_NAME, RECORD_NAME, Outcome, read_record, write_record
from deeppsma.operation.cohort.plan import CaseTask, CohortCase, CohortSettings
from deeppsma.operation.cohort.workers import Kind, run_case
from deeppsma.operation.job import Job, run_job


@pytest.fixture(autouse=True)
def keep_no_networks(monkeypatch):
    monkeypatch.setattr(weights, "_kept", None)
    monkeypatch.setattr("deeppsma.operation.cohort.workers._engines", {})


@pytest.fixture(scope="module")
def key():
    return method_key(CohortSettings("single"))


@pytest.fixture
def task(tmp_path, key):
    def make(behaviour=""):
        case = CohortCase("a", write_stub_case(tmp_path / "cohort/a", behaviour))
        return CaseTask(case, tmp_path / "cohort", tmp_path / "out/cases/a", CohortSettings("single"), key)

    return make


@pytest.mark.parametrize(
    ("behaviour", "kind", "line"),
    [
        ("", Kind.DONE, ""),
        ("refuse", Kind.REFUSED, "an empty PET; give another"),
        ("bug", Kind.FAILED, "a bug: KeyError: 'liver'"),
    ],
)
def test_ends_are_recorded(task, behaviour, kind, line):
    asked = task(behaviour)
    attempt = stub_work(asked)
    record = read_record(asked.slot / RECORD_NAME)
    assert (attempt.kind, attempt.line) == (kind, record.line)
    assert record.outcome.value == kind.value
    assert line in attempt.line
    assert len(record.content) == 64
    assert ("KeyError" in record.detail) == (behaviour == "bug")
    assert list(record.files) == (["run_report.json"] if kind is Kind.DONE else [])


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (OSError(28, "No space left on device", "out"), Kind.TROUBLE, 6),
        (OutputError("out", "cannot be written to", "x"), Kind.TROUBLE, 3),
        (WeightsError("w", "gone", "x"), Kind.TROUBLE, 4),
        (MemoryError("none"), Kind.SHORT, 137),
        (RuntimeError("CUDA out of memory. Tried"), Kind.SHORT, 137),
    ],
)
def test_what_is_no_fault_of_the_case_is_not_recorded(task, error, kind, status):
    def compute(_):
        raise error

    asked = task()
    attempt = run_case(asked, compute)
    assert (attempt.kind, attempt.exit_status) == (kind, status)
    assert attempt.line
    assert not (asked.slot / RECORD_NAME).exists()


def test_a_share_that_goes_away_is_no_bad_input(task):
    asked = task()

    def compute(given):
        shutil.rmtree(given.case.folder)
        raise InputError(given.case.folder, "no such folder", "give another")

    assert run_case(asked, compute).kind is Kind.TROUBLE
    attempt = run_case(asked, stub_result)  # gone before it is begun
    assert attempt.kind is Kind.TROUBLE
    assert "is the share still there?" in attempt.line


def test_files_that_change_while_they_are_read_are_no_bad_input(task):
    def compute(given):
        (given.case.folder / "more").write_text("")
        raise InputError(given.case.folder, "half a file", "copy it again")

    attempt = run_case(task(), compute)
    assert attempt.kind is Kind.TROUBLE
    assert "changed meanwhile" in attempt.line


def test_a_file_that_may_not_be_read_is_refused(task, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied", "PET.nii.gz")

    monkeypatch.setattr("deeppsma.operation.cohort.workers.content", refuse)
    attempt = run_case(task(), stub_result)
    assert attempt.kind is Kind.REFUSED
    assert "PET.nii.gz: this user may not read it" in attempt.line


def test_a_worker_with_other_weights_does_nothing(task):
    attempt = stub_work(replace(task(), method_key="another"))
    assert attempt.kind is Kind.TROUBLE
    assert "install the same on all nodes" in attempt.line


def test_a_case_that_is_begun_again_has_no_result_meanwhile(task):
    asked = task()
    stub_work(asked)
    write_record(asked.slot, read_record(asked.slot / RECORD_NAME), CHANGED_NAME)
    seen = []

    def compute(given):
        seen.append((given.slot / RECORD_NAME).exists())
        return stub_result(given)

    assert run_case(replace(asked, attempt=2), compute).kind is Kind.DONE
    assert seen == [False]
    assert read_record(asked.slot / RECORD_NAME).attempts == 2
    assert not (asked.slot / CHANGED_NAME).exists()


@pytest.mark.parametrize("report", [False, True])
def test_a_real_case_has_masks_as_segment_makes_them(tmp_path, tiny_weights, report):
    folder = write_platform_case(tmp_path / "cohort/a/input")
    settings = CohortSettings("single", "cpu", tiny_weights, report)
    slot = tmp_path / "out/cases/a"
    task = CaseTask(CohortCase("a", folder), tmp_path / "cohort", slot, settings, method_key(settings))
    assert run_case(task).kind is Kind.DONE
    record = read_record(slot / RECORD_NAME)
    more = {"report.html", "report.pdf", "report.json", "report_foci.npz"} if report else set()
    masks = {str(mask_path(slot, tracer).relative_to(slot)) for tracer in Tracer}
    assert set(record.files) == masks | {"run_report.json", "lesions.csv", "thumbnail.png"} | more
    assert record.outcome is Outcome.DONE
    assert record.device.startswith("cpu")
    assert (slot / "thumbnail.png").read_bytes()[:4] == b"\x89PNG"
    assert (slot / "lesions.csv").read_text().startswith("id,tracer,")
    run_job(Job(folder, tmp_path / "plain", "single", "cpu", tiny_weights))
    for tracer in Tracer:
        assert mask_path(slot, tracer).read_bytes() == mask_path(tmp_path / "plain", tracer).read_bytes()


def test_sessions_without_a_transform_have_lesions_and_a_note(tmp_path, tiny_weights, monkeypatch):
    from deeppsma.io.layouts import load_case
    from deeppsma.models.store import WeightsStore
    from deeppsma.operation.cohort.case_files import write_lesions
    from deeppsma.pipeline.recipe import load_recipe
    from deeppsma.pipeline.segment import segment

    case = replace(load_case(write_platform_case(tmp_path / "input")), fdg_to_psma=None)
    result = segment(case, load_recipe("single"), WeightsStore.default(tiny_weights), "cpu")
    settings = CohortSettings("single", "cpu", tiny_weights, report=True)
    task = CaseTask(CohortCase("a", tmp_path / "input"), tmp_path, tmp_path, settings, "")
    notes = write_lesions(task, case, result)
    assert len(notes) == 2
    lines = (tmp_path / "lesions.csv").read_text().splitlines()
    assert sum(line.startswith("id,") for line in lines) == 1
    assert {line.split(",")[1] for line in lines[1:]} == {"psma", "fdg"}
    assert json.loads(json.dumps(result.report.as_dict()))


def test_a_case_that_is_done_in_time_leaves_no_timer(task):
    left = []

    def compute(each):
        left.append(signal.getitimer(signal.ITIMER_REAL)[0])
        raise KeyError("a bug")

    assert run_case(replace(task(), limit_s=500), compute).kind is Kind.FAILED
    assert 400 < left[0] <= 500
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
