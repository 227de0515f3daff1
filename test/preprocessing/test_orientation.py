from itertools import permutations, product

import numpy as np
import pytest
from builders.cases import GRIDS, TINY_NETWORK, memory_case, write_tiny_member
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import rotation_matrix
from deeppsma.core.volume import Volume
from deeppsma.models.store import WeightsStore
from deeppsma.pipeline.recipe import Recipe
from deeppsma.pipeline.segment import segment
from deeppsma.preprocessing.orientation import Orientation, upright, upright_grid

ORDERS = [Orientation(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)]


def reordered(volume, order):
    """The same voxels at the same places, stored in another order: what a converter may write."""
    grid = volume.geometry
    first, columns = np.zeros((1, 3)), []
    for axis, flip in zip(order.axes, order.flipped, strict=True):
        first[0, axis] = (grid.shape_zyx[axis] - 1) if flip else 0
        column = grid.direction_matrix[:, 2 - axis]
        columns.append(-column if flip else column)
    turned = Geometry(
        tuple(grid.shape_zyx[axis] for axis in order.axes),
        tuple(grid.spacing_zyx[axis] for axis in order.axes),
        tuple(grid.index_to_world(first)[0]),
        tuple(np.stack(columns[::-1], axis=1).ravel()),
    )
    return Volume(order.turned(volume.voxels), turned)


def ramp(grid):
    return Volume(np.arange(grid.voxel_count, dtype=np.float32).reshape(grid.shape_zyx), grid)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_every_order_of_axes_and_flips_comes_back_upright(order):
    volume = ramp(Geometry((4, 5, 6), (3.27, 2.5, 2.0), (-10.5, 7.25, 100.0)))
    turned = reordered(volume, order)
    again = upright(turned)
    assert np.array_equal(again.voxels, volume.voxels)
    assert again.geometry == volume.geometry
    found = Orientation.of(turned.geometry)
    assert np.array_equal(found.turned_back(again.voxels), turned.voxels)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_a_voxel_stays_where_it_is_in_the_patient(order):
    volume = ramp(GRIDS[Tracer.PSMA])
    turned = reordered(volume, order)
    index = np.argwhere(turned.voxels == 1234)
    assert turned.geometry.index_to_world(index)[0] == pytest.approx(
        volume.geometry.index_to_world(np.argwhere(volume.voxels == 1234))[0]
    )


def test_what_is_upright_is_not_touched():
    volume = ramp(GRIDS[Tracer.FDG])
    assert upright(volume) is volume
    assert upright_grid(volume.geometry) is volume.geometry
    assert Orientation.of(volume.geometry).is_upright
    assert Orientation().turned(volume.voxels) is volume.voxels
    assert Orientation().turned_back(volume.voxels) is volume.voxels


@given(st.tuples(*[st.floats(-44, 44)] * 3).filter(lambda turn: sum(map(abs, turn)) < 44), st.sampled_from(ORDERS))
@settings(deadline=None, max_examples=60)
def test_an_oblique_grid_keeps_its_tilt(turn, order):
    grid = Geometry((4, 5, 6), (3.0, 2.5, 2.0), (1.0, 2.0, 3.0), tuple(rotation_matrix(turn).ravel()))
    volume = ramp(grid)
    again = upright(reordered(volume, order))
    assert np.array_equal(again.voxels, volume.voxels)
    assert again.geometry.same_grid(grid)


@pytest.mark.parametrize("wrong", [((0, 0, 1), (False,) * 3), ((0, 1, 2), (False,) * 2)])
def test_no_order_of_three_axes_is_refused(wrong):
    with pytest.raises(ValueError, match="no order of three axes"):
        Orientation(*wrong)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    write_tiny_member(folder / "m", TINY_NETWORK, 3)
    return WeightsStore((folder,))


@pytest.fixture(scope="module")
def plain(store):
    case = memory_case()
    return case, segment(case, Recipe("r", ("m",), "bothways"), store, "cpu").masks


@given(st.sampled_from(ORDERS), st.sampled_from(ORDERS), st.sampled_from(ORDERS))
@settings(deadline=None, max_examples=12)
def test_masks_do_not_depend_on_the_order_of_voxels(store, plain, psma, fdg, organs):
    case, wanted = plain
    orders = {Tracer.PSMA: psma, Tracer.FDG: fdg}
    pets = {t: reordered(case.study(t).pet.read(), orders[t]) for t in Tracer}
    maps = {t: reordered(case.study(t).organs.read(), organs) for t in Tracer}
    turned = memory_case(organs=maps, psma_pet=pets[Tracer.PSMA], fdg_pet=pets[Tracer.FDG])
    found = segment(turned, Recipe("r", ("m",), "bothways"), store, "cpu").masks
    for tracer in Tracer:
        assert wanted[tracer].voxels.any()
        assert found[tracer].geometry == pets[tracer].geometry  # the exact grid of the PET
        assert np.array_equal(found[tracer].voxels, orders[tracer].turned(wanted[tracer].voxels))
