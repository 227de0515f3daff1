"""One tracer's visit to the scanner: uptake, position, images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.geometry import Geometry
from deeppsma.phantom.disease import Focus
from deeppsma.phantom.imaging import PetScan, ct_geometry, image_ct, image_organs, image_pet, liver_mask, pet_geometry
from deeppsma.phantom.scanners import Scanner
from deeppsma.phantom.scene import Frame, Scene, smooth_field
from deeppsma.phantom.uptake import draw_uptake, hounsfield
from deeppsma.rigid import RigidTransform, rotation_matrix
from deeppsma.tracer import Tracer

#: Voxel of the scene, mm: finer than any scanner resolves, coarse enough for a second's painting.
SCENE_SPACING_MM = 2.5
#: Share of parts that the organ map lacks.
MISSED_SHARE = 0.02


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


def scan_session(
    tracer: Tracer,
    scene: Scene,
    frame: Frame,
    foci: list[Focus],
    psma_volume_ml: float,
    scanner: Scanner,
    options: PhantomOptions,
    rng: np.random.Generator,
) -> Session:
    """One tracer's scan of a patient.

    Parameters
    ----------
    tracer
        Which tracer.
    scene, frame
        The patient on the day of this scan.
    foci
        Disease and pitfalls; uptake of both tracers.
    psma_volume_ml
        PSMA-avid disease: organs take up less where there is much.
    scanner, options
        Where, and what to make.
    rng
        Source of uptake, position and noise.
    """
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
    scanner_from_patient = rigid_motion(turn, shift, (0.0, 0.0, 300.0))
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


def rigid_motion(turn_deg: NDArray, shift_mm: NDArray, centre_xyz: tuple[float, float, float]) -> RigidTransform:
    """Rotation about x, y, z (degrees) around a point, then a shift (mm)."""
    matrix = rotation_matrix(turn_deg)
    return RigidTransform(tuple(matrix.ravel().tolist()), tuple(float(s) for s in shift_mm), centre_xyz)
