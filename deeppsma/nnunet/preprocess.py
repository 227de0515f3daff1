"""Images as an nnU-Net wants them: axes, crop, normalisation, resampling.

The same steps in the same order as nnU-Net's own preprocessor, one channel at
a time, so that a whole case in single precision is held once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.box import Box, IndexZyx
from deeppsma.nnunet.plans import Normalisation, Plan, Resampling

#: From this ratio of largest to smallest spacing on, nnU-Net treats the coarse axis apart.
ANISOTROPIC = 3.0
_TINY = 1e-8


@dataclass(frozen=True)
class Prepared:
    """A network's input, and the way back to the image's grid.

    Parameters
    ----------
    channels
        [channel, a, b, c] float32 on planned axes and spacing.
    box
        What was cropped of the image, on planned axes.
    transpose
        Planned axis i is the image's axis ``transpose[i]``.
    coarse_axis
        Planned axis along which answers are taken from the nearest plane,
        or None.
    """

    channels: NDArray[np.float32]
    box: Box
    transpose: IndexZyx
    coarse_axis: int | None

    def index_of(self, mask_zyx: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Continuous indices (n, 3) of an image's voxels on the network's grid, kept inside it.

        Parameters
        ----------
        mask_zyx
            Which voxels of the whole image, [z, y, x]; n are True.
        """
        index = np.argwhere(mask_zyx)[:, self.transpose].astype(float) - self.box.start_zyx
        shape = np.array(self.channels.shape[1:], dtype=float)
        scaled = (index + 0.5) * (shape / self.box.shape_zyx) - 0.5
        if self.coarse_axis is not None:
            scaled[:, self.coarse_axis] = np.floor(scaled[:, self.coarse_axis] + 0.5)
        return np.asarray(np.clip(scaled, 0, shape - 1))


def prepare(channels: Sequence[Callable[[], NDArray]], spacing_zyx: tuple[float, float, float], plan: Plan) -> Prepared:
    """Make a network's input.

    Parameters
    ----------
    channels
        Each gives its image [z, y, x]; all of one shape. Called twice: for
        the crop, and for the values.
    spacing_zyx
        Of the images, mm.
    plan
        The network's.

    Raises
    ------
    ValueError
        If the number of channels is not the plan's.
    """
    if len(channels) != plan.shape.channels:
        raise ValueError(f"{len(channels)} channels for a network of {plan.shape.channels}")
    inside = _inside(channels, plan)
    box = Box.around_mask(inside) or Box.whole(inside.shape)
    inside = inside[box.slices]
    spacing = plan.spacing_of(spacing_zyx)
    target = plan.spacing_planned
    shape = planned_shape(box.shape_zyx, spacing, target)
    coarse = coarse_axis(spacing, target, plan.image_resampling)
    out = np.empty((len(channels), *shape), dtype=np.float32)
    for row, channel, how in zip(out, channels, plan.normalisations, strict=True):
        image = np.ascontiguousarray(channel().transpose(plan.transpose)[box.slices], dtype=np.float32)
        row[:] = resized(normalised(image, inside, how), shape, plan.image_resampling, coarse)
    back = coarse_axis(target, spacing, plan.answer_resampling)
    # What is not resampled is not touched, whatever the plan says of anisotropy.
    return Prepared(out, box, plan.transpose, back if shape != box.shape_zyx else None)


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


def normalised(image: NDArray[np.float32], inside: NDArray[np.bool_], how: Normalisation) -> NDArray[np.float32]:
    """Scaled values of one channel.

    Parameters
    ----------
    image
        float32; may be changed.
    inside
        Where any channel is not zero.
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
    where = inside if how.inside_only else np.ones_like(inside)
    values = image[where]
    image[where] = (values - values.mean()) / max(values.std(), np.float32(_TINY))
    return image


def resized(
    image: NDArray[np.float32], shape: IndexZyx, how: Resampling, coarse: int | None = None
) -> NDArray[np.float32]:
    """Image at another shape: splines on voxels' centres, never beyond the image's own range.

    Parameters
    ----------
    image
        [a, b, c].
    shape
        Wanted.
    how
        Spline orders.
    coarse
        Axis along which ``order_z`` counts instead; each plane across it is
        resampled by itself.
    """
    if image.shape == shape:
        return image
    if coarse is None:
        return _zoomed(image, shape, how.order)
    planes = [_zoomed(plane, tuple(np.delete(shape, coarse)), how.order) for plane in np.moveaxis(image, coarse, 0)]
    flat = np.stack(planes, axis=coarse)
    if flat.shape == shape:
        return flat
    from scipy.ndimage import map_coordinates

    # Splines along the coarse axis alone.
    position = (np.arange(shape[coarse]) + 0.5) * (flat.shape[coarse] / shape[coarse]) - 0.5
    if how.order_z == 0:
        nearest = np.clip(np.floor(position + 0.5), 0, flat.shape[coarse] - 1).astype(int)
        return np.asarray(np.take(flat, nearest, axis=coarse))
    index = np.meshgrid(*(position if axis == coarse else np.arange(n) for axis, n in enumerate(shape)), indexing="ij")
    return np.asarray(map_coordinates(flat, index, order=how.order_z, mode="nearest"), dtype=np.float32)


def _inside(channels: Sequence[Callable[[], NDArray]], plan: Plan) -> NDArray[np.bool_]:
    """Where any channel is not zero, holes filled, on planned axes."""
    from scipy.ndimage import binary_fill_holes

    inside: NDArray[np.bool_] | None = None
    for channel in channels:
        hot = channel() != 0
        inside = hot if inside is None else inside | hot
    assert inside is not None  # a plan has a channel  # noqa: S101
    return np.asarray(binary_fill_holes(inside.transpose(plan.transpose)))


def _zoomed(image: NDArray[np.float32], shape: tuple[int, ...], order: int) -> NDArray[np.float32]:
    from scipy.ndimage import zoom

    if image.shape == tuple(shape):
        return image
    factors = [new / old for new, old in zip(shape, image.shape, strict=True)]
    out = zoom(image.astype(np.float64), factors, order=order, mode="nearest", grid_mode=True)
    return np.asarray(np.clip(out, image.min(), image.max()), dtype=np.float32)
