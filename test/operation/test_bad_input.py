"""Every kind of bad input, through the real entry point: one line, non-zero exit, nothing written."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from builders.cases import TINY_NETWORK, write_tiny_member

from deeppsma.cli.exit_status import guarded
from deeppsma.core.geometry import Geometry
from deeppsma.core.volume import Volume
from deeppsma.io.grand_challenge import SOCKETS
from deeppsma.io.image_files import ImageFile, write_image

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("inference", ROOT / "inference.py")
inference = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(inference)
PET, ORGANS = "images/psma-pet-ga-68", "images/psma-ct-organ-segmentation"
THRESHOLD, TRANSFORM = "fdg-pet-suv-threshold.json", "psma-to-fdg-registration.json"


pytestmark = pytest.mark.usefixtures("keep_signals")


def run_container_entry(
    case: Path, out: Path, model: Path, fresh: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The container's entry point, with its three folders elsewhere: in this process, or in a fresh one."""
    folders = {"DEEPPSMA_INPUT": str(case), "DEEPPSMA_OUTPUT": str(out), "DEEPPSMA_MODEL": str(model)}
    settings = {"PYTHONPATH": str(ROOT), "DEEPPSMA_DEVICE": "cpu"} | folders | environment
    command = [sys.executable, "-W", "ignore", str(ROOT / "inference.py")]
    if fresh:
        return subprocess.run(
            command, env=os.environ | settings, capture_output=True, text=True, timeout=300, check=False
        )
    # A time limit forks; here, where torch has run before, that would be another program than the real one.
    said, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(errors):
        for name, value in ({"DEEPPSMA_DEADLINE": "none"} | settings).items():
            patch.setenv(name, value)
        status = guarded(inference.main)
    return subprocess.CompletedProcess(command, status, said.getvalue(), errors.getvalue())


def last_line(result: subprocess.CompletedProcess[str]) -> str:
    return [line for line in result.stderr.splitlines() if line.strip()][-1]


def image(folder: Path) -> Path:
    return next(folder.iterdir())


def rewrite(folder: Path, change: Callable[[np.ndarray], None] | None = None, grid: Geometry | None = None) -> None:
    volume = ImageFile(image(folder)).read()
    voxels = volume.voxels.astype(np.float32)
    if change is not None:
        change(voxels)
    write_image(Volume(voxels, grid or volume.geometry), image(folder))


def set_voxel(value: float) -> Callable[[Path], None]:
    def damage(case: Path) -> None:
        rewrite(case / PET, lambda voxels: voxels.__setitem__((3, 4, 5), value))

    return damage


def text(name: str, content: str) -> Callable[[Path], None]:
    return lambda case: (case / name).write_text(content) and None


def listing(change: Callable[[list[dict]], object]) -> Callable[[Path], None]:
    def damage(case: Path) -> None:
        entries = json.loads((case / "inputs.json").read_text())
        replaced = change(entries)
        (case / "inputs.json").write_text(json.dumps(entries if replaced is None else replaced))

    return damage


def truncate(case: Path) -> None:
    path = image(case / PET)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_bits(case: Path) -> None:
    path = image(case / PET)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def empty_folder(case: Path) -> None:
    image(case / PET).unlink()


def two_images(case: Path) -> None:
    shutil.copy(image(case / PET), case / PET / "second.mha")


def of_dimension(shape: tuple[int, ...]) -> Callable[[Path], None]:
    def damage(case: Path) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(np.ones(shape, np.float32), isVector=False), str(image(case / PET)))

    return damage


def label(value: float) -> Callable[[Path], None]:
    return lambda case: rewrite(case / ORGANS, lambda voxels: voxels.__setitem__((0, 0, 0), value))


def far_away(case: Path) -> None:
    grid = ImageFile(image(case / ORGANS)).geometry
    rewrite(case / ORGANS, grid=replace(grid, origin_xyz=(9000.0, 0.0, 0.0)))


def matrix(change: Callable[[list[list[float]]], object]) -> Callable[[Path], None]:
    def damage(case: Path) -> None:
        content = json.loads((case / TRANSFORM).read_text())
        change(content["3d_affine_transform"])
        (case / TRANSFORM).write_text(json.dumps(content))

    return damage


def scaled(factor: float) -> Callable[[Path], None]:
    return lambda case: rewrite(case / PET, lambda voxels: np.multiply(voxels, factor, out=voxels))


def in_becquerel(case: Path) -> None:
    scaled(5000.0)(case)


