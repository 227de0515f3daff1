import numpy as np
import pytest
import torch
from builders.networks import SMALL_NETWORK

from deeppsma.core.tracer import Tracer
from deeppsma.inference.device import cpu_plan
from deeppsma.training.loss import dice_ce
from deeppsma.training.samples import Sample
from deeppsma.training.validation import validate


class Oracle(torch.nn.Module):
    """Says that whatever has uptake above a value is disease: 10 or -10, by tracer."""

    def forward(self, x):
        return torch.stack([x[:, 0], x[:, 2]], dim=1).sub(0.5).sign() * 10


def write_sample(path, fdg_uptake, fdg_truth, psma_uptake, psma_truth):
    """A column of voxels, all at or above threshold, larger than a window."""
    n = len(fdg_uptake)
    inputs = np.zeros((4, n, 16, 16), np.float16)
    target, region = (np.zeros((2, n, 16, 16), np.uint8) for _ in range(2))
    region[:, :, 3, 3] = 2
    region[:, :, 3, 4] = 1  # next to the threshold: never counts
    target[:, :, 3, 4] = 1
    inputs[0, :, 3, 3], inputs[2, :, 3, 3] = fdg_uptake, psma_uptake
    target[0, :, 3, 3], target[1, :, 3, 3] = fdg_truth, psma_truth
    np.savez(path, **vars(Sample(inputs, target, region)))
    return path


@pytest.fixture
def sample(tmp_path):
    n = 40
    fdg, psma = np.zeros(n), np.zeros(n)
    fdg_truth, psma_truth = np.zeros(n), np.zeros(n)
    fdg[:6] = 1  # six found
    fdg_truth[2:10] = 1  # eight true, four of them found
    psma[20:30] = psma_truth[20:30] = 1
    return write_sample(tmp_path / "a.npz", fdg, fdg_truth, psma, psma_truth)


def test_validation_by_hand(sample):
    found = validate(Oracle(), SMALL_NETWORK, [sample], cpu_plan())
    fdg, psma = found.by_tracer[Tracer.FDG], found.by_tracer[Tracer.PSMA]
    assert fdg.dsc == pytest.approx(2 * 4 / (6 + 8))
    assert (fdg.false_positive, fdg.false_negative) == (2, 4)
    assert (psma.dsc, psma.false_positive, psma.false_negative) == (1, 0, 0)
    logits = torch.full((1, 1, 1, 1, 40), -10.0)
    logits[..., :6] = 10
    truth = torch.zeros_like(logits)
    truth[..., 2:10] = 1
    psma_loss = float(dice_ce(torch.full((1, 1, 1, 1, 10), 10.0), torch.ones(1, 1, 1, 1, 10)))
    assert found.loss == pytest.approx((float(dice_ce(logits, truth)) + psma_loss) / 2, abs=1e-3)


def test_no_disease_and_none_found_agree(tmp_path):
    nothing = np.zeros(20)
    path = write_sample(tmp_path / "a.npz", nothing, nothing, nothing, nothing)
    assert validate(Oracle(), SMALL_NETWORK, [path], cpu_plan()).by_tracer[Tracer.FDG].dsc == 1


def test_validation_is_the_mean_over_samples(sample, tmp_path):
    nothing = np.zeros(20)
    other = write_sample(tmp_path / "b.npz", nothing, nothing, nothing, nothing)
    alone = [validate(Oracle(), SMALL_NETWORK, [path], cpu_plan()) for path in (sample, other)]
    both = validate(Oracle(), SMALL_NETWORK, [sample, other], cpu_plan())
    assert both.loss == pytest.approx(np.mean([each.loss for each in alone]))
    assert both.by_tracer[Tracer.FDG].dsc == pytest.approx(np.mean([each.by_tracer[Tracer.FDG].dsc for each in alone]))


def test_nothing_to_validate_on_is_refused():
    with pytest.raises(ValueError, match="nothing to validate"):
        validate(Oracle(), SMALL_NETWORK, [], cpu_plan())
