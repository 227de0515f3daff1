"""A Python with keras, and what it says of a consensus network."""

import os
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import version
from pathlib import Path

import pytest

#: A Python that has keras already; else the tests make an environment in pytest's cache.
GIVEN = "DEEPPSMA_KERAS_PYTHON"
_ASK = """
import sys, keras, numpy as np
features = np.load(sys.argv[1])
answers = [np.asarray(keras.saving.load_model(p, compile=False)(features).detach()) for p in sys.argv[3:]]
np.save(sys.argv[2], np.concatenate(answers, axis=1).T)
"""


@pytest.fixture(scope="session")
def keras_python(request):
    given = os.environ.get(GIVEN)
    if given:
        return given
    place = Path(request.config.cache.mkdir("keras"))
    python, done = place / "venv/bin/python", place / "installed"
    if not done.exists():
        venv.create(place / "venv", with_pip=True, clear=True)
        # It borrows what this environment has (torch above all) and installs the rest beside it.
        (place / "venv" / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix) / "borrowed.pth").write_text(
            sysconfig.get_path("purelib")
        )
        pins = place / "pins.txt"
        pins.write_text("\n".join(f"{name}=={version(name)}" for name in ("torch", "numpy", "h5py")))
        install = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "--retries", "1", "install"]
        try:
            subprocess.run([*install, "--constraint", pins, "keras"], check=True, capture_output=True, timeout=300)
        except (subprocess.SubprocessError, OSError) as error:
            said = (getattr(error, "stderr", b"") or b"").decode(errors="replace").strip().splitlines()
            pytest.skip(f"PARITY WITH KERAS NOT TESTED: not installable ({said[-1] if said else error})")
        done.touch()
    return str(python)


@pytest.fixture
def ask_keras(keras_python, tmp_path):
    """Gives keras' own probabilities [network, n] of features [n, 6]."""

    def ask(features, paths):
        import numpy as np

        (tmp_path / "ask.py").write_text(_ASK)
        np.save(tmp_path / "features.npy", features)
        command = [keras_python, tmp_path / "ask.py", tmp_path / "features.npy", tmp_path / "answers.npy", *paths]
        environment = {**os.environ, "KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
        assert done.returncode == 0, done.stderr
        return np.load(tmp_path / "answers.npy")

    return ask
