from dataclasses import replace

import pytest
from builders.patients import COARSE, small_patient

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


@pytest.mark.parametrize("wrong", [{"layout": "dicom"}, {"cases": 0}, {"seed": -1}])
def test_impossible_cohorts_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=r"must be|at least"):
        CohortPlan(tmp_path, **wrong)


def test_impossible_requests_are_refused(tmp_path):
    with pytest.raises(ValueError, match="jobs"):
        list(write_cohort(CohortPlan(tmp_path), jobs=0))
    with pytest.raises(ValueError, match="layout"):
        write_patient(small_patient(3), tmp_path / "p", "dicom")


def test_elsewhere_memory_is_left_alone(monkeypatch):
    monkeypatch.setattr(cohort_module.sys, "platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", lambda _: pytest.fail("glibc asked for"))
    keep_memory()
