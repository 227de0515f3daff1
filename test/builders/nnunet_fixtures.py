"""A Python with nnunetv2, and what its predictor says of random weights."""

import os
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import version
from pathlib import Path

import pytest

OFFICIAL = Path(__file__).with_name("nnunet_official.py")
#: A Python that has nnunetv2 already; else the tests make an environment in pytest's cache.
GIVEN = "DEEPPSMA_NNUNET_PYTHON"


@pytest.fixture(scope="session")
def nnunet_python(request):
    given = os.environ.get(GIVEN)
    if given:
        return given
    place = Path(request.config.cache.mkdir("nnunetv2"))
    python, done = place / "venv/bin/python", place / "installed"
    if not done.exists():
        venv.create(place / "venv", with_pip=True, clear=True)
        # It borrows what this environment has (torch above all) and installs the rest beside it.
        (place / "venv" / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix) / "borrowed.pth").write_text(
            sysconfig.get_path("purelib")
        )
        pins = place / "pins.txt"
        pins.write_text("\n".join(f"{name}=={version(name)}" for name in ("torch", "numpy", "scipy", "SimpleITK")))
        install = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "--retries", "1", "install"]
        try:
            subprocess.run([*install, "--constraint", pins, "nnunetv2"], check=True, capture_output=True, timeout=400)
        except (subprocess.SubprocessError, OSError) as error:
            said = (getattr(error, "stderr", b"") or b"").decode(errors="replace").strip().splitlines()
            pytest.skip(f"PARITY WITH NNUNETV2 NOT TESTED: not installable ({said[-1] if said else error})")
        done.touch()
    return str(python)


@pytest.fixture(scope="session")
def official(nnunet_python, tmp_path_factory):
    """Runs nnU-Net's own predictor on a case of `official.py`; returns the folder with all it leaves."""
    made = {}

    def run(kind, image=None):
        if (kind, image) not in made:
            out = tmp_path_factory.mktemp(kind)
            command = [nnunet_python, OFFICIAL, out, kind] + ([image] if image else [])
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
            assert done.returncode == 0, done.stderr
            made[kind, image] = out
        return made[kind, image]

    return run
