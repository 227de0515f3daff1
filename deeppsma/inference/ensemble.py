"""Run members on the spaces of a case: what the networks say, from which any recipe makes its masks.

Channels are made and networks are run here, once; fusion, growing and the choice of a cutoff cost next to nothing
afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.run_log import RunLog
from deeppsma.core.tracer import Tracer
from deeppsma.inference.device import OPENVINO, ComputePlan, cpu_plan, make_deterministic, plan_compute
from deeppsma.inference.logits import Logits
from deeppsma.inference.nnunet import plan_model_task
from deeppsma.inference.openvino_engine import OpenVinoNetwork, openvino_network
from deeppsma.inference.run import give_back, out_of_memory, run_task
from deeppsma.inference.task import Task, plan_task
from deeppsma.models.config import NetworkConfig
from deeppsma.models.nnunet.config import ModelConfig
from deeppsma.models.weights import Member
from deeppsma.preprocessing.nnunet import MadeChannels
from deeppsma.preprocessing.prepared_case import PreparedCase

if TYPE_CHECKING:
    import torch

#: Of `Inference.windows`.
NO_WINDOWS = {"run": 0, "skipped": 0, "settled": 0}
#: Voxels of a space, [n] in the order of ``needed``, where the next member's answer can still matter; None for all.
#: Called with the space's tracer, and what members have said.
Unsettled = Callable[[Tracer, Mapping[str, Logits]], NDArray[np.bool_] | None]
#: Wraps the count of windows in something that shows progress; called once a member and space, with the total.
ProgressBar = Callable[[int], Callable[[], None]]


@dataclass(frozen=True)
class InferenceSettings:
    """How members are run.

    Parameters
    ----------
    both_spaces
        Whether a tracer's disease is wanted as seen from the other tracer's
        space, too.
    window_overlap
        Of the windows, in [0, 1).
    device
        "auto", "cuda", "cpu" or "openvino".
    progress
        Shows how many windows are done.
    """

    both_spaces: bool = False
    window_overlap: float = 0.5
    device: str = "auto"
    progress: ProgressBar | None = None


@dataclass
class Inference:
    """What the networks said, and how they were run.

    Parameters
    ----------
    logits
        By member name.
    plan
        Where they ran; None if they did not have to.
    windows
        How many were run; skipped, because they hold no voxel whose answer is
        needed; settled, because other members' answers left nothing to decide.
    """

    logits: dict[str, Logits] = field(default_factory=dict)
    plan: ComputePlan | None = None
    windows: dict[str, int] = field(default_factory=lambda: dict(NO_WINDOWS))

    def joined(self, other: Inference) -> Inference:
        """With what other members said afterwards."""
        windows = {key: count + other.windows[key] for key, count in self.windows.items()}
        return Inference({**self.logits, **other.logits}, other.plan or self.plan, windows)


def run_members(
    case: PreparedCase,
    members: Sequence[Member],
    settings: InferenceSettings | None = None,
    unsettled: Unsettled | None = None,
) -> Inference:
    """Run members on the spaces of a case, one after the other.

    Parameters
    ----------
    case
        The case; timings and fallbacks go into its log.
    members
        Names are unique.
    settings
        How they are run.
    unsettled
        Where members need not answer any more; their logits are 0 there. With
        answers in a tracer's own space alone.

    Raises
    ------
    DeepPsmaError
        If the device cannot be used, or a member's weights make no sense.
    """
    settings = settings or InferenceSettings()
    found = Inference({member.name: Logits() for member in members})
    if not case.spaces or not members:
        return found
    with case.log.watch.stage("start torch"):
        found.plan, fallback = _plan_of(members, settings.device)
        if found.plan.device != OPENVINO:
            make_deterministic()
    if fallback:
        case.log.note(fallback)
    networks: dict[str, torch.nn.Module | OpenVinoNetwork] = {}
    for fixed in case.spaces:
        planner = _Planner(case, fixed, settings, found.plan.device)
        for member in members:
            wanted = wanted_tracers(member.network, fixed, case, settings.both_spaces)
            if not wanted:
                continue
            with case.log.watch.stage("channels"):
                task = planner.task(member.network, wanted)
            left = None if unsettled is None else unsettled(fixed, found.logits)
            if left is not None and not left.any():
                found.windows["settled"] += task.windows_needed
                found.windows["skipped"] += len(task.windows) - task.windows_needed
                found.logits[member.name] = found.logits[member.name].joined(fixed, _answers(task, fixed, left, {}))
                continue
            if member.name not in networks:
                with case.log.watch.stage("read weights"):
                    networks[member.name] = _loaded(member, found.plan, case.log)
            _run(member.name, networks[member.name], task, fixed, found, case.log, settings.progress, left)
            if member.network.exclusive:
                del networks[member.name]  # its one space is done
            del task
        case.forget_channels(fixed)
    return found


def wanted_tracers(
    network: NetworkConfig | ModelConfig, fixed: Tracer, case: PreparedCase, both_spaces: bool
) -> tuple[Tracer, ...]:
    """Tracers whose disease a network is asked for in a space; none if it has nothing to do there."""
    seen = (fixed, fixed.other) if both_spaces and case.spaces[fixed].sees_other else (fixed,)
    if network.exclusive and fixed not in network.tracers:
        return ()  # such a network sees its own tracer's grid alone
    return tuple(tracer for tracer in seen if tracer in network.tracers)


def _run(
    name: str,
    network: torch.nn.Module | OpenVinoNetwork,
    task: Task,
    fixed: Tracer,
    found: Inference,
    log: RunLog,
    progress: ProgressBar | None,
    left: NDArray[np.bool_] | None = None,
) -> None:
    """Run one task and keep what it gives; the plan that succeeded is the next task's."""
    whole = task
    task = task if left is None else task.only(fixed, left)
    advance = progress(task.windows_needed) if progress is not None else None
    if found.plan is None:
        raise ValueError("no plan to run with")
    with log.watch.stage("network"):
        outcome = run_task(network, task, found.plan, advance, log.note)
    found.plan = outcome.plan
    found.windows["run"] += outcome.windows_run
    found.windows["skipped"] += outcome.windows_skipped
    found.windows["settled"] += outcome.windows_settled
    logits = outcome.logits if left is None else _answers(whole, fixed, left, outcome.logits)
    found.logits[name] = found.logits[name].joined(fixed, logits)


