import json
import shutil

import numpy as np
import pytest
from builders.cases import GRIDS, THRESHOLDS, TINY_BLOCKS, TINY_NETWORK, write_platform_case, write_tiny_member

from deeppsma.core.geometry import Geometry
from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.image_files import ImageFile, write_image
from deeppsma.io.layouts import load_case
from deeppsma.models.store import WeightsStore
from deeppsma.pipeline.recipe import Growing, Recipe, load_recipe
from deeppsma.pipeline.segment import segment
from deeppsma.postprocessing.region_growing import grow
from deeppsma.preprocessing import prepared_case
from deeppsma.preprocessing.prepared_case import SEES_NO_ORGANS

RECIPES = ["single", "single_plus", "bothways", "bothways_plus", "ensemble"]


@pytest.fixture
def store(tiny_weights):
    return WeightsStore((tiny_weights,))


def masks_of(case_folder, store, recipe="bothways"):
    result = segment(load_case(case_folder), load_recipe(recipe), store, "cpu")
    return {tracer: volume.voxels for tracer, volume in result.masks.items()}, result.report


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_gives_masks_on_the_pets_grids(platform_case, store, recipe):
    masks, report = masks_of(platform_case, store, recipe)
    for tracer in Tracer:
        pet = load_case(platform_case).study(tracer).read_pet()
        assert masks[tracer].shape == GRIDS[tracer].shape_zyx
        assert masks[tracer].dtype == np.uint8
        assert masks[tracer].sum() > 0
        assert not masks[tracer][pet.voxels < THRESHOLDS[tracer]].any()
    assert report.recipe["name"] == recipe
    assert not report.fallbacks


def test_recipes_relate_as_the_report_says(platform_case, store):
    found = {recipe: masks_of(platform_case, store, recipe)[0] for recipe in RECIPES}
    case = load_case(platform_case)
    for tracer in Tracer:
        single, both = found["single"][tracer] > 0, found["bothways"][tracer] > 0
        assert (both >= single).all()
        assert both.sum() > single.sum()
        for plain, plus in (("single", "single_plus"), ("bothways", "bothways_plus")):
            # Growing around the mask alone gives what growing on the whole image gives.
            pet, organs = case.study(tracer).read_pet(), case.study(tracer).read_organs()
            kept = np.isin(resample(organs, pet.geometry, labels=True), [2, 3, 5, 21])
            before = found[plain][tracer] > 0
            whole = grow(before, pet.voxels >= THRESHOLDS[tracer], pet.geometry.spacing_zyx, 5.0, kept)
            assert np.array_equal(found[plus][tracer] > 0, whole)
        # One member alone is its own ensemble.
        assert np.array_equal(found["ensemble"][tracer], found["bothways_plus"][tracer])


def test_the_same_case_twice_gives_the_same_masks(platform_case, store):
    first, second = (masks_of(platform_case, store, "bothways_plus")[0] for _ in range(2))
    for tracer in Tracer:
        assert np.array_equal(first[tracer], second[tracer])


def test_an_ensemble_of_two_differs_from_each(platform_case, tmp_path):
    for number in range(2):
        write_tiny_member(tmp_path / f"weights/m{number}", [TINY_NETWORK, TINY_BLOCKS][number], seed=number + 5)
    both = segment(
        load_case(platform_case), Recipe("r", ("*",), "single"), WeightsStore((tmp_path / "weights",)), "cpu"
    )
    assert [member.name for member in both.report.members] == ["m0", "m1"]
    alone = segment(
        load_case(platform_case), Recipe("r", ("m0",), "single"), WeightsStore((tmp_path / "weights",)), "cpu"
    )
    assert any(not np.array_equal(both.masks[t].voxels, alone.masks[t].voxels) for t in Tracer)


@pytest.mark.parametrize("tracer", list(Tracer))
def test_nothing_above_threshold_is_a_valid_answer(platform_case, store, tracer):
    name = {"psma": "psma-pet-suv-threshold.json", "fdg": "fdg-pet-suv-threshold.json"}[tracer]
    (platform_case / name).write_text("99")
    masks, report = masks_of(platform_case, store)
    assert masks[tracer].sum() == 0
    assert masks[tracer.other].sum() > 0
    assert report.findings[tracer].volume_ml == 0


def test_nothing_above_either_threshold_needs_no_network(platform_case, store):
    for name in ("psma", "fdg"):
        (platform_case / f"{name}-pet-suv-threshold.json").write_text("99")
    masks, report = masks_of(platform_case, store)
    assert all(mask.sum() == 0 for mask in masks.values())
    assert report.windows == {"run": 0, "skipped": 0, "settled": 0}
    assert report.device.startswith("not needed")
    json.dumps(report.as_dict())


