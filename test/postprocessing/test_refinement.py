import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppsma.core import settings as core_settings
from deeppsma.core.errors import ConfigurationError
from deeppsma.core.geometry import Geometry
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume
from deeppsma.postprocessing import lesion_classifier
from deeppsma.postprocessing.lesion_classifier import LesionClassifier, load_classifier
from deeppsma.postprocessing.lesions import Lesion, Scene, find_lesions
from deeppsma.postprocessing.refinement import refine

FDG = Geometry((4, 10, 20), (5.0, 5.0, 5.0), (0.0, 0.0, 0.0))
PSMA = Geometry((4, 10, 20), (5.0, 5.0, 5.0), (100.0, 0.0, 0.0))
#: FDG points lie 100 mm to the left of PSMA's.
SHIFT = RigidTransform(translation_xyz=(100.0, 0.0, 0.0))
PUBLISHED = load_classifier("published")


def scene(fdg, psma=(), fdg_organs=None, psma_organs=None, suv=5.0):
    """Boxes of voxels (x from, x to) on the first rows; organs by x, too."""

    def mask(parts, grid):
        voxels = np.zeros(grid.shape_zyx, bool)
        for first, last in parts:
            voxels[1, 2, first:last] = True
        return Volume(voxels, grid)

    def organs(parts, grid):
        if parts is None:
            return None
        voxels = np.zeros(grid.shape_zyx, np.uint8)
        for label, first, last in parts:
            voxels[:, :, first:last] = label
        return Volume(voxels, grid)

    pet = np.full(FDG.shape_zyx, suv, np.float32)
    return Scene(mask(fdg, FDG), pet, mask(psma, PSMA), organs(fdg_organs, FDG), organs(psma_organs, PSMA), SHIFT)


def lesion(labels=(18,), volume_ml=1.0, suv_max=4.0, psma=False):
    return Lesion(1, labels, volume_ml, suv_max, psma, (0.0, 0.0, 0.0))


def test_the_published_score_by_hand():
    x = -5.4058 + 0.69796 * math.log(2.0) + 0.83626 * 4.0
    assert PUBLISHED.score(lesion()) == pytest.approx(1 / (1 + math.exp(-x)))
    assert PUBLISHED.score(lesion(psma=True)) == pytest.approx(1 / (1 + math.exp(-x - 3.3451)))
    assert PUBLISHED.score(lesion(suv_max=-1e5)) == pytest.approx(0)  # no overflow
    assert PUBLISHED.score(lesion(suv_max=1e5)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (lesion(labels=()), "outside organs"),
        (lesion(volume_ml=7.01), "large"),
        (lesion(volume_ml=7.0), ""),
        (lesion(suv_max=9.0), "score"),
        (lesion(psma=True), "score"),
        (lesion(), ""),
    ],
)
def test_the_rules_around_it(found, why):
    assert PUBLISHED.verdict(found) == why


def test_features_by_hand():
    case = scene([(2, 4), (8, 9)], psma=[(15, 16)], fdg_organs=[(18, 0, 3), (5, 3, 6)], psma_organs=[(5, 10, 20)])
    case.suv[1, 2, 3] = 9.0
    components, (first, second) = find_lesions(case, "organ")
    assert (components[1, 2, 2:9] == [1, 1, 0, 0, 0, 0, 2]).all()
    assert first.labels == (5, 18)
    assert first.volume_ml == pytest.approx(2 * 0.125)
    assert first.suv_max == 9
    assert first.psma  # PSMA's disease lies in the liver, too, though 60 mm away
    assert first.centre_xyz_mm == pytest.approx((12.5, 10.0, 5.0))
    assert (second.labels, second.psma) == ((), False)


@pytest.mark.parametrize(("radius_mm", "found"), [(24.9, []), (25.0, [2]), (60.0, [1, 2])])
def test_the_same_place_in_space(radius_mm, found):
    # PSMA's voxel 13 is FDG's 13: 25 mm from the second lesion, 50 mm from the first.
    case = scene([(2, 4), (8, 9)], psma=[(13, 14)])
    _, lesions = find_lesions(case, "space", radius_mm)
    assert [each.number for each in lesions if each.psma] == found


