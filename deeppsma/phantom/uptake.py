"""What each tissue takes up, and how dense it is on CT.

Mean SUVs (body weight) with their spread from patient to patient, from the
literature: PSMA-11 organ values of Prasad 2016 and Li 2017, ganglia of
Rischpler 2018, FDG of Wang 2007 and textbooks. Values without a published
figure are estimates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.tracer import Tracer


@dataclass(frozen=True)
class TissueUptake:
    """Median SUV of a tissue and its log-normal spread between patients."""

    suv: float
    log_sd: float = 0.2


_PSMA: dict[str, TissueUptake] = {
    "fat": TissueUptake(0.25),
    "muscle": TissueUptake(0.6, 0.15),
    "marrow": TissueUptake(0.8, 0.25),
    "blood": TissueUptake(1.5, 0.25),
    "myocardium": TissueUptake(1.5, 0.25),
    "lung": TissueUptake(0.4, 0.2),
    "brain": TissueUptake(0.1),
    "cerebellum": TissueUptake(0.1),
    "cord": TissueUptake(0.4),
    "cartilage": TissueUptake(0.5),
    "liver": TissueUptake(5.4, 0.3),
    "spleen": TissueUptake(7.5, 0.42),
    "kidney": TissueUptake(32, 0.38),
    "calyces": TissueUptake(30, 0.5),
    "bile": TissueUptake(4, 0.7),
    "pancreas": TissueUptake(2.3, 0.25),
    "adrenal": TissueUptake(4.2, 0.3),
    "stomach": TissueUptake(3.2, 0.4),
    "duodenum": TissueUptake(11, 0.45),
    "jejunum": TissueUptake(6, 0.5),
    "colon_ascending": TissueUptake(2.2, 0.4),
    "colon_transverse": TissueUptake(2.2, 0.4),
    "colon_descending": TissueUptake(3.5, 0.7),
    "colon_sigmoid": TissueUptake(2.0, 0.4),
    "rectum": TissueUptake(1.8, 0.35),
    "gut_wall": TissueUptake(1.5, 0.25),
    "urine": TissueUptake(22, 0.8),
    "urethra": TissueUptake(6, 0.8),
    "ureter_wall": TissueUptake(1.2),
    "ureter_urine": TissueUptake(16, 0.7),
    "prostate": TissueUptake(2.4, 0.25),
    "testis": TissueUptake(0.8),
    "thyroid": TissueUptake(1.6, 0.4),
    "parotid": TissueUptake(15, 0.35),
    "submandibular": TissueUptake(15, 0.3),
    "sublingual": TissueUptake(7, 0.4),
    "lacrimal": TissueUptake(14, 0.4),
    "nasal_mucosa": TissueUptake(4, 0.4),
    "tonsil": TissueUptake(4.5, 0.4),
    "vocal_cord": TissueUptake(3, 0.5),
    "ganglion": TissueUptake(5, 0.4),
}
_FDG: dict[str, TissueUptake] = {
    "fat": TissueUptake(0.25),
    "muscle": TissueUptake(0.65, 0.15),
    "marrow": TissueUptake(1.1, 0.25),
    "blood": TissueUptake(1.7, 0.15),
    "myocardium": TissueUptake(3.5, 0.8),
    "lung": TissueUptake(0.5, 0.2),
    "brain": TissueUptake(9, 0.25),
    "cerebellum": TissueUptake(8, 0.25),
    "cord": TissueUptake(1.4),
    "cartilage": TissueUptake(0.6),
    "liver": TissueUptake(2.1, 0.18),
    "spleen": TissueUptake(1.8, 0.18),
    "kidney": TissueUptake(2.6, 0.25),
    "calyces": TissueUptake(9, 0.6),
    "bile": TissueUptake(0.9),
    "pancreas": TissueUptake(1.5, 0.2),
    "adrenal": TissueUptake(1.7, 0.25),
    "stomach": TissueUptake(2.0, 0.35),
    "duodenum": TissueUptake(1.9, 0.3),
    "jejunum": TissueUptake(1.6, 0.35),
    "colon_ascending": TissueUptake(2.0, 0.6),
    "colon_transverse": TissueUptake(1.7, 0.5),
    "colon_descending": TissueUptake(1.8, 0.6),
    "colon_sigmoid": TissueUptake(2.0, 0.6),
    "rectum": TissueUptake(1.8, 0.4),
    "gut_wall": TissueUptake(1.7, 0.2),
    "urine": TissueUptake(16, 0.7),
    "urethra": TissueUptake(4, 0.7),
    "ureter_wall": TissueUptake(1.0),
    "ureter_urine": TissueUptake(6, 0.6),
    "prostate": TissueUptake(1.8, 0.25),
    "testis": TissueUptake(2.2, 0.25),
    "thyroid": TissueUptake(1.4, 0.3),
    "parotid": TissueUptake(1.7, 0.3),
    "submandibular": TissueUptake(2.0, 0.3),
    "sublingual": TissueUptake(3.2, 0.4),
    "lacrimal": TissueUptake(1.4),
    "nasal_mucosa": TissueUptake(2.2, 0.3),
    "tonsil": TissueUptake(3.8, 0.4),
    "vocal_cord": TissueUptake(2.6, 0.5),
    "ganglion": TissueUptake(1.6),
}
_AIR = TissueUptake(0.05, 0.0)
UPTAKE: dict[Tracer, dict[str, TissueUptake]] = {Tracer.PSMA: _PSMA, Tracer.FDG: _FDG}

_HU: dict[str, float] = {
    "air": -990,
    "lung": -780,
    "fat": -105,
    "marrow": 260,
    "cartilage": 120,
    "bile": 10,
    "urine": 8,
    "calyces": 25,
    "ureter_urine": 15,
    "stomach": 30,
    "jejunum": 30,
    "colon_ascending": 5,
    "colon_transverse": 0,
    "colon_descending": 5,
    "colon_sigmoid": 5,
    "rectum": 10,
    "brain": 35,
    "cerebellum": 35,
    "parotid": 10,
    "liver": 58,
    "spleen": 48,
    "kidney": 35,
    "blood": 45,
    "thyroid": 100,
}
_SOFT_TISSUE_HU = 45.0

#: How strongly tracer taken up by tumour is missing elsewhere (log SUV per log10 ml above 100 ml of PSMA disease).
_SINK = {"parotid": 0.22, "submandibular": 0.22, "kidney": 0.18, "liver": 0.12, "spleen": 0.08}


def draw_uptake(tracer: Tracer, rng: np.random.Generator, psma_volume_ml: float) -> dict[str, float]:
    """SUV of every tissue for one patient and session.

    Parameters
    ----------
    tracer
        Which tracer.
    rng
        Source of the draw.
    psma_volume_ml
        PSMA-avid tumour volume: organs take up less where tumours take much
        (the tumour sink effect; PSMA only).
    """
    sink = max(0.0, math.log10(max(psma_volume_ml, 1.0) / 100.0)) if tracer is Tracer.PSMA else 0.0
    suv = {}
    for tissue, uptake in UPTAKE[tracer].items():
        suv[tissue] = uptake.suv * math.exp(uptake.log_sd * rng.standard_normal() - _SINK.get(tissue, 0.0) * sink)
    suv["air"] = _AIR.suv
    return suv


def hounsfield(tissues: list[str]) -> NDArray[np.float32]:
    """CT number of each tissue, HU."""
    return np.array([_HU.get(tissue, _SOFT_TISSUE_HU) for tissue in tissues], dtype=np.float32)
