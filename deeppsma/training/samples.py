"""Training samples: what the network sees of a case, made once and kept on disk.

Each case gives two samples, one per space (CDS report, section 2.2: "each
epoch included each case twice as independent inputs, one registered to PSMA
and one registered to FDG").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deeppsma.core.box import Box, IndexZyx
from deeppsma.core.errors import InputError
from deeppsma.core.resampling import resample
from deeppsma.core.settings import read_json, write_json
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.case import Case
from deeppsma.io.image_files import ImageFile
from deeppsma.io.layouts import load_case
from deeppsma.models.channel_kinds import CT, ORGANS
from deeppsma.models.config import NetworkConfig
from deeppsma.preprocessing.prepared_case import PreparedCase
from deeppsma.preprocessing.spaces import Space, pooled_maximum

#: Name of the physicians' masks.
TRUTH = "TTB"
#: Raised when a channel of the same name means something else than before: cached samples are then made anew.
SAMPLES_VERSION = 1


@dataclass(frozen=True)
class Sample:
    """One space of one case, on the network's working grid.

    Parameters
    ----------
    inputs
        [channel, z, y, x] float16, as the network gets them.
    target
        [tracer, z, y, x] uint8: 1 where disease. Next to the threshold, below
        it, a voxel counts as its above-threshold neighbours do.
    region
        [tracer, z, y, x] uint8: 2 at or above the threshold, 1 next to it, 0
        elsewhere.
    """

    inputs: NDArray[np.float16]
    target: NDArray[np.uint8]
    region: NDArray[np.uint8]

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return self.inputs.nbytes + self.target.nbytes + self.region.nbytes

    @property
    def shape_zyx(self) -> IndexZyx:
        """Voxels of the working grid."""
        z, y, x = self.inputs.shape[1:]
        return z, y, x


def case_folders(data: Path) -> list[Path]:
    """Cases of a cohort in the data set's layout, by name.

    Raises
    ------
    InputError
        If there are none.
    """
    folders = sorted(p for p in data.glob("train_*") if p.is_dir()) if data.is_dir() else []
    if not folders:
        remedy = "give a folder in the data set's layout; 'deeppsma phantom --layout train' makes one"
        raise InputError(data, "no train_XXXX folders", remedy)
    return folders


def cached_samples(
    folders: Iterable[Path], network: NetworkConfig, cache: Path, truth: str = TRUTH
) -> Iterator[list[Path]]:
    """Make the samples of cases that have none yet; yields each case's files.

    The cache is keyed by what shapes a sample (channels, working grid, which
    truth, `SAMPLES_VERSION`) and by the case's place and files: another cohort
    never gets these samples, and a changed case gets new ones.
    """
    key = {k: asdict(network)[k] for k in ("channels", "outputs", "working_spacing_mm")}
    key["version"] = SAMPLES_VERSION
    if truth != TRUTH:
        key["truth"] = truth
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
    place = cache / digest
    place.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        stem = f"{folder.name}-{fingerprint(folder)}"
        done = place / f"{stem}.json"
        if not done.exists():
            names = []
            for tracer, sample in make_samples(load_case(folder), network, truth).items():
                name = f"{stem}-{tracer}.npz"
                np.savez(place / name, inputs=sample.inputs, target=sample.target, region=sample.region)
                names.append(name)
            write_json(done, names)
        yield [place / name for name in read_json(done, "remove it: the sample is made again")]


def fingerprint(folder: Path) -> str:
    """Stands for a case's place, and for the names, sizes and times of its files."""
    files = sorted(path for path in folder.resolve().rglob("*") if path.is_file())
    seen = [str(folder.resolve())]
    seen += [f"{path.relative_to(folder.resolve())} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()[:12]


def notes_on(case: Case, network: NetworkConfig) -> list[str]:
    """What a network that is trained on a case does not get to see, or is told without being sure; a line each.

    Headers alone are read.
    """
    notes = [f"no {t.upper()} organ map: the network sees no organs" for t in Tracer if _lacks_organs(case, network, t)]
    notes += [f"no {t.upper()} CT: the network sees none" for t in Tracer if _lacks_ct(case, network, t)]
    for tracer in case.tracers:
        study = case.study(tracer)
        ct = study.ct if network.needs(CT, tracer) else None
        for what, image in (("PET", study.pet), ("organ map", study.organs), ("CT", ct)):
            if image is not None and image.unsaid_position is not None:
                notes.append(f"{tracer.upper()} {what}: {image.unsaid_position}")
    return notes


def _lacks_organs(case: Case, network: NetworkConfig, tracer: Tracer) -> bool:
    return tracer in case.studies and case.study(tracer).organs is None and network.needs(ORGANS, tracer)


def _lacks_ct(case: Case, network: NetworkConfig, tracer: Tracer) -> bool:
    lacking = tracer in case.studies and case.study(tracer).ct is None
    return lacking and network.needs(CT, tracer) and not network.requires(CT, tracer)


def load_sample(path: Path) -> Sample:
    """Read a cached sample."""
    with np.load(path, allow_pickle=False) as content:
        return Sample(content["inputs"], content["target"], content["region"])


def make_samples(case: Case, network: NetworkConfig, truth: str = TRUTH) -> dict[Tracer, Sample]:
    """Samples of a case, by fixed tracer.

    Parameters
    ----------
    case, network
        What is seen of which case.
    truth
        Name of the truth masks: "TTB", or that of corrected ones beside it.

    Raises
    ------
    InputError
        If the case has no truth, or lacks a CT or an organ map that the
        network cannot do without.
    """
    case.require_both()
    truths = {tracer: _truth(case, tracer, truth) for tracer in Tracer}
    prepared = PreparedCase(case)
    prepared.check([("this network", network, False)])
    samples = {}
    for fixed, space in prepared.spaces.items():
        if network.exclusive and fixed not in network.tracers:
            continue  # such a network sees its own tracer's grid alone
        channels = prepared.channels(network, fixed)
        inputs = channels.window(Box.whole(channels.geometry.shape_zyx)).astype(np.float16)
        targets, regions = [], []
        for tracer in network.tracers:
            if tracer is fixed:
                disease = prepared.on_crop(tracer, truths[tracer].voxels > 0)
            else:
                disease = _on_other(truths[tracer], space, case)
            hot = pooled_maximum(space.pet[tracer] >= np.float32(case.thresholds[tracer]), channels.block_zyx)
            target, region = at_threshold(pooled_maximum(disease, channels.block_zyx), hot)
            targets.append(target)
            regions.append(region)
        samples[fixed] = Sample(inputs, np.stack(targets), np.stack(regions))
        prepared.forget_channels(fixed)
    return samples


def _truth(case: Case, tracer: Tracer, name: str) -> Volume:
    study = case.study(tracer)
    if study.truth is None:
        raise InputError(study.pet.path.parent, "no truth (TTB.nii.gz)", "training needs the data set's layout")
    file = ImageFile(study.truth.path.with_name(f"{name}.nii.gz"))
    if not file.path.exists():
        raise InputError(file.path, "no such truth", "choose another --truth, or add the mask")
    if not file.geometry.same_grid(study.pet.geometry):
        raise InputError(file.path, "not on its PET's grid", "give the truth that belongs to this PET")
    return file.read()


def _on_other(truth: Volume, space: Space, case: Case) -> NDArray[np.bool_]:
    as_float = Volume((truth.voxels > 0).astype(np.float32), truth.geometry)
    return np.asarray(resample(as_float, space.geometry, case.transform(space.fixed)) >= 0.5)


def at_threshold(disease: NDArray[np.bool_], hot: NDArray[np.bool_]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Target and region of one output; see `Sample`.

    Parameters
    ----------
    disease, hot
        [z, y, x], disease and what is at or above the threshold.
    """
    cube = np.ones((3, 3, 3), dtype=bool)
    near = ndimage.binary_dilation(hot, cube)
    target = np.where(hot, disease, ndimage.binary_dilation(disease & hot, cube))
    return target.astype(np.uint8), (near.astype(np.uint8) + hot).astype(np.uint8)
