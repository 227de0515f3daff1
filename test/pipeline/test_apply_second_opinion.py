"""A second opinion as a recipe asks for it, on a small case and trees that look at one feature."""

import json
from dataclasses import replace

import numpy as np
import pytest
from builders.answers import BOTH, FDG_MEMBER, logits_of, paire
from builders.cases import memory_case, write_tiny_member
from builders.second_opinions import feature_names, stump

from deeppsma.core.errors import ConfigurationError
from deeppsma.core.tracer import Tracer
from deeppsma.inference.logits import Logits
from deeppsma.io.layouts import load_case
from deeppsma.models.store import WeightsStore
from deeppsma.pipeline.apply_recipe import apply_recipe
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import ConsensusStep, Growing, Recipe
from deeppsma.pipeline.segment import segment
from deeppsma.postprocessing.lesion_classifier import load_classifier
from deeppsma.postprocessing.second_opinion.decide import Role, SecondOpinion
from deeppsma.postprocessing.second_opinion.store import write_second_opinions
from deeppsma.preprocessing.prepared_case import PreparedCase


def write_models(folder, low, high, decides=("fdg",), removes=(), offset=0.0):
    """Foci of more than 0.5 ml get ``high``, smaller ones ``low``."""
    names = feature_names()
    forest = stump(names.index("suv.log_volume_ml"), float(np.log(0.5)), low, high)
    roles = dict.fromkeys(decides, Role.DECIDES) | dict.fromkeys(removes, Role.REMOVES)
    models = {t: SecondOpinion(t, names, (forest,), offset, roles.get(t.value, Role.SAYS)) for t in Tracer}
    write_second_opinions(folder, models, "nobody", {})
    return str(folder)


@pytest.fixture
def store(tmp_path):
    write_tiny_member(tmp_path / "weights/tiny", seed=5)
    return WeightsStore.default(tmp_path / "weights")


def recipe(opinion, **more):
    return Recipe("r", ("tiny",), "mean", second_opinion=opinion, **more)


def test_the_trees_decide_on_fdg_alone(platform_case, store, tmp_path):
    plain = segment(platform_case, Recipe("r", ("tiny",), "mean"), store, "cpu")
    sure = segment(platform_case, recipe(write_models(tmp_path / "yes", 99.0, 99.0)), store, "cpu")
    none = segment(platform_case, recipe(write_models(tmp_path / "no", -99.0, -99.0)), store, "cpu")
    case = load_case(platform_case)
    hot = case.fdg.read_pet().voxels >= np.float32(case.fdg.threshold_suv)
    assert np.array_equal(sure.masks[Tracer.FDG].voxels > 0, hot)
    assert not none.masks[Tracer.FDG].voxels.any()
    for each in (sure, none):
        assert np.array_equal(each.masks[Tracer.PSMA].voxels, plain.masks[Tracer.PSMA].voxels)
    assert plain.report.foci is None


def test_trees_that_remove_take_foci_and_add_none(platform_case, store, tmp_path):
    plain = segment(platform_case, Recipe("r", ("tiny",), "mean"), store, "cpu")
    assert plain.masks[Tracer.PSMA].voxels.any()
    removes = {"decides": (), "removes": ("psma",)}
    sure = segment(platform_case, recipe(write_models(tmp_path / "yes", 99.0, 99.0, **removes)), store, "cpu")
    none = segment(platform_case, recipe(write_models(tmp_path / "no", -99.0, -99.0, **removes)), store, "cpu")
    assert np.array_equal(sure.masks[Tracer.PSMA].voxels, plain.masks[Tracer.PSMA].voxels)
    assert not none.masks[Tracer.PSMA].voxels.any()
    assert np.array_equal(none.masks[Tracer.FDG].voxels, plain.masks[Tracer.FDG].voxels)
    assert {line["decision"] for line in none.report.foci[Tracer.PSMA.value]} <= {"removed", "left out"}


def test_a_mask_that_is_empty_for_want_of_a_likely_focus_is_said(platform_case, store, tmp_path):
    place = write_models(tmp_path / "doubt", -0.5, -0.5, offset=9.0)
    found = segment(platform_case, recipe(place), store, "cpu")
    assert not found.masks[Tracer.FDG].voxels.any()
    foci = found.report.foci[Tracer.FDG]
    (said,) = [line for line in found.report.fallbacks if "likely to be disease" in line]
    nothing = "no FDG focus is likely to be disease, so the mask is empty"
    assert said == f"{nothing}; {len(foci)} that might be are for a reader to judge"
    assert {line["decision"] for line in foci} <= {"removed", "left out"}
    assert all("unsure" in line["review"] for line in foci)
    one_sure = segment(platform_case, recipe(write_models(tmp_path / "sure", -0.5, 0.5, offset=9.0)), store, "cpu")
    assert one_sure.masks[Tracer.FDG].voxels.any()
    assert not any("likely to be disease" in line for line in one_sure.report.fallbacks)


def test_the_report_has_a_line_for_each_focus(platform_case, store, tmp_path):
    found = segment(platform_case, recipe(write_models(tmp_path / "m", -99.0, 99.0, ("psma", "fdg"))), store, "cpu")
    report = json.loads(json.dumps(found.report.as_dict()))
    for tracer in Tracer:
        lines = report["foci"][tracer.value]
        kept = [line for line in lines if line["decision"] in ("kept", "added", "changed")]
        assert kept
        assert all(line["volume_ml"] > 0.5 for line in kept)
        assert sum(line["volume_ml"] for line in kept) == pytest.approx(
            report["findings"][tracer.value]["volume_ml"], abs=0.01 * len(kept)
        )
    assert report["seconds"]["second opinion"] > 0
    assert not any("second opinion" in line for line in report["fallbacks"])


