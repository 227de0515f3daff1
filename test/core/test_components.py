import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppsma.core.components import components_of, sparse_components


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.4))
def test_sparse_components_are_scipys(seed, share):
    mask = np.random.default_rng(seed).random((6, 7, 5)) < share
    flat = np.flatnonzero(mask)
    parts = sparse_components(flat, mask.shape)
    expected, count = components_of(mask)
    assert (len(np.unique(parts)) if len(parts) else 0) == count
    pairs = {(int(a), int(b)) for a, b in zip(parts, expected.reshape(-1)[flat], strict=True)}
    assert len(pairs) == count


def test_nothing_steps_from_the_end_of_a_row_or_plane_into_the_next():
    mask = np.zeros((2, 3, 4), bool)
    mask[0, 0, 3] = mask[0, 1, 0] = mask[0, 2, 1] = mask[1, 2, 3] = True
    assert sparse_components(np.flatnonzero(mask), mask.shape).tolist() == [0, 1, 1, 2]
    assert sparse_components(np.zeros(0, int), mask.shape).tolist() == []
