"""Images as an nnU-Net wants them: axes, crop, normalisation, resampling.

The same steps in the same order as nnU-Net's own preprocessor, one channel at
a time; what two models are fed alike is made once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.box import Box, IndexZyx
from deeppsma.core.geometry import VectorZyx
from deeppsma.models.nnunet.plans import Normalisation, Plan, Resampling
from deeppsma.preprocessing.splines import resized

MakeImage = Callable[[], NDArray]
#: Channels by grid, then by name and normalisation.
MadeChannels = dict[Hashable, dict[Hashable, NDArray[np.float32]]]

#: From this ratio of largest to smallest spacing on, nnU-Net treats the coarse axis apart.
ANISOTROPIC = 3.0
_TINY = 1e-8


@dataclass(frozen=True)
class Prepared:
    """A network's input, and the way back to the image's grid.

    Parameters
    ----------
    channels
        Each [a, b, c] float32, on planned axes and spacing.
    box
        What was cropped of the image, on planned axes.
    transpose
        Planned axis i is the image's axis ``transpose[i]``.
    coarse_axis
        Planned axis along which answers are taken from the nearest plane,
        or None.
    """

    channels: tuple[NDArray[np.float32], ...]
    box: Box
    transpose: IndexZyx
    coarse_axis: int | None

    @property
    def shape(self) -> IndexZyx:
        """Voxels of the network's grid."""
        a, b, c = self.channels[0].shape
        return a, b, c

    def index_of(self, mask_zyx: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Continuous indices (n, 3) of an image's voxels on the network's grid, kept inside it.

        Parameters
        ----------
        mask_zyx
            Which voxels of the whole image, [z, y, x]; n are True.
        """
        index = np.argwhere(mask_zyx)[:, self.transpose].astype(float) - self.box.start_zyx
        shape = np.array(self.shape, dtype=float)
        scaled = (index + 0.5) * (shape / self.box.shape_zyx) - 0.5
        if self.coarse_axis is not None:
            scaled[:, self.coarse_axis] = np.floor(scaled[:, self.coarse_axis] + 0.5)
        return np.asarray(np.clip(scaled, 0, shape - 1))


def prepare(
    channels: Sequence[tuple[str, MakeImage]],
    spacing_zyx: VectorZyx,
    plan: Plan,
    made: MadeChannels | None = None,
    device: str = "cpu",
) -> Prepared:
    """Make a network's input.

    Parameters
    ----------
    channels
        Names, and what makes each image [z, y, x]; all of one shape.
    spacing_zyx
        Of the images, mm.
    plan
        The network's.
    made
        Channels of these images that other networks are fed, too; what is
        made here is added. Those of another grid are forgotten.
    device
        Where images are resampled: "cuda" or "cpu".

    Raises
    ------
    ValueError
        If the number of channels is not the plan's.
    """
    if len(channels) != plan.shape.channels:
        raise ValueError(f"{len(channels)} channels for a network of {plan.shape.channels}")
    images = [cache(make) for _, make in channels]  # made when first asked for, and kept until used
    inside, box = _crop(images, plan)
    spacing = plan.spacing_of(spacing_zyx)
    target = plan.spacing_planned
    shape = planned_shape(box.shape_zyx, spacing, target)
    coarse = coarse_axis(spacing, target, plan.image_resampling)
    made = {} if made is None else made
    grid = (plan.transpose, box, shape, coarse, plan.image_resampling)
    if grid not in made:
        made.clear()  # one grid's channels at a time: memory does not grow with members
    shared = made.setdefault(grid, {})
    rows = []
    for (name, _), how in zip(channels, plan.normalisations, strict=True):
        image = images.pop(0)
        row = shared.get((name, how))
        if row is None:
            values = np.array(image().transpose(plan.transpose)[box.slices], dtype=np.float32, order="C")
            row = resized(normalised(values, inside, how), shape, plan.image_resampling, coarse, device)
            if not how.inside_only:  # what lies inside depends on the other channels, too
                shared[name, how] = row
        rows.append(row)
    back = coarse_axis(target, spacing, plan.answer_resampling)
    # What is not resampled is not touched, whatever the plan says of anisotropy.
    return Prepared(tuple(rows), box, plan.transpose, back if shape != box.shape_zyx else None)


def planned_shape(shape: IndexZyx, spacing: tuple[float, float, float], target: tuple[float, float, float]) -> IndexZyx:
    """Shape of an image at another spacing."""
    a, b, c = (round(s / t * n) for s, t, n in zip(spacing, target, shape, strict=True))
    return max(a, 1), max(b, 1), max(c, 1)


def coarse_axis(spacing: tuple[float, float, float], target: tuple[float, float, float], how: Resampling) -> int | None:
    """Axis that is resampled apart from the others, or None; decided by the first grid, else by the second."""
    if how.separate_z is False:
        return None
    for each in (spacing, target):
        if how.separate_z or max(each) / min(each) > ANISOTROPIC:
            axes = [axis for axis in range(3) if each[axis] == max(each)]
            return axes[0] if len(axes) == 1 else None
    return None


def normalised(image: NDArray[np.float32], inside: NDArray[np.bool_] | None, how: Normalisation) -> NDArray[np.float32]:
    """Scaled values of one channel.

    Parameters
    ----------
    image
        float32; may be changed.
    inside
        Where any channel is not zero; None where ``how`` does not ask.
    how
        The plan's.
    """
    if how.scheme == "NoNormalization":
        return image
    if how.scheme == "RescaleTo01Normalization":
        image -= image.min()
        image /= max(image.max(), np.float32(_TINY))
        return image
    if how.scheme == "CTNormalization":
        np.clip(image, how.low, how.high, out=image)
        image -= np.float32(how.mean)
        image /= np.float32(max(how.std, _TINY))
        return image
    where = inside if how.inside_only else np.ones(image.shape, dtype=bool)
    values = image[where]
    if not len(values):
        return image
    image[where] = (values - values.mean()) / max(values.std(), np.float32(_TINY))
    return image


def _crop(channels: Sequence[MakeImage], plan: Plan) -> tuple[NDArray[np.bool_] | None, Box]:
    """Where any channel is not zero, holes filled, if it matters; and the box around that; on planned axes."""
    from scipy.ndimage import binary_fill_holes

    matters = any(how.inside_only for how in plan.normalisations)
    inside = channels[0]().transpose(plan.transpose) != 0
    whole = Box.whole(inside.shape)
    for channel in channels[1:]:
        if not matters and Box.around_mask(inside) == whole:
            break  # the rest cannot change the crop, and need not be made for it
        inside = inside | (channel().transpose(plan.transpose) != 0)
    box = Box.around_mask(inside) or whole
    return (binary_fill_holes(inside)[box.slices] if matters else None), box
