"""Fixtures that several rooms share; what tests make lies in ``builders``."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import settings

from deeppsma.core.threads import prepare_threads

prepare_threads()  # before anything imports torch, as entry points do

from builders.cases import TINY_NETWORK, write_platform_case, write_tiny_member
from builders.networks import SMALL_NETWORK
from builders.patients import small_patient

from deeppsma.phantom.write_cohort import write_patient
from deeppsma.training.samples import cached_samples, case_folders

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

pytest_plugins = ["builders.nnunet_fixtures", "builders.keras_fixtures"]


@pytest.fixture
def keep_signals():
    """`guarded` takes over the process's signals; the test runner wants them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def platform_case(tmp_path: Path) -> Path:
    return write_platform_case(tmp_path / "input")


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one random member under the name that the recipes ask for."""
    store = tmp_path_factory.mktemp("weights")
    write_tiny_member(store / "cds-compact", TINY_NETWORK, 0)
    return store


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    for seed in (3, 4):
        write_patient(small_patient(seed), folder / f"train_{seed:04d}", "train")
    return folder


@pytest.fixture(scope="session")
def samples(cohort, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return [path for paths in cached_samples(case_folders(cohort), SMALL_NETWORK, cache) for path in paths]
