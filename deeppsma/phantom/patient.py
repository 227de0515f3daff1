"""A synthetic patient: one man, his disease, and his two scans."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deeppsma.geometry import Geometry
from deeppsma.phantom import skeleton, viscera
from deeppsma.phantom.disease import Focus, draw_disease, draw_pitfalls
from deeppsma.phantom.scanners import Scanner, draw_scanner
from deeppsma.phantom.scene import Frame, Scene, paint
from deeppsma.phantom.session import PhantomOptions, Session, rigid_motion, scan_session
from deeppsma.phantom.shapes import Part
from deeppsma.rigid import RigidTransform
from deeppsma.tracer import Tracer

_SCENE_BOX_MM = ((-265.0, 265.0), (-140.0, 145.0), (-290.0, 930.0))


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
        What was drawn: body, scanners, lesions, pitfalls.
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
    height_mm, girth = float(np.clip(rng.normal(1750, 70), 1550, 1950)), float(np.clip(rng.normal(1, 0.09), 0.8, 1.3))
    depth = girth * float(rng.normal(1, 0.05))
    scale = (girth, depth, height_mm / 1750)
    sizes, spine = viscera.Sizes.draw(rng), skeleton.draw_spine(rng)
    fine = _scene_geometry(scale, options.scene_spacing_mm)
    frame = Frame.draw(fine, scale, np.random.default_rng([seed, 1]))
    same_scanner = rng.random() < 0.5
    psma_scanner = draw_scanner(rng)
    drawn = {Tracer.PSMA: psma_scanner, Tracer.FDG: psma_scanner if same_scanner else draw_scanner(rng)}
    scanners = scanners or drawn
    arms_up = {tracer: bool(rng.random() > 0.15) for tracer in Tracer}

    def scene_of(tracer: Tracer, number: int) -> Scene:
        session_rng = np.random.default_rng([seed, 10 + number])
        bladder_ml = float(session_rng.lognormal(np.log(130), 0.5))
        breath_mm = float(session_rng.normal(0, 6))
        gut_rng = np.random.default_rng([seed, 2])  # the same gut in both sessions
        bones = skeleton.skeleton(spine, arms_up[tracer])
        parts = [
            *viscera.trunk(arms_up[tracer]),
            *viscera.muscles(spine),
            *viscera.chest(spine, sizes),
            *viscera.abdomen(sizes, gut_rng),
            *viscera.pelvis(sizes, float(np.clip(bladder_ml, 30, 450)), session_rng),
            *bones,
            *viscera.glands(),
        ]
        return paint(frame, [_breathed(part, breath_mm) for part in parts])

    scenes = {tracer: scene_of(tracer, number) for number, tracer in enumerate(Tracer)}
    foci = _draw_foci(scenes[Tracer.PSMA], frame, np.random.default_rng([seed, 3]))
    psma_volume_ml = sum(focus.volume_ml or 60.0 for focus in foci if focus.disease and focus.suv[Tracer.PSMA] > 3)

    sessions = {}
    for number, tracer in enumerate(Tracer):
        session_rng = np.random.default_rng([seed, 20 + number])
        sessions[tracer] = scan_session(
            tracer, scenes[tracer], frame, foci, psma_volume_ml, scanners[tracer], options, session_rng
        )
    true_map = _compose(sessions[Tracer.PSMA].patient_from_scanner.inverse(), sessions[Tracer.FDG].patient_from_scanner)
    error_rng = np.random.default_rng([seed, 30])
    error = rigid_motion(error_rng.normal(0, 0.4, 3), error_rng.normal(0, 2.0, 3), (0.0, 0.0, 300.0))
    card = _patient_card(seed, height_mm, girth, sizes, arms_up, sessions, foci)
    return Patient(seed, sessions, _about_centre(_compose(error, true_map), sessions[Tracer.FDG].pet.geometry), card)


def _scene_geometry(scale: tuple[float, float, float], spacing_mm: float) -> Geometry:
    low = [b[0] * s for b, s in zip(_SCENE_BOX_MM, scale, strict=True)]
    high = [b[1] * s for b, s in zip(_SCENE_BOX_MM, scale, strict=True)]
    x, y, z = (int((h - lo) / spacing_mm) for lo, h in zip(low, high, strict=True))
    return Geometry((z, y, x), (spacing_mm,) * 3, (low[0], low[1], low[2]))


def _breathed(part: Part, breath_mm: float) -> Part:
    share = {"breathing": 1.0, "heart": 0.4}.get(part.group, 0.0)
    if share == 0:
        return part
    return replace(part, shapes=tuple(shape.moved((0, 0, share * breath_mm)) for shape in part.shapes))


def _draw_foci(scene: Scene, frame: Frame, rng: np.random.Generator) -> list[Focus]:
    numbers = {part.name: i + 1 for i, part in enumerate(scene.parts)}
    flat = scene.part_map.ravel()
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], np.arange(257))

    def point_in(name: str) -> tuple[float, float, float] | None:
        number = numbers.get(name)
        if number is None or starts[number] == starts[number + 1]:
            return None
        voxel = order[rng.integers(starts[number], starts[number + 1])]
        where = [float(a.ravel()[voxel]) for a in (frame.x, frame.y, frame.z)]
        return where[0], where[1], where[2]

    parts = list(scene.parts)
    return [*draw_pitfalls(parts, point_in, rng), *draw_disease(parts, point_in, rng)]


def _compose(outer: RigidTransform, inner: RigidTransform) -> RigidTransform:
    matrix = outer.matrix @ inner.matrix
    return RigidTransform(tuple(matrix[:3, :3].ravel().tolist()), tuple(matrix[:3, 3].tolist()))


def _about_centre(transform: RigidTransform, grid: Geometry) -> RigidTransform:
    """The same map, written about the grid's centre, as registration tools write it."""
    centre = grid.corners_world().mean(axis=0)
    moved = transform.apply(centre[None])[0] - centre
    return RigidTransform(transform.rotation, tuple(moved.tolist()), tuple(centre.tolist()))


def _patient_card(
    seed: int,
    height_mm: float,
    girth: float,
    sizes: viscera.Sizes,
    arms_up: dict[Tracer, bool],
    sessions: dict[Tracer, Session],
    foci: list[Focus],
) -> dict[str, Any]:
    def of_focus(focus: Focus) -> dict[str, Any]:
        return {
            "site": focus.site,
            "volume_ml": None if focus.volume_ml is None else round(focus.volume_ml, 2),
            "suv": {tracer.value: round(value, 2) for tracer, value in focus.suv.items()},
        }

    return {
        "synthetic": True,
        "seed": seed,
        "height_mm": round(height_mm),
        "girth": round(girth, 3),
        "organ_volumes_ml": {name: round(value) for name, value in vars(sizes).items()},
        "sessions": {
            tracer.value: {
                "scanner": session.scanner.name,
                "arms_up": arms_up[tracer],
                "threshold_suv": session.pet.threshold_suv,
                "disease_ml": round(float(session.pet.truth.sum()) * session.pet.geometry.voxel_volume_ml, 2),
            }
            for tracer, session in sessions.items()
        },
        "lesions": [of_focus(focus) for focus in foci if focus.disease],
        "pitfalls": [of_focus(focus) for focus in foci if not focus.disease],
    }
