"""Several processes that train one network, a GPU each; torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: The others wait this long while the first process prepares the samples of a large cohort, or validates.
_PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class Processes:
    """One process among those that train together.

    Parameters
    ----------
    rank, count
        Which one this is, of how many. Rank 0 alone writes files.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, batch: int) -> range:
        """Which patches of a step are this process's.

        Raises
        ------
        ValueError
            If the batch cannot be shared evenly.
        """
        if batch % self.count:
            raise ValueError(f"a batch of {batch} cannot be shared by {self.count} processes")
        each = batch // self.count
        return range(self.rank * each, (self.rank + 1) * each)

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            import torch.distributed

            torch.distributed.barrier()

    def wrapped(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network; with several processes its gradients are their mean."""
        if self.count == 1:
            return network
        import torch

        return torch.nn.parallel.DistributedDataParallel(network)

    def mean(self, value: float) -> float:
        """Mean of a number over the processes."""
        if self.count == 1:
            return value
        import torch

        # A GPU's processes only exchange what lies on GPUs.
        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        total = torch.tensor(value, dtype=torch.float64, device=device)
        torch.distributed.all_reduce(total)
        return float(total) / self.count


ALONE = Processes()


def take_gpu() -> None:
    """Take the GPU of this process's local rank, before anything else touches one."""
    if "LOCAL_RANK" in os.environ:
        import torch

        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started; alone where it did not.

    Parameters
    ----------
    device
        "cuda", where `take_gpu` has chosen one; or "cpu": they share the
        cores.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    import torch.distributed

    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(torch.distributed.get_rank(), count)
    finally:
        torch.distributed.destroy_process_group()
