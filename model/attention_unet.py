"""The Attention U-Net of Oktay et al. (2018), https://arxiv.org/abs/1804.03999, for one class: crack.

A U-Net whose skip connections pass through additive attention gates: before the encoder's features are joined to the decoder's,
each of their pixels is weighted by how much the coarser, decoded features ask for it. The encoder is EfficientNet-Lite. The
network ends in logits; the sigmoid, the threshold, tiles and sizes are the business of those who call it.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.efficientnet_lite import EfficientNetLite
from model.params import NetworkParams


class ConvBlock(nn.Sequential):
    """Two 3x3 convolutions, each followed by batch normalisation and ReLU."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(
            nn.Conv2d(n_in, n_out, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(n_out, n_out, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
        )


class AttentionGate(nn.Module):
    """Additive attention (Oktay et al. 2018, eq. 1 and 2): alpha = sigmoid(psi(relu(W_x x + W_g g + b_g)) + b_psi)."""

    def __init__(self, n_skip: int, n_gating: int, n_hidden: int) -> None:
        super().__init__()
        # W_x strides by two, so that the sum is taken on the gating signal's coarser grid, as in the paper's figure 2.
        self.project_skip = nn.Conv2d(n_skip, n_hidden, kernel_size=2, stride=2, bias=False)
        self.project_gating = nn.Conv2d(n_gating, n_hidden, kernel_size=1)
        self.psi = nn.Conv2d(n_hidden, 1, kernel_size=1)

    def forward(self, skip: Tensor, gating: Tensor) -> Tensor:
        hidden = functional.relu(self.project_skip(skip) + self.project_gating(gating))  # N, hidden, H/2, W/2
        alpha = torch.sigmoid(self.psi(hidden))  # N, 1, H/2, W/2
        alpha = functional.interpolate(alpha, scale_factor=2.0, mode="bilinear", align_corners=False)  # N, 1, H, W
        return skip * alpha  # N, skip, H, W


class DecoderStep(nn.Module):
    """From one level to the next finer one: gate the skip, upsample what was decoded, join them, convolve."""

    def __init__(self, n_coarse: int, n_skip: int, n_out: int) -> None:
        super().__init__()
        self.gate = AttentionGate(n_skip, n_gating=n_coarse, n_hidden=max(n_skip // 2, 1))
        self.upsample = nn.ConvTranspose2d(n_coarse, n_out, kernel_size=2, stride=2)
        self.block = ConvBlock(n_skip + n_out, n_out)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        gated = self.gate(skip, coarse)  # N, skip, H, W
        upsampled = self.upsample(coarse)  # N, out, H, W
        decoded: Tensor = self.block(torch.cat([gated, upsampled], dim=1))  # N, out, H, W
        return decoded


class AttentionUNet(nn.Module):
    """Crack logits for RGB photographs.

    Its finest level is half the photograph's resolution; the head gives each 2x2 pixels their four logits (the sub-pixel
    convolution of Shi et al. 2016, https://arxiv.org/abs/1609.05158; as a transposed convolution it took a tenth of the time).

    Args:
        width, depth: of the encoder, how many times those of EfficientNet-Lite0.
        decoder: channels at 1/16, 1/8, 1/4 and 1/2 of the resolution.
    """

    stride = EfficientNetLite.STRIDE  # height and width of the input must be multiples of it

    def __init__(self, width: float = 1.0, depth: float = 1.0, decoder: Sequence[int] = (96, 64, 48, 32)) -> None:
        super().__init__()
        self.size = (width, depth, tuple(decoder))
        self.encoder = EfficientNetLite(width, depth)
        *skips, coarsest = self.encoder.channels
        if len(decoder) != len(skips) or min(decoder) < 1:
            raise ValueError(f"decoder={tuple(decoder)}: expected {len(skips)} numbers of channels, each at least 1.")
        sizes = itertools.pairwise((coarsest, *decoder))
        self.decoder = nn.ModuleList(
            DecoderStep(n_coarse, n_skip, n_out) for (n_coarse, n_out), n_skip in zip(sizes, reversed(skips), strict=True)
        )
        self.head = nn.Conv2d(decoder[-1], 4, kernel_size=1)

    def forward(self, batch_nchw: Tensor) -> Tensor:
        """Logits, float, N, 1, H, W, for a normalised float batch N, 3, H, W.

        Raises:
            ValueError: height or width is no multiple of `stride`.
        """
        self._check_size(batch_nchw)
        *skips, features = self.encoder(batch_nchw)
        for step in self.decoder:
            features = step(features, skips.pop())  # N, decoder[i], 2 * height, 2 * width
        logits_of_blocks: Tensor = self.head(features)  # N, 4, H/2, W/2
        return functional.pixel_shuffle(logits_of_blocks, 2)  # N, 1, H, W

    def _check_size(self, batch_nchw: Tensor) -> None:
        height, width = batch_nchw.shape[-2:]
        if torch.compiler.is_exporting():  # sizes are symbols then; the inference core pads to the stride
            return
        if height % self.stride or width % self.stride:
            fitting = tuple(-(-side // self.stride) * self.stride for side in (height, width))
            raise ValueError(
                f"Expected height and width to be multiples of {self.stride}, but got {height}x{width}. "
                f"Pad to {fitting[0]}x{fitting[1]}."
            )


def network_of(params: NetworkParams) -> AttentionUNet:
    """A new network of this size."""
    return AttentionUNet(params.width, params.depth, params.decoder)
