"""A self-test of this machine and installation: what a run needs is there, and works."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from deeppsma.core.defaults import DEFAULT_RECIPE
from deeppsma.core.errors import DeepPsmaError, InputError
from deeppsma.core.threads import usable_cores
from deeppsma.inference.device import OPENVINO, ComputePlan, plan_compute
from deeppsma.inference.openvino_engine import OpenVinoNetwork, openvino_network
from deeppsma.models.config import NetworkConfig
from deeppsma.models.provenance import shortened
from deeppsma.models.store import WeightsStore
from deeppsma.models.weights import Member
from deeppsma.pipeline.method import Method
from deeppsma.pipeline.recipe import load_recipe

if TYPE_CHECKING:
    import torch

#: A usual case of the default recipe needs 1.7 GB; the largest geometry of the real data set twice that.
WANTED_MEMORY_BYTES = 4_000_000_000

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Parameters
    ----------
    check
        What was looked at, a word or two.
    state
        "ok"; "warning": a run works, but not as well as it might; "failed":
        a run will fail.
    found
        In words.
    remedy
        What to do; empty if nothing is to be done.
    """

    check: str
    state: State
    found: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.state != "ok" and not self.remedy:
            raise ValueError(f"{self.check}: a finding that is not ok says what to do")

    def __str__(self) -> str:
        return f"{self.state:8} {self.check}: {self.found}{f'; {self.remedy}' if self.remedy else ''}"


def examine(
    out: Path | None = None,
    weights: Path | None = None,
    device: str = "auto",
    recipe: str = DEFAULT_RECIPE,
) -> Iterator[Finding]:
    """Check device, precision, weights, one window, memory and write access, one after the other.

    Parameters
    ----------
    out
        Where results will be written; not looked at if None.
    weights
        Folder with members that come before the shipped ones, or None.
    device
        "auto", "cuda", "cpu" or "openvino".
    recipe
        Whose members are looked at.

    Yields
    ------
    Finding
        As soon as it is known.
    """
    yield _memory()
    yield _temporary()
    if out is not None:
        yield _writable("results", out)
    chosen: list[Member] = []

    def find_members() -> Finding:
        members = Method.choose(load_recipe(recipe), WeightsStore.default(weights)).members
        stand_ins = (each for member in members if (each := member.stand_in()) is not None)
        chosen.extend({member.name: member for member in (*members, *stand_ins)}.values())
        return Finding("recipe", "ok", f"{recipe}: {', '.join(member.name for member in chosen)}")

    yield _guarded("recipe", find_members)
    plans: list[ComputePlan] = []

    def find_device() -> Finding:
        plan, fallback = plan_compute(device)
        plans.append(plan)
        if fallback:
            return Finding(
                "device", "warning", f"{plan.description}; {fallback}", "mend the driver, or use --device cpu"
            )
        slow = plan.device == "cpu" and plan.precision == "float32"
        note = "; this processor has no bfloat16, a case takes about twice as long as with it" if slow else ""
        return Finding("device", "ok", f"{plan.description}, {usable_cores()} cores{note}")

    yield _guarded("device", find_device)
    for member in chosen:
        yield _guarded(f"weights {member.name}", lambda member=member: _weights(member, plans))  # type: ignore[misc]


def _guarded(check: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except DeepPsmaError as error:
        if isinstance(error, InputError):
            return Finding(check, "failed", f"{error.where}: {error.found}", error.remedy)
        return Finding(check, "failed", f"{error}", "mend that, and run doctor again")
    except (RuntimeError, ImportError, OSError, MemoryError) as error:  # what torch says of a broken installation
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Finding(check, "failed", first, "install anew (./setup.sh), or choose another device or image")


def _weights(member: Member, plans: list[ComputePlan]) -> Finding:
    """Verify the hash, and run one window: a GPU that imports may still have no kernel for this network."""
    network: torch.nn.Module | OpenVinoNetwork = member.load()
    trained_on = shortened(member.trained_on)
    whole = "" if trained_on == member.trained_on else " (in full: deeppsma recipes)"
    check, seen = f"weights {member.name}", f"SHA-256 {member.sha256[:12]}, trained on {trained_on}{whole}"
    if not plans or not isinstance(member.network, NetworkConfig):
        return Finding(check, "ok", f"{seen}; loaded, no window was run")
    from deeppsma.inference.run import window_runner

    said: list[str] = []
    if plans[0].device == OPENVINO:
        network = openvino_network(member, said.append)
    shape = len(member.network.channels), *member.network.patch_zyx
    logits = window_runner(network, plans[0])(np.zeros(shape, dtype=np.float32))
    if not np.isfinite(logits).all():
        return Finding(check, "failed", f"{seen}; a window gives values that are not finite", "use --device cpu")
    ran = f"{seen}; one window of {'x'.join(map(str, shape))} ran"
    if said:
        return Finding(check, "warning", f"{ran}; {said[0]}", "mend that, or choose --device cpu")
    return Finding(check, "ok", ran)


def _memory() -> Finding:
    available = _available_bytes()
    if available is None:
        return Finding("memory", "ok", "cannot be told on this system")
    found = f"{available / 1e9:.1f} GB can be had"
    if available < WANTED_MEMORY_BYTES:
        return Finding("memory", "warning", found, f"large scans need {WANTED_MEMORY_BYTES / 1e9:.0f} GB: give it more")
    return Finding("memory", "ok", found)


def _available_bytes(root: Path = Path("/")) -> int | None:
    """What this process may still use: the system's and its container's, whichever is less."""
    limits = []
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
        limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError, IndexError):
        pass
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limits.append(int((root / "sys/fs/cgroup" / name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # "max", or no such group
            continue
    return min(limits, default=None)


def _temporary() -> Finding:
    try:
        return _writable("temporary files", Path(tempfile.gettempdir()))
    except FileNotFoundError:  # no folder can be written to, as in a read-only container without /tmp
        found = "no folder can be written to"
        return Finding("temporary files", "warning", found, "set TMPDIR to one; in a container: --tmpfs /tmp")


def _writable(what: str, folder: Path) -> Finding:
    if not folder.exists():
        above = next((each for each in folder.absolute().parents if each.exists()), Path("/"))
        if os.access(above, os.W_OK | os.X_OK):
            return Finding(what, "ok", f"{folder} can be made")
        return Finding(what, "failed", f"{folder} cannot be made by user {os.getuid()}", "make it, or choose another")
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".deeppsma-doctor-"):
            pass
    except OSError as error:
        found = f"{folder} cannot be written to by user {os.getuid()} ({error.strerror})"
        return Finding(what, "failed", found, "give a folder that this user may write to")
    return Finding(what, "ok", f"{folder} can be written to")
