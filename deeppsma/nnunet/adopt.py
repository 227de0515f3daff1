"""What an nnU-Net model folder is to us: whose scans it sees, what it is fed, what its classes mean."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deeppsma.errors import ConfigurationError, WeightsError
from deeppsma.nnunet.folder import CHECKPOINT, ModelFolder, read_model_folder
from deeppsma.nnunet.model import ModelConfig
from deeppsma.organs import ORGAN_CLASSES
from deeppsma.tracer import Tracer
from deeppsma.weights import Member, check_sha256

if TYPE_CHECKING:
    import torch

#: What models of this many channels are fed, where nobody says otherwise (PaIRe report, section 2.2).
_USUAL = {2: ("ratio", "ct"), 10: ("ratio", "ct", *(f"organ-{name}" for name in ORGAN_CLASSES))}
_DISEASE, _NORMAL = ("ttb", "disease", "tumor", "tumour", "lesion"), ("normal", "norm", "physiological")
_BY_IMPORT = "'deeppsma weights import'"


@dataclass(frozen=True)
class ModelMember(Member):
    """A model folder used as it is: its checkpoints are read anew whenever weights are asked for.

    ``sha256`` is of the SHA-256 of its plans, data set and checkpoints, in
    the folds' order.
    """

    network: ModelConfig

    def _read_state(self) -> tuple[Mapping[str, torch.Tensor], Path]:
        check_sha256(_sha256(self.folder, self.network.folds), self.sha256, self.folder)
        return model_state(read_model_folder(self.folder, self.network.folds)), self.folder


def find_models(folder: Path) -> dict[str, Path]:
    """Model folders in a folder: a results folder, a data set's in it, or the model's own.

    Returns
    -------
    dict
        By name: the path from ``folder``, or the model's own name.
    """
    found = {}
    for pattern in ("plans.json", "*/plans.json", "*/*/plans.json"):
        for path in sorted(folder.glob(pattern)):
            if (path.parent / "dataset.json").is_file():
                name = path.parent.relative_to(folder).as_posix()
                found[folder.resolve().name if name == "." else name] = path.parent
    return found


def adopt_model(name: str, folder: Path) -> Member:
    """Member of a model folder that nobody has imported: every fold, not mirrored.

    Raises
    ------
    WeightsError
        If it is no model, or not known; one line.
    ConfigurationError
        If its name does not say whose scans it sees, or its data set what it
        is fed: then it must be imported.
    """
    model = read_model_folder(folder)
    said = [tracer for tracer in Tracer if tracer in f"{model.dataset_name} {name}".lower()]
    if len(said) != 1:
        remedy = f"name the tracer in the folder's name, or make a member of it with {_BY_IMPORT} --tracer"
        raise ConfigurationError(folder, "a model that may see PSMA or FDG scans", remedy)
    config = model_config(model, said[0], folder)
    training = {"data": f"unknown data; an nnU-Net model folder, {model.dataset_name or name}"}
    return ModelMember(name, folder, config, _sha256(folder, config.folds), training)


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
        Kinds of `deeppsma.network.CHANNEL_KINDS`; none for the usual ones of
        two or ten channels, the second called CT.
    mirrored
        See `ModelConfig`.

    Raises
    ------
    ConfigurationError
        If it must be said what the model is fed.
    WeightsError
        If no class is disease, or the channels do not fit.
    """
    names = [name.lower() for name in model.channel_names]
    # Only what is called so is taken for PET and CT without being told.
    usual = len(names) > 1 and "ct" in names[1] and "ct" not in names[0].replace("pet/ct", "")
    fed = tuple(channels) or (_USUAL.get(len(names), ()) if usual else ())
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


def model_state(model: ModelFolder) -> dict[str, torch.Tensor]:
    """Weights of all folds, named as in `deeppsma.nnunet.network.PlannedNetwork`."""
    return {f"folds.{n}.{key}": v for n, fold in enumerate(model.folds.values()) for key, v in fold.items()}


def _class(labels: Mapping[str, int], names: Sequence[str]) -> int | None:
    return next((value for name, value in labels.items() if name.lower() in names), None)


def _sha256(folder: Path, folds: Sequence[str]) -> str:
    files = [folder / "plans.json", folder / "dataset.json", *(folder / f"fold_{fold}" / CHECKPOINT for fold in folds)]
    whole = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise WeightsError(path, f"not readable ({error.strerror})", "copy the model's folder again") from None
    return whole.hexdigest()
