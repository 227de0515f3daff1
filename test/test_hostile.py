"""Hostile input, a short run; `python -m benchmarks.hostile --cases 10000` is the long one."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.hostile import mutations, oracle
from benchmarks.hostile.__main__ import run_trials, table
from benchmarks.hostile.material import make_material
from benchmarks.hostile.trials import FORMATS, Trial, Trials


def test_three_hundred_spoilt_files(tmp_path):
    trials = list(run_trials(cases=300, seed=3, jobs=1, folder=tmp_path))
    unclean = [f"{trial.number} {trial.format}: {trial.outcome}: {trial.detail}" for trial in trials if not trial.clean]
    assert unclean == []
    assert len(trials) == 300
    # The net has caught something of every kind: it is not that nothing was spoilt.
    outcomes = {trial.outcome for trial in trials}
    assert outcomes >= {
        "refused, 2",
        "refused, 4",
        "refused, 5",
        "accepted, same masks",
        "accepted, legitimately other",
    }


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return make_material(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def served(material, tmp_path_factory):
    """Trials with one worker for all tests."""
    trials = Trials(material, tmp_path_factory.mktemp("served"), 0)
    yield trials
    trials.worker.stop()


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("hang", "hang"),
        ("crash (status -11)", "crash"),
        ({"status": 1, "traceback": "Traceback\nZeroDivisionError: x", "files": []}, "traceback"),
        ({"status": 1, "traceback": "", "files": [], "stderr": "libgomp: no"}, "status 1"),
        ({"status": 2, "traceback": "", "files": [], "stderr": "words"}, "no last line"),
        ({"status": 2, "traceback": "", "files": [], "stderr": "deeppsma: error: a\nwords"}, "no last line"),
        ({"status": 2, "traceback": "", "files": ["images"], "stderr": "deeppsma: error: a"}, "partial output"),
        ({"status": 0, "traceback": "", "files": ["run_report.json"], "stderr": ""}, "partial output"),
    ],
)
def test_what_is_unclean_is_seen(material, tmp_path, monkeypatch, answer, outcome):
    trials = Trials(material, tmp_path / "job", 0)
    monkeypatch.setattr(trials, "_baseline", lambda kind: {"masks": {}})
    monkeypatch.setattr(trials.worker, "run", lambda **job: answer)
    (trial,) = trials.run(range(1), "MHA, compressed")
    assert (trial.outcome, trial.clean) == (outcome, False)


def test_a_file_outside_the_output_folder_is_seen(material, tmp_path, monkeypatch):
    trials = Trials(material, tmp_path / "job", 0)

    def stray(**job: str) -> dict[str, object]:
        (Path(job["case"]) / "stray").write_text("x")
        return {"status": 2, "traceback": "", "files": [], "stderr": "deeppsma: error: a"}

    monkeypatch.setattr(trials, "_baseline", lambda kind: {"masks": {}})
    monkeypatch.setattr(trials.worker, "run", stray)
    (trial,) = trials.run(range(1), "MHA, compressed")
    assert (trial.outcome, trial.clean) == ("file outside OUT", False)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (lambda content, rng: content.replace(b"ElementSpacing = 5", b"ElementSpacing = 4"), "legitimately other"),
        (lambda content, rng: content.replace(b"Offset = -30", b"Offset = -29"), "legitimately other"),
        (lambda content, rng: content.replace(b"Offset = -30 -32 -28\n", b""), "legitimately other"),
    ],
)
def test_another_valid_header_is_told_from_a_broken_one(served, change, outcome):
    kind = next(each for each in FORMATS if each.name == "MHA")
    pet = type(kind)(kind.name, kind.case, (kind.files[0],), (change,))
    trial = served._trial(0, pet)
    assert trial.clean, trial
    assert outcome in trial.outcome


def test_what_passes_without_meaning_is_seen(served, monkeypatch):
    """An oracle that finds no meaning in what was accepted makes the trial unclean."""
    kind = next(each for each in FORMATS if each.name == "MHA")
    changed = type(kind)(
        kind.name, kind.case, (kind.files[0],), (lambda c, rng: c.replace(b"Spacing = 5", b"Spacing = 4"),)
    )
    monkeypatch.setitem(oracle._META_RULES, "ElementSpacing", "5 5 4")
    trial = served._trial(0, changed)
    assert (trial.outcome, trial.clean) == ("accepted without meaning", False)


def test_mutations_that_change_nothing_are_no_trial(material, tmp_path):
    kind = FORMATS[0]
    idle = type(kind)(kind.name, kind.case, kind.files, (lambda content, rng: content,))
    with pytest.raises(RuntimeError, match="changed nothing"):
        Trials(material, tmp_path / "job", 0)._trial(0, idle)


def test_a_run_can_be_repeated(material):
    path = material.cases["mha"] / "images/fdg-pet/image.mha"
    first, second = (mutations.meta_image(path.read_bytes(), np.random.default_rng([5, 7])) for _ in range(2))
    assert first == second


def test_the_table():
    lines = table([Trial(0, "TIFF", "refused, 2", True, ""), Trial(1, "TIFF", "hang", False, "")]).splitlines()
    assert lines[0] == "| format | trials | hang | refused, 2 | unclean |"
    assert lines[-1] == "| all | 2 | 1 | 1 | 1 |"
