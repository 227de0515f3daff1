import re
import subprocess
import sys
import warnings

import pytest
import torch

from deeppsma.models.tensors import parameters_of, unfit, uninitialised


def quantised():
    with warnings.catch_warnings():  # torch is about to give them up
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.zeros(2, 3), 0.1, 0, torch.qint8)


WANTED = {"a": torch.zeros(2, 3)}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"a": torch.zeros(2, 3)}, None),
        ({"a": torch.zeros(2, 3, dtype=torch.bfloat16)}, None),
        ({}, "first difference: a"),
        ({"a": torch.zeros(2, 3), "b": torch.zeros(1)}, "first difference: b"),
        ({"a": torch.zeros(2, 3), 7: torch.zeros(1)}, "first difference: 7"),
        ({"a": torch.zeros(3, 2)}, r"a is \(3, 2\), not \(2, 3\)"),
        ({"a": torch.zeros(2, 3, dtype=torch.float8_e4m3fn)}, "numbers of type float8_e4m3fn"),
        ({"a": torch.zeros(2, 3, dtype=torch.int64)}, "numbers of type int64"),
        ({"a": torch.zeros(2, 3, dtype=torch.complex64)}, "numbers of type complex64"),
        ({"a": torch.zeros(2, 3).to_sparse()}, "no dense tensor"),
        ({"a": torch.zeros(2, 3, device="meta")}, "no dense tensor"),
        ({"a": quantised()}, "no dense tensor"),
        ({"a": torch.full((2, 3), float("nan"))}, "NaN or infinite weights in a"),
        ({"a": torch.full((2, 3), float("inf"))}, "NaN or infinite weights in a"),
    ],
)
def test_only_plain_finite_numbers_of_the_right_shape_fit(state, said):

    found = unfit(state, WANTED)
    assert found is None if said is None else re.search(said, found)


def test_parameters_of_a_huge_network_take_no_memory():
    found = parameters_of(lambda: torch.nn.Linear(1 << 20, 1 << 20))
    assert found["weight"].shape == (1 << 20, 1 << 20)
    assert found["weight"].device.type == "meta"


def test_a_network_without_first_values_needs_no_compiler():
    # Where it has no memory, torch draws first values by what its compiler is made of: seconds to import.
    script = (
        "import sys, torch\n"
        "from deeppsma.models.tensors import parameters_of\n"
        "assert parameters_of(lambda: torch.nn.Sequential(torch.nn.Embedding(4, 2), torch.nn.Conv3d(2, 2, 3)))\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_within_layers_are_made_without_first_values():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    with uninitialised():
        layer = torch.nn.Conv3d(2, 2, 3)
        torch.nn.init.kaiming_normal_(layer.weight)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.nn.Conv3d(2, 2, 3).weight.any()
    assert not torch.equal(torch.get_rng_state(), state)
