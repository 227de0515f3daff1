"""Both spaces on grids small enough to solve by hand."""

from dataclasses import replace

import numpy as np
import pytest

from deeppsma.core.box import Box
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform
from deeppsma.inference.logits import Logits
from deeppsma.postprocessing.fusion import fuse, fused_logits, seen_elsewhere
from deeppsma.preprocessing.spaces import Space

# One line of 5 voxels, 2 mm, in each space; PSMA space lies 1 mm (half a voxel) along x.
GRID = Geometry((1, 1, 5), (2.0, 2.0, 2.0))
HALF = RigidTransform(translation_xyz=(1.0, 0.0, 0.0))


def line(*values):
    return np.array(values).reshape(1, 1, 5)


def space(fixed, hot):
    everywhere = np.ones((1, 1, 5), bool)
    pet = {tracer: np.zeros((1, 1, 5), np.float32) for tracer in Tracer}
    return Space(fixed, GRID, Box.whole(GRID.shape_zyx), GRID, pet, {fixed: hot.astype(bool), fixed.other: everywhere})


def logits(space, **found):
    """+1 where disease was found, -1 elsewhere, at the needed voxels."""
    return {
        Tracer(name): np.where(mask[space.needed[Tracer(name)]], 1.0, -1.0).astype(np.float32)
        for name, mask in found.items()
    }


def said(answers):
    """Logits of one class, of {seen from: {tracer: values}}."""
    return Logits({(tracer, seen): v[None] for seen, by in answers.items() for tracer, v in by.items()})


def test_bothways_by_hand():
    fdg, psma = space(Tracer.FDG, line(0, 1, 1, 1, 1)), space(Tracer.PSMA, line(0, 0, 0, 0, 0))
    own = line(0, 0, 0, 0, 1).astype(bool)
    # In PSMA space FDG disease was found at voxel 1 (2 mm). FDG voxels at 0 and 2 mm map to 1 and 3 mm: both touch it.
    across = line(0, 1, 0, 0, 0).astype(bool)
    answers = {
        Tracer.FDG: logits(fdg, fdg=own, psma=own),
        Tracer.PSMA: logits(psma, fdg=across, psma=line(0, 0, 0, 0, 0).astype(bool)),
    }
    spaces = {Tracer.FDG: fdg, Tracer.PSMA: psma}
    # Voxel 0 is touched but below threshold; voxel 1 joins; voxel 4 is FDG space's own.
    assert fuse("bothways", Tracer.FDG, spaces, said(answers), HALF).ravel().tolist() == [
        False,
        True,
        False,
        False,
        True,
    ]
    assert fuse("single", Tracer.FDG, spaces, said(answers), HALF).ravel().tolist() == [
        False,
        False,
        False,
        False,
        True,
    ]


def test_bothways_the_other_way_by_hand():
    fdg, psma = space(Tracer.FDG, line(0, 0, 0, 0, 0)), space(Tracer.PSMA, line(1, 1, 1, 1, 1))
    nothing = line(0, 0, 0, 0, 0).astype(bool)
    across = line(0, 0, 1, 0, 0).astype(bool)  # found in FDG space at 4 mm: PSMA's 5 mm, between voxels 2 and 3
    answers = {Tracer.FDG: logits(fdg, psma=across), Tracer.PSMA: logits(psma, psma=nothing)}
    out = fuse("bothways", Tracer.PSMA, {Tracer.FDG: fdg, Tracer.PSMA: psma}, said(answers), HALF)
    assert out.ravel().tolist() == [False, False, True, True, False]


def test_a_logit_of_zero_is_disease():
    fdg = space(Tracer.FDG, line(1, 1, 1, 1, 1))
    answers = {Tracer.FDG: {Tracer.FDG: np.array([0.0, -1e-6, 1e-6, -1, 1], np.float32)}}
    assert fuse("single", Tracer.FDG, {Tracer.FDG: fdg}, said(answers), HALF).ravel().tolist() == [1, 0, 1, 0, 1]


def test_a_cutoff_is_a_probability():
    fdg = space(Tracer.FDG, line(1, 1, 1, 1, 1))
    quarter = np.log(0.25 / 0.75)
    answers = {Tracer.FDG: {Tracer.FDG: np.array([0, quarter + 1e-6, quarter - 1e-6, -5, 5], np.float32)}}
    found = fuse("single", Tracer.FDG, {Tracer.FDG: fdg}, said(answers), HALF, cutoff=0.25)
    assert found.ravel().tolist() == [1, 1, 0, 0, 1]


def test_the_mean_of_both_spaces_by_hand():
    fdg, psma = space(Tracer.FDG, line(0, 1, 1, 1, 1)), space(Tracer.PSMA, line(0, 0, 0, 0, 0))
    # FDG voxels 1 to 4, at 2 to 8 mm, lie at 3 to 9 mm of PSMA space: between its voxels 1 and 2, ..., beyond its last.
    own = {Tracer.FDG: np.array([1.0, -1.0, 1.0, -1.0], np.float32)}
    across = {Tracer.FDG: np.array([0.0, 0.0, -4.0, 4.0, 4.0], np.float32)}
    spaces, answers = {Tracer.FDG: fdg, Tracer.PSMA: psma}, {Tracer.FDG: own, Tracer.PSMA: across}
    # (1 - 2) / 2, (-1 + 0) / 2, (1 + 4) / 2, and -1 alone.
    assert fuse("mean", Tracer.FDG, spaces, said(answers), HALF).ravel().tolist() == [False, False, False, True, False]
    found = fuse("mean", Tracer.FDG, spaces, said(answers), HALF, cutoff=1 / (1 + np.exp(0.51)))
    assert found.ravel().tolist() == [False, True, True, True, False]
    found = fuse("mean", Tracer.FDG, spaces, said(answers), HALF, cutoff=1 / (1 + np.exp(0.49)))
    assert found.ravel().tolist() == [False, False, False, True, False]


def test_what_the_other_space_does_not_know_does_not_count():
    fdg, psma = space(Tracer.FDG, line(1, 1, 1, 1, 0)), space(Tracer.PSMA, line(0, 0, 0, 0, 0))
    needed = line(0, 1, 0, 0, 0).astype(bool)
    psma = replace(psma, needed={Tracer.PSMA: needed & False, Tracer.FDG: needed})
    answers = {
        Tracer.FDG: {Tracer.FDG: np.array([-1.0, -1.0, -1.0, -1.0], np.float32)},
        Tracer.PSMA: {Tracer.FDG: np.array([3.0], np.float32)},
    }
    spaces = {Tracer.FDG: fdg, Tracer.PSMA: psma}
    # Voxels 0 and 1, at 1 and 3 mm, see half of PSMA space's voxel 1, the one that has an answer; the others none.
    assert fuse("mean", Tracer.FDG, spaces, said(answers), HALF).ravel().tolist() == [True, True, False, False, False]


def test_the_mean_with_one_space_alone():
    fdg = space(Tracer.FDG, line(1, 1, 1, 1, 1))
    answers = {Tracer.FDG: logits(fdg, fdg=line(1, 0, 0, 0, 0).astype(bool))}
    assert fuse("mean", Tracer.FDG, {Tracer.FDG: fdg}, said(answers), HALF).ravel().tolist() == [1, 0, 0, 0, 0]


def test_bothways_with_one_space_alone():
    fdg = space(Tracer.FDG, line(1, 1, 1, 1, 1))
    answers = {Tracer.FDG: logits(fdg, fdg=line(1, 0, 0, 0, 0).astype(bool))}
    assert fuse("bothways", Tracer.FDG, {Tracer.FDG: fdg}, said(answers), HALF).sum() == 1


def test_without_a_registration_the_own_space_counts_alone():
    fdg, psma = space(Tracer.FDG, line(1, 1, 1, 1, 1)), space(Tracer.PSMA, line(0, 0, 0, 0, 0))
    own, across = line(1, 0, 0, 0, 0).astype(bool), line(0, 1, 1, 1, 1).astype(bool)
    answers = said({Tracer.FDG: logits(fdg, fdg=own), Tracer.PSMA: logits(psma, fdg=across)})
    spaces = {Tracer.FDG: fdg, Tracer.PSMA: psma}
    for fusion in ("single", "bothways", "mean"):
        assert fuse(fusion, Tracer.FDG, spaces, answers, None).ravel().tolist() == [1, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="not registered"):
        seen_elsewhere(fdg, psma, Tracer.FDG, answers, None)


def test_the_logits_behind_a_mask():
    fdg, psma = space(Tracer.FDG, line(0, 1, 1, 1, 1)), space(Tracer.PSMA, line(0, 0, 0, 0, 0))
    own = {Tracer.FDG: np.array([1.0, -1.0, 1.0, -1.0], np.float32)}
    across = {Tracer.FDG: np.array([0.0, 0.0, -4.0, 4.0, 4.0], np.float32)}
    spaces, answers = {Tracer.FDG: fdg, Tracer.PSMA: psma}, said({Tracer.FDG: own, Tracer.PSMA: across})
    of = {fusion: fused_logits(fusion, Tracer.FDG, spaces, answers, HALF) for fusion in ("single", "mean", "bothways")}
    assert of["single"].tolist() == [1, -1, 1, -1]
    assert of["mean"].tolist() == [-0.5, -0.5, 2.5, -1]
    assert of["bothways"].tolist() == [1, 0, 4, -1]
