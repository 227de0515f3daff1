"""Organ maps by TotalSegmentator, where the host has it: called as another process, never imported.

It is no dependency of this package. It runs without the network (its weights must lie in a folder already) and
without its usage statistics; a CT goes in as NIfTI, a label map of task "total" comes out. What this package knows of
its command line and settings was read from its version 2.18; no run with its real weights has been tried.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deeppsma.core.anatomy import check_labels
from deeppsma.core.errors import InputError
from deeppsma.core.volume import Volume
from deeppsma.io.image_files import ImageFile, write_image

_WEIGHTS_REMEDY = "give the folder that holds TotalSegmentator's unpacked weights (Dataset291_..., Dataset297_...)"
_FAST_DATASET, _FULL_DATASETS = (
    "Dataset297_",
    ("Dataset291_", "Dataset292_", "Dataset293_", "Dataset294_", "Dataset295_"),
)
_TIMEOUT_S = 3600


@dataclass(frozen=True)
class OrganSegmenter:
    """How TotalSegmentator is called.

    Parameters
    ----------
    weights
        Folder with its unpacked weights.
    program
        Its command.
    fast
        The 3 mm model: needs a tenth of the time and a fifth of the weights.
    device
        "cpu" or "gpu".
    """

    weights: Path
    program: str = "TotalSegmentator"
    fast: bool = True
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "gpu"):
            raise ValueError(f'device must be "cpu" or "gpu", not {self.device!r}')

    def check(self) -> None:
        """Refuse before any work where the program or its weights are not there.

        Raises
        ------
        InputError
            Says what is missing.
        """
        if shutil.which(self.program) is None:
            raise InputError(self.program, "no such program", "install TotalSegmentator, or give organ maps as files")
        wanted = (_FAST_DATASET,) if self.fast else _FULL_DATASETS
        held = [path.name for path in self.weights.iterdir() if path.is_dir()] if self.weights.is_dir() else []
        for name in wanted:
            if not any(folder.startswith(name) for folder in held):
                raise InputError(self.weights, f"no folder {name}* there", _WEIGHTS_REMEDY)

    def segment(self, ct: Volume) -> Volume:
        """Label map of a CT.

        Parameters
        ----------
        ct
            HU.

        Returns
        -------
        Volume
            Labels, uint8, on the CT's grid.

        Raises
        ------
        InputError
            If it is not there, fails, or gives no label map of the CT.
        """
        self.check()
        with tempfile.TemporaryDirectory(prefix="deeppsma-organs-") as name:
            return self._segment(ct, Path(name))

    def _segment(self, ct: Volume, place: Path) -> Volume:
        source, target, home = place / "ct.nii.gz", place / "organs.nii.gz", place / "home"
        write_image(ct, source)
        home.mkdir()
        # Its statistics are sent unless its settings say otherwise; it writes them where its home is.
        settings = {"totalseg_id": "none", "send_usage_stats": False, "prediction_counter": 0}
        (home / "config.json").write_text(json.dumps(settings), encoding="utf-8")
        command = [self.program, "-i", str(source), "-o", str(target), "--ml", "--device", self.device, "--quiet"]
        done = self._run([*command, "--fast"] if self.fast else command, home)
        if done.returncode != 0 or not target.is_file():
            said = (done.stderr or done.stdout).strip().splitlines()
            found = f"ended with {done.returncode} and no organ map ({said[-1][:200] if said else 'no word'})"
            raise InputError(self.program, found, "see whether it runs by itself, or give organ maps as files")
        organs = ImageFile(target).read()
        check_labels(organs.voxels, self.program)
        if not organs.geometry.same_grid(ct.geometry):
            found = f"an organ map of {organs.geometry.describe()} for a CT of {ct.geometry.describe()}"
            raise InputError(self.program, found, "give organ maps as files")
        return Volume(organs.voxels.astype(np.uint8), ct.geometry)

    def _run(self, command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "TOTALSEG_HOME_DIR": str(home),
            "TOTALSEG_WEIGHTS_PATH": str(self.weights.resolve()),
            # Libraries beneath it ask the network for newer versions unless told not to.
            "HF_HUB_OFFLINE": "1",
            "NO_PROXY": "",
            "http_proxy": "http://127.0.0.1:9",
            "https_proxy": "http://127.0.0.1:9",
        }
        try:
            return subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            found = f"no end after {_TIMEOUT_S} s"
            raise InputError(
                self.program, found, "see whether it runs by itself, or give organ maps as files"
            ) from None
        except OSError as error:
            raise InputError(self.program, f"cannot be started ({error.strerror})", "check the program") from None
