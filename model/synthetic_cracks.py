"""The cracks of synthetic surfaces: where they run, which share of each pixel they cover, how they look in a wall.

Paths break like rock rather than bend like worms; widths taper; edges are ragged by the material. Lengths are in pixels.
Cracks are planned on the flat wall; their edges are projected point by point, so that the mask is exact in perspective too.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from model.synthetic_view import to_flat, to_picture
from model.synthetic_wall import Float, Rng, Wall, blur, fractal, noise, ramp

N_SUBPIXELS = 4  # per side of a pixel: a crack's coverage is counted in sixteenths
MIN_VISIBLE_PX = 6

Strand = tuple[Float, float, tuple[float, float]]  # path_xy, width, ratio of the width left at either end


def fracture(rng: Rng, corners_xy: Float, roughness: float) -> Float:
    """Split every leg at its displaced middle until legs are about 2 px long.

    Finer legs bend relatively more, and bends are heavy-tailed: mostly straight runs with sudden kinks, as
    cracks have, where normally distributed bends give smooth worms.
    """
    path_xy = np.asarray(corners_xy, np.float32)
    while (leg_px := np.hypot(*np.diff(path_xy, axis=0).T)).mean() > 2.5:
        leg_xy, n = np.diff(path_xy, axis=0), len(leg_px)
        bend = roughness * (leg_px / 200 + 1e-3) ** -0.15 * rng.laplace(0, 0.7, n).clip(-2.2, 2.2)
        side_xy = leg_xy[:, ::-1] * (-1, 1) * bend[:, None]
        middle_xy = path_xy[:-1] + leg_xy * rng.uniform(0.4, 0.6, (n, 1)) + side_xy
        path_xy = np.insert(path_xy, np.arange(1, n + 1), middle_xy.astype(np.float32), axis=0)
    return path_xy


def _plan_strands(rng: Rng, wall: Wall, roughness: float) -> list[Strand]:
    """On the flat wall: one or two cracks across it with branches; or a net; or stairs along mortar joints."""
    size_xy, side = np.array(wall.flat_hw[::-1]), min(wall.flat_hw)
    picture_xy = np.array(wall.size_hw[::-1])
    widest_px = float(np.clip(np.exp(rng.normal(1.05, 0.6)), 1, np.clip(side / 10, 1, 12)))
    if wall.block_hw and size_xy[0] > 2.5 * wall.block_hw[1] and rng.random() < 0.7:
        return [(fracture(rng, _plan_stairs(rng, wall, wall.block_hw), 0.05), widest_px, (1, 1))]
    if side >= 96 and not wall.block_hw and rng.random() < 0.15:
        return _plan_net(rng, wall, widest_px, roughness)
    strands: list[Strand] = []
    for _ in range(1 + (rng.random() < 0.2)):
        middle_xy, way_xy = to_flat(wall, picture_xy * rng.uniform(0.3, 0.7, 2)), direction(rng.uniform(0, np.pi))
        reach_px = np.array([[-rng.uniform(0.35, 0.9)], [0], [rng.uniform(0.35, 0.9)]]) * np.hypot(*size_xy)
        path_xy = fracture(rng, middle_xy + reach_px * way_xy, roughness)
        seen_xy = to_picture(wall, path_xy)
        inside = np.flatnonzero(((seen_xy > 0) & (seen_xy < picture_xy)).all(axis=1))
        start, end = (0.1 if i in (0, len(path_xy) - 1) else 1.0 for i in inside[[0, -1]])  # thin if it ends
        strands.append((path_xy[max(inside[0] - 5, 0) : inside[-1] + 5], widest_px, (start, end)))
    for parent_xy, parent_px, _ends in list(strands):
        for i in rng.integers(1, len(parent_xy) - 1, rng.poisson(1.5)).tolist():
            ahead_xy = parent_xy[i + 1 :][:15][-1] - parent_xy[:i][-15:][0]
            angle = np.arctan2(ahead_xy[1], ahead_xy[0]) + rng.choice([-1, 1]) * rng.uniform(0.5, 1.5)
            tip_xy = parent_xy[i] + rng.uniform(0.15, 0.6) * side * direction(angle)
            branch_xy = fracture(rng, np.array([parent_xy[i], tip_xy]), roughness)
            strands.append((branch_xy, max(0.9, parent_px * rng.uniform(0.3, 0.7)), (1, 0.1)))
    return strands


def direction(angle: float) -> Float:
    return np.array([np.cos(angle), np.sin(angle)])


def _plan_stairs(rng: Rng, wall: Wall, block_hw: tuple[float, float]) -> Float:
    """Corners of a crack that steps along the joints, half a block aside with each course."""
    course_px, half_block_px = block_hw[0], block_hw[1] / 2
    sides = rng.choice([-1, 1], int(wall.flat_hw[0] / course_px) + 2, p=[0.15, 0.85]) * rng.choice([-1, 1])
    column = np.cumsum(sides)
    middle_x = to_flat(wall, np.array(wall.size_hw[::-1]) * (rng.uniform(0.45, 0.55), 0.5))[0]
    column += 1 + 2 * round((middle_x / half_block_px - column.mean()) / 2)
    corner_y = np.arange(len(column) + 1).repeat(2)[1:-1] * course_px
    return np.stack([column.repeat(2) * half_block_px, corner_y], -1)


def _plan_net(rng: Rng, wall: Wall, widest_px: float, roughness: float) -> list[Strand]:
    """Alligator cracking: a shaken and turned honeycomb, where three cracks meet, with missing edges."""
    cell_px, reach_px = rng.uniform(40, 80) * wall.zoom**0.5, 0.75 * max(wall.flat_hw)
    y, x = np.mgrid[-reach_px:reach_px:cell_px, -reach_px : reach_px : 0.75 * cell_px]
    turn = rng.uniform(0, np.pi)
    turned_xy = x[..., None] * direction(turn) + y[..., None] * direction(turn + np.pi / 2)
    node_xy = turned_xy + rng.normal(0, 0.2 * cell_px, turned_xy.shape) + np.array(wall.flat_hw[::-1]) / 2
    strands: list[Strand] = []
    for i, j in np.ndindex(len(y) - 1, len(x[0]) - 1):
        for end_xy in [node_xy[i, j + 1]] + [node_xy[i + 1, j]] * ((i + j) % 2):
            if rng.random() < 0.85:
                edge_px = float(np.clip(widest_px * rng.lognormal(-0.8, 0.35), 0.9, 3.5))
                edge_xy = fracture(rng, np.array([node_xy[i, j], end_xy]), roughness)
                strands.append((edge_xy, edge_px, (0.7, 0.7)))
    return strands


def trace_cracks(rng: Rng, wall: Wall) -> Float:
    """The share of each of the picture's pixels that cracks cover."""
    height, width = wall.size_hw
    roughness = rng.uniform(0.07, 0.14) * (1.2 if wall.material == "asphalt" else 1)
    ragged = {"asphalt": 0.55, "concrete": 0.4, "masonry": 0.45, "plaster": 0.3}[wall.material]
    fine_u8 = np.zeros((height * N_SUBPIXELS, width * N_SUBPIXELS), np.uint8)
    centre_u8 = np.zeros((height, width), np.uint8)
    for path_xy, width_px, (start, end) in _plan_strands(rng, wall, roughness):
        n = len(path_xy)
        taper = np.interp(np.linspace(0, 1, n), [0, 0.35, 0.65, 1], [start, 1, 1, end])
        half_px = np.maximum(0.5 * width_px * taper, 0.35)
        along_xy = np.gradient(path_xy, axis=0)
        normal_xy = along_xy[:, ::-1] * (-1, 1) / (np.hypot(*along_xy.T)[:, None] + 1e-6)
        edges = []
        for sign in (-1, 1):
            wobble = np.exp(ragged * fractal(rng, (1, n), 40, 1)[0].clip(-2, 2))
            edge_xy = to_picture(wall, path_xy + sign * normal_xy * (half_px * wobble)[:, None])
            # with 4 fractional bits; half a subpixel less because OpenCV counts from pixel centres
            edges.append(((edge_xy * N_SUBPIXELS - 0.5) * 16).round().astype(np.int32))
        for a, b, c, d in zip(edges[0], edges[0][1:], edges[1][1:], edges[1], strict=False):
            # one quadrilateral at a time: a single polygon has holes where it crosses itself
            cv2.fillConvexPoly(fine_u8, np.array([a, b, c, d]), 255, cv2.LINE_8, 4)
        cv2.polylines(centre_u8, [np.floor(to_picture(wall, path_xy)).astype(np.int32)], False, 255)
    coverage_hw = cv2.resize(fine_u8, (width, height), interpolation=cv2.INTER_AREA) / np.float32(255)
    coverage_hw = np.where(centre_u8 > 0, np.maximum(coverage_hw, np.float32(0.5)), coverage_hw)
    if wall.covered_hw.any():
        seen_hw = np.where(wall.covered_hw > 0, 0, coverage_hw)
        seen_hw = np.where(_find_slivers(seen_hw >= 0.5), 0, seen_hw)
        if (seen_hw >= 0.5).any():  # else, in a tiny picture, the crack goes through what would hide it all
            coverage_hw = seen_hw
    return np.asarray(coverage_hw, np.float32)


