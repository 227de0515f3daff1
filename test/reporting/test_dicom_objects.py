"""A result as DICOM objects: the numbers of the report, the voxels of the masks, each in its own study."""

from __future__ import annotations

import csv
import io
from datetime import datetime

import numpy as np
import pydicom
import pytest
from builders.dicom_results import errors, rasterised
from builders.patients import small_patient

from deeppsma.core.errors import OutputError
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume
from deeppsma.io.image_files import ImageFile
from deeppsma.phantom.write_cohort import write_patient
from deeppsma.preprocessing.dicom_case import DicomOptions, open_dicom_case
from deeppsma.reporting import dicom_objects
from deeppsma.reporting.anatomy_sites import load_sites
from deeppsma.reporting.dicom_objects import DicomObjects, DicomRequest, provenance
from deeppsma.reporting.finding_sites import site_codes
from deeppsma.reporting.report_files import report
from deeppsma.reporting.tables import lesions_csv

RUN_REPORT = {"notice": "Not for clinical use.", "recipe": {"name": "truth"}, "members": [{"sha256": "ab"}]}


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """A synthetic patient as DICOM, his truth as the result."""
    folder = tmp_path_factory.mktemp("phantom") / "case"
    write_patient(small_patient(3), folder, "dicom")
    options = DicomOptions(thresholds_suv={Tracer.FDG: 2.5}, fdg_to_psma=RigidTransform())
    opened = open_dicom_case(folder / "input", options)
    masks = {}
    for tracer in Tracer:
        grid, truth = opened.case.study(tracer).pet.geometry, ImageFile(folder / "truth" / f"{tracer}.mha").read()
        assert grid.same_grid(truth.geometry)
        masks[tracer] = Volume(truth.voxels, grid)
    return folder / "input", opened, masks


@pytest.fixture(scope="module")
def written(patient, tmp_path_factory):
    _, opened, masks = patient
    out = tmp_path_factory.mktemp("out") / "dicom"
    request = DicomRequest(("seg", "rtstruct", "sr", "capture", "pdf"))
    DicomObjects.of(request, opened.patient, synthetic=True).write(out, opened.case, masks, RUN_REPORT)
    return out


def test_each_object_is_valid_and_in_the_study_of_its_pet(patient, written):
    folder, _, _ = patient
    paths = sorted(written.rglob("*.dcm"))
    assert len(paths) == 10
    for tracer in Tracer:
        study = pydicom.dcmread(folder / str(tracer) / "pt" / "0001.dcm").StudyInstanceUID
        assert {pydicom.dcmread(p).StudyInstanceUID for p in paths if p.parent.name == tracer} == {study}
    assert [problem for path in paths for problem in errors(path)] == []


def test_numbers_are_the_reports(patient, written):
    _, opened, masks = patient
    made = report(opened.case, masks, RUN_REPORT)
    rows = list(csv.DictReader(io.StringIO(lesions_csv(made.content))))
    for tracer in Tracer:
        seg = pydicom.dcmread(written / str(tracer) / "seg.dcm")
        lesions = made.content.table.of(tracer)
        assert [segment.TrackingID for segment in seg.SegmentSequence] == [lesion.id for lesion in lesions]
        voxels = dict.fromkeys(range(1, len(lesions) + 1), 0)
        for pixels, frame in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
            voxels[frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber] += int(pixels.sum())
        assert list(voxels.values()) == [lesion.voxels for lesion in lesions]
    assert len(rows) >= sum(len(made.content.table.of(tracer)) for tracer in Tracer) > 2


def test_regions_together_are_the_mask(patient, written):
    folder, _, masks = patient
    for tracer in Tracer:
        found = rasterised(written / str(tracer) / "rtstruct.dcm", folder / str(tracer) / "pt")
        together = sum(mask.astype(int) for mask in found.values())
        np.testing.assert_array_equal(together, masks[tracer].voxels)


def test_without_a_transform_each_tracer_has_its_objects(patient, tmp_path):
    folder, _, masks = patient
    options = DicomOptions(thresholds_suv={Tracer.FDG: 2.5})
    opened = open_dicom_case(folder, options)
    assert opened.case.fdg_to_psma is None
    DicomObjects.of(DicomRequest(("seg", "pdf")), opened.patient).write(tmp_path / "d", opened.case, masks, RUN_REPORT)
    assert len(list((tmp_path / "d").rglob("*.dcm"))) == 4


def test_where_one_fails_nothing_is_left(patient, tmp_path, monkeypatch):
    _, opened, masks = patient

    def broken(*_, **__):
        raise OutputError("DICOM sr", "cannot be made", "tell us")

    objects = DicomObjects.of(DicomRequest(("seg",)), opened.patient)
    real = dicom_objects.made
    monkeypatch.setattr(dicom_objects, "made", lambda s, *a: broken() if s.tracer is Tracer.FDG else real(s, *a))
    with pytest.raises(OutputError):
        objects.write(tmp_path / "d", opened.case, masks, RUN_REPORT)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("kinds", "pseudonymize", "expected"),
    [
        (
            ("seg", "mesh"),
            False,
            "'mesh' is no kind of DICOM object: choose of seg, rtstruct, sr, capture, pdf, or none",
        ),
        (("sr",), False, "choose seg,sr"),
        ((), True, "no DICOM object to pseudonymize"),
    ],
)
def test_requests_are_checked(kinds, pseudonymize, expected):
    with pytest.raises(ValueError, match=expected):
        DicomRequest(kinds, pseudonymize)


def test_the_method_is_recipe_weights_and_version():
    now = datetime(2026, 1, 1)
    base = provenance(RUN_REPORT, now)
    assert base.method == provenance(RUN_REPORT, datetime(2027, 1, 1)).method
    for other in (
        {**RUN_REPORT, "recipe": {"name": "other"}},
        {**RUN_REPORT, "members": [{"sha256": "cd"}]},
        {**RUN_REPORT, "versions": {"deeppsma": "9"}},
    ):
        assert provenance(other, now).method != base.method
    assert provenance({}, now).notice == "Not for clinical use."
    assert provenance({}, now).notes == ()
    assert provenance({**RUN_REPORT, "fallbacks": ["no FDG organ map"]}, now).notes == ("no FDG organ map",)


def test_codes_of_places_are_those_of_pydicoms_dictionary():
    from pydicom.sr.codedict import codes

    found = (getattr(codes.SCT, name) for name in dir(codes.SCT))
    known = {code.value for code in found if hasattr(code, "value")}
    assert {code.value for code in site_codes().values()} <= known
    assert "bone, vertebra" in site_codes()
    uncoded = {f"{site.kind}, {site.name}" for site in load_sites().sites} - set(site_codes())
    assert uncoded == {"organ, bowel or peritoneum"}
