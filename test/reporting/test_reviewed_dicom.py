"""A review becomes DICOM objects: rejected lesions gone, confirmed misses there, numbers as in the report."""

from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import pydicom
import pytest
from builders.dicom_files import write_pet
from builders.dicom_results import errors, wide

from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.image_files import ImageFile
from deeppsma.io.result_folder import dicom_path, mask_path, output_folder, write_result
from deeppsma.preprocessing.dicom_case import DicomOptions, open_dicom_case
from deeppsma.reporting.apply_review import REVIEWED_FOLDER, apply_review
from deeppsma.reporting.dicom_objects import provenance
from deeppsma.reporting.report_files import report_of_folder, write_report


def spots(image) -> None:
    """Three hot boxes in a warm body; the third is hot but not called disease."""
    wide(image)
    number = round((image.ImagePositionPatient[2] - 100) / 4)
    pixels = np.full((16, 16), 500, np.int16)
    if 2 <= number < 6:
        pixels[2:7, 2:5], pixels[2:6, 9:12], pixels[11:14, 11:14] = 20000, 15000, 25000
    image.PixelData = pixels.tobytes()


@pytest.fixture
def reviewed(tmp_path):
    folder = write_pet(tmp_path / "in", spots, 8)
    opened = open_dicom_case(folder, DicomOptions(thresholds_suv={Tracer.FDG: 0.5}))
    pet = opened.case.fdg.read_pet()
    mask = (pet.voxels > 0.5).astype(np.uint8)
    mask[:, 10:, 10:] = 0
    run_report = {"versions": {"deeppsma": "0"}, "notice": "n", "fallbacks": [], "case": opened.case.name}
    out = tmp_path / "out"
    with output_folder(out) as staging:
        write_result(staging, out, {Tracer.FDG: Volume(mask, pet.geometry)}, run_report)
    write_report(report_of_folder(out, opened.case), out, with_pdf=False)
    report = json.loads((out / "report.json").read_text())
    assert [row["id"] for row in report["lesions"]] == ["F1", "F2"]
    assert [row["id"] for row in report["possible_misses"]] == ["FX1"]
    decisions = {"F1": "reject", "FX1": "confirm"}
    content = {"format": "deeppsma-review-1", "masks_sha256": report["masks_sha256"], "decisions": decisions}
    (out / "review.json").write_text(json.dumps(content))
    return out, opened.patient, run_report, report


def test_what_the_physician_kept(reviewed):
    out, patient, run_report, report = reviewed
    apply_review(out, out / "review.json", patient)
    place = out / REVIEWED_FOLDER
    paths = [dicom_path(place, Tracer.FDG, kind) for kind in ("seg", "rtstruct", "sr")]
    assert [problem for path in paths for problem in errors(path)] == []
    seg = pydicom.dcmread(paths[0])
    assert [segment.TrackingID for segment in seg.SegmentSequence] == ["F2", "FX1"]
    assert {segment.SegmentAlgorithmType for segment in seg.SegmentSequence} == {"SEMIAUTOMATIC"}
    assert seg.pixel_array.sum() == ImageFile(mask_path(place, Tracer.FDG)).read().voxels.sum()
    assert "reviewed" in seg.SeriesDescription
    groups = pydicom.dcmread(paths[2]).to_json()
    kept_row, rejected = report["lesions"][1], report["lesions"][0]
    assert f"{kept_row['suv_peak']:.6g}"[:6] in groups
    assert f"{rejected['suv_peak']:.6g}"[:6] not in groups
    assert provenance(run_report, datetime.now()).method == provenance(run_report, datetime.now(), True).method


def test_another_patients_files_are_refused(reviewed, tmp_path):
    out, _, _, _ = reviewed
    other = open_dicom_case(write_pet(tmp_path / "x", wide, study="7"), DicomOptions(thresholds_suv={Tracer.FDG: 0.5}))
    with pytest.raises(InputError, match="these DICOM files are dicom-"):
        apply_review(out, out / "review.json", other.patient)
    assert not (out / REVIEWED_FOLDER).exists()
