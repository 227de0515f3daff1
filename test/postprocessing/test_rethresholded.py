import numpy as np
import pytest

from deeppsma.postprocessing.rethresholded import rethresholded_ml

SUV = np.array([[[2.0, 2.6, 3.5, 10.0, 0.0, 4.0, 3.0, 9.0]]])
MASK = np.array([[[0, 1, 1, 1, 0, 1, 1, 0]]], dtype=bool)


def test_a_row_solved_by_hand():
    found = rethresholded_ml(SUV, MASK, 0.5, liver_suv=3.2)
    # 41 % of the first lesion's 10 is 4.1, of the second's 4 it is 1.64.
    assert found == {"SUV 2.5": 2.5, "SUV 3": 2.0, "SUV 4": 1.0, "41 % of each lesion's maximum": 1.5, "liver": 1.5}


def test_without_lesions_or_liver():
    found = rethresholded_ml(SUV, np.zeros_like(MASK), 0.5)
    assert set(found.values()) == {0.0}
    assert "liver" not in found


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="one shape"):
        rethresholded_ml(SUV, MASK[0], 0.5)
    with pytest.raises(ValueError, match="positive"):
        rethresholded_ml(SUV, MASK, 0.0)
