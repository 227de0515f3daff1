"""The commands on what was found, as a user runs them."""

import json
import sys

import numpy as np
import pytest
from builders.cases import GRIDS, write_platform_case

import deeppsma
from deeppsma.cli.commands import main
from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.layouts import load_case
from deeppsma.io.result_folder import mask_path, output_folder, write_result

pytestmark = pytest.mark.usefixtures("keep_signals")


@pytest.fixture
def stored(tmp_path):
    """A case, and a result of it that calls every voxel of SUV 6 or more disease."""
    case = write_platform_case(tmp_path / "case" / "input")
    opened = load_case(case)
    masks = {
        tracer: Volume((opened.study(tracer).read_pet().voxels >= 6).astype(np.uint8), GRIDS[tracer])
        for tracer in Tracer
    }
    out = tmp_path / "out"
    with output_folder(out) as staging:
        write_result(staging, out, masks, {"versions": {"deeppsma": "0"}, "notice": "n", "fallbacks": []})
    return case, out, masks


def test_report_then_review_then_compare(stored, capsys):
    case, out, masks = stored
    assert main(["report", str(out), str(case)]) == 0
    names = {path.name for path in out.iterdir()}
    assert {"report.html", "report.pdf", "lesions.csv", "report.json", "report_foci.npz"} <= names
    report = json.loads((out / "report.json").read_text())
    expected = masks[Tracer.PSMA].voxels.sum() * GRIDS[Tracer.PSMA].voxel_volume_ml
    assert report["totals"]["psma"]["all"]["volume_ml"] == pytest.approx(expected)
    assert report["case"] == "case"
    review = {"format": "deeppsma-review-1", "masks_sha256": report["masks_sha256"], "decisions": {"P1": "reject"}}
    (out / "review.json").write_text(json.dumps(review))
    assert main(["apply-review", str(out), str(out / "review.json")]) == 0
    assert mask_path(out / "reviewed", Tracer.PSMA).is_file()
    capsys.readouterr()
    assert main(["compare", str(out), str(out), str(case), str(case)]) == 0
    assert "RECIP 1.0 from these figures: SD" in capsys.readouterr().out
    assert json.loads((out / "comparison.json").read_text())["new_lesions"] == []


def test_without_ct_and_pdf(stored):
    case, out, _ = stored
    assert main(["report", str(out), str(case), "--no-ct", "--no-pdf"]) == 0
    assert not (out / "report.pdf").exists()
    assert 'id="ct-psma"' not in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "{tmp}/none", "{case}"], "no such folder"),
        (["report", "{case}", "{case}"], "no run_report.json"),
        (["apply-review", "{out}", "{tmp}/none.json"], "not readable"),
    ],
)
def test_bad_input_is_one_line(stored, capsys, tmp_path, arguments, words):
    case, out, _ = stored
    status = main([a.format(tmp=tmp_path, case=case, out=out) for a in arguments])
    assert status != 0
    last = capsys.readouterr().err.strip().splitlines()
    assert len(last) == 1
    assert words in last[0]


def test_from_python(stored, tmp_path):
    case, _, masks = stored
    made = deeppsma.report(load_case(case), masks)
    assert "not in the run report" in made.html
    (tmp_path / "mine").mkdir()
    assert [p.name for p in made.save(tmp_path / "mine", with_pdf=False)][-1] == "report.json"


def test_segment_makes_a_report_when_asked(tmp_path, tiny_weights):
    case = write_platform_case(tmp_path / "case" / "input")
    out = tmp_path / "out"
    segment = ["segment", str(case), str(out), "--recipe", "single", "--weights", str(tiny_weights), "--device", "cpu"]
    assert main(segment) == 0
    assert not (out / "report.html").exists()
    assert main([*segment, "--report"]) == 0
    assert (out / "report.html").is_file()
    report = json.loads((out / "run_report.json").read_text())
    assert report["members"][0]["sha256"] in (out / "report.html").read_text()


def test_segment_leaves_the_pdf_out(tmp_path, tiny_weights, monkeypatch, capsys):
    case, out = write_platform_case(tmp_path / "case" / "input"), tmp_path / "out"
    segment = ["segment", str(case), str(out), "--recipe", "single", "--weights", str(tiny_weights), "--device", "cpu"]
    assert main([*segment, "--no-pdf"]) == 5
    assert capsys.readouterr().err == (
        "deeppsma: error: --no-pdf: there is no report to leave it out of; give --report, too\n"
    )
    monkeypatch.setitem(sys.modules, "reportlab", None)
    assert main([*segment, "--report", "--no-pdf"]) == 0
    assert (out / "report.html").is_file()
    assert not (out / "report.pdf").exists()


