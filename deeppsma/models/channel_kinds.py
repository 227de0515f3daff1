"""Kinds of input channels: what each is made from, and what a network sees outside of it.

The one list of them. `deeppsma.preprocessing.channels` makes each; both families of networks (MONAI's DynUNet on the
crop of a space, nnU-Net on its planned grid) are fed from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deeppsma.core.anatomy import ORGAN_CLASSES
from deeppsma.core.tracer import Tracer

#: Contrasts are cut off here: seven times more, or less, says all there is to say.
CONTRAST_LIMIT = 2.0
ORGANS, CT = "organs", "ct"


@dataclass(frozen=True)
class ChannelKind:
    """What a kind of channel is made from.

    Parameters
    ----------
    meaning
        For people.
    needs
        "organs" (TotalSegmentator's map) or "ct" beside the PET; empty for
        the PET alone.
    required
        Whether it cannot be made where that is missing. Else the network sees
        no organs, or no CT.
    outside
        What the network sees outside of the grid.
    is_label
        Whether voxels are labels, which must not be interpolated.
    """

    meaning: str
    needs: str = ""
    required: bool = False
    outside: float = 0.0
    is_label: bool = False


#: By name. CDS: ``pet`` and ``organs``. PaIRe: ``ratio``, ``ct``, classes of organs as masks and as soft distances.
#: LesionTracer: ``suv``. Beyond them: ``contrast``, ``density``.
CHANNEL_KINDS: Mapping[str, ChannelKind] = {
    "pet": ChannelKind("PET over threshold, less 1", outside=-1.0),
    "organs": ChannelKind("TotalSegmentator's labels over 117", ORGANS, is_label=True),
    "ratio": ChannelKind("PET over threshold"),
    "suv": ChannelKind("PET in SUV"),
    "ct": ChannelKind("CT", CT, required=True),
    "density": ChannelKind("CT over 1000, from -1 to 1; 0 where there is none", CT, outside=-1.0),
    "contrast": ChannelKind("uptake against the organ's own", ORGANS, outside=-CONTRAST_LIMIT),
    **{f"organ-{name}": ChannelKind(f"{name}, as a mask", ORGANS, required=True) for name in ORGAN_CLASSES},
    **{f"sdf-{name}": ChannelKind(f"{name}, as a soft distance", ORGANS, required=True) for name in ORGAN_CLASSES},
}


def tracer_and_kind(channel: str) -> tuple[Tracer, str]:
    """What ``{tracer}_{kind}`` names.

    Raises
    ------
    ValueError
        If there is no such tracer or kind.
    """
    name, _, kind = channel.partition("_")
    if kind not in CHANNEL_KINDS:
        raise ValueError(f"unknown channel {channel!r}; kinds are {', '.join(CHANNEL_KINDS)}")
    return Tracer(name), kind
