"""Dice and cross-entropy, over the whole patch or where the threshold is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def supervised_loss(
    heads: torch.Tensor, target: torch.Tensor, region: torch.Tensor, where: str, classes: bool = False
) -> torch.Tensor:
    """Weighted mean of the loss over the deep-supervision heads (weights 0.5^i).

    Parameters
    ----------
    heads
        Logits [batch, head, output, z, y, x]; the first head is the network's
        answer, all at full size.
    target, region
        [batch, tracer, z, y, x]; see `deeppsma.training.samples.Sample`.
    where
        "everywhere" or "above_threshold".
    classes
        Whether outputs are classes that exclude each other (`class_dice_ce`)
        or answers of their own (`dice_ce`).
    """
    weight = (region > 0).float() if where == "above_threshold" else None
    factors = [0.5**i for i in range(heads.shape[1])]
    if classes:
        wanted = class_labels(target, region)
        terms = [f * class_dice_ce(heads[:, i].float(), wanted, weight) for i, f in enumerate(factors)]
    else:
        terms = [f * dice_ce(heads[:, i].float(), target, weight) for i, f in enumerate(factors)]
    total: torch.Tensor = sum(terms[1:], terms[0]) / sum(factors)
    return total


def class_labels(target: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
    """Classes of the PaIRe report's networks: 0 background, 1 disease, 2 above the threshold and not disease.

    Parameters
    ----------
    target, region
        [batch, 1, z, y, x]. Next to the threshold a voxel counts as its
        above-threshold neighbours do.

    Returns
    -------
    Tensor
        [batch, z, y, x] int64.
    """
    import torch

    disease = torch.where(target[:, 0] > 0, 1, 2)
    return torch.where(region[:, 0] > 0, disease, 0)


def class_dice_ce(logits: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Soft Dice loss of the classes but the first, plus cross-entropy; mean over the batch (nnU-Net).

    Parameters
    ----------
    logits
        [batch, class, z, y, x].
    labels
        [batch, z, y, x].
    weight
        [batch, 1, z, y, x], or None for 1 everywhere. A patch without weight
        contributes 0.
    """
    import torch

    share = torch.ones_like(logits[:, :1]) if weight is None else weight
    entropy = torch.nn.functional.cross_entropy(logits, labels, reduction="none")[:, None] * share
    counted = share.sum((1, 2, 3, 4))
    ce = entropy.sum((1, 2, 3, 4)) / counted.clamp_min(1)
    probability = torch.softmax(logits, dim=1)[:, 1:] * share
    wanted = torch.nn.functional.one_hot(labels, logits.shape[1]).movedim(-1, 1)[:, 1:] * share
    axes = (2, 3, 4)
    overlap = (probability * wanted).sum(axes)
    dice = 1 - (2 * overlap + 1) / (probability.sum(axes) + wanted.sum(axes) + 1)
    return ((ce + dice.mean(dim=1)) * (counted > 0)).mean()


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
