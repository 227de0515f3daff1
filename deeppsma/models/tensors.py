"""Weights of others: whether tensors are plain numbers that a network can be given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_PRECISIONS = ("float16", "bfloat16", "float32", "float64")


def unfit(state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> str | None:
    """Why weights cannot be those of a network; None if they can.

    Parameters
    ----------
    state
        Weights by name.
    expected
        The network's parameters; those of `parameters_of` have no memory.

    Returns
    -------
    str or None
        The first thing that is wrong.
    """
    import torch

    wrong = sorted(set(state) ^ set(expected), key=str)
    if wrong:
        return f"weights of another network (first difference: {str(wrong[0])[:80]})"
    for name, tensor in state.items():
        if tuple(tensor.shape) != tuple(expected[name].shape):
            return f"weights of another network: {name} is {tuple(tensor.shape)}, not {tuple(expected[name].shape)}"
        kind = str(tensor.dtype).removeprefix("torch.")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            return f"{name} is no dense tensor in memory"
        if kind not in _PRECISIONS:
            return f"{name} has numbers of type {kind}, not one of {', '.join(_PRECISIONS)}"
        if tensor.numel() and not torch.isfinite(torch.stack(torch.aminmax(tensor))).all():  # NaN comes through
            return f"NaN or infinite weights in {name}"
    return None


def parameters_of(build: Callable[[], torch.nn.Module]) -> dict[str, torch.nn.Parameter]:
    """Parameters of a network by name, each under its first name only, without memory for their values."""
    import torch

    with torch.device("meta"), uninitialised():
        return dict(build().named_parameters())


def uninitialised() -> AbstractContextManager[object]:
    """Layers that are made within get no first values: for networks whose every parameter is filled afterwards.

    Without memory for values it saves more than those: there torch draws them by means that take two seconds to import.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    values = (torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.fill_, torch.Tensor.zero_)

    class _Uninitialised(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func in values or getattr(func, "__module__", "") == "torch.nn.init":
                return args[0] if args else kwargs["tensor"]
            return func(*args, **kwargs)

    return _Uninitialised()
