"""A synthetic patient: one man, his disease, and his two scans."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.geometry import Geometry
from deeppsma.phantom import skeleton, viscera
from deeppsma.phantom.disease import Focus, draw_disease, draw_pitfalls
from deeppsma.phantom.imaging import (
    PetScan,
    ct_geometry,
    image_ct,
    image_organs,
    image_pet,
    liver_mask,
    pet_geometry,
)
from deeppsma.phantom.scanners import Scanner, draw_scanner
from deeppsma.phantom.scene import Frame, Scene, paint, smooth_field
from deeppsma.phantom.shapes import Part, rotation_matrix
from deeppsma.phantom.uptake import draw_uptake, hounsfield
from deeppsma.rigid import RigidTransform
from deeppsma.tracer import Tracer

#: Voxel of the scene, mm: finer than any scanner resolves, coarse enough for a second's painting.
SCENE_SPACING_MM = 2.5
#: Share of parts that the organ map lacks.
MISSED_SHARE = 0.02
_SCENE_BOX_MM = ((-265.0, 265.0), (-140.0, 145.0), (-290.0, 930.0))


@dataclass(frozen=True)
class PhantomOptions:
    """What to make of a patient.

    Parameters
    ----------
    with_ct
        Make CTs (they take most of the time); organ maps lie on the CT's grid
        then, else on a 3 mm grid of their own.
    scene_spacing_mm
        Fineness of the patient before he is scanned; larger is quicker and
        coarser (the unit tests use 6).
    """

    with_ct: bool = True
    scene_spacing_mm: float = SCENE_SPACING_MM

    def __post_init__(self) -> None:
        if not 1 <= self.scene_spacing_mm <= 10:
            raise ValueError(f"scene spacing must be 1 to 10 mm, not {self.scene_spacing_mm}")


@dataclass(frozen=True)
class Session:
    """One tracer's visit to the scanner.

    Parameters
    ----------
    pet
        Imaged PET with its truth and threshold.
    organ_labels, organ_geometry
        TotalSegmentator label map [z, y, x] uint8 and its grid.
    ct
        [z, y, x] int16 HU on the organ map's grid, or None.
    scanner
        Where it was made.
    patient_from_scanner
        Maps scanner world to the patient's frame.
    """

    pet: PetScan
    organ_labels: NDArray[np.uint8]
    organ_geometry: Geometry
    ct: NDArray[np.int16] | None
    scanner: Scanner
    patient_from_scanner: RigidTransform


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
        sessions[tracer] = _scan(
            tracer, scenes[tracer], frame, foci, psma_volume_ml, scanners[tracer], options, session_rng
        )
    true_map = _compose(sessions[Tracer.PSMA].patient_from_scanner.inverse(), sessions[Tracer.FDG].patient_from_scanner)
    error_rng = np.random.default_rng([seed, 30])
    error = _rigid(error_rng.normal(0, 0.4, 3), error_rng.normal(0, 2.0, 3), (0.0, 0.0, 300.0))
    card = _card(seed, height_mm, girth, sizes, arms_up, sessions, foci)
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


def _scan(
    tracer: Tracer,
    scene: Scene,
    frame: Frame,
    foci: list[Focus],
    psma_volume_ml: float,
    scanner: Scanner,
    options: PhantomOptions,
    rng: np.random.Generator,
) -> Session:
    suv = draw_uptake(tracer, rng, psma_volume_ml)
    of_part = np.array([suv[part.tissue] for part in scene.parts], dtype=np.float32)
    # Parts of one tissue differ a little: loops of bowel more than anything.
    patchy = np.array([0.45 if part.tissue in ("jejunum", "duodenum") else 0.08 for part in scene.parts])
    of_part *= np.exp(patchy * rng.standard_normal(len(of_part))).astype(np.float32)
    physiological = scene.lookup(of_part, suv["air"]).astype(np.float32)
    physiological *= np.exp(0.12 * smooth_field(scene.geometry, 18, rng)).astype(np.float32)
    for focus in foci:
        if not focus.disease:
            _add(physiological, frame, focus, tracer)
    with_lesions = physiological.copy()
    for focus in foci:
        if focus.disease:
            _add(with_lesions, frame, focus, tracer)

    turn, shift = rng.normal(0, 1.5, 3), rng.normal(0, (8, 8, 15), 3)
    scanner_from_patient = _rigid(turn, shift, (0.0, 0.0, 300.0))
    patient_from_scanner = scanner_from_patient.inverse()
    # From above the head to mid-thigh; some departments start at the chin or the base of the skull.
    crown = float(rng.uniform(690, 780)) if rng.random() < 0.15 else 917.0
    top = crown * frame.scale_xyz[2] + shift[2]
    bottom = float(rng.normal(-200, 30)) * frame.scale_xyz[2] + shift[2]
    grid = pet_geometry(scanner, (bottom, top), rng.normal(0, 5, 3))
    labels = scene.labels()
    noise_cov = scanner.noise_cov * (1.4 if tracer is Tracer.PSMA else 1.0) * float(rng.lognormal(0, 0.15))
    pet = image_pet(
        tracer,
        scene.geometry,
        physiological,
        with_lesions,
        liver_mask(labels),
        grid,
        patient_from_scanner,
        scanner.fwhm_mm + (0.6 if tracer is Tracer.PSMA else 0.0),
        noise_cov,
        rng,
    )
    organ_geometry = ct_geometry(scanner, grid) if options.with_ct else _own_grid(grid)
    seen = _as_segmented(scene, rng)
    organ_labels = image_organs(scene.geometry, seen, organ_geometry, patient_from_scanner)
    ct = None
    if options.with_ct:
        hu = scene.lookup(hounsfield([part.tissue for part in scene.parts]), -1000.0).astype(np.float32)
        ct = image_ct(scene.geometry, hu, organ_geometry, patient_from_scanner, rng)
    return Session(pet, organ_labels, organ_geometry, ct, scanner, patient_from_scanner)


def _as_segmented(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Labels as a segmenter gives them: now and then it misses a part."""
    labels = np.array([part.label for part in scene.parts], dtype=np.uint8)
    labels[rng.random(len(labels)) < MISSED_SHARE] = 0
    return scene.lookup(labels, 0)


