import numpy as np
import pytest

from deeppsma.core import anatomy as organs
from deeppsma.core.errors import ConfigurationError
from deeppsma.core.geometry import Geometry
from deeppsma.core.volume import Volume
from deeppsma.reporting.anatomy_map import AnatomyMap, name_foci
from deeppsma.reporting.anatomy_sites import Site, SiteRules, expanded, load_sites

GRID = Geometry((200, 50, 80), (4.0, 4.0, 4.0), (-160.0, -100.0, 0.0))


def body():
    """A spine of bricks, 24 mm each, the sacrum below it; vessels before it; lungs, liver, hips beside it."""
    labels = np.zeros(GRID.shape_zyx, np.uint8)

    def fill(label, x, y, z):
        low, high = (
            np.rint(GRID.world_to_index(np.array([corner]))[0]).astype(int) for corner in zip(x, y, z, strict=True)
        )
        labels[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = label

    fill(organs.LUNG_LOWER_RIGHT, (-120, -24), (-60, 60), (420, 640))
    fill(organs.LUNG_LOWER_LEFT, (24, 120), (-60, 60), (420, 640))
    fill(organs.LIVER, (-120, -30), (-60, 40), (300, 420))
    fill(organs.SACRUM, (-40, 40), (20, 60), (60, 140))
    for number, label in enumerate(organs.VERTEBRAE):
        z = 140 + 24 * number
        fill(label, (-20, 20), (20, 60), (z, z + 24))
    fill(organs.AORTA, (0, 16), (-8, 8), (240, 600))
    fill(organs.ILIAC_VEIN_LEFT, (40, 52), (-10, 6), (60, 200))
    fill(organs.ILIAC_VEIN_RIGHT, (-52, -40), (-10, 6), (60, 200))
    fill(organs.HIP_LEFT, (80, 120), (-20, 40), (20, 120))
    fill(organs.RIBS_RIGHT[6], (-140, -120), (-40, 40), (500, 508))
    fill(organs.PROSTATE, (-20, 20), (-40, 0), (20, 50))
    return Volume(labels, GRID)


def ball(x, y, z, radius=6.0):
    axis = np.arange(-radius, radius + 1, 3.0)
    offsets = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    return np.array([x, y, z]) + offsets[np.linalg.norm(offsets, axis=1) <= radius]


@pytest.mark.parametrize(
    ("where", "text", "region"),
    [
        ((0, 40, 140 + 24 * 11 + 12), "bone, T7 (\N{PLUS-MINUS SIGN}1)", "bone"),
        ((30, 40, 100), "bone, left sacrum", "bone"),
        ((100, 10, 60), "bone, left hip bone", "bone"),
        ((-130, 0, 504), "bone, right rib 7 (\N{PLUS-MINUS SIGN}1)", "bone"),
        ((-46, -18, 110), "node, right iliac", "pelvic nodes"),
        ((26, 0, 300), "node, left retroperitoneal, at T12", "other nodes"),
        ((4, -16, 510), "node, mediastinal, midline, at T3", "other nodes"),
        ((-80, 0, 350), "organ, liver", "viscera"),
        ((80, 0, 560), "organ, left lung", "viscera"),
        ((0, -20, 35), "local, prostate", "prostate"),
    ],
)
def test_places_have_the_names_that_a_reader_gives_them(where, text, region):
    named = name_foci([ball(*where)], body())[0].first
    assert named.text == text
    assert named.region == region


def test_a_node_in_lung_voxels_beside_the_aorta_is_a_node_and_lung_is_the_second_choice():
    labels = body()
    # The left lung reaches up to the aorta, as it does.
    labels.voxels[105:160, 15:40, 44:70] = organs.LUNG_LOWER_LEFT
    named = AnatomyMap(labels).name(ball(19, 0, 500, radius=5))
    assert named.first.kind == "node"
    assert named.second is not None
    assert (named.second.name, named.second.side) == ("lung", "left")
    assert named.margin_mm > 0


def test_without_a_prostate_in_the_map_its_bed_below_the_bladder_has_a_name():
    labels = body()
    labels.voxels[labels.voxels == organs.PROSTATE] = 0
    below = ball(0, -12, 38)
    assert name_foci([below], labels)[0].first.name != "prostate or its bed"  # no bladder, no bed
    labels.voxels[12:25, 12:30, 32:48] = organs.BLADDER  # from a height of 48 mm up
    named = name_foci([below, ball(0, -20, 70), ball(100, 10, 60)], labels)
    assert named[0].first.text == "local, prostate or its bed"
    assert named[0].first.region == "prostate"
    assert [n.first.name for n in named[1:]] == ["bladder or its wall", "hip bone"]
    # Where the prostate is there, nothing is called its bed.
    assert name_foci([ball(0, -20, 35)], body())[0].first.name == "prostate"


def test_far_from_everything_it_is_unlabelled_and_without_a_map_unnamed():
    assert name_foci([ball(-150, -90, 780)], body())[0].first.name == "unlabelled"
    assert "no organ map" in name_foci([ball(0, 0, 0)], None)[0].first.text
    assert name_foci([], body()) == []
    nothing = Volume(np.zeros(GRID.shape_zyx, np.uint8), GRID)
    assert name_foci([ball(0, 40, 300)], nothing)[0].first.text == "soft tissue, unlabelled"


def test_a_turned_map_gives_the_same_names():
    straight = body()
    turned = Volume(
        straight.voxels[::-1, :, ::-1].copy(),
        Geometry(
            GRID.shape_zyx,
            GRID.spacing_zyx,
            tuple(GRID.index_to_world(np.array([[199, 0, 79]]))[0]),
            (-1, 0, 0, 0, 1, 0, 0, 0, -1),
        ),
    )
    foci = [ball(-46, -18, 110), ball(30, 40, 100), ball(0, 40, 400)]
    assert [n.first.text for n in name_foci(foci, straight)] == [n.first.text for n in name_foci(foci, turned)]


def test_every_label_but_muscles_cord_cysts_and_gallbladder_names_something():
    known = {label for site in load_sites().sites for label in site.labels}
    unnamed = set(range(1, 118)) - known
    assert unnamed == {organs.GALLBLADDER, *range(23, 25), *range(79, 90)}


@pytest.mark.parametrize(
    ("change", "word"),
    [({"kind": "thing"}, "thing"), ({"region": "leg"}, "leg"), ({"labels": (118,)}, "118"), ({"labels": ()}, "labels"),
     ({"side": "up"}, "up"), ({"where": "sea"}, "sea"), ({"sided": "maybe"}, "maybe")],
)  # fmt: skip
def test_sites_are_checked(change, word):
    with pytest.raises(ValueError, match=word):
        Site(**({"name": "x", "kind": "node", "region": "other", "labels": (1,)} | change))


def test_rules_and_entries_are_checked(monkeypatch):
    with pytest.raises(ValueError, match="largest_mm"):
        SiteRules((), 1.0, 1.0)
    with pytest.raises(ValueError, match="no labels"):
        expanded({"name": "x", "kind": "node", "region": "other"})
    with pytest.raises(ValueError, match="without a voxel"):
        AnatomyMap(body()).name(np.zeros((0, 3)))
    load_sites.cache_clear()
    monkeypatch.setattr("deeppsma.reporting.anatomy_sites.read_toml", lambda *_: ("sites.toml", {"site": [{}]}))
    with pytest.raises(ConfigurationError, match="no table of sites"):
        load_sites()
    load_sites.cache_clear()
