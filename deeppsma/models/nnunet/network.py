"""A model folder's networks, run together on each window."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import nn

from deeppsma.models.nnunet.plans import Plan
from deeppsma.models.unet import UNet


class PlannedNetwork(nn.Module):
    """A model's folds.

    Parameters
    ----------
    plan
        The model's.
    folds
        How many networks.
    mirrored
        Average each over mirrored images, too, along the axes that the plan
        names.
    """

    def __init__(self, plan: Plan, folds: int, mirrored: bool = False) -> None:
        super().__init__()
        self.folds = nn.ModuleList([UNet(plan.shape) for _ in range(folds)])
        axes = [axis + 2 for axis in plan.mirror_axes] if mirrored else []
        self._mirrors = [pick for count in range(1, len(axes) + 1) for pick in combinations(axes, count)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [batch, fold * class, a, b, c] of images [batch, channel, a, b, c].

        The folds are averaged after the windows are blended, as nnU-Net does:
        it blends in half precision, whose rounding the order decides.
        """
        return torch.cat([self._mean(fold, x) for fold in self.folds], dim=1)

    def _mean(self, fold: nn.Module, x: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = fold(x)
        for axes in self._mirrors:
            total = total + torch.flip(fold(torch.flip(x, axes)), axes)
        return total / (len(self._mirrors) + 1)