BAD_CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    **{
        f"missing {s.slug}": (
            lambda case, s=s: (
                shutil.rmtree(case / s.relative_path) if s.is_image else (case / s.relative_path).unlink()
            ),
            s.slug,
        )
        for s in SOCKETS
    },
    **{
        f"not offered {s.slug}": (
            listing(lambda entries, s=s: [e for e in entries if e["interface"]["slug"] != s.slug]),
            s.slug,
        )
        for s in SOCKETS
        if s.kind in ("pet", "threshold", "registration")
    },
    "empty folder": (empty_folder, "holds no image"),
    "two images": (two_images, "holds 2 images"),
    "truncated image": (truncate, "not a readable image"),
    "flipped bits": (flip_bits, "not a readable image"),
    "text as image": (lambda case: image(case / PET).write_text("PET"), "not a readable image"),
    "2-D": (of_dimension((20, 20)), "2-D image"),
    "4-D": (of_dimension((2, 20, 20, 20)), "4-D image"),
    "NaN": (set_voxel(np.nan), "NaN or infinite"),
    "infinite": (set_voxel(np.inf), "NaN or infinite"),
    "negative SUV": (set_voxel(-5), "SUV down to -5"),
    "Bq/ml": (in_becquerel, "looks like Bq/ml"),
    "empty PET": (scaled(0.0), "no voxel above zero"),
    "threshold no number": (text(THRESHOLD, '"high"'), "instead of a number"),
    "threshold a list": (text(THRESHOLD, "[3]"), "instead of a number"),
    "threshold true": (text(THRESHOLD, "true"), "instead of a number"),
    "threshold null": (text(THRESHOLD, "null"), "instead of a number"),
    "threshold zero": (text(THRESHOLD, "0"), "threshold of 0"),
    "threshold negative": (text(THRESHOLD, "-3"), "threshold of -3"),
    "threshold NaN": (text(THRESHOLD, "NaN"), "threshold of nan"),
    "threshold absurd": (text(THRESHOLD, "5000"), "threshold of 5000"),
    "threshold tiny": (text(THRESHOLD, "1e-39"), "threshold of 1e-39"),
    "threshold of 400 digits": (text(THRESHOLD, "9" * 400), "threshold of 999"),
    "threshold broken": (text(THRESHOLD, "{"), "not readable as JSON"),
    "transform broken": (text(TRANSFORM, "]"), "not readable as JSON"),
    "transform of 400 digits": (matrix(lambda m: m[0].__setitem__(3, 10**400)), "not a number"),
    "transform 3 x 4": (matrix(lambda m: m.pop()), "shape (3, 4)"),
    "transform no rotation": (matrix(lambda m: m[0].__setitem__(0, 2.0)), "not a rotation"),
    "transform NaN": (matrix(lambda m: m[0].__setitem__(3, float("nan"))), "NaN or infinite"),
    "transform far off": (matrix(lambda m: m[2].__setitem__(3, 9999.0)), "wholly outside"),
    "organs elsewhere": (far_away, "does not overlap"),
    "label 118": (label(118), "organ labels from 0 to 118"),
    "label -1": (label(-1), "organ labels from -1"),
    "label 0.5": (label(0.5), "not whole numbers"),
    "listing broken": (text("inputs.json", "[{]"), "not readable as JSON"),
    "listing bottomless": (text("inputs.json", "[" * 100_000), "not readable as JSON"),
    "listing no list": (text("inputs.json", "{}"), "instead of a list"),
    "listing without slug": (text("inputs.json", "[{}]"), "without an interface"),
    "listing twice": (listing(lambda entries: entries.append(entries[0])), "named twice"),
    "unknown interface": (listing(lambda e: e[0]["interface"].update(slug="mri")), "unknown interface 'mri'"),
    "outside, relative": (listing(lambda e: e[0]["interface"].update(relative_path="../x")), "outside the input"),
    "outside, absolute": (listing(lambda e: e[0]["interface"].update(relative_path="/etc")), "outside the input"),
}


@pytest.mark.parametrize("name", BAD_CASES)
def test_bad_case(name, platform_case, tmp_path, tiny_weights):
    damage, expected = BAD_CASES[name]
    damage(platform_case)
    result = run_container_entry(platform_case, tmp_path / "out", tiny_weights)
    assert result.returncode not in (0, 1), result.stderr  # 1 is Python's own: a traceback
    assert last_line(result).startswith("deeppsma: error: ")
    assert expected in last_line(result)
    assert "Traceback" not in result.stderr
    assert list((tmp_path / "out").rglob("*")) == []


