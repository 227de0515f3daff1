"""The mean of several members' weights: often steadier than each, at the cost of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deeppsma.core.errors import ConfigurationError
from deeppsma.models.config import NetworkConfig
from deeppsma.models.weights import Member, write_member
from deeppsma.training.warm_start import starting_network


def average_members(members: Sequence[Member], out: Path) -> Member:
    """Freeze the mean of members' weights as a member.

    Parameters
    ----------
    members
        Two or more that went on from the same weights, or one from another:
        the mean of networks that have nothing in common is none. The last one
        gives the shape; the others may have been fed fewer channels (see
        `starting_network`).
    out
        Folder of the new member, whose name it bears.

    Raises
    ------
    ConfigurationError
        If there are fewer than two, or ``out`` is there.
    WeightsError
        If their networks differ.
    """
    if len(members) < 2:
        raise ConfigurationError("weights average", f"{len(members)} member", "name two or more")
    if out.exists():
        raise ConfigurationError(out, "something is there", "choose another folder")
    last = members[-1]
    if not isinstance(last.network, NetworkConfig):
        raise ConfigurationError(last.folder, "a model of nnU-Net", "average its folds by importing them together")
    states = [starting_network(last.network, member).state_dict() for member in members]
    mean = {key: sum(state[key] for state in states) / len(states) for key in states[-1]}
    return write_member(out, last.network, mean, _training(members))


def _training(members: Sequence[Member]) -> dict[str, Any]:
    last = members[-1]
    begun = (last.training.get("start") or {}).get("sha256")
    # What the last one went on from is said with it.
    seen = [member.trained_on for member in members[:-1] if member.sha256 != begun]
    data = "; averaged with: ".join([str(last.training.get("data", "unknown data")), *dict.fromkeys(seen)])
    averaged = [{"name": member.name, "sha256": member.sha256} for member in members]
    return {**last.training, "data": data, "averaged": averaged}
