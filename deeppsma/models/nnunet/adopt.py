"""What an nnU-Net model folder is to us: whose scans it sees, what it is fed, what its classes mean."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deeppsma.core.anatomy import ORGAN_CLASSES
from deeppsma.core.errors import ConfigurationError, WeightsError
from deeppsma.core.hashing import file_sha256
from deeppsma.core.tracer import Tracer
from deeppsma.models.nnunet.config import ModelConfig
from deeppsma.models.nnunet.folder import CHECKPOINT, ModelFolder, read_model_folder
from deeppsma.models.weights import Member

if TYPE_CHECKING:
    import torch

_DISEASE, _NORMAL = ("ttb", "disease", "tumor", "tumour", "lesion"), ("normal", "norm", "physiological")
#: Where plans may lie: in a model's own folder, a data set's, or a results folder.
_PLANS = ("plans.json", "*/plans.json", "*/*/plans.json")
_BY_IMPORT = "'deeppsma weights import'"
#: What a channel of PET over threshold is called (plain SUV is another thing); nnU-Net's own names of
#: normalisations among them, as the organisers have it.
_PET = re.compile(r"pet|ratio|nonorm", re.IGNORECASE)
_CT = re.compile(r"(?<![a-z])ct(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class ModelMember(Member):
    """A model folder used as it is: its checkpoints are read anew whenever weights are asked for.

    ``sha256`` is of the SHA-256 of its plans, data set and checkpoints, in
    the folds' order.
    """

    network: ModelConfig

    def read_state(self) -> tuple[Mapping[str, torch.Tensor], Path]:
        """Weights by parameter, verified to be those of ``sha256``; and the folder, for messages."""
        if _sha256(self.folder, self.network.folds) != self.sha256:
            raise WeightsError(self.folder, "changed while it was in use", "run again when nothing is written there")
        return model_state(read_model_folder(self.folder, self.network.folds)), self.folder


def find_models(folder: Path) -> dict[str, Path]:
    """Model folders in a folder: a results folder, a data set's in it, or the model's own.

    Any folder with plans and folds counts, whole or not: one that cannot be
    used is refused when it is read, not passed over.

    Returns
    -------
    dict
        By name: the path from ``folder``, or the model's own name.
    """
    if _is_model(folder):
        return {folder.resolve().name: folder}
    places = (path.parent for pattern in _PLANS[1:] for path in sorted(folder.glob(pattern)))
    return {place.relative_to(folder).as_posix(): place for place in places if _is_model(place)}


def plans_without_folds(folder: Path) -> list[Path]:
    """Folders with an nnU-Net's plans and no folds beside them: what a download that lost its weights leaves."""
    places = (path.parent for pattern in _PLANS for path in sorted(folder.glob(pattern)))
    return [place for place in places if not _is_model(place)]


def _is_model(folder: Path) -> bool:
    # nnU-Net copies plans and data set beside results of other kinds, too; those have no folds.
    return (folder / "plans.json").is_file() and any(path.is_dir() for path in folder.glob("fold_*"))


def adopt_model(name: str, folder: Path, mirrored: bool = False, folds: Sequence[str] = ()) -> ModelMember:
    """Member of a model folder that nobody has imported.

    Parameters
    ----------
    name
        Of the member; it may say whose scans the model sees.
    folder
        The model folder.
    mirrored
        See `ModelConfig`.
    folds
        None for every fold there.

    Raises
    ------
    WeightsError
        If it is no model, or not known; one line.
    ConfigurationError
        If its name does not say whose scans it sees, or its data set what it
        is fed: then it must be imported.
    """
    model = read_model_folder(folder, folds)
    refuse_swapped(folder, model.dataset_name)
    tracer = tracer_of(name) or tracer_of(model.dataset_name)
    if tracer is None:
        found = f"neither its name, {name}, nor its data set's, {model.dataset_name!r}, says PSMA or FDG alone"
        remedy = f"make a member of it with {_BY_IMPORT} --tracer, or leave it out"
        raise ConfigurationError(folder, found, remedy)
    config = model_config(model, tracer, folder, mirrored=mirrored)
    training = {"data": _trained_on(name, model)}
    return ModelMember(name, folder, config, _sha256(folder, config.folds), training)


def _trained_on(name: str, model: ModelFolder) -> str:
    by = {"gtrc": "GTRC-Net", "lesiontracer": "LesionTracer"}.get(name.split("-", maxsplit=1)[0], "")
    if not by:
        return f"unknown data; an nnU-Net model folder, {model.dataset_name or name}"
    return f"{model.cases} scans, as its data set says; {by}, {model.dataset_name}"


