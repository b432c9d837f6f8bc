"""Training crops: cut, turned, scaled; a crack moved onto another surface; light, sharpness and noise changed.

What is changed is what differs between cameras, days and surfaces, and does not change what is crack in the crop.
"""

import functools
import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from model.params import AugmentationParams

BLUR_SIGMA_PX = 0.5, 3.0
HAIRLINE_COVERAGE = 0.3  # the share of a pixel from which a warped hairline counts: keeps it whole, a third wider
MARGIN_PX = 8  # around the part that a crop is made of: what its blurs reach


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
    inside, beyond, matrix = _region(mask_hw.shape, matrix, crop_px)
    image_hwc_u8, mask_hw_u8 = image_hwc_u8[inside], mask_hw[inside].astype(np.uint8) * 255

    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 1:  # what becomes finer than a pixel is averaged, as in a camera further away
        image_hwc_u8 = np.asarray(cv2.GaussianBlur(image_hwc_u8, (0, 0), 0.5 * np.sqrt(scale**-2 - 1)), np.uint8)

    def warped(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        mirrored = cv2.copyMakeBorder(planes, *beyond, borderType=cv2.BORDER_REFLECT_101)
        return np.asarray(cv2.warpAffine(mirrored, matrix, (crop_px, crop_px), flags=interpolation), np.uint8)

    image_and_mask = np.asarray(cv2.cvtColor(image_hwc_u8, cv2.COLOR_RGB2RGBA), np.uint8)
    image_and_mask[..., 3] = mask_hw_u8
    crop = warped(image_and_mask)  # four planes take half the time of three
    truth = crop[..., 3] > 127
    if not is_exact and mask_hw_u8.any():
        truth |= _warped_hairlines(mask_hw_u8, scale, warped)
    return np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGBA2RGB), np.uint8), truth


def _region(
    size_hw: tuple[int, ...], matrix: NDArray[np.float64], crop_px: int
) -> tuple[tuple[slice, slice], tuple[int, int, int, int], NDArray[np.float64]]:
    """The part of a photograph that a crop is made of, how far it goes on beyond the photograph's edges (top, bottom, left,
    right), and the matrix from there to the crop.
    """
    corners = np.array([[0, crop_px - 1, 0, crop_px - 1], [0, 0, crop_px - 1, crop_px - 1]])
    columns, rows = np.linalg.solve(matrix[:, :2], corners - matrix[:, 2:])
    (top, bottom), (left, right) = (
        (int(np.floor(at.min())) - MARGIN_PX, int(np.ceil(at.max())) + 1 + MARGIN_PX) for at in (rows, columns)
    )
    height, width = size_hw
    inside = slice(max(0, top), min(height, bottom)), slice(max(0, left), min(width, right))
    beyond = max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width)
    return inside, beyond, np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ (left, top)])


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
        grey_hw = cv2.transform(image_hwc_u8, np.full((1, 3), 1 / 3))
        image_hwc_u8 = np.asarray(cv2.merge([grey_hw] * 3), np.uint8)
    curves = 255 * _tone_curves(sum(cv2.mean(image_hwc_u8)) / 3 / 255, params.tone, rng)
    shadow_hw = _shadow(rng, image_hwc_u8.shape[:2]) if rng.random() < params.shadow_ratio else None
    is_noisy = rng.random() < params.noise_ratio
    if shadow_hw is None and not is_noisy:
        return np.asarray(cv2.LUT(image_hwc_u8, np.rint(curves).astype(np.uint8)), np.uint8)
    image = np.asarray(cv2.LUT(image_hwc_u8, curves), np.float32)
    if shadow_hw is not None:
        image *= shadow_hw[:, :, None]
    noise = _noise(rng, image.shape, 255 * rng.uniform(0.01, 0.05)) if is_noisy else np.zeros_like(image)
    return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)  # rounds, and keeps to 0..255


def _noise(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> NDArray[np.float32]:
    """Normal noise from any place in a store of it: drawn anew, it took a third of a crop's time."""
    stored = _stored_noise()
    size = math.prod(shape)
    start = int(rng.integers(max(1, len(stored) - size)))
    return np.resize(stored[start : start + size], shape) * np.float32(deviation)


@functools.cache
def _stored_noise() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(2**21, np.float32)


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
