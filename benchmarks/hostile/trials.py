"""Trials: one spoilt file each, what became of it, and whether that is clean."""

from __future__ import annotations

import hashlib
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hostile import mutations as how
from benchmarks.hostile.material import Material
from benchmarks.hostile.oracle import NoMeaning, rewritten

#: The documented table, of what a spoilt file may end in.
STATUSES = (0, 2, 3, 4, 5, 6, 137)
#: A run takes half a second, a worker's start ten; on a machine that others load, minutes.
LIMIT_S = 600.0
_DRAWS_MAX = 100
#: Expected of every accepted run.
_FILES = {f"images/{tracer}-pet-ttb/{tracer}-pet-ttb.mha" for tracer in ("psma", "fdg")} | {"run_report.json"}
_RESULT_FILES = _FILES | {"images", "images/psma-pet-ttb", "images/fdg-pet-ttb"}
_IMAGES = ("psma-pet-ga-68", "fdg-pet", "psma-ct-organ-segmentation", "fdg-ct-organ-segmentation", "psma-ct", "fdg-ct")


@dataclass(frozen=True)
class Format:
    """A format that is read, where it lies in a case, and how it is spoilt.

    Parameters
    ----------
    name
        In the table.
    case
        Which case of `Material`.
    files
        Paths from the case's folder, or from the weights' or recipe's; one is
        drawn.
    mutations
        One is drawn.
    weights
        "weights" or "models" of `Material`.
    recipe
        Name, or empty for `Material.recipe`.
    """

    name: str
    case: str
    files: tuple[str, ...]
    mutations: tuple[how.Mutation, ...]
    weights: str = "weights"
    recipe: str = "bothways"


def _images(suffix: str) -> tuple[str, ...]:
    return tuple(f"images/{name}/image{suffix}" for name in _IMAGES)


_JSON = (how.json_tree, how.json_tree, how.words_of_text, how.any_bytes)
_MODEL = "Dataset801_PSMA/nnUNetTrainer__nnUNetPlans__3d_fullres"
FORMATS = (
    Format("MHA", "mha", _images(".mha"), (how.meta_image, how.meta_image, how.header_bytes(400), how.any_bytes)),
    Format(
        "MHA, compressed",
        "zlib",
        _images(".mha"),
        (how.meta_image, how.meta_image, how.header_bytes(400), how.any_bytes),
    ),
    Format("NIfTI", "nii", _images(".nii"), (how.nifti, how.nifti, how.header_bytes(352), how.any_bytes)),
    Format(
        "NIfTI, compressed",
        "nii.gz",
        _images(".nii.gz"),
        (
            how.inside_gzip(how.nifti),
            how.inside_gzip(how.header_bytes(352)),
            how.inside_gzip(how.any_bytes),
            how.any_bytes,
        ),
        recipe="nnunet",
        weights="models",
    ),
    Format("TIFF", "tif", _images(".tif"), (how.tiff, how.tiff, how.header_bytes(300), how.any_bytes)),
    Format("transform file", "tfm", ("FDG/rigid.tfm",), (how.words_of_text, how.words_of_text, how.any_bytes)),
    Format("JSON: inputs", "mha", ("inputs.json",), _JSON),
    Format(
        "JSON: threshold, registration",
        "mha",
        ("psma-pet-suv-threshold.json", "fdg-pet-suv-threshold.json", "psma-to-fdg-registration.json"),
        _JSON,
    ),
    Format("TOML: recipe", "mha", ("recipe.toml",), (how.words_of_text, how.words_of_text, how.any_bytes), recipe=""),
    Format("JSON: manifest", "mha", ("weights/cds-compact/manifest.json",), _JSON),
    Format(
        "safetensors", "mha", ("weights/cds-compact/weights.safetensors",), (how.tensors, how.tensors, how.any_bytes)
    ),
    Format("JSON: plans", "mha", (f"models/{_MODEL}/plans.json",), _JSON, "models", "nnunet"),
    Format("JSON: data set", "mha", (f"models/{_MODEL}/dataset.json",), _JSON, "models", "nnunet"),
    Format(
        "checkpoint",
        "mha",
        (f"models/{_MODEL}/fold_0/checkpoint_final.pth",),
        (how.checkpoint, how.checkpoint, how.any_bytes),
        "models",
        "nnunet",
    ),
)


