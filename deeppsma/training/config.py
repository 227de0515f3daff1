"""How a network is trained: settings, read from ``resources/training``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from deeppsma.core.settings import from_plain
from deeppsma.training.random_anatomy import RandomAnatomy

AUGMENTATIONS = ("none", "rotate", "scale", "flip")
LOSS_REGIONS = ("everywhere", "above_threshold")
OPTIMISERS = ("adam", "sgd")
SELECTIONS = ("last", "validation")


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one training run.

    Parameters
    ----------
    network
        Name of a file in ``resources/networks``.
    steps, batch
        Optimiser steps, and patches per step.
    learning_rate
        At the start of a schedule that ends at 0; see
        `deeppsma.training.loop.learning_rate`.
    augmentations
        One of these is drawn per patch.
    flip_axes
        Axes that "flip" may mirror.
    average_decay
        Decay of the running mean of the weights that is kept as the result;
        0 keeps the last weights.
    loss_where
        "everywhere", or "above_threshold": voxels at or above the threshold
        and those next to them.
    rotate_deg, scale_range
        Limits of "rotate" (per axis) and "scale" (per axis).
    optimiser
        "adam", or "sgd" with Nesterov's momentum as nnU-Net has it.
    validate_every
        Steps between validations, where cases are held out.
    selection
        Which weights are kept: "last", or those with the lowest loss in
        "validation"; the last ones where no case is held out.
    disease_share
        Share of patches centred on disease; the rest is centred on
        above-threshold voxels that are not.
    random_anatomy
        How far patches are varied beyond one augmentation; not at all unless
        it is said.
    """

    network: str
    steps: int
    batch: int
    learning_rate: float
    augmentations: tuple[str, ...] = AUGMENTATIONS
    flip_axes: tuple[str, ...] = ("z", "y", "x")
    average_decay: float = 0.0
    loss_where: str = "everywhere"
    rotate_deg: float = 10.0
    scale_range: tuple[float, float] = (0.9, 1.4)
    disease_share: float = 2 / 3
    optimiser: str = "adam"
    validate_every: int = 500
    selection: str = "last"
    random_anatomy: RandomAnatomy = field(default_factory=RandomAnatomy)

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.validate_every) < 1 or self.learning_rate <= 0:
            raise ValueError("steps, batch and validate_every must be 1 or more, and the learning rate positive")
        if set(self.augmentations) - set(AUGMENTATIONS) or not self.augmentations:
            raise ValueError(f"augmentations must be among {AUGMENTATIONS}, not {self.augmentations}")
        if set(self.flip_axes) - set("zyx"):
            raise ValueError(f"flip axes must be among z, y, x, not {self.flip_axes}")
        if not 0 <= self.average_decay < 1 or not 0 <= self.disease_share <= 1:
            raise ValueError("average decay must be in [0, 1), the disease share in [0, 1]")
        if self.loss_where not in LOSS_REGIONS:
            raise ValueError(f"loss_where must be one of {LOSS_REGIONS}, not {self.loss_where!r}")
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser must be one of {OPTIMISERS}, not {self.optimiser!r}")
        if self.selection not in SELECTIONS:
            raise ValueError(f"selection must be one of {SELECTIONS}, not {self.selection!r}")
        if len(self.scale_range) != 2 or not 0 < self.scale_range[0] <= self.scale_range[1]:
            raise ValueError(f"scale range must be two numbers that rise from above 0, not {self.scale_range}")

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> TrainingConfig:
        """Settings from TOML.

        Raises
        ------
        ValueError
            If a key is unknown or missing, or a value makes no sense.
        """
        return from_plain(cls, content)
