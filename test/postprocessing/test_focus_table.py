import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppsma.core.box import Box
from deeppsma.postprocessing.focus_table import measure


@given(st.integers(0, 10_000), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_as_masking_the_volume_once_for_each_focus(seed, count):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, count + 1, (5, 6, 7)) * (rng.random((5, 6, 7)) < 0.4)
    pet, ct = rng.random(labels.shape, np.float32) * 20, rng.integers(-1000, 1500, labels.shape, np.int16)
    mask = rng.random(labels.shape) < 0.5
    table = measure(labels, {"pet": pet, "ct": ct}, 0.5)
    assert table.number.tolist() == [n for n in range(1, count + 1) if (labels == n).any()]
    for row, number in enumerate(table.number):
        mine = labels == number
        assert table.voxel_count[row] == mine.sum()
        assert table.volume_ml[row] == mine.sum() * 0.5
        assert table.maximum["pet"][row] == pet[mine].max()
        assert table.mean["pet"][row] == pytest.approx(pet[mine].mean(), rel=1e-5)
        assert table.mean["ct"][row] == pytest.approx(ct[mine].mean(), rel=1e-9, abs=1e-9)
        assert table.share(mask)[row] == mask[mine].mean()
        assert table.box[row] == Box.around_mask(mine)
        assert table.centre_zyx[row] == pytest.approx(np.argwhere(mine).mean(axis=0))
    chosen = rng.random(len(table)) < 0.5
    assert np.array_equal(table.selected(chosen), np.isin(labels, table.number[chosen]) & (labels > 0))


def test_no_focus_gives_a_table_without_rows():
    labels = np.zeros((2, 3, 4), np.int32)
    table = measure(labels, {"pet": labels.astype(float)}, 1.0)
    assert len(table) == len(table.box) == len(table.share(labels > 0)) == len(table.mean["pet"]) == 0
    assert not table.selected(np.zeros(0, bool)).any()
    assert table.centre_zyx.shape == (0, 3)


def test_bad_arguments_are_refused():
    labels = np.ones((2, 2, 2), np.int32)
    with pytest.raises(ValueError, match=r"pet .* not on the grid"):
        measure(labels, {"pet": np.ones((2, 2, 1))}, 1.0)
    with pytest.raises(ValueError, match="negative"):
        measure(-labels, {}, 1.0)
    with pytest.raises(ValueError, match="voxel_volume_ml"):
        measure(labels, {}, 0.0)
    table = measure(labels, {}, 1.0)
    with pytest.raises(ValueError, match=r"mask .* not on the grid"):
        table.share(np.ones((1, 2, 2), bool))
    with pytest.raises(ValueError, match="cannot be chosen"):
        table.selected(np.ones(2, bool))
