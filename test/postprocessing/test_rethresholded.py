import numpy as np
import pytest

from deeppsma.postprocessing.rethresholded import LIVER_RULE, SHARE_RULE, fixed_rule, rethresholded_ml

SUV = np.array([2.6, 3.5, 10.0, 4.0, 3.0])
LESIONS = np.array([1, 1, 1, 2, 2])


def test_two_lesions_solved_by_hand():
    found = rethresholded_ml(SUV, LESIONS, 0.5, threshold_suv=2.5, liver_suv=3.2)
    # 41 % of the first lesion's 10 is 4.1, of the second's 4 it is 1.64.
    by_hand = {fixed_rule(2.5): 2.5, fixed_rule(3.0): 2.0, fixed_rule(4.0): 1.0, LIVER_RULE: 1.5, SHARE_RULE: 1.5}
    assert found == by_hand


def test_rules_below_the_cases_own_threshold_are_left_out():
    found = rethresholded_ml(SUV, LESIONS, 0.5, threshold_suv=3.0, liver_suv=2.9)
    assert set(found) == {fixed_rule(3.0), fixed_rule(4.0), SHARE_RULE}


def test_without_lesions_or_liver():
    found = rethresholded_ml(SUV[:0], LESIONS[:0], 0.5, 2.0)
    assert set(found.values()) == {0.0}
    assert LIVER_RULE not in found


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="one shape"):
        rethresholded_ml(SUV, LESIONS[:2], 0.5, 2.0)
    with pytest.raises(ValueError, match="positive"):
        rethresholded_ml(SUV, LESIONS, 0.0, 2.0)
    with pytest.raises(ValueError, match="belong"):
        rethresholded_ml(SUV, LESIONS - 1, 0.5, 2.0)
