"""How a result came about, in words: written from the run's own record, for page, PDF and JSON."""

from __future__ import annotations

from typing import Any

from deeppsma._version import __version__
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.reporting.concordance import TOLERANCE_MM
from deeppsma.reporting.content import ReportContent
from deeppsma.reporting.lesion_table import SMALL_ML, SMALL_VOXELS
from deeppsma.reporting.pairing import SHARE

_UNKNOWN = "not in the run report"


def subtitle(content: ReportContent) -> str:
    """One line under the title: recipe and versions."""
    report = content.result.run_report
    recipe = _get(report, "recipe", "name")
    return f"Recipe {recipe}, deeppsma {_get(report, 'versions', 'deeppsma')}; report made by deeppsma {__version__}."


def footer_line(content: ReportContent) -> str:
    """The run report's own notice."""
    return str(content.result.run_report.get("notice", ""))


def methods_paragraphs(content: ReportContent, viewer_grid: Geometry | None = None) -> list[str]:
    """The methods, a paragraph each; what the run report does not say is said to be missing."""
    result = content.result
    report = result.run_report
    thresholds = " and ".join(f"{t.upper()} SUV {result.scans[t].threshold_suv:.3g}" for t in result.tracers)
    trained = sorted({str(m.get("trained_on", _UNKNOWN)) for m in report.get("members", []) if isinstance(m, dict)})
    paragraphs = [
        f"Segmentation. Recipe {_get(report, 'recipe', 'name')}: {_get(report, 'recipe', 'summary').rstrip('.')} "
        f"(origin: {_get(report, 'recipe', 'source')}). Disease is at or above the threshold that came with the case: "
        f"{thresholds}. Networks trained on: {'; '.join(trained) or _UNKNOWN}.",
        "Lesions. A lesion is a focus of the mask: h-maxima of PET over threshold (h = 1/6, steps of at most 8 mm) and "
        "watershed, after GTRC-Net. Components are voxels that share a face or an edge. Foci below "
        f"{SMALL_ML:g} ml or {SMALL_VOXELS} voxels are counted apart and stay in all volumes. Numbers go from the "
        "largest on.",
        "Figures. Volume is the number of voxels times the voxel's volume. SUVmean of all disease is over all voxels. "
        "PSMA-TL and TLG are volume times SUVmean, in g. SUVpeak is the highest mean of a sphere of 1 ml "
        "(radius 6.2 mm) centred on a voxel of the lesion, each voxel weighted by its share of the sphere.",
        "Names. A focus is named by the organ map's nearest labels, with an allowance for each site; the second choice "
        "is the next site. Accuracy was measured on synthetic patients only (docs/report.md).",
    ]
    if content.concordance is not None:
        paragraphs.append(
            "Both tracers. FDG points are mapped to the PSMA scan by the case's rigid registration; lesions pair if at "
            f"least {100 * SHARE:.0f} % of one lies within {TOLERANCE_MM:g} mm of the other tracer's disease, a choice "
            "of this program."
        )
    if viewer_grid is not None:
        paragraphs.append(f"Viewer. Pictures are on {viewer_grid.describe()}, PET in steps of SUV 0.1 up to 25.5.")
    spacing = "; ".join(
        f"{t.upper()} {' x '.join(f'{s:.3g}' for s in result.scans[t].pet.geometry.spacing_zyx)} mm (z, y, x), "
        f"mask SHA-256 {result.scans[t].mask_sha256[:16]}"
        for t in result.tracers
    )
    versions = report.get("versions", {})
    listed = ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, dict) else ""
    paragraphs.append(f"Images. {spacing}. Versions: {listed or _UNKNOWN}.")
    return paragraphs


def _get(report: Any, *keys: str) -> str:
    for key in keys:
        report = report.get(key) if isinstance(report, dict) else None
    return _UNKNOWN if report in (None, "") else str(report)


def acquisition(content: ReportContent, tracer: Tracer) -> str:
    """Nuclide, activity and time after injection, as the run report has them from DICOM; else "not in the input"."""
    inputs = content.result.run_report.get("inputs", {})
    session = inputs.get(tracer.value) if isinstance(inputs, dict) else None
    suv = session.get("suv") if isinstance(session, dict) else None
    given = suv if isinstance(suv, dict) else {}
    parts = [str(given["nuclide"])] if given.get("nuclide") else []
    parts += [f"{given['dose_mbq']:.0f} MBq"] if given.get("dose_mbq") is not None else []
    parts += [f"{given['uptake_min']:.0f} min"] if given.get("uptake_min") is not None else []
    return ", ".join(parts) or "not in the input"
