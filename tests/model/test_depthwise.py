"""A depthwise convolution with gradients of its own: it computes what PyTorch's does."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from model.depthwise import Depthwise

SIZES = pytest.mark.parametrize(("kernel_px", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])


def both(kernel_px: int, stride: int, size_hw: tuple[int, int]) -> list[tuple[Tensor, Tensor]]:
    """Ours and PyTorch's: the values, the gradient of the input and that of the weights."""
    torch.manual_seed(0)
    n_channels, (height, width) = 6, size_hw
    padded = torch.randn(2, n_channels, height, width).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(n_channels, 1, kernel_px, kernel_px)
    found: list[list[Tensor]] = []
    for is_ours in (True, False):
        given = [padded.clone().requires_grad_(), weight.clone().requires_grad_()]
        values = Depthwise.apply(*given, stride) if is_ours else functional.conv2d(*given, stride=stride, groups=n_channels)
        values.backward(torch.randn(values.shape, generator=torch.Generator().manual_seed(1)).to(values.dtype))
        found.append([values.detach(), *(tensor.grad for tensor in given if tensor.grad is not None)])
    return list(zip(*found, strict=True))


@SIZES
@pytest.mark.parametrize("size_hw", [(19, 25), (18, 24), (5, 5)])
def test_values_and_both_gradients_are_pytorchs(kernel_px: int, stride: int, size_hw: tuple[int, int]) -> None:
    compared = both(kernel_px, stride, size_hw)
    assert len(compared) == 3
    for ours, expected in compared:
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@SIZES
def test_in_bfloat16_they_are_pytorchs_but_for_rounding(kernel_px: int, stride: int) -> None:
    exact = [expected for _, expected in both(kernel_px, stride, (19, 25))]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        compared = both(kernel_px, stride, (19, 25))
    assert compared[0][0].dtype == torch.bfloat16
    for (ours, theirs), expected in zip(compared, exact, strict=True):
        assert ours.dtype == theirs.dtype
        error, usual = ((found.float() - expected).abs().max() / expected.abs().max() for found in (ours, theirs))
        assert error < max(2 * usual, 2**-7)  # bfloat16 keeps 8 bits
