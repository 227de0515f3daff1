"""The pipeline: case, spaces, channels, network, fusion, growing, masks.

Everything here runs in one process; images are read once, and cropped before
anything is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.box import Box
from deeppsma.case import Case
from deeppsma.channels import Channels, build_channels
from deeppsma.compute import ComputePlan, plan_compute
from deeppsma.fusion import fuse, mean_logits, wanted_tracers
from deeppsma.geometry import Geometry
from deeppsma.growing import grow
from deeppsma.images import Volume
from deeppsma.network import NetworkConfig
from deeppsma.predict import Logits, Prediction, plan_prediction, predict
from deeppsma.recipe import Growing, Recipe
from deeppsma.report import describe_run
from deeppsma.resampling import resample
from deeppsma.spaces import Space, build_spaces
from deeppsma.stopwatch import Stopwatch
from deeppsma.tracer import Tracer
from deeppsma.weights import Member, WeightsStore

if TYPE_CHECKING:
    import torch

#: Wraps the count of windows in something that shows progress; called once, with the total.
ProgressBar = Callable[[int], Callable[[], None]]


@dataclass(frozen=True)
class Segmentation:
    """What came out.

    Parameters
    ----------
    masks
        By tracer: 0/1, uint8, [z, y, x], on the exact grid of the PET.
    report
        The run report: JSON values.
    """

    masks: Mapping[Tracer, Volume]
    report: dict[str, Any]


@dataclass
class _Run:
    """What a run gathers for its report."""

    watch: Stopwatch = field(default_factory=Stopwatch)
    fallbacks: list[str] = field(default_factory=list)
    windows: dict[str, int] = field(default_factory=lambda: {"run": 0, "skipped": 0})
    plan: ComputePlan | None = None


def segment(
    case: Case,
    recipe: Recipe,
    store: WeightsStore,
    device: str = "auto",
    progress: ProgressBar | None = None,
    watch: Stopwatch | None = None,
) -> Segmentation:
    """Segment a case.

    Parameters
    ----------
    case
        From `deeppsma.case.load_case`.
    recipe
        What to do.
    store
        Where the recipe's members are.
    device
        "auto", "cuda" or "cpu".
    progress
        Shows how many windows are done.
    watch
        Stage timings are added to it.

    Returns
    -------
    Segmentation
        Where no voxel reaches its threshold, the masks are empty.

    Raises
    ------
    DeepPsmaError
        One line that names the cause and the remedy.
    """
    run = _Run(watch or Stopwatch())
    with run.watch.stage("read weights"):
        members = store.choose(recipe.members)
    thresholds = case.thresholds
    _note_formats(case, run)
    with run.watch.stage("read PET"):
        pets = {tracer: case.study(tracer).read_pet() for tracer in Tracer}
        grids = {tracer: pets[tracer].geometry for tracer in Tracer}
    with run.watch.stage("spaces"):
        spaces = build_spaces(pets, thresholds, case.fdg_to_psma)
        del pets  # what is needed of them has been cropped
    masks: dict[Tracer, NDArray[np.bool_]] = {}
    if spaces:
        organs = _read_organs(case, recipe, members, run)
        logits = _logits(case, recipe, members, spaces, organs, device, progress, run)
        for tracer in Tracer:
            if tracer in spaces:
                masks[tracer] = _mask(tracer, case, recipe, spaces, logits, organs, run)
    with run.watch.stage("masks"):
        whole = {tracer: _on_full_grid(spaces.get(tracer), masks.get(tracer), grids[tracer]) for tracer in Tracer}
        findings = {t: _findings(spaces.get(t), masks.get(t), thresholds[t]) for t in Tracer}
    report = describe_run(case, recipe, members, run.plan, run.watch, run.windows, run.fallbacks, findings)
    return Segmentation(whole, report)


def _note_formats(case: Case, run: _Run) -> None:
    for tracer in Tracer:
        study = case.study(tracer)
        for what, file in (("PET", study.pet), ("organ map", study.organs)):
            if file is not None and file.unsaid_position is not None:
                run.fallbacks.append(f"{tracer.upper()} {what}: {file.unsaid_position}")


def _read_organs(case: Case, recipe: Recipe, members: list[Member], run: _Run) -> dict[Tracer, Volume | None]:
    keeps = recipe.growing is not None and bool(recipe.growing.kept_organs)
    feeds = any(member.network.needs("organs") for member in members)
    out: dict[Tracer, Volume | None] = dict.fromkeys(Tracer)
    if not (keeps or feeds):
        return out
    with run.watch.stage("read organs"):
        for tracer in Tracer:
            out[tracer] = case.study(tracer).read_organs()
            if out[tracer] is None:
                effects = ["the network sees no organs"] * feeds + ["growing spares no organ"] * keeps
                run.fallbacks.append(f"no {tracer.upper()} organ map: {', '.join(effects)}")
    return out


def _logits(
    case: Case,
    recipe: Recipe,
    members: list[Member],
    spaces: Mapping[Tracer, Space],
    organs: Mapping[Tracer, Volume | None],
    device: str,
    progress: ProgressBar | None,
    run: _Run,
) -> dict[Tracer, Logits]:
    """Ensemble logits by fixed tracer."""
    with run.watch.stage("start torch"):
        plan, fallback = plan_compute(device)
        _make_deterministic()
    if fallback:
        run.fallbacks.append(fallback)
    networks: dict[str, torch.nn.Module] = {}
    found: dict[Tracer, Logits] = {}
    for fixed, space in spaces.items():
        # One space at a time, and its channels once for all members that are fed alike: memory does not grow.
        jobs: dict[NetworkConfig, Prediction] = {}
        of_members = []
        for member in members:
            if member.network not in jobs:
                with run.watch.stage("channels"):
                    channels = _channels(member.network, list(jobs.values()), space, case, organs)
                    wanted = wanted_tracers(recipe.fusion, fixed)
                    jobs[member.network] = plan_prediction(
                        member.network, space, channels, wanted, recipe.window_overlap
                    )
            if member.name not in networks:
                with run.watch.stage("read weights"):
                    networks[member.name] = member.load()
            advance = progress(jobs[member.network].windows_needed) if progress is not None else None
            with run.watch.stage("network"):
                outcome = predict(
                    networks[member.name],
                    jobs[member.network],
                    plan,
                    recipe.window_overlap,
                    advance,
                    run.fallbacks.append,
                )
            plan = outcome.plan
            run.windows["run"] += outcome.windows_run
            run.windows["skipped"] += outcome.windows_skipped
            of_members.append(outcome.logits)
        found[fixed] = mean_logits(of_members)
    run.plan = plan
    return found


def _channels(
    config: NetworkConfig,
    made: list[Prediction],
    space: Space,
    case: Case,
    organs: Mapping[Tracer, Volume | None],
) -> Channels:
    block = config.block_zyx(space.geometry)
    for job in made:
        if job.config.channels == config.channels and job.channels.block_zyx == block:
            return job.channels
    return build_channels(config, space, case.thresholds, organs, case.fdg_to_psma)


def _mask(
    tracer: Tracer,
    case: Case,
    recipe: Recipe,
    spaces: Mapping[Tracer, Space],
    logits: Mapping[Tracer, Logits],
    organs: Mapping[Tracer, Volume | None],
    run: _Run,
) -> NDArray[np.bool_]:
    with run.watch.stage("fusion"):
        mask = fuse(recipe.fusion, tracer, spaces, logits, case.fdg_to_psma)
    if recipe.growing is None:
        return mask
    with run.watch.stage("growing"):
        return _grown(mask, spaces[tracer], organs[tracer], recipe.growing)


def _grown(mask: NDArray[np.bool_], space: Space, organs: Volume | None, growing: Growing) -> NDArray[np.bool_]:
    around = Box.around_mask(mask)
    if around is None:
        return mask
    reach = tuple(int(growing.radius_mm / s) + 2 for s in space.geometry.spacing_zyx)
    box = around.grown((reach[0], reach[1], reach[2])).clipped(mask.shape)
    kept = np.zeros(box.shape_zyx, dtype=bool)
    if organs is not None and growing.kept_organs:
        labels = resample(organs, space.geometry.cropped(box), labels=True)
        kept = np.isin(labels, growing.kept_organs)
    out = mask.copy()
    out[box.slices] = grow(mask[box.slices], space.hot[box.slices], space.geometry.spacing_zyx, growing.radius_mm, kept)
    return out


def _on_full_grid(space: Space | None, mask: NDArray[np.bool_] | None, grid: Geometry) -> Volume:
    whole = np.zeros(grid.shape_zyx, dtype=np.uint8)
    if space is not None and mask is not None:
        whole[space.box.slices] = mask
    return Volume(whole, grid)


def _findings(space: Space | None, mask: NDArray[np.bool_] | None, threshold_suv: float) -> dict[str, Any]:
    """Volume, components and SUV of a mask."""
    if space is None or mask is None or not mask.any():
        return {"threshold_suv": threshold_suv, "volume_ml": 0.0, "components": 0}
    from scipy.ndimage import generate_binary_structure, label

    suv = space.pet[space.fixed][mask]
    around = Box.around_mask(mask) or Box.whole(space.geometry.shape_zyx)
    _, components = label(mask[around.slices], generate_binary_structure(3, 2))
    return {
        "threshold_suv": threshold_suv,
        "volume_ml": round(float(mask.sum()) * space.geometry.voxel_volume_ml, 3),
        "components": int(components),
        "suv_max": round(float(suv.max()), 3),
        "suv_mean": round(float(suv.mean(dtype=np.float64)), 3),
    }


def _make_deterministic() -> None:
    import torch

    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
