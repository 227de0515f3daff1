import json
import shutil

import numpy as np
import pytest
from builders.cases import TINY_NETWORK, write_platform_case, write_tiny_member
from builders.networks import CLASSES

from deeppsma.core.tracer import Tracer
from deeppsma.inference.logits import Logits
from deeppsma.io.layouts import load_case
from deeppsma.models.store import WeightsStore
from deeppsma.models.weights import Member
from deeppsma.pipeline.apply_recipe import apply_recipe, probabilities
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import Growing, Recipe
from deeppsma.pipeline.segment import segment
from deeppsma.postprocessing.lesion_classifier import load_classifier
from deeppsma.postprocessing.region_growing import grow
from deeppsma.preprocessing.prepared_case import SEES_NO_ORGANS, PreparedCase

FDG_MEMBER, BOTH = Member("fdg", None, CLASSES, ""), Member("both", None, TINY_NETWORK, "")


@pytest.fixture
def case(platform_case):
    return PreparedCase(load_case(platform_case))


def classes(background, disease, normal, n):
    """Logits with these probabilities at every voxel."""
    return np.repeat(np.log(np.array([background, disease, normal], np.float32))[:, None], n, axis=1)


def logits_of(case, fdg_classes, both=-10.0):
    n = {tracer: int(case.spaces[tracer].hot.sum()) for tracer in Tracer}
    return {
        "fdg": Logits({(Tracer.FDG, Tracer.FDG): fdg_classes(n[Tracer.FDG])}),
        "both": Logits({(t, t): np.full((1, n[t]), both, np.float32) for t in Tracer}),
    }


def paire(**more):
    return Recipe("r", ("fdg", "both"), "single", average="probabilities", **more)


@pytest.mark.parametrize(("cutoff", "found"), [(0.2, True), (0.3, False)])
def test_probabilities_are_averaged_by_weight(case, cutoff, found):
    # 0.75 of the one and 0 of the other, in proportion 1 to 2: 0.25.
    logits = logits_of(case, lambda n: classes(0.05, 0.75, 0.2, n), both=-30.0)
    method = Method(paire(member_weights={"both": 2.0}, cutoffs={"fdg": cutoff}), (FDG_MEMBER, BOTH))
    masks = apply_recipe(method, case, logits).masks
    probability = probabilities(method, case, logits)[Tracer.FDG]
    assert np.allclose(probability[case.spaces[Tracer.FDG].hot], 0.25, atol=1e-3)
    assert not probability[~case.spaces[Tracer.FDG].hot].any()
    assert masks[Tracer.FDG].any() == found
    assert np.array_equal(masks[Tracer.FDG], case.spaces[Tracer.FDG].hot & found)
    assert not masks[Tracer.PSMA].any()


def test_normal_uptake_goes_after_growing(case):
    hot = case.spaces[Tracer.FDG].hot
    n = int(hot.sum())
    third = np.arange(n) < n // 3
    rest = (np.arange(n) >= n // 3) & (np.arange(n) < n // 2)

    def logits(n):
        values = classes(0.9, 0.05, 0.05, n)
        values[:, third] = classes(0.02, 0.96, 0.02, 1)
        values[:, rest] = classes(0.05, 0.05, 0.9, 1)
        return values

    recipe = paire(normal_cutoffs={"fdg": 0.75}, growing=Growing(500.0 / 10))
    found = apply_recipe(Method(recipe, (FDG_MEMBER, BOTH)), case, logits_of(case, logits, both=0.0)).masks[Tracer.FDG]
    seed = np.zeros_like(hot)
    seed[hot] = third
    grown = grow(seed, hot, case.spaces[Tracer.FDG].geometry.spacing_zyx, 50.0, np.zeros_like(hot))
    normal = np.zeros_like(hot)
    normal[hot] = rest
    assert (grown & normal).any()
    assert np.array_equal(found, grown & ~normal)


def test_without_an_organ_map_no_lesion_goes(tmp_path):
    folder = write_platform_case(tmp_path / "input", with_listing=False)
    shutil.rmtree(folder / "images/psma-ct-organ-segmentation")
    write_tiny_member(tmp_path / "weights/m", seed=5)
    store, case = WeightsStore((tmp_path / "weights",)), load_case(folder)
    plain, refined = (
        segment(case, Recipe("r", ("m",), "single", refinement=name), store, "cpu") for name in ("", "published")
    )
    assert np.array_equal(plain.masks[Tracer.FDG].voxels, refined.masks[Tracer.FDG].voxels)
    assert f"no PSMA organ map: {SEES_NO_ORGANS}" in refined.report.fallbacks
    assert "no PSMA organ map: FDG lesions are not refined" in refined.report.fallbacks


def test_growing_spares_more_organs_on_fdg():
    growing = Growing(5.0, (2, 3), (90,))
    assert growing.kept(Tracer.PSMA) == (2, 3)
    assert growing.kept(Tracer.FDG) == (2, 3, 90)


def test_a_tracer_without_a_member_is_empty_and_said(case):
    logits = logits_of(case, lambda n: classes(0.05, 0.9, 0.05, n))
    found = apply_recipe(Method(paire(), (FDG_MEMBER,)), case, logits).masks
    assert set(found) == {Tracer.FDG}
    assert case.log.fallbacks == ["recipe r has no member for PSMA: its mask is empty"]


def test_a_refined_recipe_says_what_it_removed(platform_case, tmp_path):
    write_tiny_member(tmp_path / "weights/m", seed=5)
    store = WeightsStore((tmp_path / "weights",))
    case = load_case(platform_case)
    strict = load_classifier("published").as_dict() | {"intercept": -100.0, "keep_above_ml": 1000.0}
    (tmp_path / "strict.json").write_text(json.dumps(strict))
    plain = segment(case, Recipe("r", ("m",), "single"), store, "cpu")
    refined = segment(case, Recipe("r", ("m",), "single", refinement=str(tmp_path / "strict.json")), store, "cpu")
    removed = refined.report.refinement["removed_fdg_lesions"]
    before, after = (result.masks[Tracer.FDG].voxels > 0 for result in (plain, refined))
    assert plain.report.refinement is None
    assert removed
    volume = case.fdg.pet.geometry.voxel_volume_ml
    assert (before & ~after).sum() * volume == pytest.approx(sum(each["volume_ml"] for each in removed), abs=1e-3)
    assert np.array_equal(plain.masks[Tracer.PSMA].voxels, refined.masks[Tracer.PSMA].voxels)
