import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from builders.cases import write_tiny_member, write_train_case
from builders.networks import CLASSES

from deeppsma.cli.commands import main
from deeppsma.core.errors import ConfigurationError, InputError
from deeppsma.core.tracer import Tracer
from deeppsma.evaluation import experiments as command
from deeppsma.evaluation.cross_validation import SCORES_NAME, read_crossval
from deeppsma.evaluation.experiments import ExperimentsRequest, run_experiments
from deeppsma.evaluation.froc import CUTOFFS
from deeppsma.evaluation.methods import TRIVIAL, score_case
from deeppsma.evaluation.metrics import count_lesions
from deeppsma.evaluation.scoring import read_references, score_masks
from deeppsma.io.cohort import load_labelled
from deeppsma.io.image_files import ImageFile
from deeppsma.io.layouts import load_case
from deeppsma.models.store import WeightsStore
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import Recipe, load_recipe
from deeppsma.pipeline.segment import segment
from deeppsma.postprocessing.lesion_classifier import load_classifier
from deeppsma.training.folds import Folds
from deeppsma.training.samples import fingerprint

RECIPES = ("single", "single_plus", "bothways", "bothways_plus")


@pytest.fixture
def cohort(tmp_path):
    for name in ("train_0001", "train_0002"):
        write_train_case(tmp_path / "cohort" / name)
    return tmp_path / "cohort"


def methods(store, names=RECIPES):
    return [Method.choose(load_recipe(name), store) for name in names]


def test_every_method_scores_as_if_run_alone(cohort, tiny_weights):
    store = WeightsStore((tiny_weights,))
    labelled = load_labelled(cohort / "train_0001")
    found = score_case(labelled, methods(store), "bothways", "cpu")
    assert set(found.scores) == {TRIVIAL, *RECIPES}
    for name in RECIPES:
        alone = segment(load_case(cohort / "train_0001"), load_recipe(name), store, "cpu").masks
        assert found.scores[name] == score_masks(alone, read_references(labelled))


def test_the_sweep_moves_the_cutoff(cohort, tiny_weights):
    store = WeightsStore((tiny_weights,))
    labelled = load_labelled(cohort / "train_0001")
    found = score_case(labelled, methods(store), "bothways", "cpu")
    members = load_recipe("bothways").members
    for cutoff in (0.1, 0.5, 0.99):
        recipe = Recipe("r", members, "bothways", cutoffs={"psma": cutoff, "fdg": cutoff})
        masks = segment(labelled.case, recipe, store, "cpu").masks
        for tracer in Tracer:
            truth = labelled.truths[tracer].read().voxels > 0
            wanted = count_lesions(masks[tracer].voxels > 0, truth)
            assert found.sweep[tracer][CUTOFFS.index(cutoff)] == wanted


def test_a_second_opinion_is_swept_too(cohort, tiny_weights):
    store = WeightsStore((tiny_weights,))
    labelled = load_labelled(cohort / "train_0001")
    recipe = load_recipe("second_opinion")
    found = score_case(labelled, [Method.choose(recipe, store)], "second_opinion", "cpu")
    for cutoff in (0.02, 0.5, 0.98):
        masks = segment(labelled.case, replace(recipe, cutoffs=dict.fromkeys(Tracer, cutoff)), store, "cpu").masks
        for tracer in Tracer:
            wanted = count_lesions(masks[tracer].voxels > 0, labelled.truths[tracer].read().voxels > 0)
            assert found.sweep[tracer][CUTOFFS.index(cutoff)] == wanted
    assert len({found.sweep[Tracer.FDG][CUTOFFS.index(cutoff)] for cutoff in (0.02, 0.98)}) == 2


def test_whose_cutoff_is_moved():
    mean, bothways, judged, votes = ("mean", True), ("bothways", True), ("second_opinion", True), ("gtrc", False)
    assert command._swept("", [mean, bothways]) == "bothways"
    assert command._swept("", [votes, mean, judged]) == "mean"
    assert command._swept("", [votes]) == ""
    assert command._swept("second_opinion", [mean, judged]) == "second_opinion"
    for wanted, recipes, there in (
        ("best", [mean, judged], "mean, second_opinion"),
        ("gtrc", [votes], "none of these"),
    ):
        with pytest.raises(ConfigurationError, match=f"recipes that have a cutoff: {there}"):
            command._swept(wanted, recipes)


def test_a_recipe_without_a_cutoff_has_no_froc(cohort, tiny_weights, tmp_path, monkeypatch):
    (tmp_path / "quick.toml").write_text(
        'members = ["cds-compact"]\nfusion = "single"\naverage = "probabilities"\n[consensus]\nmethod = "grow"\n'
    )
    out, weights = tmp_path / "tables", tiny_weights
    request = command.ExperimentsRequest(cohort, out, (str(tmp_path / "quick.toml"),), weights, device="cpu")
    text = command.run_experiments(request)
    monkeypatch.setattr(command, "score_case", lambda *_: pytest.fail("scored again"))
    assert command.run_experiments(request) == text
    assert "No FROC: none of the recipes has a cutoff" in text
    assert "## FROC" not in text
    assert not (out / "froc.png").exists()