def _find_slivers(mask_hw: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Crumbs of a crack left over beside the edge of what hides it: nobody would mark them."""
    _, label_hw, stats, _ = cv2.connectedComponentsWithStats(mask_hw.astype(np.uint8), connectivity=8)
    return np.asarray((stats[:, cv2.CC_STAT_AREA] < MIN_VISIBLE_PX)[label_hw] & mask_hw)


def cut_cracks(rng: Rng, wall: Wall, coverage_hw: Float) -> None:
    size_hw = wall.size_hw
    halo_hw = blur(coverage_hw, 3.5) * ramp(noise(rng, size_hw, 25), -0.5, 1.5)
    wall.darken(rng.uniform(-0.2, 0.5) * halo_hw)  # dirt, or wear that bares lighter stone
    near_hw = blur(coverage_hw, 2) * (1 - coverage_hw)
    chipped_hw = ramp(near_hw + 0.08 * fractal(rng, size_hw, 10, 1.5), 0.32, 0.4) * (near_hw > 0.02)
    broken = wall.albedo_hwc * (rng.uniform(0.7, 1.15) + 0.1 * noise(rng, size_hw, 1.5))[..., None]
    wall.cover(0.7 * chipped_hw, broken)
    depth = rng.uniform(0.6, 0.95) if rng.random() < 0.7 else rng.uniform(0.25, 0.6)  # some are shallow, closed or washed out
    depth_hw = np.clip(depth + 0.12 * noise(rng, size_hw, 30), 0.2, 0.97)
    core_hw = ramp(blur(coverage_hw, 1.2), 0.1, 0.9)  # light reaches the bottom near an edge
    dark_hw = coverage_hw * depth_hw * (0.55 + 0.45 * core_hw)
    filling = rng.choice(["none", "in places", "whole"], p=[0.75, 0.13, 0.12])
    if filling != "none":  # sand, lime or sealant lighter than a dark surface, dirt on a light one: else nobody would see it
        filled_hw = 1.0 if filling == "whole" else ramp(fractal(rng, size_hw, 60, 2), 0.2, 1.2)
        dark_hw = dark_hw * (1 - 0.85 * filled_hw)
        tone = wall.albedo_hwc.mean(axis=(0, 1))
        contrast = rng.uniform(1.4, 1.8) if tone.mean() < 0.5 else rng.uniform(0.45, 0.75)
        wall.cover(rng.uniform(0.5, 0.9) * coverage_hw * filled_hw, np.minimum(contrast * tone * (1, 0.96, 0.85), 0.9))
    wall.darken(dark_hw)
    wall.relief_hw -= 0.8 * chipped_hw + rng.uniform(0.3, 1.2) * blur(coverage_hw, 0.8)
