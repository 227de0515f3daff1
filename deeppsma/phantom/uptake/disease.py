"""Metastatic castration-resistant prostate cancer: where, how much, and how it takes up the tracers.

Sites, numbers and uptake follow published series (PMC10969693, PMC3525489,
PMC10241018, doi.org/10.2967/jnumed.121.261906, doi.org/10.2967/jnumed.120.262250);
the volumes of single lesions are an estimate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.tracer import Tracer
from deeppsma.phantom.anatomy.shapes import Shape
from deeppsma.phantom.uptake.focus import Focus, Places, Point, blob
from deeppsma.phantom.uptake.pitfalls import pick

_BONE_SITES = {
    "vertebra_C": 3,
    "vertebra_T": 24,
    "vertebra_L": 14,
    "sacrum": 9,
    "hip": 25,
    "rib": 14,
    "sternum": 1.5,
    "skull": 2.5,
    "scapula": 2,
    "clavicle": 1,
    "humerus": 3,
    "femur": 4,
}
_NODE_SITES = {
    "iliac_vein": 36,
    "iliac_artery": 16,
    "aorta": 14,
    "inferior_vena_cava": 12,
    "superior_vena_cava": 4,
    "pulmonary_vein": 4,
    "brachiocephalic_vein_left": 4,
    "subclavian_left": 7,
    "rectum": 4,
    "renal_pelvis": 1.5,
}
#: Kind, sites, share of men with disease there, lesions at most.
_VISCERA: tuple[tuple[str, dict[str, float], float, int], ...] = (
    ("liver", {"liver": 1}, 0.09, 14),
    ("lung", {"lung_lower": 2, "lung_upper": 1}, 0.076, 9),
    ("adrenal", {"adrenal": 1}, 0.025, 2),
    ("peritoneum", {"inner_fat": 1}, 0.01, 5),
    ("brain", {"brain": 1}, 0.01, 3),
    ("testis", {"testis": 1}, 0.008, 1),
)
_SOFT_HU = {"liver": 42.0, "lung": 20.0, "adrenal": 35.0, "peritoneum": 30.0}
_WITH_BONE, _WITH_NODES, _WITH_LOCAL = 0.91, 0.50, 0.40
#: Medians of disease volume and of the number of lesions; both spread widely.
_TARGET_ML, _LESIONS = 280.0, 17.0
#: By version of the phantom: the volume aimed at over that median, its spread (log), and its limit, ml. Version 2 had
#: fewer men with very much disease than are published.
_BURDEN = {2: (1.0, 1.5, 2200.0), 3: (1.6, 1.75, 4000.0)}
#: Beyond this volume disease runs through the marrow in this share of men.
_CONFLUENT_ABOVE_ML, _CONFLUENT, _LARGEST_ML = 150.0, 0.5, 60.0
#: Confluent disease grows in blobs of about this volume (log-normal), this far apart along the bone.
_BLOB_ML, _BLOB_SPREAD, _BLOB_STEP_MM = 6.0, 0.7, 13.0
_AXIAL = ("vertebra_T", "vertebra_L", "hip", "sacrum", "sternum", "rib", "femur", "humerus", "scapula")
_BED: Point = (0.0, -12.0, -10.0)


@dataclass(frozen=True)
class Avidity:
    """How one man's lesions take up the two tracers.

    Parameters
    ----------
    psma, fdg
        SUV of a typical avid lesion.
    fdg_share
        Share of PSMA-avid lesions that FDG shows as well.
    psma_negative_share
        Share of lesions that only FDG shows.
    """

    psma: float
    fdg: float
    fdg_share: float
    psma_negative_share: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Avidity:
        """One man's."""
        return cls(
            psma=float(rng.lognormal(math.log(10.5), 0.42)),
            fdg=float(rng.lognormal(math.log(5.1), 0.4)),
            fdg_share=0.0 if rng.random() < 0.1 else float(rng.beta(1.7, 1.5)),
            psma_negative_share=float(rng.uniform(0.1, 0.6)) if rng.random() < 0.17 else 0.0,
        )

    def lesion(self, rng: np.random.Generator, discordant: float = 1.0) -> dict[Tracer, float]:
        """SUV of one lesion; ``discordant`` raises the chance that only FDG shows it."""
        psma = self.psma * rng.lognormal(0, 0.42)
        fdg = self.fdg * rng.lognormal(0, 0.4) if rng.random() < self.fdg_share else rng.uniform(0.8, 2.2)
        if rng.random() < self.psma_negative_share * discordant:
            psma, fdg = rng.uniform(0.8, 2.4), max(fdg, self.fdg * rng.lognormal(0.1, 0.3))
        return {Tracer.PSMA: float(psma), Tracer.FDG: float(fdg)}