def test_what_goes_is_listed_and_what_stays_is_untouched():
    case = scene([(2, 4), (8, 9)], fdg_organs=[(18, 0, 6)], suv=4.0)
    mask, removed = refine(case, PUBLISHED)
    assert mask.sum() == 1
    assert mask[1, 2, 8]
    assert len(removed) == 1
    assert removed[0]["organ_labels"] == [18]
    assert removed[0]["volume_ml"] == 0.25
    assert removed[0]["score"] == round(PUBLISHED.score(lesion(volume_ml=0.25)), 4)
    json.dumps(removed)


def test_empty_masks_and_missing_maps():
    mask, removed = refine(scene([]), PUBLISHED)
    assert not mask.any()
    assert removed == []
    assert find_lesions(scene([]), "space", 5.0)[1] == []
    # Without an organ map every lesion lies outside organs.
    assert refine(scene([(2, 4)], suv=0.1), PUBLISHED)[0].sum() == 2
    assert refine(scene([(2, 4)], fdg_organs=[(18, 0, 6)], suv=0.1), PUBLISHED)[0].sum() == 0


@given(st.integers(0, 9999), st.sampled_from(["organ", "space"]))
@settings(deadline=None, max_examples=30)
def test_refining_takes_whole_lesions_and_no_more(seed, match):
    rng = np.random.default_rng(seed)
    fdg = Volume(rng.random(FDG.shape_zyx) < 0.1, FDG)
    organs = Volume(rng.choice([0, 5, 18], FDG.shape_zyx).astype(np.uint8), FDG)
    psma = Volume(rng.random(PSMA.shape_zyx) < 0.02, PSMA)
    suv = rng.uniform(2, 9, FDG.shape_zyx).astype(np.float32)
    case = Scene(fdg, suv, psma, organs, Volume(organs.voxels, PSMA), SHIFT)
    model = replace(PUBLISHED, match=match, radius_mm=6.0 if match == "space" else 0.0)
    mask, removed = refine(case, model)
    components, lesions = find_lesions(case, match, model.radius_mm)
    assert not (mask & ~fdg.voxels).any()
    for each in lesions:
        kept = mask[components == each.number]
        assert kept.all() == bool(model.verdict(each))
        assert kept.any() == kept.all()
    assert len(removed) == sum(not model.verdict(each) for each in lesions)
    # Twice is once, as far as the lesions of the first time go.
    again, more = refine(replace(case, fdg=Volume(mask, FDG)), model)
    assert np.array_equal(again, mask)
    assert more == []


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"match": "name"}, "match must be"),
        ({"psma": math.nan}, "finite"),
        ({"psma": "3"}, "psma: expected float, got str"),
        ({"cutoff": 1.0}, "cutoff"),
        ({"keep_above_ml": -1}, "cutoff"),
        ({"radius_mm": 5.0}, "radius_mm"),
        ({"match": "space"}, "radius_mm"),
        ({"slope": 1}, "unknown keys"),
    ],
)
def test_models_that_make_no_sense_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        LesionClassifier.from_dict(PUBLISHED.as_dict() | change)
    incomplete = PUBLISHED.as_dict()
    del incomplete["psma"]
    with pytest.raises(ValueError, match="psma"):
        LesionClassifier.from_dict(incomplete)


def test_a_broken_file_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "refinement").mkdir()
    (tmp_path / "refinement/odd.json").write_text('{"match": "organ"}')
    (tmp_path / "refinement/list.json").write_text("[1]")
    for module in (core_settings, lesion_classifier):
        monkeypatch.setattr(module, "resources_folder", lambda: tmp_path)
    for name in ("odd", "list"):
        with pytest.raises(ConfigurationError, match=f"{name}.json"):
            load_classifier(name)
    with pytest.raises(ConfigurationError, match="choose one of list, odd"):
        load_classifier("nothing")
