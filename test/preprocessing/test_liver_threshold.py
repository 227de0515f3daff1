"""The FDG threshold from the liver: mean + 2 SD of its core, lesions and vessels left out."""

from __future__ import annotations

import numpy as np
import pytest

from deeppsma.core.anatomy import LIVER
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.preprocessing.liver_threshold import liver_uptake

GRID = Geometry((30, 30, 30), (4.0, 4.0, 4.0))


def liver_map(first: int = 5, last: int = 25) -> Volume:
    labels = np.zeros(GRID.shape_zyx, dtype=np.uint8)
    labels[first:last, first:last, first:last] = LIVER
    return Volume(labels, GRID)


def test_mean_and_two_standard_deviations_of_the_core() -> None:
    rng = np.random.default_rng(0)
    suv = rng.normal(2.0, 0.2, GRID.shape_zyx).astype(np.float32)
    found = liver_uptake(Volume(suv, GRID), liver_map())
    assert found is not None
    assert found.mean_suv == pytest.approx(2.0, abs=0.01)
    assert found.threshold_suv == pytest.approx(2.4, abs=0.02)
    # Depth is counted to the next voxel outside: three voxels of 4 mm make 12 mm, two make 8.
    assert found.core_ml + found.left_out_ml == pytest.approx(16**3 * 0.064)
    assert found.median_suv == pytest.approx(2.0, abs=0.01)
    assert found.plausible(Tracer.FDG)
    assert found.describe(Tracer.FDG).startswith("liver core 26")
    assert found.describe(Tracer.FDG).endswith("(usual 1 to 4.5)")


def test_a_metastasis_in_the_liver_is_left_out() -> None:
    suv = np.random.default_rng(0).normal(2.0, 0.2, GRID.shape_zyx).astype(np.float32)
    suv[12:17, 12:17, 12:17] = 9.0
    found = liver_uptake(Volume(suv, GRID), liver_map())
    assert found is not None
    assert found.threshold_suv == pytest.approx(2.4, abs=0.02)
    assert found.left_out_ml >= 125 * 0.064


def test_what_lies_around_the_liver_does_not_count() -> None:
    suv = np.full(GRID.shape_zyx, 2.0, dtype=np.float32)
    suv[:7] = 50.0
    found = liver_uptake(Volume(suv, GRID), liver_map())
    assert found is not None
    assert (found.mean_suv, found.sd_suv) == (2.0, 0.0)


def test_an_unusual_liver_is_said() -> None:
    found = liver_uptake(Volume(np.full(GRID.shape_zyx, 0.4, dtype=np.float32), GRID), liver_map())
    assert found is not None
    assert not found.plausible(Tracer.FDG)
    assert found.describe(Tracer.FDG).endswith("mean 0.40 +- 0.00 (usual 1 to 4.5): unusual, check SUV")


@pytest.mark.parametrize(("tracer", "plausible"), [(Tracer.FDG, False), (Tracer.PSMA, True), (None, True)])
def test_what_is_usual_depends_on_the_tracer(tracer: Tracer | None, plausible: bool) -> None:
    found = liver_uptake(Volume(np.full(GRID.shape_zyx, 11.0, dtype=np.float32), GRID), liver_map())
    assert found is not None
    assert found.plausible(tracer) is plausible


def test_no_liver_and_too_little_of_it() -> None:
    pet = Volume(np.ones(GRID.shape_zyx, dtype=np.float32), GRID)
    assert liver_uptake(pet, liver_map(0, 0)) is None
    assert liver_uptake(pet, liver_map(10, 17)) is None
