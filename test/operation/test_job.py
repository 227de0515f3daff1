"""The command line, as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from deeppsma.cli.commands import main
from deeppsma.core.tracer import Tracer
from deeppsma.io.image_files import ImageFile
from deeppsma.io.result_folder import mask_path
from deeppsma.operation.job import Job, run_job

pytestmark = pytest.mark.usefixtures("keep_signals")


ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["segment", "phantom", "survey", "recipes", "score", "train", "crossval"]


def deeppsma(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deeppsma", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("command", [[], *([c] for c in COMMANDS)])
def test_help_teaches_without_loading_torch(command):
    code = "import sys; from deeppsma.cli.commands import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'SimpleITK', 'numpy', 'scipy'} & set(sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code, *command, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "usage: deeppsma" in result.stdout


def test_segment_from_the_shell(platform_case, tmp_path, tiny_weights):
    out = tmp_path / "out"
    result = deeppsma("segment", platform_case, out, "--weights", tiny_weights, "--device", "cpu", "--picture")
    assert result.returncode == 0, result.stderr
    report = json.loads((out / "run_report.json").read_text())
    assert report["members"][0]["folder"] == str(tiny_weights / "cds-compact")
    assert len(report["members"][0]["sha256"]) == 64
    assert report["notice"].startswith("Not for clinical use")
    assert set(report["seconds"]) >= {"read PET", "spaces", "channels", "network", "second opinion", "masks"}
    assert report["peak_memory_mb"] > 50
    assert (out / "overview.png").read_bytes()[:4] == b"\x89PNG"
    assert "PSMA: " in result.stdout
    assert str(mask_path(out, Tracer.FDG)) in result.stdout


def test_two_runs_write_identical_bytes(platform_case, tmp_path, tiny_weights):
    for name in ("a", "b"):
        run_job(Job(platform_case, tmp_path / name, "bothways_plus", "cpu", tiny_weights))
    for tracer in Tracer:
        assert mask_path(tmp_path / "a", tracer).read_bytes() == mask_path(tmp_path / "b", tracer).read_bytes()


@pytest.fixture
def scored(platform_case, tmp_path, tiny_weights):
    """A case whose truth is its own result, and that result."""
    case = tmp_path / "case"
    shutil.copytree(platform_case, case / "input")
    (case / "truth").mkdir()
    run_job(Job(platform_case, tmp_path / "out", "single", "cpu", tiny_weights))
    for tracer in Tracer:
        shutil.copy(mask_path(tmp_path / "out", tracer), case / "truth" / f"{tracer}.mha")
    return case, tmp_path / "out"


def test_score_of_a_perfect_answer(scored, capsys):
    case, out = scored
    assert main(["score", str(out), str(case)]) == 0
    assert capsys.readouterr().out.count("DSC 1.000, surface DSC 1.000, FPV 0.00 ml, FNV 0.00 ml") == 2


def test_score_against_another_patient_is_refused(scored, capsys):
    case, out = scored
    for tracer in Tracer:
        shutil.copy(mask_path(out, tracer.other), case / "truth" / f"{tracer}.mha")
    assert main(["score", str(out), str(case / "truth")]) == 2
    assert "not on its PET's grid" in capsys.readouterr().err


def test_score_without_a_case_is_refused(scored, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["score", str(scored[1]), str(tmp_path / "empty")]) == 2
    assert "no folders of cases" in capsys.readouterr().err


def test_recipes_lists_recipes_and_weights(capsys, tiny_weights):
    assert main(["recipes", "--weights", str(tiny_weights)]) == 0
    text = capsys.readouterr().out
    assert "second_opinion (default)" in text
    assert "cds-compact: tiny, random" in text


def test_phantom_refuses_nonsense(tmp_path, capsys):
    assert main(["phantom", str(tmp_path), "--cases", "0"]) == 5
    assert "at least one case" in capsys.readouterr().err


def test_a_file_where_a_folder_should_be_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["phantom", str(tmp_path / "file")]) == 6
    assert "Not a directory" in capsys.readouterr().err


def test_a_missing_case_is_one_line(tmp_path, capsys):
    assert main(["segment", str(tmp_path / "nowhere"), str(tmp_path / "out")]) == 2
    # XXXX as in the names of the data set's folders, train_0001 and so on
    assert capsys.readouterr().err.strip().endswith("train_XXXX folder, or a folder of DICOM files")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminated_run_leaves_nothing(platform_case, tmp_path, tiny_weights, number):
    """The platform ends a job with SIGTERM: nothing half-written may stay."""
    out = tmp_path / "out"
    code = (
        "import sys, time; import deeppsma.operation.job as j; j.segment = lambda *a: time.sleep(60)\n"
        "from deeppsma.cli.commands import main; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "segment", str(platform_case), str(out), "--weights", str(tiny_weights)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(200):
        if list(out.glob(".deeppsma-partial-*")):
            break
        time.sleep(0.1)
    assert list(out.glob(".deeppsma-partial-*"))
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 143
    assert said.strip().splitlines()[-1].startswith("deeppsma: error: terminated from outside")
    assert list(out.rglob("*")) == []


def test_masks_from_python_as_the_readme_says(platform_case, tiny_weights):
    from deeppsma import WeightsStore, load_case, load_recipe, segment

    result = segment(load_case(platform_case), load_recipe("bothways"), WeightsStore.default(tiny_weights))
    mask = result.masks[Tracer.PSMA]
    assert mask.to_sitk().GetSize() == mask.voxels.shape[::-1]
    assert ImageFile(next((platform_case / "images/psma-pet-ga-68").iterdir())).geometry.same_grid(mask.geometry)


@pytest.mark.parametrize("tracer", ["psma", "fdg"])
def test_one_tracer_alone_from_the_shell(platform_case, tmp_path, tiny_weights, tracer):
    other = "fdg" if tracer == "psma" else "psma"
    for folder in platform_case.glob(f"images/{other}-*"):
        shutil.rmtree(folder)
    for name in ("inputs.json", "psma-to-fdg-registration.json", f"{other}-pet-suv-threshold.json"):
        (platform_case / name).unlink()
    out = tmp_path / "out"
    options = ["--weights", tiny_weights, "--device", "cpu", "--picture", "--probabilities", ".mha"]
    result = deeppsma("segment", platform_case, out, *options)
    assert result.returncode == 0, result.stderr
    assert f"no {other.upper()} study: the networks see {tracer.upper()} alone" in result.stderr
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    masks = {f"images/{tracer}-pet-ttb/{tracer}-pet-ttb.mha"}
    assert found == masks | {f"{tracer}-probability.mha", "overview.png", "case.txt", "run_report.json"}
    assert set(json.loads((out / "run_report.json").read_text())["findings"]) == {tracer}


def test_probabilities_lie_beside_the_masks_and_agree_with_them(platform_case, tmp_path, tiny_weights):
    options = ["--weights", tiny_weights, "--device", "cpu", "--recipe", "single", "--probabilities"]
    assert deeppsma("segment", platform_case, tmp_path / "out", *options).returncode == 0
    for tracer in ("psma", "fdg"):
        probability = ImageFile(tmp_path / f"out/{tracer}-probability.nii.gz").read()
        mask = ImageFile(tmp_path / f"out/images/{tracer}-pet-ttb/{tracer}-pet-ttb.mha").read()
        assert probability.geometry.same_grid(mask.geometry)
        assert np.array_equal(probability.voxels >= 0.5, mask.voxels > 0)
        assert 0 <= probability.voxels.min() < probability.voxels.max() <= 1
    # Another run without them leaves none behind.
    assert deeppsma("segment", platform_case, tmp_path / "out", *options[:-1]).returncode == 0
    assert not list((tmp_path / "out").glob("*probability*"))
