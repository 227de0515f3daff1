"""Dice and cross-entropy, over the whole patch or where the threshold is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def supervised_loss(heads: torch.Tensor, target: torch.Tensor, region: torch.Tensor, where: str) -> torch.Tensor:
    """Weighted mean of `dice_ce` over the deep-supervision heads (weights 0.5^i).

    Parameters
    ----------
    heads
        Logits [batch, head, output, z, y, x]; the first head is the network's
        answer, all at full size.
    target, region
        [batch, output, z, y, x]; see `deeppsma.training.samples.Sample`.
    where
        "everywhere" or "above_threshold".
    """
    weight = (region > 0).float() if where == "above_threshold" else None
    factors = [0.5**i for i in range(heads.shape[1])]
    terms = [f * dice_ce(heads[:, i].float(), target, weight) for i, f in enumerate(factors)]
    total: torch.Tensor = sum(terms[1:], terms[0]) / sum(factors)
    return total


def dice_ce(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Soft Dice loss plus binary cross-entropy, mean over the batch and the output channels.

    Parameters
    ----------
    logits, target
        [batch, output, z, y, x].
    weight
        Per voxel, or None for 1 everywhere. A channel without weight
        contributes 0.

    Notes
    -----
    Each patch of a batch has a loss of its own: the mean over processes that
    share a batch is then the batch's loss.
    """
    import torch

    axes = (2, 3, 4)
    if weight is None:
        weight = torch.ones_like(target)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight
    counted = weight.sum(axes)
    ce = entropy.sum(axes) / counted.clamp_min(1)
    probability = torch.sigmoid(logits) * weight
    wanted = target * weight
    overlap = (probability * wanted).sum(axes)
    # One voxel's worth of smoothing: an empty channel rewards an empty answer.
    dice = 1 - (2 * overlap + 1) / (probability.sum(axes) + wanted.sum(axes) + 1)
    return ((ce + dice) * (counted > 0)).mean()
