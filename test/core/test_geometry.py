import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppsma.core.box import Box
from deeppsma.core.geometry import Geometry
from deeppsma.core.transforms import rotation_matrix
from deeppsma.core.volume import Volume

angle = st.floats(-180, 180)
spacing = st.floats(0.5, 6)


@st.composite
def geometries(draw):
    shape = tuple(draw(st.integers(2, 9)) for _ in range(3))
    direction = rotation_matrix([draw(angle) for _ in range(3)]) * np.array([draw(st.sampled_from([-1, 1])), 1, 1])
    origin = tuple(draw(st.floats(-900, 900)) for _ in range(3))
    return Geometry(shape, tuple(draw(spacing) for _ in range(3)), origin, tuple(direction.ravel()))


def test_world_of_a_flipped_grid_by_hand():
    # x runs to the right, z to the feet: index (z=1, y=2, x=3) of 2 x 3 x 4 mm voxels (z, y, x).
    grid = Geometry((5, 5, 5), (2.0, 3.0, 4.0), (10.0, 20.0, 30.0), (-1, 0, 0, 0, 1, 0, 0, 0, -1))
    assert grid.index_to_world(np.array([[1, 2, 3]])).tolist() == [[10 - 12, 20 + 6, 30 - 2]]


@given(geometries(), st.data())
def test_agrees_with_simpleitk(grid, data):
    image = Volume(np.zeros(grid.shape_zyx, np.uint8), grid).to_sitk()
    index = [data.draw(st.integers(0, n - 1)) for n in grid.shape_zyx]
    expected = image.TransformIndexToPhysicalPoint(index[::-1])
    assert grid.index_to_world(np.array([index]))[0] == pytest.approx(expected, abs=1e-6)
    assert Geometry.from_sitk(image).same_grid(grid)


@given(geometries())
def test_there_and_back(grid):
    index = np.random.default_rng(0).uniform(-3, 12, (5, 3))
    assert np.allclose(grid.world_to_index(grid.index_to_world(index)), index, atol=1e-6)


@given(geometries())
def test_a_crop_keeps_its_voxels_in_place(grid):
    box = Box((1, 0, 1), (2, 2, 2))
    crop = grid.cropped(box)
    assert np.allclose(crop.index_to_world(np.zeros((1, 3))), grid.index_to_world(np.array([[1, 0, 1]])))


@given(geometries(), st.tuples(*[st.integers(1, 3)] * 3))
@settings(max_examples=30)
def test_a_coarse_voxel_lies_at_the_mean_of_its_block(grid, block):
    coarse = grid.coarsened(block)
    first = np.argwhere(np.ones(block, bool))
    assert np.allclose(coarse.index_to_world(np.zeros((1, 3))), grid.index_to_world(first).mean(axis=0), atol=1e-6)
    assert all(c * b >= n > (c - 1) * b for c, b, n in zip(coarse.shape_zyx, block, grid.shape_zyx, strict=True))


def test_an_axis_aligned_grid_covers_the_oblique_one():
    grid = Geometry((9, 8, 7), (3, 2, 2), (5, 5, 5), tuple(rotation_matrix([10, 20, 30]).ravel()))
    around = grid.axis_aligned()
    index = around.world_to_index(grid.corners_world())
    assert (index >= -0.5 - 1e-9).all()
    assert (index <= np.array(around.shape_zyx) - 0.5 + 1e-9).all()


def test_same_grid_sees_a_shift_a_turn_and_another_size():
    grid = Geometry((4, 4, 4), (2, 2, 2))
    assert grid.same_grid(Geometry((4, 4, 4), (2, 2, 2), (1e-4, 0, 0)))
    assert not grid.same_grid(Geometry((4, 4, 4), (2, 2, 2), (0.1, 0, 0)))
    assert not grid.same_grid(Geometry((4, 4, 5), (2, 2, 2)))
    assert not grid.same_grid(Geometry((4, 4, 4), (2, 2, 2.1)))
    assert not grid.same_grid(Geometry((4, 4, 4), (2, 2, 2), (0, 0, 0), (-1, 0, 0, 0, 1, 0, 0, 0, 1)))


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"shape_zyx": (0, 4, 4)}, "positive sizes"),
        ({"spacing_zyx": (1, 0, 1)}, "spacing"),
        ({"spacing_zyx": (1, float("nan"), 1)}, "spacing"),
        ({"origin_xyz": (0, 0, float("inf"))}, "origin"),
        ({"direction": (1, 0, 0, 0, 1, 0, 0, 0, 2)}, "orthonormal"),
    ],
)
def test_nonsense_is_refused(wrong, match):
    with pytest.raises(ValueError, match=match):
        Geometry(**({"shape_zyx": (4, 4, 4), "spacing_zyx": (1, 1, 1)} | wrong))


def test_volume_of_a_voxel_is_physical():
    assert Geometry((2, 2, 2), (3, 4, 5)).voxel_volume_ml == pytest.approx(0.06)
    assert "turned axes" in Geometry((2, 2, 2), (3, 4, 5), direction=(-1, 0, 0, 0, 1, 0, 0, 0, 1)).describe()


def test_from_sitk_reads_x_y_z():
    image = sitk.Image(2, 3, 4, sitk.sitkUInt8)
    image.SetSpacing((5, 6, 7))
    grid = Geometry.from_sitk(image)
    assert (grid.shape_zyx, grid.spacing_zyx) == ((4, 3, 2), (7, 6, 5))
