from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from builders.networks import SMALL_NETWORK

from deeppsma.cli.commands import main
from deeppsma.core.errors import ConfigurationError, WeightsError
from deeppsma.models.build import build_network
from deeppsma.models.weights import Member, read_member, write_member
from deeppsma.training.average import average_members

MORE = replace(SMALL_NETWORK, channels=(*SMALL_NETWORK.channels, "fdg_contrast"))


def member_of(network, folder, seed, **training):
    torch.manual_seed(seed)
    return write_member(folder, network, build_network(network).state_dict(), training)


def test_the_mean_by_hand(tmp_path):
    one, other = (member_of(SMALL_NETWORK, tmp_path / str(n), n, data=f"cohort {n}") for n in (1, 2))
    mean = average_members([one, other], tmp_path / "mean")
    weights = [dict(m.load().named_parameters()) for m in (one, other, read_member(tmp_path / "mean"))]
    for key, value in weights[2].items():
        assert torch.allclose(value, (weights[0][key] + weights[1][key]) / 2, atol=1e-3, rtol=1e-3)
    assert mean.trained_on == "cohort 2; averaged with: cohort 1"
    assert [each["sha256"] for each in mean.training["averaged"]] == [one.sha256, other.sha256]


def test_one_that_was_fed_less_has_no_say_in_the_new_channel_but_by_its_zero(tmp_path):
    one, other = member_of(SMALL_NETWORK, tmp_path / "a", 1), member_of(MORE, tmp_path / "b", 2)
    mean = average_members([one, other], tmp_path / "mean").load().state_dict()
    first = next(key for key, value in mean.items() if value.ndim == 5)
    assert torch.allclose(mean[first][:, -1], other.load().state_dict()[first][:, -1] / 2, atol=1e-3, rtol=1e-3)


def test_what_was_gone_on_from_is_said_once(tmp_path):
    one = member_of(SMALL_NETWORK, tmp_path / "a", 1, data="first")
    start = {"name": "a", "sha256": one.sha256, "data": "first"}
    other = member_of(SMALL_NETWORK, tmp_path / "b", 2, data="second", start=start)
    assert average_members([one, other], tmp_path / "mean").trained_on == "second, going on from a (first)"


def test_from_the_command_line(tmp_path, capsys):
    folders = [str(member_of(SMALL_NETWORK, tmp_path / str(n), n).folder) for n in (1, 2)]
    assert main(["weights", "average", *folders, str(tmp_path / "mean")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "mean")
    read_member(tmp_path / "mean").load()
    assert main(["weights", "average", *folders, str(tmp_path / "mean")]) == 5
    assert "something is there" in capsys.readouterr().err


def test_what_has_no_mean_is_refused(tmp_path):
    one = member_of(SMALL_NETWORK, tmp_path / "a", 1)
    wide = member_of(replace(SMALL_NETWORK, filters=(8, 8, 8, 8)), tmp_path / "b", 2)
    with pytest.raises(ConfigurationError, match="1 member"):
        average_members([one], tmp_path / "mean")
    with pytest.raises(WeightsError, match="another shape"):
        average_members([one, wide], tmp_path / "mean")
    model = Member("nn", tmp_path, SimpleNamespace(channels=("ratio",)), "")
    with pytest.raises(ConfigurationError, match="a model of nnU-Net"):
        average_members([one, model], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
