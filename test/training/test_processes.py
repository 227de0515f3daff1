import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from builders.networks import QUICK, SMALL_NETWORK

from deeppsma.core.errors import ConfigurationError
from deeppsma.models.weights import read_member
from deeppsma.training import command
from deeppsma.training.folds import Folds
from deeppsma.training.loop import TrainingRun, train
from deeppsma.training.processes import ALONE, Processes, joined

# What each process of torchrun runs: 'deeppsma train', with a network that fits a test.
SCRIPT = """
import sys
from pathlib import Path
from deeppsma.training import command
from builders.networks import QUICK, SMALL_NETWORK
command.load_settings = lambda *_: (SMALL_NETWORK, QUICK)
data, out, folds = map(Path, sys.argv[1:])
member = command.run_training(command.TrainRequest(data, out, fold=0, folds=folds, device="cpu"))
print("member", member.sha256)
"""


def test_a_batch_is_shared_evenly():
    assert ALONE.share(3) == range(3)
    assert [Processes(rank, 2).share(4) for rank in range(2)] == [range(2), range(2, 4)]
    with pytest.raises(ValueError, match="cannot be shared by 2"):
        Processes(0, 2).share(3)


def test_alone_nothing_is_waited_for():
    with joined("cpu") as processes:
        assert processes is ALONE
        processes.wait()
        assert processes.mean(3.0) == 3.0
        layer = torch.nn.Linear(1, 1)
        assert processes.wrapped(layer) is layer


def test_a_batch_that_cannot_be_shared_is_refused(samples, tmp_path):
    run = TrainingRun(samples, SMALL_NETWORK, replace(QUICK, batch=3), tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be shared"):
        train(run, processes=Processes(0, 2))


def test_two_processes_learn_what_one_learns(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "load_settings", lambda *_: (SMALL_NETWORK, QUICK))
    Folds.draw([folder.name for folder in cohort.iterdir()], 2).write(tmp_path / "folds.json")
    alone = command.run_training(
        command.TrainRequest(cohort, tmp_path / "one", fold=0, folds=tmp_path / "folds.json", device="cpu")
    )
    (tmp_path / "script.py").write_text(SCRIPT)
    starter = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [*starter, tmp_path / "script.py", cohort, tmp_path / "two", tmp_path / "folds.json"],
        capture_output=True,
        text=True,
        cwd=root,
        env={"PYTHONPATH": f"{root}:{root / 'test'}", "PATH": "", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    together = read_member(tmp_path / "two/cds-compact")
    assert together.training["processes"] == 2
    assert done.stdout.split().count(together.sha256) == 2  # both processes give the same member
    wanted = dict(alone.load().named_parameters())
    for key, found in together.load().named_parameters():
        # bfloat16 sums in another order.
        assert torch.allclose(found, wanted[key], atol=5e-3), key
    losses = [
        [float(line.split(",")[1]) for line in (tmp_path / part / "curve.csv").read_text().splitlines()[1:]]
        for part in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert len(losses[1]) == QUICK.steps  # written once, by the first process
