"""Masks as a BIDS derivative: the same voxels on the same grid, under labels that tell cases apart."""

from __future__ import annotations

import json

import numpy as np
import pytest
from builders.cases import write_platform_case

from deeppsma.cli.commands import main
from deeppsma.core.errors import ConfigurationError, InputError, OutputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.image_files import ImageFile
from deeppsma.io.result_folder import mask_path
from deeppsma.models import weights
from deeppsma.operation.cohort.bids import export_bids, label
from deeppsma.operation.cohort.key import method_key
from deeppsma.operation.cohort.ledger import CaseRecord, Ledger, Outcome
from deeppsma.operation.cohort.plan import CaseTask, CohortCase, CohortRequest, CohortSettings
from deeppsma.operation.cohort.workers import run_case


@pytest.fixture
def out(tmp_path, tiny_weights, monkeypatch):
    """A cohort of one case that is done, one that failed."""
    monkeypatch.setattr(weights, "_kept", None)
    monkeypatch.setattr("deeppsma.operation.cohort.workers._engines", {})
    ledger, settings = Ledger(tmp_path / "out"), CohortSettings("single", "cpu", tiny_weights)
    request = CohortRequest(tmp_path / "in", ledger.out, settings)
    key = method_key(settings)
    ledger.ask(request, key, {"case_01": "", "bad": ""})
    case = CohortCase("case_01", write_platform_case(tmp_path / "in/case_01/input"))
    run_case(CaseTask(case, tmp_path / "in", ledger.slot("case_01"), settings, key))
    ledger.write(CaseRecord("bad", Outcome.FAILED, "a bug"))
    return ledger.out


def test_masks_are_the_same_on_the_same_grid(out, tmp_path, capsys):
    assert main(["cohort-bids", str(out), str(tmp_path / "bids")]) == 0
    assert "1 subjects, 2 masks" in capsys.readouterr().out
    description = json.loads((tmp_path / "bids/dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert [made["Name"] for made in description["GeneratedBy"]] == ["deeppsma"]
    assert (tmp_path / "bids/participants.tsv").read_text() == "participant_id\tcase\nsub-case01\tcase_01\n"
    for tracer in Tracer:
        stem = tmp_path / f"bids/sub-case01/pet/sub-case01_trc-{tracer.upper()}_desc-lesion_mask"
        stored = ImageFile(mask_path(out / "cases/case_01", tracer)).read()
        written = ImageFile(stem.with_suffix(".nii.gz")).read()
        assert np.array_equal(stored.voxels, written.voxels)
        assert stored.geometry.same_grid(written.geometry)
        sidecar = json.loads(stem.with_suffix(".json").read_text())
        assert sidecar["VolumeML"] > 0
        assert "Not for clinical use" in sidecar["Description"]
        assert len(sidecar["InputsSHA256"]) == len(sidecar["WeightsSHA256"][0]) == 64
    assert not list(tmp_path.glob(".*partial"))


def test_labels_are_letters_and_digits():
    assert label("case_0-1 é") == "case01"


def test_labels_that_collide_are_refused(out, tmp_path):
    ledger = Ledger(out)
    asked = ledger.asked()
    ledger.ask(CohortRequest(tmp_path / "in", out, CohortSettings("single")), asked.method_key, {"case01": ""})
    ledger.write(CaseRecord("case01", Outcome.DONE))
    with pytest.raises(ConfigurationError, match="as that of case01"):
        export_bids(out, tmp_path / "bids")


def test_what_cannot_be_exported_leaves_nothing(out, tmp_path):
    with pytest.raises(OutputError, match="is there already"):
        export_bids(out, tmp_path / "in")
    with pytest.raises(InputError, match="no such file"):
        export_bids(tmp_path / "nowhere", tmp_path / "bids")
    mask_path(out / "cases/case_01", Tracer.PSMA).write_bytes(b"broken")
    with pytest.raises(InputError):
        export_bids(out, tmp_path / "bids")
    assert not (tmp_path / "bids").exists()
