"""Shape of an nnU-Net: what its plans say of the architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deeppsma.core.box import IndexZyx
from deeppsma.core.settings import from_plain

KINDS = ("PlainConvUNet", "ResidualEncoderUNet")
#: Beyond what any network has, and small enough that a spoilt number takes no memory.
STAGES_MAX, FEATURES_MAX, BLOCKS_MAX, KERNEL_MAX, STRIDE_MAX, WINDOW_MAX = 16, 4096, 100, 31, 16, 4096


@dataclass(frozen=True)
class UNetConfig:
    """Everything that decides such a network.

    Parameters
    ----------
    kind
        One of `KINDS`.
    channels, class_count
        In and out.
    features, kernels, strides
        Per stage, kernels and strides by axis. The first stage keeps its
        resolution.
    blocks
        Per stage: convolutions (plain) or residual blocks.
    decoder_convs
        Convolutions per stage of the decoder, from the deepest up; one fewer
        than stages.
    conv_bias
        Whether convolutions have one.
    norm_eps, norm_affine
        Of the instance norm.
    negative_slope
        Of the LeakyReLU.
    """

    kind: str
    channels: int
    class_count: int
    features: tuple[int, ...]
    kernels: tuple[IndexZyx, ...]
    strides: tuple[IndexZyx, ...]
    blocks: tuple[int, ...]
    decoder_convs: tuple[int, ...]
    conv_bias: bool = True
    norm_eps: float = 1e-5
    norm_affine: bool = True
    negative_slope: float = 0.01

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown architecture {self.kind!r}; known are {', '.join(KINDS)}")
        stages = len(self.features)
        if stages < 2 or {len(self.kernels), len(self.strides), len(self.blocks), len(self.decoder_convs) + 1} != {
            stages
        }:
            raise ValueError("features, kernels, strides and blocks must name the same stages, two or more")
        triples = [*self.kernels, *self.strides]
        if any(len(each) != 3 for each in triples):
            raise ValueError("kernels and strides need three numbers: 3-D networks only")
        numbers = [self.channels, self.class_count, *self.features, *self.blocks, *self.decoder_convs]
        if any(not isinstance(n, int) or n < 1 for n in (*numbers, *(n for each in triples for n in each))):
            raise ValueError("channels, classes, features, kernels, strides and blocks must be whole numbers above 0")
        if (
            stages > STAGES_MAX
            or max(self.channels, self.class_count, *self.features) > FEATURES_MAX
            or max(*self.blocks, *self.decoder_convs) > BLOCKS_MAX
            or max(n for each in self.kernels for n in each) > KERNEL_MAX
            or max(n for each in self.strides for n in each) > STRIDE_MAX
        ):
            raise ValueError("stages, channels, classes, features, kernels, strides or blocks beyond any network's")
        if any(n % 2 == 0 for each in self.kernels for n in each):
            raise ValueError("kernels must be odd")
        if any(not isinstance(x, int | float) or not 0 <= x < 1 for x in (self.norm_eps, self.negative_slope)):
            raise ValueError(f"norm_eps {self.norm_eps!r} and negative_slope {self.negative_slope!r} must be in [0, 1)")

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> UNetConfig:
        """Shape from JSON.

        Raises
        ------
        ValueError
            If a key is unknown or missing, or a value makes no sense.
        """
        if not isinstance(content, dict):
            raise ValueError("not a table of settings")  # noqa: TRY004 - what callers catch
        # Manifests of earlier versions call the count "classes".
        renamed = {"class_count" if key == "classes" else key: value for key, value in content.items()}
        return from_plain(cls, renamed)

    @property
    def stride_zyx(self) -> IndexZyx:
        """Product of the strides: a patch must be a multiple of it."""
        return total_stride(self.strides)


def total_stride(strides: Sequence[IndexZyx]) -> IndexZyx:
    """Product of the levels' strides, by axis."""
    z, y, x = 1, 1, 1
    for a, b, c in strides:
        z, y, x = z * a, y * b, x * c
    return z, y, x
