"""The network in torch alone is MONAI's DynUNet, weight for weight and bit for bit."""

import pytest
import torch
from monai.networks.nets.dynunet import DynUNet as MonaisDynUNet

from deeppsma.models.dynunet import DynUNet

#: The second has a block whose channels stay as many as they were: it has no projection.
SHAPES = (
    (3, 2, (4, 8, 12, 16), ((1, 1, 1), (2, 2, 2), (2, 2, 2), (1, 2, 2))),
    (4, 3, (4, 4, 8, 8, 8), ((1, 1, 1), (1, 1, 1), (2, 2, 2), (1, 2, 2), (2, 2, 2))),
)
HEADS = 2


def both(shape):
    channels, outputs, filters, strides = shape
    torch.manual_seed(7)
    theirs = MonaisDynUNet(
        spatial_dims=3,
        in_channels=channels,
        out_channels=outputs,
        kernel_size=[3] * len(filters),
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=filters,
        norm_name=("INSTANCE", {"affine": True}),
        act_name=("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
        deep_supervision=True,
        deep_supr_num=HEADS,
        res_block=True,
    )
    torch.manual_seed(7)
    return theirs, DynUNet(channels, outputs, filters, strides, HEADS)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_seed_gives_the_same_weights_in_the_same_order(shape):
    theirs, ours = (list(network.named_parameters()) for network in both(shape))
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    assert all(torch.equal(mine, other) for (_, mine), (_, other) in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_answers_are_the_same_to_the_bit(shape, training, precision):
    x = torch.rand(2, shape[0], 16, 16, 32)
    answers = []
    for network in both(shape):
        with torch.no_grad(), torch.autocast("cpu", precision, enabled=precision is not torch.float32):
            answers.append(network.train(training)(x))
    assert torch.equal(*answers)
    assert answers[0].shape[: 3 if training else 2] == ((2, HEADS + 1, shape[1]) if training else (2, shape[1]))


def test_gradients_are_the_same():
    gradients = []
    x = torch.rand(1, 3, 16, 16, 32)
    for network in both(SHAPES[0]):
        network.train()(x).square().mean().backward()
        gradients.append({name: each.grad for name, each in network.named_parameters()})
    assert all(torch.equal(each, gradients[1][name]) for name, each in gradients[0].items())


def test_checkpoints_that_name_layers_twice_are_read():
    theirs, ours = both(SHAPES[0])
    with torch.no_grad():
        theirs.output_block.conv.conv.weight += 1
    state = theirs.state_dict()
    assert any(name.startswith("skip_layers.") for name in state)
    ours.load_state_dict(state)
    assert torch.equal(ours.output_block.conv.conv.weight, theirs.output_block.conv.conv.weight)
    with pytest.raises(RuntimeError, match="Unexpected"):
        ours.load_state_dict({**state, "another": torch.zeros(1)})