def draw_disease(places: Places, rng: np.random.Generator, version: int = 3) -> list[Focus]:
    """Lesions of one patient: at least one, and one or more that PSMA shows.

    Parameters
    ----------
    places
        Of the man.
    rng
        Source of the draw.
    version
        Of the phantom. In version 2 confluent disease filled whole bones to a
        sharp end, and very large volumes were rarer.

    Notes
    -----
    Their number and the volume aimed at are drawn first; bone lesions that
    would outgrow their bone end at it.
    """
    avidity = Avidity.draw(rng)
    factor, spread, most_ml = _BURDEN[version]
    target_ml = float(np.clip(rng.lognormal(math.log(factor * _TARGET_ML), spread), 0.8, most_ml))
    count = rng.lognormal(math.log(_LESIONS), 0.8) * (target_ml / (factor * _TARGET_ML)) ** 0.4
    sites = _sites(places, int(np.clip(round(count), 1, 110)), rng)
    marrow: list[Focus] = []
    if target_ml > _CONFLUENT_ABOVE_ML and rng.random() < _CONFLUENT:
        marrow = _confluent(places, avidity, 0.8 * target_ml, rng, version)
        target_ml *= 0.2
    shares = rng.lognormal(0, 1.0, size=len(sites))
    volumes = np.clip(shares / shares.sum() * target_ml, 0.15, _LARGEST_ML)
    lesions = [_lesion(*site, float(v), avidity, rng) for site, v in zip(sites, volumes, strict=True)]
    lesions += marrow
    if not any(lesion.suv[Tracer.PSMA] > 5 for lesion in lesions):
        largest = max(range(len(lesions)), key=lambda i: lesions[i].volume_ml)
        lesions[largest].suv[Tracer.PSMA] = float(rng.uniform(8, 22))
    return lesions


def _sites(places: Places, count: int, rng: np.random.Generator) -> list[tuple[str, str, Point]]:
    """Kind, site and place of each lesion."""
    sites: list[tuple[str, str, Point]] = []
    bone, nodes = rng.random() < _WITH_BONE, rng.random() < _WITH_NODES
    if not (bone or nodes):
        bone = True
    node_share = float(rng.beta(1.2, 2.2)) if bone and nodes else float(nodes)
    in_nodes = round(node_share * count) if bone else count
    sites += _at(_NODE_SITES, "node", places, max(in_nodes, int(nodes)), rng)
    sites += _at(_BONE_SITES, "bone", places, max(count - in_nodes, int(bone)), rng)
    if rng.random() < _WITH_LOCAL:
        sites += _local(places, rng)
    for kind, organs, share, most in _VISCERA:
        if rng.random() < share:
            sites += _at(organs, kind, places, int(rng.integers(1, most + 1)), rng)
    return sites


def _at(
    weights: dict[str, float], kind: str, places: Places, count: int, rng: np.random.Generator
) -> list[tuple[str, str, Point]]:
    drawn = []
    for _ in range(count):
        part = pick(weights, places, rng)
        if part is not None:
            point = places.point_in(part.name, rng)
            drawn.append((kind, part.name, _beside(point, rng) if kind == "node" else point))
    return drawn


