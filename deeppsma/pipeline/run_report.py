"""The run report: what was run, on what, with what, how long, and what went otherwise.

A frozen `RunReport`; JSON stands at the edge alone (`as_dict`, `from_dict`), and follows
``resources/schemas/run_report.schema.json``, which `json_schema` makes.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from deeppsma._version import __version__
from deeppsma.core.geometry import Geometry
from deeppsma.core.stopwatch import peak_memory_mb
from deeppsma.core.tracer import Tracer
from deeppsma.inference.device import ComputePlan
from deeppsma.io.case import Case, ImageSource
from deeppsma.io.suv_record import SuvRecord
from deeppsma.models.provenance import shortened
from deeppsma.models.weights import NOTICE, Member

#: Raised when a key changes its meaning or goes; a new key does not raise it.
REPORT_VERSION = 2
_PACKAGES = ("torch", "monai", "SimpleITK", "numpy", "scipy", "safetensors")


@dataclass(frozen=True)
class Findings:
    """What a mask holds.

    Parameters
    ----------
    threshold_suv
        SUV; every voxel of the mask reaches it.
    volume_ml
        Of the mask (PSMA-TV, MTV).
    components
        Voxels that share a face or an edge count together.
    suv_max, suv_mean
        Over the mask; None where it is empty.
    rethresholded_ml
        Volume of the same lesions at other thresholds, by rule; nothing is
        segmented anew. See `deeppsma.postprocessing.rethresholded`.
    """

    threshold_suv: float
    volume_ml: float = 0.0
    components: int = 0
    suv_max: float | None = None
    suv_mean: float | None = None
    rethresholded_ml: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageRecord:
    """An image that was given: its file's name, and its grid as the file has it."""

    file: str
    shape_zyx: tuple[int, int, int]
    spacing_zyx_mm: tuple[float, float, float]
    direction: tuple[float, ...]


@dataclass(frozen=True)
class StudyRecord:
    """What a study consisted of; None for what it has not. ``suv``: where it was derived from DICOM headers."""

    pet: ImageRecord
    organs: ImageRecord | None = None
    ct: ImageRecord | None = None
    suv: SuvRecord | None = None


@dataclass(frozen=True)
class MemberRecord:
    """A network that was run: its weights' SHA-256, and what they have seen."""

    name: str
    what: str
    sha256: str
    trained_on: str
    folder: str


@dataclass(frozen=True)
class RunReport:
    """Report of one run on one case.

    Parameters
    ----------
    notice
        Not for clinical use, and what the weights have seen.
    case
        Its name.
    findings
        By tracer, of the masks.
    fallbacks
        Everything that did not go as planned, a line each.
    recipe
        Its settings.
    members
        Networks that were run.
    device
        Where, and in which precision.
    windows
        How many were run; skipped, because nothing in them reaches the
        threshold; settled, because the members before had left nothing to
        decide there.
    inputs
        By tracer.
    seconds
        By stage.
    peak_memory_mb, peak_gpu_memory_mb
        Of the process; the latter None without a GPU.
    versions
        Of this package, Python, and the packages that compute.
    refinement
        The model, and the FDG lesions that it took away; None without one.
    foci
        What is known of each focus, by tracer, where a recipe looks at foci.
    deadline
        Where there was a time limit: the plan that was made, once; members
        that there was no time for.
    report_version
        `REPORT_VERSION` of who wrote it.
    """

    notice: str
    case: str
    findings: Mapping[Tracer, Findings]
    fallbacks: tuple[str, ...]
    recipe: Mapping[str, Any]
    members: tuple[MemberRecord, ...]
    device: str
    windows: Mapping[str, int]
    inputs: Mapping[Tracer, StudyRecord]
    seconds: Mapping[str, float]
    peak_memory_mb: int
    peak_gpu_memory_mb: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    refinement: Mapping[str, Any] | None = None
    foci: Mapping[Tracer, tuple[Mapping[str, Any], ...]] | None = None
    deadline: Mapping[str, Any] | None = None
    report_version: int = REPORT_VERSION

    @property
    def short_notice(self) -> str:
        """The notice for a terminal; where something is cut, it says where the whole is."""
        short = shortened(self.notice)
        return short if short == self.notice else f"{short.removesuffix('.')}; in full: run_report.json."

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        import msgspec

        content: dict[str, Any] = msgspec.to_builtins(self, str_keys=True)
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RunReport:
        """Report from JSON values.

        Raises
        ------
        ValueError
            If it is none, or of another version.
        """
        from deeppsma.core.settings import from_plain

        found = content.get("report_version") if isinstance(content, Mapping) else None
        if found != REPORT_VERSION:
            raise ValueError(f"a run report of version {found}, not {REPORT_VERSION}")
        return from_plain(cls, content)


