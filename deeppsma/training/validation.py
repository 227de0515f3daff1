"""Validation on whole volumes, at the voxels that can be disease."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box
from deeppsma.core.tracer import Tracer
from deeppsma.inference.device import ComputePlan
from deeppsma.inference.run import window_runner
from deeppsma.inference.sliding_window import blend, plan_windows
from deeppsma.inference.task import RunWindow
from deeppsma.models.config import NetworkConfig
from deeppsma.preprocessing.channels import cut
from deeppsma.training.loss import class_dice_ce, class_labels, dice_ce
from deeppsma.training.samples import Sample, load_sample

if TYPE_CHECKING:
    import torch

_OVERLAP = 0.5


@dataclass(frozen=True)
class Agreement:
    """Agreement of one tracer, mean over samples; voxels of the working grid at or above threshold.

    Parameters
    ----------
    dsc
        Dice; 1 where neither truth nor answer holds disease.
    false_positive, false_negative
        Voxels.
    """

    dsc: float
    false_positive: float
    false_negative: float


@dataclass(frozen=True)
class Validation:
    """What a network is worth on cases that it has not trained on.

    Parameters
    ----------
    loss
        Joint loss of both tracers, as in training, mean over samples.
    by_tracer
        Agreement, of the tracers that the network answers for.
    """

    loss: float
    by_tracer: Mapping[Tracer, Agreement]


def validate(network: torch.nn.Module, config: NetworkConfig, samples: Sequence[Path], plan: ComputePlan) -> Validation:
    """Run a network over whole samples, in windows as in inference.

    Parameters
    ----------
    network
        In evaluation mode.
    config
        Its configuration.
    samples
        Cached sample files; one at least.
    plan
        Where to run it.

    Raises
    ------
    ValueError
        If there is no sample.
    """
    if not samples:
        raise ValueError("nothing to validate on")
    run = window_runner(network, plan)
    losses: list[float] = []
    found: dict[Tracer, list[tuple[float, int, int]]] = {tracer: [] for tracer in Tracer}
    for path in samples:
        sample = load_sample(path)
        hot = sample.region == 2
        logits = _logits(sample, hot.any(axis=0), config, run)
        losses.append(_loss(logits, sample, hot, config.exclusive))
        # At or above the threshold there is no background: disease, or normal.
        answers = [logits[1] > logits[2]] if config.exclusive else logits >= 0
        for answer, tracer, where, truth in zip(answers, config.tracers, hot, sample.target > 0, strict=True):
            found[tracer].append(_agreement(answer[where], truth[where]))
    means = {tracer: np.mean(each, axis=0) for tracer, each in found.items() if each}
    return Validation(float(np.mean(losses)), {tracer: Agreement(*map(float, each)) for tracer, each in means.items()})


def _logits(sample: Sample, needed: NDArray[np.bool_], config: NetworkConfig, run: RunWindow) -> NDArray[np.float32]:
    """Logits [output, z, y, x]; 0 where they are not needed."""
    fill = config.outside_values

    def of_window(window: Box) -> NDArray[np.float32]:
        return run(cut(sample.inputs, window, fill))

    windows = plan_windows(sample.shape_zyx, config.patch_zyx, _OVERLAP)
    dense = np.zeros((len(config.outputs), *sample.shape_zyx), dtype=np.float32)
    dense[:, needed] = blend(windows, needed, len(config.outputs), of_window)
    return dense


def _loss(logits: NDArray[np.float32], sample: Sample, hot: NDArray[np.bool_], classes: bool) -> float:
    import torch

    target, weight = (torch.from_numpy(a.astype(np.float32))[None] for a in (sample.target, hot))
    answer = torch.from_numpy(logits)[None]
    if classes:
        return float(class_dice_ce(answer, class_labels(target, weight), weight))
    return float(dice_ce(answer, target, weight))


def _agreement(answer: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[float, int, int]:
    both, total = int((answer & truth).sum()), int(answer.sum()) + int(truth.sum())
    return (2 * both / total if total else 1.0), int(answer.sum()) - both, int(truth.sum()) - both
