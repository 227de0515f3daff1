import numpy as np

from deeppsma.core.tracer import Tracer
from deeppsma.reporting.lesion_probabilities import probabilities_of


def ring(radius: float) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles), 0 * angles], axis=1)


def report(*entries):
    return {"foci": {"psma": [{"centre_xyz_mm": list(xyz), "probability": p, "decision": d} for xyz, p, d in entries]}}


def test_a_hollow_lesion_keeps_its_probability():
    """Its centre is 20 mm from all its voxels, and nearer to a small lesion inside it."""
    foci = [ring(20.0), np.array([[4.0, 0.0, 0.0]])]
    given = report(((0.1, 0, 0), 0.9, "kept"), ((4.0, 0, 0), 0.4, "kept"))
    assert probabilities_of(given, Tracer.PSMA, foci) == [0.9, 0.4]


def test_elsewhere_the_nearest_voxel_decides_and_what_is_far_is_nobodys():
    foci = [np.array([[0.0, 0.0, 0.0], [8.0, 0.0, 0.0]]), np.array([[30.0, 0.0, 0.0]])]
    given = report(((9.0, 0, 0), 0.9, "kept"), ((20.0, 0, 0), 0.7, "kept"), ((30.0, 0, 0), 0.8, "removed"))
    assert probabilities_of(given, Tracer.PSMA, foci) == [0.9, None]
    assert probabilities_of(given, Tracer.PSMA, foci, removed=True) == [None, 0.8]
