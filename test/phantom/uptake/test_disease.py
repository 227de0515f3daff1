from dataclasses import replace

import numpy as np
import pytest
from builders.patients import small_patient
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.phantom.anatomy.scene import Frame, paint
from deeppsma.phantom.anatomy.shapes import Ellipsoid, Tube
from deeppsma.phantom.uptake import disease
from deeppsma.phantom.uptake.disease import Avidity, draw_disease
from deeppsma.phantom.uptake.focus import Focus, Places, add_density, add_uptake, blob, with_volume
from deeppsma.phantom.uptake.physiology import tables
from deeppsma.phantom.uptake.pitfalls import Pitfall, all_pitfalls, draw_pitfalls, pick
from deeppsma.phantom.uptake.radioligand import RADIOLIGANDS

GRID = Geometry((50, 50, 50), (2.0,) * 3, (-50, -50, -50))
EVERYWHERE = np.ones(GRID.shape_zyx, bool)


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    return Frame.draw(GRID, (1, 1, 1), rng)


@pytest.fixture(scope="module")
def places():
    visit = small_patient(3).sessions[Tracer.PSMA].visit
    return Places(paint(visit.frame, visit.scene.parts), visit.frame)


def ball(**more):
    return Focus("bone", "somewhere", (Ellipsoid((0, 0, 0), (20, 20, 20)),), {Tracer.PSMA: 9.0}, True, **more)


def test_uptake_is_raised_inside_and_nowhere_else(frame):
    activity = np.full(GRID.shape_zyx, 2, np.float32)
    add_uptake(activity, frame, ball(), Tracer.FDG, EVERYWHERE)
    assert (activity == 2).all()  # FDG does not show it
    add_uptake(activity, frame, ball(), Tracer.PSMA, EVERYWHERE)
    raised = activity > 2
    assert np.median(activity[raised]) == pytest.approx(9, rel=0.15)
    assert raised.sum() * 0.008 == pytest.approx(33.5, rel=0.4)
    assert not raised[:8].any()


def test_a_focus_never_lowers_what_is_hotter(frame):
    activity = np.full(GRID.shape_zyx, 50, np.float32)
    add_uptake(activity, frame, ball(), Tracer.PSMA, EVERYWHERE)
    assert (activity == 50).all()


def test_a_dead_centre_is_cold(frame):
    activity = np.zeros(GRID.shape_zyx, np.float32)
    add_uptake(activity, frame, ball(core=0.5), Tracer.PSMA, EVERYWHERE)
    assert activity[25, 25, 25] < 3 < np.percentile(activity[activity > 0], 60)


def test_a_dead_centre_keeps_to_its_bone(frame):
    bone = np.zeros(GRID.shape_zyx, bool)
    bone[:, :, :25] = True
    now, before = (np.full(GRID.shape_zyx, 7, np.float32) for _ in range(2))
    add_uptake(now, frame, ball(in_bone=True, core=0.5), Tracer.PSMA, bone)
    add_uptake(before, frame, ball(in_bone=True, core=0.5), Tracer.PSMA, bone, version=2)
    assert (now[~bone] == 7).all()
    assert (now[bone] < 3).any()
    assert (before[~bone] < 3).any()  # what version 2 did


def test_shapes_that_overlap_count_once(frame):
    twice = replace(ball(), shapes=ball().shapes * 2)
    once_ml = with_volume(ball(), frame, EVERYWHERE).volume_ml
    assert with_volume(twice, frame, EVERYWHERE).volume_ml == pytest.approx(once_ml)
    assert with_volume(twice, frame, EVERYWHERE, version=2).volume_ml == pytest.approx(2 * once_ml)
    apart = replace(ball(), shapes=(Ellipsoid((-25, 0, 0), (9, 9, 9)), Ellipsoid((25, 0, 0), (9, 9, 9))))
    each = sum(with_volume(replace(apart, shapes=(s,)), frame, EVERYWHERE).volume_ml for s in apart.shapes)
    assert with_volume(apart, frame, EVERYWHERE).volume_ml == pytest.approx(each)
    far = replace(ball(), shapes=(Ellipsoid((900, 0, 0), (9, 9, 9)),) * 2)
    assert with_volume(far, frame, EVERYWHERE).volume_ml == 0


@pytest.mark.parametrize("fill", [0.2, 0.5, 0.8])
def test_patches_fill_their_share(fill):
    shares = []
    for seed in range(8):
        frame = Frame.draw(GRID, (1, 1, 1), np.random.default_rng(seed))
        whole, part = (with_volume(ball(fill=f), frame, EVERYWHERE).volume_ml for f in (1.0, fill))
        shares.append(part / whole)
    assert np.mean(shares) == pytest.approx(fill, abs=0.15)


