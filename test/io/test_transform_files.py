import json
import os
from pathlib import Path

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


@pytest.mark.parametrize(
    "transform",
    [
        sitk.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3, (4, 5, 6)),
        sitk.VersorRigid3DTransform((0.1, 0.2, 0.3, 0.9), (4, 5, 6), (1, 2, 3)),
        sitk.Similarity3DTransform(1.0, (0.1, 0.2, 0.3, 0.9), (4, 5, 6), (1, 2, 3)),
        sitk.AffineTransform((0, -1, 0, 1, 0, 0, 0, 0, 1), (4, 5, 6), (1, 2, 3)),
        sitk.TranslationTransform(3, (4, 5, 6)),
    ],
    ids=lambda transform: transform.GetName(),
)
def test_rigid_transforms_of_every_kind_are_read_as_itk_has_them(tmp_path, transform):
    if isinstance(transform, sitk.Euler3DTransform):
        transform.SetComputeZYX(True)  # the fourth fixed parameter
    sitk.WriteTransform(transform, str(tmp_path / "rigid.tfm"))
    points = np.array([[7.0, 8.0, 9.0], [-20.0, 0.0, 11.0]])
    expected = np.array([transform.TransformPoint(point) for point in points.tolist()])
    assert read_tfm(tmp_path / "rigid.tfm").apply(points) == pytest.approx(expected)


def test_what_is_written_is_what_itk_reads(tmp_path):
    transform = from_challenge(QUARTER)
    write_tfm(transform, tmp_path / "rigid.tfm")
    point = np.array([[7.0, 8.0, 9.0]])
    sitk.WriteTransform(sitk.ReadTransform(str(tmp_path / "rigid.tfm")), str(tmp_path / "again.tfm"))
    assert (tmp_path / "again.tfm").read_bytes().strip() == (tmp_path / "rigid.tfm").read_bytes().strip()
    theirs = sitk.ReadTransform(str(tmp_path / "rigid.tfm")).TransformPoint(point[0].tolist())
    assert transform.apply(point)[0] == pytest.approx(theirs)


EULER = """#Insight Transform File V1.0
#Transform 0
Transform: Euler3DTransform_double_3_3
Parameters: 0.1 0.2 0.3 4 5 6
FixedParameters: 1 2 3 0
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0.1", "nan", "nan among its numbers"),
        ("0.1", "inf", "inf among its numbers"),
        ("0.1", "1e300", "1e300 among its numbers"),
        ("0.1", "1_0", "1_0 among its numbers"),
        ("0.1", "word", "could not convert"),
        ("0.1 0.2", "0.1", "5 parameters"),
        ("0.1", "0.1 0.1", "7 parameters"),
        ("1 2 3 0", "1 2", "2 fixed ones"),
        ("FixedParameters: 1 2 3 0\n", "", "in this order"),
        ("Parameters: 0.1 0.2 0.3 4 5 6\n", "", "in this order"),
        ("Parameters: 0.1", "Parameters 0.1", "the line 'Parameters 0.1"),
        ("3 0\n", "3 0", "last line does not end"),
        ("#Insight", "Insight", "first line"),
        ("Euler3DTransform_double_3_3", "Euler2DTransform_double_2_2", "known are Euler3D"),
        ("Euler3DTransform_double_3_3", "ScaleVersor3DTransform_double_3_3", "known are Euler3D"),
        ("FixedParameters: 1 2 3 0\n", "FixedParameters: 1 2 3 0\n" + EULER[29:], "several transforms"),
        ("0.1", "0.\u0661", "ascii"),
    ],
)
def test_a_broken_transform_file_is_refused(tmp_path, old, new, said):
    (tmp_path / "rigid.tfm").write_text(EULER.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match="not a rigid ITK transform") as caught:
        read_tfm(tmp_path / "rigid.tfm")
    assert said in str(caught.value)


@pytest.mark.parametrize("length", range(len(EULER)))
def test_a_transform_file_that_is_cut_anywhere_is_refused(tmp_path, length):
    (tmp_path / "rigid.tfm").write_text(EULER[:length])
    with pytest.raises(InputError, match="not a rigid ITK transform"):
        read_tfm(tmp_path / "rigid.tfm")


@pytest.mark.parametrize(
    "transform",
    [
        sitk.Similarity3DTransform(1.5, (0, 0, 0, 1), (4, 5, 6), (1, 2, 3)),
        sitk.AffineTransform((1, 0.5, 0, 0, 1, 0, 0, 0, 1), (4, 5, 6), (1, 2, 3)),
    ],
    ids=["scaled", "sheared"],
)
def test_a_transform_that_is_not_rigid_is_refused(tmp_path, transform):
    sitk.WriteTransform(transform, str(tmp_path / "rigid.tfm"))
    with pytest.raises(InputError, match="not a rotation"):
        read_tfm(tmp_path / "rigid.tfm")


def test_a_missing_transform_file_is_one_line(tmp_path):
    with pytest.raises(InputError, match="not readable"):
        read_tfm(tmp_path / "rigid.tfm")


def test_a_folder_whose_name_is_not_utf8_is_no_reason_to_abort(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/l\xfct"))
    folder.mkdir()
    write_tfm(from_challenge(QUARTER), folder / "rigid.tfm")
    assert np.allclose(read_tfm(folder / "rigid.tfm").matrix, from_challenge(QUARTER).matrix)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([], "no .3d_affine_transform"),
        ({"3d_affine_transform": [[1, 2], [3, 4]]}, "shape"),
        ({"3d_affine_transform": [[1, 2, 3, 4], [1], [2], [3]]}, "not a number"),
        ({"3d_affine_transform": [["a"] * 4] * 4}, "not a number"),
        ({"3d_affine_transform": [["1"] * 4] * 4}, "not a number"),
        ({"3d_affine_transform": [[True] * 4] * 4}, "not a number"),
        ({"3d_affine_transform": 3}, "not a number"),
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
