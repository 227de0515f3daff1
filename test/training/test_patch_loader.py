import threading

import numpy as np
import pytest
from builders.networks import QUICK, SMALL_NETWORK

from deeppsma.training import patch_loader as feed
from deeppsma.training.patch_loader import PatchFeed


def arrays(patches):
    return [np.stack([patch.inputs for patch in patches]), np.stack([patch.target for patch in patches])]


def test_steps_come_in_order_and_depend_on_their_number_alone(samples):
    whole = PatchFeed(samples, SMALL_NETWORK, QUICK, 1, range(2))
    steps = list(whole.steps(0, 6))
    assert [step for step, _ in steps] == list(range(6))
    later = list(PatchFeed(samples, SMALL_NETWORK, QUICK, 1, range(2)).steps(4, 6))
    for (_, first), (_, second) in zip(steps[4:], later, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(arrays(first), arrays(second), strict=True))
    assert not np.array_equal(arrays(steps[0][1])[0], arrays(steps[1][1])[0])


def test_processes_share_the_patches_of_one_process(samples):
    together = PatchFeed(samples, SMALL_NETWORK, QUICK, 1, range(2)).draw(3)
    apart = [PatchFeed(samples, SMALL_NETWORK, QUICK, 1, range(k, k + 1)).draw(3)[0] for k in range(2)]
    assert all(np.array_equal(a, b) for a, b in zip(arrays(together), arrays(apart), strict=True))


def test_coming_steps_are_drawn_while_this_one_trains(samples, monkeypatch):
    drawn = threading.Event()
    draw = PatchFeed.draw

    def said(self, step):
        if step == 1:
            drawn.set()
        return draw(self, step)

    monkeypatch.setattr(PatchFeed, "draw", said)
    steps = PatchFeed(samples, SMALL_NETWORK, QUICK, 1, range(2)).steps(0, 3)
    next(steps)
    assert drawn.wait(10)  # though nobody has asked for step 1
    steps.close()


def test_what_goes_wrong_in_the_background_is_raised(samples, monkeypatch):
    monkeypatch.setattr(feed, "load_sample", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(PatchFeed(samples, SMALL_NETWORK, QUICK, 1, range(2)).steps(0, 3))


def test_only_so_many_samples_are_kept(samples, monkeypatch):
    monkeypatch.setattr(feed, "_CACHE_BYTES", 1)
    read = []
    load_sample = feed.load_sample
    monkeypatch.setattr(feed, "load_sample", lambda path: read.append(path) or load_sample(path))
    one = PatchFeed(samples[:1], SMALL_NETWORK, QUICK, 1, range(2))
    one.draw(0), one.draw(1)
    assert len(read) == 1
    many = PatchFeed(samples, SMALL_NETWORK, QUICK, 1, range(2))
    for step in range(10):
        many.draw(step)
    assert len(read) > 1 + len(samples)