def test_each_network_runs_once_for_all_recipes(cohort, tiny_weights, monkeypatch):
    from deeppsma.inference import ensemble

    ran = []
    run_task = ensemble.run_task
    monkeypatch.setattr(ensemble, "run_task", lambda *a: (ran.append(a), run_task(*a))[1])
    score_case(load_labelled(cohort / "train_0001"), methods(WeightsStore((tiny_weights,))), "bothways", "cpu")
    assert len(ran) == 2  # one member, two spaces


def test_methods_that_do_not_go_together_are_refused(cohort, tiny_weights, tmp_path):
    labelled = load_labelled(cohort / "train_0001")
    first = methods(WeightsStore((tiny_weights,)), ["single"])[0]
    write_tiny_member(tmp_path / "other/cds-compact", seed=9)
    other = WeightsStore((tmp_path / "other",)).member("cds-compact")
    with pytest.raises(ConfigurationError, match="two members named cds-compact"):
        score_case(labelled, [first, Method(first.recipe, (other,), "b")], "single", "cpu")
    wide = Recipe("w", ("cds-compact",), "single", window_overlap=0.25)
    with pytest.raises(ConfigurationError, match="window overlaps"):
        score_case(labelled, [first, Method(wide, first.members, "b")], "single", "cpu")


def write_folds(out):
    """What 'deeppsma crossval' leaves: a member and scores by fold."""
    for number in range(2):
        write_tiny_member(out / f"fold_{number}/cds-compact", seed=20 + number)
        score = {"dsc": 0.25 + number / 2, "surface_dsc": 0.5, "fpv_ml": 1.0, "fnv_ml": 2.0}
        score |= {"volume_error_percent": 3.0, "suv_mean_error_percent": 4.0}
        score |= {"lesions": 3, "lesions_found": 2, "false_lesions": 1}
        content = {"of": {}, "patients": "synthetic", "scores": {tracer.value: [score] for tracer in Tracer}}
        (out / f"fold_{number}" / SCORES_NAME).write_text(json.dumps(content))
    Folds((("a",), ("b",))).write(out / "folds.json")
    (out / "request.json").write_text(json.dumps({"recipe": "bothways", "cases": {"a": "1", "b": "2"}}))


