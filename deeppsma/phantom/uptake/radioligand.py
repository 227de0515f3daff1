"""The tracers' chemistry: which ligand, on which radionuclide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deeppsma.core.tracer import Tracer


@dataclass(frozen=True)
class Radioligand:
    """A tracer as it is injected.

    Parameters
    ----------
    name
        As written in reports.
    key
        Table of `resources/phantom/uptake.toml` and share in `resources/phantom/pitfalls.toml`.
    tracer
        What it images.
    tail_share, tail_fwhm_mm
        The positron's range blurs the image by a cusp with long tails: this
        share of the activity is spread as wide as this (68Ga: mean range
        3.5 mm; 18F: 0.6 mm).
    noise
        Noise over that of 18F-FDG, for the counts that the dose gives.
    share
        How often it is used for its tracer (an estimate).
    """

    name: str
    key: str
    tracer: Tracer
    tail_share: float
    tail_fwhm_mm: float
    noise: float
    share: float


RADIOLIGANDS = (
    Radioligand("68Ga-PSMA-11", "psma-11", Tracer.PSMA, 0.35, 6.5, 1.45, 0.72),
    Radioligand("18F-DCFPyL", "dcfpyl", Tracer.PSMA, 0.0, 0.0, 1.15, 0.20),
    Radioligand("18F-PSMA-1007", "psma-1007", Tracer.PSMA, 0.0, 0.0, 1.1, 0.08),
    Radioligand("18F-FDG", "fdg", Tracer.FDG, 0.0, 0.0, 1.0, 1.0),
)


def draw_radioligand(tracer: Tracer, rng: np.random.Generator) -> Radioligand:
    """The ligand of one scan."""
    offered = [ligand for ligand in RADIOLIGANDS if ligand.tracer is tracer]
    shares = np.array([ligand.share for ligand in offered])
    return offered[int(rng.choice(len(offered), p=shares / shares.sum()))]
