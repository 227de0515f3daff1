import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from builders.cases import TINY_BLOCKS, write_tiny_member

from deeppsma.cli.commands import main
from deeppsma.core.errors import ConfigurationError
from deeppsma.inference import device, ensemble, openvino_engine
from deeppsma.inference.device import OPENVINO, ComputePlan, cpu_plan, plan_compute
from deeppsma.inference.openvino_engine import OpenVinoNetwork, openvino_network, thread_count
from deeppsma.inference.run import window_runner
from deeppsma.models import weights
from deeppsma.models.nnunet.config import ModelConfig
from deeppsma.models.weights import read_member

pytest.importorskip("openvino")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPPSMA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def member(tmp_path):
    write_tiny_member(tmp_path / "store/cds-compact", TINY_BLOCKS, 3)
    return read_member(tmp_path / "store/cds-compact")


@pytest.fixture
def window(member):
    rng = np.random.default_rng(1)
    return rng.random((len(member.network.channels), *member.network.patch_zyx), dtype=np.float32)


def never(line):
    pytest.fail(line)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("bfloat16", 0.1)])
def test_it_says_what_torch_says(member, window, precision, tolerance):
    wanted = window_runner(member.load(), ComputePlan("cpu", "float32"))(window)
    found = window_runner(OpenVinoNetwork(member, never), ComputePlan(OPENVINO, precision))(window)
    assert found.shape == wanted.shape
    assert found.dtype == np.float32
    assert np.abs(found - wanted).max() < tolerance * np.abs(wanted).max()


def test_it_says_the_same_twice_and_keeps_what_it_said(member, window):
    run = OpenVinoNetwork(member, never).runner("float32")
    first = run(window)
    copy = first.copy()
    assert not np.array_equal(run(window + 1), first)
    assert np.array_equal(first, copy)
    assert np.array_equal(run(window), copy)


def test_stepping_down_ends_in_torch(member, window):
    network = OpenVinoNetwork(member, never)
    in_torch = window_runner(member.load(), ComputePlan("cpu", "float32"))(window)
    assert np.array_equal(window_runner(network, ComputePlan("cpu", "float32"))(window), in_torch)


def test_a_process_that_stays_keeps_it(member, monkeypatch):
    monkeypatch.setattr(weights, "_kept", {})
    assert openvino_network(member, never) is openvino_network(member, never)
    assert member.load() is member.load()  # torch's has a place of its own
    monkeypatch.setattr(weights, "_kept", None)
    assert openvino_network(member, never) is not openvino_network(member, never)


@pytest.mark.parametrize(("told", "count"), [("3", 3), ("2,1", 2), ("", 5), ("0", 5), ("many", 5)])
def test_threads(monkeypatch, told, count):
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    monkeypatch.setattr(openvino_engine, "usable_cores", lambda: 5)
    assert thread_count() == count


def test_the_plan_names_it(monkeypatch):
    plan, fallback = plan_compute("openvino")
    assert (plan, fallback) == (ComputePlan(OPENVINO, cpu_plan().precision), None)
    assert plan.description.startswith("openvino 20")
    monkeypatch.setattr(device, "openvino_version", lambda: None)
    with pytest.raises(ConfigurationError, match=r"not installed; run pip install 'deeppsma\[openvino\]'"):
        plan_compute("openvino")


def test_without_it_there_is_no_version(monkeypatch):
    monkeypatch.setattr(
        openvino_engine, "version", lambda _: (_ for _ in ()).throw(openvino_engine.PackageNotFoundError)
    )
    assert openvino_engine.openvino_version() is None


def test_models_of_nnunet_run_in_torch_and_that_is_said(member):
    plan, fallback = ensemble._plan_of([member], OPENVINO)
    assert (plan.device, fallback) == (OPENVINO, None)
    model = replace(member, name="plans", network=object.__new__(ModelConfig))
    plan, fallback = ensemble._plan_of([member, model], OPENVINO)
    assert plan == cpu_plan()
    assert fallback == "OpenVINO not used: plans is a model of nnU-Net, which torch runs"
    assert ensemble._plan_of([member, model], "cpu") == (cpu_plan(), None)


def test_nothing_is_trained_with_it(tmp_path, capsys):
    assert main(["train", str(tmp_path), str(tmp_path / "out"), "--device", "openvino"]) == 5
    assert "networks are trained in torch: choose auto, cuda or cpu" in capsys.readouterr().err


def test_doctor_tries_it(member, cache, tmp_path, capsys):
    words = ["doctor", "--weights", str(member.folder.parent), "--device", "openvino"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "ok       device: openvino" in said
    assert "ran" in said
    cache.rename(tmp_path / "elsewhere")
    cache.write_text("no folder")
    assert main(words) == 0
    assert "warning  weights cds-compact" in capsys.readouterr().out


def segmented(case, out, member, *more):
    words = ["segment", str(case), str(out), "--recipe", "bothways", "--weights", str(member.folder.parent), *more]
    return [
        "-c",
        f"import sys; from deeppsma.cli.commands import main; status = main({words!r});"
        "print(status, 'torch' in sys.modules, 'monai' in sys.modules)",
    ]


def test_a_case_needs_no_torch_once_the_network_is_kept(member, platform_case, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    masks = {}
    for out, wanted, more in (
        ("first", "0 True True", ("--device", "openvino")),
        ("second", "0 False False", ("--device", "openvino")),
        ("torch", "0 True True", ("--device", "cpu")),
    ):
        command = [sys.executable, *segmented(platform_case, tmp_path / out, member, *more)]
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
        assert said.stdout.splitlines()[-1] == wanted
        report = json.loads((tmp_path / out / "run_report.json").read_text())
        assert report["device"].startswith("openvino 20" if out != "torch" else "cpu (")
        files = sorted((tmp_path / out).rglob("*.mha"))
        masks[out] = [sitk.GetArrayFromImage(sitk.ReadImage(str(path))) > 0 for path in files]
        assert len(files) == 2
    for first, second, torch in zip(*masks.values(), strict=True):
        assert np.array_equal(first, second)
        assert (first & torch).sum() * 2 > 0.95 * (first.sum() + torch.sum())
