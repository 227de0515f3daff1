import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deeppsma.core.geometry import Geometry
from deeppsma.core.transforms import rotation_matrix
from deeppsma.core.volume import Volume
from deeppsma.postprocessing.region_growing import grow, within_radius


def maurer(mask, spacing_zyx, radius_mm, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    image = Volume(mask, Geometry(mask.shape, spacing_zyx, direction=direction)).to_sitk()
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    return sitk.GetArrayFromImage(distance) <= np.float32(radius_mm)


@given(
    st.integers(0, 10_000),
    st.tuples(*[st.sampled_from([1.0, 1.5, 2.0, 2.5, 2.79, 3.27, 4.07283])] * 3),
    st.sampled_from([2.5, 5.0, 7.0]),
    st.floats(0.001, 0.2),
    st.tuples(*[st.floats(-90, 90)] * 3),
)
@settings(max_examples=60, deadline=None)
@example(0, (1.0, 1.0, 1.0), 5.0, 0.001, (0.0, 0.0, 0.0))  # 3-4-5 triangles: ties at exactly the radius
@example(3, (2.5, 2.5, 2.5), 2.5, 0.01, (0.0, 0.0, 0.0))
def test_same_voxels_as_the_full_maurer_map(seed, spacing, radius, share, turn):
    rng = np.random.default_rng(seed)
    mask = rng.random((14, 11, 12)) < share
    mask[5, 5, 5] = True  # Maurer's map of an empty mask is undefined
    direction = tuple(rotation_matrix(turn).ravel())
    assert np.array_equal(within_radius(mask, spacing, radius), maurer(mask, spacing, radius, direction))


@pytest.mark.parametrize("spacing", [(5 / 3, 5 / 3, 5 / 3), (5 / 3, 2.5, 4.0), (0.8, 1.5, 1.5)])
def test_where_the_two_differ_it_is_a_tie(spacing):
    """Spacings whose multiples hit the radius but for rounding: ours takes every tie, by place ITK does not."""
    mask = np.random.default_rng(0).random((16, 14, 15)) < 0.01
    mask[5, 5, 5] = True
    ours, theirs = within_radius(mask, spacing, 5.0), maurer(mask, spacing, 5.0)
    assert not (theirs & ~ours).any()
    below, above = (maurer(mask, spacing, r) for r in (5.0 - 1e-5, 5.0 + 1e-5))
    assert np.array_equal(ours, above)
    assert not ((ours != theirs) & ~(above & ~below)).any()


def test_by_hand_on_an_anisotropic_line():
    mask = np.zeros((1, 1, 7), bool)
    mask[0, 0, 3] = True
    assert within_radius(mask, (9, 9, 2.0), 5.0)[0, 0].tolist() == [False, True, True, True, True, True, False]


def test_growing_stops_at_the_threshold_and_at_organs():
    mask, hot, kept = (np.zeros((1, 1, 6), bool) for _ in range(3))
    mask[..., 2] = hot[..., 1:6] = kept[..., 4:] = True
    grown = grow(mask, hot, (1, 1, 1.0), 2.0, kept)
    # 0 is near but cold; 1, 2, 3 join; 4 is near and hot but inside an organ.
    assert grown[0, 0].tolist() == [False, True, True, True, False, False]


def test_an_organ_keeps_the_mask_it_had():
    mask = np.zeros((1, 1, 5), bool)
    mask[..., 1] = True
    everything = np.ones((1, 1, 5), bool)
    assert np.array_equal(grow(mask, everything, (1, 1, 1), 3, everything), mask)


def test_an_empty_mask_stays_empty_and_borders_hold():
    empty = np.zeros((3, 3, 3), bool)
    assert not grow(empty, ~empty, (1, 1, 1), 5, empty).any()
    corner = empty.copy()
    corner[0, 0, 0] = True
    assert within_radius(corner, (1, 1, 1), 10).all()
    # Nothing may wrap round from one face to the opposite one.
    assert not within_radius(corner, (1, 1, 1), 1)[:, :, 2].any()


def test_bad_arguments_are_refused():
    mask = np.zeros((2, 2, 2), bool)
    with pytest.raises(ValueError, match="one shape"):
        grow(mask, mask[:1], (1, 1, 1), 5, mask)
    with pytest.raises(ValueError, match="positive"):
        grow(mask, mask, (1, 1, 1), 0, mask)
