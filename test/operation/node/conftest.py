"""pynetdicom leaves sockets of failed connections to the garbage collector: they go with the module that made them."""

from __future__ import annotations

import gc
import warnings

import pytest


@pytest.fixture(scope="module", autouse=True)
def sockets_go():
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