def test_a_missing_organ_map_is_said_in_the_report(tmp_path, store):
    folder = write_platform_case(tmp_path / "input", with_listing=False)
    for tracer in Tracer:
        shutil.rmtree(folder / f"images/{tracer}-ct-organ-segmentation")
    _, report = masks_of(folder, store, "bothways_plus")
    effects = (SEES_NO_ORGANS, "growing spares no organ")
    assert report.fallbacks == tuple(f"no {t} organ map: {e}" for e in effects for t in ("PSMA", "FDG"))


def test_tiff_without_positions_is_said_in_the_report(tmp_path, store):
    _, report = masks_of(write_platform_case(tmp_path / "input", ".tif"), store)
    assert len(report.fallbacks) == 4
    assert report.fallbacks[0] == "PSMA PET: TIFF holds no position; slices of 1 mm at 0 assumed"


def test_each_channel_is_made_once_for_all_members(platform_case, tmp_path, monkeypatch):
    for number in range(3):
        write_tiny_member(tmp_path / f"weights/m{number}", TINY_NETWORK, seed=number)
    made, looked_up = [], []
    make, labels = prepared_case.make_channel, prepared_case.resample_labels
    monkeypatch.setattr(prepared_case, "make_channel", lambda *a: (made.append(a), make(*a))[1])
    monkeypatch.setattr(prepared_case, "resample_labels", lambda *a: (looked_up.append(a), labels(*a))[1])
    segment(load_case(platform_case), Recipe("r", ("*",), "bothways"), WeightsStore((tmp_path / "weights",)), "cpu")
    assert len(looked_up) == 4  # both tracers in each space
    assert len(made) == 8


def test_the_ct_is_never_decompressed(platform_case, store, monkeypatch):
    read = []
    real = ImageFile.read
    monkeypatch.setattr(ImageFile, "read", lambda self, dtype=None: (read.append(self.path), real(self, dtype))[1])
    masks_of(platform_case, store, "bothways_plus")
    folders = sorted(path.parent.name for path in read)
    assert folders == ["fdg-ct-organ-segmentation", "fdg-pet", "psma-ct-organ-segmentation", "psma-pet-ga-68"]


def test_a_file_with_its_axes_turned_gives_the_same_disease(platform_case, store):
    """Both axes order and sign are the file's business: what PSMA space sees of the FDG PET is the same."""
    before, _ = masks_of(platform_case, store, "single")
    path = next((platform_case / "images/fdg-pet").iterdir())
    volume = ImageFile(path).read(np.float32)
    grid = volume.geometry
    (far,) = grid.index_to_world(np.array([[0, 0, grid.shape_zyx[2] - 1]]))
    nz, ny, nx = grid.shape_zyx
    sz, sy, sx = grid.spacing_zyx
    # Stored with x reversed, and y as the slowest axis instead of z.
    voxels = np.ascontiguousarray(volume.voxels[:, :, ::-1].swapaxes(0, 1))
    turned = Geometry((ny, nz, nx), (sy, sz, sx), tuple(far), (-1.0, 0, 0, 0, 0, 1, 0, 1, 0))
    write_image(Volume(voxels, turned), path)
    after, _ = masks_of(platform_case, store, "single")
    assert np.array_equal(after[Tracer.PSMA], before[Tracer.PSMA])
    assert after[Tracer.FDG].shape == (ny, nz, nx)


def test_a_grown_recipe_without_spared_organs(platform_case, store):
    recipe = Recipe("r", ("cds-compact",), "single", growing=Growing(5.0))
    spared = Recipe("r", ("cds-compact",), "single", growing=Growing(5.0, (2, 3, 5, 21)))
    case = load_case(platform_case)
    free, kept = (segment(case, r, store, "cpu").masks for r in (recipe, spared))
    assert all((free[t].voxels >= kept[t].voxels).all() for t in Tracer)
    assert any(free[t].voxels.sum() > kept[t].voxels.sum() for t in Tracer)


def test_volumes_at_other_thresholds_are_in_the_run_report(platform_case, store):
    found = segment(platform_case, "bothways", store, "cpu").report.findings
    for tracer in Tracer:
        at = found[tracer].rethresholded_ml
        assert at, "the case has disease"
        assert all(0 <= ml <= found[tracer].volume_ml + 0.001 for ml in at.values())
    # A rule at the case's own threshold gives the whole mask; lower rules take another run.
    assert found[Tracer.PSMA].threshold_suv == 3.0
    assert found[Tracer.PSMA].rethresholded_ml["SUV \N{GREATER-THAN OR EQUAL TO} 3"] == pytest.approx(
        found[Tracer.PSMA].volume_ml, abs=0.002
    )
    assert "SUV \N{GREATER-THAN OR EQUAL TO} 2.5" not in found[Tracer.PSMA].rethresholded_ml