def _local(places: Places, rng: np.random.Generator) -> list[tuple[str, str, Point]]:
    """In the prostate or its bed; some grow into the seminal vesicles or the bladder's wall."""
    if not places.matching("prostate"):
        return [("local", "prostate bed", (float(rng.normal(0, 8)), _BED[1] + float(rng.normal(0, 5)), _BED[2]))]
    local = [("local", "prostate", places.point_in("prostate", rng))]
    if rng.random() < 0.25 and places.matching("seminal_vesicles"):
        local.append(("local", "seminal_vesicles", places.point_in("seminal_vesicles", rng)))
    if rng.random() < 0.15:
        local.append(("local", "bladder wall", (float(rng.normal(0, 14)), -22.0, 10.0)))
    return local


def _lesion(kind: str, site: str, point: Point, volume_ml: float, avidity: Avidity, rng: np.random.Generator) -> Focus:
    ct: float | None = _SOFT_HU.get(kind, 42.0)
    lytic = False
    if kind == "bone":
        look = rng.random()
        lytic = look > 0.88
        ct = float(rng.uniform(25, 80)) if lytic else float(rng.uniform(280, 1100)) if look < 0.6 else None
    core = float(rng.uniform(0.45, 0.65)) if volume_ml > 8 and rng.random() < 0.25 else 0.0
    suv = avidity.lesion(rng, 1.8 if kind == "liver" or lytic else 1.0)
    shape = blob(point, volume_ml, rng, 0.25)
    return Focus(kind, site, (shape,), suv, True, volume_ml, core=core, hounsfield=ct, in_bone=kind == "bone")


def _confluent(
    places: Places, avidity: Avidity, target_ml: float, rng: np.random.Generator, version: int
) -> list[Focus]:
    """Marrow that disease runs through, bone after neighbouring bone, until the target is reached."""
    bones = [part for start in _AXIAL for part in places.matching(start)]
    fill = float(rng.uniform(0.3, 0.95))
    centre = np.array(places.point_in(bones[int(rng.integers(len(bones)))].name, rng))
    where = {part.name: np.mean([np.mean(shape.bounds(), axis=0) for shape in part.shapes], axis=0) for part in bones}
    bones.sort(key=lambda part: float(np.linalg.norm(where[part.name] - centre)))
    foci: list[Focus] = []
    suv = avidity.lesion(rng)
    for part in bones:
        if target_ml <= 0:
            break
        if rng.random() < 0.15:
            continue  # skipped by the disease
        whole_ml = places.volume_ml(part.name)
        volume, shapes = fill * whole_ml, part.shapes
        if version > 2:
            share = float(rng.uniform(0.25, 0.9))  # of this bone; blobs at its ends reach into its neighbours
            volume = fill * share * whole_ml
            shapes = _grown_along(places, part.name, share * whole_ml, rng)
        target_ml -= volume
        here = {tracer: value * float(rng.lognormal(0, 0.2)) for tracer, value in suv.items()}
        ct = float(rng.uniform(300, 950))
        foci.append(Focus("marrow", part.name, shapes, here, True, volume, fill, hounsfield=ct, in_bone=True))
    return foci


def _grown_along(places: Places, bone: str, volume_ml: float, rng: np.random.Generator) -> tuple[Shape, ...]:
    """Blobs from a place of a bone along it, until about this much of its marrow is reached."""
    points = np.array([places.point_in(bone, rng) for _ in range(60)])
    points = points[np.argsort(np.linalg.norm(points - points[0], axis=1))]
    taken: list[NDArray[np.float64]] = []
    blobs: list[Shape] = []
    reached_ml = 0.0
    for point in points:
        if taken and min(float(np.linalg.norm(point - other)) for other in taken) < _BLOB_STEP_MM:
            continue
        size_ml = float(np.clip(rng.lognormal(math.log(_BLOB_ML), _BLOB_SPREAD), 1.5, 25))
        x, y, z = (float(value) for value in point)
        blobs.append(blob((x, y, z), size_ml, rng, 0.25))
        taken.append(point)
        reached_ml += 0.5 * size_ml  # the rest lies outside the bone, or in another blob
        if reached_ml >= volume_ml:
            break
    return tuple(blobs)


def _beside(point: Sequence[float], rng: np.random.Generator) -> Point:
    direction = rng.normal(size=3)
    direction *= rng.uniform(6, 13) / np.linalg.norm(direction)
    return point[0] + float(direction[0]), point[1] + float(direction[1]), point[2] + float(direction[2])
