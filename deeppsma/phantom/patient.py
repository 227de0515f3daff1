"""A synthetic patient: one man, his disease, and his two scans."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform
from deeppsma.phantom.anatomy.abdomen import abdomen
from deeppsma.phantom.anatomy.chest import chest
from deeppsma.phantom.anatomy.head import glands
from deeppsma.phantom.anatomy.pelvis import pelvis
from deeppsma.phantom.anatomy.physique import Physique
from deeppsma.phantom.anatomy.scene import Frame, Scene, paint
from deeppsma.phantom.anatomy.shapes import Ellipsoid, Part
from deeppsma.phantom.anatomy.skeleton import Arms, Spine, draw_spine, skeleton
from deeppsma.phantom.anatomy.trunk import muscles, trunk
from deeppsma.phantom.card import patient_card
from deeppsma.phantom.scan.scanners import Scanner, draw_scanner
from deeppsma.phantom.session import PhantomOptions, Session, Visit, rigid_motion, scan_session
from deeppsma.phantom.uptake.disease import draw_disease
from deeppsma.phantom.uptake.enrichment import draw_enriched
from deeppsma.phantom.uptake.focus import Focus, Places, with_volume
from deeppsma.phantom.uptake.physiology import Physiology
from deeppsma.phantom.uptake.pitfalls import draw_pitfalls
from deeppsma.phantom.uptake.radioligand import draw_radioligand

#: Heights of the scene, mm of the standard man; its breadth and depth follow the man.
_SCENE_HEIGHTS_MM = (-265.0, 928.0)
_ARMS_DOWN = 0.15
_SAME_SCANNER = 0.5
#: How coarse the registration is: standard deviations of a turn (degrees) and a shift (mm) about each axis.
_REGISTRATION_TURN_DEG, _REGISTRATION_SHIFT_MM = 0.6, 2.2


@dataclass(frozen=True)
class Patient:
    """Both sessions, the registration between them, and a card that tells all.

    Parameters
    ----------
    seed
        Draws the same patient again.
    sessions
        One per tracer.
    fdg_to_psma
        The registration as a department would have it: coarsely right.
    card
        What was drawn: body, tracers, scanners, lesions, pitfalls.
    """

    seed: int
    sessions: dict[Tracer, Session]
    fdg_to_psma: RigidTransform
    card: dict[str, Any]


def draw_patient(
    seed: int, options: PhantomOptions | None = None, scanners: dict[Tracer, Scanner] | None = None
) -> Patient:
    """Make the patient of a seed; the same seed gives the same patient.

    Parameters
    ----------
    seed
        Not negative.
    options
        What to make.
    scanners
        Fixes the scanners, else drawn as often as they occur in the real data.
    """
    options = options or PhantomOptions()
    rng = np.random.default_rng([seed, 0])
    physique = Physique.draw(rng)
    spine = draw_spine(physique, rng)
    ligands = {tracer: draw_radioligand(tracer, rng) for tracer in Tracer}
    psma_scanner = draw_scanner(rng, options.version)
    fdg_scanner = psma_scanner if rng.random() < _SAME_SCANNER else draw_scanner(rng, options.version)
    scanners = scanners or {Tracer.PSMA: psma_scanner, Tracer.FDG: fdg_scanner}
    arms = {tracer: _arms(rng) for tracer in Tracer}
    grid = _scene_geometry(physique, arms.values(), options.scene_spacing_mm)
    still = Frame.draw(grid, physique.scale_xyz, np.random.default_rng([seed, 1]))

    enriched = draw_enriched(options.enrich, np.random.default_rng([seed, 5]))

    # First the PSMA day: disease and pitfalls are placed in the man as he lies there, and go with him.
    foci: list[Focus] = []
    sessions: dict[Tracer, Session] = {}
    for number, tracer in enumerate((Tracer.PSMA, Tracer.FDG)):
        pose_rng = np.random.default_rng([seed, 10 + number])
        frame = still.posed(_head_shift(pose_rng), pose_rng)
        day_rng = np.random.default_rng([seed, 40 + number])
        # What the tumour takes depends on the disease, which needs the scene, which needs the day's furosemide.
        day = enriched.on_the_day(Physiology.draw(day_rng))
        scene = paint(frame, _anatomy(seed, physique, spine, arms[tracer], day.furosemide, pose_rng))
        if not foci:
            places, foci_rng = Places(scene, frame), np.random.default_rng([seed, 3])
            drawn = draw_pitfalls(places, ligands, foci_rng, options.version, enriched.pitfalls)
            drawn += draw_disease(places, foci_rng, options.version)
            bone = scene.bone()
            foci = [with_volume(focus, frame, bone, options.version) for focus in drawn]
        here = foci if tracer is Tracer.PSMA else [_with_arms(f, arms[Tracer.PSMA], arms[tracer], scene) for f in foci]
        visit = Visit(ligands[tracer], physique, day.with_tumour(_avid_ml(foci)), scene, frame, here, scanners[tracer])
        sessions[tracer] = scan_session(visit, options, np.random.default_rng([seed, 20 + number]))
    psma, fdg = sessions[Tracer.PSMA], sessions[Tracer.FDG]
    true_map = _compose(psma.patient_from_scanner.inverse(), fdg.patient_from_scanner)
    error_rng = np.random.default_rng([seed, 30])
    turn, shift = error_rng.normal(0, _REGISTRATION_TURN_DEG, 3), error_rng.normal(0, _REGISTRATION_SHIFT_MM, 3)
    registration = _compose(rigid_motion(turn, shift, (0.0, 0.0, 300.0)), true_map)
    return Patient(
        seed,
        sessions,
        _about_centre(registration, fdg.pet.geometry),
        patient_card(seed, options, physique, sessions, foci, enriched.names),
    )


def _anatomy(
    seed: int, physique: Physique, spine: Spine, arms: Arms, furosemide: bool, rng: np.random.Generator
) -> list[Part]:
    at_ct_ml = float(np.clip(rng.lognormal(np.log(110), 0.55), 25, 450))
    filling = float(rng.uniform(1.0, 1.5 if furosemide else 1.25))
    # The same gut and glands in both sessions.
    gut_rng, gland_rng = np.random.default_rng([seed, 2]), np.random.default_rng([seed, 4])
    return [
        *trunk(physique, arms),
        *muscles(spine),
        *chest(spine, physique),
        *abdomen(physique, gut_rng),
        *pelvis(physique, at_ct_ml * filling, at_ct_ml, furosemide, rng),
        *skeleton(spine, physique, arms),
        *glands(gland_rng),
    ]


def _arms(rng: np.random.Generator) -> Arms:
    x, y, z = rng.normal(0, (14, 10, 12), 3)
    return Arms(bool(rng.random() >= _ARMS_DOWN), (float(x), float(y), float(z)))


def _head_shift(rng: np.random.Generator) -> tuple[float, float, float]:
    x, y, z = np.clip(rng.normal(0, (7, 9, 4), 3), -18, 18)
    return float(x), float(y), float(z)


def _with_arms(focus: Focus, before: Arms, now: Arms, scene: Scene) -> Focus:
    """A focus in an arm goes where the arm goes; any other stays."""
    if not focus.site.startswith(("humerus", "forearm")):
        return focus
    if focus.kind == "marrow" and not all(isinstance(shape, Ellipsoid) for shape in focus.shapes):
        return replace(focus, shapes=next(part.shapes for part in scene.parts if part.name == focus.site))
    moved = [
        s.moved(np.subtract(before.carried(s.centre_xyz, now), s.centre_xyz).tolist())
        for s in focus.shapes
        if isinstance(s, Ellipsoid)
    ]
    return replace(focus, shapes=tuple(moved))


def _avid_ml(foci: list[Focus]) -> float:
    return sum(focus.volume_ml for focus in foci if focus.disease and focus.suv.get(Tracer.PSMA, 0) > 3)


def _scene_geometry(physique: Physique, arms: Iterable[Arms], spacing_mm: float) -> Geometry:
    """A grid that holds the man, his arms, and the top of the table."""
    scale = physique.scale_xyz
    fat, belly = physique.fat_mm, physique.belly_mm
    elbows = max(abs(x) for pose in arms for x, _, _ in pose.line(1)) + 52 + fat
    half = max(190 + fat + belly / 3, elbows)
    front, back = max(118 + fat, 110 + fat + belly), 150.0
    spans = ((-half, half), (-front, back), _SCENE_HEIGHTS_MM)
    low = [span[0] * s for span, s in zip(spans, scale, strict=True)]
    high = [span[1] * s for span, s in zip(spans, scale, strict=True)]
    x, y, z = (int((h - lo) / spacing_mm) for lo, h in zip(low, high, strict=True))
    return Geometry((z, y, x), (spacing_mm,) * 3, (low[0], low[1], low[2]))


def _compose(outer: RigidTransform, inner: RigidTransform) -> RigidTransform:
    matrix = outer.matrix @ inner.matrix
    return RigidTransform(tuple(matrix[:3, :3].ravel().tolist()), tuple(matrix[:3, 3].tolist()))


def _about_centre(transform: RigidTransform, grid: Geometry) -> RigidTransform:
    """The same map, written about the grid's centre, as registration tools write it."""
    centre = grid.corners_world().mean(axis=0)
    moved = transform.apply(centre[None])[0] - centre
    return RigidTransform(transform.rotation, tuple(moved.tolist()), tuple(centre.tolist()))
