from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppsma.core import anatomy as organs
from deeppsma.core.geometry import Geometry
from deeppsma.phantom.anatomy.abdomen import abdomen
from deeppsma.phantom.anatomy.chest import chest
from deeppsma.phantom.anatomy.head import glands
from deeppsma.phantom.anatomy.pelvis import pelvis
from deeppsma.phantom.anatomy.physique import Physique
from deeppsma.phantom.anatomy.scene import Frame, paint, smooth_field
from deeppsma.phantom.anatomy.shapes import Ellipsoid, Part, Tube, sized
from deeppsma.phantom.anatomy.skeleton import Arms, draw_spine, skeleton
from deeppsma.phantom.anatomy.trunk import muscles, trunk
from deeppsma.phantom.uptake.physiology import tables


@pytest.fixture
def man():
    return Physique.draw(np.random.default_rng(0))


ARMS_UP = Arms(up=True)


def all_parts(physique, arms=ARMS_UP):
    rng = np.random.default_rng(1)
    spine = draw_spine(physique, rng)
    return [
        *trunk(physique, arms),
        *muscles(spine),
        *chest(spine, physique),
        *abdomen(physique, rng),
        *pelvis(physique, 200, 100, False, rng),
        *skeleton(spine, physique, arms),
        *glands(rng),
    ]


@given(st.tuples(*[st.floats(-180, 180)] * 3), st.sampled_from([2, 4]), st.integers(0, 999))
@settings(max_examples=40)
def test_bounds_hold_the_whole_ellipsoid(turn, power, seed):
    shape = Ellipsoid((3, -2, 5), (9, 4, 6), turn, power)
    points = np.random.default_rng(seed).uniform(-16, 16, (3, 4000)).astype(np.float32)
    inside = shape.level(*points) <= 1
    low, high = shape.bounds()
    assert (points.T[inside] >= low - 1e-3).all()
    assert (points.T[inside] <= high + 1e-3).all()


def test_volume_and_level_by_hand():
    ball = Ellipsoid((0, 0, 0), (10, 10, 10))
    assert ball.volume_ml == pytest.approx(4.18879, rel=1e-5)
    assert ball.scaled(2).volume_ml == pytest.approx(8 * ball.volume_ml)
    assert sized(ball, 100).volume_ml == pytest.approx(100)
    tube = Tube.along([(0, 0, 0), (10, 0, 0)], 2)
    level = tube.level(*np.array([[5, 5, 13], [2, 3, 0], [0, 0, 0]], dtype=np.float32))
    assert level == pytest.approx([1, 2.25, 2.25])
    assert tube.moved((1, 0, 0)).bounds()[0].tolist() == [-1, -2, -2]


@given(st.integers(0, 10_000))
@settings(max_examples=60)
def test_men_are_men(seed):
    man = Physique.draw(np.random.default_rng(seed))
    assert 1500 < man.height_mm < 2000
    assert 40 < man.weight_kg < 180
    assert man.prostate_ml == 0 or man.prostate_ml >= 18
    assert set(man.collapsed) | set(man.degenerated) <= set(organs.VERTEBRA_NAMES)


@pytest.mark.parametrize("wrong", [{"missing_kidney": "both"}, {"hip_prosthesis": "L"}, {"liver_ml": 0.0}])
def test_impossible_men_are_refused(man, wrong):
    with pytest.raises(ValueError, match=r"side|above 0"):
        replace(man, **wrong)


@pytest.mark.parametrize("seed", range(5))
def test_parts_fit_and_have_names_tissues_and_labels(seed):
    parts = all_parts(Physique.draw(np.random.default_rng(seed)))
    assert len(parts) < 255
    assert len({part.name for part in parts}) == len(parts)
    assert {part.tissue for part in parts} <= set(tables()["uptake"]["psma-11"])
    labels = {part.label for part in parts}
    wanted = {*range(1, 23), *range(25, 117)} - {organs.KIDNEY_LEFT, organs.KIDNEY_RIGHT, organs.PROSTATE}
    assert wanted <= labels


def test_what_surgeons_took_is_gone(man):
    names = {part.name for part in all_parts(replace(man, missing_kidney="left", prostate_ml=0.0))}
    assert not any(name.startswith(("kidney_left", "ureter_left", "renal_pelvis_left", "prostate")) for name in names)
    assert "kidney_right" in names
    metal = [part for part in all_parts(replace(man, hip_prosthesis="right")) if part.tissue == "metal"]
    assert [(part.name, part.label) for part in metal] == [("prosthesis_right", 0)]


