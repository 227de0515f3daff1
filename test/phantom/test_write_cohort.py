import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from builders.patients import COARSE, small_patient

from deeppsma.core.errors import OutputError
from deeppsma.phantom import write_cohort as cohort_module
from deeppsma.phantom.write_cohort import CohortPlan, keep_memory, write_cohort, write_patient


def test_an_interrupted_cohort_goes_on(tmp_path, monkeypatch):
    made = []

    def quick(seed, options):
        made.append(seed)
        return small_patient(3)

    monkeypatch.setattr(cohort_module, "draw_patient", quick)
    plan = CohortPlan(tmp_path, 3, 7, "train", COARSE)
    next(iter(write_cohort(plan)))
    assert made == [7]
    folders = list(write_cohort(plan))
    assert made == [7, 8, 9]
    assert [f.name for f in folders] == ["train_0007", "train_0008", "train_0009"]
    assert not list(tmp_path.glob(".*"))


def test_a_cohort_is_of_one_make(tmp_path):
    plan = CohortPlan(tmp_path, 1, 3, "train", COARSE)
    write_patient(small_patient(3), plan.folder(0), "train")
    assert list(write_cohort(plan)) == [plan.folder(0)]
    with pytest.raises(ValueError, match="other options"):
        list(write_cohort(replace(plan, options=replace(COARSE, ct="pet"))))


@pytest.mark.parametrize("wrong", [{"layout": "soup"}, {"cases": 0}, {"seed": -1}])
def test_impossible_cohorts_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=r"must be|at least"):
        CohortPlan(tmp_path, **wrong)


def test_impossible_requests_are_refused(tmp_path):
    with pytest.raises(ValueError, match="jobs"):
        list(write_cohort(CohortPlan(tmp_path), jobs=0))
    with pytest.raises(ValueError, match="layout"):
        write_patient(small_patient(3), tmp_path / "p", "soup")


def test_elsewhere_memory_is_left_alone(monkeypatch):
    monkeypatch.setattr(cohort_module.sys, "platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", lambda _: pytest.fail("glibc asked for"))
    keep_memory()


@pytest.mark.parametrize("layout", ["platform", "train"])
@pytest.mark.parametrize("limit_bytes", [300, 3000, 20_000])
def test_a_disk_that_takes_no_more_is_one_line_and_no_patient(tmp_path, layout, limit_bytes):
    """The system refuses to write beyond a size; ITK alone would not always notice."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from builders.patients import small_patient\n"
        "from deeppsma.cli.exit_status import guarded\n"
        "from deeppsma.phantom.write_cohort import write_patient\n"
        "patient = small_patient(3)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), -1))\n"
        "sys.exit(guarded(lambda: write_patient(patient, Path(sys.argv[1]), sys.argv[2])))\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "case_0003"), layout, str(limit_bytes)],
        env=os.environ | {"PYTHONPATH": f"{root}:{root / 'test'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (3, 6), done.stderr
    assert done.stderr.splitlines()[-1].startswith("deeppsma: error: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "case_0003").exists()


def test_what_a_worker_raises_arrives_whole():
    error = pickle.loads(pickle.dumps(OutputError("a", "b", "c")))
    assert isinstance(error, OutputError)
    assert (error.where, error.found, error.remedy, str(error)) == ("a", "b", "c", "a: b; c")
