"""Git LFS pointers: what a clone holds in place of large files where Git LFS was not installed."""

from __future__ import annotations

from pathlib import Path

from deeppsma.core.errors import WeightsError

_FIRST = b"version https://git-lfs"


def refuse_lfs_pointer(path: Path) -> None:
    """Say what helps where a file only says where its content is kept.

    Raises
    ------
    WeightsError
        If it is a pointer.
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(_FIRST)) == _FIRST:
            raise WeightsError(path, "is a Git LFS pointer, the weights are not there", "run git lfs pull in the clone")