def _add(activity: NDArray[np.float32], frame: Frame, focus: Focus, tracer: Tracer) -> None:
    for shape in focus.shapes:
        box, inside = frame.inside(shape, 0.25)
        if box.size:
            view = activity[box.slices]
            view[inside] = np.maximum(view[inside], np.float32(focus.suv[tracer]))


def _own_grid(pet: Geometry, spacing_mm: float = 3.0) -> Geometry:
    extent = [n * s for n, s in zip(pet.shape_zyx, pet.spacing_zyx, strict=True)]
    z, y, x = (int(np.ceil(e / spacing_mm)) for e in extent)
    return Geometry((z, y, x), (spacing_mm,) * 3, pet.origin_xyz, pet.direction)


def _rigid(turn_deg: NDArray, shift_mm: NDArray, centre_xyz: tuple[float, float, float]) -> RigidTransform:
    matrix = rotation_matrix(turn_deg)
    return RigidTransform(tuple(matrix.ravel().tolist()), tuple(float(s) for s in shift_mm), centre_xyz)


def _compose(outer: RigidTransform, inner: RigidTransform) -> RigidTransform:
    matrix = outer.matrix @ inner.matrix
    return RigidTransform(tuple(matrix[:3, :3].ravel().tolist()), tuple(matrix[:3, 3].tolist()))


def _about_centre(transform: RigidTransform, grid: Geometry) -> RigidTransform:
    """The same map, written about the grid's centre, as registration tools write it."""
    centre = grid.corners_world().mean(axis=0)
    moved = transform.apply(centre[None])[0] - centre
    return RigidTransform(transform.rotation, tuple(moved.tolist()), tuple(centre.tolist()))


def _card(
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
