import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from builders.cases import write_tiny_member, write_train_case
from PIL import Image
from sklearn.linear_model import LogisticRegression

from deeppsma.cli.commands import main
from deeppsma.core.errors import InputError
from deeppsma.postprocessing.lesion_classifier import LesionClassifier, load_classifier
from deeppsma.postprocessing.lesions import Lesion
from deeppsma.training import fit_lesion_classifier as refinement
from deeppsma.training.fit_lesion_classifier import Finding, draw_calibration, fit, judge

PUBLISHED = load_classifier("published")


def findings(count=3000, patients=30, seed=0):
    """Lesions that are disease as often as the published model says."""
    rng = np.random.default_rng(seed)
    out = []
    for number in range(count):
        volume_ml = float(rng.exponential(2.0))
        lesion = Lesion(number, (5,), volume_ml, float(rng.uniform(1, 9)), bool(rng.random() < 0.4), (0.0, 0.0, 0.0))
        out.append(Finding(f"case {rng.integers(patients)}", lesion, bool(rng.random() < PUBLISHED.score(lesion))))
    return out


def test_a_known_model_is_found_again():
    found = fit(findings(), PUBLISHED)
    for name in ("intercept", "psma", "log_volume", "suv_max"):
        assert getattr(found.model, name) == pytest.approx(getattr(PUBLISHED, name), rel=0.25), name
    assert 0.8 < found.sensitivity < 1
    assert 0.7 < found.specificity < 1
    assert 0.85 < found.auc < 1
    assert found.figures["lesions"] == len(found.disease)
    assert found.model.match == "organ"


def test_a_model_from_elsewhere_is_judged_by_hand():
    """Scores rise with SUV alone; one of four goes wrongly, one stays wrongly."""
    model = LesionClassifier("organ", -5.0, 0.0, 0.0, 1.0)
    suv_max = {1.0: False, 4.0: True, 6.0: False, 9.0: True}
    lesions = [
        Finding("a", Lesion(n, (5,), 1.0, suv, False, (0.0, 0.0, 0.0)), truth)
        for n, (suv, truth) in enumerate(suv_max.items())
    ]
    large = Finding("a", Lesion(9, (5,), 8.0, 1.0, False, (0.0, 0.0, 0.0)), True)
    found = judge([*lesions, large], model)
    assert (found.sensitivity, found.specificity, found.auc) == (0.5, 0.5, 0.75)
    assert len(found.disease) == 4  # the large one stays whatever its score


def test_what_the_rules_keep_is_not_learnt_from():
    every = findings(600)
    kept = [
        replace(each, lesion=replace(each.lesion, labels=()) if n % 2 else replace(each.lesion, volume_ml=8.0))
        for n, each in enumerate(findings(400, seed=1))
    ]
    assert fit(every + kept, PUBLISHED).figures == fit(every, PUBLISHED).figures


def test_a_score_comes_from_a_model_that_has_not_seen_its_patient(monkeypatch):
    every = findings(300, patients=6)
    fitted = []

    class Watched(LogisticRegression):
        def fit(self, features, disease):
            fitted.append({tuple(row) for row in features})
            return super().fit(features, disease)

        def predict_proba(self, features):
            assert not fitted[-1] & {tuple(row) for row in features}
            return super().predict_proba(features)

    monkeypatch.setattr(refinement, "_regression", Watched)
    # Each patient's lesions are alike: seeing one would be seeing all.
    alike = [replace(each, lesion=replace(each.lesion, volume_ml=float(each.case[5:]))) for each in every]
    alike = [replace(each, lesion=replace(each.lesion, suv_max=4.0, psma=False)) for each in alike]
    fit(alike, PUBLISHED)
    assert len(fitted) == 6


def test_too_few_lesions_say_nothing():
    with pytest.raises(InputError, match="small lesions in organs are disease"):
        fit(findings(12), PUBLISHED)
    with pytest.raises(InputError, match="each in 5 patients"):
        fit(findings(500, patients=3), PUBLISHED)


def test_the_calibration_is_drawn(tmp_path):
    draw_calibration(fit(findings(500), PUBLISHED), tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.width > 100


@pytest.fixture
def cohort(tmp_path):
    for number in range(2):
        write_train_case(tmp_path / f"cohort/train_{number:04d}")
    write_tiny_member(tmp_path / "weights/cds-compact", seed=5)
    return tmp_path / "cohort"


def test_a_cohort_gives_a_model_that_a_recipe_can_name(cohort, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(refinement, "fit", lambda found, template: fit(found + findings(200), template))
    monkeypatch.setattr(refinement, "judge", lambda found, model: judge(found + findings(200), model))
    out = tmp_path / "models/mine.json"
    arguments = ["train-refinement", str(cohort), str(out), "--weights", str(tmp_path / "weights"), "--device", "cpu"]
    arguments += ["--match", "space", "--radius-mm", "12", "--describe", "a test", "--picture", str(tmp_path / "c.png")]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "| organ of the same label |" in said
    assert "| within 12 mm |" in said
    assert said.count("written") == 1
    assert said.count("the published coefficients, not fitted") == 1
    assert (tmp_path / "c.png").exists()
    model = load_classifier(str(out))
    assert (model.match, model.radius_mm, model.trained_on) == ("space", 12.0, "a test")
    assert model.figures["lesions"] > 150
    assert json.loads(out.read_text())["source"] == "deeppsma train-refinement"
    recipe = tmp_path / "own.toml"
    recipe.write_text(f'members = ["cds-compact"]\nfusion = "single"\nrefinement = "{out}"\n')
    arguments = [
        "segment",
        str(cohort / "train_0000"),
        str(tmp_path / "result"),
        "--weights",
        str(tmp_path / "weights"),
    ]
    assert main([*arguments, "--recipe", str(recipe), "--device", "cpu"]) == 0
    report = json.loads((tmp_path / "result/run_report.json").read_text())
    assert report["refinement"]["model"]["trained_on"] == "a test"
    assert report["recipe"]["name"] == "own.toml"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--radius-mm", "5"], "radius_mm belongs to match = space"),
        (["--match", "space"], "radius_mm belongs to match = space"),
        (["--recipe", "nothing"], "choose one of"),
        ([], "small lesions in organs are disease"),
    ],
)
def test_bad_requests_are_one_line_and_nothing_is_written(cohort, tmp_path, capsys, arguments, said):
    out = tmp_path / "m.json"
    base = ["train-refinement", str(cohort), str(out), "--weights", str(tmp_path / "weights"), "--device", "cpu"]
    assert main([*base, *arguments]) != 0
    assert said in capsys.readouterr().err.strip().splitlines()[-1]
    assert not out.exists()


def test_names_and_missing_parts(cohort, tmp_path, capsys, monkeypatch):
    assert main(["train-refinement", str(cohort), str(tmp_path / "m.txt")]) != 0
    assert "call it NAME.json" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert main(["train-refinement", str(cohort), str(tmp_path / "m.json")]) != 0
    assert "run ./setup.sh train" in capsys.readouterr().err
    monkeypatch.undo()
    (cohort / "train_0001/PSMA/totseg_24.nii.gz").unlink()
    assert (
        main(["train-refinement", str(cohort), str(tmp_path / "m.json"), "--weights", str(tmp_path / "weights")]) != 0
    )
    assert "no PSMA organ map" in capsys.readouterr().err
