"""Members that cannot change a mask any more do not run, and the masks are the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.gtrc_stand_in import plans_like_gtrc, write_model_folder
from deeppsma.core.tracer import Tracer
from deeppsma.io.layouts import load_case
from deeppsma.models.store import WeightsStore
from deeppsma.pipeline.case_run import CaseRun
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import ConsensusStep, Recipe, load_recipe
from deeppsma.pipeline.segment import segment
from deeppsma.pipeline.settling import unsettled_by

MODELS = 4


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    for tracer in Tracer:
        for number in range(MODELS):
            dataset = f"Dataset{number:03}_{tracer.upper()}"
            plans = plans_like_gtrc(dataset, 2, (32, 16, 16))
            plans["configurations"]["3d_fullres"]["spacing"] = [1.5, 2.0, 2.0]
            labels = ("background", "ttb", "norm")
            write_model_folder(folder / dataset / "model", plans, ("noNorm", "CT"), labels, 1, number)
    return WeightsStore.default(folder)


@pytest.fixture(autouse=True)
def models_that_are_sure(monkeypatch):
    """In place of convolutions a rule on PET over threshold, for each model another one; in doubt near its steps."""

    def by_rule(self, fold, x):
        step, ratio = next(fold.parameters()).flatten()[0].item(), x[:, 0]
        return torch.stack([0 * ratio, 30 * (ratio - 1.6 - step), 30 * (1.3 + step - ratio)], dim=1)

    monkeypatch.setattr("deeppsma.models.nnunet.network.PlannedNetwork._mean", by_rule)


VOTE = {"consensus": ConsensusStep("grow")}
CUTOFFS = {"cutoffs": {"fdg": 0.25}, "normal_cutoffs": {"psma": 0.5, "fdg": 0.75}}


def recipe_of(**more):
    return Recipe("x", ("*",), "single", average="probabilities", **more)


@pytest.mark.parametrize("more", [CUTOFFS, VOTE], ids=["cutoffs", "classes"])
def test_masks_are_the_same_and_windows_are_settled(results, platform_case, more):
    case, recipe = load_case(platform_case), recipe_of(**more)
    spared = segment(case, recipe, results, "cpu")
    everything = segment(case, recipe, results, "cpu", with_probabilities=True)
    for tracer in Tracer:
        assert np.array_equal(spared.masks[tracer].voxels, everything.masks[tracer].voxels)
        assert 0 < spared.masks[tracer].voxels.sum() < (everything.probabilities[tracer].voxels > 0).sum()
    few, all_of_them = spared.report.windows, everything.report.windows
    assert few["settled"] > 0
    assert few["run"] + few["settled"] == all_of_them["run"]
    assert few["skipped"] == all_of_them["skipped"]
    assert all_of_them["settled"] == 0


def test_a_member_with_nothing_left_to_say_is_not_loaded(results, platform_case, monkeypatch):
    weights = {f"Dataset000_{tracer.upper()}/model": 1000.0 for tracer in Tracer}
    names = tuple(results.names()[i] for i in range(2 * MODELS))
    own = tuple(name for name in names if name.startswith("Dataset00"))
    recipe = replace(recipe_of(), members=own, member_weights=weights)
    loaded = []
    load = type(results.member(own[0])).load
    monkeypatch.setattr("deeppsma.models.weights.Member.load", lambda self: loaded.append(self.name) or load(self))
    case = load_case(platform_case)
    # Everything but near ties of the heaviest is settled by it alone; these are given to it, too.
    monkeypatch.setattr("deeppsma.postprocessing.settled.Bounds.settled_by_cutoffs", lambda self, *_: self.disease > -1)
    result = segment(case, recipe, results, "cpu")
    assert sorted(loaded) == sorted(weights)
    assert result.report.windows["settled"] == (MODELS - 1) * result.report.windows["run"]


def test_where_logits_are_averaged_nothing_is_settled():
    method = Method.choose(load_recipe("mean"), WeightsStore.default())
    assert unsettled_by(method, {}) is None


def test_early_answers_of_some_members_leave_the_last_mask_as_it_is(results, platform_case):
    """With a time limit the first members have answered everywhere; the rest answers where it matters."""
    case, recipe = load_case(platform_case), recipe_of(**CUTOFFS)

    def early(run: CaseRun, method: Method) -> Method:
        run.infer(method.members[:1])
        run.apply(replace(method, members=method.members[:1]))
        return replace(method, members=method.members[:-1])

    fewer = segment(case, recipe, results, "cpu", opened=early)
    members = Method.choose(recipe, results).members[:-1]
    alone = replace(recipe, members=tuple(member.name for member in members))
    for tracer in Tracer:
        wanted = segment(case, alone, results, "cpu", with_probabilities=True).masks[tracer]
        assert np.array_equal(fewer.masks[tracer].voxels, wanted.voxels)
