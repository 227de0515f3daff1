"""nnU-Net's two architectures: plain convolutions, and residual encoders.

Modules are named as in nnU-Net's own package, so that its weights fit.
Source: Isensee et al., nnU-Net (Nature Methods 2021) and nnU-Net Revisited
(MICCAI 2024).
"""

from __future__ import annotations

import torch
from torch import nn

from deeppsma.core.box import IndexZyx
from deeppsma.models.unet_config import UNetConfig


class UNet(nn.Module):
    """Logits [batch, class, z, y, x] of images [batch, channel, z, y, x].

    In training mode a list comes out: the answer at full size, then those of
    the coarser stages of the decoder.
    """

    def __init__(self, shape: UNetConfig) -> None:
        super().__init__()
        self.encoder = _Encoder(shape)
        self.decoder = _Decoder(shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Run the network."""
        answers = self.decoder(self.encoder(x))
        return answers if self.training else answers[0]


class _Encoder(nn.Module):
    def __init__(self, shape: UNetConfig) -> None:
        super().__init__()
        residual = shape.kind == "ResidualEncoderUNet"
        self.stem = _Convs(shape, 1, shape.channels, shape.features[0], shape.kernels[0]) if residual else None
        below = shape.features[0] if residual else shape.channels
        stages: list[nn.Module] = []
        for out, kernel, stride, count in zip(shape.features, shape.kernels, shape.strides, shape.blocks, strict=True):
            if residual:
                stages.append(_ResidualBlocks(shape, count, below, out, kernel, stride))
            else:
                stages.append(nn.Sequential(_Convs(shape, count, below, out, kernel, stride)))
            below = out
        self.stages = nn.Sequential(*stages)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        if self.stem is not None:
            x = self.stem(x)
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        return skips


class _Decoder(nn.Module):
    def __init__(self, shape: UNetConfig) -> None:
        super().__init__()
        transpconvs, stages, seg_layers = [], [], []
        for depth, count in zip(range(len(shape.features) - 1, 0, -1), shape.decoder_convs, strict=True):
            below, skip, stride = shape.features[depth], shape.features[depth - 1], shape.strides[depth]
            transpconvs.append(nn.ConvTranspose3d(below, skip, stride, stride, bias=shape.conv_bias))
            stages.append(_Convs(shape, count, 2 * skip, skip, shape.kernels[depth - 1]))
            seg_layers.append(nn.Conv3d(skip, shape.class_count, 1))
        self.transpconvs = nn.ModuleList(transpconvs)
        self.stages = nn.ModuleList(stages)
        self.seg_layers = nn.ModuleList(seg_layers)

    def forward(self, skips: list[torch.Tensor]) -> list[torch.Tensor]:
        """Answers from the finest stage to the coarsest; outside of training the finest alone."""
        x = skips[-1]
        answers = []
        last = len(self.stages) - 1
        for number, (up, stage, answer) in enumerate(zip(self.transpconvs, self.stages, self.seg_layers, strict=True)):
            x = stage(torch.cat([up(x), skips[-number - 2]], dim=1))
            if self.training or number == last:
                answers.append(answer(x))
        return answers[::-1]


class _Convs(nn.Module):
    """Convolutions in a row, the first of them strided."""

    def __init__(
        self, shape: UNetConfig, count: int, below: int, out: int, kernel: IndexZyx, stride: IndexZyx = (1, 1, 1)
    ) -> None:
        super().__init__()
        first = _Conv(shape, below, out, kernel, stride)
        self.convs = nn.Sequential(first, *(_Conv(shape, out, out, kernel) for _ in range(count - 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convs(x)


class _Conv(nn.Module):
    """Convolution, instance norm, LeakyReLU unless it is ``plain``."""

    def __init__(
        self,
        shape: UNetConfig,
        below: int,
        out: int,
        kernel: IndexZyx,
        stride: IndexZyx = (1, 1, 1),
        bias: bool | None = None,
        plain: bool = False,
    ) -> None:
        super().__init__()
        z, y, x = ((n - 1) // 2 for n in kernel)
        self.conv = nn.Conv3d(below, out, kernel, stride, (z, y, x), bias=shape.conv_bias if bias is None else bias)
        self.norm = nn.InstanceNorm3d(out, eps=shape.norm_eps, affine=shape.norm_affine)
        self.nonlin = nn.Identity() if plain else nn.LeakyReLU(shape.negative_slope, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.nonlin(self.norm(self.conv(x)))


class _ResidualBlocks(nn.Module):
    def __init__(self, shape: UNetConfig, count: int, below: int, out: int, kernel: IndexZyx, stride: IndexZyx) -> None:
        super().__init__()
        first = _ResidualBlock(shape, below, out, kernel, stride)
        rest = (_ResidualBlock(shape, out, out, kernel, (1, 1, 1)) for _ in range(count - 1))
        self.blocks = nn.Sequential(first, *rest)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(x)


class _ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, which is pooled and projected where it must be (ResNet-D)."""

    def __init__(self, shape: UNetConfig, below: int, out: int, kernel: IndexZyx, stride: IndexZyx) -> None:
        super().__init__()
        self.conv1 = _Conv(shape, below, out, kernel, stride)
        self.conv2 = _Conv(shape, out, out, kernel, plain=True)
        shortcut: list[nn.Module] = []
        if any(step != 1 for step in stride):
            shortcut.append(nn.AvgPool3d(stride, stride))
        if below != out:
            shortcut.append(_Conv(shape, below, out, (1, 1, 1), bias=False, plain=True))
        self.skip = nn.Sequential(*shortcut)
        self.nonlin2 = nn.LeakyReLU(shape.negative_slope, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.nonlin2(self.conv2(self.conv1(x)) + self.skip(x))
