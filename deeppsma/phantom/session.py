"""One tracer's visit to the scanner: uptake, position, images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeppsma.core import anatomy as organs
from deeppsma.core.geometry import Geometry
from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform, rotation_matrix
from deeppsma.core.volume import Volume
from deeppsma.phantom.anatomy.physique import Physique
from deeppsma.phantom.anatomy.scene import Frame, Scene, smooth_field
from deeppsma.phantom.scan.ct import CT_PLANE, CtOptions, ct_geometry, densities, image_ct
from deeppsma.phantom.scan.imaging import Exposure, PetScan, image_pet, pet_geometry
from deeppsma.phantom.scan.motion import Breathing, Motion
from deeppsma.phantom.scan.scanners import Scanner, field_of_view_mm
from deeppsma.phantom.scan.segmenter import segmented
from deeppsma.phantom.scan.tissues import imaged_suv
from deeppsma.phantom.uptake.enrichment import check_enrichments
from deeppsma.phantom.uptake.focus import Focus, add_uptake
from deeppsma.phantom.uptake.physiology import Physiology, draw_uptake, tables
from deeppsma.phantom.uptake.radioligand import Radioligand

CTS = ("full", "pet", "none")
#: Rises when a seed gives another patient than before; the one before can still be made.
PHANTOM_VERSION = 3
PHANTOM_VERSIONS = (2, 3)
_TEXTURE_MM, _PLAIN_TEXTURE, _PLAIN_SPREAD = 16.0, 0.06, 0.06
#: Share of PSMA scans without furosemide whose scatter correction fails around the bladder.
_HALO = 0.3
#: Share of a breath's depth at which organs are on average.
_MID_BREATH = 0.3


@dataclass(frozen=True)
class PhantomOptions:
    """What to make of a patient.

    Parameters
    ----------
    ct
        "full": on a CT's own grid (it takes most of the time); "pet": on the
        PET's grid, enough for training; "none". The organ map lies on the
        CT's grid if that is full, else on a 3 mm grid of its own.
    scene_spacing_mm
        Fineness of the patient before he is scanned; larger is quicker and
        coarser (the unit tests use 8).
    version
        3, or 2 for the patients that version 2 made of the same seeds.
    enrich
        Names of `resources/phantom/enrichments.toml`: findings that every
        patient then has one of, see
        `deeppsma.phantom.uptake.enrichment.Enriched`.
    """

    ct: str = "full"
    scene_spacing_mm: float = 2.5
    version: int = PHANTOM_VERSION
    enrich: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.version not in PHANTOM_VERSIONS:
            raise ValueError(f"version must be one of {PHANTOM_VERSIONS}, not {self.version}")
        check_enrichments(self.enrich)
        if self.ct not in CTS:
            raise ValueError(f"ct must be one of {', '.join(CTS)}, not {self.ct!r}")
        if not 1 <= self.scene_spacing_mm <= 10:
            raise ValueError(f"scene spacing must be 1 to 10 mm, not {self.scene_spacing_mm}")


@dataclass(frozen=True)
class Visit:
    """Who comes to which scanner, in what state.

    Parameters
    ----------
    ligand, physique, day
        Tracer, man, and his state.
    scene, frame
        The man as he lies there.
    foci
        Disease and pitfalls.
    scanner
        Where.
    """

    ligand: Radioligand
    physique: Physique
    day: Physiology
    scene: Scene
    frame: Frame
    foci: Sequence[Focus]
    scanner: Scanner


@dataclass(frozen=True)
class Session:
    """What a visit gives.

    Parameters
    ----------
    visit
        Whose and where.
    pet
        Imaged PET with its truth and threshold.
    organ_labels, organ_geometry
        TotalSegmentator label map [z, y, x] uint8 and its grid.
    organ_errors
        What the segmenter got wrong.
    ct
        HU, int16, or None.
    imaged_suv
        Mean and maximum of the imaged PET by tissue, outside disease.
    breathing, ct_options
        How he breathed, how the CT was taken.
    patient_from_scanner
        Maps scanner world to the patient's frame.
    """

    visit: Visit
    pet: PetScan
    organ_labels: NDArray[np.uint8]
    organ_geometry: Geometry
    organ_errors: tuple[str, ...]
    ct: Volume | None
    imaged_suv: dict[str, tuple[float, float]]
    breathing: Breathing
    ct_options: CtOptions
    patient_from_scanner: RigidTransform


def scan_session(visit: Visit, options: PhantomOptions, rng: np.random.Generator) -> Session:
    """One tracer's scan of a patient.

    Parameters
    ----------
    visit, options
        Who, where, and what to make.
    rng
        Source of uptake, position, breathing, errors and noise.
    """
    scene, frame, tracer = visit.scene, visit.frame, visit.ligand.tracer
    exposure = _position(visit, rng)
    breathing, ct_options = Breathing.draw(rng), CtOptions.draw(rng)
    motion = Motion(frame)
    bone = scene.bone()
    physiological = _physiological(visit, bone, rng)
    with_lesions = physiological.copy()
    for focus in visit.foci:
        if focus.disease:
            add_uptake(with_lesions, frame, focus, tracer, bone, options.version)
    liver = scene.labels() == organs.LIVER
    liver[with_lesions > 1.05 * physiological] = False
    pet = image_pet(
        scene.geometry,
        motion.averaged(physiological, breathing),
        motion.averaged(with_lesions, breathing),
        motion.moved(liver, _MID_BREATH * breathing.depth_mm),
        exposure,
        rng,
    )
    mid_breath = motion.moved(scene.part_map, _MID_BREATH * breathing.depth_mm)
    at_ct = motion.moved(scene.part_map, breathing.ct_depth_mm)
    organ_map = segmented(scene, at_ct, rng)
    full_grid = ct_geometry(visit.scanner, exposure.grid)
    organ_grid = full_grid if options.ct == "full" else _own_grid(exposure.grid)
    labels = resample(Volume(organ_map.labels, scene.geometry), organ_grid, exposure.patient_from_scanner, labels=True)
    ct = None
    if options.ct != "none":
        grid = full_grid if options.ct == "full" else exposure.grid
        hounsfield = densities(scene, at_ct, frame, visit.foci, ct_options)
        seen_mm = CT_PLANE * visit.scanner.ct_spacing_zyx[1]
        voxels = image_ct(scene.geometry, hounsfield, grid, exposure.patient_from_scanner, seen_mm, ct_options, rng)
        ct = Volume(voxels, grid)
    return Session(
        visit,
        pet,
        labels,
        organ_grid,
        organ_map.errors,
        ct,
        imaged_suv(scene, mid_breath, pet, exposure.patient_from_scanner),
        breathing,
        ct_options,
        exposure.patient_from_scanner,
    )


def rigid_motion(turn_deg: NDArray, shift_mm: NDArray, centre_xyz: tuple[float, float, float]) -> RigidTransform:
    """Rotation about x, y, z (degrees) around a point, then a shift (mm)."""
    matrix = rotation_matrix(turn_deg)
    return RigidTransform(tuple(matrix.ravel().tolist()), tuple(float(s) for s in shift_mm), centre_xyz)


def _position(visit: Visit, rng: np.random.Generator) -> Exposure:
    """Where he lies in the scanner, how much of him is scanned, and how noisy it is."""
    tall = visit.frame.scale_xyz[2]
    shift = rng.normal(0, (8, 8, 15), 3)
    patient_from_scanner = rigid_motion(rng.normal(0, 1.5, 3), shift, (0.0, 0.0, 300.0)).inverse()
    thigh = float(rng.normal(-190, 25)) * tall
    low, high = field_of_view_mm(visit.scanner, thigh, 912 * tall, rng)
    grid = pet_geometry(visit.scanner, (low + shift[2], high + shift[2]), rng.normal(0, 5, 3))
    heavy = (visit.physique.weight_kg / 84) ** 0.5
    cov = visit.scanner.noise_cov * visit.ligand.noise * heavy * float(rng.lognormal(0, 0.15))
    may_fail = visit.ligand.tracer is Tracer.PSMA and not visit.day.furosemide
    halo = float(rng.uniform(0.3, 0.8)) if may_fail and rng.random() < _HALO else 0.0
    return Exposure(visit.scanner, visit.ligand, grid, patient_from_scanner, cov, halo)


def _physiological(visit: Visit, bone: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """Activity without disease on the scene's grid, [z, y, x] SUV."""
    scene, content = visit.scene, tables()
    suv = draw_uptake(visit.ligand, visit.physique, visit.day, rng)
    tissues = [part.tissue for part in scene.parts]
    spread = np.array([content["parts"].get(tissue, _PLAIN_SPREAD) for tissue in tissues])
    of_part = np.array([suv[tissue] for tissue in tissues]) * np.exp(spread * rng.standard_normal(len(tissues)))
    # Urine is one pool, before and after the CT.
    of_part[tissues.index("urine_late")] = of_part[tissues.index("urine")]
    activity = scene.lookup(of_part.astype(np.float32), suv["air"])
    grain = np.array([content["texture"].get(tissue, _PLAIN_TEXTURE) for tissue in tissues], dtype=np.float32)
    activity *= np.exp(scene.lookup(grain, 0.0) * smooth_field(scene.geometry, _TEXTURE_MM, rng))
    for focus in visit.foci:
        if not focus.disease:
            add_uptake(activity, visit.frame, focus, visit.ligand.tracer, bone)
    return activity


def _own_grid(pet: Geometry, spacing_mm: float = 3.0) -> Geometry:
    extent = [n * s for n, s in zip(pet.shape_zyx, pet.spacing_zyx, strict=True)]
    z, y, x = (int(np.ceil(e / spacing_mm)) for e in extent)
    return Geometry((z, y, x), (spacing_mm,) * 3, pet.origin_xyz, pet.direction)
