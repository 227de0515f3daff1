"""What a training starts from: random weights, or those of a member, who may have been fed less."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from deeppsma.core.errors import WeightsError
from deeppsma.models.build import build_network
from deeppsma.models.config import NetworkConfig
from deeppsma.models.weights import Member

if TYPE_CHECKING:
    import torch


def starting_network(network: NetworkConfig, start: Member | None = None) -> torch.nn.Module:
    """Network to train.

    Parameters
    ----------
    network
        Its shape.
    start
        Whose weights it begins with; None: random ones. The network may have
        channels after the start's: they count for nothing before the first
        step, so that what the start knew is kept.

    Raises
    ------
    WeightsError
        If the start differs from the network in anything else, or its weights
        cannot be read.
    """
    import torch

    built = build_network(network, training=True)
    if start is None:
        return built
    remedy = "choose the settings that this member was trained with"
    if not isinstance(start.network, NetworkConfig) or not _goes_on_from(network, start.network):
        raise WeightsError(start.folder, "a network of another shape than the settings name", remedy)
    begun, wanted = start.load().state_dict(), built.state_dict()
    if set(begun) != set(wanted):
        # A block whose channels become as many as its filters loses its projection, and with it what the start knew.
        raise WeightsError(start.folder, "with these channels the network has other layers", remedy)
    with torch.no_grad():
        for name, weights in wanted.items():
            before = begun[name]
            if weights.shape != before.shape:  # a first convolution, [filter, channel, z, y, x]
                weights[:, before.shape[1] :] = 0
                weights[:, : before.shape[1]] = before
            else:
                weights.copy_(before)
    return built


def _goes_on_from(network: NetworkConfig, start: NetworkConfig) -> bool:
    same = replace(start, channels=network.channels, summary=network.summary) == network
    return same and network.channels[: len(start.channels)] == start.channels
