import json

import numpy as np
import pytest
import SimpleITK as sitk

from deeppsma.core.errors import InputError
from deeppsma.io.transform_files import from_challenge, read_challenge_transform, read_tfm, to_challenge, write_tfm

# A quarter turn about z (x to y), about the point (10, 0, 0), then 1, 2, 3 mm on.
QUARTER = {"3d_affine_transform": [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [10, 0, 0, 0]]}


def test_points_by_hand_in_both_directions():
    transform = from_challenge(QUARTER)
    # (11, 0, 5) is 1 mm along x from the centre; turned, 1 mm along y: (10, 1, 5), then moved.
    fdg, psma = np.array([[11.0, 0, 5]]), np.array([[11.0, 3, 8]])
    assert transform.apply(fdg) == pytest.approx(psma)
    assert transform.inverse().apply(psma) == pytest.approx(fdg)
    # The centre itself only moves.
    assert transform.apply(np.array([[10.0, 0, 0]])) == pytest.approx(np.array([[11.0, 2, 3]]))


def test_encoding_survives_a_round_trip():
    assert from_challenge(to_challenge(from_challenge(QUARTER))) == from_challenge(QUARTER)


def test_tfm_survives_a_round_trip(tmp_path):
    write_tfm(from_challenge(QUARTER), tmp_path / "rigid.tfm")
    assert np.allclose(read_tfm(tmp_path / "rigid.tfm").matrix, from_challenge(QUARTER).matrix)


def test_a_composite_of_one_is_read(tmp_path):
    composite = sitk.CompositeTransform(3)
    composite.AddTransform(sitk.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3, (4, 5, 6)))
    sitk.WriteTransform(composite, str(tmp_path / "rigid.tfm"))
    point = (7.0, 8.0, 9.0)
    assert read_tfm(tmp_path / "rigid.tfm").apply(np.array([point]))[0] == pytest.approx(
        composite.TransformPoint(point)
    )


def test_a_composite_of_two_is_refused(tmp_path):
    composite = sitk.CompositeTransform(3)
    composite.AddTransform(sitk.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3, (4, 5, 6)))
    composite.AddTransform(sitk.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3, (4, 5, 6)))
    sitk.WriteTransform(composite, str(tmp_path / "two.tfm"))
    with pytest.raises(InputError, match="several transforms"):
        read_tfm(tmp_path / "two.tfm")


def test_a_transform_of_two_dimensions_is_refused(tmp_path):
    sitk.WriteTransform(sitk.Euler2DTransform(), str(tmp_path / "flat.tfm"))
    with pytest.raises(InputError, match="not a rigid ITK transform"):
        read_tfm(tmp_path / "flat.tfm")


def test_a_file_that_is_no_transform_is_refused(tmp_path):
    (tmp_path / "rigid.tfm").write_text("hello")
    with pytest.raises(InputError, match=r"rigid\.tfm"):
        read_tfm(tmp_path / "rigid.tfm")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([], "no .3d_affine_transform"),
        ({"3d_affine_transform": [[1, 2], [3, 4]]}, "shape"),
        ({"3d_affine_transform": [[1, 2, 3, 4], [1], [2], [3]]}, "not a number"),
        ({"3d_affine_transform": [["a"] * 4] * 4}, "not a number"),
        ({"3d_affine_transform": [[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]}, "not a rotation"),
        ({"3d_affine_transform": [[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]}, "not a rotation"),
        ({"3d_affine_transform": [[float("nan")] * 4] * 4}, "NaN"),
        ({"3d_affine_transform": [[1, 0, 0, float("inf")], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]}, "infinite"),
    ],
)
def test_nonsense_is_refused(content, match, tmp_path):
    with pytest.raises(InputError, match=match):
        from_challenge(content)
    path = tmp_path / "transform.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"transform\.json"):
        read_challenge_transform(path)
