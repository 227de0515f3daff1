"""Workers: a cluster of processes on this machine, or whatever a Dask scheduler elsewhere offers."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeppsma.core.errors import CohortError, ConfigurationError
from deeppsma.core.threads import usable_cores

if TYPE_CHECKING:
    from distributed import Client

_log = logging.getLogger("deeppsma")

_INSTALL = "pip install 'deeppsma[cohort]'"
_LOOPBACK = "127.0.0.1"
_CONNECT_S = 60.0
#: How often a start of the workers is tried.
_STARTS = 3
#: What threads are counted by; see `deeppsma.core.threads`.
_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
#: For the cluster on this machine: results are small and nothing is kept in Dask's memory; a worker's death is ours to
#: judge; a case may hold the interpreter's lock for a while.
_DASK = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.comm.timeouts.connect": "60s",
    "distributed.comm.timeouts.tcp": "120s",
    "distributed.admin.tick.limit": "1h",
}


def require_dask() -> None:
    """Refuse where Dask is not installed.

    Raises
    ------
    ConfigurationError
        Says how to install it.
    """
    try:
        import cryptography  # noqa: F401
        import distributed  # noqa: F401
    except ImportError as error:
        raise ConfigurationError("cohort", f"the package {error.name} is not installed", _INSTALL) from None


@contextmanager
def connected(scheduler: str, workers: int | None, device: str) -> Iterator[Client]:
    """A client of a scheduler; of one of its own, with workers, where none is given.

    Parameters
    ----------
    scheduler
        Address, or a scheduler file; empty for processes on this machine.
    workers
        Of those; None for one a GPU, or one a two cores.
    device
        "cpu" leaves GPUs alone.

    Raises
    ------
    ConfigurationError
        If Dask is missing, or the scheduler cannot be reached.
    """
    require_dask()
    import dask
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # workers that are gone are told by `dispatch`
    with dask.config.set(_DASK):
        if not scheduler:
            with _local(worker_environments(workers, device)) as cluster, Client(cluster) as client:
                yield client
            return
        try:
            given: dict[str, Any] = {"address": scheduler}
            if scheduler.endswith(".json") or Path(scheduler).is_file():
                given = {"scheduler_file": _written(Path(scheduler))}
            client = Client(**given, timeout=_CONNECT_S)
        except (OSError, TimeoutError, ValueError) as error:
            found = f"cannot be reached ({' '.join(str(error).split())[:200]})"
            raise ConfigurationError(scheduler, found, "start the scheduler, or give its address or file") from None
        with client:
            yield client


def worker_environments(workers: int | None, device: str) -> list[dict[str, str]]:
    """Environment of each worker of this machine: a GPU each, or a share of the cores.

    Parameters
    ----------
    workers
        How many; None for one a GPU, or one a two cores.
    device
        As of `deeppsma.operation.job.Job`.
    """
    gpus = visible_gpus() if device != "cpu" else []
    cores = usable_cores()
    count = workers or len(gpus) or max(1, cores // 2)
    common = dict.fromkeys(_COUNTS, str(max(1, cores // count))) | {"OMP_WAIT_POLICY": "PASSIVE"}
    if not gpus:
        return [dict(common) for _ in range(count)]
    return [{**common, "CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} for i in range(count)]


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (named := environment.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [each.strip() for each in named.split(",") if each.strip() and each.strip() != "-1"]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


@contextmanager
def _local(environments: list[dict[str, str]]) -> Iterator[Any]:
    """Processes on the loopback interface, with keys of this run alone: other users of the machine stay out."""
    from distributed import Nanny, Scheduler, SpecCluster
    from distributed.security import Security

    security = Security.temporary()
    common = {"host": _LOOPBACK, "security": security, "dashboard": False, "dashboard_address": f"{_LOOPBACK}:0"}
    silent = {"silence_logs": logging.CRITICAL}
    scheduler = {"cls": Scheduler, "options": {**common, "protocol": "tls", "port": 0}}
    workers = {
        number: {
            "cls": Nanny,
            # No limit of memory: Dask would take the whole process's for its own, and end it.
            "options": {**common, "nthreads": 1, "memory_limit": 0, "env": environment, **silent},
        }
        for number, environment in enumerate(environments)
    }
    for attempt in range(1, _STARTS + 1):
        try:
            cluster = SpecCluster(workers=workers, scheduler=scheduler, security=security, **silent)
            break
        except (RuntimeError, OSError) as error:  # a process was killed, or got no memory, while it started
            if attempt == _STARTS:
                found = f"could not be started, {_STARTS} times ({' '.join(str(error).split())[:200]})"
                raise CohortError("workers", found, "look at memory and limits of processes, or give fewer") from None
            _log.warning("workers could not be started (%s); once more", error)
    with cluster:
        yield cluster


def _written(path: Path) -> str:
    if not path.is_file():
        raise ConfigurationError(path, "no such scheduler file", "start the scheduler with --scheduler-file first")
    return str(path)
