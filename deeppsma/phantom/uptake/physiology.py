"""What each tissue takes up in one patient on one day."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from deeppsma.core.settings import read_toml
from deeppsma.core.tracer import Tracer
from deeppsma.phantom.anatomy.physique import Physique
from deeppsma.phantom.uptake.radioligand import Radioligand

#: Share of men whose uptake is so on a given day; see `Physiology`.
_FUROSEMIDE, _METFORMIN, _ACTIVE_MARROW = 0.45, 0.15, 0.10
#: Myocardium on FDG: nothing beyond blood, some walls, all of it (fasting overnight or for hours).
_HEARTS = {"none": 0.38, "patchy": 0.32, "whole": 0.30}
_OTHER_GLANDS = ("submandibular", "sublingual", "lacrimal")
_URINE = ("urine", "urine_late", "calyces", "urethra")


@dataclass(frozen=True)
class Physiology:
    """State of one man on the day of one scan.

    Parameters
    ----------
    furosemide
        Given before the scan: urine is dilute.
    heart
        Pattern of the myocardium on FDG: "none", "patchy" or "whole".
    metformin
        Makes the bowel take up FDG.
    active_marrow
        Factor on marrow: above 1 after growth factors or in anaemia (FDG).
    tumour_ml
        PSMA-avid disease, for the tumour sink.
    """

    furosemide: bool
    heart: str
    metformin: bool
    active_marrow: float
    tumour_ml: float = 0.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Physiology:
        """The state on one day, without disease."""
        return cls(
            furosemide=bool(rng.random() < _FUROSEMIDE),
            heart=str(rng.choice(list(_HEARTS), p=list(_HEARTS.values()))),
            metformin=bool(rng.random() < _METFORMIN),
            active_marrow=float(rng.uniform(1.5, 2.5)) if rng.random() < _ACTIVE_MARROW else 1.0,
        )

    def with_tumour(self, tumour_ml: float) -> Physiology:
        """The same day with this much PSMA-avid disease."""
        return replace(self, tumour_ml=tumour_ml)


@cache
def tables() -> dict[str, Any]:
    """Content of `resources/phantom/uptake.toml`; every ligand's table is whole."""
    _, content = read_toml("phantom", "uptake")
    uptake = content["uptake"]
    for key in ("dcfpyl", "psma-1007"):
        uptake[key] = {**uptake["psma-11"], **uptake[key]}
    for table in uptake.values():
        table["urine_late"] = table["urine"]
    return content


def draw_uptake(ligand: Radioligand, physique: Physique, day: Physiology, rng: np.random.Generator) -> dict[str, float]:
    """SUV of every tissue for one patient on one day.

    Parameters
    ----------
    ligand, physique, day
        Tracer, man, and his state.
    rng
        Source of the draw: one number per tissue, in the table's order.
    """
    content = tables()
    table: Mapping[str, tuple[float, float]] = content["uptake"][ligand.key]
    deviate = dict(zip(table, rng.standard_normal(len(table)), strict=True))
    # Glands of one man go together, and so do his liver and his spleen.
    for tissue in _OTHER_GLANDS:
        deviate[tissue] = 0.8 * deviate["parotid"] + 0.6 * deviate[tissue]
    deviate["medulla"] = 0.9 * deviate["kidney"] + 0.44 * deviate["medulla"]
    deviate["spleen"] = 0.5 * deviate["liver"] + 0.87 * deviate["spleen"]
    deviate["urine_late"] = deviate["urine"]
    deviate["calyces"] = 0.6 * deviate["urine"] + 0.8 * deviate["calyces"]
    # SUV by body weight runs high in heavy men: fat takes up little.
    heavy = 0.25 * math.log(physique.weight_kg / 84)
    suv = {name: median * math.exp(sd * deviate[name] + heavy) for name, (median, sd) in table.items()}
    if ligand.tracer is Tracer.PSMA:
        _tumour_sink(suv, day, content["sink"])
        if day.furosemide:
            _scale(suv, _URINE, 0.36)
            _scale(suv, ("ureter_urine",), 0.65)
    else:
        _fdg_of_the_day(suv, day, rng)
    return suv


def _tumour_sink(suv: dict[str, float], day: Physiology, strength: Mapping[str, float]) -> None:
    tenfolds = math.log10(max(day.tumour_ml, 10.0) / 100.0)
    for tissue, share in strength.items():
        suv[tissue] *= math.exp(-share * tenfolds)


def _fdg_of_the_day(suv: dict[str, float], day: Physiology, rng: np.random.Generator) -> None:
    walls = [name for name in suv if name.startswith("myocardium_")]
    hot = {"none": (), "whole": walls, "patchy": [w for w in walls if rng.random() < 0.5]}[day.heart]
    whole = day.heart == "whole"
    for name in walls:
        # A wall that burns sugar glows as the heart does; one that burns fat is as blood.
        suv[name] = max(suv["myocardium"], 3.0) * float(rng.lognormal(0, 0.15)) if name in hot else suv["blood"] * 1.15
    suv["myocardium"] = suv["myocardium"] if whole else suv["blood"] * 1.15
    if day.metformin:
        _scale(suv, [name for name in suv if name.startswith("colon")], float(rng.uniform(2, 5)))
        _scale(suv, ("ileum", "jejunum"), float(rng.uniform(1, 2.5)))
    _scale(suv, ("marrow",), day.active_marrow)
    _scale(suv, ("spleen",), day.active_marrow**0.4)
    if day.furosemide:
        _scale(suv, (*_URINE, "ureter_urine"), 0.55)


def _scale(suv: dict[str, float], tissues: Sequence[str], factor: float) -> None:
    for name in tissues:
        suv[name] *= factor