def test_bone_lesions_keep_to_bone(frame):
    bone = np.zeros(GRID.shape_zyx, bool)
    bone[:, :, :25] = True
    activity, hounsfield = np.zeros(GRID.shape_zyx, np.float32), np.zeros(GRID.shape_zyx, np.float32)
    focus = ball(in_bone=True, hounsfield=500.0)
    add_uptake(activity, frame, focus, Tracer.PSMA, bone)
    add_density(hounsfield, frame, focus, bone)
    assert activity[bone].any()
    assert not activity[~bone].any()
    assert np.array_equal(hounsfield == 500, activity > 0)
    add_density(hounsfield, frame, ball(), bone)
    assert set(np.unique(hounsfield)) == {0, 500}  # without a CT number nothing shows


@pytest.mark.parametrize("wrong", [{"fill": 0.0}, {"core": 1.0}])
def test_impossible_foci_are_refused(wrong):
    with pytest.raises(ValueError, match="fill must"):
        ball(**wrong)


def test_only_ellipsoids_have_a_core():
    with pytest.raises(ValueError, match="core"):
        Focus("bone", "x", (Tube.along([(0, 0, 0), (1, 0, 0)], 1),), core=0.5)


@given(st.floats(0.1, 200), st.integers(0, 99))
@settings(max_examples=30)
def test_a_blob_has_its_volume(volume_ml, seed):
    assert blob((0, 0, 0), volume_ml, np.random.default_rng(seed)).volume_ml == pytest.approx(volume_ml)


def test_points_lie_in_their_parts(places):
    part = places.parts["liver"]
    for seed in range(20):
        point = np.array(places.point_in("liver", np.random.default_rng(seed)), np.float32)
        assert min(shape.level(*point) for shape in part.shapes) < 1.8  # parts are rough
    assert 500 < places.volume_ml("liver") < 3000
    assert places.volume_ml("tail") == 0
    assert [p.name for p in places.matching("hip")] == ["hip_left", "hip_right"]


def test_picking_where_there_is_nothing(places):
    assert pick({"tail": 1}, places, np.random.default_rng(0)) is None
    assert pick({"tail": 0, "liver": 1}, places, np.random.default_rng(0)).name == "liver"


@pytest.mark.parametrize("seed", range(12))
def test_every_man_has_disease_that_psma_shows(places, seed):
    lesions = draw_disease(places, np.random.default_rng(seed))
    assert lesions
    assert all(lesion.disease for lesion in lesions)
    assert max(lesion.suv[Tracer.PSMA] for lesion in lesions) > 5
    assert all(lesion.in_bone == (lesion.kind in ("bone", "marrow")) for lesion in lesions)


def test_disease_is_as_published(places):
    """Over many men: how many, where, on which tracer (wide limits: chance, and one anatomy)."""
    men = [draw_disease(places, np.random.default_rng(seed)) for seed in range(150)]
    counts = [len(lesions) for lesions in men]
    assert 10 < np.median(counts) < 40
    assert np.mean([any(f.in_bone for f in m) for m in men]) == pytest.approx(0.93, abs=0.07)
    assert np.mean([any(f.kind == "liver" for f in m) for m in men]) == pytest.approx(0.09, abs=0.07)
    assert 0.05 < np.mean([any(f.kind == "marrow" for f in m) for m in men]) < 0.6
    assert any(f.core > 0 for m in men for f in m)
    only_fdg = [f for m in men for f in m if f.suv[Tracer.PSMA] < 2.5 and f.suv[Tracer.FDG] > 3]
    only_psma = [f for m in men for f in m if f.suv[Tracer.PSMA] > 4 and f.suv[Tracer.FDG] < 2.3]
    assert len(only_fdg) > 20
    assert len(only_psma) > 200


def test_confluent_disease_grows_in_blobs(places):
    """Not bone by bone to a sharp end, as in version 2."""
    men = {v: [draw_disease(places, np.random.default_rng(seed), v) for seed in range(60)] for v in (2, 3)}
    marrow = {v: [f for m in each for f in m if f.kind == "marrow"] for v, each in men.items()}
    assert all(f.shapes == places.parts[f.site].shapes for f in marrow[2])
    assert all(isinstance(shape, Ellipsoid) for f in marrow[3] for shape in f.shapes)
    assert max(len(f.shapes) for f in marrow[3]) > 5
    for focus in marrow[3][:20]:
        centres = [np.array(shape.centre_xyz) for shape in focus.shapes]
        apart = [np.linalg.norm(a - b) for i, a in enumerate(centres) for b in centres[:i]]
        assert min(apart, default=99) >= disease._BLOB_STEP_MM


