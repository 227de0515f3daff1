"""Lesions, and foci that look like lesions and are none."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from deeppsma.phantom.shapes import Ellipsoid, Part, Shape
from deeppsma.tracer import Tracer

#: Draws a random point (x, y, z, mm) inside the named part, or None where the part is not there.
PointIn = Callable[[str], "tuple[float, float, float] | None"]

_BONE_SITES = {
    "vertebra_T": 24,
    "vertebra_L": 14,
    "sacrum": 9,
    "hip_left": 15,
    "hip_right": 15,
    "rib": 14,
    "sternum": 1.5,
    "skull": 2,
    "scapula": 2,
    "clavicle": 1,
    "humerus": 3,
    "femur": 4,
    "vertebra_C": 3,
}
_NODE_SITES = {
    "iliac_vein_left": 20,
    "iliac_vein_right": 20,
    "iliac_artery_left": 8,
    "iliac_artery_right": 8,
    "aorta": 14,
    "inferior_vena_cava": 12,
    "superior_vena_cava": 4,
    "trachea": 5,
}
_FALSE_BONE_SITES = {"rib": 58, "hip_left": 12, "hip_right": 12, "vertebra_L": 10, "vertebra_T": 8}
_FALSE_NODE_POINTS = {"hilar": (35, 0, 455), "axillary": (140, 20, 520), "inguinal": (85, -60, -40)}


@dataclass(frozen=True)
class Focus:
    """A place of raised uptake.

    Parameters
    ----------
    site
        Where it is, for people.
    shapes
        Its union; mm of the patient's frame.
    suv
        Uptake inside, before the scanner blurs it. A tracer at or below its
        surroundings means that the focus does not show there.
    disease
        Whether it is cancer.
    """

    site: str
    shapes: tuple[Shape, ...]
    suv: dict[Tracer, float]
    disease: bool

    @property
    def volume_ml(self) -> float | None:
        """Volume of an ellipsoid focus, ml; None where a whole bone is diseased."""
        if len(self.shapes) == 1 and isinstance(self.shapes[0], Ellipsoid):
            return self.shapes[0].volume_ml
        return None


def draw_disease(parts: list[Part], point_in: PointIn, rng: np.random.Generator) -> list[Focus]:
    """Lesions of one patient; at least one, and one or more that PSMA shows.

    Numbers, sites and uptake follow published series of metastatic
    castration-resistant disease; lesion volumes are an estimate (log-normal,
    median 1.5 ml).
    """
    names = [part.name for part in parts]
    places: list[tuple[str, tuple[float, float, float]]] = []
    if rng.random() < 0.85:
        places += _draw_places(_BONE_SITES, names, point_in, _count(rng, 6, 1.0, 40), rng)
    if rng.random() < 0.55:
        nodes = _draw_places(_NODE_SITES, names, point_in, _count(rng, 3, 0.8, 14), rng)
        places += [(f"node at {site}", _beside(point, rng)) for site, point in nodes]
    if rng.random() < 0.45:
        places += _draw_places({"prostate": 1}, names, point_in, 1, rng) or [("prostate bed", (0, -12, -10))]
    for organ, share, most in (("liver", 0.08, 5), ("lung_lower_left", 0.03, 3), ("lung_upper_right", 0.03, 3)):
        if rng.random() < share:
            places += _draw_places({organ: 1}, names, point_in, int(rng.integers(1, most + 1)), rng)
    if not places:
        places = _draw_places(_BONE_SITES, names, point_in, 2, rng)
    avidity = _Avidity.draw(rng)
    foci = [
        Focus(site, (_blob(point, float(np.clip(rng.lognormal(math.log(1.5), 1.1), 0.3, 60)), rng),), suv, True)
        for site, point in places
        for suv in [avidity.lesion(rng)]
    ]
    if rng.random() < 0.13:
        bones = [part for part in parts if part.name.startswith(("vertebra_T", "vertebra_L", "hip", "sacrum"))]
        for k in rng.choice(len(bones), size=int(rng.integers(2, 7)), replace=False):
            foci.append(Focus(f"whole {bones[k].name}", bones[k].shapes, avidity.lesion(rng), True))
    if not any(focus.suv[Tracer.PSMA] > 4 for focus in foci):
        first = foci[0]
        foci[0] = Focus(first.site, first.shapes, {**first.suv, Tracer.PSMA: rng.uniform(8, 20)}, True)
    return foci


def draw_pitfalls(parts: list[Part], point_in: PointIn, rng: np.random.Generator) -> list[Focus]:
    """Uptake that a reader must not call disease: inflammation, degeneration, unspecific bone."""
    names = [part.name for part in parts]
    foci = []
    if rng.random() < 0.25:
        for site, point in _draw_places(_FALSE_BONE_SITES, names, point_in, int(rng.integers(1, 4)), rng):
            suv = {Tracer.PSMA: rng.lognormal(math.log(5), 0.3), Tracer.FDG: rng.uniform(0.8, 1.8)}
            foci.append(Focus(f"unspecific {site}", (_blob(point, rng.uniform(0.3, 1.2), rng),), suv, False))
    if rng.random() < 0.3:
        for _ in range(int(rng.integers(1, 5))):
            site = str(rng.choice(list(_FALSE_NODE_POINTS)))
            x, y, z = np.array(_FALSE_NODE_POINTS[site]) + rng.normal(0, 8, size=3)
            suv = {Tracer.PSMA: rng.uniform(1, 3.5), Tracer.FDG: rng.uniform(2.5, 7)}
            side = rng.choice([-1, 1])
            blob = _blob((side * x, y, z), rng.uniform(0.3, 1.5), rng)
            foci.append(Focus(f"inflamed {site} node", (blob,), suv, False))
    if rng.random() < 0.45:
        for _ in range(int(rng.integers(1, 3))):
            joint = {"shoulder": (165, 15, 585), "hip": (105, 0, 8), "facet": (16, 68, 165)}
            site = str(rng.choice(list(joint)))
            x, y, z = np.array(joint[site]) + rng.normal(0, 5, size=3)
            suv = {Tracer.PSMA: rng.uniform(0.8, 1.8), Tracer.FDG: rng.uniform(2.5, 5)}
            blob = _blob((rng.choice([-1, 1]) * x, y, z), rng.uniform(0.8, 4), rng)
            foci.append(Focus(f"degenerative {site}", (blob,), suv, False))
    foci += _diffuse(parts, rng)
    if rng.random() < 0.06:
        drawn = _draw_places({"colon_ascending": 1, "colon_sigmoid": 1}, names, point_in, 1, rng)
        suv = {Tracer.PSMA: 1.5, Tracer.FDG: rng.uniform(5, 12)}
        foci += [Focus("colonic adenoma", (_blob(point, 1.5, rng),), suv, False) for _, point in drawn]
    return foci


def _diffuse(parts: list[Part], rng: np.random.Generator) -> list[Focus]:
    """FDG in whole structures: tense muscles, and the bowel of men on metformin."""
    foci = []
    if rng.random() < 0.15:
        prefix = str(rng.choice(["iliopsoas", "autochthon", "gluteus_maximus", "gluteus_minimus"]))
        suv = {Tracer.PSMA: 0.6, Tracer.FDG: float(rng.uniform(2, 6))}
        foci += [Focus(f"tense {p.name}", p.shapes, suv, False) for p in parts if p.name.startswith(prefix)]
    if rng.random() < 0.2:
        for part in parts:
            if part.name.startswith("colon") or (part.name == "small_bowel" and rng.random() < 0.3):
                suv = {Tracer.PSMA: 1.5, Tracer.FDG: float(rng.uniform(2.5, 10))}
                foci.append(Focus(f"diffuse {part.name}", part.shapes, suv, False))
    return foci


@dataclass(frozen=True)
class _Avidity:
    """How a patient's lesions take up the two tracers."""

    psma: float
    fdg: float
    fdg_share: float
    psma_negative_share: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Avidity:
        return cls(
            psma=rng.lognormal(math.log(13), 0.45),
            fdg=rng.lognormal(math.log(6.5), 0.35),
            fdg_share=0.0 if rng.random() < 0.08 else float(rng.beta(2.2, 1.4)),
            psma_negative_share=float(rng.uniform(0.15, 0.6)) if rng.random() < 0.22 else 0.0,
        )

    def lesion(self, rng: np.random.Generator) -> dict[Tracer, float]:
        psma = self.psma * rng.lognormal(0, 0.5)
        fdg = self.fdg * rng.lognormal(0, 0.35) if rng.random() < self.fdg_share else rng.uniform(1.0, 2.2)
        if rng.random() < self.psma_negative_share:
            psma, fdg = rng.uniform(0.8, 2.2), max(fdg, self.fdg * rng.lognormal(0.1, 0.3))
        return {Tracer.PSMA: float(psma), Tracer.FDG: float(fdg)}