def test_an_earlier_pdf_goes_with_a_word(stored, capsys):
    case, out, _ = stored
    assert main(["report", str(out), str(case), "--no-pdf"]) == 0
    assert "removed" not in capsys.readouterr().err
    (out / "report.pdf").write_bytes(b"of an earlier report")
    assert main(["report", str(out), str(case), "--no-pdf"]) == 0
    assert capsys.readouterr().err == f"note: {out / 'report.pdf'}: removed, it was an earlier report's\n"
    assert not (out / "report.pdf").exists()


def test_the_notice_on_a_terminal_is_short(tmp_path, tiny_weights, capsys):
    import shutil

    case, store = write_platform_case(tmp_path / "case" / "input"), tmp_path / "store"
    shutil.copytree(tiny_weights, store)
    manifest = store / "cds-compact/manifest.json"
    content = json.loads(manifest.read_text())
    content["training"] = {"data": "9 synthetic patients (seeds 0 to 8), no real ones"}
    manifest.write_text(json.dumps(content))
    options = ["--recipe", "single", "--weights", str(store), "--device", "cpu"]
    assert main(["segment", str(case), str(tmp_path / "out"), *options]) == 0
    begin = "Not for clinical use. Weights trained on: 9 synthetic patients"
    assert f"{begin}, no real ones; in full: run_report.json.\n" in capsys.readouterr().out
    report = json.loads((tmp_path / "out/run_report.json").read_text())
    assert report["notice"] == f"{begin} (seeds 0 to 8), no real ones."


@pytest.mark.parametrize("command", ["segment", "report", "cohort"])
def test_a_pdf_that_cannot_be_made_is_refused_before_the_work(command, tmp_path, tiny_weights, monkeypatch, capsys):
    """On a base installation the line came when the segmentation was done."""
    case = write_platform_case(tmp_path / "cases" / "one" / "input")
    out = tmp_path / "out"
    if command == "report":
        given = ["--recipe", "single", "--weights", str(tiny_weights), "--device", "cpu"]
        assert main(["segment", str(case), str(out), *given]) == 0
    monkeypatch.setitem(sys.modules, "reportlab", None)
    monkeypatch.setattr("deeppsma.operation.job.run_job", _not_reached)
    monkeypatch.setattr("deeppsma.operation.cohort.run.run_cohort", _not_reached)
    monkeypatch.setattr("deeppsma.reporting.report_files.report_of_folder", _not_reached)
    arguments = {
        "segment": ["segment", str(case), str(out), "--report"],
        "report": ["report", str(out)],
        "cohort": ["cohort", str(tmp_path / "cases"), str(out), "--report"],
    }
    assert main(arguments[command]) == 5
    assert capsys.readouterr().err.splitlines()[-1] == (
        "deeppsma: error: report.pdf: the package reportlab is not installed; pip install 'deeppsma[report]', or leave "
        "the PDF out: deeppsma report OUT --no-pdf"
    )


def _not_reached(*_, **__):
    raise AssertionError("work was begun")


def test_a_report_made_later_finds_its_case(tmp_path, tiny_weights, capsys):
    case = write_platform_case(tmp_path / "case" / "input")
    out = tmp_path / "out"
    options = ["--recipe", "single", "--weights", str(tiny_weights), "--device", "cpu"]
    assert main(["segment", str(case), str(out), *options]) == 0
    assert main(["report", str(out), "--no-pdf"]) == 0
    assert (out / "report.html").is_file()
    case.rename(tmp_path / "moved")
    capsys.readouterr()
    assert main(["report", str(out)]) == 2
    assert "no longer there; name it: deeppsma report" in capsys.readouterr().err
    (out / "case.txt").unlink()
    assert main(["report", str(out)]) == 2
    assert "does not say which case" in capsys.readouterr().err


def test_a_result_of_another_patient_on_the_same_grid_is_refused(tmp_path, tiny_weights, capsys):
    case = write_platform_case(tmp_path / "case" / "input")
    out = tmp_path / "out"
    options = ["--recipe", "single", "--weights", str(tiny_weights), "--device", "cpu"]
    assert main(["segment", str(case), str(out), *options]) == 0
    (case / "psma-pet-suv-threshold.json").write_text("2.5")
    capsys.readouterr()
    assert main(["report", str(out), str(case)]) == 2
    assert "PSMA threshold_suv is 2.5 in this case, 3 in the run report" in capsys.readouterr().err


def test_a_segmentation_shows_itself(tmp_path, tiny_weights):
    case = write_platform_case(tmp_path / "case" / "input")
    result = deeppsma.segment(case, "single", tiny_weights, "cpu")
    page = result.report_html()
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")
    assert result.report.members[0].sha256 in page
    assert 'id="ct-psma"' in page
    assert 'id="ct-psma"' not in result.report_html(with_ct=False)
    assert "srcdoc" in result.reading()._repr_html_()


def test_what_the_command_line_can_say_python_can(platform_case, tiny_weights):
    with pytest.raises(InputError, match="mirror"):  # a recipe without a model of nnU-Net
        deeppsma.segment(platform_case, "single", tiny_weights, "cpu", mirrored=False)
