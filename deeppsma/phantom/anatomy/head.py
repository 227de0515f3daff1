"""Glands, mucosa and ganglia of head, neck and trunk: they take up tracer and have no label."""

from __future__ import annotations

import numpy as np

from deeppsma.phantom.anatomy.shapes import Ellipsoid, Part, Tube

_SIDES = ((1, "left"), (-1, "right"))
_PAIRED: tuple[tuple[str, str, Ellipsoid], ...] = (
    ("parotid", "parotid", Ellipsoid((62, 8, 732), (11, 19, 25))),
    ("submandibular", "submandibular", Ellipsoid((31, -32, 690), (11, 14, 15))),
    ("sublingual", "sublingual", Ellipsoid((12, -48, 698), (6, 12, 6))),
    ("lacrimal", "lacrimal", Ellipsoid((36, -68, 800), (6, 6, 6))),
    ("eye", "eye", Ellipsoid((32, -76, 785), (12, 12, 12))),
    ("eye_muscle", "eye_muscle", Ellipsoid((26, -58, 785), (7, 12, 7))),
    ("tonsil", "tonsil", Ellipsoid((17, -18, 718), (7, 9, 12))),
    ("maxillary_sinus", "air", Ellipsoid((24, -60, 755), (11, 12, 14))),
    ("frontal_sinus", "air", Ellipsoid((10, -82, 818), (9, 5, 9))),
    ("sphenoid_sinus", "air", Ellipsoid((7, -28, 772), (6, 9, 8))),
    ("mastoid", "air", Ellipsoid((52, 26, 750), (8, 10, 12))),
    ("vocal_cord", "vocal_cord", Ellipsoid((6, -20, 640), (4, 10, 5))),
    ("ganglion_cervical", "ganglion_cervical", Ellipsoid((24, 6, 668), (2.6, 2.6, 9))),
    ("ganglion_coeliac", "ganglion_coeliac", Ellipsoid((16, 12, 292), (6, 2.3, 8))),
    ("ganglion_sacral", "ganglion_sacral", Ellipsoid((24, 58, 62), (2.5, 2.5, 5))),
)


def glands(rng: np.random.Generator) -> list[Part]:
    """Parts of head and neck, and ganglia, in painting order; each size is the man's own."""
    tongue = Ellipsoid((0, -38, 715), (20, 28, 14))
    nose = Ellipsoid((0, -72, 762), (15, 18, 22))
    airway = Tube.along([(0, -62, 745), (0, -10, 738), (0, -8, 690), (0, -14, 640)], 7)
    parts = [
        Part("tongue", "tongue", 0, (tongue,)),
        Part("nasal_mucosa", "nasal_mucosa", 0, (nose,), roughness=0.2),
        Part("pharynx", "air", 0, tuple(airway.pieces()), roughness=0.1),
        Part("adenoids", "tonsil", 0, (Ellipsoid((0, -2, 742), (10, 5, 8)),)),
    ]
    for name, tissue, shape in _PAIRED:
        size = float(rng.lognormal(0, 0.1))
        for side, word in _SIDES:
            x, y, z = shape.centre_xyz
            own = Ellipsoid((side * x, y, z), shape.semi_xyz).scaled(size * float(rng.lognormal(0, 0.05)))
            parts.append(Part(f"{name}_{word}", tissue, 0, (own,)))
    return parts
