"""Soft parts of the synthetic man: trunk, limbs, organs, vessels, glands.

Frame and units as in `deeppsma.phantom.skeleton`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deeppsma import organs
from deeppsma.phantom.shapes import Ellipsoid, Part, Shape, Tube
from deeppsma.phantom.skeleton import Spine, arm_line

_SIDES = ((1, "left"), (-1, "right"))
_Course = list[tuple[float, float, float]]


@dataclass(frozen=True)
class Sizes:
    """What differs from man to man, beyond height and girth.

    Volumes in ml (phantom figures after ICRP 89 with their reported spread).
    """

    liver_ml: float
    spleen_ml: float
    kidney_ml: float
    prostate_ml: float
    heart_ml: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Sizes:
        """Sizes of one man; 35 % have no prostate (0 ml)."""
        return cls(
            liver_ml=float(np.clip(rng.normal(1550, 280), 900, 2400)),
            spleen_ml=float(np.clip(rng.lognormal(np.log(190), 0.35), 70, 500)),
            kidney_ml=float(np.clip(rng.normal(155, 28), 90, 240)),
            prostate_ml=0.0 if rng.random() < 0.35 else float(rng.uniform(18, 60)),
            heart_ml=float(np.clip(rng.normal(640, 110), 400, 950)),
        )


def _sized(shape: Ellipsoid, volume_ml: float) -> Ellipsoid:
    return shape.scaled((volume_ml / shape.volume_ml) ** (1 / 3))


def trunk(arms_up: bool) -> list[Part]:
    """Outer body: fat, then muscle, then the fat that lies between the organs."""
    torso = (
        Ellipsoid((0, 5, 40), (186, 118, 150), power=4),
        Ellipsoid((0, 3, 210), (168, 112, 170), power=4),
        Ellipsoid((0, 3, 420), (172, 115, 190), power=4),
        Tube.along([(-140, 15, 565), (140, 15, 565)], 60),
        Tube.along([(0, 15, 560), (0, 8, 720)], [78, 60]),
        Ellipsoid((0, 0, 790), (80, 99, 116)),
    )
    legs = tuple(Tube.along([(s * 100, 5, -20), (s * 98, 5, -180), (s * 92, 0, -400)], [96, 86, 70]) for s in (1, -1))
    arms = tuple(Tube.along(arm_line(s, arms_up), [56, 48, 42]) for s in (1, -1))
    flesh: tuple[Shape, ...] = (
        Ellipsoid((0, 5, 40), (168, 100, 140), power=4),
        Ellipsoid((0, 3, 210), (150, 96, 165), power=4),
        Ellipsoid((0, 3, 420), (160, 103, 180), power=4),
        Tube.along([(-130, 15, 565), (130, 15, 565)], 50),
        Tube.along([(0, 15, 560), (0, 8, 720)], [68, 50]),
        Ellipsoid((0, 0, 790), (77, 95, 112)),
        *(Tube.along([(s * 100, 5, -20), (s * 98, 5, -180), (s * 92, 0, -400)], [80, 70, 55]) for s in (1, -1)),
        *(Tube.along(arm_line(s, arms_up), [44, 37, 32]) for s in (1, -1)),
    )
    cavity = Ellipsoid((0, -20, 190), (128, 70, 160), power=4)
    pelvis = Ellipsoid((0, 5, 35), (80, 62, 62))
    mediastinum = Ellipsoid((0, -5, 470), (50, 75, 110))
    return [
        Part("skin_and_fat", "fat", 0, (*torso, *legs, *arms), roughness=0.05),
        Part("flesh", "muscle", 0, flesh, roughness=0.08),
        Part("inner_fat", "fat", 0, (cavity, pelvis, mediastinum), roughness=0.1),
    ]


def muscles(spine: Spine) -> list[Part]:
    """Muscles that TotalSegmentator labels."""
    parts = []
    for side, word in _SIDES:
        left = side > 0
        back = [(side * 38, spine.depth(z) + 40, z) for z in range(90, 560, 60)]
        psoas = [(side * 36, 35, 240), (side * 60, 5, 90), (side * 92, -15, -45)]
        shapes: list[tuple[str, int, Shape]] = [
            (
                "autochthon",
                organs.AUTOCHTHON_LEFT if left else organs.AUTOCHTHON_RIGHT,
                Tube.along(back, 25),
            ),
            ("iliopsoas", organs.ILIOPSOAS_LEFT if left else organs.ILIOPSOAS_RIGHT, Tube.along(psoas, [16, 25, 18])),
            (
                "gluteus_maximus",
                organs.GLUTEUS_MAXIMUS_LEFT if left else organs.GLUTEUS_MAXIMUS_RIGHT,
                Ellipsoid((side * 88, 82, 15), (58, 30, 66), (0, side * 20, 0)),
            ),
            (
                "gluteus_medius",
                organs.GLUTEUS_MEDIUS_LEFT if left else organs.GLUTEUS_MEDIUS_RIGHT,
                Ellipsoid((side * 122, 35, 62), (26, 44, 48)),
            ),
            (
                "gluteus_minimus",
                organs.GLUTEUS_MINIMUS_LEFT if left else organs.GLUTEUS_MINIMUS_RIGHT,
                Ellipsoid((side * 116, 8, 50), (16, 24, 32)),
            ),
        ]
        parts += [Part(f"{name}_{word}", "muscle", label, (shape,)) for name, label, shape in shapes]
    return parts


def chest(spine: Spine, sizes: Sizes) -> list[Part]:
    """Lungs by lobe, heart, great vessels, airway, gullet, thyroid."""
    right, left = Ellipsoid((-72, 8, 462), (60, 84, 142)), Ellipsoid((75, 8, 466), (56, 82, 140))
    # Lobes: each lower one replaces the back and bottom of its lung, the middle one the front.
    lobes = [
        ("lung_upper_right", organs.LUNG_UPPER_RIGHT, right),
        ("lung_upper_left", organs.LUNG_UPPER_LEFT, left),
        ("lung_middle_right", organs.LUNG_MIDDLE_RIGHT, Ellipsoid((-74, -40, 410), (52, 36, 42))),
        ("lung_lower_right", organs.LUNG_LOWER_RIGHT, Ellipsoid((-74, 32, 415), (54, 58, 98))),
        ("lung_lower_left", organs.LUNG_LOWER_LEFT, Ellipsoid((77, 32, 418), (50, 58, 98))),
    ]
    parts = [Part(name, "lung", label, (shape,), roughness=0.05) for name, label, shape in lobes]
    heart = _sized(Ellipsoid((24, -34, 418), (60, 47, 54), (0, 25, 20)), sizes.heart_ml)
    ventricle = Ellipsoid((44, -30, 410), (36, 34, 42), (0, 30, 20))
    parts += [
        Part("heart", "blood", organs.HEART, (heart,), "heart"),
        Part("myocardium", "myocardium", organs.HEART, (ventricle,), "heart"),
        Part("left_ventricle", "blood", organs.HEART, (ventricle.scaled(0.66),), "heart"),
    ]
    arch = [(-14, -22, 445), (-12, -25, 500), (8, 0, 522), (22, spine.depth(500) - 30, 500)]
    descending: _Course = [(18, spine.depth(z) - 30, z) for z in (450, 380, 300, 230, 165)]
    iliac = {s: [(s * 6, 10, 160), (s * 45, 12, 100), (s * 68, -15, 45), (s * 84, -45, -5)] for s in (1, -1)}
    veins = {s: [(s * 4 - 14, 18, 152), (s * 50, 22, 95), (s * 66, -5, 40), (s * 78, -42, -5)] for s in (1, -1)}
    cava = [(-20, spine.depth(z) - 26, z) for z in (150, 230, 320, 395)]
    gullet = [(4, spine.depth(z) - 30, z) for z in (385, 450, 520, 600)]
    vessels = [
        ("aorta", organs.AORTA, Tube.along([*arch, *descending], [14, 14, 13, 12, 11, 11, 10, 9, 8.5])),
        ("iliac_artery_left", organs.ILIAC_ARTERY_LEFT, Tube.along(iliac[1], 5.5)),
        ("iliac_artery_right", organs.ILIAC_ARTERY_RIGHT, Tube.along(iliac[-1], 5.5)),
        ("iliac_vein_left", organs.ILIAC_VEIN_LEFT, Tube.along(veins[1], 6.5)),
        ("iliac_vein_right", organs.ILIAC_VEIN_RIGHT, Tube.along(veins[-1], 6.5)),
        ("inferior_vena_cava", organs.INFERIOR_VENA_CAVA, Tube.along(cava, 10)),
        ("superior_vena_cava", organs.SUPERIOR_VENA_CAVA, Tube.along([(-26, -8, 450), (-28, -8, 525)], 9)),
    ]
    parts += [Part(name, "blood", label, (shape,), roughness=0.05) for name, label, shape in vessels]
    thyroid = (Ellipsoid((17, -18, 608), (9, 9, 22)), Ellipsoid((-17, -18, 608), (9, 9, 22)))
    parts += [
        Part("oesophagus", "gut_wall", organs.OESOPHAGUS, (Tube.along(gullet, 8),)),
        Part("trachea", "air", organs.TRACHEA, (Tube.along([(0, -12, 640), (0, 0, 520)], 8.5),), roughness=0),
        Part("thyroid", "thyroid", organs.THYROID, thyroid),
    ]
    return parts


def abdomen(sizes: Sizes, rng: np.random.Generator) -> list[Part]:
    """Liver, spleen, kidneys, glands and gut, with a gut of the man's own."""
    liver = _sized(Ellipsoid((-80, -2, 338), (74, 72, 72)), sizes.liver_ml * 0.85)
    left_lobe = _sized(Ellipsoid((-8, -42, 352), (72, 36, 36)), sizes.liver_ml * 0.2)
    stomach = Ellipsoid((58, -38, 335), (42, 36, 58), (0, -25, 0))
    spleen = _sized(Ellipsoid((108, 46, 350), (28, 40, 50), (0, 20, 0)), sizes.spleen_ml)
    parts = [
        Part("stomach", "stomach", organs.STOMACH, (stomach,), "breathing"),
        Part("small_bowel", "jejunum", organs.SMALL_BOWEL, tuple(_bowel_loops(rng)), roughness=0.2),
        *_colon(rng),
        Part("liver", "liver", organs.LIVER, (liver, left_lobe), "breathing"),
        Part("gallbladder", "bile", organs.GALLBLADDER, (Ellipsoid((-58, -62, 292), (14, 17, 27)),), "breathing"),
        Part("spleen", "spleen", organs.SPLEEN, (spleen,), "breathing"),
    ]
    pancreas = Tube.along([(-36, -18, 268), (8, -22, 286), (80, 22, 318)], [14, 11, 9])
    duodenum = Tube.along([(-18, -38, 300), (-48, -18, 288), (-50, 2, 240), (0, -2, 222), (28, -15, 252)], 12)
    parts += [
        Part("pancreas", "pancreas", organs.PANCREAS, (pancreas,), "breathing"),
        Part("duodenum", "duodenum", organs.DUODENUM, tuple(duodenum.pieces()), roughness=0.2),
    ]
    for side, word in _SIDES:
        z = 262 if side > 0 else 248
        label = organs.KIDNEY_LEFT if side > 0 else organs.KIDNEY_RIGHT
        kidney = _sized(Ellipsoid((side * 66, 50, z), (27, 25, 54), (12, -side * 12, 0)), sizes.kidney_ml)
        pelvis = Ellipsoid((side * 56, 46, z), (11, 11, 20))
        adrenal = Tube.along([(side * 44, 34, 308), (side * 36, 40, 332)], 5)
        adrenal_label = organs.ADRENAL_LEFT if side > 0 else organs.ADRENAL_RIGHT
        parts += [
            Part(f"kidney_{word}", "kidney", label, (kidney,), "breathing"),
            Part(f"renal_pelvis_{word}", "calyces", label, (pelvis,), "breathing"),
            Part(f"adrenal_{word}", "adrenal", adrenal_label, (adrenal,), "breathing"),
        ]
    return parts


