import os
import subprocess
import sys
from pathlib import Path

import pytest

from deeppsma.core import threads
from deeppsma.core.threads import prepare_threads, usable_cores

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def system(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1600000 100000\n"}, 8),
        # A group's own quota, and that of the group above it: the smaller one counts.
        (
            {
                "proc/self/cgroup": "0::/pod/box\n",
                "sys/fs/cgroup/pod/box/cpu.max": "max 100000\n",
                "sys/fs/cgroup/pod/cpu.max": "300000 100000\n",
            },
            3,
        ),
        # A container sees its own group as the mount, and may know its path outside.
        ({"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/box\n3:memory:/box\n",
                "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "words\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1 0\n"}, 8),
        ({"proc/self/cgroup": "nonsense\n"}, 8),
    ],
)
def test_cores_by_affinity_and_quota(tmp_path, files, cores):
    assert usable_cores(system(tmp_path, files)) == cores


def test_the_affinity_mask_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert usable_cores(tmp_path) == 1


def test_systems_without_affinity_masks(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores(tmp_path) == 6


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setattr(threads, "usable_cores", lambda: 3)
    plain: dict[str, str] = {}
    prepare_threads(plain)
    assert plain == {
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": "3",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "3",
    }
    own = {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "1"}
    prepare_threads(own)
    assert own["OMP_WAIT_POLICY"] == "ACTIVE"
    assert own["OMP_NUM_THREADS"] == "1"
    spinning = {"GOMP_SPINCOUNT": "1000"}
    prepare_threads(spinning)
    assert "OMP_WAIT_POLICY" not in spinning


def test_torch_and_itk_obey():
    code = (
        "from deeppsma.core import threads; threads.usable_cores = lambda: 1; threads.prepare_threads()\n"
        "import torch, SimpleITK as sitk\n"
        "print(torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads())"
    )
    environment = {name: value for name, value in os.environ.items() if "THREADS" not in name}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "1"]
