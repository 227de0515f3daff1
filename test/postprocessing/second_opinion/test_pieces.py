import numpy as np
import pytest

from deeppsma.postprocessing.second_opinion.pieces import pieces

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
