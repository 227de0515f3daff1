import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from deeppsma.core.transforms import RigidTransform, rotation_matrix


@given(st.tuples(*[st.floats(-180, 180)] * 3), *[st.tuples(*[st.floats(-100, 100)] * 3)] * 2)
def test_agrees_with_simpleitk_euler(turn, translation, centre):
    transform = RigidTransform(tuple(rotation_matrix(turn).ravel()), translation, centre)
    euler = sitk.Euler3DTransform()
    euler.SetCenter(centre)
    euler.SetMatrix(transform.rotation, 1e-6)
    euler.SetTranslation(translation)
    point = (12.0, -7.0, 300.0)
    expected = euler.TransformPoint(point)
    assert transform.apply(np.array([point]))[0] == pytest.approx(expected, abs=1e-6)
    assert transform.to_sitk().TransformPoint(point) == pytest.approx(expected, abs=1e-6)
    assert transform.inverse().apply(np.array([expected]))[0] == pytest.approx(point, abs=1e-6)