def test_no_fdg_in_some_men():
    shares = [Avidity.draw(np.random.default_rng(i)).fdg_share for i in range(300)]
    assert np.mean(np.array(shares) == 0) == pytest.approx(0.1, abs=0.06)


def test_pitfalls_come_as_often_as_tabled(places):
    by_key = {ligand.key: ligand for ligand in RADIOLIGANDS}
    ligands = {Tracer.PSMA: by_key["psma-1007"], Tracer.FDG: by_key["fdg"]}
    men = [draw_pitfalls(places, ligands, np.random.default_rng(seed)) for seed in range(250)]
    older = [draw_pitfalls(places, ligands, np.random.default_rng(seed), version=2) for seed in range(250)]
    new = {pitfall.name for pitfall in all_pitfalls() if pitfall.since > 2}
    assert new
    assert new & {f.kind for found in men for f in found}
    assert not new & {f.kind for found in older for f in found}
    for pitfall in all_pitfalls():
        if pitfall.needs and not places.matching(pitfall.needs):
            continue
        for tracer, ligand in ligands.items():
            seen = np.mean([any(f.kind == pitfall.name and tracer in f.suv for f in found) for found in men])
            share = pitfall.share.get(ligand.key, 0)
            assert seen == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(men)) + 1e-9), pitfall.name
            assert seen > 0 or share < 0.03, pitfall.name
    assert not any(focus.disease for found in men for focus in found)
    rows = [f for found in men for f in found if f.kind == "healing rib fractures"]
    assert len({f.site for f in rows}) > 5


def test_a_pitfall_can_be_made_certain(places):
    by_key = {ligand.key: ligand for ligand in RADIOLIGANDS}
    ligands = {Tracer.PSMA: by_key["psma-11"], Tracer.FDG: by_key["fdg"]}
    pneumonia = "pneumonia or pneumonitis"
    for seed in range(20):
        found = draw_pitfalls(places, ligands, np.random.default_rng(seed), certain={pneumonia, "no such kind"})
        assert any(f.kind == pneumonia and Tracer.FDG in f.suv for f in found)
    only_psma = draw_pitfalls(
        places, {Tracer.PSMA: by_key["psma-11"]}, np.random.default_rng(0), certain={"shoulder arthritis"}
    )
    assert not any(f.kind == "shoulder arthritis" for f in only_psma)  # that ligand never shows it


def test_pitfalls_of_an_implant_need_the_implant(places):
    prosthesis = next(p for p in all_pitfalls() if p.needs)
    assert prosthesis.needs == "prosthesis"
    assert places.matching("prosthesis") == []
    # Asked for by name, and drawn twenty times: without the implant it never comes.
    by_key = {ligand.key: ligand for ligand in RADIOLIGANDS}
    ligands = {Tracer.PSMA: by_key["psma-11"], Tracer.FDG: by_key["fdg"]}
    drawn = [
        draw_pitfalls(places, ligands, np.random.default_rng(seed), certain={prosthesis.name}) for seed in range(20)
    ]
    assert not any(focus.kind == prosthesis.name for found in drawn for focus in found)


def test_the_table_of_pitfalls_names_parts_that_exist(places):
    for pitfall in all_pitfalls():
        for site in {**pitfall.sites, **pitfall.whole}:
            assert places.matching(site) or site in ("prosthesis", "forearm"), (pitfall.name, site)
        assert set(pitfall.share) <= set(tables()["uptake"])


def test_the_sites_of_disease_exist(places):
    for sites in (disease._BONE_SITES, disease._NODE_SITES, *(viscera[1] for viscera in disease._VISCERA)):
        assert all(places.matching(site) for site in sites), sites


@pytest.mark.parametrize(
    "wrong", [{"points": ((0.0, 0.0, 0.0),)}, {"share": {"fdg": 1.5}}, {"count": (0, 2)}, {"sites": {}}]
)
def test_impossible_pitfalls_are_refused(wrong):
    good = Pitfall("x", {"fdg": 0.5}, (1, 2), (4.0, 0.3), sites={"rib": 1})
    with pytest.raises(ValueError, match="x: "):
        replace(good, **wrong)
