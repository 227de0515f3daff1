import json
import shutil

import numpy as np
import pytest
from builders.answers import FDG_MEMBER, classes, logits_of, paire
from builders.cases import write_platform_case, write_tiny_member

from deeppsma.core.tracer import Tracer
from deeppsma.io.layouts import load_case
from deeppsma.models.store import WeightsStore
from deeppsma.pipeline.apply_recipe import apply_recipe
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import Growing, Recipe
from deeppsma.pipeline.segment import segment
from deeppsma.postprocessing.lesion_classifier import load_classifier
from deeppsma.preprocessing.prepared_case import SEES_NO_ORGANS, PreparedCase


@pytest.fixture
def case(platform_case):
    return PreparedCase(load_case(platform_case))


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
