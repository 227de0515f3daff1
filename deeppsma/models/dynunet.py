"""MONAI's DynUNet with residual blocks, in torch alone: the same parameters under the same names, the same numbers.

Importing MONAI takes longer than importing torch, and this is all that was used of it; a test holds the two against
each other. Source: Isensee et al., nnU-Net (Nature Methods 2021); Project MONAI, ``monai.networks.nets.DynUNet``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate

from deeppsma.core.box import IndexZyx

_SLOPE = 0.01
#: MONAI's state dict names its blocks a second time under this; checkpoints of earlier versions hold it.
_SECOND_NAMES = "skip_layers."


class DynUNet(nn.Module):
    """Logits [batch, output, z, y, x] of images [batch, channel, z, y, x].

    In training mode the answers of the supervised stages are enlarged and
    stacked along axis 1, the finest first.

    Parameters
    ----------
    channels, outputs
        Of the input and of the answer.
    filters, strides
        Per level; kernels are 3 x 3 x 3.
    heads
        How many coarser stages of the decoder have an answer of their own.
    """

    def __init__(
        self, channels: int, outputs: int, filters: Sequence[int], strides: Sequence[IndexZyx], heads: int
    ) -> None:
        super().__init__()
        levels = range(1, len(filters) - 1)
        # The order in which layers are made and initialised decides which weights a seed gives.
        self.input_block = _ResidualBlock(channels, filters[0], strides[0])
        self.downsamples = nn.ModuleList(_ResidualBlock(filters[n - 1], filters[n], strides[n]) for n in levels)
        self.bottleneck = _ResidualBlock(filters[-2], filters[-1], strides[-1])
        self.upsamples = nn.ModuleList(
            _UpBlock(filters[n], filters[n - 1], strides[n]) for n in range(len(filters) - 1, 0, -1)
        )
        self.output_block = _Answer(filters[0], outputs)
        torch.rand(1)
        self.deep_supervision_heads = nn.ModuleList(_Answer(filters[n], outputs) for n in range(1, heads + 1))
        self.apply(_initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the network."""
        skips = [self.input_block(x)]
        for down in self.downsamples:
            skips.append(down(skips[-1]))
        x = self.bottleneck(skips[-1])
        stages = []
        for up in self.upsamples:
            x = up(x, skips.pop())
            stages.append(x)
        out: torch.Tensor = self.output_block(x)
        if not self.training:
            return out
        coarser = stages[-2::-1]
        answers = [head(stage) for head, stage in zip(self.deep_supervision_heads, coarser, strict=False)]
        return torch.stack([out, *(interpolate(answer, out.shape[2:]) for answer in answers)], dim=1)

    def _load_from_state_dict(self, state_dict: dict[str, torch.Tensor], prefix: str, *rest: Any) -> None:
        for name in [name for name in state_dict if name.startswith(prefix + _SECOND_NAMES)]:
            del state_dict[name]
        super()._load_from_state_dict(state_dict, prefix, *rest)


class _Convolution(nn.Module):
    """A convolution without bias, named as MONAI names it."""

    def __init__(self, below: int, out: int, kernel: int, stride: IndexZyx = (1, 1, 1)) -> None:
        super().__init__()
        z, y, x = ((kernel - step + 1) // 2 for step in stride)
        self.conv = nn.Conv3d(below, out, kernel, stride, (z, y, x), bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class _Transposed(nn.Module):
    def __init__(self, below: int, out: int, stride: IndexZyx) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose3d(below, out, stride, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class _Pointwise(nn.Module):
    def __init__(self, below: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(below, out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class _Answer(nn.Module):
    def __init__(self, below: int, outputs: int) -> None:
        super().__init__()
        self.conv = _Pointwise(below, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class _ResidualBlock(nn.Module):
    def __init__(self, below: int, out: int, stride: IndexZyx) -> None:
        super().__init__()
        self.conv1 = _Convolution(below, out, 3, stride)
        self.conv2 = _Convolution(out, out, 3)
        self.lrelu = nn.LeakyReLU(_SLOPE, inplace=True)
        self.norm1 = nn.InstanceNorm3d(out, affine=True)
        self.norm2 = nn.InstanceNorm3d(out, affine=True)
        self.projects = below != out or tuple(stride) != (1, 1, 1)
        if self.projects:
            self.conv3 = _Convolution(below, out, 1, stride)
            self.norm3 = nn.InstanceNorm3d(out, affine=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.norm2(self.conv2(self.lrelu(self.norm1(self.conv1(x)))))
        out += self.norm3(self.conv3(x)) if self.projects else x
        return self.lrelu(out)


class _BasicBlock(nn.Module):
    def __init__(self, below: int, out: int) -> None:
        super().__init__()
        self.conv1 = _Convolution(below, out, 3)
        self.conv2 = _Convolution(out, out, 3)
        self.lrelu = nn.LeakyReLU(_SLOPE, inplace=True)
        self.norm1 = nn.InstanceNorm3d(out, affine=True)
        self.norm2 = nn.InstanceNorm3d(out, affine=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lrelu(self.norm2(self.conv2(self.lrelu(self.norm1(self.conv1(x))))))


class _UpBlock(nn.Module):
    def __init__(self, below: int, out: int, stride: IndexZyx) -> None:
        super().__init__()
        self.transp_conv = _Transposed(below, out, stride)
        self.conv_block = _BasicBlock(2 * out, out)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.conv_block(torch.cat((self.transp_conv(x), skip), dim=1))


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(layer.weight, a=_SLOPE)
        if layer.bias is not None:
            nn.init.constant_(layer.bias, 0)
