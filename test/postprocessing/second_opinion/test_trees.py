from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppsma.postprocessing.second_opinion.trees import Forest, forest_of_lightgbm, mean_score

#: One tree: feature 1 <= 0.5 ? (feature 0 <= 2 ? 10 : 20) : 30; NaN of feature 1 goes right, of feature 0 left.
SMALL = Forest(
    np.array([0]),
    np.array([1, 0, -1, -1, -1]),
    np.array([0.5, 2.0, 0, 0, 0]),
    np.array([1, 2, 2, 3, 4]),
    np.array([4, 3, 2, 3, 4]),
    np.array([False, True, False, False, False]),
    np.array([18.0, 14.0, 10.0, 20.0, 30.0]),
)
NAN = float("nan")


def test_a_tree_solved_by_hand():
    rows = np.array([[2.0, 0.5], [2.1, 0.5], [9.0, 0.6], [NAN, 0.0], [0.0, NAN]])
    assert SMALL.score(rows).tolist() == [10, 20, 30, 10, 30]
    assert SMALL.contributions(rows[:1]).tolist() == [[-4.0, -4.0]]
    assert SMALL.contributions(rows[2:3]).tolist() == [[0.0, 12.0]]
    assert SMALL.score(np.zeros((0, 2))).shape == (0,)
    assert mean_score([SMALL, SMALL], rows).tolist() == [10, 20, 30, 10, 30]


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-1, 2)), min_size=1, max_size=20))
@settings(max_examples=30)
def test_contributions_and_roots_sum_to_the_score(rows):
    values = np.array(rows)
    assert SMALL.contributions(values).sum(axis=1) + 18 == pytest.approx(SMALL.score(values))


def test_arrays_round_trip():
    again = Forest.from_arrays(SMALL.as_arrays())
    assert all(np.array_equal(getattr(again, k), v) for k, v in SMALL.as_arrays().items())
    with pytest.raises(ValueError, match="no array 'value'"):
        Forest.from_arrays({k: v for k, v in SMALL.as_arrays().items() if k != "value"})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"roots": np.zeros(0, int)}, "needs trees"),
        ({"value": np.zeros(4)}, "all of a forest's nodes"),
        ({"left": np.array([0, 2, 2, 3, 4])}, "come after"),  # a walk that never ends
        ({"right": np.array([5, 3, 2, 3, 4])}, "come after"),
        ({"threshold": np.array([NAN, 2, 0, 0, 0])}, "finite"),
    ],
)
def test_what_is_no_forest_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        replace(SMALL, **wrong)


def test_too_few_features_are_refused():
    with pytest.raises(ValueError, match="looks at 2"):
        SMALL.score(np.zeros((3, 1)))


def test_the_same_as_lightgbm():
    lightgbm = pytest.importorskip("lightgbm")
    rng = np.random.default_rng(0)
    values = rng.normal(size=(800, 7))
    values[:, 2][rng.random(800) < 0.3] = NAN
    target = ((values[:, 0] + np.nan_to_num(values[:, 2], nan=1.0) * values[:, 1]) > 0).astype(int)
    settings_ = {"objective": "binary", "num_leaves": 12, "verbose": -1, "num_threads": 1, "seed": 0}
    booster = lightgbm.train(settings_, lightgbm.Dataset(values, target), 40)
    forest = forest_of_lightgbm(booster.dump_model())
    unseen = rng.normal(size=(500, 7))
    unseen[rng.random(unseen.shape) < 0.2] = NAN  # also where the fit saw none
    assert forest.score(unseen) == pytest.approx(booster.predict(unseen, raw_score=True), abs=1e-9)
    assert len(set(np.round(forest.score(unseen), 6))) > 100


@pytest.mark.parametrize(("key", "value"), [("decision_type", "=="), ("missing_type", "Zero")])
def test_splits_of_another_kind_are_refused(key, value):
    leaf = {"leaf_value": 1.0}
    split = {
        "split_index": 0,
        "split_feature": 0,
        "threshold": 0.5,
        "decision_type": "<=",
        "missing_type": "NaN",
        "default_left": True,
        "internal_value": 0.0,
        "left_child": leaf,
        "right_child": leaf,
    }
    assert len(forest_of_lightgbm({"tree_info": [{"tree_structure": split}]}).feature) == 3
    with pytest.raises(ValueError, match="a split by"):
        forest_of_lightgbm({"tree_info": [{"tree_structure": {**split, key: value}}]})
    deep = leaf
    for _ in range(70):
        deep = {**split, "left_child": deep}
    with pytest.raises(ValueError, match="deeper"):
        forest_of_lightgbm({"tree_info": [{"tree_structure": deep}]})