def _bowel_loops(rng: np.random.Generator) -> list[Shape]:
    loops: list[Shape] = []
    for _ in range(6):
        turn = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0.9, 0.5, size=8))
        x = rng.uniform(-55, 55) + np.cumsum(26 * np.cos(turn))
        z = rng.uniform(110, 220) + np.cumsum(20 * np.sin(turn))
        y = -48 + rng.normal(0, 12, size=8)
        line = np.stack([np.clip(x, -95, 95), np.clip(y, -75, -10), np.clip(z, 75, 255)], axis=1)
        loops += Tube.along(line, 12).pieces()
    return loops


def _colon(rng: np.random.Generator) -> list[Part]:
    sag = rng.uniform(-30, 15)
    ascending: _Course = [(-100, 5, 85), (-112, 12, 180), (-110, 5, 262)]
    transverse: list[tuple[float, float, float]] = [
        (-110, 5, 262),
        (-50, -68, 258 + sag),
        (40, -70, 268 + sag),
        (108, -5, 305),
    ]
    descending: _Course = [(108, -5, 305), (118, 30, 220), (112, 22, 115)]
    sigmoid: _Course = [(112, 22, 115), (78, 0, 72), (30, 10 + rng.normal(0, 8), 78), (8, 42, 55)]
    rectum = [(8, 42, 55), (0, 55, 15), (0, 45, -45)]
    courses = {
        "ascending": ascending,
        "transverse": transverse,
        "descending": descending,
        "sigmoid": sigmoid,
    }
    parts = [
        Part(f"colon_{name}", f"colon_{name}", organs.COLON, tuple(Tube.along(line, 18).pieces()), roughness=0.2)
        for name, line in courses.items()
    ]
    parts.append(Part("rectum", "rectum", organs.COLON, tuple(Tube.along(rectum, 17).pieces()), roughness=0.15))
    return parts


