"""The network: its shapes, its sizes, and that its gates gate."""

import pytest
import torch

from model.attention_unet import AttentionGate, AttentionUNet


def test_logits_have_the_size_of_the_photograph() -> None:
    network = AttentionUNet(width=4, depth=3)
    assert network(torch.zeros(2, 3, 48, 80)).shape == (2, 1, 48, 80)


def test_a_side_of_one_stride_is_enough() -> None:
    network = AttentionUNet(width=4, depth=4).eval()
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 1, 32, 32)


def test_the_default_network_has_three_million_parameters() -> None:
    assert sum(parameter.numel() for parameter in AttentionUNet().parameters()) == 3_023_573


def test_a_size_that_does_not_fit_is_refused_with_one_that_does() -> None:
    with pytest.raises(ValueError, match=r"multiples of 32, but got 100x64\. Pad to 128x64\."):
        AttentionUNet(width=2, depth=4)(torch.zeros(1, 3, 100, 64))


@pytest.mark.parametrize(("width", "depth"), [(0, 4), (16, 0)])
def test_a_network_without_channels_or_levels_is_refused(width: int, depth: int) -> None:
    with pytest.raises(ValueError, match="both must be at least 1"):
        AttentionUNet(width, depth)


def test_a_gate_weighs_every_channel_of_a_pixel_by_the_same_number_between_0_and_1() -> None:
    gate = AttentionGate(n_skip=6, n_gating=12, n_hidden=3)
    skip = torch.rand(1, 6, 8, 8) + 0.1
    weights = gate(skip, torch.randn(1, 12, 4, 4)) / skip
    assert torch.allclose(weights, weights[:, :1].expand_as(weights), atol=1e-5)
    assert weights.min() > 0
    assert weights.max() < 1


def test_every_parameter_gets_a_gradient() -> None:
    network = AttentionUNet(width=2, depth=2)
    network(torch.randn(2, 3, 16, 16)).square().mean().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []
