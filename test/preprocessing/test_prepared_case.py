import shutil
from dataclasses import replace

import numpy as np
import pytest
from builders.cases import GRIDS, TINY_NETWORK, memory_case, write_platform_case
from builders.networks import CLASSES

from deeppsma.core.errors import InputError
from deeppsma.core.resampling import resample
from deeppsma.core.tracer import Tracer
from deeppsma.io.image_files import ImageFile
from deeppsma.io.layouts import load_case
from deeppsma.preprocessing import prepared_case
from deeppsma.preprocessing.prepared_case import DOES_WITHOUT_ORGANS, SEES_NO_ORGANS, PreparedCase

PET_ONLY = replace(TINY_NETWORK, channels=("fdg_pet", "psma_pet"), organ_embedding=0)


@pytest.fixture
def read(monkeypatch):
    """Paths of the images that are read, in order."""
    paths, real = [], ImageFile.read
    monkeypatch.setattr(ImageFile, "read", lambda self, dtype=None: (paths.append(self.path), real(self, dtype))[1])
    return paths


def kinds(paths):
    return [path.parent.name for path in paths]


@pytest.mark.parametrize(
    ("network", "wanted"),
    [
        (PET_ONLY, []),
        (TINY_NETWORK, ["psma-ct-organ-segmentation", "fdg-ct-organ-segmentation"]),
        (CLASSES, ["fdg-ct-organ-segmentation", "fdg-ct"]),
        (replace(PET_ONLY, channels=("fdg_contrast",)), ["fdg-ct-organ-segmentation"]),
    ],
)
def test_only_what_is_asked_for_is_read_and_once(platform_case, read, network, wanted):
    prepared = PreparedCase(load_case(platform_case))
    pets = ["psma-pet-ga-68", "fdg-pet"]
    assert kinds(read) == pets
    for _ in range(2):
        prepared.check([("m", network, False)])
    assert sorted(kinds(read)) == sorted(pets + wanted)


def test_a_whole_pet_is_kept_only_if_asked_for(platform_case, read):
    PreparedCase(load_case(platform_case)).pet(Tracer.FDG)
    assert kinds(read).count("fdg-pet") == 2
    read.clear()
    PreparedCase(load_case(platform_case), keep_whole=True).pet(Tracer.FDG)
    assert kinds(read).count("fdg-pet") == 1


def test_what_can_be_done_without_is_said_and_what_cannot_is_refused(tmp_path):
    folder = write_platform_case(tmp_path / "input", with_listing=False)
    shutil.rmtree(folder / "images/fdg-ct-organ-segmentation")
    prepared = PreparedCase(load_case(folder))
    prepared.check([("m", TINY_NETWORK, False)])
    assert prepared.log.fallbacks == [f"no FDG organ map: {SEES_NO_ORGANS}"]
    learnt = PreparedCase(load_case(folder))
    learnt.check([("m", TINY_NETWORK, True)])
    assert learnt.log.fallbacks == [f"no FDG organ map: {DOES_WITHOUT_ORGANS}"]
    with pytest.raises(InputError, match="no organ map, and m needs one"):
        prepared.check([("m", CLASSES, False)])
    folder = write_platform_case(tmp_path / "other", with_listing=False)
    shutil.rmtree(folder / "images/fdg-ct")
    with pytest.raises(InputError, match="no CT, and m needs one"):
        PreparedCase(load_case(folder)).check([("m", CLASSES, False)])
    seeing = replace(TINY_NETWORK, channels=(*TINY_NETWORK.channels, "fdg_density", "psma_density"))
    prepared = PreparedCase(load_case(folder))
    prepared.check([("m", seeing, False)])
    assert prepared.log.fallbacks == ["no FDG CT: the network sees none"]
    water = prepared.channels(seeing, Tracer.FDG).stack[-2]
    np.testing.assert_allclose(water.image, 0, atol=1e-6)


