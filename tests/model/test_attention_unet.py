"""The network: its shapes, its sizes, and that its gates gate."""

import pytest
import torch

from model.attention_unet import AttentionGate, AttentionUNet

SMALL = 0.25, 0.25, (8, 8, 8, 8)


def test_logits_have_the_size_of_the_photograph() -> None:
    network = AttentionUNet(*SMALL)
    assert network(torch.zeros(2, 3, 64, 96)).shape == (2, 1, 64, 96)


def test_a_side_of_one_stride_is_enough() -> None:
    network = AttentionUNet(*SMALL).eval()
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 1, 32, 32)


def test_the_default_network_has_three_million_parameters() -> None:
    assert sum(parameter.numel() for parameter in AttentionUNet().parameters()) == 2_949_752


def test_a_size_that_does_not_fit_is_refused_with_one_that_does() -> None:
    with pytest.raises(ValueError, match=r"multiples of 32, but got 100x64\. Pad to 128x64\."):
        AttentionUNet(*SMALL)(torch.zeros(1, 3, 100, 64))


@pytest.mark.parametrize(("width", "depth"), [(0, 1), (1, 0)])
def test_an_encoder_without_channels_or_blocks_is_refused(width: float, depth: float) -> None:
    with pytest.raises(ValueError, match=rf"width={width}, depth={depth}: both must be above 0"):
        AttentionUNet(width, depth)


@pytest.mark.parametrize("decoder", [(8, 8, 8), (8, 8, 8, 0)])
def test_a_decoder_that_does_not_fit_the_encoder_is_refused(decoder: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"decoder=\(8, 8, 8.*\): expected 4 numbers of channels, each at least 1"):
        AttentionUNet(decoder=decoder)


def test_each_four_pixels_get_the_four_logits_of_one_place() -> None:
    network = AttentionUNet(*SMALL).eval()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        logits = network(torch.rand(1, 3, 32, 32))
    assert torch.equal(logits, torch.tensor([[1.0, 2.0], [3.0, 4.0]]).repeat(16, 16)[None, None])


def test_a_gate_weighs_every_channel_of_a_pixel_by_the_same_number_between_0_and_1() -> None:
    gate = AttentionGate(n_skip=6, n_gating=12, n_hidden=3)
    skip = torch.rand(1, 6, 8, 8) + 0.1
    weights = gate(skip, torch.randn(1, 12, 4, 4)) / skip
    assert torch.allclose(weights, weights[:, :1].expand_as(weights), atol=1e-5)
    assert weights.min() > 0
    assert weights.max() < 1


def test_every_parameter_gets_a_gradient() -> None:
    network = AttentionUNet(*SMALL)
    network(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []
