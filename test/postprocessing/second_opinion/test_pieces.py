from dataclasses import replace

import numpy as np
import pytest
from builders.second_opinions import small_evidence

from deeppsma.postprocessing.second_opinion.pieces import pieces, pieces_of

SPACING = (3.0, 3.0, 3.0)


def two_balls():
    z, y, x = np.indices((12, 12, 30)) * 3.0
    ratio = 0.2 + sum(6 * np.exp(-((z - 18) ** 2 + (y - 18) ** 2 + (x - c) ** 2) / 90) for c in (21.0, 54.0))
    return ratio.astype(np.float32)


def test_two_lesions_that_touch_are_two_pieces():
    ratio = two_balls()
    hot = ratio >= 0.5
    found = np.ones(int(hot.sum()), bool)
    piece = pieces(ratio, hot, found, SPACING)
    dense = np.full(hot.shape, -1)
    dense[hot] = piece
    assert piece.max() == 1
    assert dense[6, 6, 7] != dense[6, 6, 18]


def test_the_networks_mask_cuts_a_basin():
    ratio = two_balls()
    hot = ratio >= 0.5
    found = np.zeros(hot.shape, bool)
    found[:6] = True
    piece = pieces(ratio, hot, found[hot], SPACING)
    for number in range(piece.max() + 1):
        assert len(set(found[hot][piece == number].tolist())) == 1
    assert piece.max() == 3


def test_each_networks_mask_cuts():
    evidence = small_evidence()
    lesion = evidence.own >= 0
    first = np.where(lesion, np.float32(2), np.float32(-2))
    half = np.flatnonzero(lesion)[: lesion.sum() // 2]  # the other network sees half of it alone
    second = np.full_like(first, -3)
    second[half] = 1
    alone = pieces_of(evidence)
    both = pieces_of(replace(evidence, members=(first, second)))
    assert len(set(alone[lesion].tolist())) == 1
    assert len(set(both[half].tolist())) == 1
    assert set(both[half].tolist()).isdisjoint(both[np.setdiff1d(np.flatnonzero(lesion), half)].tolist())
    # A recipe that makes its mask in another way is cut by that mask, too.
    mask = np.zeros_like(lesion)
    mask[np.flatnonzero(lesion)[-4:]] = True
    third = pieces_of(replace(evidence, members=(first, second), mask=mask))
    assert len(set(third[lesion].tolist())) == 3
    assert len(set(pieces_of(replace(evidence, mask=mask))[lesion].tolist())) == 2


def test_a_speck_joins_its_basin():
    ratio = two_balls()
    hot = ratio >= 0.5
    found = np.zeros(hot.shape, bool)
    found[6, 6, 7] = True  # one voxel of the first ball's side alone: it has nobody to join
    found[6, 6, 15:21] = True
    found[6, 9, 19] = True  # a speck of the second ball's mask
    piece = pieces(ratio, hot, found[hot], SPACING)
    dense = np.full(hot.shape, -1)
    dense[hot] = piece
    assert dense[6, 9, 19] == dense[6, 6, 18]
    assert (piece == dense[6, 6, 7]).sum() == 1


def test_nothing_hot_and_what_does_not_fit():
    ratio = two_balls()
    assert pieces(ratio, ratio > 99, np.zeros(0, bool), SPACING).shape == (0,)
    with pytest.raises(ValueError, match="do not fit"):
        pieces(ratio, ratio > 1, np.zeros(3, bool), SPACING)
    with pytest.raises(ValueError, match="do not fit"):
        pieces(ratio[1:], ratio > 1, np.zeros(int((ratio > 1).sum()), bool), SPACING)
