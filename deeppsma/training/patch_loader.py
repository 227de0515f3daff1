"""Feeds the loop: patches of the coming steps are drawn while this step trains."""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np

from deeppsma.models.config import NetworkConfig
from deeppsma.training.config import TrainingConfig
from deeppsma.training.patches import Patch, draw_patch
from deeppsma.training.samples import Sample, load_sample

#: Of samples that are kept in memory; the others are read again when drawn.
_CACHE_BYTES = 6_000_000_000
#: Steps that are drawn ahead.
_AHEAD = 4


class PatchFeed:
    """Patches by step, drawn in the background.

    Patch k of step s depends on the seed, s and k alone: neither on the order
    in which threads finish, nor on how many processes share a batch.

    Parameters
    ----------
    samples
        Cached sample files.
    network, config
        Shape of the patches, and how they are varied.
    seed
        Of all patches.
    numbers
        Which patches of each step's batch this process draws.
    """

    def __init__(
        self, samples: Sequence[Path], network: NetworkConfig, config: TrainingConfig, seed: int, numbers: range
    ) -> None:
        self._samples = samples
        self._network, self._config = network, config
        self._seed, self._numbers = seed, numbers
        self._kept: OrderedDict[Path, Sample] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def steps(self, start: int, stop: int) -> Iterator[tuple[int, list[Patch]]]:
        """Each step's number and patches, in order."""
        with ThreadPoolExecutor(max(1, min(8, (os.cpu_count() or 2) // 2))) as pool:
            coming: deque[Future[list[Patch]]] = deque()
            following = start
            try:
                for step in range(start, stop):
                    while following < min(step + _AHEAD, stop):
                        coming.append(pool.submit(self.draw, following))
                        following += 1
                    yield step, coming.popleft().result()
            finally:  # an interrupted run does not wait for patches that nobody wants
                for future in coming:
                    future.cancel()

    def draw(self, step: int) -> list[Patch]:
        """Patches of one step."""
        return [self._patch(np.random.default_rng([self._seed, step, number])) for number in self._numbers]

    def _patch(self, rng: np.random.Generator) -> Patch:
        sample = self._sample(self._samples[int(rng.integers(len(self._samples)))])
        return draw_patch(sample, self._network, self._config, rng)

    def _sample(self, path: Path) -> Sample:
        with self._lock:
            if path in self._kept:
                return self._kept[path]
        sample = load_sample(path)
        with self._lock:
            if path not in self._kept:
                self._kept[path] = sample
                self._bytes += sample.nbytes
            while self._bytes > _CACHE_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return sample
