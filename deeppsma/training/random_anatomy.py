"""Patients that nobody drew: uptake, shape, image and organ map of a patch, varied far beyond the usual.

A network that is trained on drawn men learns how they are drawn. What it sees here has organs as hot as chance has it,
is bent, blurred and noisy, and lacks its organ map at times: what stays is what tells disease. The idea is Billot et
al.'s (*SynthSeg*, Medical Image Analysis 2023), who train on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deeppsma.core.anatomy import FAMILY_OF_LABEL, LABEL_MAX
from deeppsma.models.channel_kinds import CONTRAST_LIMIT
from deeppsma.models.config import NetworkConfig
from deeppsma.training.samples import at_threshold

#: Of uptake's changes from organ to organ, in voxels: PET has no sharp edges.
_EDGE = 1.0
#: Of a bend, in voxels: how far apart two places are that go different ways.
_BEND_LENGTH = 8.0


@dataclass(frozen=True)
class RandomAnatomy:
    """How far patches are varied; 0 leaves a thing as it is.

    Parameters
    ----------
    share
        Of patches that are varied at all.
    organ_sd, kind_sd, level_sd
        Standard deviations of the natural logarithm of uptake: of an organ,
        of all organs of its kind (vertebrae, ribs; see
        `deeppsma.core.anatomy.FAMILIES`), and of the whole scan against its
        threshold. Disease keeps its uptake but for the last.
    organ_share
        Of organs, and of kinds, that are varied.
    bend_voxels
        Standard deviation of a smooth displacement along each axis.
    blur_voxels
        Largest standard deviation of a blur of the PET.
    noise
        Largest standard deviation of the PET's relative noise.
    no_map_share, no_ct_share
        Of patches that lose their organ maps, and their CTs.
    map_shift_voxels
        Largest shift of an organ map along each axis.
    """

    share: float = 0.0
    organ_sd: float = 0.0
    kind_sd: float = 0.0
    level_sd: float = 0.0
    organ_share: float = 1.0
    bend_voxels: float = 0.0
    blur_voxels: float = 0.0
    noise: float = 0.0
    no_map_share: float = 0.0
    no_ct_share: float = 0.0
    map_shift_voxels: int = 0

    def __post_init__(self) -> None:
        shares = (self.share, self.organ_share, self.no_map_share, self.no_ct_share)
        if not all(0 <= share <= 1 for share in shares):
            raise ValueError(f"shares of random anatomy must be from 0 to 1, not {shares}")
        spreads = (self.organ_sd, self.kind_sd, self.level_sd, self.bend_voxels, self.blur_voxels, self.noise)
        if min(*spreads, self.map_shift_voxels) < 0:
            raise ValueError("spreads of random anatomy must not be negative")


@dataclass(frozen=True)
class _Sight:
    """Rows of one tracer's channels; None where the network has none."""

    pet: int
    organs: int | None
    contrast: int | None
    output: int | None


def check_channels(network: NetworkConfig) -> None:
    """See whether a network's patches can be varied.

    Raises
    ------
    ValueError
        If a channel is neither PET over threshold, organ labels, contrast nor
        density: it would not follow what is changed.
    """
    known = ("pet", "organs", "contrast", "density")
    others = [name for name in network.channels if name.partition("_")[2] not in known]
    if others or network.exclusive:
        what = ", ".join(others) or "classes that exclude each other"
        raise ValueError(f"random anatomy does not know {what}; it needs channels of {', '.join(known)}")


