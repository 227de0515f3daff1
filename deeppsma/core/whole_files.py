"""A file that appears in its place when it is whole; until then an earlier one stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL_SUFFIX = ".partial"


@contextmanager
def whole_file(path: Path, lasting: bool = False) -> Iterator[Path]:
    """Give the place beside a file that its new content is written to; afterwards it is moved there in one step.

    Parameters
    ----------
    path
        The file; its folder is there.
    lasting
        Let the content reach the disk first, so that it survives a power cut.

    Yields
    ------
    Path
        Where to write. Whatever fails leaves nothing there, and an earlier
        file as it was.

    Raises
    ------
    OSError
        If the file cannot be moved to its place.
    """
    partial = path.with_name(f"{path.name}{PARTIAL_SUFFIX}")
    try:
        yield partial
        if lasting:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