def test_what_is_missing_is_said(store, tmp_path):
    case = memory_case()  # it has no CTs
    blind = replace(case, studies={**case.studies, Tracer.FDG: replace(case.fdg, organs=None)})
    found = segment(blind, recipe(write_models(tmp_path / "m", -99.0, 99.0)), store, "cpu")
    lines = [line for line in found.report.fallbacks if "second opinion" in line]
    assert sorted(lines) == [
        "no FDG CT: the second opinion does without",
        "no FDG organ map: the second opinion does without",
        "no PSMA CT: the second opinion does without",
    ]
    assert found.masks[Tracer.FDG].voxels.any()


def test_one_tracer_alone_has_a_second_opinion_too(platform_case, store, tmp_path):
    case = load_case(platform_case)
    alone = replace(case, studies={Tracer.FDG: case.fdg}, fdg_to_psma=None)
    found = segment(alone, recipe(write_models(tmp_path / "m", 99.0, 99.0)), store, "cpu")
    assert set(found.report.foci) == {Tracer.FDG}
    assert found.masks[Tracer.FDG].voxels.any()


def test_another_model_is_another_method(store, tmp_path):
    ours, theirs = (
        Method.choose(recipe(write_models(tmp_path / name, -1.0, high)), store)
        for name, high in (("a", 1.0), ("b", 2.0))
    )
    assert ours.identity != theirs.identity
    with pytest.raises(ConfigurationError, match="second_opinion: no 'nobody'"):
        Method.choose(recipe("nobody"), store)


RECIPES = {
    "single": Recipe("r", ("both",), "single"),
    "bothways": Recipe("r", ("both",), "bothways"),
    "grown": Recipe("r", ("both",), "mean", growing=Growing(4.0)),
    "probabilities": paire(cutoffs={"fdg": 0.25}),
    "probabilities, grown": paire(cutoffs={"fdg": 0.25}, normal_cutoffs={"fdg": 0.6}, growing=Growing(4.0)),
    "classes": paire(consensus=ConsensusStep("grow", radius_mm=4.0)),
}


@pytest.mark.parametrize("name", RECIPES)
def test_any_recipe_can_be_judged(name, platform_case, tmp_path):
    case, recipe = PreparedCase(load_case(platform_case)), RECIPES[name]
    rng = np.random.default_rng(3)

    def fdg(n):
        answers = np.repeat(rng.random((3, n // 40 + 1)), 40, axis=1)[:, :n]  # long stretches, so that foci differ
        return np.log(answers / answers.sum(axis=0)).astype(np.float32)

    logits = logits_of(case, fdg)
    half = {t: np.where(np.arange(v.shape[1]) % 90 < 45, 4, -4) for (t, _), v in logits["both"].by_place.items()}
    logits["both"] = Logits({(t, t): half[t][None].astype(np.float32) for t in Tracer})
    method = Method(recipe, (FDG_MEMBER, BOTH) if recipe.average == "probabilities" else (BOTH,))
    plain = apply_recipe(method, case, logits).masks

    def after(score, **roles):
        place = write_models(tmp_path / f"{score}{sorted(roles)}", score, score, **roles)
        return apply_recipe(replace(method, recipe=replace(recipe, second_opinion=place)), case, logits).masks

    for tracer in Tracer:
        assert 0 < plain[tracer].sum() < case.spaces[tracer].hot.sum()
        both = {"decides": (), "removes": ("psma", "fdg")}
        assert np.array_equal(after(99.0, **both)[tracer], plain[tracer])
        assert not after(-99.0, **both)[tracer].any()
        assert np.array_equal(after(-99.0, decides=())[tracer], plain[tracer])  # these trees only say
        assert np.array_equal(after(99.0, decides=("psma", "fdg"))[tracer], case.spaces[tracer].hot)


def test_refinement_comes_after_the_second_opinion(platform_case, store, tmp_path):
    strict = load_classifier("published").as_dict() | {"intercept": -100.0, "keep_above_ml": 1000.0}
    (tmp_path / "strict.json").write_text(json.dumps(strict))
    place = write_models(tmp_path / "m", 99.0, 99.0)
    judged = segment(platform_case, recipe(place), store, "cpu")
    refined = segment(platform_case, recipe(place, refinement=str(tmp_path / "strict.json")), store, "cpu")
    assert len(refined.report.refinement["removed_fdg_lesions"]) > 0
    before, after = (result.masks[Tracer.FDG].voxels > 0 for result in (judged, refined))
    assert after.sum() < before.sum()


def test_trees_of_other_weights_are_said(platform_case, store, tmp_path):
    place = write_models(tmp_path / "m", -99.0, 99.0)
    card = json.loads((tmp_path / "m/card.json").read_text())
    own = store.member("tiny").sha256
    for of_weights, said in (([own], False), (["0" * 64], True)):
        (tmp_path / "m/card.json").write_text(json.dumps(card | {"of_weights": of_weights}))
        found = segment(platform_case, recipe(place), store, "cpu")
        assert any("has learnt from other weights" in line for line in found.report.fallbacks) == said