@dataclass(frozen=True)
class Trial:
    """How one ended.

    Parameters
    ----------
    number, format
        The trial draws from the run's seed and its number alone.
    outcome
        A word for the table.
    clean
        Whether that may be.
    detail
        For people.
    """

    number: int
    format: str
    outcome: str
    clean: bool
    detail: str


class Worker:
    """A worker process, started anew where it ended or was ended."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.process: subprocess.Popen[str] | None = None
        self.served = 0

    def run(self, **job: str) -> dict[str, Any] | str:
        """A job's answer, or "crash ..." or "hang"."""
        if self.process is None or self.served % 400 == 399:
            self.stop()
            self.process = self._start()
        self.served += 1
        process = self.process
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a worker without pipes")
        process.stdin.write(json.dumps({**job, "scratch": str(self.scratch)}) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], LIMIT_S)
        if not ready:
            self.stop()
            return "hang"
        line = process.stdout.readline()
        if not line:
            status = process.wait()
            self.stop()
            return f"crash (status {status})"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()  # closes its pipes, too
            self.process = None

    def _start(self) -> subprocess.Popen[str]:
        root = Path(__file__).resolve().parents[2]
        cwd = self.scratch / "cwd"
        cwd.mkdir(exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(cwd), "HOME": str(cwd)}
        environment["PYTHONPATH"] = str(root)
        environment["MPLCONFIGDIR"] = str(self.scratch.parent)  # a cache of fonts, where matplotlib is installed
        environment["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.hostile.worker"],
            cwd=cwd,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


