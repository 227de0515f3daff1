"""From plain values, as TOML and JSON hold them, to a frozen dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

_T = TypeVar("_T")


def from_plain(cls: type[_T], content: Mapping[str, Any]) -> _T:
    """Build a dataclass; lists become tuples, whatever lies in them too.

    Parameters
    ----------
    cls
        A dataclass that checks its values when it is made.
    content
        Values by field name.

    Raises
    ------
    ValueError
        If a key is unknown or missing, or a value makes no sense.
    """
    if not isinstance(content, Mapping):
        raise ValueError("not a table of settings")  # noqa: TRY004 - what callers catch
    if unknown := set(content) - {field.name for field in fields(cls)}:  # type: ignore[arg-type]
        raise ValueError(f"unknown keys {sorted(unknown)}")
    try:
        return cls(**{key: _frozen(value) for key, value in content.items()})
    except TypeError as error:
        raise ValueError(str(error)) from None


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value
