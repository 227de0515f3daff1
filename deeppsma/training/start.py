"""What a training starts from: random weights, or those of a member, who may have been fed less."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from deeppsma.errors import WeightsError
from deeppsma.network import NetworkConfig, build_network
from deeppsma.weights import Member

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
    known = start.network.channels
    same = replace(start.network, channels=network.channels, summary=network.summary) == network
    if not same or network.channels[: len(known)] != known:
        found = "a network of another shape than the settings name"
        raise WeightsError(start.folder, found, "choose the settings that this member was trained with")
    begun = start.load().state_dict()
    with torch.no_grad():
        for name, weights in built.state_dict().items():
            before = begun[name]
            if weights.shape != before.shape:  # a first convolution, [filter, channel, z, y, x]
                weights[:, before.shape[1] :] = 0
                weights[:, : before.shape[1]] = before
            else:
                weights.copy_(before)
    return built
