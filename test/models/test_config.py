from dataclasses import asdict, replace

import pytest
import torch
from builders.cases import TINY_NETWORK

from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.models.build import build_network
from deeppsma.models.config import NetworkConfig, load_network


def test_the_reports_network_has_its_size():
    network = build_network(load_network("cds"))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(30.8, abs=0.05)


@pytest.mark.parametrize(("name", "more"), [("cds", ()), ("compact", ("fdg_contrast",))])
def test_shipped_configurations_are_valid(name, more):
    config = load_network(name)
    assert config.channels == ("fdg_pet", "fdg_organs", "psma_pet", "psma_organs", *more)
    assert config.outputs == ("fdg", "psma")
    assert NetworkConfig.from_dict(asdict(config)) == config


@pytest.mark.parametrize("embedding", [0, 3])
def test_shapes(embedding):
    config = replace(TINY_NETWORK, organ_embedding=embedding)
    x = torch.rand(2, 4, 16, 16, 16)
    assert build_network(config)(x).shape == (2, 2, 16, 16, 16)
    assert build_network(config, training=True)(x).shape == (2, 3, 2, 16, 16, 16)


def test_training_and_inference_share_their_weights():
    assert (
        build_network(TINY_NETWORK).state_dict().keys()
        == build_network(TINY_NETWORK, training=True).state_dict().keys()
    )


def test_an_embedded_label_is_looked_up_not_scaled():
    torch.manual_seed(0)
    network = build_network(TINY_NETWORK)
    x = torch.zeros(1, 4, 16, 16, 16)
    x[:, 1] = 5 / 117
    before = network(x)
    with torch.no_grad():
        network.organ_features.weight[6] += 10  # another label's features
    assert torch.equal(network(x), before)
    with torch.no_grad():
        network.organ_features.weight[5] += 10
    assert not torch.equal(network(x), before)


def test_blocks_come_as_near_to_the_working_spacing_as_whole_voxels_can():
    config = replace(TINY_NETWORK, working_spacing_mm=5.0)
    assert config.block_zyx(Geometry((9, 9, 9), (3.27, 2.865, 2.865))) == (2, 2, 2)
    assert config.block_zyx(Geometry((9, 9, 9), (5.0, 4.073, 4.073))) == (1, 1, 1)
    assert config.block_zyx(Geometry((9, 9, 9), (1.5, 2.036, 9.0))) == (3, 2, 1)
    assert TINY_NETWORK.block_zyx(Geometry((9, 9, 9), (1.0, 1.0, 1.0))) == (1, 1, 1)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"channels": ("mri",)}, "unknown channels"),
        ({"channels": ()}, "once each"),
        ({"channels": ("fdg_pet", "fdg_pet")}, "once each"),
        ({"outputs": ("ct",)}, "both tracers"),
        ({"outputs": ("psma", "psma")}, "both tracers"),
        ({"filters": (4, 4)}, "need one"),
        ({"filters": (4, 4, 4), "strides": ((1, 1, 1), (2, 2, 2), (2, 2, 2))}, "four levels"),
        ({"strides": ((2, 2, 2),) * 4}, "keeps its resolution"),
        ({"working_spacing_mm": -1.0}, "0 to 100"),
        ({"working_spacing_mm": float("nan")}, "0 to 100"),
        ({"organ_embedding": 1.5}, "organ embedding a whole number"),
        ({"organ_embedding": float("nan")}, "organ embedding a whole number"),
        ({"organ_embedding": 10**9}, "organ embedding a whole number"),
        ({"filters": (4, 4, 4, 10**9)}, "beyond any network"),
        ({"filters": (4,) * 20, "strides": ((1, 1, 1),) * 20}, "beyond any network"),
        ({"patch_zyx": (16 * 10**6, 16, 16)}, "beyond any network"),
        ({"strides": ((1, 1, 1), (2, 2, 2), (2, 2, 2), (64, 2, 2))}, "beyond any network"),
        ({"organ_embedding": -1}, "organ embedding a whole number"),
        ({"strides": ((1, 1, 1), (0, 2, 2), (2, 2, 2), (2, 2, 2))}, "above 0"),
        ({"filters": (4, 4, 4, -4)}, "above 0"),
        ({"patch_zyx": (16, 16)}, "three numbers"),
        ({"patch_zyx": (12, 16, 16)}, "no multiple"),
    ],
)
def test_nonsense_is_refused(change, match):
    with pytest.raises(ValueError, match=match):
        replace(TINY_NETWORK, **change)


def test_unknown_and_missing_keys_are_refused():
    with pytest.raises(ValueError, match="unknown keys"):
        NetworkConfig.from_dict(asdict(TINY_NETWORK) | {"depth": 3})
    with pytest.raises(ValueError, match="missing"):
        NetworkConfig.from_dict({"filters": [4, 4, 4, 4]})


PAIRE = {
    "channels": ("psma_ratio", "psma_ct"),
    "outputs": ("background", "psma", "psma_normal"),
    "architecture": "plain",
    "blocks": (1, 1, 1, 1),
    "organ_embedding": 0,
}


@pytest.mark.parametrize("architecture", ["plain", "resenc"])
def test_nnunets_networks_answer_with_classes(architecture):
    config = replace(TINY_NETWORK, **PAIRE | {"architecture": architecture})
    x = torch.rand(2, 2, 16, 16, 16)
    assert build_network(config)(x).shape == (2, 3, 16, 16, 16)
    assert build_network(config, training=True)(x).shape == (2, 3, 3, 16, 16, 16)
    assert config.tracers == (Tracer.PSMA,)
    assert config.exclusive
    assert config.rows(Tracer.PSMA) == (0, 1, 2)
    assert TINY_NETWORK.rows(Tracer.PSMA) == (1,)
    assert NetworkConfig.from_dict(asdict(config)) == config


@pytest.mark.parametrize("architecture", ["plain", "resenc"])
def test_everything_that_trains_gets_a_gradient(architecture):
    """Several processes wait for every gradient; a deep network has more heads than are trained."""
    deep = {"filters": (2,) * 6, "strides": ((1, 1, 1), *((2, 2, 2),) * 5), "blocks": (1,) * 6}
    config = replace(TINY_NETWORK, **PAIRE | deep | {"architecture": architecture, "patch_zyx": (64, 64, 64)})
    network = build_network(config, training=True)
    network(torch.rand(1, 2, 64, 64, 64)).square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    assert sum(not p.requires_grad for p in network.parameters()) == 2 * 2  # two heads too many


def test_what_a_network_is_made_from():
    config = replace(TINY_NETWORK, **PAIRE | {"channels": ("psma_ratio", "psma_sdf-liver", "fdg_ct")})
    assert config.requires("organs", Tracer.PSMA)
    assert config.needs("organs", Tracer.PSMA)
    assert not config.needs("organs", Tracer.FDG)
    assert config.needs("ct", Tracer.FDG)
    assert not TINY_NETWORK.requires("organs", Tracer.PSMA)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"outputs": ("background", "psma", "fdg_normal")}, "outputs must be"),
        ({"outputs": ("psma",)}, "outputs must be"),
        ({"architecture": "transformer"}, "architecture must be"),
        ({"blocks": ()}, "architecture must be"),
        ({"blocks": (1, 1)}, "the same stages"),
        ({"organ_embedding": 3}, "only dynunet embeds"),
        ({"channels": ("psma_sdf-heart",)}, "unknown channels"),
    ],
)
def test_impossible_networks_of_the_second_report_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        replace(TINY_NETWORK, **PAIRE | change)
