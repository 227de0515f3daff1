"""Read an nnU-Net model folder: plans, data set, checkpoints. Nothing in it is executed."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deeppsma.core.errors import WeightsError
from deeppsma.core.memory import raise_if_short
from deeppsma.core.settings import read_json
from deeppsma.models.git_lfs import refuse_lfs_pointer
from deeppsma.models.nnunet.plans import Plan, read_plan
from deeppsma.models.tensors import parameters_of, unfit

if TYPE_CHECKING:
    import torch

_REMEDY = "give a model folder of nnUNet_results, with plans.json, dataset.json and fold_*/checkpoint_*.pth"
#: Of each fold, where nobody says otherwise.
CHECKPOINT = "checkpoint_final.pth"
#: LesionTracer's second head, for organs: inference does not use it.
_ORGAN_HEAD = "decoder.organ_seg_layers."
#: The decoder of nnU-Net's networks names the encoder a second time, and blocks name their parts twice.
_REPEATED = ("decoder.encoder.", ".all_modules.")


@dataclass(frozen=True)
class ModelFolder:
    """What a folder holds.

    Parameters
    ----------
    plan
        Preprocessing, windows, architecture.
    channel_names, labels
        As the data set calls them.
    dataset_name
        As the plans call it; may be empty.
    folds
        Weights by fold, in the folds' order.
    cases
        How many it was trained on, as the data set says; 0 if it does not.
    """

    plan: Plan
    channel_names: tuple[str, ...]
    labels: Mapping[str, int]
    dataset_name: str
    folds: Mapping[str, Mapping[str, torch.Tensor]]
    cases: int = 0


def read_model_folder(folder: Path, folds: Sequence[str] = (), checkpoint: str = CHECKPOINT) -> ModelFolder:
    """Read a model folder.

    Parameters
    ----------
    folder
        Such as ``nnUNet_results/Dataset801_X/nnUNetTrainer__nnUNetPlans__3d_fullres``.
    folds
        "0", "all", ...; none for every fold that is there.
    checkpoint
        File of each fold.

    Raises
    ------
    WeightsError
        One line: which file, what was found, what to do.
    """
    for name in ("plans.json", "dataset.json"):
        if not (folder / name).is_file():
            raise WeightsError(folder, f"no {name} there", _REMEDY)
    plans, dataset = (read_json(folder / name, _REMEDY, WeightsError) for name in ("plans.json", "dataset.json"))
    channel_names, labels = _said(dataset, folder / "dataset.json")
    chosen = list(folds) or _folds_in(folder, checkpoint)
    plan: Plan | None = None
    kept = {}
    for fold in chosen:
        path = folder / f"fold_{fold}" / checkpoint
        content = read_checkpoint(path)  # one at a time: an optimiser's state is twice as large as the weights
        try:
            mirrors = tuple(int(axis) for axis in content.get("inference_allowed_mirroring_axes") or ())
            configuration = content["init_args"]["configuration"]
            first = plan or read_plan(plans, dataset, configuration, mirrors)
            # A checkpoint brings the plans that it was trained by.
            if read_plan(content["init_args"].get("plans", plans), dataset, configuration, mirrors) != first:
                raise WeightsError(
                    path, "trained by other plans than the folder's", "keep each model in its own folder"
                )
            plan, state = first, content["network_weights"]
        except (ValueError, OverflowError, RecursionError) as error:
            raise WeightsError(folder / "plans.json", str(error), "give a model that this package knows") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise WeightsError(folder, f"no nnU-Net model ({error!r})", _REMEDY) from None
        kept[fold] = _fitting(state, plan, path)
    if plan is None:
        raise WeightsError(folder, f"no fold_*/{checkpoint} there", _REMEDY)
    said = dataset.get("numTraining")
    cases = said if isinstance(said, int) else 0
    return ModelFolder(plan, channel_names, labels, str(plans.get("dataset_name", "")), kept, cases)


def _folds_in(folder: Path, checkpoint: str) -> list[str]:
    """Every fold; one that has no checkpoint is not passed over."""
    places = sorted(path for path in folder.glob("fold_*") if path.is_dir())
    for place in places:
        if not (place / checkpoint).is_file():
            remedy = "finish its training, or import the folds that are finished, with --folds"
            raise WeightsError(place, f"no {checkpoint} there", remedy)
    names = [place.name.removeprefix("fold_") for place in places]
    if gap := missing_fold(names):
        have = " ".join(names)
        raise WeightsError(folder, f"no fold_{gap} there, but folds {have}", f"copy it, or import with --folds {have}")
    return names


def missing_fold(names: Sequence[str]) -> str:
    """The first number that is missing among numbered folds; empty if none is."""
    numbers = {int(name) for name in names if name.isdecimal()}
    return next((str(n) for n in range(max(numbers, default=-1)) if n not in numbers), "")


def _said(dataset: Any, path: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    """Names of the channels in their order, and labels, as a data set has them."""
    try:
        names = dataset.get("channel_names") or dataset["modality"]
        ordered = tuple(str(names[key]) for key in sorted(names, key=int))
        return ordered, {str(name): value for name, value in dataset["labels"].items()}
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        found = f"no channel_names and labels as nnU-Net v2 has them ({error!r})"
        raise WeightsError(path, found, "give the dataset.json of this very training") from None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Content of a checkpoint: tensors, numbers and text; anything that asks to be run is refused.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or holds more than that.
    """
    import torch

    try:
        refuse_lfs_pointer(path)
        _check_sums(path)
        with torch.serialization.safe_globals(_plain_numbers()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(path, f"not readable ({error.strerror})", _REMEDY) from None
    except pickle.UnpicklingError as error:
        asked = _asked(error)
        if asked:
            raise WeightsError(path, f"it asks for code to be run ({asked})", "do not trust this file") from None
        raise WeightsError(path, "damaged, or no checkpoint", "copy the file again") from None
    except Exception as error:  # noqa: BLE001 - the unpickler raises whatever it is that a spoilt file makes of it
        raise_if_short(error)
        detail = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise WeightsError(path, f"damaged, or no checkpoint ({detail})", "copy the file again") from None
    if not isinstance(content, dict):
        raise WeightsError(path, f"a {type(content).__name__}, no checkpoint", _REMEDY)
    return content


def _check_sums(path: Path) -> None:
    """Checksums of a checkpoint's parts; torch reads past them."""
    if not zipfile.is_zipfile(path):
        return  # of torch before 1.6: it has none
    with zipfile.ZipFile(path) as archive:
        # torch stores without compressing: what is packed may unpack to more than any memory holds.
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise WeightsError(path, "its parts are compressed, as torch never writes them", "do not trust this file")
        broken = archive.testzip()
    if broken:
        raise WeightsError(path, f"damaged: the checksum of {broken} is wrong", "copy the file again")


def _plain_numbers() -> list[Any]:
    """Numpy's numbers, which nnU-Net's log of a training is full of; they are data."""
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    kinds = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")]
    return [np.dtype, *kinds, (scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar")]


def _asked(error: BaseException) -> str:
    """Which thing a pickle asked for, from torch's long explanation; empty if it asked for none."""
    words = str(error).split("GLOBAL ")
    return words[1].split()[0] if len(words) > 1 else ""


def _fitting(state: Any, plan: Plan, path: Path) -> dict[str, torch.Tensor]:
    """The weights of the plan's network, each once.

    Raises
    ------
    WeightsError
        If they are of another network.
    """
    import torch

    from deeppsma.models.unet import UNet

    wanted = parameters_of(lambda: UNet(plan.shape))
    # Subclasses of tensors have ways of their own.
    if not isinstance(state, Mapping) or not all(type(v) in (torch.Tensor, torch.nn.Parameter) for v in state.values()):
        raise WeightsError(path, "no table of weights", _REMEDY)
    # A compiled or distributed network's names begin otherwise.
    plain = {str(key).removeprefix("module.").removeprefix("_orig_mod."): value for key, value in dict(state).items()}
    left = (*_REPEATED, _ORGAN_HEAD)
    found = {key: value for key, value in plain.items() if not any(part in key for part in left)}
    if problem := unfit(found, wanted):
        raise WeightsError(path, problem, "give plans, dataset.json and checkpoints of this very training")
    return {key: value.detach() for key, value in found.items()}
