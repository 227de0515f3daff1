"""Where recipes, networks, training settings and shipped weights lie."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from deeppsma.core.errors import ConfigurationError


def resources_folder() -> Path:
    """The ``resources`` folder: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "resources"
    return inside if inside.is_dir() else package.parent / "resources"


def read_toml(kind: str, name: str) -> tuple[Path, dict[str, Any]]:
    """Read ``resources/{kind}/{name}.toml``, or a file of one's own (a name that ends in ``.toml``).

    Raises
    ------
    ConfigurationError
        If there is no such file, or it is no TOML; lists what there is.
    """
    own = name.endswith(".toml")
    path = Path(name) if own else resources_folder() / kind / f"{name}.toml"
    if not path.is_file():
        raise ConfigurationError(kind, f"no {name!r} there", f"choose one of {', '.join(names(kind))}")
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(path, f"not readable as TOML ({error})", "mend the file") from None


def names(kind: str, ending: str = "toml") -> list[str]:
    """Names of the files of a kind ("recipes", "networks", "training"; "refinement" are "json")."""
    return sorted(path.stem for path in (resources_folder() / kind).glob(f"*.{ending}"))
