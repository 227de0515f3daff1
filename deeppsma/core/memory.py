"""Memory: how the allocator keeps and returns it; what libraries say when they get none."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from collections.abc import Iterator, Mapping
from contextlib import suppress

#: What numpy, SimpleITK and scipy take before anything is read, with room for their threads.
LEAST_BYTES = 600_000_000
#: Of glibc's ``mallopt`` (malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
#: Arrays up to this size come from memory that was freed before: a network's have some tens of megabytes.
_REUSED_BYTES = 256 << 20
#: So much freed memory is kept for the next array.
_KEPT_BYTES = 1 << 30
#: Settings with which a user says himself what the allocator does.
_ALLOCATOR_SETTINGS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
#: As torch, oneDNN, CUDA, ITK, the C++ library, the dynamic loader, Python's threads and numpy say it.
_SIGNS = (
    "failed to map segment",
    "cannot allocate memory",
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "alloc_failed",
    "could not create a primitive",
    "could not execute a primitive",
    "bad_alloc",
    "bad allocation",
    "failed to allocate memory",
    "unable to allocate",
    "can't start new thread",
    "cannot enable executable stack",  # how the loader puts it where mprotect gets no memory
)


def reuse_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Let arrays reuse memory that was freed, for the life of this process; what the user has set stays.

    glibc takes large arrays from the system and returns them at once. The
    system clears each page before its first use, which took nearly half of a
    network's wall time on a CPU.

    Parameters
    ----------
    environment
        The process's.

    Returns
    -------
    bool
        Whether the allocator does so now; another C library than glibc does
        as it likes.
    """
    if any(environment.get(name) for name in _ALLOCATOR_SETTINGS):
        return False
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_M_MMAP_THRESHOLD, _REUSED_BYTES) and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
    return False


def return_memory() -> None:
    """Give the system what the allocator keeps for later."""
    with suppress(OSError, AttributeError):  # another C library has no such call
        ctypes.CDLL(None).malloc_trim(0)


def short_of_memory(error: BaseException) -> str | None:
    """What an error says of short memory; None if it has another cause.

    Parameters
    ----------
    error
        Its causes are looked at, too: libraries wrap what happened.

    Returns
    -------
    str or None
        One line; may be empty.
    """
    for each in _chain(error):
        text = str(each)
        if isinstance(each, MemoryError) or (isinstance(each, OSError) and each.errno == errno.ENOMEM):
            return _line(text)
        if isinstance(each, RuntimeError | ImportError | OSError) and any(sign in text.lower() for sign in _SIGNS):
            return _line(text)
        if isinstance(each, SystemError) and "without setting an exception" in text and _is_limited():
            return ""  # Python's own C code (re) that got no memory, and does not say so
    return None


def _is_limited() -> bool:
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def require_memory(needed_bytes: int = LEAST_BYTES) -> None:
    """Refuse to start where so little memory may be used that libraries end or hang on their own.

    OpenBLAS ends the process with a status of its own where its first threads
    get no memory, or waits for them for ever.

    Parameters
    ----------
    needed_bytes
        Of address space.

    Raises
    ------
    MemoryError
        If this process's limit (``ulimit -v``) lies below.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < needed_bytes:
        found = f"this process may use {limit / 1e6:.0f} MB of address space"
        raise MemoryError(f"{found}, and its libraries alone need {needed_bytes / 1e6:.0f}")


def raise_if_short(error: BaseException) -> None:
    """Raise MemoryError if that is what an error means; else nothing.

    For places that blame a file for whatever a library says: short memory is
    no fault of the file.

    Raises
    ------
    MemoryError
        With what was said.
    """
    said = short_of_memory(error)
    if said is not None:
        raise MemoryError(said) from None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        seen.append(following)
        yield following
        following = following.__cause__ or following.__context__


def _line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = (line for line in lines if any(sign in line.lower() for sign in _SIGNS))
    return next(telling, lines[0] if lines else "")[:200]