def stored_report(out: Path) -> RunReport:
    """Run report of a result folder.

    Raises
    ------
    InputError
        If there is none, or it makes no sense.
    """
    from deeppsma.core.errors import InputError
    from deeppsma.core.settings import read_json

    path = out / "run_report.json"
    remedy = "segment the case again"
    try:
        return RunReport.from_dict(read_json(path, remedy))
    except ValueError as error:
        raise InputError(path, str(error), remedy) from None


def json_schema() -> dict[str, Any]:
    """JSON schema of a run report."""
    import msgspec

    # Defaults are tuples until they are JSON.
    schema: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(RunReport)))
    return schema


@dataclass(frozen=True)
class Resources:
    """What a run used.

    Parameters
    ----------
    plan
        Where the networks ran; None if they did not have to.
    windows
        How many were run, skipped and settled.
    seconds
        By stage.
    """

    plan: ComputePlan | None
    windows: Mapping[str, int]
    seconds: Mapping[str, float]


def describe_run(
    case: Case,
    recipe: Mapping[str, Any],
    members: Sequence[Member],
    used: Resources,
    fallbacks: Sequence[str],
    findings: Mapping[Tracer, Findings],
    refinement: Mapping[str, Any] | None = None,
    foci: Mapping[Tracer, Sequence[Mapping[str, Any]]] | None = None,
) -> RunReport:
    """Run report of one case.

    Parameters
    ----------
    case, recipe, members
        What was run.
    used
        What that took.
    fallbacks
        Everything that did not go as planned, a line each.
    findings
        Of the masks, by tracer.
    refinement, foci
        See `RunReport`.
    """
    trained_on = sorted({member.trained_on for member in members})
    return RunReport(
        notice=f"{NOTICE} Weights trained on: {'; '.join(trained_on)}.",
        case=case.name,
        findings=dict(findings),
        fallbacks=tuple(fallbacks),
        recipe=dict(recipe),
        members=tuple(MemberRecord(m.name, m.network.summary, m.sha256, m.trained_on, str(m.folder)) for m in members),
        device=used.plan.description if used.plan is not None else "not needed: no voxel reaches its threshold",
        windows=dict(used.windows),
        inputs={tracer: _study(case, tracer) for tracer in case.tracers},
        seconds=dict(used.seconds),
        peak_memory_mb=round(peak_memory_mb()),
        peak_gpu_memory_mb=_gpu_peak_mb(used.plan),
        versions=versions(),
        refinement=refinement,
        foci=None if foci is None else {tracer: tuple(lines) for tracer, lines in foci.items()},
    )


def versions() -> dict[str, str]:
    """Of this package, Python, and the packages that compute."""
    packages = {package: _version(package) for package in _PACKAGES}
    return {"deeppsma": __version__, "python": platform.python_version(), **packages}


def _study(case: Case, tracer: Tracer) -> StudyRecord:
    study = case.study(tracer)
    organs = None if study.organs is None else _image(study.organs)
    return StudyRecord(_image(study.pet), organs, None if study.ct is None else _image(study.ct), study.suv)


def _image(image: ImageSource) -> ImageRecord:
    grid: Geometry = image.geometry
    return ImageRecord(image.path.name, grid.shape_zyx, grid.spacing_zyx, grid.direction)


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


if __name__ == "__main__":
    import json

    print(json.dumps(json_schema(), indent=1, sort_keys=True))