def _plan_of(members: Sequence[Member], device: str) -> tuple[ComputePlan, str | None]:
    """Where members are run, and what did not go as asked for."""
    plan, fallback = plan_compute(device)
    others = [member.name for member in members if isinstance(member.network, ModelConfig)]
    if plan.device == OPENVINO and others:
        return cpu_plan(), f"OpenVINO not used: {others[0]} is a model of nnU-Net, which torch runs"
    return plan, fallback


def _loaded(member: Member, plan: ComputePlan, log: RunLog) -> torch.nn.Module | OpenVinoNetwork:
    return openvino_network(member, log.note) if plan.device == OPENVINO else member.load()


def _answers(
    task: Task, fixed: Tracer, left: NDArray[np.bool_], answers: Mapping[Tracer, NDArray[np.float32]]
) -> dict[Tracer, NDArray[np.float32]]:
    """Answers at all needed voxels of those at some; 0 at the others, where any answer gives the same mask."""
    logits = np.zeros((len(task.rows[fixed]) // task.folds, len(left)), np.float32)
    if fixed in answers:
        logits[:, left] = answers[fixed]
    return {fixed: logits}


class _Planner:
    """Tasks on one space; what two members share is planned once."""

    def __init__(self, case: PreparedCase, fixed: Tracer, settings: InferenceSettings, device: str) -> None:
        self._case, self._fixed, self._settings, self._device = case, fixed, settings, device
        self._tasks: dict[NetworkConfig, Task] = {}
        self._made: MadeChannels = {}

    def task(self, network: NetworkConfig | ModelConfig, wanted: tuple[Tracer, ...]) -> Task:
        if isinstance(network, ModelConfig):
            return resampled_on(
                self._device, lambda device: plan_model_task(network, self._case, self._made, device), self._case.log
            )
        if network not in self._tasks:
            channels = self._case.channels(network, self._fixed)
            space, overlap = self._case.spaces[self._fixed], self._settings.window_overlap
            self._tasks[network] = plan_task(network, space, channels, wanted, overlap)
        return self._tasks[network]


def resampled_on(device: str, plan: Callable[[str], Task], log: RunLog) -> Task:
    """A task whose input is resampled on a device, or on the CPU where its memory does not suffice.

    Only the resampling steps down: it takes a whole grid, and a network a
    window.
    """
    try:
        return plan(device)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        if device == "cpu":
            raise MemoryError("while a scan was resampled to the spacing of a model's plans") from None
    log.note(f"out of memory on {device} while resampling: resampled on the CPU")
    give_back(device)
    return resampled_on("cpu", plan, log)