def test_what_was_found_comes_out_where_it_was_found():
    prepared = PreparedCase(memory_case())
    space = prepared.spaces[Tracer.PSMA]
    whole = prepared.on_pet(Tracer.PSMA, space.hot)
    assert whole.geometry == GRIDS[Tracer.PSMA]
    assert np.array_equal(whole.voxels > 0, prepared.pet(Tracer.PSMA).voxels >= 3.0)
    assert np.array_equal(prepared.on_crop(Tracer.PSMA, whole.voxels) > 0, space.hot)
    assert not prepared.on_pet(Tracer.PSMA, None).voxels.any()


def test_channels_are_made_once_and_forgotten(monkeypatch):
    prepared = PreparedCase(memory_case())
    first = prepared.channels(TINY_NETWORK, Tracer.FDG)
    assert prepared.channels(TINY_NETWORK, Tracer.FDG).stack[0] is first.stack[0]
    prepared.forget_channels(Tracer.PSMA)
    assert prepared.channels(TINY_NETWORK, Tracer.FDG).stack[0] is first.stack[0]
    prepared.forget_channels(Tracer.FDG)
    assert prepared.channels(TINY_NETWORK, Tracer.FDG).stack[0] is not first.stack[0]


@pytest.mark.parametrize("tracer", list(Tracer))
def test_one_tracer_alone(tracer):
    case = memory_case()
    alone = PreparedCase(replace(case, studies={tracer: case.study(tracer)}, fdg_to_psma=None))
    assert set(alone.spaces) == {tracer}
    space = alone.spaces[tracer]
    assert not space.sees_other
    assert not space.pet[tracer.other].any()
    assert not space.needed[tracer.other].any()
    assert np.array_equal(space.hot, PreparedCase(case).spaces[tracer].hot[_inside(space, PreparedCase(case), tracer)])
    assert alone.log.fallbacks == [f"no {tracer.other.upper()} study: the networks see {tracer.upper()} alone"]
    alone.check([("m", TINY_NETWORK, False)])
    stack = dict(zip(TINY_NETWORK.channels, alone.channels(TINY_NETWORK, tracer).stack, strict=True))
    assert not stack[f"{tracer.other}_organs"].voxels.any()
    assert (stack[f"{tracer.other}_pet"].image == -1).all()


def _inside(space, both, tracer):
    return space.box.relative_to(both.spaces[tracer].box).slices


def test_sessions_that_are_not_registered_do_not_see_each_other():
    case = replace(memory_case(), fdg_to_psma=None)
    prepared = PreparedCase(case)
    assert set(prepared.spaces) == set(Tracer)
    assert not any(space.sees_other for space in prepared.spaces.values())
    assert prepared.log.fallbacks == ["no registration of the two sessions: each tracer is seen in its own space alone"]
    with pytest.raises(ValueError, match="not registered"):
        case.transform(Tracer.FDG)


@pytest.mark.parametrize("margin_mm", [0.0, 30.0])
def test_of_organ_maps_what_the_spaces_see_stays(platform_case, monkeypatch, margin_mm):
    monkeypatch.setattr(prepared_case, "_MARGIN_MM", margin_mm)
    case = load_case(platform_case)
    studies = {t: replace(s, threshold_suv=0.9 * float(s.read_pet().voxels.max())) for t, s in case.studies.items()}
    whole, near = (PreparedCase(replace(case, studies=studies), keep_whole=kept) for kept in (True, False))
    sizes = []
    for tracer in Tracer:
        there, kept = whole.organs(tracer), near.organs(tracer)
        sizes += [kept.voxels.size, there.voxels.size]
        for fixed in Tracer:
            grid = near.spaces[fixed].geometry
            grid = grid if margin_mm == 0 else grid.coarsened((7, 9, 9))  # its last centres lie beyond the space
            transform = None if fixed is tracer else near.case.transform(fixed)
            assert np.array_equal(resample(kept, grid, transform, True), resample(there, grid, transform, True))
    if margin_mm == 0:
        assert sum(sizes[::2]) < sum(sizes[1::2])
    with pytest.raises(ValueError, match="prepared without keep_whole"):
        near.whole_sight(Tracer.FDG)
