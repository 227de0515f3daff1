import pytest
import torch

from deeppsma.core.run_log import RunLog
from deeppsma.inference.ensemble import resampled_on


def test_resampling_steps_down_to_the_cpu_and_says_so():
    def job(device):
        if device == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return f"made on {device}"

    log = RunLog()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "deeppsma.inference.ensemble.give_back", lambda device: log.fallbacks.append(f"gave back {device}")
        )
        assert resampled_on("cuda", job, log) == "made on cpu"
    assert log.fallbacks == ["out of memory on cuda while resampling: resampled on the CPU", "gave back cuda"]


def test_the_cpus_memory_is_the_last():
    def job(_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with pytest.raises(MemoryError, match="while a scan was resampled"):
        resampled_on("cpu", job, RunLog())


def test_other_errors_are_not_hidden():
    def job(_):
        raise RuntimeError("shapes differ")

    log = RunLog()
    with pytest.raises(RuntimeError, match="shapes differ"):
        resampled_on("cuda", job, log)
    assert not log.fallbacks


def test_where_memory_suffices_nothing_changes():
    assert resampled_on("cuda", lambda device: device, RunLog()) == "cuda"
