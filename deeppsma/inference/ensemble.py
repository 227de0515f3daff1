"""What the networks say of a case, from which any recipe makes its masks.

Channels are made and networks are run here, once; fusion, growing and the
choice of a cutoff cost next to nothing afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from deeppsma.core.box import IndexZyx
from deeppsma.core.stopwatch import Stopwatch
from deeppsma.core.tracer import Tracer
from deeppsma.inference.device import ComputePlan, make_deterministic, plan_compute
from deeppsma.inference.run import give_back, out_of_memory, predict
from deeppsma.inference.task import Logits, Prediction, plan_prediction
from deeppsma.io.case import Case
from deeppsma.models.config import NetworkConfig
from deeppsma.models.nnunet.config import ModelConfig, plan_model_prediction
from deeppsma.models.weights import Member
from deeppsma.postprocessing.fusion import mean_logits, wanted_tracers
from deeppsma.preprocessing.auxiliary import Companions
from deeppsma.preprocessing.channels import Channel, build_channels
from deeppsma.preprocessing.nnunet import MadeChannels
from deeppsma.preprocessing.spaces import Space

if TYPE_CHECKING:
    import torch

#: Wraps the count of windows in something that shows progress; called once, with the total.
ProgressBar = Callable[[int], Callable[[], None]]


@dataclass
class RunLog:
    """What a run gathers for its report.

    Parameters
    ----------
    watch
        Stage timings.
    fallbacks
        Everything that did not go as planned, a line each.
    windows
        How many were run and skipped.
    plan
        Where the networks ran; None if they did not have to.
    """

    watch: Stopwatch = field(default_factory=Stopwatch)
    fallbacks: list[str] = field(default_factory=list)
    windows: dict[str, int] = field(default_factory=lambda: {"run": 0, "skipped": 0})
    plan: ComputePlan | None = None


@dataclass(frozen=True)
class Evidence:
    """Logits of every member in every space of a case.

    Parameters
    ----------
    case
        The case.
    spaces
        By fixed tracer; empty where no voxel reaches its threshold.
    companions
        Organ maps and CTs, as far as anybody needs them.
    logits
        By member name, then fixed tracer.
    """

    case: Case
    spaces: Mapping[Tracer, Space]
    companions: Companions
    logits: Mapping[str, Mapping[Tracer, Logits]]

    def mean(self, members: Sequence[str]) -> dict[Tracer, Logits]:
        """Ensemble logits of some members, by fixed tracer."""
        return {fixed: mean_logits([self.logits[name][fixed] for name in members]) for fixed in self.spaces}


def gather(
    case: Case,
    spaces: Mapping[Tracer, Space],
    companions: Companions,
    members: Sequence[Member],
    fusion: str,
    overlap: float,
    device: str = "auto",
    progress: ProgressBar | None = None,
    log: RunLog | None = None,
) -> Evidence:
    """Run members on the spaces of a case.

    Parameters
    ----------
    case, spaces, companions
        See `Evidence`.
    members
        Names are unique.
    fusion
        Decides whose answers are taken from a space.
    overlap
        Of the windows, in [0, 1).
    device
        "auto", "cuda" or "cpu".
    progress
        Shows how many windows are done.
    log
        Timings, fallbacks and windows are added to it.

    Raises
    ------
    DeepPsmaError
        If the device cannot be used, or a member's weights make no sense.
    """
    log = log or RunLog()
    found: dict[str, dict[Tracer, Logits]] = {member.name: {} for member in members}
    if not spaces:
        return Evidence(case, spaces, companions, found)
    with log.watch.stage("start torch"):
        plan, fallback = plan_compute(device)
        make_deterministic()
    if fallback:
        log.fallbacks.append(fallback)
    networks: dict[str, torch.nn.Module] = {}
    for fixed, space in spaces.items():
        # One space at a time, and each channel once for all members.
        jobs: dict[NetworkConfig, Prediction] = {}
        made: dict[tuple[str, IndexZyx], Channel] = {}
        planned: MadeChannels = {}
        for member in members:
            config = member.network
            answers = tuple(tracer for tracer in wanted_tracers(fusion, fixed) if tracer in config.tracers)
            if config.classes and fixed not in answers:
                continue  # such a network sees its own tracer's grid alone
            if not answers:
                continue
            with log.watch.stage("channels"):
                if isinstance(config, ModelConfig):
                    make = partial(_model_job, config, space, case, companions, planned)
                    job = _resampled_on(plan.device, make, log)
                else:
                    if config not in jobs:
                        jobs[config] = _job(config, space, case, companions, made, answers, overlap)
                    job = jobs[config]
            if member.name not in networks:
                with log.watch.stage("read weights"):
                    networks[member.name] = member.load()
            advance = progress(job.windows_needed) if progress is not None else None
            with log.watch.stage("network"):
                outcome = predict(networks[member.name], job, plan, advance, log.fallbacks.append)
            plan = outcome.plan
            log.windows["run"] += outcome.windows_run
            log.windows["skipped"] += outcome.windows_skipped
            found[member.name][fixed] = outcome.logits
            if config.classes:
                del networks[member.name]  # its one space is done
            del job, outcome
    log.plan = plan
    return Evidence(case, spaces, companions, found)


def _job(
    config: NetworkConfig,
    space: Space,
    case: Case,
    companions: Companions,
    made: dict[tuple[str, IndexZyx], Channel],
    answers: tuple[Tracer, ...],
    overlap: float,
) -> Prediction:
    channels = build_channels(config, space, case.thresholds, companions.organs, case.fdg_to_psma, companions.cts, made)
    return plan_prediction(config, space, channels, answers, overlap)


def _model_job(
    config: ModelConfig, space: Space, case: Case, companions: Companions, made: MadeChannels, device: str
) -> Prediction:
    tracer = config.tracer
    study = case.study(tracer)
    organs, ct = companions.organs[tracer], companions.cts[tracer]
    pet = study.read_pet()
    return plan_model_prediction(config, space, pet, study.threshold_suv, organs, ct, made, device)


def _resampled_on(device: str, job: Callable[[str], Prediction], log: RunLog) -> Prediction:
    """A job whose input is resampled on a device, or on the CPU where its memory does not suffice.

    Only the resampling steps down: it takes a whole grid, and a network a
    window.
    """
    try:
        return job(device)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        if device == "cpu":
            raise MemoryError("while a scan was resampled to the spacing of a model's plans") from None
    log.fallbacks.append(f"out of memory on {device} while resampling: resampled on the CPU")
    give_back(device)
    return _resampled_on("cpu", job, log)
