import json

import numpy as np
import pytest
from builders.results import GRID, Spot, result

from deeppsma.core.errors import InputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform, rotation_matrix
from deeppsma.core.volume import Volume
from deeppsma.reporting import compare as module
from deeppsma.reporting.compare import compare, recip, register_pets, register_visits, write_comparison


@pytest.mark.parametrize(
    ("after", "change", "new", "category"),
    [
        (0.0, -1.0, False, "CR"),
        (7.0, -0.30, False, "PR"),
        (7.0, -0.30, True, "SD"),  # a fall with a new lesion
        (8.0, -0.20, True, "SD"),
        (8.0, -0.20, False, "SD"),
        (12.0, 0.20, True, "PD"),
        (12.0, 0.20, False, "SD"),  # a rise without one
        (11.9, 0.19, True, "SD"),
        (5.0, float("inf"), True, "PD"),
    ],
)
def test_recip_as_published(after, change, new, category):
    assert recip(after, change, new) == category


def test_new_and_gone_lesions_and_the_change(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "register_visits", lambda fixed, moving: (RigidTransform(), 1.0, "hand"))
    one, two, three = (
        Spot((27, 24, 22), (4, 5, 4), 12.0),
        Spot((40, 30, 36), (4, 4, 4), 8.0),
        Spot((10, 6, 6), (4, 4, 4), 9.0),
    )
    tiny = Spot((50, 4, 44), (1, 2, 2), 9.0)
    found = compare(result({Tracer.PSMA: [one, two]}), result({Tracer.PSMA: [one, three, tiny]}))
    assert [x.volume_ml for x in found.new] == [pytest.approx(5.12)]
    assert [x.volume_ml for x in found.new_small] == [pytest.approx(0.32)]
    assert len(found.gone) == 1
    assert found.change == pytest.approx(4 * 0.08 / (144 * 0.08))
    assert found.recip == "SD"
    assert "within the repeatability" in found.lines()[1]
    content = json.loads(write_comparison(found, tmp_path).read_text())
    assert content["new_lesions"] == ["P2"]
    none = compare(result({Tracer.PSMA: []}), result({Tracer.PSMA: [one]}))
    assert (none.change, none.recip, none.as_dict()["change_percent"]) == (float("inf"), "PD", None)
    gone = compare(result({Tracer.PSMA: [one]}), result({Tracer.PSMA: []}))
    assert (gone.recip, len(gone.gone)) == ("CR", 1)
    assert compare(result({Tracer.PSMA: []}), result({Tracer.PSMA: []})).change == 0


def test_a_doubtful_registration_is_said():
    case = result({Tracer.PSMA: [Spot((27, 24, 22), (4, 5, 4), 12.0)]})
    found = module.Comparison(1.0, 1.0, (), (), (), 0.3)
    assert "registration doubtful" in found.lines()[-1]
    assert case.tracers == (Tracer.PSMA,)


def test_registration_finds_a_known_shift_and_turn():
    grid = Geometry((60, 50, 50), (6.0, 6.0, 6.0), (-150.0, -150.0, 0.0))
    world = grid.index_to_world(np.argwhere(np.ones(grid.shape_zyx, bool)))
    rng = np.random.default_rng(3)
    centres = rng.uniform((-80, -60, 60), (80, 60, 300), (12, 3))

    def suv(points):
        body = 1.0 / (1 + np.exp((np.linalg.norm(points[:, :2] / [110, 80], axis=1) - 1) * 12))
        return body + sum(6 * np.exp(-((points - c) ** 2).sum(1) / (2 * 14.0**2)) for c in centres)

    turn = RigidTransform(
        tuple(rotation_matrix((2.0, -1.0, 3.0)).ravel().tolist()), (12.0, -8.0, 15.0), (0.0, 0.0, 180.0)
    )
    fixed = Volume(suv(turn.apply(world)).reshape(grid.shape_zyx).astype(np.float32), grid)
    moving = Volume(suv(world).reshape(grid.shape_zyx).astype(np.float32), grid)
    found, correlation = register_pets(fixed, moving)
    probe = np.array([[0.0, 0.0, 100.0], [60.0, 40.0, 250.0], [-60.0, 0.0, 180.0]])
    assert np.linalg.norm(found.apply(probe) - turn.apply(probe), axis=1).max() < 3.0
    assert correlation > 0.95


def test_the_cts_come_first_and_a_failure_is_said():
    spots = [Spot((27, 24, 22), (4, 5, 4), 12.0), Spot((44, 8, 8), (4, 5, 4), 6.0)]
    visit = result({Tracer.PSMA: spots}, with_ct=True).scans[Tracer.PSMA]
    # These CTs have no bone, so that their registration fails.
    _, _, by = register_visits(visit, visit)
    assert by.startswith("the PETs themselves, because the CTs could not be registered")
    alone = result({Tracer.PSMA: spots}).scans[Tracer.PSMA]
    transform, correlation, by = register_visits(alone, alone)
    assert "no CT of both visits" in by
    assert correlation > 0.99
    assert np.abs(transform.apply(np.zeros((1, 3)))).max() < 0.5


def test_fdg_alone_cannot_be_compared(tmp_path, monkeypatch):
    fdg = result({Tracer.FDG: []})
    monkeypatch.setattr(module, "load_case_result", lambda out, case: fdg)
    with pytest.raises(InputError, match="no PSMA mask"):
        module.compare_folders(tmp_path, None, tmp_path, None)
    assert GRID.shape_zyx == (60, 40, 50)
