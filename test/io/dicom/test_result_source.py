"""The PET that results refer to, and UIDs that follow from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from builders.dicom_files import edited
from builders.dicom_results import ABOUT, source

from deeppsma.core.errors import InputError
from deeppsma.io.dicom.result_source import decimal, result_uid


def test_uids_are_valid():
    uid = pydicom.uid.UID(result_uid("a", "b"))
    assert uid.is_valid
    assert uid != result_uid("ab", "")


def test_uids_follow_from_series_method_review_kind_and_pseudonym(tmp_path):
    pet = source(tmp_path / "pet")
    others = [
        pet.sop_uid(ABOUT, "sr"),
        pet.uid(ABOUT, "seg", "series"),
        pet.sop_uid(replace(ABOUT, method="cd34"), "seg"),
        pet.sop_uid(replace(ABOUT, reviewed=True), "seg"),
        replace(pet, series_uid="1.2.3").sop_uid(ABOUT, "seg"),
        source(tmp_path / "pet", pseudonym="dicom-1234abcd").sop_uid(ABOUT, "seg"),
        source(tmp_path / "pet", pseudonym="dicom-1234abcd").uid(ABOUT, "lesion", "F1"),
        pet.uid(ABOUT, "lesion", "F1"),
    ]
    uid = pet.sop_uid(ABOUT, "seg")
    assert len({uid, *others}) == 1 + len(others)
    assert source(tmp_path / "pet").sop_uid(ABOUT, "seg") == uid


def test_places_of_slices(tmp_path):
    pet = source(tmp_path / "pet")
    expected = pet.geometry.index_to_world(np.array([[z, 0, 0] for z in range(len(pet.slices))]))
    np.testing.assert_allclose(pet.origins_xyz, expected)


def test_a_header_for_each_slice(tmp_path):
    pet = source(tmp_path / "pet")
    with pytest.raises(ValueError, match="5 headers for 6 slices"):
        replace(pet, slices=pet.slices[1:])


def test_a_series_that_cannot_be_referred_to_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"FrameOfReferenceUID.*is missing; results cannot refer to it.*--dicom none"):
        source(tmp_path / "pet", edited(FrameOfReferenceUID=None))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.00001, "0"), (1.23456, "1.2346"), (-250.0, "-250"), (1e14 / 3, "3.33333e+13"), (100, "100")],
)
def test_decimal_strings(value, text):
    assert decimal(value) == text
