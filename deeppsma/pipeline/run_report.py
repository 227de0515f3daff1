"""The run report: what was run, on what, with what, how long, and what went otherwise."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from deeppsma._version import __version__
from deeppsma.core.geometry import Geometry
from deeppsma.core.stopwatch import Stopwatch, peak_memory_mb
from deeppsma.core.tracer import Tracer
from deeppsma.inference.device import ComputePlan
from deeppsma.io.case import Case
from deeppsma.models.weights import NOTICE, Member
from deeppsma.pipeline.recipe import Recipe

_PACKAGES = ("torch", "monai", "SimpleITK", "numpy", "scipy", "safetensors")


def describe_run(
    case: Case,
    recipe: Recipe,
    members: list[Member],
    plan: ComputePlan | None,
    watch: Stopwatch,
    windows: Mapping[str, int],
    fallbacks: list[str],
    findings: Mapping[Tracer, dict[str, Any]],
) -> dict[str, Any]:
    """Run report of one case; JSON values.

    Parameters
    ----------
    case, recipe, members
        What was run.
    plan
        Where the network ran; None if it did not have to.
    watch
        Stage timings so far.
    windows
        How many were run and skipped.
    fallbacks
        Everything that did not go as planned, a line each.
    findings
        Of the masks, by tracer.
    """
    trained_on = sorted({member.trained_on for member in members})
    return {
        "notice": f"{NOTICE} Weights trained on: {'; '.join(trained_on)}.",
        "case": case.name,
        "findings": {tracer.value: findings[tracer] for tracer in Tracer},
        "fallbacks": list(fallbacks),
        "recipe": recipe.as_dict(),
        "members": [
            {
                "name": m.name,
                "what": m.network.summary,
                "sha256": m.sha256,
                "trained_on": m.trained_on,
                "folder": str(m.folder),
            }
            for m in members
        ],
        "device": plan.description if plan is not None else "not needed: no voxel reaches its threshold",
        "windows": dict(windows),
        "inputs": {tracer.value: _inputs(case, tracer) for tracer in Tracer},
        "seconds": watch.rounded(),
        "peak_memory_mb": round(peak_memory_mb()),
        "peak_gpu_memory_mb": _gpu_peak_mb(plan),
        "versions": {
            "deeppsma": __version__,
            "python": platform.python_version(),
            **{package: _version(package) for package in _PACKAGES},
        },
    }


def _inputs(case: Case, tracer: Tracer) -> dict[str, Any]:
    study = case.study(tracer)
    return {
        "pet": _image(study.pet.path.name, study.pet.geometry),
        "organs": None if study.organs is None else _image(study.organs.path.name, study.organs.geometry),
    }


def _image(name: str, geometry: Geometry) -> dict[str, Any]:
    return {"file": name, "shape_zyx": list(geometry.shape_zyx), "spacing_zyx_mm": list(geometry.spacing_zyx)}


def _gpu_peak_mb(plan: ComputePlan | None) -> int | None:
    if plan is None or plan.device != "cuda":
        return None
    import torch

    return round(torch.cuda.max_memory_allocated() / 1e6)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
