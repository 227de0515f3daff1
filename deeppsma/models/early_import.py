"""What networks are built from, imported while the first images are read: on two cores a case gains 0.5 to 1 s."""

from __future__ import annotations

import gc
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from types import ModuleType

#: Brings torch and MONAI, which take longer to import than a case to read.
_SLOW = "monai.networks.nets.dynunet"


def import_early() -> Future[ModuleType]:
    """Begin to import torch and MONAI in a thread of its own.

    Returns
    -------
    Future
        Ask it for its result before torch is used: what went wrong with the
        import is raised there. A second try would say something else, as
        libraries that are loaded by half cannot be loaded again.
    """
    if _SLOW in sys.modules:
        done: Future[ModuleType] = Future()
        done.set_result(sys.modules[_SLOW])
        return done
    pool = ThreadPoolExecutor(1, thread_name_prefix="imports")
    coming = pool.submit(_import)
    pool.shutdown(wait=False)
    return coming


def _import() -> ModuleType:
    """Looks for no garbage meanwhile: there is none among half a million new objects, and looking takes 0.4 s."""
    collected = gc.isenabled()
    gc.disable()
    try:
        return import_module(_SLOW)
    finally:
        if collected:
            gc.enable()
