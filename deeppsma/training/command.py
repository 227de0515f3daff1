"""``deeppsma train``: cohort in, frozen member out."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tqdm import tqdm

from deeppsma.core.errors import ConfigurationError, InputError
from deeppsma.core.settings import read_toml
from deeppsma.inference.device import OPENVINO, plan_compute
from deeppsma.io.layouts import load_case
from deeppsma.models.config import NetworkConfig, load_network
from deeppsma.models.store import WeightsStore
from deeppsma.models.weights import Member, read_member, write_member
from deeppsma.training.checkpoint import CHECKPOINT_NAME
from deeppsma.training.config import TrainingConfig
from deeppsma.training.curves import draw_curves, hours_of
from deeppsma.training.folds import Folds
from deeppsma.training.loop import TrainingRun, train, training_precision
from deeppsma.training.processes import Processes, joined, take_gpu
from deeppsma.training.random_anatomy import check_channels
from deeppsma.training.samples import TRUTH, cached_samples, case_folders, notes_on

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainRequest:
    """What the command line asks for; see ``deeppsma train --help``."""

    data: Path
    out: Path
    settings: str = "compact"
    name: str = "cds-compact"
    steps: int | None = None
    seed: int = 0
    device: str = "auto"
    resume: bool = False
    describe: str = ""
    start: str = ""
    fold: int | None = None
    folds: Path | None = None
    samples: Path | None = None
    tracer: str = ""
    truth: str = TRUTH


def _check_place(request: TrainRequest) -> None:
    if request.seed < 0:
        raise ConfigurationError("--seed", str(request.seed), "give 0 or more")
    if Path(request.name).name != request.name or request.name in ("", ".", "..", "samples"):
        raise ConfigurationError("--name", f"{request.name!r} is no plain folder name", "give a name such as cds-mine")
    earlier = [p for p in (request.out / CHECKPOINT_NAME, request.out / request.name) if p.exists()]
    if earlier and not request.resume:
        raise ConfigurationError(earlier[0], "an earlier training is there", "add --resume, or choose another folder")


def _of_fold(request: TrainRequest, folders: list[Path]) -> tuple[list[Path], list[Path]]:
    """The cases that a fold trains on, and those that it holds out; without a fold all, and none."""
    if request.fold is None:
        if request.folds is not None:
            raise ConfigurationError("--folds", "no fold chosen", "give --fold, too")
        return folders, []
    if request.folds is None:
        raise ConfigurationError("--fold", "no file of folds", "give --folds; 'deeppsma crossval' writes one")
    folds = Folds.read(request.folds)
    if folds.names != sorted(folder.name for folder in folders):
        raise InputError(request.folds, "folds of other cases", f"give the folds of {request.data}")
    try:
        wanted = set(folds.trained_on(request.fold))
    except ValueError as error:
        raise ConfigurationError("--fold", str(error), "choose one of them") from None
    return [f for f in folders if f.name in wanted], [f for f in folders if f.name not in wanted]


def starting_member(wanted: str) -> Member | None:
    """The member of a folder, or the shipped one of a name; None for no name."""
    if not wanted:
        return None
    return read_member(Path(wanted)) if Path(wanted).is_dir() else WeightsStore.default().member(wanted)


def load_settings(name: str, tracer: str = "") -> tuple[NetworkConfig, TrainingConfig]:
    """Network and training settings of a file in ``resources/training``.

    Parameters
    ----------
    name
        The file's.
    tracer
        Of a network that is made for one tracer; empty for one of both.

    Raises
    ------
    ConfigurationError
        If a file is missing or a value makes no sense.
    """
    path, content = read_toml("training", name)
    try:
        config = TrainingConfig.from_dict(content)
    except ValueError as error:
        raise ConfigurationError(path, str(error), "mend the file") from None
    network = load_network(config.network, tracer)
    if config.random_anatomy.share:
        try:
            check_channels(network)
        except ValueError as error:
            raise ConfigurationError(path, str(error), "choose another network, or leave random_anatomy out") from None
    return network, config


def run_training(request: TrainRequest) -> Member:
    """Train and freeze a member in ``request.out / request.name``.

    With ``torchrun`` several processes train together, a GPU each.
    """
    take_gpu()
    plan, fallback = plan_compute(request.device)
    if plan.device == OPENVINO:
        raise ConfigurationError("--device", OPENVINO, "networks are trained in torch: choose auto, cuda or cpu")
    with joined(plan.device) as processes:
        if processes.first:
            _check_place(request)
            if fallback:
                _LOGGER.warning("%s", fallback)
        start = starting_member(request.start)
        network, config = chosen_settings(request)
        folders, held_out = _of_fold(request, case_folders(request.data))
        watched = folders if processes.first else []  # one process tells, so one reads the headers
        notes = [f"{folder.name}: {line}" for folder in watched for line in notes_on(load_case(folder), network)]
        for note in notes:
            _LOGGER.warning("%s", note)
        samples, unseen = _samples(request, network, folders, held_out, processes)
        run = TrainingRun(
            samples, network, config, request.out, request.seed, plan.device, start=start, held_out=unseen
        )
        with tqdm(total=config.steps, desc="steps", disable=None if processes.first else True) as bar:

            def on_step(step: int, loss: float) -> None:
                bar.update(step + 1 - bar.n)
                bar.set_postfix(loss=f"{loss:.3f}")

            weights = train(run, request.resume, on_step, processes)
        fallbacks = [*notes, fallback] if fallback else notes
        place = request.out / request.name
        if processes.first:
            fallbacks += _pictured(request.out)
            precision = replace(plan, precision=training_precision(plan.device))
            write_member(
                place,
                network,
                weights,
                {
                    "data": request.describe or f"{len(folders)} cases of {request.data.name}",
                    "cases": len(folders),
                    "samples": len(samples),
                    "settings": asdict(config),
                    "truth": request.truth,
                    "fold": request.fold,
                    "seed": request.seed,
                    "start": {"name": start.name, "sha256": start.sha256, "data": start.trained_on} if start else None,
                    "hours": round(hours_of(request.out), 2),
                    "device": precision.description,
                    "processes": processes.count,
                    "fallbacks": fallbacks,
                },
            )
        processes.wait()
    return read_member(place)


def chosen_settings(request: TrainRequest) -> tuple[NetworkConfig, TrainingConfig]:
    """Network and settings of a request, with its own number of steps if it names one."""
    network, config = load_settings(request.settings, request.tracer)
    if request.steps is None:
        return network, config
    try:
        return network, replace(config, steps=request.steps)
    except ValueError as error:
        raise ConfigurationError("--steps", str(error), "give 1 or more") from None


def _samples(
    request: TrainRequest, network: NetworkConfig, folders: list[Path], held_out: list[Path], processes: Processes
) -> tuple[list[Path], list[Path]]:
    """Cached samples to train on, and to validate on; the first process makes those that are missing."""
    if not processes.first:
        processes.wait()
    place = request.samples or request.out / "samples"
    cached = cached_samples([*folders, *held_out], network, place, request.truth)
    total, quiet = len(folders) + len(held_out), None if processes.first else True
    by_case = list(tqdm(cached, total=total, desc="samples", disable=quiet))
    if processes.first:
        processes.wait()
    of = [[path for paths in part for path in paths] for part in (by_case[: len(folders)], by_case[len(folders) :])]
    return of[0], of[1]


def _pictured(out: Path) -> list[str]:
    """Draw the curves; what to say if that is not possible."""
    try:
        draw_curves(out)
    except ImportError:
        note = "no picture of the curves: matplotlib is not installed"
        _LOGGER.warning("%s", note)
        return [note]
    return []
