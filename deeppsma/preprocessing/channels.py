"""What a network is fed: its input channels on its working grid.

CDS report, section 2.2: PET divided by its threshold, minus one; organ labels
divided by 117. PaIRe report, sections 2.2 and 2.3: PET divided by its
threshold; CT; eight classes of organs, as masks or as soft distances. Beyond
both: uptake against what its organ typically takes up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.anatomy import LABEL_MAX, ORGAN_CLASSES
from deeppsma.core.box import Box, IndexZyx
from deeppsma.core.geometry import Geometry, VectorZyx
from deeppsma.core.resampling import resample, resample_labels
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform, to_other_session
from deeppsma.core.volume import Volume
from deeppsma.inference.sliding_window import cut
from deeppsma.models.config import NetworkConfig
from deeppsma.preprocessing.organ_contrast import CONTRAST_LIMIT, organ_contrast
from deeppsma.preprocessing.spaces import Space, pooled_maximum

#: Beyond a CT lies air.
AIR_HU = -1000
#: Of the sigmoid: 10 to 90 % over 10 mm.
SOFTNESS_MM = 2.2758


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
        out = cut([channel.voxels for channel in self.stack], box)
        for row, channel in zip(out, self.stack, strict=True):
            row[:] = row * np.float32(channel.scale) + np.float32(channel.offset)
        return out


def outside_values(config: NetworkConfig) -> list[float]:
    """What each input channel holds outside the grid: no uptake, no organ, the CT's mean."""
    nothing = {"pet": -1.0, "contrast": -CONTRAST_LIMIT}
    return [nothing.get(name.split("_", 1)[1], 0.0) for name in config.channels]


def build_channels(
    config: NetworkConfig,
    space: Space,
    thresholds: Mapping[Tracer, float],
    organs: Mapping[Tracer, Volume | None],
    fdg_to_psma: RigidTransform,
    cts: Mapping[Tracer, Volume | None] | None = None,
    made: dict[tuple[str, IndexZyx], Channel] | None = None,
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
    cts
        On their own grids, HU.
    made
        Channels of this space that other networks are fed, too, by name and
        block; what is made here is added.

    Raises
    ------
    ValueError
        If the network is fed a CT, and there is none.

    Notes
    -----
    A block of native voxels has its highest SUV, and the label and HU at its
    centre.
    """
    block = config.block_zyx(space.geometry)
    working = space.geometry.coarsened(block)
    to_moving = to_other_session(space.fixed, fdg_to_psma)
    made = {} if made is None else made
    for name in config.channels:
        if (name, block) not in made:
            tracer = Tracer(name.split("_", 1)[0])
            transform = None if tracer is space.fixed else to_moving
            if name.endswith(("_pet", "_ratio")):
                made[name, block] = _uptake(name, space.pet[tracer], block, thresholds[tracer])
            elif name.endswith("_ct"):
                ct = (cts or {}).get(tracer)
                if ct is None:
                    raise ValueError(f"no {tracer.upper()} CT for {name}")
                hu = resample(ct, working, transform, outside=AIR_HU)
                made[name, block] = Channel(standardised_ct(hu).astype(np.float16), 1.0, 0.0)
            else:
                labels = f"{tracer}_organs"
                if (labels, block) not in made:
                    found = resample_labels(organs[tracer], working, transform)
                    made[labels, block] = Channel(found, 1 / LABEL_MAX, 0.0)
                if name.endswith("_contrast"):
                    suv = pooled_maximum(space.pet[tracer], block)
                    contrast = organ_contrast(suv, made[labels, block].voxels, thresholds[tracer])
                    # Raw zeros lie outside the grid: there, as in air, nothing is taken up.
                    raised = (contrast + np.float32(CONTRAST_LIMIT)).astype(np.float16)
                    made[name, block] = Channel(raised, 1.0, -CONTRAST_LIMIT)
                elif name != labels:
                    made[name, block] = _organ_class(name, made[labels, block].voxels, working.spacing_zyx)
    return Channels(working, block, tuple(made[name, block] for name in config.channels))


def _uptake(name: str, suv: NDArray[np.float32], block: IndexZyx, threshold_suv: float) -> Channel:
    return Channel(pooled_maximum(suv, block), 1 / threshold_suv, -1.0 if name.endswith("_pet") else 0.0)


def _organ_class(name: str, labels: NDArray, spacing_zyx: VectorZyx) -> Channel:
    what, organ = name.split("_", 1)[1].split("-")
    mask = np.isin(labels, ORGAN_CLASSES[organ])
    return Channel(mask if what == "organ" else soft_organ(mask, spacing_zyx).astype(np.float16), 1.0, 0.0)


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