class Trials:
    """Runs trials in a scratch folder.

    Parameters
    ----------
    material
        What is spoilt.
    scratch
        A folder of one's own.
    seed
        Of all trials.
    """

    def __init__(self, material: Material, scratch: Path, seed: int) -> None:
        self.material, self.scratch, self.seed = material, scratch, seed
        scratch.mkdir(parents=True, exist_ok=True)
        self.worker = Worker(scratch)
        self._unspoilt: dict[str, dict[str, Any]] = {}

    def run(self, numbers: range, only: str = "") -> Iterator[Trial]:
        """Trials by number; of one format if it is named."""
        formats = [each for each in FORMATS if only.lower() in each.name.lower()]
        try:
            for number in numbers:
                yield self._trial(number, formats[number % len(formats)])
        finally:
            self.worker.stop()

    def _trial(self, number: int, kind: Format) -> Trial:
        rng = np.random.default_rng([self.seed, number])
        place = self._copied(kind, "place")
        spoilt = place / str(rng.choice(kind.files))
        original = spoilt.read_bytes()
        content = original
        for _ in range(_DRAWS_MAX):
            content = kind.mutations[int(rng.integers(len(kind.mutations)))](original, rng)
            if content != original:
                break
        else:
            raise RuntimeError(f"{kind.name}: {_DRAWS_MAX} mutations changed nothing")
        _replace(spoilt, content)
        _vouch(kind, place)
        unspoilt = self._baseline(kind)
        around = _listing(self.scratch)
        answer = self._job(kind, place)
        judged = self._judged(kind, spoilt, original, answer, unspoilt, around)
        return Trial(number, kind.name, *judged)

    def _judged(
        self,
        kind: Format,
        spoilt: Path,
        original: bytes,
        answer: dict[str, Any] | str,
        unspoilt: dict[str, Any],
        around: set[str],
    ) -> tuple[str, bool, str]:
        place = self.scratch / "place"
        where = str(spoilt.relative_to(place))
        if isinstance(answer, str):
            return answer.split(" ")[0], False, f"{where}: {answer}"
        if strays := {each for each in _listing(self.scratch) - around if not each.startswith("place/out")}:
            return "file outside OUT", False, f"{where}: {sorted(strays)[:3]}"
        if answer["status"] != 0:
            return self._refused(answer, where)
        if set(answer["files"]) != _RESULT_FILES:
            return "partial output", False, f"{where}: {answer['files']}"
        if _same(answer["masks"], unspoilt["masks"]):
            return "accepted, same masks", True, where
        return self._other_masks(kind, place, spoilt, original, answer, where)

    def _refused(self, answer: dict[str, Any], where: str) -> tuple[str, bool, str]:
        if answer["traceback"]:
            return "traceback", False, f"{where}: {answer['traceback'].strip().splitlines()[-1]}"
        status, lines = answer["status"], [line for line in answer["stderr"].splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        if status not in STATUSES:
            return f"status {status}", False, f"{where}: {last}"
        if answer["files"]:
            return "partial output", False, f"{where}: {answer['files']}"
        ours = [line for line in lines if line.startswith("deeppsma: error: ")]
        if len(ours) != 1 or last != ours[0] or "Traceback" in answer["stderr"]:
            return "no last line", False, f"{where}: {last}"
        return f"refused, {status}", True, f"{where}: {last}"

    def _other_masks(
        self, kind: Format, place: Path, spoilt: Path, original: bytes, answer: dict[str, Any], where: str
    ) -> tuple[str, bool, str]:
        """Whether an independent reading of the file gives these masks, too."""
        try:
            clean = rewritten(spoilt, original)
        except NoMeaning as reason:
            return "accepted without meaning", False, f"{where}: {reason}"
        spoilt.unlink()
        suffix = ".mha" if clean.startswith(b"ObjectType") else "".join(spoilt.suffixes)
        written = spoilt.with_name(spoilt.name.split(".")[0] + suffix)
        _replace(written, clean)
        _vouch(kind, place)
        again = self._job(kind, place)
        if isinstance(again, str) or again["status"] != 0 or not _same(again["masks"], answer["masks"]):
            said = again if isinstance(again, str) else again["stderr"][-200:]
            return "accepted with another meaning", False, f"{where}: {said}"
        return "accepted, legitimately other", True, where

    def _baseline(self, kind: Format) -> dict[str, Any]:
        key = f"{kind.case}, {kind.weights}, {kind.recipe}"
        if key not in self._unspoilt:
            answer = self._job(kind, self._copied(kind, "unspoilt"))
            if isinstance(answer, str) or answer["status"] != 0:
                raise RuntimeError(f"the unspoilt case {key} fails: {answer}")
            self._unspoilt[key] = answer
        return self._unspoilt[key]

    def _job(self, kind: Format, place: Path) -> dict[str, Any] | str:
        out = place / "out"
        shutil.rmtree(out, ignore_errors=True)
        recipe = kind.recipe or str(place / "recipe.toml")
        return self.worker.run(case=str(place), out=str(out), recipe=recipe, weights=str(place / kind.weights))

    def _copied(self, kind: Format, name: str) -> Path:
        """A case with weights and recipe beside it; hard links, which `_replace` breaks."""
        place = self.scratch / name
        shutil.rmtree(place, ignore_errors=True)
        link: Callable[[str, str], None] = os.link
        shutil.copytree(self.material.cases[kind.case], place, copy_function=link)
        shutil.copytree(self.material.weights, place / "weights", copy_function=link)
        shutil.copytree(self.material.models, place / "models", copy_function=link)
        os.link(self.material.recipe, place / "recipe.toml")
        return place


def _same(masks: dict[str, Any], others: dict[str, Any]) -> bool:
    """Whether voxels are equal, and grids but for rounding."""
    return masks.keys() == others.keys() and all(
        mask["voxels"] == others[name]["voxels"] and np.allclose(mask["grid"], others[name]["grid"], rtol=0, atol=1e-6)
        for name, mask in masks.items()
    )


def _vouch(kind: Format, place: Path) -> None:
    """Let the manifest say the spoilt weights' checksum; else that would refuse them all."""
    if kind.name == "safetensors":
        member = place / "weights/cds-compact"
        manifest = json.loads((member / "manifest.json").read_text(encoding="utf-8"))
        manifest["sha256"] = hashlib.sha256((member / "weights.safetensors").read_bytes()).hexdigest()
        _replace(member / "manifest.json", json.dumps(manifest).encode())


def _replace(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def _listing(folder: Path) -> set[str]:
    """Files and their sizes below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {f"{path.relative_to(folder)} {path.stat().st_size}" for path in files}
