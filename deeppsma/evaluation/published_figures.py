"""A cohort held against published figures: figure, real, ours, ratio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deeppsma.core.settings import read_toml
from deeppsma.core.tracer import Tracer
from deeppsma.evaluation.spheres import sphere_recovery
from deeppsma.evaluation.survey import HU_EDGES, RATIO_EDGES, CaseFigures, pooled
from deeppsma.phantom.scan.scanners import SCANNERS
from deeppsma.phantom.uptake.radioligand import RADIOLIGANDS

_MOST_COMMON_SPACING = (3.27, 2.865, 2.865)
_SPHERES_MM = (10, 13, 17, 22)
_SHOWN_BY = 3.0


@dataclass(frozen=True)
class Figure:
    """A published figure and what is wanted of a cohort.

    Parameters
    ----------
    key, title
        For the program; for people.
    real
        What was published.
    goal
        Within this share of it is wanted, or None.
    sd
        Within one reported standard deviation is wanted, or None.
    source
        Where ``real`` comes from, if that needs saying.
    """

    key: str
    title: str
    real: float
    goal: float | None = None
    sd: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Row:
    """A figure and what the cohort has."""

    figure: Figure
    ours: float
    cases: int

    @property
    def ratio(self) -> float:
        """Ours over real."""
        return self.ours / self.figure.real

    @property
    def verdict(self) -> str:
        """Whether the wish is met: "yes", "no", or "" where there is none."""
        figure = self.figure
        off = abs(self.ours - figure.real)
        limit = figure.sd if figure.sd is not None else None if figure.goal is None else figure.goal * abs(figure.real)
        return "" if limit is None else "yes" if off <= limit else "no"


def reference() -> list[Figure]:
    """The figures of `resources/phantom/reference.toml`."""
    return [Figure(**row) for row in read_toml("phantom", "reference")[1]["figure"]]


def compare(cases: Sequence[CaseFigures]) -> list[Row]:
    """Rows of those figures that the cohort has."""
    ours = dict(_figures(cases))
    rows = []
    for figure in reference():
        if figure.key in ours and np.isfinite(ours[figure.key][0]):
            rows.append(Row(figure, *ours[figure.key]))
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """The table."""
    lines = [
        "| figure | real | ours | ratio | wanted | met | cases |",
        "| --- | ---: | ---: | ---: | --- | --- | ---: |",
    ]
    for row in rows:
        figure = row.figure
        wanted = f"+- {figure.goal:.0%}" if figure.goal else f"+- {figure.sd:g} (1 SD)" if figure.sd else ""
        lines.append(
            f"| {figure.title} | {figure.real:g} | {row.ours:.3g} | {row.ratio:.2f} | {wanted} | {row.verdict} "
            f"| {row.cases or ''} |"
        )
    return "\n".join(lines)


def trivial_line(cases: Sequence[CaseFigures]) -> str:
    """How well the answer without a network does: mean, median and highest DSC by tracer."""
    parts = []
    for tracer in Tracer:
        dsc = np.array([case.studies[tracer].trivial_dsc for case in cases])
        parts.append(f"{tracer.upper()} mean {dsc.mean():.3f}, median {np.median(dsc):.3f}, highest {dsc.max():.3f}")
    without = sum(not study.has_organs for case in cases for study in case.studies.values())
    note = f" ({without} studies have no organ map: nothing was left out there)" if without else ""
    return f"DSC of the trivial answer (hot voxels outside kidneys, liver, bladder){note}: {'; '.join(parts)}"


def _figures(cases: Sequence[CaseFigures]) -> Iterator[tuple[str, tuple[float, int]]]:
    """Key, value and number of cases of all that can be measured."""
    for tracer in Tracer:
        studies = [case.studies[tracer] for case in cases]
        for name, value in pooled([s.ratios for s in studies], RATIO_EDGES).items():
            yield f"pet.{tracer}.{name}", (value, sum(bool(s.ratios.any()) for s in studies))
        yield f"pet.{tracer}.max", (max(s.highest_ratio for s in studies), len(cases))
        for name, value in pooled([s.hounsfield for s in studies], HU_EDGES).items():
            yield f"ct.{tracer}.{name}", (value, sum(bool(s.hounsfield.any()) for s in studies))
        common = [np.allclose(s.spacing_zyx, _MOST_COMMON_SPACING, atol=0.01) for s in studies]
        yield f"grid.{tracer}.most_common", (float(np.mean(common)), len(cases))
        volumes = np.array([s.disease_ml for s in studies])
        for name, share in (("q1", 25), ("median", 50), ("q3", 75)):
            yield f"disease.{tracer}.volume.{name}", (float(np.percentile(volumes, share)), len(cases))
        yield f"disease.{tracer}.volume.above_200", (float((volumes >= 200).mean()), len(cases))
        seen = [s for s in studies if s.disease_ml > 0]
        for name in ("suv_mean", "suv_max"):
            if seen:
                values = [getattr(s, f"disease_{name}") for s in seen]
                yield f"disease.{tracer}.{name}.median", (float(np.median(values)), len(seen))
        noise = [s.liver_cov for s in studies if np.isfinite(s.liver_cov)]
        if noise:
            yield f"noise.{tracer}", (float(np.median(noise)), len(noise))
    cards = [case.card for case in cases if case.card]
    if not cards:
        return  # what follows is of synthetic patients and of their scanners
    yield from _from_cards(cards)
    for maker, scanner in (("ge", "ge-3.27-192"), ("siemens", "siemens-4-200")):
        for diameter in _SPHERES_MM:
            chosen = next(s for s in SCANNERS if s.name == scanner)
            yield f"sphere.{maker}.{diameter}", (sphere_recovery(diameter, chosen, RADIOLIGANDS[-1]), 0)


def _from_cards(cards: Sequence[dict[str, Any]]) -> Iterator[tuple[str, tuple[float, int]]]:
    """What only a synthetic patient's card knows."""
    for ligand in RADIOLIGANDS:
        imaged = [s["imaged_suv"] for c in cards for s in c["sessions"].values() if s["radioligand"] == ligand.name]
        for tissue in sorted({name for tissues in imaged for name in tissues}):
            for measure in ("mean", "max"):
                values = [tissues[tissue][measure] for tissues in imaged if tissue in tissues]
                yield f"organ.{ligand.key}.{tissue}.{measure}", (float(np.mean(values)), len(values))
    lesions = [card["lesions"] for card in cards]
    yield "disease.lesions.median", (float(np.median([len(each) for each in lesions])), len(cards))
    for key, kinds in (("bone", {"bone", "marrow"}), ("node", {"node"}), ("liver", {"liver"}), ("lung", {"lung"})):
        having = [any(lesion["kind"] in kinds for lesion in each) for each in lesions]
        yield f"disease.{key}", (float(np.mean(having)), len(cards))
    only = [any(s["suv"]["psma"] < _SHOWN_BY <= s["suv"]["fdg"] for s in each) for each in lesions]
    yield "disease.fdg_only", (float(np.mean(only)), len(cards))
