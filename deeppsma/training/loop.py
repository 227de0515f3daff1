"""The training loop: steps, running mean, checkpoints that resume exactly."""

from __future__ import annotations

import csv
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deeppsma.errors import InputError, WeightsError
from deeppsma.network import NetworkConfig, build_network
from deeppsma.training.config import TrainingConfig
from deeppsma.training.loss import supervised_loss
from deeppsma.training.patches import Patch, draw_patch
from deeppsma.training.samples import Sample, load_sample
from deeppsma.weights import Member

if TYPE_CHECKING:
    import torch

CHECKPOINT_NAME, CURVE_NAME = "checkpoint.pt", "curve.csv"
#: Samples kept in memory (some megabytes each); the others are read again when drawn.
_CACHE_SAMPLES = 400
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
        Folder for the checkpoint and the curve.
    seed
        Draws weights and patches; step k of a seed is the same in any run.
    device
        "cpu" or "cuda".
    checkpoint_every
        Steps between checkpoints.
    start
        Member whose weights the training goes on from; random ones without.
    """

    samples: Sequence[Path]
    network: NetworkConfig
    config: TrainingConfig
    out: Path
    seed: int = 0
    device: str = "cpu"
    checkpoint_every: int = 100
    start: Member | None = None


def train(
    run: TrainingRun, resume: bool = False, on_step: Callable[[int, float], None] | None = None
) -> dict[str, torch.Tensor]:
    """Train to the last step; returns the weights to keep.

    Parameters
    ----------
    run
        The run.
    resume
        Go on from the checkpoint in ``run.out``, if there is one. A resumed
        run ends with the weights of an uninterrupted one: every step draws
        its patches from the seed and its own number.
    on_step
        Called with the step's number and loss.

    Raises
    ------
    InputError
        If there are no samples, or the checkpoint is of another run.
    WeightsError
        If the start's weights do not fit.
    """
    import torch

    if not run.samples:
        raise InputError(run.out, "no samples to train on", "give cases with above-threshold voxels")
    run.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(run.seed)
    network = _network(run).to(run.device)
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    optimiser = torch.optim.Adam(network.parameters(), lr=run.config.learning_rate)
    start = 0
    if resume and (run.out / CHECKPOINT_NAME).exists():
        start = _restore(run, network, average, optimiser)
    draw = _Patches(run)
    curve = _Curve(run.out / CURVE_NAME, start)
    for step in range(start, run.config.steps):
        began = time.monotonic()
        rate = 0.5 * run.config.learning_rate * (1 + math.cos(math.pi * step / run.config.steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = _step(run, network, optimiser, draw(step))
        _follow(average, network, run.config.average_decay, step)
        curve.add(step, loss, rate, time.monotonic() - began)
        if on_step is not None:
            on_step(step, loss)
        if (step + 1) % run.checkpoint_every == 0 or step + 1 == run.config.steps:
            _save(run, network, average, optimiser, step + 1)
    return average


def hours_of(curve: Path) -> float:
    """Hours that the steps of a curve took, all stretches of a resumed run together."""
    with curve.open(newline="", encoding="utf-8") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file)) / 3600


def training_precision(device: str) -> str:
    """bfloat16, which needs no loss scaling; float32 on a GPU without it (T4)."""
    import torch

    return "bfloat16" if device == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


def _network(run: TrainingRun) -> torch.nn.Module:
    if run.start is None:
        return build_network(run.network, training=True)
    if run.start.network != run.network:
        found = "a network of another shape than the settings name"
        raise WeightsError(run.start.folder, found, "choose the settings that this member was trained with")
    return run.start.load().train()


def _step(run: TrainingRun, network: torch.nn.Module, optimiser: torch.optim.Optimizer, patches: list[Patch]) -> float:
    import torch

    inputs, target, region = (
        torch.from_numpy(np.stack([getattr(patch, name) for patch in patches])).to(run.device)
        for name in ("inputs", "target", "region")
    )
    mixed = training_precision(run.device) == "bfloat16"
    with torch.autocast(run.device, torch.bfloat16, enabled=mixed):
        heads = network(inputs)
    loss = supervised_loss(heads, target, region, run.config.loss_where)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP_NORM)
    optimiser.step()
    return float(loss.detach())


def _follow(average: dict[str, torch.Tensor], network: torch.nn.Module, decay: float, step: int) -> None:
    # Early on the running mean follows faster: it must forget the random start.
    keep = min(decay, (1 + step) / (10 + step)) if decay else 0.0
    for key, value in network.state_dict().items():
        average[key].mul_(keep).add_(value, alpha=1 - keep)


class _Patches:
    """Draws the patches of a step, from samples kept in memory as far as they fit."""

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        self._kept: OrderedDict[Path, Sample] = OrderedDict()
        self._organ_channels = [i for i, name in enumerate(run.network.channels) if name.endswith("_organs")]

    def __call__(self, step: int) -> list[Patch]:
        rng = np.random.default_rng([self._run.seed, step])
        picks = rng.integers(len(self._run.samples), size=self._run.config.batch)
        patch_zyx = self._run.network.patch_zyx
        return [
            draw_patch(self._sample(self._run.samples[k]), patch_zyx, self._organ_channels, self._run.config, rng)
            for k in picks
        ]

    def _sample(self, path: Path) -> Sample:
        if path not in self._kept:
            self._kept[path] = load_sample(path)
            if len(self._kept) > _CACHE_SAMPLES:
                self._kept.popitem(last=False)
        return self._kept[path]


class _Curve:
    """Loss by step, as CSV; a resumed run drops what came after its checkpoint."""

    def __init__(self, path: Path, start: int) -> None:
        kept: list[list[str]] = []
        if start and path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                kept = [row for row in csv.reader(file) if row and row[0].isdigit() and int(row[0]) < start]
        self._path = path
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["step", "loss", "learning_rate", "seconds"], *kept])

    def add(self, step: int, loss: float, rate: float, seconds: float) -> None:
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([step, f"{loss:.6g}", f"{rate:.6g}", f"{seconds:.3f}"])


def _identity(run: TrainingRun) -> dict[str, Any]:
    """What two runs must share for one to resume the other; plain values."""
    return {
        "network": repr(asdict(run.network)),
        "config": repr(asdict(run.config)),
        "seed": run.seed,
        "start": run.start.sha256 if run.start else "",
        "samples": repr([path.name for path in run.samples]),
    }


def _save(
    run: TrainingRun,
    network: torch.nn.Module,
    average: dict[str, torch.Tensor],
    optimiser: torch.optim.Optimizer,
    step: int,
) -> None:
    import torch

    partial = run.out / f"{CHECKPOINT_NAME}.partial"
    torch.save(
        {
            "identity": _identity(run),
            "step": step,
            "network": network.state_dict(),
            "average": average,
            "optimiser": optimiser.state_dict(),
        },
        partial,
    )
    partial.replace(run.out / CHECKPOINT_NAME)


def _restore(
    run: TrainingRun, network: torch.nn.Module, average: dict[str, torch.Tensor], optimiser: torch.optim.Optimizer
) -> int:
    import torch

    path = run.out / CHECKPOINT_NAME
    content = torch.load(path, map_location=run.device, weights_only=True)
    if content["identity"] != _identity(run):
        differs = [key for key, value in _identity(run).items() if content["identity"].get(key) != value]
        raise InputError(path, f"a checkpoint of another run (other {', '.join(differs)})", "choose another folder")
    network.load_state_dict(content["network"])
    for key, value in content["average"].items():
        average[key].copy_(value)
    optimiser.load_state_dict(content["optimiser"])
    return int(content["step"])
