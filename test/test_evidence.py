import pytest
import torch

from deeppsma.compute import ComputePlan
from deeppsma.evidence import RunLog, _resampled_on

GPU = ComputePlan("cuda", "float16")


def test_resampling_steps_down_to_the_cpu_and_says_so():
    def job(device):
        if device == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return f"made on {device}"

    log = RunLog()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("deeppsma.evidence.give_back", lambda device: log.fallbacks.append(f"gave back {device}"))
        made, plan = _resampled_on(GPU, job, log)
    assert made == "made on cpu"
    assert plan.device == "cpu"
    assert log.fallbacks == ["out of memory on cuda while resampling: went on with the CPU", "gave back cuda"]


@pytest.mark.parametrize(
    ("plan", "error"),
    [(GPU, RuntimeError("shapes differ")), (ComputePlan("cpu", "float32"), RuntimeError("out of memory"))],
)
def test_other_errors_are_not_hidden(plan, error):
    def job(_):
        raise error

    log = RunLog()
    with pytest.raises(RuntimeError, match=str(error)):
        _resampled_on(plan, job, log)
    assert not log.fallbacks


def test_where_memory_suffices_nothing_changes():
    assert _resampled_on(GPU, lambda device: device, RunLog()) == ("cuda", GPU)