def vary(
    inputs: NDArray[np.float32],
    target: NDArray[np.float32],
    region: NDArray[np.float32],
    network: NetworkConfig,
    settings: RandomAnatomy,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """One patch, varied.

    Parameters
    ----------
    inputs, target, region
        Of a patch, [channel, z, y, x]; see `deeppsma.training.samples.Sample`.
    network
        Whose channels they are; see `check_channels`.
    settings
        How far.
    rng
        Draws everything; the same state gives the same patch.

    Returns
    -------
    tuple
        Inputs, target and region. What is hot is decided anew: a cooled organ
        leaves the region, a heated one enters it as no disease. Disease that
        cools below the threshold is none any more.
    """
    inputs, target, region = inputs.copy(), target.copy(), region.copy()
    if rng.random() >= settings.share:
        return inputs, target, region
    if settings.bend_voxels:
        inputs, target, region = _bent((inputs, target, region), network, settings.bend_voxels, rng)
    without_map = rng.random() < settings.no_map_share
    if rng.random() < settings.no_ct_share:
        inputs[[name.endswith("_density") for name in network.channels]] = 0
    for sight in _sights(network):
        disease = (target[sight.output] > 0) & (region[sight.output] == 2) if sight.output is not None else None
        _vary_uptake(inputs, sight, disease, settings, rng)
        if sight.output is not None and disease is not None:
            hot = inputs[sight.pet] >= 0
            target[sight.output], region[sight.output] = at_threshold(disease & hot, hot)
        if without_map:
            _forget_map(inputs, sight)
        elif settings.map_shift_voxels and sight.organs is not None:
            limit = settings.map_shift_voxels
            shift = rng.integers(-limit, limit + 1, size=3)
            inputs[sight.organs] = ndimage.shift(inputs[sight.organs], shift, order=0, mode="nearest")
    return inputs, target, region


def _sights(network: NetworkConfig) -> Iterator[_Sight]:
    rows = {name: row for row, name in enumerate(network.channels)}
    for name in network.channels:
        tracer, _, kind = name.partition("_")
        if kind == "pet":
            output = network.outputs.index(tracer) if tracer in network.outputs else None
            yield _Sight(rows[name], rows.get(f"{tracer}_organs"), rows.get(f"{tracer}_contrast"), output)


def _labels(inputs: NDArray[np.float32], sight: _Sight) -> NDArray[np.intp]:
    if sight.organs is None:
        return np.zeros(inputs.shape[1:], dtype=np.intp)
    return np.rint(inputs[sight.organs] * LABEL_MAX).astype(np.intp)


def _vary_uptake(
    inputs: NDArray[np.float32],
    sight: _Sight,
    disease: NDArray[np.bool_] | None,
    settings: RandomAnatomy,
    rng: np.random.Generator,
) -> None:
    labels = _labels(inputs, sight)
    kinds = FAMILY_OF_LABEL[labels]
    of_organ = _drawn(settings.organ_sd, settings.organ_share, rng)[labels]
    of_kind = _drawn(settings.kind_sd, settings.organ_share, rng)[kinds]
    level = np.float32(rng.normal(0, settings.level_sd))
    gain = ndimage.gaussian_filter(of_organ + of_kind, _EDGE, mode="nearest")
    if disease is not None and disease.any():
        # Disease and its rim keep their uptake, as they are what is sought.
        gain *= 1 - np.minimum(1, 2 * ndimage.gaussian_filter(disease.astype(np.float32), _EDGE, mode="nearest"))
    ratio = (inputs[sight.pet] + 1) * np.exp(gain + level)
    before = ratio
    if settings.blur_voxels:
        ratio = ndimage.gaussian_filter(ratio, rng.uniform(0, settings.blur_voxels), mode="nearest")
    if settings.noise:
        ratio = ratio * (1 + rng.uniform(0, settings.noise) * rng.standard_normal(ratio.shape, dtype=np.float32))
    ratio = np.maximum(ratio, 0)
    if sight.contrast is not None:
        # Against the organs of its kind, which changed as a whole; where there is no organ, against the threshold.
        against = np.where(labels > 0, of_kind + level, 0)
        changed = np.log(np.maximum(ratio, 1e-6) / np.maximum(before, 1e-6)) + gain + level - against
        contrast = np.clip(inputs[sight.contrast] + changed, -CONTRAST_LIMIT, CONTRAST_LIMIT)
        inputs[sight.contrast] = contrast
    inputs[sight.pet] = ratio - 1


def _drawn(spread: float, share: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Change of log uptake by label; none where there is no organ."""
    drawn = rng.normal(0, spread, LABEL_MAX + 1) * (rng.random(LABEL_MAX + 1) < share)
    drawn[0] = 0
    return drawn.astype(np.float32)


def _forget_map(inputs: NDArray[np.float32], sight: _Sight) -> None:
    """As a case without an organ map is seen: no labels, and contrast against the threshold."""
    if sight.organs is not None:
        inputs[sight.organs] = 0
    if sight.contrast is not None:
        smallest = np.float32(np.exp(-CONTRAST_LIMIT))
        inputs[sight.contrast] = np.minimum(np.log(np.maximum(inputs[sight.pet] + 1, smallest)), CONTRAST_LIMIT)


def _bent(
    arrays: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
    network: NetworkConfig,
    bend_voxels: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """All of a patch under one smooth displacement: images by line, labels by the nearest."""
    shape = arrays[0].shape[1:]
    coarse = [max(3, round(n / _BEND_LENGTH) + 1) for n in shape]
    places = np.indices(shape, dtype=np.float32)
    for axis in range(3):
        knots = rng.normal(0, bend_voxels, coarse)
        zoom = [n / c for n, c in zip(shape, coarse, strict=True)]
        places[axis] += ndimage.zoom(knots, zoom, order=3, mode="nearest", grid_mode=True).astype(np.float32)
    is_image = [not name.endswith("_organs") for name in network.channels]
    orders = [[1 if image else 0 for image in is_image], [0] * len(arrays[1]), [0] * len(arrays[2])]
    bent = [
        np.stack([ndimage.map_coordinates(row, places, order=n, mode="nearest") for row, n in zip(a, o, strict=True)])
        for a, o in zip(arrays, orders, strict=True)
    ]
    return bent[0], bent[1], bent[2]
