from dataclasses import replace

import numpy as np
import pytest
from builders.cases import TINY_NETWORK, memory_case, write_tiny_member
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import rotation_matrix
from deeppsma.core.volume import Volume
from deeppsma.io.case import MemoryImage
from deeppsma.models.store import WeightsStore
from deeppsma.pipeline.recipe import Recipe
from deeppsma.pipeline.segment import segment
from deeppsma.preprocessing.prepared_case import PreparedCase
from deeppsma.preprocessing.tilt import answers_on, is_tilted, straight_grid, straightened, tilt_deg


def turned(grid, turn):
    return replace(grid, direction=tuple((rotation_matrix(turn) @ grid.direction_matrix).ravel().tolist()))


GRID = Geometry((12, 10, 9), (3.0, 2.5, 2.0), (-9.0, -12.0, 20.0))


@given(st.floats(-40, 40), st.sampled_from([0, 1, 2]))
@settings(deadline=None)
def test_the_tilt_is_the_angle_of_the_turn(degrees, axis):
    turn = tuple(degrees if i == axis else 0.0 for i in range(3))
    assert tilt_deg(turned(GRID, turn)) == pytest.approx(abs(degrees), abs=1e-3)


def test_swapped_and_flipped_axes_are_no_tilt():
    sagittal = replace(GRID, direction=(0, 0, 1, -1, 0, 0, 0, -1, 0))
    assert tilt_deg(sagittal) == pytest.approx(0, abs=1e-4)
    assert not is_tilted(turned(GRID, (1.5, 0, 0)))
    assert is_tilted(turned(GRID, (3.0, 0, 0)))


@given(st.tuples(*[st.floats(-12, 12)] * 3))
@settings(deadline=None)
def test_the_straight_grid_covers_the_tilted_one(turn):
    tilted = turned(GRID, turn)
    straight = straight_grid(tilted)
    index = straight.world_to_index(tilted.corners_world())
    assert (index > -0.5 - 1e-6).all()
    assert (index < np.array(straight.shape_zyx) - 0.5 + 1e-6).all()
    assert straight.spacing_zyx == tilted.spacing_zyx


def test_a_smooth_image_keeps_its_values():
    tilted = turned(replace(GRID, shape_zyx=(24, 30, 36)), (8.0, -6.0, 5.0))

    def at(grid):
        x, y, z = grid.index_to_world(np.argwhere(np.ones(grid.shape_zyx, bool))).T
        centre = tilted.corners_world().mean(axis=0)
        away = ((np.stack([x, y, z], 1) - centre) ** 2).sum(1)
        return (6 * np.exp(-away / (2 * 7.0**2))).reshape(grid.shape_zyx).astype(np.float32)

    straight = straightened(Volume(at(tilted), tilted))
    inside = at(straight.geometry) > 1
    assert np.abs(straight.voxels - at(straight.geometry))[inside].max() < 0.05
    assert straight.voxels.min() >= 0


def test_each_hot_voxel_takes_the_answer_of_the_nearest_judged_one():
    grid = Geometry((1, 1, 8), (1.0, 1.0, 1.0))
    pet = Volume(np.array([[[0, 5, 5, 5, 0, 0, 0, 5]]], np.float32), grid)
    hot = np.array([[[False, False, True, True, False, False, False, False]]])
    found = np.array([[[0, 0, 1, 0, 0, 0, 0, 0]]], np.uint8)
    assert answers_on(pet, 3.0, Volume(found, grid), hot).tolist() == [[[0, 1, 1, 0, 0, 0, 0, 0]]]
    assert not answers_on(pet, 3.0, Volume(found, grid), np.zeros_like(hot)).any()


@pytest.fixture(scope="module")
def tilted_case():
    case = memory_case()
    studies = {}
    for tracer, study in case.studies.items():
        pet = study.read_pet()
        tilted = Volume(pet.voxels, turned(pet.geometry, (6, 4, -5)))
        studies[tracer] = replace(study, pet=MemoryImage(tilted, study.pet.path))
    return replace(case, studies=studies)


def test_a_tilted_case_gets_masks_on_its_grid_with_the_threshold_as_edge(tilted_case, tmp_path):
    write_tiny_member(tmp_path / "m", TINY_NETWORK, 3)
    recipe = Recipe("r", ("m",), "bothways")
    result = segment(tilted_case, recipe, WeightsStore((tmp_path,)), "cpu", with_probabilities=True)
    assert any(mask.voxels.any() for mask in result.masks.values())
    for tracer, mask in result.masks.items():
        study = tilted_case.study(tracer)
        assert mask.geometry == study.pet.geometry
        hot = study.read_pet().voxels >= np.float32(study.threshold_suv)
        assert not (mask.voxels.astype(bool) & ~hot).any()
        assert not (result.probabilities[tracer].voxels[~hot]).any()
        volume_ml = mask.voxels.sum() * mask.geometry.voxel_volume_ml
        assert result.report.findings[tracer].volume_ml == pytest.approx(volume_ml, abs=1e-3)
    notes = [line for line in result.report.fallbacks if "resampled to a straight one" in line]
    assert len(notes) == 2


def test_what_is_on_the_pet_comes_onto_the_crop_and_back(tilted_case):
    prepared = PreparedCase(tilted_case)
    study = tilted_case.study(Tracer.PSMA)
    hot = study.read_pet().voxels >= np.float32(study.threshold_suv)
    crop = prepared.on_crop(Tracer.PSMA, hot)
    assert crop.dtype == bool
    again = prepared.on_pet(Tracer.PSMA, crop & prepared.spaces[Tracer.PSMA].hot).voxels > 0
    assert 2 * (again & hot).sum() / (again.sum() + hot.sum()) > 0.9
