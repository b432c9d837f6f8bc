"""The Attention U-Net of Oktay et al. (2018), https://arxiv.org/abs/1804.03999, for one class: crack.

A U-Net whose skip connections pass through additive attention gates: before an encoder's features are joined to the decoder's,
each of their pixels is weighted by how much the coarser, decoded features ask for it. The network ends in logits; the
sigmoid, the threshold, tiles and sizes are the business of those who call it.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_TIMES_WIDTH = 8


class ConvBlock(nn.Sequential):
    """Two 3x3 convolutions, each followed by batch normalisation and ReLU.

    The first sees 3x3 blocks of `block_px` a side; height and width shrink by that.
    """

    def __init__(self, n_in: int, n_out: int, block_px: int = 1) -> None:
        super().__init__(
            nn.Conv2d(n_in, n_out, kernel_size=3 * block_px, stride=block_px, padding=block_px, bias=False),
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

    def __init__(self, n_coarse: int, n_fine: int) -> None:
        super().__init__()
        self.gate = AttentionGate(n_skip=n_fine, n_gating=n_coarse, n_hidden=max(n_fine // 2, 1))
        self.upsample = nn.ConvTranspose2d(n_coarse, n_fine, kernel_size=2, stride=2)
        self.block = ConvBlock(2 * n_fine, n_fine)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        gated = self.gate(skip, coarse)  # N, fine, H, W
        upsampled = self.upsample(coarse)  # N, fine, H, W
        decoded: Tensor = self.block(torch.cat([gated, upsampled], dim=1))  # N, fine, H, W
        return decoded


class AttentionUNet(nn.Module):
    """Crack logits for RGB photographs.

    It works at half the photograph's resolution: the first convolution sees 6x6 pixels and strides by two, the head gives each
    2x2 pixels their logits. That is a 3x3 convolution over blocks of pixels and the sub-pixel convolution of Shi et al. (2016,
    https://arxiv.org/abs/1609.05158), and for the same time allows more than twice the channels.

    Args:
        width: channels at half resolution; each halving doubles them, up to `MOST_TIMES_WIDTH` times.
        depth: number of further halvings. Height and width of the input must be multiples of `stride` = 2**(depth + 1).
    """

    def __init__(self, width: int = 24, depth: int = 4) -> None:
        super().__init__()
        if width < 1 or depth < 1:
            raise ValueError(f"width={width!r}, depth={depth!r}: both must be at least 1.")
        self.size = (width, depth)
        self.stride = 2 ** (depth + 1)
        channels = [width * min(2**level, MOST_TIMES_WIDTH) for level in range(depth + 1)]
        stem = ConvBlock(3, width, block_px=2)
        self.encoder = nn.ModuleList([stem, *(ConvBlock(n_in, n_out) for n_in, n_out in itertools.pairwise(channels))])
        self.decoder = nn.ModuleList(
            DecoderStep(n_coarse, n_fine) for n_coarse, n_fine in itertools.pairwise(reversed(channels))
        )
        self.head = nn.ConvTranspose2d(width, 1, kernel_size=2, stride=2)

    def forward(self, batch_nchw: Tensor) -> Tensor:
        """Logits, float, N, 1, H, W, for a normalised float batch N, 3, H, W.

        Raises:
            ValueError: height or width is no multiple of `stride`.
        """
        self._check_size(batch_nchw)
        skips: list[Tensor] = []
        features = batch_nchw
        for level, block in enumerate(self.encoder):
            if level > 0:
                features = functional.max_pool2d(features, kernel_size=2)
            features = block(features)  # N, channels[level], H / 2**(level + 1), W / 2**(level + 1)
            skips.append(features)
        skips.pop()  # the coarsest features are what the decoder starts from, not a skip
        for step in self.decoder:
            features = step(features, skips.pop())  # N, channels[level - 1], 2 * height, 2 * width
        logits: Tensor = self.head(features)  # N, 1, H, W
        return logits

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
