"""Small synthetic patients and a tiny random network, for trials of cohorts: no figure of theirs is one of quality."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deeppsma.core.tracer import Tracer
from deeppsma.models.build import build_network
from deeppsma.models.weights import write_member
from deeppsma.phantom.patient import draw_patient
from deeppsma.phantom.scan.scanners import SCANNERS
from deeppsma.phantom.session import PhantomOptions
from deeppsma.phantom.write_cohort import CARD_NAME, write_patient

from .hostile.material import NETWORK

#: On the PET's own grid, in a few windows.
SMALL_NETWORK = replace(NETWORK, working_spacing_mm=0.0, patch_zyx=(48, 48, 48))
#: Layouts in turn: a cohort may hold them side by side.
LAYOUTS = ("platform", "train", "platform", "platform")


def small_cohort(folder: Path, cases: int, voxel_mm: float = 8.0) -> list[Path]:
    """Patients of coarse voxels, a second each; those that are there already stay."""
    plane = round(576 / voxel_mm)
    scanner = replace(SCANNERS[0], name="small", spacing_zyx=(voxel_mm,) * 3, plane_size=plane)
    options = PhantomOptions(ct="none", scene_spacing_mm=8.0)
    made = []
    for seed in range(cases):
        place = folder / f"case_{seed:04d}"
        if not (place / CARD_NAME).exists():
            patient = draw_patient(seed, options, dict.fromkeys(Tracer, scanner))
            write_patient(patient, place, LAYOUTS[seed % len(LAYOUTS)])
        made.append(place)
    return made


def tiny_weights(folder: Path) -> Path:
    """A folder with one random member, under the name that recipes ask for."""
    import torch

    torch.manual_seed(0)
    network = build_network(SMALL_NETWORK)
    with torch.no_grad():  # about half of all hot voxels are called disease
        for name, module in network.named_modules():
            if name.endswith("output_block.conv.conv"):
                module.weight *= 20
    write_member(folder / "cds-compact", SMALL_NETWORK, network.state_dict(), {"data": "nothing (random weights)"})
    return folder