def test_the_same_case_undamaged_passes(platform_case, tmp_path, tiny_weights):
    result = run_container_entry(platform_case, tmp_path / "out", tiny_weights, fresh=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out/images/fdg-pet-ttb/fdg-pet-ttb.mha").exists()


def test_a_threshold_as_the_training_data_has_it_passes(platform_case, tmp_path, tiny_weights):
    (platform_case / THRESHOLD).write_text('{"suv_threshold": 2.5}')
    result = run_container_entry(platform_case, tmp_path / "out", tiny_weights)
    assert result.returncode == 0, result.stderr


def test_an_output_that_cannot_be_written(platform_case, tmp_path, tiny_weights):
    (tmp_path / "out").write_text("a file, not a folder")
    result = run_container_entry(platform_case, tmp_path / "out", tiny_weights)
    assert result.returncode == 3
    assert "cannot be written to" in last_line(result)


def test_a_failed_run_leaves_no_earlier_result_standing(platform_case, tmp_path, tiny_weights):
    assert run_container_entry(platform_case, tmp_path / "out", tiny_weights, fresh=True).returncode == 0
    (platform_case / THRESHOLD).write_text("0")
    refused = run_container_entry(platform_case, tmp_path / "out", tiny_weights, fresh=True)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "suv-threshold" in last_line(refused)
    assert list((tmp_path / "out").rglob("*")) == []


def damaged(weights: Path) -> None:
    path = weights / "cds-compact/weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def other_architecture(weights: Path) -> None:
    manifest = weights / "cds-compact/manifest.json"
    content = json.loads(manifest.read_text())
    content["network"]["filters"] = [4, 4, 4, 8]
    manifest.write_text(json.dumps(content))


def network_setting(key: str, value: object) -> Callable[[Path], None]:
    def change(weights: Path) -> None:
        manifest = weights / "cds-compact/manifest.json"
        content = json.loads(manifest.read_text())
        content["network"][key] = value
        manifest.write_text(json.dumps(content))

    return change


BAD_WEIGHTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (damaged, "SHA-256"),
    "no weights file": (lambda w: (w / "cds-compact/weights.safetensors").unlink(), "not readable"),
    "another architecture": (other_architecture, "weights of another network"),
    "stride 0": (network_setting("strides", [[1, 1, 1]] + [[0, 0, 0]] * 3), "above 0"),
    "one output": (network_setting("outputs", ["psma"]), "both tracers"),
    "another name": (lambda w: (w / "cds-compact").rename(w / "mine"), "rename the member"),
    "manifest broken": (lambda w: (w / "cds-compact/manifest.json").write_text("{"), "not readable as JSON"),
    "manifest of another format": (lambda w: (w / "cds-compact/manifest.json").write_text("{}"), "format 1"),
    "an empty folder": (lambda w: shutil.rmtree(w / "cds-compact"), "no member there"),
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_bad_weights(name, platform_case, tmp_path):
    damage, expected = BAD_WEIGHTS[name]
    weights = tmp_path / "weights"
    write_tiny_member(weights / "cds-compact", TINY_NETWORK)
    damage(weights)
    result = run_container_entry(platform_case, tmp_path / "out", weights)
    assert result.returncode == 4, result.stderr
    assert expected in last_line(result)
    assert list((tmp_path / "out").rglob("*")) == []


def test_an_unknown_recipe(platform_case, tmp_path, tiny_weights):
    result = run_container_entry(platform_case, tmp_path / "out", tiny_weights, DEEPPSMA_RECIPE="soup")
    assert result.returncode == 5
    assert "choose one of" in last_line(result)


def test_mirroring_that_makes_no_sense(platform_case, tmp_path, tiny_weights):
    result = run_container_entry(platform_case, tmp_path / "out", tiny_weights, DEEPPSMA_MIRROR="sometimes")
    assert result.returncode == 5
    assert "DEEPPSMA_MIRROR: 'sometimes'; give 1 or 0" in last_line(result)
    result = run_container_entry(
        platform_case, tmp_path / "out", tiny_weights, DEEPPSMA_MIRROR="no", DEEPPSMA_RECIPE="single"
    )
    assert result.returncode == 5
    assert "recipe single has no model of nnU-Net" in last_line(result)
    assert list((tmp_path / "out").rglob("*")) == []


def test_no_gpu_where_one_is_asked_for(platform_case, tmp_path, tiny_weights):
    result = run_container_entry(
        platform_case, tmp_path / "out", tiny_weights, DEEPPSMA_DEVICE="cuda", CUDA_VISIBLE_DEVICES=""
    )
    assert result.returncode == 5
    assert "no GPU can be used" in last_line(result)
