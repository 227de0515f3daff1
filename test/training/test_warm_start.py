from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from builders.networks import CLASSES, SMALL_NETWORK

from deeppsma.core.errors import WeightsError
from deeppsma.models.build import build_network
from deeppsma.models.config import load_network
from deeppsma.models.store import WeightsStore
from deeppsma.models.weights import Member, write_member
from deeppsma.training.warm_start import starting_network


def member_of(network, folder):
    torch.manual_seed(3)
    return write_member(folder, network, build_network(network).state_dict(), {})


@pytest.mark.parametrize(("network", "more"), [(SMALL_NETWORK, "psma_contrast"), (CLASSES, "fdg_contrast")])
def test_new_channels_count_for_nothing_at_first(network, more, tmp_path):
    start = member_of(network, tmp_path / "m")
    fed_more = starting_network(replace(network, channels=(*network.channels, more)), start)
    known = torch.rand(1, len(network.channels), 16, 16, 16)
    anything = torch.cat([known, torch.randn(1, 1, 16, 16, 16)], dim=1)
    heads = fed_more(anything)
    assert torch.equal(heads, starting_network(network, start)(known))
    first = next(weights for weights in fed_more.parameters() if weights.ndim == 5)
    (gradient,) = torch.autograd.grad(heads.square().sum(), [first])
    assert gradient[:, -1].abs().max() > 0  # but they are learned


def test_without_a_start_weights_are_random():
    torch.manual_seed(1)
    one = starting_network(SMALL_NETWORK)
    torch.manual_seed(2)
    other = starting_network(SMALL_NETWORK)
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    "change",
    [
        {"filters": (4, 4, 4, 8)},
        {"organ_embedding": 3},
        {"channels": SMALL_NETWORK.channels[::-1]},
        {"channels": SMALL_NETWORK.channels[:2]},
        {"channels": ("fdg_contrast", *SMALL_NETWORK.channels)},
    ],
)
def test_a_start_of_another_shape_is_refused(change, tmp_path):
    start = member_of(SMALL_NETWORK, tmp_path / "m")
    with pytest.raises(WeightsError, match="another shape"):
        starting_network(replace(SMALL_NETWORK, **change), start)


def test_channels_that_would_take_a_layer_away_are_refused(tmp_path):
    # Six inputs and eight filters: the first block has a projection. Eight and eight: it has none.
    network = replace(SMALL_NETWORK, filters=(8, 8, 8, 8))
    start = member_of(network, tmp_path / "m")
    starting_network(replace(network, channels=(*network.channels, "fdg_contrast")), start)
    eight = replace(network, channels=(*network.channels, "fdg_contrast", "psma_contrast"))
    with pytest.raises(WeightsError, match="other layers"):
        starting_network(eight, start)
    nine = replace(eight, channels=(*eight.channels, "fdg_ct"))
    with pytest.raises(WeightsError, match="other layers"):
        starting_network(nine, member_of(eight, tmp_path / "eight"))


def test_a_model_of_nnu_net_is_no_start(tmp_path):
    start = Member("nn", tmp_path, SimpleNamespace(channels=("ratio",)), "")
    with pytest.raises(WeightsError, match="another shape"):
        starting_network(SMALL_NETWORK, start)


def test_the_shipped_network_is_one_that_training_goes_on_from():
    starting_network(load_network("compact"), WeightsStore.default().member("cds-compact"))


def test_a_summary_is_no_shape(tmp_path):
    start = member_of(SMALL_NETWORK, tmp_path / "m")
    starting_network(replace(SMALL_NETWORK, summary="another"), start)
