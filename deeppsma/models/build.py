"""Networks with random weights: DynUNet, and nnU-Net's architectures.

Source: CDS report, section 2.2, and the team's published settings: residual blocks, kernels of 3, instance norm,
LeakyReLU 0.01, deep supervision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeppsma.core.anatomy import LABEL_MAX
from deeppsma.models.config import DEEP_SUPERVISION_HEADS, NetworkConfig

if TYPE_CHECKING:
    import torch


def build_network(config: NetworkConfig, training: bool = False) -> torch.nn.Module:
    """Network with random weights.

    Parameters
    ----------
    config
        Its shape.
    training
        Keep the deep-supervision heads, whose outputs `forward` then stacks
        along axis 1; otherwise logits [batch, output, z, y, x] come out.

    Notes
    -----
    The heads exist in both cases, so the same weights fit.
    """
    network = _dynunet(config) if config.architecture == "dynunet" else _nnunet(config)
    network.train(training)
    return network


def _nnunet(config: NetworkConfig) -> torch.nn.Module:
    import torch

    from deeppsma.models.unet import UNet

    class _Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unet = UNet(config.unet_shape())
            # Heads of coarser stages than are trained exist, as in nnU-Net, and stay as they are.
            for head in self.unet.decoder.seg_layers[: -DEEP_SUPERVISION_HEADS - 1]:
                head.requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = self.unet(x)
            if isinstance(out, torch.Tensor):
                return out
            size = out[0].shape[2:]
            heads = out[: DEEP_SUPERVISION_HEADS + 1]
            return torch.stack([torch.nn.functional.interpolate(head, size) for head in heads], dim=1)

    return _Network()


def _dynunet(config: NetworkConfig) -> torch.nn.Module:
    import torch

    from deeppsma.models.dynunet import DynUNet

    organ_channels = config.organ_channels
    embedding = config.organ_embedding if organ_channels else 0
    in_channels = len(config.channels) + (embedding - 1) * len(organ_channels) * (embedding > 0)

    class _Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.organ_features = torch.nn.Embedding(LABEL_MAX + 1, embedding) if embedding else None
            self.unet = DynUNet(
                in_channels, len(config.outputs), config.filters, config.strides, DEEP_SUPERVISION_HEADS
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.unet(self._embedded(x))
            return out

        def _embedded(self, x: torch.Tensor) -> torch.Tensor:
            if self.organ_features is None:
                return x
            pieces = []
            for i in range(x.shape[1]):
                if i in organ_channels:
                    labels = (x[:, i] * LABEL_MAX).round().long().clamp(0, LABEL_MAX)
                    pieces.append(self.organ_features(labels).movedim(-1, 1).to(x.dtype))
                else:
                    pieces.append(x[:, i : i + 1])
            return torch.cat(pieces, dim=1)

    return _Network()
