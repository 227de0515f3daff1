"""The network: its configuration, and the MONAI DynUNet built from it.

Source: CDS report, section 2.2, and the team's published settings: residual
blocks, kernels of 3, instance norm, LeakyReLU 0.01, deep supervision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deeppsma.core.box import IndexZyx
from deeppsma.core.errors import ConfigurationError
from deeppsma.core.geometry import Geometry
from deeppsma.core.settings import from_plain, read_toml
from deeppsma.core.tracer import Tracer
from deeppsma.models.channel_kinds import CHANNEL_KINDS, ChannelKind, tracer_and_kind
from deeppsma.models.unet_config import FEATURES_MAX, STAGES_MAX, STRIDE_MAX, WINDOW_MAX, UNetConfig, total_stride

if TYPE_CHECKING:
    pass

ARCHITECTURES = ("dynunet", "plain", "resenc")
EMBEDDING_MAX = 256
#: Heads beside the last one that are trained (CDS: three in all).
DEEP_SUPERVISION_HEADS = 2


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that decides a network's shape and what it is fed.

    Parameters
    ----------
    channels
        Input channels in order, ``{tracer}_{kind}`` with a kind of
        `deeppsma.models.channel_kinds.CHANNEL_KINDS`.
    outputs
        Either both tracers, each "disease or not"; or "background", a tracer,
        and ``{tracer}_normal``: classes that exclude each other.
    filters, strides
        Per level; strides per axis z, y, x.
    architecture
        "dynunet" (CDS: MONAI's, residual), "plain" or "resenc" (nnU-Net's).
    blocks
        Per level, of "plain" and "resenc"; see `deeppsma.models.unet_config`.
    patch_zyx
        Window and training patch, voxels of the working grid.
    working_spacing_mm
        0: the native grid. Else the network works on blocks of native voxels,
        whole numbers of them per axis, as near to this size as they come.
    organ_embedding
        0: an organ channel is label / 117, as in the report. Else the network
        learns this many features per label.
    summary
        One line for people.
    """

    channels: tuple[str, ...]
    outputs: tuple[str, ...]
    filters: tuple[int, ...]
    strides: tuple[IndexZyx, ...]
    patch_zyx: IndexZyx
    working_spacing_mm: float = 0.0
    organ_embedding: int = 0
    summary: str = ""
    architecture: str = "dynunet"
    blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        allowed = [f"{tracer}_{kind}" for tracer in Tracer for kind in CHANNEL_KINDS]
        if unknown := set(self.channels) - set(allowed):
            raise ValueError(f"unknown channels {sorted(unknown)}; known are {', '.join(allowed)}")
        if len(set(self.channels)) != len(self.channels) or not self.channels:
            raise ValueError(f"channels must be named once each, not {self.channels}")
        if self.outputs not in _possible_outputs():
            raise ValueError(f"outputs must be both tracers, or background, a tracer and its normal: {self.outputs}")
        if self.architecture not in ARCHITECTURES or bool(self.blocks) == (self.architecture == "dynunet"):
            raise ValueError(f"architecture must be one of {ARCHITECTURES}, the latter two with blocks")
        if len(self.filters) != len(self.strides) or len(self.filters) < DEEP_SUPERVISION_HEADS + 2:
            raise ValueError(
                f"{len(self.filters)} filters and {len(self.strides)} strides: need one a level, four levels or more"
            )
        numbers = [*self.filters, *self.patch_zyx, *(step for level in self.strides for step in level)]
        if any(not isinstance(n, int) or n < 1 for n in numbers):
            raise ValueError("filters, strides and patch must be whole numbers above 0")
        self._check_limits()
        if len(self.patch_zyx) != 3 or any(len(level) != 3 for level in self.strides):
            raise ValueError("patch and strides need three numbers, z, y, x")
        if tuple(self.strides[0]) != (1, 1, 1):
            raise ValueError(f"the first level keeps its resolution: strides 1, 1, 1, not {self.strides[0]}")
        whole = isinstance(self.organ_embedding, int)
        if not 0 <= self.working_spacing_mm < 100 or not whole or not 0 <= self.organ_embedding <= EMBEDDING_MAX:
            raise ValueError(
                f"working spacing must be 0 to 100 mm, and the organ embedding a whole number to {EMBEDDING_MAX}"
            )
        if self.architecture != "dynunet":
            if self.organ_embedding:
                raise ValueError("only dynunet embeds organ labels")
            self.unet_shape()
        if not self.accepts(self.patch_zyx):
            raise ValueError(f"patch {self.patch_zyx} is no multiple of the network's {self.stride_zyx}, or just that")

    def _check_limits(self) -> None:
        if (
            len(self.filters) > STAGES_MAX
            or max(self.filters) > FEATURES_MAX
            or max(self.patch_zyx) > WINDOW_MAX
            or max(step for level in self.strides for step in level) > STRIDE_MAX
        ):
            raise ValueError("levels, filters, strides or patch beyond any network's")

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> NetworkConfig:
        """Configuration from TOML or JSON.

        Raises
        ------
        ValueError
            If a key is unknown or missing, or a value makes no sense.
        """
        return from_plain(cls, content)

    @property
    def tracers(self) -> tuple[Tracer, ...]:
        """Whom the network answers for."""
        return tuple(Tracer(name) for name in self.outputs if name in set(Tracer))

    @property
    def exclusive(self) -> bool:
        """Whether the outputs are classes that exclude each other (softmax), not answers of their own (sigmoid)."""
        return "background" in self.outputs

    def rows(self, tracer: Tracer) -> tuple[int, ...]:
        """A tracer's rows of the output: its own, or all classes."""
        return tuple(range(len(self.outputs))) if self.exclusive else (self.outputs.index(tracer.value),)

    def unet_shape(self) -> UNetConfig:
        """Shape of a "plain" or "resenc" network.

        Raises
        ------
        ValueError
            If blocks and filters do not go together.
        """
        levels = len(self.filters)
        return UNetConfig(
            "PlainConvUNet" if self.architecture == "plain" else "ResidualEncoderUNet",
            len(self.channels),
            len(self.outputs),
            self.filters,
            ((3, 3, 3),) * levels,
            self.strides,
            self.blocks,
            (2 if self.architecture == "plain" else 1,) * (levels - 1),
        )

    @property
    def stride_zyx(self) -> IndexZyx:
        """Product of the strides: a patch must be a multiple of it."""
        return total_stride(self.strides)

    def accepts(self, patch_zyx: IndexZyx) -> bool:
        """Whether the network can run on a window: whole voxels, and more than one, on its deepest level."""
        steps = self.stride_zyx
        whole = all(size > 0 and size % step == 0 for size, step in zip(patch_zyx, steps, strict=True))
        return whole and any(size > step for size, step in zip(patch_zyx, steps, strict=True))

    def kinds(self, tracer: Tracer) -> list[ChannelKind]:
        """Kinds of the channels that are made from a tracer's session."""
        named = [tracer_and_kind(name) for name in self.channels]
        return [CHANNEL_KINDS[kind] for owner, kind in named if owner is tracer]

    def needs(self, what: str, tracer: Tracer) -> bool:
        """Whether a channel is made from a tracer's "organs" or "ct"."""
        return any(kind.needs == what for kind in self.kinds(tracer))

    def requires(self, what: str, tracer: Tracer) -> bool:
        """Whether the network cannot do without a tracer's "organs" or "ct"."""
        return any(kind.needs == what and kind.required for kind in self.kinds(tracer))

    @property
    def organ_channels(self) -> list[int]:
        """Which input channels hold organ labels."""
        return [i for i, name in enumerate(self.channels) if CHANNEL_KINDS[tracer_and_kind(name)[1]].is_label]

    @property
    def outside_values(self) -> list[float]:
        """What each input channel holds outside the grid: no uptake, no organ, the CT's mean."""
        return [CHANNEL_KINDS[tracer_and_kind(name)[1]].outside for name in self.channels]

    def block_zyx(self, native: Geometry) -> IndexZyx:
        """How many native voxels per axis make one voxel of the working grid."""
        if self.working_spacing_mm == 0:
            return 1, 1, 1
        z, y, x = (max(1, round(self.working_spacing_mm / s)) for s in native.spacing_zyx)
        return z, y, x


def load_network(name: str, tracer: str = "") -> NetworkConfig:
    """Network configuration of a file in ``resources/networks``.

    In a file for one tracer ``{tracer}`` stands for it.

    Raises
    ------
    ConfigurationError
        If the file is missing, a value makes no sense, or a tracer is given
        to a network of both, or none to one of one.
    """
    path, content = read_toml("networks", name)
    open_to = "{tracer}" in str(content)
    if open_to != bool(tracer):
        found = "a network for one tracer" if open_to else "a network for both tracers"
        raise ConfigurationError("--tracer", f"{name} is {found}", "name psma or fdg" if open_to else "leave it out")
    for key in ("channels", "outputs") if open_to else ():
        content[key] = [str(each).replace("{tracer}", tracer) for each in content[key]]
    try:
        return NetworkConfig.from_dict(content)
    except ValueError as error:
        raise ConfigurationError(path, str(error), "mend the file") from None


def _possible_outputs() -> list[tuple[str, ...]]:
    first, second = (tracer.value for tracer in Tracer)
    return [(first, second), (second, first), *(("background", name, f"{name}_normal") for name in (first, second))]
