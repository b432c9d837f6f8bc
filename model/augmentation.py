"""Training crops: cut, turned, scaled; a crack moved onto another surface; light, sharpness and noise changed.

What is changed is what differs between cameras, days and surfaces, and does not change what is crack in the crop.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from model.params import AugmentationParams

BLUR_SIGMA_PX = 0.5, 3.0
HAIRLINE_COVERAGE = 0.3  # the share of a pixel from which a warped hairline counts: keeps it whole, a third wider


def cut(
    image_hwc_u8: NDArray[np.uint8],
    mask_hw: NDArray[np.bool_],
    crop_px: int,
    centre: tuple[float, float],
    params: AugmentationParams,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A crop of `crop_px` per side around the pixel `centre` (row, column), and its mask.

    The pixel is in the crop, but for corners of the photograph that a turn by some odd angle leaves out.
    Equal arguments, the generator's state among them, give equal crops. Past the photograph's edge it is mirrored.
    """
    matrix, is_exact = _warp(rng, image_hwc_u8.shape[:2], centre, crop_px, params)
    interpolation = cv2.INTER_NEAREST if is_exact else cv2.INTER_LINEAR

    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 1:  # what becomes finer than a pixel is averaged, as in a camera further away
        image_hwc_u8 = np.asarray(cv2.GaussianBlur(image_hwc_u8, (0, 0), 0.5 * np.sqrt(scale**-2 - 1)), np.uint8)

    def warped(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        crop = cv2.warpAffine(plane, matrix, (crop_px, crop_px), flags=interpolation, borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(crop, np.uint8)

    mask_u8 = mask_hw.astype(np.uint8) * 255
    truth = warped(mask_u8) > 127
    if not is_exact:
        truth |= _warped_hairlines(mask_u8, scale, warped)
    return warped(image_hwc_u8), truth


def _warped_hairlines(
    mask_u8: NDArray[np.uint8], scale: float, warped: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> NDArray[np.bool_]:
    """The parts of the mask narrower than 3 px, unbroken: cut at half coverage, a turned hairline is a row of dashes."""
    hairlines = mask_u8 & ~np.asarray(cv2.morphologyEx(mask_u8, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)
    sampled = warped(np.asarray(cv2.GaussianBlur(hairlines, (0, 0), 0.35 / scale), np.uint8))
    return sampled > HAIRLINE_COVERAGE * min(1, scale) * 255


def _warp(
    rng: np.random.Generator,
    size_hw: tuple[int, int],
    centre: tuple[float, float],
    crop_px: int,
    params: AugmentationParams,
) -> tuple[NDArray[np.float64], bool]:
    """The 2x3 matrix from photograph to crop, and whether it maps pixels onto pixels."""
    is_exact = bool(rng.random() >= params.warp_ratio)
    if is_exact:
        angle, scale = float(rng.integers(4)) * np.pi / 2, 1.0
    else:
        angle, scale = rng.uniform(-np.pi, np.pi), float(np.exp(rng.uniform(*np.log(params.scale_range))))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    linear = np.array([[cos * mirror, -sin], [sin * mirror, cos]])
    # The wanted pixel lands anywhere in the crop's inner half, and the crop stays inside the photograph where it can.
    crop_middle = (crop_px - 1) / 2  # coordinates are those of pixels' centres, 0 to side - 1
    reach = crop_middle / scale
    row, column = (
        np.clip(at + rng.uniform(-0.5, 0.5) * reach, min(reach, (side - 1) / 2), max(side - 1 - reach, (side - 1) / 2))
        for at, side in zip(centre, size_hw, strict=True)
    )
    middle = np.array([column, row])
    if is_exact:  # the middle of an even crop lies between pixels, in the photograph too
        linear = np.rint(linear)
        middle = np.rint(middle - crop_middle % 1) + crop_middle % 1
    return np.column_stack([linear, crop_middle - linear @ middle]), is_exact


def transplant(
    crack_hwc_u8: NDArray[np.uint8], mask_hw: NDArray[np.bool_], surface_hwc_u8: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """The surface with the other crop's crack in it: a crack pixel darkens it as much as it is darker than what is around it.

    A network that sees a wall, its joints and stains only ever without a crack learns the wall instead of the joints.

    Args:
        crack_hwc_u8, mask_hw: a crop and its crack.
        surface_hwc_u8: a crop of the same size.
    """
    crack = crack_hwc_u8.astype(np.float32) + 1
    beside = 1 - np.asarray(cv2.dilate(mask_hw.astype(np.uint8), np.ones((9, 9), np.uint8)), np.float32)
    around = _smooth(crack * beside[..., None]) / np.maximum(_smooth(beside), 1e-3)[..., None]
    around = np.where(around > 1, around, crack)  # no background within reach: inside a very wide crack
    darkening = np.clip(crack / around, 0, 2) - 1
    edge = cv2.GaussianBlur(cv2.dilate(mask_hw.astype(np.float32), np.ones((3, 3), np.uint8)), (0, 0), 0.8)
    return np.asarray(np.rint(np.clip(surface_hwc_u8 * (1 + edge[..., None] * darkening), 0, 255)), np.uint8)


def _smooth(plane: NDArray[np.float32], factor: int = 8) -> NDArray[np.float32]:
    """Blurred over some 30 px, computed on a coarser grid."""
    size_wh = plane.shape[1], plane.shape[0]
    coarse = cv2.resize(plane, (size_wh[0] // factor, size_wh[1] // factor), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(cv2.GaussianBlur(coarse, (0, 0), 2.5), size_wh), np.float32)


def change_look(image_hwc_u8: NDArray[np.uint8], params: AugmentationParams, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The crop in other light and colours, out of focus, in shadow, noisy: each by its share in `params`."""
    if rng.random() < params.blur_ratio:
        sigma_px = float(np.exp(rng.uniform(*np.log(BLUR_SIGMA_PX))))
        image_hwc_u8 = np.asarray(cv2.GaussianBlur(image_hwc_u8, (0, 0), sigma_px), np.uint8)
    if rng.random() < params.negative_ratio:
        image_hwc_u8 = 255 - image_hwc_u8
    if rng.random() < params.grey_ratio:
        grey_hw = np.rint(image_hwc_u8.mean(axis=2)).astype(np.uint8)
        image_hwc_u8 = np.repeat(grey_hw[:, :, None], 3, axis=2)
    curves = _tone_curves(float(image_hwc_u8.mean()) / 255, params.tone, rng)
    shadow_hw = _shadow(rng, image_hwc_u8.shape[:2]) if rng.random() < params.shadow_ratio else None
    is_noisy = rng.random() < params.noise_ratio
    if shadow_hw is None and not is_noisy:
        return np.asarray(cv2.LUT(image_hwc_u8, np.rint(curves * 255).astype(np.uint8)), np.uint8)
    image = np.asarray(cv2.LUT(image_hwc_u8, curves), np.float32)
    if shadow_hw is not None:
        image *= shadow_hw[:, :, None]
    if is_noisy:
        image += rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0.01, 0.05))
    return np.asarray(np.rint(np.clip(image, 0, 1) * 255), np.uint8)


def _tone_curves(mean: float, tone: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """What each of the 256 values of R, G and B becomes in other light, float32 (256, 1, 3) in 0..1: once for each value, as a
    power for each pixel took half the time of a crop.
    """
    contrast, gamma = np.exp(rng.uniform(-tone, tone, 2))
    brightness = rng.uniform(-tone, tone) * 0.6
    colour = np.exp(rng.normal(0, tone / 5, 3))
    values = np.arange(256)[:, None, None] / 255
    curves = np.clip(((values - mean) * contrast + mean + brightness) * colour, 0, 1) ** gamma
    return np.asarray(curves, np.float32)


def _shadow(rng: np.random.Generator, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Light that falls from 1 to between 0.3 and 0.8 across a straight edge, sharp or soft, (height, width)."""
    height, width = size_hw
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.ogrid[:height, :width]
    distance = (rows - rng.uniform(0, height)) * np.sin(angle) + (columns - rng.uniform(0, width)) * np.cos(angle)
    darkness = np.clip(distance / rng.uniform(1, 60) + 0.5, 0, 1)
    return np.asarray(1 - darkness * rng.uniform(0.2, 0.7), np.float32)
