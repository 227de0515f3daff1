"""DICOM objects of a job: published with the masks, replaced with them, and never at their cost."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from builders.dicom_files import write_pet

from deeppsma.cli.commands import main
from deeppsma.core.errors import ConfigurationError, OutputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.study import open_patient
from deeppsma.io.image_files import ImageFile
from deeppsma.io.result_folder import dicom_path, mask_path, output_folder
from deeppsma.operation.answers import FULL, THRESHOLD, Steps
from deeppsma.operation.job import Job, job_of_container, run_job
from deeppsma.preprocessing.dicom_case import DicomOptions
from deeppsma.reporting import dicom_objects

pytestmark = pytest.mark.usefixtures("keep_signals")


def room(image) -> None:
    image.Rows = image.Columns = 32


@pytest.fixture
def job(tmp_path, tiny_weights):
    folder = write_pet(tmp_path / "in", room, 16)
    options = DicomOptions(thresholds_suv={Tracer.FDG: 2.5})
    return Job(folder, tmp_path / "out", "single", "cpu", tiny_weights, dicom=options)


def names(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in (out / "dicom").rglob("*") if path.is_file())


def fallbacks(out: Path) -> str:
    return "\n".join(json.loads((out / "run_report.json").read_text())["fallbacks"])


def test_a_case_of_dicom_files_gets_seg_rtstruct_and_sr(job):
    written, _ = run_job(job)
    assert names(job.out) == ["dicom/fdg/rtstruct.dcm", "dicom/fdg/seg.dcm", "dicom/fdg/sr.dcm"]
    assert dicom_path(job.out, Tracer.FDG, "seg") in written
    seg = pydicom.dcmread(dicom_path(job.out, Tracer.FDG, "seg"))
    mask = ImageFile(mask_path(job.out, Tracer.FDG)).read().voxels
    assert seg.pixel_array.sum() == mask.sum()
    assert seg.PatientID == "SECRET-ID"


def test_the_run_report_has_suv_in_numbers(job):
    run_job(job)
    text = (job.out / "run_report.json").read_text()
    suv = json.loads(text)["inputs"]["fdg"]["suv"]
    assert (suv["units"], suv["decay_correction"], suv["nuclide"]) == ("BQML", "START", "F-18")
    assert (suv["dose_mbq"], suv["weight_kg"], suv["half_life_s"], suv["uptake_min"]) == (350, 70, 6586.2, 60)
    by_hand = 70e3 / (350e6 * 2 ** (-3600 / 6586.2))
    assert suv["factor_min"] == suv["factor_max"] == pytest.approx(by_hand, rel=1e-12)
    pet = open_patient(job.case).pet(Tracer.FDG).read()
    share = pet.voxels.sum() * pet.geometry.voxel_volume_ml / 70e3
    assert suv["dose_share"] == pytest.approx(share, abs=6e-4)
    assert (suv["liver"], suv["liver_unchecked"]) == (None, "there is no organ map")
    assert {"PatientWeight (0010,1030)", "RadionuclideTotalDose (0018,1074)", "SeriesTime (0008,0031)"} <= set(
        suv["tags"]
    )
    assert "2025" not in text.replace(str(job.case), "")


def test_a_rerun_replaces_what_it_wrote(job):
    run_job(job)
    first = pydicom.dcmread(dicom_path(job.out, Tracer.FDG, "seg")).SOPInstanceUID
    run_job(replace(job, dicom_out=("seg",)))
    assert names(job.out) == ["dicom/fdg/seg.dcm"]
    assert pydicom.dcmread(dicom_path(job.out, Tracer.FDG, "seg")).SOPInstanceUID == first
    run_job(replace(job, dicom_out=("seg",), pseudonymize=True))
    hidden = pydicom.dcmread(dicom_path(job.out, Tracer.FDG, "seg"))
    assert hidden.SOPInstanceUID != first
    assert hidden.PatientID.startswith("dicom-")
    run_job(replace(job, dicom_out=()))
    assert not (job.out / "dicom").exists()


def test_results_beside_the_pet_disturb_no_later_run(job):
    inside = replace(job, out=job.case / "out")
    run_job(inside)
    run_job(inside)
    assert len(names(inside.out)) == 3
    run_job(job)


def test_a_case_that_is_no_dicom_has_none(platform_case, tmp_path, tiny_weights):
    job = Job(platform_case, tmp_path / "out", "single", "cpu", tiny_weights)
    run_job(job)
    assert not (job.out / "dicom").exists()
    with pytest.raises(ConfigurationError, match="no folder of DICOM files"):
        run_job(replace(job, dicom_out=("seg",)))


def test_what_nobody_asked_for_may_fail(job, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    run_job(job)
    assert "no DICOM objects: DICOM results: the package highdicom is not installed" in fallbacks(job.out)
    assert mask_path(job.out, Tracer.FDG).is_file()
    with pytest.raises(ConfigurationError, match="highdicom is not installed"):
        run_job(replace(job, dicom_out=("seg",)))


def test_a_failure_at_the_end_costs_the_masks_only_if_objects_were_asked_for(job, monkeypatch):
    def broken(*_):
        raise OutputError("DICOM sr of the FDG PET", "cannot be made", "choose --dicom none")

    monkeypatch.setattr(dicom_objects, "made", broken)
    run_job(job)
    assert "no DICOM objects: DICOM sr of the FDG PET: cannot be made" in fallbacks(job.out)
    assert not (job.out / "dicom").exists()
    with pytest.raises(OutputError, match="cannot be made"):
        run_job(replace(job, dicom_out=("seg", "sr")))
    assert not mask_path(job.out, Tracer.FDG).exists()


def test_early_answers_say_that_they_have_none(job, tmp_path):
    answers = tmp_path / "answers"
    run_job(replace(job, out=answers / FULL), steps=Steps(answers, time.monotonic() + 100))
    assert "no DICOM objects: they are made with the full answer alone" in fallbacks(answers / THRESHOLD)
    assert "no DICOM objects" not in fallbacks(answers / FULL)
    assert len(names(answers / FULL)) == 3


def test_others_files_are_not_replaced(tmp_path):
    path = dicom_path(tmp_path, Tracer.PSMA, "sr")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"somebody's")
    with pytest.raises(OutputError, match=r"sr\.dcm: was written by no run of deeppsma"), output_folder(tmp_path):
        pass
    assert path.read_bytes() == b"somebody's"


def test_a_linked_folder_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dicom").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="is a link to another folder"), output_folder(tmp_path / "out"):
        pass


def test_the_containers_environment(tmp_path):
    (tmp_path / "site.toml").write_text("days_apart_max = 3\n")
    environment = {
        "DEEPPSMA_DICOM_OUT": "seg, sr",
        "DEEPPSMA_PSEUDONYMIZE": "1",
        "DEEPPSMA_FDG_THRESHOLD": "2.75",
        "DEEPPSMA_SITE": str(tmp_path / "site.toml"),
    }
    job = job_of_container(environment)
    assert (job.dicom_out, job.pseudonymize) == (("seg", "sr"), True)
    assert job.dicom is not None
    assert job.dicom.thresholds_suv == {Tracer.FDG: 2.75}
    assert job.dicom.site.days_apart_max == 3
    assert job_of_container({}).dicom_out is None
    assert job_of_container({"DEEPPSMA_DICOM_OUT": "none"}).dicom_out == ()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DEEPPSMA_DICOM_OUT", "mesh", "'mesh' is no kind"),
        ("DEEPPSMA_FDG_THRESHOLD", "high", "'high' is no number; give the SUV threshold"),
        ("DEEPPSMA_SITE", "nowhere.toml", "not readable as TOML"),
    ],
)
def test_an_environment_that_makes_no_sense_is_one_line(name, value, expected):
    with pytest.raises(ConfigurationError, match=expected):
        job_of_container({name: value})


def test_the_command_lines_choice(job, tmp_path, capsys):
    command = ["segment", str(job.case), str(tmp_path / "o"), "--recipe", "single", "--device", "cpu"]
    command += ["--weights", str(job.weights), "--fdg-threshold", "2.5"]
    assert main([*command, "--dicom", "seg,capture"]) == 0
    assert names(tmp_path / "o") == ["dicom/fdg/capture.dcm", "dicom/fdg/seg.dcm"]
    picture = pydicom.dcmread(dicom_path(tmp_path / "o", Tracer.FDG, "capture")).pixel_array
    assert len(np.unique(picture)) > 2
    assert main([*command, "--dicom", "sr"]) == 5
    assert "choose seg,sr" in capsys.readouterr().err.splitlines()[-1]
