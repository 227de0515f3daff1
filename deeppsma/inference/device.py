"""Where a network runs, and in which precision."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from deeppsma.core.defaults import DEVICES
from deeppsma.core.errors import ConfigurationError
from deeppsma.inference.openvino_engine import openvino_version, thread_count

OPENVINO = "openvino"
#: What is there where an NVIDIA driver is, whether torch can use it or not.
_DRIVER_SIGNS = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"))
#: Processors with these instructions multiply in bfloat16 natively; others emulate it, slower than float32.
_BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16")


@dataclass(frozen=True)
class ComputePlan:
    """A device and a precision.

    Parameters
    ----------
    device
        "cuda", "cpu" (both torch's) or "openvino".
    precision
        "float16", "bfloat16" or "float32".
    small_windows
        Windows of half the network's own size: a step down where memory is
        short.
    """

    device: str
    precision: str
    small_windows: bool = False

    @property
    def description(self) -> str:
        """For the run report: device, its name, precision."""
        if self.device == OPENVINO:
            return f"openvino {openvino_version()} ({thread_count()} threads), {self.precision}"
        import torch

        name = torch.cuda.get_device_name() if self.device == "cuda" else f"{torch.get_num_threads()} threads"
        return f"{self.device} ({name}), {self.precision}"


def plan_compute(wanted: str = "auto") -> tuple[ComputePlan, str | None]:
    """Choose device and precision.

    Parameters
    ----------
    wanted
        "auto" takes a GPU that works, else the CPU; "cuda" insists;
        "openvino" takes the CPU and OpenVINO.

    Returns
    -------
    plan, fallback
        ``fallback`` says why a GPU that is there is not used; else None.

    Raises
    ------
    ConfigurationError
        If "cuda" is asked for and no GPU works, or "openvino" and it is not
        installed.
    """
    if wanted not in DEVICES:
        raise ConfigurationError("device", f"{wanted!r}", f"choose one of {', '.join(DEVICES)}")
    if wanted == "cpu":
        return cpu_plan(), None
    if wanted == OPENVINO:
        if openvino_version() is None:
            remedy = "run pip install 'deeppsma[openvino]', or choose --device cpu"
            raise ConfigurationError("device", "OpenVINO is not installed", remedy)
        return ComputePlan(OPENVINO, cpu_plan().precision), None
    reason, is_there = _gpu_problem()
    if reason is None:
        return ComputePlan("cuda", "float16"), None
    if wanted == "cuda":
        remedy = "use --device cpu, or mend the GPU's set-up"
        raise ConfigurationError("device", f"no GPU can be used ({reason})", remedy)
    return cpu_plan(), f"GPU not used: {reason}" if is_there else None


def cpu_plan() -> ComputePlan:
    """The CPU, in bfloat16 where it multiplies that natively."""
    return ComputePlan("cpu", "bfloat16" if _native_bfloat16(Path("/proc/cpuinfo")) else "float32")


def _native_bfloat16(cpuinfo: Path) -> bool:
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(flag in text.split() for flag in _BFLOAT16_FLAGS)


def _gpu_problem() -> tuple[str | None, bool]:
    """Why no GPU can be used (None if one can), and whether one is there at all."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        # A driver that is too old, or a torch without CUDA, looks like no GPU at all.
        is_there = any(path.exists() for path in _DRIVER_SIGNS)
        said = str(caught[0].message).split("(")[0].strip() if caught else f"torch {torch.__version__} finds none"
        return (said if is_there else "none found"), is_there
    try:
        # A kernel must really run: an image built for other cards imports, then fails here.
        torch.ones(8, device="cuda").sum().item()
    except RuntimeError as error:
        return str(error).splitlines()[0], True
    return None, True


def make_deterministic() -> None:
    """The same input gives the same numbers on a GPU: cuDNN does not try which algorithm is quickest today."""
    import torch

    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
