"""What a network is fed: its input channels on its working grid.

CDS report, section 2.2: PET divided by its threshold, minus one; organ labels
divided by 117.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.box import Box, IndexZyx
from deeppsma.geometry import Geometry
from deeppsma.images import Volume
from deeppsma.network import NetworkConfig
from deeppsma.organs import LABEL_MAX
from deeppsma.resampling import resample
from deeppsma.rigid import RigidTransform
from deeppsma.spaces import Space, pooled_maximum
from deeppsma.tracer import Tracer


@dataclass(frozen=True)
class Channel:
    """One input channel: raw voxels, and how to scale them.

    The network sees ``voxels * scale + offset``; scaling waits until a window
    is cut, so that a large case is held once and in its own dtype.
    """

    voxels: NDArray
    scale: float
    offset: float


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
        inner = box.clipped(self.geometry.shape_zyx)
        target = inner.relative_to(box)
        out = np.empty((len(self.stack), *box.shape_zyx), dtype=np.float32)
        for row, channel in zip(out, self.stack, strict=True):
            row[:] = channel.offset
            values = channel.voxels[inner.slices].astype(np.float32)
            row[target.slices] = values * np.float32(channel.scale) + np.float32(channel.offset)
        return out


def outside_values(config: NetworkConfig) -> list[float]:
    """What each input channel holds outside the grid: no uptake, no organ."""
    return [-1.0 if name.endswith("_pet") else 0.0 for name in config.channels]


def build_channels(
    config: NetworkConfig,
    space: Space,
    thresholds: Mapping[Tracer, float],
    organs: Mapping[Tracer, Volume | None],
    fdg_to_psma: RigidTransform,
) -> Channels:
    """Input channels of a network on a space.

    Parameters
    ----------
    config
        Names the channels and the working grid.
    space
        Both PETs on the fixed tracer's grid.
    thresholds
        SUV by tracer.
    organs
        Label maps on their own grids; None is a map of zeros.
    fdg_to_psma
        Maps FDG points to PSMA points.

    Notes
    -----
    A block of native voxels has its highest SUV and the label at its centre.
    """
    block = config.block_zyx(space.geometry)
    working = space.geometry.coarsened(block)
    to_moving = fdg_to_psma if space.fixed is Tracer.FDG else fdg_to_psma.inverse()
    stack = []
    for name in config.channels:
        tracer_name, kind = name.split("_")
        tracer = Tracer(tracer_name)
        if kind == "pet":
            stack.append(Channel(pooled_maximum(space.pet[tracer], block), 1 / thresholds[tracer], -1.0))
            continue
        volume = organs[tracer]
        if volume is None:
            labels = np.zeros(working.shape_zyx, dtype=np.uint8)
        else:
            labels = resample(volume, working, None if tracer is space.fixed else to_moving, labels=True)
        stack.append(Channel(labels, 1 / LABEL_MAX, 0.0))
    return Channels(working, block, tuple(stack))