def refuse_swapped(folder: Path, dataset_name: str, tracer: Tracer | None = None) -> None:
    """Refuse a model whose plans are of another tracer than its folder, or than asked for.

    Raises
    ------
    WeightsError
        One line that names both.
    """
    said, place = tracer_of(dataset_name), folder.resolve().parent.name
    if said is not None and tracer_of(place) not in (None, said):
        remedy = "the folders were swapped: put each back where it belongs"
        raise WeightsError(folder, f"lies in {place}, and its plans are of {dataset_name}", remedy)
    if said is not None and tracer not in (None, said):
        raise WeightsError(
            folder, f"a model for {said.upper()} scans ({dataset_name})", f"not one for {tracer.upper()}"
        )


def tracer_of(name: str) -> Tracer | None:
    """The tracer that a name says; the challenge's own name says none."""
    rest = re.sub(r"deep[-_ ]?psma", "", name.lower())
    said = [tracer for tracer in Tracer if tracer in rest]
    return said[0] if len(said) == 1 else None


def model_config(
    model: ModelFolder, tracer: Tracer, source: Path, channels: Sequence[str] = (), mirrored: bool = False
) -> ModelConfig:
    """Configuration of a model.

    Parameters
    ----------
    model
        What its folder holds.
    tracer
        Whose scans it sees.
    source
        The folder, for messages.
    channels
        Kinds of `deeppsma.models.channel_kinds.CHANNEL_KINDS`; none for what the model's
        own names say without doubt, see `usual_channels`.
    mirrored
        See `ModelConfig`.

    Raises
    ------
    ConfigurationError
        If it must be said what the model is fed.
    WeightsError
        If no class is disease, or the channels do not fit.
    """
    fed = tuple(channels) or usual_channels(model.channel_names, [each.scheme for each in model.plan.normalisations])
    if not fed:
        found = f"the model is fed {', '.join(model.channel_names)}"
        remedy = f"name a kind for each with {_BY_IMPORT} --channels: ratio, ct, organ-spleen, sdf-spleen, ..."
        raise ConfigurationError(source, found, remedy)
    disease, normal = _class(model.labels, _DISEASE), _class(model.labels, _NORMAL)
    if disease is None:
        remedy = f"call the class one of {', '.join(_DISEASE)} in dataset.json"
        raise WeightsError(source, f"no class of disease among {', '.join(model.labels)}", remedy)
    try:
        return ModelConfig(
            model.plan,
            tracer,
            fed,
            tuple(model.folds),
            disease,
            -1 if normal is None else normal,
            mirrored,
            f"{model.plan.shape.kind}, {', '.join(fed)}, {len(model.folds)} fold(s)",
        )
    except ValueError as error:
        raise WeightsError(source, str(error), "give a model of this challenge, or other --channels") from None


def usual_channels(names: Sequence[str], schemes: Sequence[str] = ()) -> tuple[str, ...]:
    """Kinds of channels by their names: PET over threshold, CT, then classes of organs as masks or distances.

    Or CT, then PET in SUV, where the latter is scaled by the training set's
    own statistics, as LesionTracer's is.

    Parameters
    ----------
    names
        In the model's order.
    schemes
        Their normalisations.

    Returns
    -------
    tuple of str
        Empty if a name leaves a doubt.
    """
    by_statistics = tuple(schemes) == ("CTNormalization", "CTNormalization")
    if by_statistics and len(names) == 2 and _CT.search(names[0]) and re.search(r"pet|suv", names[1], re.IGNORECASE):
        return "ct", "suv"
    if len(names) < 2 or not _PET.search(names[0]) or not _CT.search(names[1]) or _PET.search(names[1]):
        return ()
    kinds = ["ratio", "ct"]
    for name in names[2:]:
        organs = [organ for organ in ORGAN_CLASSES if re.search(rf"(?<![a-z]){organ.rstrip('s')}", name.lower())]
        if len(organs) != 1:
            return ()
        distance = re.search(r"sdf|distance", name, re.IGNORECASE)
        kinds.append(f"{'sdf' if distance else 'organ'}-{organs[0]}")
    return tuple(kinds)


def model_state(model: ModelFolder) -> dict[str, torch.Tensor]:
    """Weights of all folds, named as in `deeppsma.models.nnunet.network.PlannedNetwork`."""
    return {f"folds.{n}.{key}": v for n, fold in enumerate(model.folds.values()) for key, v in fold.items()}


def _class(labels: Mapping[str, int], names: Sequence[str]) -> int | None:
    return next((value for name, value in labels.items() if name.lower() in names), None)


def _sha256(folder: Path, folds: Sequence[str]) -> str:
    files = [folder / "plans.json", folder / "dataset.json", *(folder / f"fold_{fold}" / CHECKPOINT for fold in folds)]
    whole = hashlib.sha256()
    for path in files:
        try:
            whole.update(bytes.fromhex(file_sha256(path)))
        except OSError as error:
            raise WeightsError(path, f"not readable ({error.strerror})", "copy the model's folder again") from None
    return whole.hexdigest()
