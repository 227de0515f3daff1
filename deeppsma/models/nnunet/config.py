"""An nnU-Net model as a member: what it is fed, and what its classes mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.anatomy import LABEL_MAX, ORGAN_CLASSES
from deeppsma.core.box import Box
from deeppsma.core.resampling import resample
from deeppsma.core.settings import from_plain
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.inference.nnunet import planned_weights, planned_windows
from deeppsma.inference.sliding_window import cut
from deeppsma.inference.task import Prediction, needed_voxels
from deeppsma.models.config import CHANNEL_KINDS
from deeppsma.models.nnunet.plans import Plan
from deeppsma.preprocessing.channels import AIR_HU, soft_organ
from deeppsma.preprocessing.nnunet import MadeChannels, MakeImage, prepare
from deeppsma.preprocessing.organ_contrast import organ_contrast
from deeppsma.preprocessing.spaces import Space


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
        `deeppsma.models.config.CHANNEL_KINDS`.
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
            if how.scheme == "CTNormalization" and kind != "ct":
                raise ValueError(f"{kind} in the place of a channel that the plans normalise as a CT")
        if not self.folds or len(set(self.folds)) != len(self.folds):
            raise ValueError(f"folds must be named once each, not {self.folds}")
        known = [self.disease] if self.normal == -1 else [self.disease, self.normal]
        if sorted([0, *known]) != list(range(self.plan.shape.classes)):
            raise ValueError(f"{self.plan.shape.classes} classes; wanted are background, disease and, if any, normal")

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
    def classes(self) -> bool:
        """Its outputs exclude each other."""
        return True

    def needs(self, what: str, tracer: Tracer) -> bool:
        """As `deeppsma.models.config.NetworkConfig.needs`; here no organ map can be missing."""
        kinds = ("ct",) if what == "ct" else ("organ", "sdf-", "contrast")
        return tracer is self.tracer and any(kind.startswith(kinds) for kind in self.channels)


def plan_model_prediction(
    config: ModelConfig,
    space: Space,
    pet: Volume,
    threshold_suv: float,
    organs: Volume | None,
    ct: Volume | None,
    made: MadeChannels | None = None,
    device: str = "cpu",
) -> Prediction:
    """What a model has to do on its tracer's own space.

    Parameters
    ----------
    config
        The model.
    space
        Of its tracer.
    pet
        The tracer's whole PET: a model is fed all of it, as it was trained.
    threshold_suv
        Of the tracer.
    organs, ct
        On grids of their own; needed if a channel is made from them.
    made
        Channels that other models are fed on this space, too; see
        `deeppsma.preprocessing.nnunet.prepare`.
    device
        Where images are resampled: "cuda" or "cpu".

    Raises
    ------
    ValueError
        If one is missing.
    """
    plan, tracer = config.plan, config.tracer
    channels = _channels(config, pet, threshold_suv, organs, ct)
    prepared = prepare(channels, pet.geometry.spacing_zyx, plan, made, device)
    native = np.zeros(pet.geometry.shape_zyx, dtype=bool)
    native[space.box.slices] = space.needed[tracer]
    index = {tracer: prepared.index_of(native)}

    def window_input(window: Box) -> NDArray[np.float32]:
        return cut(prepared.channels, window)

    known = (0, config.disease) if config.normal == -1 else (0, config.disease, config.normal)
    rows = tuple(fold * plan.shape.classes + row for fold in range(len(config.folds)) for row in known)
    return Prediction(
        space,
        window_input,
        {tracer: rows},
        index,
        needed_voxels(space, index, prepared.shape),
        planned_windows(prepared.shape, plan.patch_planned),
        [],
        planned_weights(plan.patch_planned),
        len(config.folds),
    )


def _channels(
    config: ModelConfig, pet: Volume, threshold_suv: float, organs: Volume | None, ct: Volume | None
) -> list[tuple[str, MakeImage]]:
    """Images on the PET's grid by kind, made when they are asked for."""

    @cache
    def label_map() -> NDArray:
        if organs is None:
            raise ValueError(f"no {config.tracer.upper()} organ map")
        return resample(organs, pet.geometry, labels=True)

    def image(kind: str) -> NDArray:
        if kind in ("pet", "ratio"):
            return pet.voxels / np.float32(threshold_suv) - np.float32(kind == "pet")
        if kind == "ct":
            if ct is None:
                raise ValueError(f"no {config.tracer.upper()} CT")
            return resample(ct, pet.geometry, outside=AIR_HU)
        if kind == "organs":
            return label_map() / np.float32(LABEL_MAX)
        if kind == "contrast":
            return organ_contrast(pet.voxels, label_map(), threshold_suv)
        what, organ = kind.split("-")
        mask = np.isin(label_map(), ORGAN_CLASSES[organ])
        return mask.astype(np.float32) if what == "organ" else soft_organ(mask, pet.geometry.spacing_zyx)

    return [(kind, partial(image, kind)) for kind in config.channels]