def pelvis(sizes: Sizes, bladder_ml: float, rng: np.random.Generator) -> list[Part]:
    """Bladder at this session's filling, prostate, urethra, ureters, testes."""
    parts = []
    if sizes.prostate_ml:
        prostate = _sized(Ellipsoid((0, -12, -8), (24, 17, 19)), sizes.prostate_ml)
        parts.append(Part("prostate", "prostate", organs.PROSTATE, (prostate,)))
    bladder = _sized(Ellipsoid((0, -30, 0), (42, 36, 32)), bladder_ml)
    # A full bladder rises: its neck stays on the pelvic floor.
    bladder = bladder.moved((0, 0, bladder.semi_xyz[2] + 6))
    parts.append(Part("bladder", "urine", organs.BLADDER, (bladder,), roughness=0.08))
    parts.append(Part("urethra", "urethra", 0, (Tube.along([(0, -15, -22), (0, -38, -75)], 4),)))
    for side, word in _SIDES:
        z = 262 if side > 0 else 248
        course = np.array([(50, 42, z - 12), (36, 28, 190), (34, 15, 130), (52, 22, 75), (24, 0, 30)], dtype=float)
        course[:, 0] *= side
        parts.append(Part(f"ureter_{word}", "ureter_wall", 0, tuple(Tube.along(course, 2.6).pieces()), roughness=0))
        for bead in range(int(rng.integers(1, 4))):
            share = rng.uniform(0, len(course) - 1.01)
            i, t = int(share), share % 1
            here = course[i] * (1 - t) + course[i + 1] * t
            there = here + (course[i + 1] - course[i]) * min(0.25, 1 - t)
            drop = Tube.along(np.stack([here, there]), 3.2)
            parts.append(Part(f"ureter_bead_{word}_{bead}", "ureter_urine", 0, (drop,)))
        parts.append(Part(f"testis_{word}", "testis", 0, (Ellipsoid((side * 18, -62, -110), (13, 15, 20)),)))
    return parts


