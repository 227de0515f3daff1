import numpy as np
import pytest
import SimpleITK as sitk

from deeppsma.core.errors import InputError
from deeppsma.io import image_files
from deeppsma.io.headers import StoredImage, same_place, upright
from deeppsma.io.image_files import ImageFile

STORED = StoredImage((4, 5, 6), (2, 3, 4), (1, 2, 3), upright(), "f4")


def reader(tmp_path):
    image = sitk.Image((4, 5, 6), sitk.sitkFloat32)
    image.SetSpacing((2, 3, 4))
    image.SetOrigin((1, 2, 3))
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    out = sitk.ImageFileReader()
    out.SetFileName(str(tmp_path / "a.mha"))
    out.ReadImageInformation()
    return out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"shape_xyz": (4, 5, 7)}, "a size of"),
        ({"spacing_xyz": (2, 3, 4.001)}, "spacing"),
        ({"origin_xyz": (1, 2, 3.001)}, "origin"),
        ({"origin_xyz": (1, 2, float("nan"))}, "origin"),
        ({"direction": (-1, 0, 0, 0, 1, 0, 0, 0, 1)}, "direction"),
        ({"dtype": "i2"}, "voxels of type i2"),
        ({"dtype": "i2", "rescaled": True}, None),
    ],
)
def test_what_itk_reads_must_agree(tmp_path, change, said):
    found = StoredImage(**{**vars(STORED), **change}).contradiction(reader(tmp_path))
    assert found is None if said is None else said in found


def test_a_contradiction_is_refused(tmp_path, monkeypatch):
    reader(tmp_path)
    monkeypatch.setattr(image_files, "read_header", lambda path: STORED)
    assert ImageFile(tmp_path / "a.mha").geometry.shape_zyx == (6, 5, 4)
    other = StoredImage((4, 5, 6), (2, 2, 4), (1, 2, 3), upright(), "f4")
    monkeypatch.setattr(image_files, "read_header", lambda path: other)
    with pytest.raises(InputError, match="can be read as spacing 2 2 4 and 2 3 4"):
        _ = ImageFile(tmp_path / "a.mha").geometry


def test_places_are_compared_at_the_corners():
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(1e-3), -np.sin(1e-3)], [np.sin(1e-3), np.cos(1e-3)]]
    assert same_place(np.eye(4), turned, (2, 2, 2), 0.01)
    assert not same_place(np.eye(4), turned, (500, 2, 2), 0.01)
