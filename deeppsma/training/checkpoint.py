"""Checkpoints from which a run resumes exactly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeppsma.core.errors import InputError
from deeppsma.core.whole_files import whole_file

if TYPE_CHECKING:
    import torch

CHECKPOINT_NAME = "checkpoint.pt"
#: Weights by name, of a network's state dict.
State = dict[str, "torch.Tensor"]


@dataclass
class Progress:
    """Everything that a step changes.

    Parameters
    ----------
    network, optimiser
        Being trained.
    average
        Running mean of the weights.
    step
        Steps done.
    best, best_loss
        The running mean that had the lowest validation loss, and that loss;
        None before the first validation.
    """

    network: torch.nn.Module
    optimiser: torch.optim.Optimizer
    average: State
    step: int = 0
    best: State | None = None
    best_loss: float = float("inf")

    def save(self, folder: Path, identity: dict[str, str]) -> None:
        """Write the checkpoint; an earlier one stays whole until this one is.

        Parameters
        ----------
        folder
            Of the run.
        identity
            What two runs must share for one to resume the other.
        """
        import torch

        content: dict[str, Any] = {
            "identity": identity,
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
            "best_loss": self.best_loss,
        }
        with whole_file(folder / CHECKPOINT_NAME) as partial:
            torch.save(content, partial)

    def restore(self, folder: Path, identity: dict[str, str], device: str) -> None:
        """Go back to the checkpoint of a folder.

        Raises
        ------
        InputError
            If it cannot be read, or is of another run.
        """
        import pickle

        import torch

        path = folder / CHECKPOINT_NAME
        try:
            content = torch.load(path, map_location=device, weights_only=True)
            found = content["identity"]
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
            raise InputError(path, f"no checkpoint ({_line(error)})", "remove it, and train anew") from None
        if found != identity:
            differs = [key for key, value in identity.items() if found.get(key) != value]
            raise InputError(path, f"a checkpoint of another run (other {', '.join(differs)})", "choose another folder")
        self.network.load_state_dict(content["network"])
        for key, value in content["average"].items():
            self.average[key].copy_(value)
        self.optimiser.load_state_dict(content["optimiser"])
        self.step, self.best, self.best_loss = int(content["step"]), content["best"], float(content["best_loss"])


def _line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
