import io

import numpy as np
import pytest
from PIL import Image

from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.reporting.pictures import overview


def scene(direction=(1, 0, 0, 0, 1, 0, 0, 0, 1), origin=(0.0, 0.0, 0.0), flip=False):
    grid = Geometry((60, 20, 40), (4.0, 4.0, 4.0), origin, direction)
    suv, mask = np.full(grid.shape_zyx, 0.1, np.float32), np.zeros(grid.shape_zyx, np.uint8)
    suv[50, 10, 5], mask[45:56, 10, 2:9] = 20, 1  # near the head, on the patient's right
    if flip:
        suv, mask = suv[::-1].copy(), mask[::-1].copy()
    return Volume(suv, grid), Volume(mask, grid)


def drawn(pet, mask):
    png = overview(dict.fromkeys(Tracer, pet), dict.fromkeys(Tracer, mask), dict.fromkeys(Tracer, 3.0), note="n")
    return np.array(Image.open(io.BytesIO(png)))


def test_head_up_right_on_the_left_outlined_in_red():
    pixels = drawn(*scene()).astype(int)
    red = np.argwhere((pixels[..., 0] > 180) & (pixels[..., 1] < 80))
    assert len(red) > 20
    first_panel = red[red[:, 1] < 300]
    assert first_panel[:, 0].mean() < 44 + 60  # upper half: 120 pixels high
    assert first_panel[:, 1].mean() < 16 + 40  # left half: 80 pixels wide


def test_a_grid_stored_feet_first_looks_the_same():
    upright = drawn(*scene())
    turned = drawn(*scene((1, 0, 0, 0, 1, 0, 0, 0, -1), (0.0, 0.0, 236.0), flip=True))
    assert upright.shape == turned.shape
    assert np.abs(upright.astype(int) - turned).mean() < 2


@pytest.mark.parametrize("with_truth", [True, False])
def test_truth_is_blue(with_truth):
    pet, mask = scene()
    empty = Volume(np.zeros_like(mask.voxels), mask.geometry)
    truths = dict.fromkeys(Tracer, mask if with_truth else None)
    png = overview(dict.fromkeys(Tracer, pet), dict.fromkeys(Tracer, empty), dict.fromkeys(Tracer, 3.0), truths)
    pixels = np.array(Image.open(io.BytesIO(png))).astype(int)
    blue = (pixels[..., 2] > 150) & (pixels[..., 0] < 80)
    assert blue.any() == with_truth
