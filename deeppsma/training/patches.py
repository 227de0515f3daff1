"""Patches: where they are cut, and how they are varied.

CDS report, section 2.2: two thirds centred on disease, one third on elevated
physiological uptake; one augmentation per patch (Trivial Augment). Beyond it:
anatomy at random, where the settings say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box, IndexZyx
from deeppsma.core.transforms import rotation_matrix
from deeppsma.models.config import NetworkConfig
from deeppsma.preprocessing.channels import cut
from deeppsma.training.config import TrainingConfig
from deeppsma.training.random_anatomy import vary
from deeppsma.training.samples import Sample

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Patch:
    """A cut-out of a sample; arrays [channel, z, y, x], float32."""

    inputs: NDArray[np.float32]
    target: NDArray[np.float32]
    region: NDArray[np.float32]


def draw_patch(sample: Sample, network: NetworkConfig, config: TrainingConfig, rng: np.random.Generator) -> Patch:
    """Cut one patch and vary it; the same generator state gives the same patch."""
    box = _draw_box(sample, network.patch_zyx, config.disease_share, rng)
    patch = Patch(
        cut(sample.inputs, box, fill=network.outside_values),
        cut(sample.target, box),
        cut(sample.region, box),
    )
    augmented = _augmented(patch, network, config, rng)
    if not config.random_anatomy.share:
        return augmented
    varied = vary(augmented.inputs, augmented.target, augmented.region, network, config.random_anatomy, rng)
    return Patch(*varied)


def _augmented(patch: Patch, network: NetworkConfig, config: TrainingConfig, rng: np.random.Generator) -> Patch:
    kind = str(rng.choice(config.augmentations))
    if kind == "flip":
        axes = tuple("zyx".index(axis) + 1 for axis in config.flip_axes if rng.random() < 0.5)
        return Patch(*(np.flip(a, axes).copy() for a in (patch.inputs, patch.target, patch.region)))
    if kind == "rotate":
        limit = config.rotate_deg
        return _warped(patch, rotation_matrix(rng.uniform(-limit, limit, size=3)), network)
    if kind == "scale":
        low, high = config.scale_range
        return _warped(patch, np.diag(1 / rng.uniform(low, high, size=3)), network)
    return patch


def _draw_box(sample: Sample, patch_zyx: IndexZyx, disease_share: float, rng: np.random.Generator) -> Box:
    disease = (sample.target > 0) & (sample.region == 2)
    other = (sample.region == 2) & ~disease
    wanted = disease if rng.random() < disease_share else other
    candidates = next((np.flatnonzero(m) for m in (wanted, disease, other) if m.any()), None)
    if candidates is None:
        centre = [n // 2 for n in sample.shape_zyx]
    else:
        centre = [int(i) for i in np.unravel_index(int(rng.choice(candidates)), sample.target.shape)[1:]]
    start = []
    for middle, size, whole in zip(centre, patch_zyx, sample.shape_zyx, strict=True):
        first = middle - size // 2
        # Inside where the sample is large enough, else centred on it: padding teaches nothing.
        start.append(min(max(first, 0), whole - size) if whole >= size else (whole - size) // 2)
    (z, y, x), (nz, ny, nx) = start, patch_zyx
    return Box((z, y, x), (z + nz, y + ny, x + nx))


def _warped(patch: Patch, matrix_xyz: NDArray, network: NetworkConfig) -> Patch:
    """Patch under a linear map about its centre; labels and targets by nearest neighbour."""
    import torch

    shape = patch.inputs.shape[1:]
    # grid_sample's coordinates run from -1 to 1 per axis; the map acts on voxels.
    half = np.array(shape[::-1], dtype=float) / 2
    theta = np.zeros((1, 3, 4), dtype=np.float32)
    theta[0, :, :3] = matrix_xyz * half[None, :] / half[:, None]
    grid = torch.nn.functional.affine_grid(torch.from_numpy(theta), [1, 1, *shape], align_corners=False)

    def sampled(array: NDArray[np.float32], mode: str) -> NDArray[np.float32]:
        tensor: torch.Tensor = torch.nn.functional.grid_sample(
            torch.from_numpy(array)[None], grid, mode=mode, padding_mode="zeros", align_corners=False
        )
        return np.asarray(tensor[0].numpy())

    organs = np.array(["_organ" in name for name in network.channels])  # labels, and masks of classes
    outside = np.array(network.outside_values, dtype=np.float32)[:, None, None, None]
    inputs = np.empty_like(patch.inputs)
    if (~organs).any():  # lifted, so that what comes in from outside is what lies there
        inputs[~organs] = sampled((patch.inputs - outside)[~organs], "bilinear") + outside[~organs]
    labels = np.concatenate([patch.inputs[organs], patch.target, patch.region])
    labels = sampled(labels, "nearest")
    n, outputs = int(organs.sum()), len(patch.target)
    inputs[organs] = labels[:n]
    return Patch(inputs, labels[n : n + outputs], labels[n + outputs :])
