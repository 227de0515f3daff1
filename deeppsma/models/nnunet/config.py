"""An nnU-Net model as a member: what it is fed, and what its classes mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deeppsma.core.settings import from_plain
from deeppsma.core.tracer import Tracer
from deeppsma.models.channel_kinds import CHANNEL_KINDS, ChannelKind
from deeppsma.models.nnunet.plans import Plan


@dataclass(frozen=True)
class ModelConfig:
    """An imported model.

    Parameters
    ----------
    plan
        Preprocessing, windows, architecture.
    tracer
        Whose scans it sees.
    channels
        What it is fed, in its own order: kinds of
        `deeppsma.models.channel_kinds.CHANNEL_KINDS`.
    folds
        Their names.
    disease, normal
        Classes: disease, and normal uptake (-1 if it knows none); the
        background is 0.
    mirrored
        Average over mirrored images, too, as nnU-Net does unless told not to.
    summary
        One line for people.
    """

    plan: Plan
    tracer: Tracer
    channels: tuple[str, ...]
    folds: tuple[str, ...]
    disease: int = 1
    normal: int = -1
    mirrored: bool = False
    summary: str = ""

    def __post_init__(self) -> None:
        if unknown := set(self.channels) - set(CHANNEL_KINDS):
            raise ValueError(f"unknown channels {sorted(unknown)}; known are {', '.join(CHANNEL_KINDS)}")
        if len(self.channels) != self.plan.shape.channels:
            raise ValueError(f"{len(self.channels)} channels named, and the model has {self.plan.shape.channels}")
        for kind, how in zip(self.channels, self.plan.normalisations, strict=True):
            if how.scheme == "CTNormalization" and kind not in ("ct", "suv"):
                raise ValueError(f"{kind} in the place of a channel that the plans normalise as a CT")
        if not self.folds or len(set(self.folds)) != len(self.folds):
            raise ValueError(f"folds must be named once each, not {self.folds}")
        known = [self.disease] if self.normal == -1 else [self.disease, self.normal]
        if sorted([0, *known]) != list(range(self.plan.shape.class_count)):
            raise ValueError(
                f"{self.plan.shape.class_count} classes; wanted are background, disease and, if any, normal"
            )

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ModelConfig:
        """Configuration from a manifest.

        Raises
        ------
        ValueError
            If a key is unknown or missing, or a value makes no sense.
        """
        try:
            values = dict(content)
            values["plan"], values["tracer"] = Plan.from_dict(values["plan"]), Tracer(values["tracer"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"incomplete ({error})") from None
        return from_plain(cls, values)

    @property
    def tracers(self) -> tuple[Tracer, ...]:
        """Whom the model answers for."""
        return (self.tracer,)

    @property
    def exclusive(self) -> bool:
        """Its outputs exclude each other."""
        return True

    def kinds(self, tracer: Tracer) -> list[ChannelKind]:
        """Kinds of the channels that are made from a tracer's session."""
        return [CHANNEL_KINDS[kind] for kind in self.channels] if tracer is self.tracer else []

    def needs(self, what: str, tracer: Tracer) -> bool:
        """Whether a channel is made from a tracer's "organs" or "ct"."""
        return any(kind.needs == what for kind in self.kinds(tracer))

    def requires(self, what: str, tracer: Tracer) -> bool:
        """As `needs`: it is not known that such a model does without what it was trained with."""
        return self.needs(what, tracer)

    @property
    def known_classes(self) -> tuple[int, ...]:
        """Its classes in the order background, disease, and normal if it knows that."""
        return (0, self.disease) if self.normal == -1 else (0, self.disease, self.normal)
