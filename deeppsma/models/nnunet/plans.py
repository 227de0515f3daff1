"""Plans: what an nnU-Net model folder says of preprocessing, windows and architecture.

Read from ``plans.json`` and ``dataset.json`` of nnU-Net v2, new and old
formats. What would change the answer and is not known here is refused, never
ignored. Axes are those of SimpleITK's arrays, z, y, x, unless a name says
``planned``: then they are transposed as the plans ask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deeppsma.core.box import IndexZyx
from deeppsma.core.settings import from_plain
from deeppsma.models.unet_config import KINDS, STAGES_MAX, UNetConfig

#: Of channels: per image; from the training set's foreground; as they come; to 0..1 per image.
NORMALISATIONS = ("ZScoreNormalization", "CTNormalization", "NoNormalization", "RescaleTo01Normalization")
#: nnU-Net's own plans have a depth of three.
_INHERITED_MAX = 50
_RESAMPLER = "resample_data_or_seg_to_shape"


@dataclass(frozen=True)
class Normalisation:
    """How a channel's values are scaled.

    Parameters
    ----------
    scheme
        One of `NORMALISATIONS`.
    inside_only
        Z-score of the nonzero region alone, the rest stays 0.
    mean, std, low, high
        Of the training set, for CT.
    """

    scheme: str
    inside_only: bool = False
    mean: float = 0.0
    std: float = 1.0
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.scheme not in NORMALISATIONS:
            raise ValueError(f"unknown normalisation {self.scheme!r}; known are {', '.join(NORMALISATIONS)}")
        numbers = (self.mean, self.std, self.low, self.high)
        if not all(math.isfinite(value) for value in numbers) or not self.low <= self.high or self.std < 0:
            raise ValueError(f"impossible intensity properties of {self.scheme}")


@dataclass(frozen=True)
class Resampling:
    """Spline orders: in general, and along the coarse axis of anisotropic grids.

    ``separate_z`` None decides by the spacings, as nnU-Net does.
    """

    order: int
    order_z: int = 0
    separate_z: bool | None = None

    def __post_init__(self) -> None:
        if self.order not in range(6) or self.order_z not in range(6):
            raise ValueError(f"spline orders must be 0 to 5, not {self.order} and {self.order_z}")
        if self.separate_z not in (None, True, False):
            raise ValueError(f"force_separate_z must be true, false or null, not {self.separate_z!r}")


@dataclass(frozen=True)
class Plan:
    """Everything of a model folder that decides its answer, but the weights.

    Parameters
    ----------
    shape
        The architecture, on planned axes.
    patch_planned, spacing_planned
        Window, and voxel size in mm that images are resampled to.
    transpose
        Planned axis i is axis ``transpose[i]`` of z, y, x.
    normalisations
        By channel.
    image_resampling, answer_resampling
        Of images before, and of logits after the network.
    mirror_axes
        Planned axes along which the network may be run mirrored, too.
    """

    shape: UNetConfig
    patch_planned: IndexZyx
    spacing_planned: tuple[float, float, float]
    transpose: IndexZyx
    normalisations: tuple[Normalisation, ...]
    image_resampling: Resampling
    answer_resampling: Resampling
    mirror_axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if sorted(self.transpose) != [0, 1, 2]:
            raise ValueError(f"transposition must name axes 0, 1, 2 once each, not {self.transpose}")
        if len(self.patch_planned) != 3 or any(
            n < 1 or n % s for n, s in zip(self.patch_planned, self.shape.stride_zyx, strict=True)
        ):
            raise ValueError(f"patch {self.patch_planned} is no multiple of the network's {self.shape.stride_zyx}")
        if len(self.spacing_planned) != 3 or any(not 0 < mm < 100 for mm in self.spacing_planned):
            raise ValueError(f"spacing must be three numbers of mm, not {self.spacing_planned}")
        if len(self.normalisations) != self.shape.channels:
            raise ValueError(f"{len(self.normalisations)} normalisations for {self.shape.channels} channels")
        if set(self.mirror_axes) - {0, 1, 2} or len(set(self.mirror_axes)) != len(self.mirror_axes):
            raise ValueError(f"mirror axes must be among 0, 1, 2, not {self.mirror_axes}")

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Plan:
        """Plan from a manifest.

        Raises
        ------
        ValueError
            If a key is unknown or missing, or a value makes no sense.
        """
        try:
            values = dict(content)
            values["shape"] = UNetConfig.from_dict(values["shape"])
            values["normalisations"] = [from_plain(Normalisation, each) for each in values["normalisations"]]
            for name in ("image_resampling", "answer_resampling"):
                values[name] = from_plain(Resampling, values[name])
        except (KeyError, TypeError) as error:
            raise ValueError(f"incomplete ({error})") from None
        return from_plain(cls, values)

    def spacing_of(self, spacing_zyx: tuple[float, float, float]) -> tuple[float, float, float]:
        """Spacing of an image on planned axes."""
        a, b, c = (spacing_zyx[axis] for axis in self.transpose)
        return a, b, c


def read_plan(
    plans: Mapping[str, Any], dataset: Mapping[str, Any], configuration: str, mirror_axes: tuple[int, ...]
) -> Plan:
    """Plan of one configuration of a model folder.

    Parameters
    ----------
    plans, dataset
        Contents of ``plans.json`` and ``dataset.json``.
    configuration
        Such as "3d_fullres".
    mirror_axes
        Those that the checkpoint allows.

    Raises
    ------
    ValueError
        Says what is missing, or not supported.
    """
    try:
        settings = _inherited(plans["configurations"], configuration)
        if settings.get("previous_stage"):
            raise ValueError("a cascade's second stage, which needs another model's answer")
        names = dataset.get("channel_names") or dataset["modality"]
        shape = _shape(settings, len(names), _classes(dataset["labels"]))
        if settings.get("preprocessor_name", "DefaultPreprocessor") != "DefaultPreprocessor":
            raise ValueError(f"preprocessor {settings['preprocessor_name']!r}; only the default one is known")
        return Plan(
            shape,
            _three(settings["patch_size"], int),
            _three(settings["spacing"], float),
            _three(plans["transpose_forward"], int),
            _normalisations(settings, plans, shape.channels),
            _resampling(settings, "resampling_fn_data"),
            _answer_resampling(settings),
            mirror_axes,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"incomplete plans ({error!r})") from None


def _inherited(configurations: Mapping[str, Any], name: str) -> dict[str, Any]:
    chain: dict[str, dict[str, Any]] = {}
    wanted: Any = name
    while wanted is not None:
        if wanted not in configurations:
            raise ValueError(f"no configuration {wanted!r}; there are {', '.join(map(str, configurations))[:200]}")
        if wanted in chain or len(chain) == _INHERITED_MAX:
            raise ValueError(f"configurations inherit from each other: {', '.join(chain)[:200]}")
        chain[wanted] = dict(configurations[wanted])
        wanted = chain[wanted].pop("inherits_from", None)
    return {key: value for own in reversed(chain.values()) for key, value in own.items()}


def _classes(labels: Mapping[str, Any]) -> int:
    values = list(labels.values())
    if any(not isinstance(value, int) for value in values):
        raise ValueError(f"labels {dict(labels)}; they must be numbers, one for each class, and no regions")
    if "ignore" in labels:
        values.remove(labels["ignore"])
    if sorted(values) != list(range(len(values))) or len(values) < 2:
        raise ValueError(f"labels {dict(labels)}; they must be 0, 1, 2, ...")
    return len(values)


def _shape(settings: Mapping[str, Any], channels: int, classes: int) -> UNetConfig:
    if len(settings["patch_size"]) != 3:
        raise ValueError("a 2-D configuration; only 3-D ones are known")
    if "architecture" not in settings:  # plans of nnU-Net before 2.4
        kind = settings["UNet_class_name"]
        stages = len(settings["n_conv_per_stage_encoder"])
        most, base = settings["unet_max_num_features"], settings["UNet_base_num_features"]
        return UNetConfig.from_dict(
            {
                "kind": kind,
                "channels": channels,
                "class_count": classes,
                "features": [min(base * 2**i, most) for i in range(stages)],
                "kernels": settings["conv_kernel_sizes"],
                "strides": settings["pool_op_kernel_sizes"],
                "blocks": settings["n_conv_per_stage_encoder"],
                "decoder_convs": settings["n_conv_per_stage_decoder"],
            }
        )
    architecture = settings["architecture"]
    kind = str(architecture["network_class_name"]).rsplit(".", 1)[-1]
    if kind not in KINDS:
        raise ValueError(f"unknown architecture {kind!r}; known are {', '.join(KINDS)}")
    given = dict(architecture["arch_kwargs"])
    blocks = given.pop("n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage", None)
    stages = given.pop("n_stages")
    norm, nonlin = given.pop("norm_op_kwargs", None) or {}, given.pop("nonlin_kwargs", None) or {}
    shape = {
        "kind": kind,
        "channels": channels,
        "class_count": classes,
        "features": given.pop("features_per_stage"),
        "kernels": given.pop("kernel_sizes"),
        "strides": given.pop("strides"),
        "blocks": blocks,
        "decoder_convs": given.pop("n_conv_per_stage_decoder"),
        "conv_bias": given.pop("conv_bias", False),
        "norm_eps": norm.get("eps", 1e-5),
        "norm_affine": norm.get("affine", False),
        "negative_slope": nonlin.get("negative_slope", 0.01),
    }
    _known(given, norm, nonlin)
    if not isinstance(stages, int) or not 2 <= stages <= STAGES_MAX:
        raise ValueError(f"{stages} stages")
    for name in ("blocks", "decoder_convs"):  # one number stands for every stage
        if isinstance(shape[name], int):
            shape[name] = [shape[name]] * (stages - (name == "decoder_convs"))
    return UNetConfig.from_dict(shape)


def _known(rest: dict[str, Any], norm: Mapping[str, Any], nonlin: Mapping[str, Any]) -> None:
    """Refuse parts of an architecture that this package does not build."""
    wanted = {"conv_op": "Conv3d", "norm_op": "InstanceNorm3d", "nonlin": "LeakyReLU"}
    for name, known in wanted.items():
        found = str(rest.pop(name, None)).rsplit(".", 1)[-1]
        if found != known:
            raise ValueError(f"{name} {found}; only {known} is known")
    harmless = {"deep_supervision", "dropout_op_kwargs", "pool"}
    odd = {key: value for key, value in rest.items() if value not in (None, False) and key not in harmless}
    if odd or set(norm) - {"eps", "affine"} or set(nonlin) - {"inplace", "negative_slope"}:
        raise ValueError(f"an architecture with parts that are not known ({', '.join(odd) or 'norm or nonlin'})")


def _normalisations(settings: Mapping[str, Any], plans: Mapping[str, Any], channels: int) -> tuple[Normalisation, ...]:
    schemes, inside = settings["normalization_schemes"], settings["use_mask_for_norm"]
    if not len(schemes) == len(inside) == channels:
        raise ValueError(f"{len(schemes)} normalisations for the data set's {channels} channels")
    out = []
    for number, (scheme, masked) in enumerate(zip(schemes, inside, strict=True)):
        if scheme != "CTNormalization":
            out.append(Normalisation(scheme, bool(masked)))
            continue
        known = plans["foreground_intensity_properties_per_channel"][str(number)]
        low, high = known["percentile_00_5"], known["percentile_99_5"]
        out.append(Normalisation(scheme, False, float(known["mean"]), float(known["std"]), float(low), float(high)))
    return tuple(out)


def _answer_resampling(settings: Mapping[str, Any]) -> Resampling:
    how = _resampling(settings, "resampling_fn_probabilities")
    if (how.order, how.order_z) != (1, 0):
        raise ValueError(f"answers resampled by splines of order {how.order}, {how.order_z}; only 1, 0 is known")
    return how


def _resampling(settings: Mapping[str, Any], name: str) -> Resampling:
    if settings.get(name, _RESAMPLER) != _RESAMPLER:
        raise ValueError(f"{name} {settings[name]!r}; only nnU-Net's default is known")
    given = dict(settings.get(f"{name}_kwargs", {}))  # what is not said is nnU-Net's default
    if given.pop("is_seg", False):
        raise ValueError(f"{name} treats images as labels")
    order, order_z = given.pop("order", 3), given.pop("order_z", 0)
    separate = given.pop("force_separate_z", False)
    if given:
        raise ValueError(f"{name} with unknown settings {', '.join(given)}")
    return Resampling(order, order_z, separate)


def _three(values: Any, kind: type) -> tuple[Any, Any, Any]:
    a, b, c = (kind(value) for value in values)
    return a, b, c
