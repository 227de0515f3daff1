import itertools

import numpy as np
import pytest
from builders.patients import small_patient

from deeppsma.core.anatomy import HIP_LEFT, HIP_RIGHT, LUNG_UPPER_LEFT, LUNG_UPPER_RIGHT, VERTEBRAE
from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.io.layouts import load_case
from deeppsma.phantom.write_cohort import write_patient
from deeppsma.postprocessing.second_opinion.body_frame import BodyFrame
from deeppsma.preprocessing.prepared_case import PreparedCase

SPACING = (4.0, 2.0, 2.0)


def man():
    """Hips at slice 5, lungs at slice 25 and before the spine, his left at high x, his front at low y."""
    labels = np.zeros((40, 40, 60), np.uint8)
    labels[4:7, 18:23, 10:15] = HIP_RIGHT
    labels[4:7, 18:23, 45:50] = HIP_LEFT
    labels[24:27, 13:18, 15:20] = LUNG_UPPER_RIGHT
    labels[24:27, 13:18, 40:45] = LUNG_UPPER_LEFT
    labels[5:31, 29:32, 29:31] = VERTEBRAE[3]
    return labels


def places(labels, spacing_zyx, index):
    frame = BodyFrame.of(labels, spacing_zyx)
    assert frame is not None
    return frame.places(np.array([index]) * np.array(spacing_zyx))[0]


def test_places_solved_by_hand():
    # The trunk: 20 slices of 4 mm up, 5 rows of 2 mm to the front.
    trunk = np.hypot(80, 10)
    assert places(man(), SPACING, (5, 20, 29.5)) == pytest.approx([0, 0, 0], abs=1e-9)
    assert places(man(), SPACING, (25, 15, 29.5)) == pytest.approx([1, 0, 0], abs=1e-9)
    assert places(man(), SPACING, (5, 20, 49.5)) == pytest.approx([0, 40 / trunk, 0], abs=1e-9)
    height, left, front = places(
        man(), SPACING, (5, 10, 29.5)
    )  # 20 mm to the front of the hips, in the scanner's sense
    assert left == pytest.approx(0, abs=1e-9)
    assert front > 0.2
    assert np.hypot(height, front) == pytest.approx(20 / trunk)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(), (0,), (1,), (2,), (0, 1, 2)])
def test_however_a_scan_is_stored(order, flips):
    index = np.array([37, 12, 20])
    labels = np.flip(man(), flips)
    moved = np.array([labels.shape[axis] - 1 - i if axis in flips else i for axis, i in enumerate(index)])
    turned = np.transpose(labels, order)
    spacing = tuple(SPACING[axis] for axis in order)
    assert places(turned, spacing, moved[list(order)]) == pytest.approx(places(man(), SPACING, index), abs=1e-9)


def test_a_taller_man_has_the_same_places():
    tall = tuple(1.2 * spacing for spacing in SPACING)
    assert places(man(), tall, (30, 12, 20)) == pytest.approx(places(man(), SPACING, (30, 12, 20)))


@pytest.mark.parametrize("lost", [HIP_LEFT, HIP_RIGHT, LUNG_UPPER_LEFT, LUNG_UPPER_RIGHT, VERTEBRAE[3]])
def test_without_a_landmark_there_is_none(lost):
    labels = man()
    labels[labels == lost] = 0
    assert BodyFrame.of(labels, SPACING) is None
    labels[0, 0, :7] = lost  # a speck is no landmark
    assert BodyFrame.of(labels, SPACING) is None