def test_a_collapsed_vertebra_is_flat_and_a_worn_one_has_a_spur(man):
    def height(physique, name):
        part = next(p for p in all_parts(physique) if p.name == f"vertebra_{name}")
        return part.shapes[0].semi_xyz[2], len(part.shapes)

    sound = replace(man, collapsed=(), degenerated=())
    assert height(replace(sound, collapsed=("L1",)), "L1")[0] == pytest.approx(0.6 * height(sound, "L1")[0])
    assert height(replace(sound, degenerated=("L3",)), "L3")[1] == height(sound, "L3")[1] + 1


def test_a_fuller_bladder_has_urine_outside_its_label(man):
    parts = pelvis(man, 300, 100, False, np.random.default_rng(0))
    volume = {part.name: part.shapes[0].volume_ml for part in parts if part.name.startswith("bladder")}
    assert volume == {"bladder": pytest.approx(100), "bladder_late": pytest.approx(300)}
    assert next(part.label for part in parts if part.name == "bladder_late") == 0


@given(st.booleans(), st.booleans(), st.sampled_from([-1, 1]), st.floats(0, 1), st.integers(0, 1))
def test_what_lies_in_an_arm_goes_with_it(up, other_up, side, share, segment):
    before, now = Arms(up, (5.0, 3.0, 1.0)), Arms(other_up, (-4.0, 0.0, 2.0))
    line, moved = (np.array(arms.line(side), dtype=float) for arms in (before, now))
    point = line[segment] + share * (line[segment + 1] - line[segment])
    expected = moved[segment] + share * (moved[segment + 1] - moved[segment])
    assert before.carried(tuple(point), now) == pytest.approx(tuple(expected), abs=1e-6)


def test_a_later_part_replaces_an_earlier_one():
    frame = Frame.draw(Geometry((40, 40, 40), (4.0,) * 3, (-80, -80, -80)), (1, 1, 1), np.random.default_rng(0))
    outer = Part("outer", "muscle", 80, (Ellipsoid((0, 0, 0), (50, 50, 50)),))
    inner = Part("inner", "liver", 5, (Ellipsoid((0, 0, 0), (25, 25, 25)),))
    scene = paint(frame, [outer, inner])
    labels = scene.labels()
    assert labels[20, 20, 20] == 5
    assert set(np.unique(labels)) == {0, 5, 80}
    assert (labels > 0).sum() * 0.064 == pytest.approx(523, rel=0.25)  # 4/3 pi 50^3 mm^3


def test_too_many_parts_are_refused():
    frame = Frame.draw(Geometry((4, 4, 4), (4.0,) * 3), (1, 1, 1), np.random.default_rng(0))
    with pytest.raises(ValueError, match="8 bits"):
        paint(frame, [Part(str(i), "fat", 0, (Ellipsoid((0, 0, 0), (1, 1, 1)),)) for i in range(255)])


@pytest.mark.parametrize("correlation_mm", [14, 40, 100])
def test_a_smooth_field_is_smooth_and_of_unit_variance(correlation_mm):
    grid = Geometry((200, 120, 120), (3.0,) * 3)
    field = np.mean([smooth_field(grid, correlation_mm, np.random.default_rng(i)).std() for i in range(3)])
    assert field == pytest.approx(1, abs=0.3)  # few independent places, where it is smoothest
    one = smooth_field(grid, correlation_mm, np.random.default_rng(0))
    near = np.corrcoef(one[:-1].ravel(), one[1:].ravel())[0, 1]
    assert near > 0.9


def test_a_pose_moves_the_head_and_not_the_hips():
    grid = Geometry((60, 20, 20), (16.0, 20.0, 20.0), (-200, -200, -100))
    still = Frame.draw(grid, (1, 1, 1), np.random.default_rng(0))
    posed = still.posed((18.0, 0.0, 0.0), np.random.default_rng(1))
    moved = (posed.x - still.x).mean(axis=(1, 2))
    assert moved[-3:].mean() == pytest.approx(18, abs=5)
    assert abs(moved[:10].mean()) < 5
    assert posed.reach_mm > still.reach_mm
