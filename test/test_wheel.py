"""The built wheel, away from the checkout: it holds what a run needs."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from builders.cases import write_platform_case

ROOT = Path(__file__).resolve().parents[1]


def run(*command: object, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_holds_types_resources_and_weights(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for needed in ("py.typed", "resources/weights/cds-compact/weights.safetensors", "resources/recipes/bothways.toml"):
        assert f"deeppsma/{needed}" in names
    assert not [name for name in names if name.startswith(("test/", "benchmarks/", "docs/"))]
    assert wheel.stat().st_size < 100e6, "PyPI takes no larger file"


def test_the_main_job_runs_from_the_wheel(wheel, tmp_path):
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    program = tmp_path / "venv/bin/deeppsma"
    run(tmp_path / "venv/bin/pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    # What it depends on is taken from here; this package itself comes first, from the wheel.
    site = next((tmp_path / "venv/lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    where = run(tmp_path / "venv/bin/python", "-c", "import deeppsma; print(deeppsma.__file__)", cwd=tmp_path)
    assert str(site) in where
    case = write_platform_case(tmp_path / "case")
    assert "weights cds-compact" in run(program, "doctor", "--device", "cpu", cwd=tmp_path)
    run(program, "segment", case, "result", cwd=tmp_path)
    assert (tmp_path / "result/run_report.json").is_file()


@pytest.mark.slow
def test_the_wheel_installs_in_an_empty_environment(wheel, tmp_path):
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    run(tmp_path / "venv/bin/pip", "install", "--quiet", wheel, cwd=tmp_path)
    case = write_platform_case(tmp_path / "case")
    run(tmp_path / "venv/bin/deeppsma", "segment", case, "result", "--picture", cwd=tmp_path)
    assert (tmp_path / "result/overview.png").is_file()
