"""What a network is fed: its input channels, made from a session's PET, organ map and CT.

CDS report, section 2.2: PET divided by its threshold, minus one; organ labels divided by 117. PaIRe report, sections
2.2 and 2.3: PET divided by its threshold; CT; eight classes of organs, as masks or as soft distances. Beyond both:
uptake against what its organ typically takes up. The kinds are listed in `deeppsma.models.channel_kinds`; how each is
made stands here, once for both families of networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.anatomy import LABEL_MAX, ORGAN_CLASSES
from deeppsma.core.box import Box, IndexZyx
from deeppsma.core.geometry import Geometry, VectorZyx
from deeppsma.models.channel_kinds import CONTRAST_LIMIT
from deeppsma.preprocessing.organ_contrast import organ_contrast

#: Beyond a CT lies air.
AIR_HU = -1000
#: Of the sigmoid: 10 to 90 % over 10 mm.
SOFTNESS_MM = 2.2758


@dataclass(frozen=True)
class Sight:
    """A tracer's session on one grid: what its channels are made from.

    Parameters
    ----------
    suv
        [z, y, x] float32; 0 where there is no PET.
    threshold_suv
        Of the tracer.
    spacing_zyx
        Of the grid, mm.
    labels
        Gives TotalSegmentator's labels on the grid, zeros where there is no
        map; called where a channel needs them.
    hu
        Gives the CT on the grid, None where there is none; called where a
        channel needs it.
    """

    suv: NDArray[np.float32]
    threshold_suv: float
    spacing_zyx: VectorZyx
    labels: Callable[[], NDArray]
    hu: Callable[[], NDArray | None]


@dataclass(frozen=True)
class Channel:
    """One input channel: raw voxels, and how to scale them.

    The network sees ``voxels * scale + offset``; scaling waits until a window
    is cut, so that a large case is held once and in its own dtype. Beyond the
    grid lie raw zeros.
    """

    voxels: NDArray
    scale: float = 1.0
    offset: float = 0.0

    @property
    def image(self) -> NDArray[np.float32]:
        """What the network sees, as a whole image."""
        return self.voxels * np.float32(self.scale) + np.float32(self.offset)


@dataclass(frozen=True)
class Channels:
    """A network's input on one space.

    Parameters
    ----------
    geometry
        The working grid.
    block_zyx
        Native voxels of the crop per voxel of the working grid.
    stack
        In the network's order; all of the working grid's shape.
    """

    geometry: Geometry
    block_zyx: IndexZyx
    stack: tuple[Channel, ...]

    def window(self, box: Box) -> NDArray[np.float32]:
        """Scaled values of a box, [channel, z, y, x]; outside the grid as raw zeros."""
        out = cut([channel.voxels for channel in self.stack], box)
        for row, channel in zip(out, self.stack, strict=True):
            row[:] = row * np.float32(channel.scale) + np.float32(channel.offset)
        return out


def make_channel(kind: str, sight: Sight) -> Channel:
    """Channel of a kind.

    Parameters
    ----------
    kind
        A name of `deeppsma.models.channel_kinds.CHANNEL_KINDS`.
    sight
        What it is made from.

    Raises
    ------
    KeyError
        If there is no such kind.
    ValueError
        If the kind is "ct" and there is no CT.
    """
    return MAKERS[kind](sight)


def _uptake(sight: Sight, scale: float, offset: float = 0.0) -> Channel:
    return Channel(sight.suv, scale, offset)


def _contrast(sight: Sight) -> Channel:
    contrast = organ_contrast(sight.suv, sight.labels(), sight.threshold_suv)
    # Raw zeros lie outside the grid: there, as in air, nothing is taken up.
    return Channel(contrast + np.float32(CONTRAST_LIMIT), offset=-CONTRAST_LIMIT)


def _ct(sight: Sight) -> Channel:
    hu = sight.hu()
    if hu is None:
        raise ValueError("no CT")
    return Channel(hu)


def _density(sight: Sight) -> Channel:
    hu = sight.hu()
    if hu is None:
        hu = np.zeros(sight.suv.shape, dtype=np.int16)
    # Raw zeros lie outside the grid: there is air.
    return Channel((np.clip(hu, AIR_HU, -AIR_HU) - AIR_HU).astype(np.int16), scale=-1 / AIR_HU, offset=-1.0)


def _organ_mask(organ: str, sight: Sight) -> Channel:
    return Channel(np.isin(sight.labels(), ORGAN_CLASSES[organ]))


def _organ_distance(organ: str, sight: Sight) -> Channel:
    return Channel(soft_organ(_organ_mask(organ, sight).voxels, sight.spacing_zyx))


#: How each kind is made.
MAKERS: Mapping[str, Callable[[Sight], Channel]] = {
    "pet": lambda sight: _uptake(sight, 1 / sight.threshold_suv, -1.0),
    "ratio": lambda sight: _uptake(sight, 1 / sight.threshold_suv),
    "suv": lambda sight: _uptake(sight, 1.0),
    "organs": lambda sight: Channel(sight.labels(), 1 / LABEL_MAX),
    "ct": _ct,
    "density": _density,
    "contrast": _contrast,
    **{f"organ-{name}": partial(_organ_mask, name) for name in ORGAN_CLASSES},
    **{f"sdf-{name}": partial(_organ_distance, name) for name in ORGAN_CLASSES},
}


def compact(kind: str, channel: Channel) -> Channel:
    """A channel as our own networks are fed it: the CT standardised, and what has few digits in half precision."""
    if kind == "ct":
        return Channel(standardised_ct(channel.voxels).astype(np.float16))
    if kind == "contrast" or kind.startswith("sdf-"):
        return Channel(channel.voxels.astype(np.float16), channel.scale, channel.offset)
    return channel


def standardised_ct(hu: NDArray) -> NDArray[np.float32]:
    """CT clipped at its 5th and 95th percentile, then of mean 0 and standard deviation 1 (PaIRe report, section 2.3).

    Parameters
    ----------
    hu
        [z, y, x]; one value everywhere gives 0.
    """
    low, high = np.percentile(hu, [5, 95])
    clipped = np.clip(hu.astype(np.float32), low, high)
    return (clipped - clipped.mean()) / max(float(clipped.std()), 1e-6)


def soft_organ(mask: NDArray[np.bool_], spacing_zyx: VectorZyx) -> NDArray[np.float32]:
    """How deep a voxel lies in an organ: 1 inside, 0 outside, from 10 to 90 % over 10 mm (PaIRe report, section 2.3).

    Parameters
    ----------
    mask
        [z, y, x]; without a voxel all is 0.
    spacing_zyx
        mm.

    Notes
    -----
    A sigmoid of the signed Maurer distance, positive inside.
    """
    import SimpleITK as sitk
    from scipy.special import expit

    if not mask.any():
        return np.zeros(mask.shape, dtype=np.float32)
    image = sitk.GetImageFromArray(mask.view(np.uint8))
    image.SetSpacing(spacing_zyx[::-1])
    distance_mm = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(image, True, False, True))
    return np.asarray(expit(distance_mm / SOFTNESS_MM), dtype=np.float32)


def cut(channels: NDArray | Sequence[NDArray], box: Box, fill: Sequence[float] | None = None) -> NDArray[np.float32]:
    """Box of channels [z, y, x], as [channel, z, y, x]; outside them 0, or the channel's ``fill``."""
    out = np.empty((len(channels), *box.shape_zyx), dtype=np.float32)
    inner = box.clipped(channels[0].shape)
    target = inner.relative_to(box)
    for row, channel, outside in zip(out, channels, fill or [0.0] * len(channels), strict=True):
        row[:] = outside
        row[target.slices] = channel[inner.slices]
    return out