def glands() -> list[Part]:
    """Structures without a label that take up tracer: glands, ganglia, mucosa."""
    parts = [Part("nasal_mucosa", "nasal_mucosa", 0, (Ellipsoid((0, -72, 762), (15, 18, 22)),), roughness=0.2)]
    paired: list[tuple[str, str, Ellipsoid]] = [
        ("parotid", "parotid", Ellipsoid((62, 8, 732), (11, 19, 25))),
        ("submandibular", "submandibular", Ellipsoid((31, -32, 690), (11, 14, 15))),
        ("sublingual", "sublingual", Ellipsoid((12, -48, 698), (6, 12, 6))),
        ("lacrimal", "lacrimal", Ellipsoid((36, -68, 800), (6, 6, 6))),
        ("tonsil", "tonsil", Ellipsoid((17, -18, 718), (7, 9, 12))),
        ("vocal_cord", "vocal_cord", Ellipsoid((6, -20, 640), (3, 8, 3))),
        ("ganglion_cervical", "ganglion", Ellipsoid((24, 6, 668), (3, 3, 9))),
        ("ganglion_coeliac", "ganglion", Ellipsoid((16, 12, 292), (6, 2.5, 8))),
        ("ganglion_sacral", "ganglion", Ellipsoid((24, 58, 62), (3, 3, 5))),
    ]
    for side, word in _SIDES:
        for name, tissue, shape in paired:
            x, y, z = shape.centre_xyz
            mirrored = Ellipsoid((side * x, y, z), shape.semi_xyz)
            parts.append(Part(f"{name}_{word}", tissue, 0, (mirrored,)))
    return parts