def test_a_map_that_makes_no_body_has_none():
    labels = man()
    labels[labels == VERTEBRAE[3]] = 0
    labels[5:31, 9:12, 29:31] = VERTEBRAE[3]
    behind = BodyFrame.of(labels, SPACING)  # with the spine before the lungs, the front is where the lungs lie
    assert behind is not None
    assert behind.places(np.array([[20.0, 80.0, 59.0]]))[0, 2] > 0
    amidst = man()
    amidst[amidst != VERTEBRAE[3]] = 0
    for z, left, right in ((5, HIP_LEFT, HIP_RIGHT), (25, LUNG_UPPER_LEFT, LUNG_UPPER_RIGHT)):
        amidst[z, 20, 10:14] = amidst[z, 20, 46:50] = left
        amidst[z, 20, 20:24] = amidst[z, 20, 36:40] = right  # as far to the left as the other
    assert BodyFrame.of(amidst, SPACING) is None
    folded = man()
    lungs = np.isin(folded, (LUNG_UPPER_LEFT, LUNG_UPPER_RIGHT))
    kept = folded[lungs].copy()
    folded[lungs] = 0
    folded[8:11, 18:23, 15:20], folded[8:11, 18:23, 40:45] = kept[0], kept[-1]
    folded[0:3, 18:23, 15:20], folded[0:3, 18:23, 40:45] = kept[0], kept[-1]  # above and below the hips alike
    assert BodyFrame.of(folded, SPACING) is None
    assert BodyFrame.of(np.zeros_like(labels), SPACING) is None


def ct_of_a_man(spacing_zyx=(8.0, 8.0, 8.0)):
    """A block of tissue in air with two lungs of 1 l each, and a windpipe that leads out of the head; HU."""
    hu = np.full((60, 40, 50), -1000, np.int16)
    hu[:, 8:32, 5:45] = 40
    hu[35:50, 14:26, 8:20] = -850
    hu[35:50, 14:26, 30:42] = -850
    hu[45:, 19:21, 24:26] = -1000
    hu[45:47, 19:21, 20:30] = -1000
    return hu


def test_the_lungs_on_the_ct_solved_by_hand():
    frame = BodyFrame.of_ct(ct_of_a_man(), (8.0, 8.0, 8.0))
    lungs = np.array([42.0, 19.5, 24.5]) * 8
    below = lungs - np.array([400.0, 0, 0])
    points = np.array([lungs, below, below - np.array([0, 40, 0]), below + np.array([0, 0, 80])])
    assert frame.places(points) == pytest.approx(np.array([[1, 0, 0], [0, 0, 0], [0, 0, 0.1], [0, 0.2, 0]]), abs=0.02)


def test_finer_voxels_are_the_same_body():
    fine = ct_of_a_man().repeat(2, axis=0).repeat(3, axis=1).repeat(3, axis=2)
    point = np.array([[100.0, 120.0, 300.0]])
    coarse = BodyFrame.of_ct(ct_of_a_man(), (8.0, 8.0, 8.0)).places(point)
    assert BodyFrame.of_ct(fine, (4.0, 8 / 3, 8 / 3)).places(point) == pytest.approx(coarse, abs=0.02)


def test_one_lung_is_enough_and_none_is_none():
    both = BodyFrame.of_ct(ct_of_a_man(), (8.0, 8.0, 8.0))
    full = ct_of_a_man()
    full[35:50, 14:26, 30:42] = 20  # a lung full of fluid
    one = BodyFrame.of_ct(full, (8.0, 8.0, 8.0))
    assert one.origin_mm == pytest.approx(both.origin_mm, abs=25)
    full[35:50, 14:26, 8:20] = 20
    assert BodyFrame.of_ct(full, (8.0, 8.0, 8.0)) is None
    assert BodyFrame.of_ct(ct_of_a_man()[:42], (8.0, 8.0, 8.0)) is None  # a scan that ends within the lungs
    assert BodyFrame.of_ct(np.full((3, 3, 3), -1000), (8.0, 8.0, 8.0)) is None


def test_map_and_ct_agree_on_a_synthetic_patient(tmp_path):
    write_patient(small_patient(3, "pet"), tmp_path, "platform")
    case = PreparedCase(load_case(tmp_path / "input"))
    grid = case.spaces[Tracer.PSMA].geometry
    labels = resample(case.organs(Tracer.PSMA), grid, labels=True)
    by_map = BodyFrame.of(labels, grid.spacing_zyx)
    by_ct = BodyFrame.of_ct(resample(case.ct(Tracer.PSMA), grid, outside=-1000), grid.spacing_zyx)
    points = np.argwhere(labels > 0)[::97] * np.array(grid.spacing_zyx)
    apart = np.abs(by_map.places(points) - by_ct.places(points))
    assert apart.mean(axis=0) == pytest.approx(0, abs=0.08)  # of a trunk: 3 cm
