import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from deeppsma.core.anatomy import FAMILIES, FAMILY_OF_LABEL, HIP_LEFT, HIP_RIGHT, LIVER, SPLEEN, VERTEBRAE
from deeppsma.preprocessing.organ_contrast import CONTRAST_LIMIT, organ_contrast


def line(*values):
    return np.array(values, dtype=np.float32)[:, None, None]


def test_by_hand():
    suv = line(1, 2, 8, 4, 4, 3, 0)
    labels = line(5, 5, 5, 1, 1, 0, 0).astype(np.uint8)
    wanted = [np.log(1 / 2), 0, np.log(8 / 2), 0, 0, np.log(3 / 2.5), -CONTRAST_LIMIT]
    assert organ_contrast(suv, labels, 2.5).ravel() == pytest.approx(wanted, abs=1e-6)


def test_without_organs_the_threshold_stands_for_them():
    suv = line(2.5, 5, 1.25)
    contrast = organ_contrast(suv, np.zeros(suv.shape, np.uint8), 2.5).ravel()
    assert contrast == pytest.approx([0, np.log(2), -np.log(2)], abs=1e-6)


def test_organs_of_a_kind_count_together():
    # One hip is full of disease; the other one and the median of both say what a hip is like.
    suv = line(10, 10, 2, 2, 2)
    labels = line(HIP_LEFT, HIP_LEFT, HIP_RIGHT, HIP_RIGHT, HIP_RIGHT).astype(np.uint8)
    assert organ_contrast(suv, labels, 3)[0] == pytest.approx(np.log(5))


def test_what_was_not_measured_does_not_count():
    suv = line(0, 0, 0, 4)
    labels = line(5, 5, 5, 5).astype(np.uint8)
    assert organ_contrast(suv, labels, 3).ravel().tolist() == [-CONTRAST_LIMIT] * 3 + [0]
    assert (organ_contrast(suv * 0, labels, 3) == -CONTRAST_LIMIT).all()


def test_contrasts_are_cut_off():
    suv = line(1, 1, 1, 1000, 1e-6)
    labels = line(5, 5, 5, 5, 5).astype(np.uint8)
    assert organ_contrast(suv, labels, 3).ravel().tolist() == pytest.approx([0, 0, 0, CONTRAST_LIMIT, -CONTRAST_LIMIT])


def test_families_share_no_label():
    listed = [label for family in FAMILIES for label in family]
    assert len(set(listed)) == len(listed)
    assert len({int(FAMILY_OF_LABEL[label]) for label in VERTEBRAE}) == 1
    assert FAMILY_OF_LABEL[LIVER] != FAMILY_OF_LABEL[SPLEEN]
    assert FAMILY_OF_LABEL[0] == 0
    assert (FAMILY_OF_LABEL[1:] > 0).all()


@given(
    arrays(np.float32, (4, 3, 2), elements=st.floats(0, 50, width=32)),
    arrays(np.uint8, (4, 3, 2), elements=st.integers(0, 117)),
    st.floats(0.5, 8),
)
def test_the_unit_of_uptake_does_not_matter(suv, labels, factor):
    suv = np.where(suv < 0.01, 0, suv).astype(np.float32)
    once = organ_contrast(suv, labels, 3.0)
    scaled = organ_contrast((suv * np.float32(factor)).astype(np.float32), labels, 3.0 * factor)
    assert scaled == pytest.approx(once, abs=1e-4)
    assert np.abs(once).max() <= CONTRAST_LIMIT + 1e-6
