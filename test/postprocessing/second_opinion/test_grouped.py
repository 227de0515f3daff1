import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppsma.postprocessing.second_opinion.grouped import Groups

NAN = float("nan")


def test_groups_solved_by_hand():
    groups = Groups(np.array([0, 0, 0, 2, 2]), 4)
    values = np.array([1.0, 2.0, 6.0, NAN, 5.0])
    assert groups.mean(values).tolist() == pytest.approx([3, NAN, 5, NAN], nan_ok=True)
    assert groups.sd(values).tolist() == pytest.approx([np.sqrt(14 / 3), NAN, 0, NAN], nan_ok=True)
    assert groups.max(values).tolist() == pytest.approx([6, NAN, 5, NAN], nan_ok=True)
    low, middle = groups.quantiles(values, (0.0, 0.5))
    assert low.tolist() == pytest.approx([1, NAN, 5, NAN], nan_ok=True)
    assert middle.tolist() == pytest.approx([2, NAN, 5, NAN], nan_ok=True)


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-9, 9)), min_size=1, max_size=60), st.floats(0, 1))
@settings(max_examples=50)
def test_the_same_as_group_by_group(pairs, share):
    number, values = np.array([n for n, _ in pairs]), np.array([v for _, v in pairs])
    groups = Groups(number, 5)
    mean, sd, most = groups.mean(values), groups.sd(values), groups.max(values)
    (quantile,) = groups.quantiles(values, (share,))
    for each in range(5):
        mine = values[number == each]
        if mine.size:
            assert (mean[each], sd[each], most[each]) == pytest.approx((mine.mean(), mine.std(), mine.max()), abs=1e-7)
            assert quantile[each] == np.sort(mine)[int(np.rint(share * (mine.size - 1)))]
        else:
            assert np.isnan([mean[each], sd[each], most[each], quantile[each]]).all()
