"""SR: figures and totals as dcmqi reads them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from builders.dicom_results import ABOUT, errors, lesions, nasty_labels, source, tool

from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.result_object import save
from deeppsma.io.dicom.result_source import ResultSource
from deeppsma.io.dicom.write_seg import segmentation
from deeppsma.io.dicom.write_sr import measurement_report


def written(folder, labels, tracer=Tracer.FDG):
    pet = source(folder / "pet")
    pet = ResultSource(tracer, pet.series_uid, pet.slices, pet.geometry)
    found = lesions(labels)
    seg = segmentation(pet, found, ABOUT)
    paths = save({"seg": seg, "sr": measurement_report(pet, found, ABOUT, seg)}, folder / "out")
    return seg, paths[1]


def read(path, folder):
    command = [tool("tid1500reader"), "--inputDICOM", path, "--outputMetadata", folder / "sr.json"]
    subprocess.run(command, check=True, capture_output=True)
    return json.loads((folder / "sr.json").read_text())["Measurements"]


@pytest.mark.parametrize(("tracer", "code"), [(Tracer.FDG, "126033"), (Tracer.PSMA, "PSMA-TL")])
def test_figures_beside_the_segment_that_shows_them(tmp_path, tracer, code):
    labels = nasty_labels()
    seg, path = written(tmp_path, labels, tracer)
    *groups, totals = read(path, tmp_path)
    assert len(groups) == 7
    for n, group in enumerate(groups, start=1):
        assert group["TrackingIdentifier"] == f"F{n}"
        assert group["TrackingUniqueIdentifier"] == seg.SegmentSequence[n - 1].TrackingUID
        assert (group["ReferencedSegment"], group["segmentationSOPInstanceUID"]) == (n, seg.SOPInstanceUID)
        assert group["FindingSite"]["CodeMeaning"] == "Humerus"
        assert group["Laterality"]["CodeMeaning"] == "Left"
        values = [float(item["value"]) for item in group["measurementItems"]]
        assert values == pytest.approx([(labels == n).sum(), 9 + n, 4 + n, 8 + n, 100 + n])
        derived = [item.get("derivationModifier", {}).get("CodeMeaning") for item in group["measurementItems"]]
        assert derived == [None, "Maximum", "Mean", "Peak Value Within ROI", None]
        assert group["measurementItems"][-1]["quantity"]["CodeValue"] == code
    assert [float(item["value"]) for item in totals["measurementItems"]] == [7, (labels > 0).sum(), 728]


def test_what_was_missing_is_said_in_every_object(tmp_path):
    pet = source(tmp_path / "pet")
    about = replace(ABOUT, notes=("no FDG organ map: do not rely on this mask", "no FDG CT"))
    found = lesions(nasty_labels())
    seg = segmentation(pet, found, about)
    objects = {"seg": seg, "sr": measurement_report(pet, found, about, seg)}
    for path in save(objects, tmp_path / "out"):
        made = pydicom.dcmread(path)
        assert about.notes[0] in made.ContributingEquipmentSequence[0].ContributionDescription
        assert errors(path) == []
    said = pydicom.dcmread(tmp_path / "out/sr.dcm").to_json()
    assert all(f"To know about this result: {note}" in said for note in about.notes)
    *_, totals = read(tmp_path / "out/sr.dcm", tmp_path)
    assert float(totals["measurementItems"][0]["value"]) == 7


def test_without_a_lesion_it_says_so(tmp_path):
    _, path = written(tmp_path, np.zeros((6, 16, 16), np.uint16))
    (totals,) = read(path, tmp_path)
    assert [float(item["value"]) for item in totals["measurementItems"]] == [0, 0, 0]
    assert "No lesion found at or above SUV 2.5" in json.dumps(totals)
    assert errors(path) == []


def test_it_is_valid_and_nobody_has_verified_it(tmp_path):
    _, path = written(tmp_path, nasty_labels())
    assert errors(path) == []
    made = pydicom.dcmread(path)
    assert (made.CompletionFlag, made.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