def test_tables_froc_and_scores_are_written(cohort, tmp_path, tiny_weights, capsys, monkeypatch):
    write_folds(tmp_path / "cv")
    arguments = ["experiments", str(cohort), str(tmp_path / "out"), "--weights", str(tiny_weights)]
    arguments += ["--crossval", str(tmp_path / "cv"), "--device", "cpu"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert (tmp_path / "out/experiments.md").read_text() in out
    assert "# Experiments on 2 real patients" in out  # no phantom's card lies beside them
    for part in (
        "## Table 1",
        "## Table 2",
        "## Table 3",
        "## FROC, bothways",
        "| fold 1 | 1 synthetic, held out, bothways | 0.750",
    ):
        assert part in out
    rows = (tmp_path / "out/experiments.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 2 * 6
    assert (tmp_path / "out/froc.png").stat().st_size > 1000
    # A second run scores nothing anew, whole files or not; a changed case it does.
    scored = []
    score = command.score_case
    monkeypatch.setattr(command, "score_case", lambda *a: (scored.append(a[0].folder.name), score(*a))[1])
    assert main(arguments) == 0
    assert capsys.readouterr().out == out
    assert scored == []
    (tmp_path / "out/scores/train_0001.json").write_text('{"of": ')
    (cohort / "train_0002/FDG/threshold.json").write_text('{"suv_threshold":  2.0}')
    assert main(arguments) == 0
    assert scored == ["train_0001", "train_0002"]


def test_what_refinement_takes_away_is_listed(cohort, tmp_path, tiny_weights, capsys):
    strict = load_classifier("published").as_dict() | {"intercept": -100.0, "keep_above_ml": 1000.0}
    (tmp_path / "strict.json").write_text(json.dumps(strict))
    recipe = f'members = ["*"]\nfusion = "single"\nrefinement = "{tmp_path}/strict.json"\n'
    (tmp_path / "refined.toml").write_text(recipe)
    arguments = ["experiments", str(cohort), str(tmp_path / "out"), "--weights", str(tiny_weights), "--device", "cpu"]
    arguments += ["--recipes", "single", str(tmp_path / "refined.toml")]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    rows = (tmp_path / "out/removals.csv").read_text().splitlines()[1:]
    assert rows
    assert all(row.startswith("refined.toml,train_000") for row in rows)
    assert f"| refined.toml | {len(rows)} |" in out
    assert main(arguments) == 0  # from the scores that are kept
    assert capsys.readouterr().out == out


def test_synthetic_patients_are_called_so(cohort, tmp_path, tiny_weights, monkeypatch):
    for case in cohort.iterdir():
        (case / "patient.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text = run_experiments(ExperimentsRequest(cohort, tmp_path / "out", ("single",), tiny_weights, device="cpu"))
    assert text.startswith("# Experiments on 2 synthetic patients")
    assert "Not for clinical use." in text
    assert "Table 1" not in text
    assert "FROC, single" in text
    assert not (tmp_path / "out/froc.png").exists()


def test_the_ensemble_is_that_of_the_folds(tmp_path, cohort, tiny_weights):
    write_folds(tmp_path / "cv")
    found = read_crossval(tmp_path / "cv")
    assert list(found.members) == [member.name for member in found.members.values()] == ["fold 0", "fold 1"]
    assert np.isclose(found.scores["fold 1"][Tracer.PSMA][0].dsc, 0.75)
    assert (found.patients, found.recipe) == ("synthetic", "bothways")
    request = ExperimentsRequest(cohort, tmp_path / "out", ("ensemble",), tiny_weights, tmp_path / "cv", "cpu")
    (method,) = command._methods(request, found)
    assert [member.name for member in method.members] == ["fold 0", "fold 1"]


def test_an_unfinished_cross_validation_is_refused(tmp_path):
    with pytest.raises(InputError, match="no cross-validation there"):
        read_crossval(tmp_path)
    write_folds(tmp_path / "cv")
    shutil.move(tmp_path / "cv/fold_1", tmp_path / "away")
    with pytest.raises(InputError, match="let 'deeppsma crossval' finish"):
        read_crossval(tmp_path / "cv")
    shutil.move(tmp_path / "away", tmp_path / "cv/fold_1")
    (tmp_path / "cv/fold_1" / SCORES_NAME).unlink()
    with pytest.raises(InputError, match="let 'deeppsma crossval' finish"):
        read_crossval(tmp_path / "cv")


def test_cases_of_the_cross_validation_are_refused(cohort, tmp_path, tiny_weights):
    write_folds(tmp_path / "cv")
    seen = {"recipe": "bothways", "cases": {"train_0001": fingerprint(cohort / "train_0001")}}
    (tmp_path / "cv/request.json").write_text(json.dumps(seen))
    request = ExperimentsRequest(cohort, tmp_path / "out", ("single",), tiny_weights, tmp_path / "cv", "cpu")
    with pytest.raises(InputError, match="cases of the cross-validation itself"):
        run_experiments(request)


def test_what_does_not_go_as_planned_is_said(cohort, tmp_path, tiny_weights):
    (cohort / "train_0002/PSMA/totseg_24.nii.gz").unlink()
    text = run_experiments(ExperimentsRequest(cohort, tmp_path / "out", ("single_plus",), tiny_weights, device="cpu"))
    assert "- train_0002: no PSMA organ map: growing spares no organ" in text


def test_what_cannot_be_averaged_is_said(cohort, tmp_path, tiny_weights):
    # Answers of their own and classes that exclude each other have no mean.
    write_tiny_member(tiny_weights / "classes", CLASSES, 1)
    request = ExperimentsRequest(cohort, tmp_path / "out", ("ensemble",), tiny_weights, device="cpu")
    assert "- not averaged, because recipe ensemble cannot: classes" in run_experiments(request)


def test_a_position_that_is_assumed_is_said(cohort, tiny_weights, monkeypatch):
    monkeypatch.setattr(ImageFile, "unsaid_position", "somewhere assumed")
    single = methods(WeightsStore((tiny_weights,)), ["single"])
    found = score_case(load_labelled(cohort / "train_0001"), single, "single")
    assert "FDG PET: somewhere assumed" in found.fallbacks


def test_another_refinement_is_another_method(tmp_path, tiny_weights):
    model = tmp_path / "m.json"
    model.write_text(json.dumps(load_classifier("published").as_dict()))
    recipe = Recipe("r", ("cds-compact",), "single", refinement=str(model))
    method = Method(recipe, tuple(WeightsStore((tiny_weights,)).choose(recipe.members)), "r")
    before = method.identity
    model.write_text(json.dumps(load_classifier("published").as_dict() | {"psma": 1.0}))
    assert method.identity != before


def test_the_same_weights_otherwise_fed_are_another_method(tiny_weights):
    recipe = Recipe("r", ("cds-compact",), "single")
    member = WeightsStore((tiny_weights,)).member("cds-compact")
    other = replace(member, network=replace(member.network, working_spacing_mm=9.0))
    assert Method(recipe, (member,), "r").identity != Method(recipe, (other,), "r").identity
    renamed = replace(member, network=replace(member.network, summary="another"))
    assert Method(recipe, (member,), "r").identity == Method(recipe, (renamed,), "r").identity


def test_bad_requests_are_one_line(cohort, tmp_path, capsys):
    assert main(["experiments", str(tmp_path / "nowhere"), str(tmp_path / "o")]) != 0
    assert "no folders of cases" in capsys.readouterr().err.splitlines()[-1]
    assert main(["experiments", str(cohort), str(tmp_path / "o"), "--recipes", "nothing"]) == 5
    assert main(["experiments", str(cohort), str(tmp_path / "o"), "--recipes", "single", "single"]) == 5
    shutil.rmtree(cohort / "train_0001/PSMA")
    assert main(["experiments", str(cohort), str(tmp_path / "o"), "--recipes", "single"]) != 0
