"""JSON from outside: anything that is wrong with it is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deeppsma.core.errors import InputError


def read_json(path: Path, remedy: str, error: type[InputError] = InputError) -> Any:
    """Content of a JSON file.

    Parameters
    ----------
    path
        The file.
    remedy
        What to do if it cannot be read.
    error
        What to raise then.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise error(path, f"not readable ({problem.strerror})", remedy) from None
    except (ValueError, RecursionError) as problem:
        raise error(path, f"not readable as JSON ({problem})", remedy) from None


def write_json(path: Path, content: Any) -> None:
    """Write plain values as JSON; an earlier file stays whole until this one is."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
