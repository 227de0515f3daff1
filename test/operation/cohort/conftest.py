"""What the tests of cohorts share."""

from __future__ import annotations

import signal

import pytest


@pytest.fixture(autouse=True)
def keep_signals():
    """`guarded` takes over the process's signals; the test runner wants them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
