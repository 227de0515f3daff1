import errno
import os
import resource
import subprocess
import sys

import numpy as np
import pytest

from deeppsma.core import memory
from deeppsma.core.memory import raise_if_short, require_memory, reuse_memory, short_of_memory


def numpys_own():
    try:
        np.empty(1 << 60, np.uint8)
    except MemoryError as error:
        return error
    raise AssertionError


def wrapped():
    error = ValueError("a lazy import failed")
    error.__cause__ = ImportError("libtorch_cpu.so: failed to map segment from shared object")
    return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        numpys_own(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libmkl.so: failed to map segment from shared object"),
        wrapped(),
        RuntimeError("could not create a primitive"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 64 bytes."),
        RuntimeError("Exception thrown in SimpleITK ReadImage:\nstd::bad_alloc"),
        RuntimeError("itk::ERROR: ImportImageContainer(0x1): Failed to allocate memory for image."),
        RuntimeError("can't start new thread"),
    ],
)
def test_short_memory_is_known_by_what_libraries_say(error):
    assert short_of_memory(error) is not None
    with pytest.raises(MemoryError):
        raise_if_short(error)


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), OSError(28, "No space left"), ImportError("no x")])
def test_other_causes_are_not(error):
    assert short_of_memory(error) is None
    raise_if_short(error)


def test_the_telling_line_is_shown():
    said = short_of_memory(RuntimeError("Exception thrown\nstd::bad_alloc\nat line 9"))
    assert said == "std::bad_alloc"


def test_errors_that_cause_each_other_end():
    error = RuntimeError("a")
    error.__cause__ = ValueError("b")
    error.__cause__.__cause__ = error
    assert short_of_memory(error) is None


def test_too_little_to_start_with_is_refused(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (500_000_000, -1))
    with pytest.raises(MemoryError, match="may use 500 MB"):
        require_memory()
    monkeypatch.setattr(resource, "getrlimit", lambda which: (700_000_000, -1))
    require_memory()
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, -1))
    require_memory()


def test_freed_memory_is_reused():
    # In a process of its own: the setting stays. Without it each array costs a page fault for every 4 kB.
    script = (
        "import resource, sys, numpy as np\n"
        "from deeppsma.core.memory import reuse_memory\n"
        "assert len(sys.argv) == 1 or reuse_memory()\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def fill(): np.ones(12_000_000, np.float32)\n"
        "fill(); before = faults()\n"
        "for _ in range(5): fill()\n"
        "print(faults() - before)\n"
    )
    environment = {**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0"}
    run = [sys.executable, "-c", script]
    plain, reused = (
        int(subprocess.run([*run, *more], env=environment, capture_output=True, text=True, check=True).stdout)
        for more in ([], ["reuse"])
    )
    assert plain > 50_000
    assert reused < 1_000


def test_what_the_user_says_of_the_allocator_stays(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("the allocator was told"))
    for name in ("MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"):
        assert not reuse_memory({name: "x"})


def test_another_c_library_does_as_it_likes(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not reuse_memory({})
    memory.return_memory()


@pytest.mark.parametrize(("limit", "said"), [(2**40, ""), (resource.RLIM_INFINITY, None)])
def test_c_code_that_says_nothing_is_short_of_memory_where_that_is_limited(monkeypatch, limit, said):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    silent = SystemError("<built-in function compile> returned NULL without setting an exception")
    assert short_of_memory(silent) == said
    assert short_of_memory(SystemError("bad argument to internal function")) is None
