"""How many threads to use, and how they wait.

Called by entry points before torch and SimpleITK are imported: OpenMP reads
its settings once. Idle OpenMP threads spin by default, which doubles the time
of a run that shares its cores with another; and libraries start as many
threads as the machine has cores, whatever share of them a container was
given.

Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (``cpu.max``) and
.../cgroup-v1/ (``cpu.cfs_quota_us``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path

_WAITING = "OMP_WAIT_POLICY"
#: Settings with which a user says himself how threads wait.
_OTHER_WAITING = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_COUNTS = ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


def prepare_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what OpenMP, torch, BLAS and ITK read when they start; what the user has set stays.

    Parameters
    ----------
    environment
        The process's.
    """
    if not any(environment.get(name) for name in _OTHER_WAITING):
        environment.setdefault(_WAITING, "PASSIVE")
    for name in _COUNTS:
        environment.setdefault(name, str(usable_cores()))


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: its affinity mask's, and no more than its control group's quota.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are.

    Returns
    -------
    int
        At least 1; of a quota of two and a half cores, 2.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min([cores, *(int(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Quotas in cores of this process's control groups and those above them, of both versions."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield from _above(root / "sys/fs/cgroup", path, _quota_v2)
        elif "cpu" in controllers.split(","):
            for mount in {controllers, "cpu", "cpu,cpuacct"}:
                yield from _above(root / "sys/fs/cgroup" / mount, path, _quota_v1)


def _above(mount: Path, path: str, read: Callable[[Path], float | None]) -> Iterator[float]:
    """Quotas from a group up to its mount; a container often sees its own group as the mount itself."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for count in range(len(parts), -1, -1):
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota = read(mount.joinpath(*parts[:count]))
            if quota is not None and quota > 0:
                yield quota


def _quota_v2(group: Path) -> float | None:
    quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(group: Path) -> float | None:
    quota = int((group / "cpu.cfs_quota_us").read_text(encoding="ascii"))
    period = int((group / "cpu.cfs_period_us").read_text(encoding="ascii"))
    return quota / period if quota > 0 and period > 0 else None