def _count(rng: np.random.Generator, median: float, log_sd: float, most: int) -> int:
    return int(np.clip(round(rng.lognormal(math.log(median), log_sd)), 1, most))


def _draw_places(
    sites: Mapping[str, float], names: list[str], point_in: PointIn, count: int, rng: np.random.Generator
) -> list[tuple[str, tuple[float, float, float]]]:
    weights = np.array(list(sites.values()), dtype=float)
    places = []
    for k in rng.choice(len(weights), size=count, p=weights / weights.sum()):
        matching = [name for name in names if name.startswith(list(sites)[k])]
        if not matching:
            continue
        name = str(rng.choice(matching))
        point = point_in(name)
        if point is not None:
            places.append((name, point))
    return places


def _beside(point: tuple[float, float, float], rng: np.random.Generator) -> tuple[float, float, float]:
    direction = rng.normal(size=3)
    direction *= rng.uniform(6, 13) / np.linalg.norm(direction)
    return point[0] + direction[0], point[1] + direction[1], point[2] + direction[2]


def _blob(point: tuple[float, float, float], volume_ml: float, rng: np.random.Generator) -> Ellipsoid:
    radius = (volume_ml * 1000 * 3 / (4 * math.pi)) ** (1 / 3)
    stretch = np.exp(rng.normal(0, 0.2, size=3))
    a, b, c = radius * stretch / np.prod(stretch) ** (1 / 3)
    turn = rng.uniform(0, 180, size=3)
    x, y, z = (float(v) for v in point)
    return Ellipsoid((x, y, z), (float(a), float(b), float(c)), (float(turn[0]), float(turn[1]), float(turn[2])))
