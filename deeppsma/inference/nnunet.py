"""nnU-Net models on a case: what they are fed, where their windows lie, and how they are weighed."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box, IndexZyx
from deeppsma.inference.sliding_window import GAUSSIAN_SIGMA
from deeppsma.inference.task import Task, needed_voxels
from deeppsma.models.nnunet.config import ModelConfig
from deeppsma.preprocessing.channels import Sight, cut, make_channel
from deeppsma.preprocessing.nnunet import MadeChannels, prepare
from deeppsma.preprocessing.prepared_case import PreparedCase


def plan_model_task(
    config: ModelConfig, case: PreparedCase, made: MadeChannels | None = None, device: str = "cpu"
) -> Task:
    """What a model has to do on its tracer's own space.

    Parameters
    ----------
    config
        The model.
    case
        Whose whole PET the model is fed, as it was trained.
    made
        Channels that other models are fed on this space, too; see
        `deeppsma.preprocessing.nnunet.prepare`.
    device
        Where images are resampled: "cuda" or "cpu".

    Raises
    ------
    ValueError
        If an image is missing that a channel is made from.
    """
    plan, tracer, space = config.plan, config.tracer, case.spaces[config.tracer]
    sight = case.whole_sight(tracer)
    images = [(kind, partial(_image, kind, sight)) for kind in config.channels]
    prepared = prepare(images, sight.spacing_zyx, plan, made, device)
    native = np.zeros(sight.suv.shape, dtype=bool)
    native[space.box.slices] = space.needed[tracer]
    index = {tracer: prepared.index_of(native)}

    def window_input(window: Box) -> NDArray[np.float32]:
        return cut(prepared.channels, window)

    classes = plan.shape.class_count
    rows = tuple(fold * classes + row for fold in range(len(config.folds)) for row in config.known_classes)
    return Task(
        space,
        window_input,
        {tracer: rows},
        index,
        needed_voxels(space, index, prepared.shape),
        planned_windows(prepared.shape, plan.patch_planned),
        [],
        planned_profile(plan.patch_planned),
        len(config.folds),
    )


def _image(kind: str, sight: Sight) -> NDArray[np.float32]:
    return make_channel(kind, sight).image


def planned_windows(shape: IndexZyx, patch: IndexZyx, step: float = 0.5) -> list[Box]:
    """Windows that cover a grid, spread evenly.

    Parameters
    ----------
    shape, patch
        Of the grid, of a window.
    step
        Largest step between windows, as a share of the window.

    Returns
    -------
    list of Box
        Where the grid is smaller than a window, the window reaches outside on
        both sides, by one more voxel at the end if the sum is odd.

    Raises
    ------
    ValueError
        If a size is not positive, or the step not in (0, 1].
    """
    if min(shape) < 1 or min(patch) < 1 or not 0 < step <= 1:
        raise ValueError(f"cannot cover {shape} by windows of {patch} in steps of {step}")
    starts = [_starts(n, p, step) for n, p in zip(shape, patch, strict=True)]
    a, b, c = patch
    return [Box((i, j, k), (i + a, j + b, k + c)) for i in starts[0] for j in starts[1] for k in starts[2]]


def _starts(size: int, patch: int, step: float) -> list[int]:
    if size <= patch:
        return [-((patch - size) // 2)]
    count = math.ceil((size - patch) / (patch * step)) + 1
    # Half steps go to the even neighbour, as numpy rounds.
    return [int(np.round((size - patch) / (count - 1) * i)) for i in range(count)]


def planned_profile(patch: IndexZyx) -> NDArray[np.float16]:
    """Weight of each voxel of a window: a Gaussian about voxel ``size // 2``, never 0.

    nnU-Net weighs and sums in half precision, with 10 in the middle. At a
    window's corners, where no other window lies, that shows in the answer
    (by up to 0.1 in a probability); the same precision gives the same answer.
    """
    from scipy.ndimage import gaussian_filter

    weights = np.zeros(patch)
    weights[tuple(n // 2 for n in patch)] = 1
    weights = gaussian_filter(weights, [n * GAUSSIAN_SIGMA for n in patch], mode="constant")
    weights = (10 * weights / weights.max()).astype(np.float16)
    return np.where(weights > 0, weights, weights[weights > 0].min())
