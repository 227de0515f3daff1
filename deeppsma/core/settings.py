"""Settings and JSON: where they lie, how they are read, and how a dataclass is made of them.

Recipes, networks, training settings and shipped weights lie in ``resources``. Whatever is wrong with a file is one
line.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from deeppsma.core.errors import ConfigurationError, InputError
from deeppsma.core.whole_files import whole_file

_T = TypeVar("_T")


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
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(path, f"not readable as TOML ({error})", "mend the file") from None


def names(kind: str, ending: str = "toml") -> list[str]:
    """Names of the files of a kind ("recipes", "networks", "training"; "refinement" are "json")."""
    return sorted(path.stem for path in (resources_folder() / kind).glob(f"*.{ending}"))


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
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)
    except OSError as problem:
        raise error(path, f"not readable ({problem.strerror})", remedy) from None
    except (ValueError, RecursionError) as problem:
        raise error(path, f"not readable as JSON ({problem})", remedy) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are there once; of two, readers would take the one or the other."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)[:60]!r} twice")
    return content


def write_json(path: Path, content: Any) -> None:
    """Write plain values as JSON; an earlier file stays whole until this one is."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def from_plain(cls: type[_T], content: Mapping[str, Any]) -> _T:
    """Build a dataclass of plain values; types are checked, at every depth, by msgspec.

    Parameters
    ----------
    cls
        A frozen dataclass that checks its ranges when it is made.
    content
        Values by field name; lists become tuples, tables the dataclasses that
        the field wants.

    Raises
    ------
    ValueError
        In one line, with the path of the key: if a key is unknown or missing,
        of another type, or a value makes no sense.
    """
    import msgspec

    if not isinstance(content, Mapping):
        raise ValueError("not a table of settings")  # noqa: TRY004 - what callers catch
    if unknown := set(content) - {field.name for field in fields(cls)}:  # type: ignore[arg-type]
        raise ValueError(f"unknown keys {sorted(map(str, unknown))}")
    try:
        made = msgspec.convert(dict(content), cls)
    except msgspec.ValidationError as error:
        raise ValueError(_in_words(str(error))) from None
    _refuse_unknown(dict(content), msgspec.to_builtins(made, builtin_types=_ANY), "")
    return made


#: Types that the check for unknown keys need not look into.
_ANY = (bytes,)


def _in_words(said: str) -> str:
    """Msgspec's message, with the path of the key in front."""
    said = said.replace("`", "")
    text, _, path = said.partition(" - at $")
    text = text[:1].lower() + text[1:]
    return f"{path.lstrip('.')}: {text}" if path.strip(".") else text


def _refuse_unknown(given: Any, made: Any, path: str) -> None:
    """Refuse keys that no dataclass took; a mapping of free keys has them all."""
    if isinstance(given, Mapping) and isinstance(made, Mapping):
        for key, value in given.items():
            place = f"{path}.{key}".lstrip(".")
            if str(key) not in made:
                raise ValueError(f"unknown key {place}")
            _refuse_unknown(value, made[str(key)], place)
    elif isinstance(given, list | tuple) and isinstance(made, list | tuple):
        for number, (one, other) in enumerate(zip(given, made, strict=True)):
            _refuse_unknown(one, other, f"{path}[{number}]")
