import warnings

import pytest
import torch

from deeppsma.core.errors import ConfigurationError
from deeppsma.inference import device as compute
from deeppsma.inference.device import ComputePlan, cpu_plan, plan_compute


def test_the_cpu_when_asked_for():
    plan, fallback = plan_compute("cpu")
    assert plan.device == "cpu"
    assert fallback is None
    assert plan.description.startswith("cpu (")


def test_auto_without_a_gpu_is_no_fallback(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(compute, "_DRIVER_SIGNS", ())
    assert plan_compute("auto") == (cpu_plan(), None)
    with pytest.raises(ConfigurationError, match="none found"):
        plan_compute("cuda")


def test_a_gpu_that_does_not_work_is_a_fallback(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def broken(*_args, **_kwargs):
        raise RuntimeError("CUDA error: no kernel image is available\nmore")

    monkeypatch.setattr(torch, "ones", broken)
    plan, fallback = plan_compute("auto")
    assert plan.device == "cpu"
    assert fallback == "GPU not used: CUDA error: no kernel image is available"
    with pytest.raises(ConfigurationError, match="no kernel image"):
        plan_compute("cuda")


def test_a_gpu_that_works_is_used_in_half_precision(monkeypatch):
    monkeypatch.setattr(compute, "_gpu_problem", lambda: (None, True))
    assert plan_compute("auto") == (ComputePlan("cuda", "float16"), None)


def test_a_driver_that_torch_cannot_use_is_a_fallback(monkeypatch, tmp_path):
    def too_old():
        warnings.warn("CUDA initialization: The NVIDIA driver on your system is too old (found 11040)", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", too_old)
    monkeypatch.setattr(compute, "_DRIVER_SIGNS", (tmp_path,))
    plan, fallback = plan_compute("auto")
    assert plan.device == "cpu"
    assert fallback == "GPU not used: CUDA initialization: The NVIDIA driver on your system is too old"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert plan_compute("auto")[1].endswith("finds none")


def test_an_unknown_device_is_refused():
    with pytest.raises(ConfigurationError, match="choose one of"):
        plan_compute("tpu")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("flags: avx2 avx512_bf16", True), ("flags: amx_bf16", True), ("flags: avx2 avx512f", False)],
)
def test_bfloat16_only_where_the_processor_has_it(tmp_path, flags, expected):
    (tmp_path / "cpuinfo").write_text(flags)
    assert compute._native_bfloat16(tmp_path / "cpuinfo") is expected
    assert compute._native_bfloat16(tmp_path / "nothing") is False
