"""The pipeline: case, spaces, channels, network, fusion, growing, masks.

Everything here runs in one process; images are read once, and cropped before
anything is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.box import Box
from deeppsma.case import Case
from deeppsma.channels import build_channels
from deeppsma.compute import ComputePlan, plan_compute
from deeppsma.errors import ConfigurationError
from deeppsma.fusion import fuse, mean_logits, wanted_tracers
from deeppsma.growing import grow
from deeppsma.images import Volume
from deeppsma.predict import Logits, Prediction, plan_prediction, predict
from deeppsma.recipe import ALL_MEMBERS, Growing, Recipe
from deeppsma.report import describe_run
from deeppsma.spaces import Space, build_spaces, resample
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
        members = [store.member(name) for name in _member_names(recipe, store)]
    thresholds = {tracer: case.study(tracer).threshold_suv for tracer in Tracer}
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


def _member_names(recipe: Recipe, store: WeightsStore) -> Iterable[str]:
    if recipe.members != (ALL_MEMBERS,):
        return recipe.members
    if not store.names():
        remedy = "train some, or give their folder with --weights"
        raise ConfigurationError(recipe.name, "no weights to average", remedy)
    return store.names()


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
    jobs: list[tuple[Member, Tracer, Prediction]] = []
    with run.watch.stage("channels"):
        for fixed, space in spaces.items():
            for member in members:
                channels = build_channels(member.network, space, _thresholds(case), organs, case.fdg_to_psma)
                wanted = wanted_tracers(recipe.fusion, fixed)
                jobs.append(
                    (member, fixed, plan_prediction(member.network, space, channels, wanted, recipe.window_overlap))
                )
    needed = [sum(job.holds_needed(window) for window in job.windows) for _, _, job in jobs]
    run.windows["run"] = sum(needed)
    run.windows["skipped"] = sum(len(job.windows) for _, _, job in jobs) - sum(needed)
    advance = progress(sum(needed)) if progress is not None else None
    networks: dict[str, torch.nn.Module] = {}
    found: dict[Tracer, list[Logits]] = {fixed: [] for fixed in spaces}
    for member, fixed, job in jobs:
        if member.name not in networks:
            with run.watch.stage("read weights"):
                networks[member.name] = member.load()
        with run.watch.stage("network"):
            logits, plan = predict(
                networks[member.name], job, plan, recipe.window_overlap, advance, run.fallbacks.append
            )
        found[fixed].append(logits)
    run.plan = plan
    return {fixed: mean_logits(of_members) for fixed, of_members in found.items()}


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


def _on_full_grid(space: Space | None, mask: NDArray[np.bool_] | None, grid: Any) -> Volume:
    whole = np.zeros(grid.shape_zyx, dtype=np.uint8)
    if space is not None and mask is not None:
        whole[space.box.slices] = mask
    return Volume(whole, grid)


def _findings(space: Space | None, mask: NDArray[np.bool_] | None, threshold_suv: float) -> dict[str, Any]:
    """Volume, components and SUV of a mask."""
    if space is None or mask is None or not mask.any():
        return {"threshold_suv": threshold_suv, "volume_ml": 0.0, "components": 0}
    from scipy.ndimage import label

    suv = space.pet[space.fixed][mask]
    _, components = label(mask, np.ones((3, 3, 3)))
    return {
        "threshold_suv": threshold_suv,
        "volume_ml": round(float(mask.sum()) * space.geometry.voxel_volume_ml, 3),
        "components": int(components),
        "suv_max": round(float(suv.max()), 3),
        "suv_mean": round(float(suv.mean(dtype=np.float64)), 3),
    }


def _thresholds(case: Case) -> dict[Tracer, float]:
    return {tracer: case.study(tracer).threshold_suv for tracer in Tracer}


def _make_deterministic() -> None:
    import torch

    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
