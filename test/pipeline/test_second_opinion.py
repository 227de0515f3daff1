"""A second opinion as a recipe asks for it, on a small case and trees that look at one feature."""

import json
from dataclasses import replace

import numpy as np
import pytest
from builders.cases import memory_case, write_tiny_member
from builders.second_opinions import feature_names, stump

from deeppsma.core.errors import ConfigurationError
from deeppsma.core.tracer import Tracer
from deeppsma.io.layouts import load_case
from deeppsma.models.store import WeightsStore
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import Growing, Recipe
from deeppsma.pipeline.segment import segment
from deeppsma.postprocessing.second_opinion.decide import Role, SecondOpinion
from deeppsma.postprocessing.second_opinion.store import write_second_opinions


def write_models(folder, low, high, decides=("fdg",), removes=()):
    """Foci of more than 0.5 ml get ``high``, smaller ones ``low``."""
    names = feature_names()
    forest = stump(names.index("suv.log_volume_ml"), float(np.log(0.5)), low, high)
    roles = dict.fromkeys(decides, Role.DECIDES) | dict.fromkeys(removes, Role.REMOVES)
    models = {t: SecondOpinion(t, names, (forest,), 0.0, roles.get(t.value, Role.SAYS)) for t in Tracer}
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


@pytest.mark.parametrize("wrong", [{"average": "probabilities"}, {"growing": Growing(5.0)}])
def test_what_cannot_be_judged_is_refused(wrong):
    fusion = "single" if "average" in wrong else "mean"
    with pytest.raises(ValueError, match="a second_opinion belongs to"):
        Recipe("r", ("tiny",), fusion, second_opinion="shipped", **wrong)


def test_trees_of_other_weights_are_said(platform_case, store, tmp_path):
    place = write_models(tmp_path / "m", -99.0, 99.0)
    card = json.loads((tmp_path / "m/card.json").read_text())
    own = store.member("tiny").sha256
    for of_weights, said in (([own], False), (["0" * 64], True)):
        (tmp_path / "m/card.json").write_text(json.dumps(card | {"of_weights": of_weights}))
        found = segment(platform_case, recipe(place), store, "cpu")
        assert any("has learnt from other weights" in line for line in found.report.fallbacks) == said
