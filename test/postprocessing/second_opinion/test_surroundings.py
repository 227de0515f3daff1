import numpy as np

from deeppsma.postprocessing.second_opinion.surroundings import offsets_at, surroundings


def test_steps_have_their_length():
    steps = offsets_at((2.0, 2.0, 2.0), 4.0)
    assert len(steps) == 14
    assert sorted({tuple(np.abs(step)) for step in steps}) == [(0, 0, 2), (0, 2, 0), (1, 1, 1), (2, 0, 0)]
    wide = offsets_at((9.0, 9.0, 9.0), 4.0)
    assert wide.any(axis=1).all()  # never the voxel itself


def test_a_focus_does_not_surround_itself():
    hot = np.zeros((5, 5, 5), bool)
    hot[2, 2, 1:4] = True
    focus, flat = surroundings(hot, np.array([0, 0, 1]), (3.0, 3.0, 3.0), 3.0)
    places = [tuple(int(i) for i in np.unravel_index(f, hot.shape)) for f in flat]
    mine = {place for place, number in zip(places, focus, strict=True) if number == 0}
    assert (2, 2, 3) in mine  # the other focus is a neighbour
    assert (2, 2, 1) not in mine
    assert (2, 2, 0) in mine
    assert (1, 2, 1) in mine


def test_outside_the_image_there_is_nothing():
    hot = np.ones((1, 1, 1), bool)
    focus, flat = surroundings(hot, np.array([0]), (3.0, 3.0, 3.0), 9.0)
    assert focus.size == flat.size == 0
