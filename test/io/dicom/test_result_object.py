"""What all DICOM results share: identity, UIDs, provenance."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import replace
from datetime import datetime

import numpy as np
import pydicom
import pytest
from builders.dicom_results import ABOUT, NOTICE, errors, lesions, nasty_labels, source, wide
from PIL import Image

from deeppsma._version import __version__
from deeppsma.core.defaults import DICOM_KINDS
from deeppsma.core.errors import OutputError
from deeppsma.io.dicom.result_object import ascii_text, save
from deeppsma.io.dicom.result_source import result_uid
from deeppsma.reporting.dicom_objects import made


def png():
    out = io.BytesIO()
    Image.new("RGB", (31, 17), (9, 8, 7)).save(out, "PNG")
    return out.getvalue()


def objects(pet, about=ABOUT, labels=None):
    return made(pet, lesions(nasty_labels() if labels is None else labels), about, DICOM_KINDS, png(), b"%PDF-1.4 odd")


def named(image) -> None:
    wide(image)
    image.SpecificCharacterSet = ["ISO 2022 IR 6", "ISO 2022 IR 87"]
    image.PatientName = "Yamada^Tarou=山田^太郎"
    image.PatientBirthDate, image.PatientSex, image.AccessionNumber = "19400229", "M", "ACC1"
    image.StudyID, image.ReferringPhysicianName, image.StudyDescription = "S1", "Who^Dr", "PET SECRET"


@pytest.mark.parametrize("pseudonym", ["", "dicom-1234abcd"])
@pytest.mark.parametrize("labels", [None, np.zeros((6, 16, 16), np.uint16)])
def test_every_kind_is_valid_with_and_without_lesions(tmp_path, pseudonym, labels):
    pet = source(tmp_path / "pet", named, pseudonym=pseudonym)
    for path in save(objects(pet, labels=labels), tmp_path / "out"):
        assert errors(path) == [], path.name


def test_results_are_filed_with_their_pet(tmp_path):
    pet = source(tmp_path / "pet", named)
    paths = save(objects(pet), tmp_path / "out")
    assert [path.name for path in paths] == [f"{kind}.dcm" for kind in DICOM_KINDS]
    scanned = pydicom.dcmread(next((tmp_path / "pet").iterdir()))
    series = set()
    for path in paths:
        read = pydicom.dcmread(path)
        for keyword in ("PatientID", "PatientBirthDate", "StudyInstanceUID", "AccessionNumber", "StudyDate", "StudyID"):
            assert read[keyword].value == scanned[keyword].value, (path.name, keyword)
        assert str(read.PatientName) == "Yamada^Tarou=山田^太郎"
        assert read.SpecificCharacterSet == "ISO_IR 192"
        assert read.SeriesInstanceUID != scanned.SeriesInstanceUID
        series.add((read.SeriesInstanceUID, read.SeriesNumber, read.SOPInstanceUID))
        assert "not for clinical use" in read.SeriesDescription
        assert (read.Manufacturer, read.SoftwareVersions) == ("deeppsma", __version__)
        assert "not for clinical use" in read.ManufacturerModelName
        assert NOTICE in read.ContributingEquipmentSequence[0].ContributionDescription
    assert len(series) == len(DICOM_KINDS)


def test_a_rerun_writes_the_same_bytes_under_the_same_uids(tmp_path):
    pet = source(tmp_path / "pet", named)
    first = [path.read_bytes() for path in save(objects(pet), tmp_path / "a")]
    again = [path.read_bytes() for path in save(objects(source(tmp_path / "pet")), tmp_path / "b")]
    assert first == again


def test_other_work_has_other_uids(tmp_path):
    pet = source(tmp_path / "pet")
    later = replace(ABOUT, created=datetime(2027, 1, 1))
    other, reviewed = replace(ABOUT, method="cd34"), replace(ABOUT, reviewed=True)

    def uids(about):
        return {each.SOPInstanceUID for each in objects(pet, about).values()}

    assert uids(ABOUT) == uids(later)
    assert len(uids(ABOUT) | uids(other) | uids(reviewed)) == 3 * len(DICOM_KINDS)
    tracked = [objects(pet, a)["seg"].SegmentSequence[0].TrackingUID for a in (ABOUT, reviewed)]
    assert tracked[0] == tracked[1], "a reviewed lesion is the same lesion"


def test_a_pseudonym_leaves_nothing_of_the_patient(tmp_path):
    source(tmp_path / "pet", named)
    pet = source(tmp_path / "pet", pseudonym="dicom-1234abcd")
    scanned = pydicom.dcmread(next((tmp_path / "pet").iterdir()))
    secrets = ["SECRET", "Yamada", "山田", "19400229", "ACC1", "Who", scanned.StudyDate]
    secrets += [scanned[k].value for k in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")]
    secrets += [pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "pet").iterdir()]
    paths = save(objects(pet), tmp_path / "out")
    studies = set()
    for path in paths:
        data = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in data], path.name
        read = pydicom.dcmread(path)
        assert (read.PatientID, str(read.PatientName)) == ("dicom-1234abcd", "dicom-1234abcd^")
        studies.add(read.StudyInstanceUID)
    assert studies == {result_uid("pseudonym", scanned.StudyInstanceUID)}
    seg, rtstruct = (pydicom.dcmread(path) for path in paths[:2])
    assert seg.FrameOfReferenceUID == rtstruct.FrameOfReferenceUID
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == result_uid("pseudonym", scanned.SeriesInstanceUID)


def test_no_uid_of_a_pseudonymised_result_is_one_of_the_plain_ones(tmp_path):
    plain, hidden = source(tmp_path / "pet", named), source(tmp_path / "pet", pseudonym="dicom-1234abcd")
    uids = []
    for pet in (plain, hidden):
        found = [str(path) for path in save(objects(pet), tmp_path / pet.series_uid)]
        everything = "".join(str(pydicom.dcmread(path)) for path in found)
        uids.append(set(re.findall(r"\b2\.25\.\d+", everything)))
    assert min(len(each) for each in uids) > 2 * len(DICOM_KINDS)
    assert not uids[0] & uids[1]
    again = source(tmp_path / "pet", pseudonym="dicom-1234abcd")
    assert [each.SOPInstanceUID for each in objects(again).values()] == [
        each.SOPInstanceUID for each in objects(hidden).values()
    ]


def test_odd_values_of_others_stop_nothing(tmp_path):
    def odd(image) -> None:
        wide(image)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.PatientSex, image.PatientName = "male", "ONE WORD"
            image.PatientBirthDate = "in 1940"
        del image.StudyTime

    for path in save(objects(source(tmp_path / "pet", odd)), tmp_path / "out"):
        assert errors(path) == []


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    pet = source(tmp_path / "pet")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pydicom.Dataset, "save_as", full)
    with pytest.raises(OutputError, match=r"seg\.dcm: cannot be written \(No space left"):
        save(objects(pet), tmp_path / "out")


def test_headers_that_make_no_object_are_one_line(tmp_path):
    pet = source(tmp_path / "pet")
    del pet.slices[0].PixelSpacing
    with pytest.raises(OutputError, match=r"DICOM seg of the FDG PET: cannot be made \(AttributeError.*--dicom"):
        objects(pet)


def test_plain_text():
    assert ascii_text("T7 (±1)\\ü", 9) == "T7 (+-1)/"
