"""Whatever members that have not answered say, what is called settled does not change."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppsma.inference.logits import mean_probabilities
from deeppsma.postprocessing.settled import Bounds, Voter

COUNT = 400
WEIGHTS = st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=2, max_size=6)


def random_logits(rng, classes):
    """Of one class (disease or not), two or three; most voxels surely one of them."""
    return (rng.choice([1, 4, 30], COUNT) * rng.standard_normal((classes, COUNT))).astype(np.float32)


def extremes(classes, rng):
    """All that a member can say at its loudest: one class at each voxel, or nothing."""
    if classes == 1:
        return rng.choice([-90.0, 0.0, 90.0], (1, COUNT)).astype(np.float32)
    said = np.zeros((classes, COUNT), np.float32)
    said[rng.integers(0, classes, COUNT), np.arange(COUNT)] = rng.choice([0.0, 90.0], COUNT)
    return said


def drawn(seed, weights, known):
    rng = np.random.default_rng(seed)
    classes = rng.integers(1, 4, len(weights)) if not known else np.full(len(weights), 3)
    answered = rng.integers(1, len(weights))
    voters = [
        Voter(weight, kind == 3, random_logits(rng, kind) if n < answered else None)
        for n, (weight, kind) in enumerate(zip(weights, classes.tolist(), strict=True))
    ]
    return rng, classes, voters


def outcomes(voters, classes, rng):
    """Means of what was said and of the loudest, or nothing, of the rest."""
    for silent in (True, False, False, False, False):
        logits = [
            voter.logits
            if voter.logits is not None
            else (np.zeros((kind, COUNT), np.float32) if silent else extremes(kind, rng))
            for voter, kind in zip(voters, classes.tolist(), strict=True)
        ]
        yield mean_probabilities(logits, [voter.weight for voter in voters])


@given(st.integers(0, 10_000), WEIGHTS, st.booleans(), st.sampled_from([0.25, 0.5]), st.sampled_from([0.5, 0.75, 1.0]))
@settings(max_examples=60, deadline=None)
def test_nothing_that_is_settled_by_cutoffs_changes(seed, weights, known, cutoff, normal_cutoff):
    rng, classes, voters = drawn(seed, weights, known)
    settled = Bounds.of(voters, COUNT).settled_by_cutoffs(cutoff, normal_cutoff)
    seen = [(d > cutoff, n > normal_cutoff) for d, n in outcomes(voters, classes, rng)]
    for disease, normal in seen[1:]:
        assert np.array_equal(disease[settled], seen[0][0][settled])
        assert np.array_equal(normal[settled], seen[0][1][settled])


@given(st.integers(0, 10_000), WEIGHTS, st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_class_that_is_settled_changes(seed, weights, known):
    rng, classes, voters = drawn(seed, weights, known)
    settled = Bounds.of(voters, COUNT).settled_by_class()
    seen = []
    for disease, normal in outcomes(voters, classes, rng):
        background = 1 - disease - normal
        ttb, norm = (disease > background) & (disease >= normal), (normal > background) & (normal > disease)
        seen.append(np.where(ttb, 1, np.where(norm, 2, 0)))
    for each in seen[1:]:
        assert np.array_equal(each[settled], seen[0][settled])


def sure(row, classes=3):
    said = np.zeros((classes, 1), np.float32)
    said[row] = 40
    return said


@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_majority_that_is_sure_settles_a_class(row):
    two = [Voter(1, True, sure(row)), Voter(1, True, sure(row)), Voter(1, True)]
    assert Bounds.of(two, 1).settled_by_class().all()
    one = [two[0], Voter(1, True), Voter(1, True)]
    assert not Bounds.of(one, 1).settled_by_class().any()
    half = [two[0], two[1], Voter(1, True), Voter(1, True)]
    assert not Bounds.of(half, 1).settled_by_class().any()  # a tie is possible still


def test_cutoffs_by_hand():
    members = [Voter(3, True, sure(1)), Voter(1, True), Voter(1, True)]
    assert Bounds.of(members, 1).settled_by_cutoffs(0.5, 0.5).all()  # 0.6 at least; normal uptake 0.4 at most
    assert not Bounds.of(members, 1).settled_by_cutoffs(0.65, 0.5).any()
    assert not Bounds.of(members, 1).settled_by_cutoffs(0.5, 0.35).any()
    assert Bounds.of([replace(members[0], logits=sure(0)), *members[1:]], 1).settled_by_cutoffs(0.45, 1.0).all()
    # What only some members know is not outvoted by the others.
    mixed = [Voter(1, True, sure(0)), Voter(5, False, sure(0, 2))]
    assert Bounds.of(mixed, 1).settled_by_cutoffs(0.5, 0.5).all()
    assert not Bounds.of([Voter(5, False, sure(0, 2)), Voter(1, True)], 1).settled_by_cutoffs(0.5, 0.5).any()


def test_no_member_and_no_weight_are_refused():
    with pytest.raises(ValueError, match="needs a member"):
        Bounds.of([], 3)
    with pytest.raises(ValueError, match="weight must be positive"):
        Voter(0, True)
