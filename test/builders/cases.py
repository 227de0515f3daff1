"""Small cases and small members, made in milliseconds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume
from deeppsma.io.case import Case
from deeppsma.io.grand_challenge import CT, ORGANS, PET, REGISTRATION, SOCKETS, THRESHOLD
from deeppsma.io.image_files import write_image
from deeppsma.io.transform_files import to_challenge, write_tfm
from deeppsma.models.build import build_network
from deeppsma.models.config import NetworkConfig
from deeppsma.models.weights import write_member

TINY_NETWORK = NetworkConfig(
    channels=("fdg_pet", "fdg_organs", "psma_pet", "psma_organs"),
    outputs=("fdg", "psma"),
    filters=(4, 4, 4, 4),
    strides=((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
    patch_zyx=(16, 16, 16),
    working_spacing_mm=0.0,
    organ_embedding=2,
    summary="tiny, random",
)
TINY_BLOCKS = replace(TINY_NETWORK, working_spacing_mm=5.0, patch_zyx=(16, 8, 8))
GRIDS = {
    Tracer.PSMA: Geometry((26, 22, 20), (3.0, 4.0, 4.0), (-40.0, -44.0, -30.0)),
    Tracer.FDG: Geometry((30, 24, 26), (2.5, 3.0, 3.0), (-38.0, -36.0, -34.0)),
}
TRANSFORM = RigidTransform(
    tuple(np.array([[0.9998, -0.02, 0], [0.02, 0.9998, 0], [0, 0, 1]]).ravel().tolist()), (1.5, -2.0, 3.0), (0, 0, 5)
)
THRESHOLDS = {Tracer.PSMA: 3.0, Tracer.FDG: 2.5}


def blobs(grid: Geometry, seed: int, count: int = 6) -> np.ndarray:
    """A PET with a few hot blobs in a cold body."""
    rng = np.random.default_rng(seed)
    world = grid.index_to_world(np.argwhere(np.ones(grid.shape_zyx, bool)))
    suv = 0.8 + 0.2 * rng.random(len(world))
    for _ in range(count):
        centre = grid.index_to_world(rng.uniform(0.2, 0.8, 3)[None] * grid.shape_zyx)[0]
        suv += rng.uniform(4, 10) * np.exp(-((world - centre) ** 2).sum(1) / (2 * rng.uniform(4, 7) ** 2))
    return suv.reshape(grid.shape_zyx).astype(np.float32)


def organ_map(grid: Geometry, seed: int = 0) -> np.ndarray:
    """Labels in coarse cubes, some of them organs that growing spares."""
    rng = np.random.default_rng(seed)
    cubes = rng.choice([0, 0, 2, 5, 21, 27, 51, 117], size=[-(-n // 6) for n in grid.shape_zyx])
    whole = cubes.repeat(6, 0).repeat(6, 1).repeat(6, 2)
    return whole[tuple(slice(n) for n in grid.shape_zyx)].astype(np.uint8)


def memory_case(blob_count: int = 6, **more: object) -> Case:
    """The case that `write_platform_case` writes, without CTs, in memory; organ maps on the PETs' grids."""
    pets = {t: Volume(blobs(GRIDS[t], 10 + n, blob_count), GRIDS[t]) for n, t in enumerate(Tracer)}
    organs = {t: Volume(organ_map(GRIDS[t], n), GRIDS[t]) for n, t in enumerate(Tracer)}
    settings = {f"{t}_pet": pets[t] for t in Tracer} | {"thresholds": THRESHOLDS, "fdg_to_psma": TRANSFORM}
    return Case.from_images(**settings | {"organs": organs} | more)  # type: ignore[arg-type]


def ct_values(grid: Geometry) -> np.ndarray:
    """Soft tissue of some texture, and air on one side."""
    hu = np.random.default_rng(7).integers(0, 80, grid.shape_zyx).astype(np.int16)
    hu[:, :3] = -1000
    return hu


def write_platform_case(folder: Path, suffix: str = ".mha", with_listing: bool = True) -> Path:
    """A case as the platform gives it; returns the input folder."""
    volumes = {}
    for number, tracer in enumerate(Tracer):
        grid = GRIDS[tracer]
        own = replace(grid, shape_zyx=(20, 30, 28), spacing_zyx=(4.0, 3.0, 3.0))
        volumes[tracer, PET] = Volume(blobs(grid, 10 + number), grid)
        volumes[tracer, ORGANS] = Volume(organ_map(own, number), own)
        volumes[tracer, CT] = Volume(ct_values(own), own)
    listing = []
    for socket in SOCKETS:
        target = folder / socket.relative_path
        target.parent.mkdir(parents=True, exist_ok=True)
        if socket.is_image:
            target.mkdir()
            write_image(volumes[socket.tracer, socket.kind], target / f"image{suffix}")
        elif socket.kind == REGISTRATION:
            target.write_text(json.dumps(to_challenge(TRANSFORM)))
        elif socket.kind == THRESHOLD:
            target.write_text(json.dumps(THRESHOLDS[socket.tracer]))
        interface = {"slug": socket.slug, "relative_path": socket.relative_path}
        listing.append({"file": None, "image": None, "value": None, "interface": interface})
    if with_listing:
        (folder / "inputs.json").write_text(json.dumps(listing))
    return folder


def write_tiny_member(folder: Path, config: NetworkConfig = TINY_NETWORK, seed: int = 0) -> None:
    torch.manual_seed(seed)
    network = build_network(config)
    with torch.no_grad():  # about half of all voxels are called disease
        for head in [m for name, m in network.named_modules() if name.endswith("output_block.conv.conv")]:
            head.weight *= 20
    write_member(folder, config, network.state_dict(), {"data": "nothing (random weights)"})


def write_train_case(folder: Path) -> Path:
    """A case as the data set has it; returns its folder."""
    for number, tracer in enumerate(Tracer):
        place = folder / tracer.upper()
        place.mkdir(parents=True)
        grid = GRIDS[tracer]
        pet = blobs(grid, 10 + number)
        write_image(Volume(pet, grid), place / "PET.nii.gz")
        write_image(Volume(organ_map(grid), grid), place / "totseg_24.nii.gz")
        write_image(Volume((pet >= 6).astype(np.uint8), grid), place / "TTB.nii.gz")
        (place / "threshold.json").write_text(json.dumps({"suv_threshold": THRESHOLDS[tracer]}))
    write_tfm(TRANSFORM, folder / "FDG" / "rigid.tfm")
    return folder
