"""OpenVINO in torch's place, for processors: half the time of a window, and nothing of torch or MONAI is imported."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeppsma.core.threads import usable_cores
from deeppsma.models.openvino_ir import network_ir
from deeppsma.models.weights import Member, kept

if TYPE_CHECKING:
    import torch

#: What `deeppsma.inference.device.ComputePlan` calls a precision, in OpenVINO's words. Unless told it takes bfloat16
#: wherever the processor has it, float32 asked for or not.
_PRECISIONS = {"bfloat16": "bf16", "float32": "f32"}


class OpenVinoNetwork:
    """A member's network; compiled when a precision and a size of window are first asked for.

    Parameters
    ----------
    member
        With a network of our own kind.
    note
        Told of what did not go as planned.
    """

    def __init__(self, member: Member, note: Callable[[str], None]) -> None:
        import openvino

        self._member = member
        self._core = openvino.Core()
        self._ir = network_ir(member, note)
        self._requests: dict[tuple[str, tuple[int, ...]], Any] = {}

    def in_torch(self) -> torch.nn.Module:
        """The same network as torch runs it."""
        return self._member.load()

    def runner(self, precision: str) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        """Gives logits [output, z, y, x], float32, of a window [channel, z, y, x]."""

        def run(window: NDArray[np.float32]) -> NDArray[np.float32]:
            request = self._request(precision, window.shape)
            return np.array(request.infer({0: window[None]})[0][0], dtype=np.float32)

        return run

    def _request(self, precision: str, shape: tuple[int, ...]) -> Any:
        if (precision, shape) not in self._requests:
            model = self._core.read_model(self._ir.topology, self._ir.weights)
            model.reshape([1, *shape])
            settings = {
                "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
                "INFERENCE_NUM_THREADS": thread_count(),
                "PERFORMANCE_HINT": "LATENCY",
                "ENABLE_CPU_PINNING": False,  # other runs may share the cores
            }
            compiled = self._core.compile_model(model, "CPU", settings)
            self._requests[precision, shape] = compiled.create_infer_request()
        return self._requests[precision, shape]


def openvino_version() -> str | None:
    """Of the one that is installed; None if there is none."""
    try:
        return version("openvino")
    except PackageNotFoundError:
        return None


def thread_count() -> int:
    """As many as OpenMP was given, else the cores that may be used."""
    told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(told) if told.isdigit() and int(told) else usable_cores()


def openvino_network(member: Member, note: Callable[[str], None]) -> OpenVinoNetwork:
    """A member's network; the one that was kept, where networks are."""
    return kept(("openvino", str(member.folder), member.sha256, member.network), lambda: OpenVinoNetwork(member, note))
