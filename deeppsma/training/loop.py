"""The training loop: steps, running mean, validation, checkpoints that resume exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deeppsma.core.errors import ConfigurationError, InputError
from deeppsma.inference.device import ComputePlan, make_deterministic
from deeppsma.models.build import build_network
from deeppsma.models.config import NetworkConfig
from deeppsma.models.weights import Member
from deeppsma.training.checkpoint import CHECKPOINT_NAME, Progress, State
from deeppsma.training.config import TrainingConfig
from deeppsma.training.curves import Course
from deeppsma.training.loss import supervised_loss
from deeppsma.training.patch_loader import PatchFeed
from deeppsma.training.patches import Patch
from deeppsma.training.processes import ALONE, Processes
from deeppsma.training.validation import validate
from deeppsma.training.warm_start import starting_network

if TYPE_CHECKING:
    import torch

_CLIP_NORM = 12.0


@dataclass(frozen=True)
class TrainingRun:
    """What to train on, with what, and where to keep it.

    Parameters
    ----------
    samples
        Cached sample files.
    network, config
        Architecture and settings.
    out
        Folder for the checkpoint and the curves.
    seed
        Draws weights and patches; step k of a seed is the same in any run.
    device
        "cpu" or "cuda".
    checkpoint_every
        Steps between checkpoints.
    start
        Member whose weights the training goes on from; random ones without.
    held_out
        Cached sample files of the cases to validate on; none for no
        validation.
    """

    samples: Sequence[Path]
    network: NetworkConfig
    config: TrainingConfig
    out: Path
    seed: int = 0
    device: str = "cpu"
    checkpoint_every: int = 100
    start: Member | None = None
    held_out: Sequence[Path] = ()

    @property
    def identity(self) -> dict[str, str]:
        """What two runs must share for one to resume the other."""
        return {
            "network": repr(asdict(self.network)),
            "config": repr(asdict(self.config)),
            "seed": repr(self.seed),
            "start": self.start.sha256 if self.start else "",
            "samples": repr([path.name for path in self.samples]),
            "held out": repr([path.name for path in self.held_out]),
        }


def train(
    run: TrainingRun,
    resume: bool = False,
    on_step: Callable[[int, float], None] | None = None,
    processes: Processes = ALONE,
) -> State:
    """Train to the last step; returns the weights to keep.

    Parameters
    ----------
    run
        The run.
    resume
        Go on from the checkpoint in ``run.out``, if there is one. A resumed
        run ends with the weights of an uninterrupted one on the same device:
        every step draws its patches from the seed and its own number.
    on_step
        Called with the step's number and loss.
    processes
        That train together; each takes its share of a step's patches. The
        first one writes the files.

    Raises
    ------
    InputError
        If there are no samples, or the checkpoint is damaged or of another
        run.
    ConfigurationError
        If the processes cannot share a batch.
        Or the loss is no number any more.
    WeightsError
        If the start's weights do not fit.
    """
    import torch

    if not run.samples:
        raise InputError(run.out, "no samples to train on", "give cases with above-threshold voxels")
    try:
        numbers = processes.share(run.config.batch)
    except ValueError as error:
        raise ConfigurationError("torchrun", str(error), "start as many processes as divide the batch") from None
    run.out.mkdir(parents=True, exist_ok=True)
    make_deterministic()
    torch.manual_seed(run.seed)
    network = starting_network(run.network, run.start).to(run.device)
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    progress = Progress(network, _optimiser(run.config, network), average)
    if resume and (run.out / CHECKPOINT_NAME).exists():
        progress.restore(run.out, run.identity, run.device)
    course = Course(run.out, progress.step) if processes.first else None
    shared = processes.wrapped(network)
    feed = PatchFeed(run.samples, run.network, run.config, run.seed, numbers)
    for step, patches in feed.steps(progress.step, run.config.steps):
        began = time.monotonic()
        rate = learning_rate(run.config, step)
        for group in progress.optimiser.param_groups:
            group["lr"] = rate
        loss = processes.mean(_step(run, shared, progress.optimiser, patches))
        if not math.isfinite(loss):  # before anything of it is kept: the last checkpoint is still good
            found = f"the loss of step {step} is {loss}"
            raise ConfigurationError("learning_rate", found, "lower it; --resume goes on from the last checkpoint")
        _follow(average, network, run.config.average_decay, step)
        progress.step = step + 1
        last = progress.step == run.config.steps
        if course is not None:
            course.add(step, loss, rate, time.monotonic() - began)
            if run.held_out and (last or progress.step % run.config.validate_every == 0):
                _validate(run, progress, course)
            if last or progress.step % run.checkpoint_every == 0:
                progress.save(run.out, run.identity)
        if on_step is not None:
            on_step(step, loss)
    return progress.best if run.config.selection == "validation" and progress.best is not None else average


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Rate of a step: a cosine's half wave with Adam, nnU-Net's power of 0.9 with SGD; 0 after the last one."""
    done = step / config.steps
    share = 0.5 * (1 + math.cos(math.pi * done)) if config.optimiser == "adam" else (1 - done) ** 0.9
    return config.learning_rate * share


def training_precision(device: str) -> str:
    """bfloat16, which needs no loss scaling; float32 on a GPU without it (T4)."""
    import torch

    return "bfloat16" if device == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


def _optimiser(config: TrainingConfig, network: torch.nn.Module) -> torch.optim.Optimizer:
    import torch

    if config.optimiser == "adam":
        return torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    parameters = network.parameters()
    return torch.optim.SGD(parameters, lr=config.learning_rate, momentum=0.99, nesterov=True, weight_decay=3e-5)


def _step(run: TrainingRun, network: torch.nn.Module, optimiser: torch.optim.Optimizer, patches: list[Patch]) -> float:
    import torch

    inputs, target, region = (
        torch.from_numpy(np.stack([getattr(patch, name) for patch in patches])).to(run.device)
        for name in ("inputs", "target", "region")
    )
    mixed = training_precision(run.device) == "bfloat16"
    with torch.autocast(run.device, torch.bfloat16, enabled=mixed):
        heads = network(inputs)
    loss = supervised_loss(heads, target, region, run.config.loss_where, run.network.exclusive)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP_NORM)
    optimiser.step()
    return float(loss.detach())


def _follow(average: State, network: torch.nn.Module, decay: float, step: int) -> None:
    # Early on the running mean follows faster: it must forget the random start.
    keep = min(decay, (1 + step) / (10 + step)) if decay else 0.0
    for key, value in network.state_dict().items():
        average[key].mul_(keep).add_(value, alpha=1 - keep)


def _validate(run: TrainingRun, progress: Progress, course: Course) -> None:
    """Validate the running mean, and keep it if it is the best so far."""
    network = build_network(run.network)
    network.load_state_dict(progress.average)
    plan = ComputePlan(run.device, training_precision(run.device))
    found = validate(network.eval(), run.network, run.held_out, plan)
    course.add_validation(progress.step - 1, found)
    if found.loss < progress.best_loss:
        progress.best_loss = found.loss
        progress.best = {key: value.detach().clone() for key, value in progress.average.items()}
