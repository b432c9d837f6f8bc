"""What looks like a crack on a synthetic wall but is none: joints, paint, kerbs, cables, wet borders, verges ...

Never a part of the mask. Each function draws one kind on the flat wall; `add_look_alikes` chooses among those that the
material can have. Shadows of railings, poles and twigs come with the light, in `model.synthetic`. Lengths are in pixels.
"""

import cv2
import numpy as np

from model.synthetic_wall import Float, Rng, Size, Wall, blur, fractal, noise, ramp

BRIGHT_PAINT = (0.86, 0.86, 0.84)
YELLOW_PAINT = (0.83, 0.66, 0.24)
GRASS_TONES = [(0.19, 0.25, 0.12), (0.25, 0.28, 0.15), (0.38, 0.35, 0.23)]  # lush, common, dry


def add_look_alikes(rng: Rng, wall: Wall) -> None:
    """In the order in which they come about: cast with the wall, laid, painted, grown, wetted, mounted."""
    material = wall.material
    is_asphalt, is_concrete, is_masonry = (material == name for name in ("asphalt", "concrete", "masonry"))
    if is_concrete:
        pierce_pores(rng, wall)
        if rng.random() < 0.5:
            mark_formwork(rng, wall)
        if rng.random() < 0.2:
            drill_tie_holes(rng, wall)
    if not is_masonry and rng.random() < 0.2:  # construction joint
        line_hw, _ = _line_frame(rng, wall.size_hw, bool(rng.random() < 0.5), rng.uniform(0.1, 0.9))
        _cut_groove(rng, wall, line_hw, rng.uniform(2, 9), rng.uniform(0.35, 0.85))
    if rng.random() < (0.25 if is_concrete else 0.08):
        fill_expansion_joints(rng, wall)
    if rng.random() < (0.3 if is_asphalt else 0.15 if is_concrete else 0):
        seal_joints(rng, wall)
    if is_asphalt and rng.random() < 0.15:
        lay_patch(rng, wall)
    if rng.random() < (0.35 if is_asphalt else 0.12 if is_concrete else 0):
        paint_lanes(rng, wall)
    if not (is_asphalt or is_masonry) and rng.random() < 0.15:
        paint_base(rng, wall)
    if not is_asphalt and rng.random() < 0.35:
        run_streaks(rng, wall)
    if rng.random() < 0.25:
        soil(rng, wall)
    if rng.random() < (0.25 if is_asphalt else 0.08):
        lay_kerb(rng, wall)
    elif rng.random() < 0.1:
        grow_verge(rng, wall)
    if rng.random() < 0.2:
        wet(rng, wall)
    if rng.random() < 0.2:
        mount_objects(rng, wall)
    if rng.random() < (0.08 if is_asphalt else 0.2):
        hang_cables(rng, wall)


# --- lines


def _line_frame(rng: Rng, size_hw: Size, is_upright: bool, at: float) -> tuple[Float, Float]:
    """Signed distance to a nearly upright or level line at a ratio of the picture's side, and the place along it, in px."""
    y, x = np.arange(size_hw[0], dtype=np.float32)[:, None], np.arange(size_hw[1], dtype=np.float32)
    across, along, side = (x, y, size_hw[1]) if is_upright else (y, x, size_hw[0])
    tilt = np.float32(rng.normal(0, 0.025))
    return across + tilt * along - np.float32(at * side), along - tilt * across


def _noise_along(rng: Rng, along_hw: Float, coarse_px: float, fine_px: float) -> Float:
    """Noise that changes along a line and is equal across it."""
    start_px = float(along_hw.min())
    values = fractal(rng, (1, int(along_hw.max() - start_px) + 2), coarse_px, fine_px)[0]
    return np.asarray(values[(along_hw - start_px).astype(np.intp)])


def _cut_groove(rng: Rng, wall: Wall, distance_hw: Float, width_px: float, depth: float) -> None:
    chips_hw = rng.uniform(0.2, 1.8) * ramp(fractal(rng, wall.size_hw, 24, 1.5), 0.3, 2.5)
    half_px = width_px / 2 * (1 + 0.12 * fractal(rng, wall.size_hw, 50, 6))
    groove_hw = ramp(half_px + chips_hw - np.abs(distance_hw), -0.6, 0.6)
    filled_hw = ramp(fractal(rng, wall.size_hw, 60, 3), 0.2, 2.2)  # dirt and paste have filled it in places
    wall.darken(depth * groove_hw * (1 - 0.75 * filled_hw))
    wall.darken(0.2 * depth * ramp(5 * noise(rng, wall.size_hw, 15) - np.abs(distance_hw), -14, 0))
    wall.darken(rng.normal(0, 0.03) * (distance_hw > 0))  # two casts differ in tone
    wall.relief_hw -= 2.5 * depth * blur(groove_hw, 0.6)


def _hide(wall: Wall, shape_hw: Float, flatness: float) -> None:
    """Something lies on the wall: no crack shows there, and the relief below is evened out."""
    wall.relief_hw *= 1 - flatness * shape_hw
    wall.covered_hw = np.maximum(wall.covered_hw, shape_hw)


# --- cast or cut


def pierce_pores(rng: Rng, wall: Wall) -> None:
    """Air bubbles: many small, few large."""
    n = int(wall.size_hw[0] * wall.size_hw[1] * rng.choice([5e-5, 3e-4, 8e-4]))
    radius_px = np.minimum(0.5 * wall.zoom * (1 + rng.pareto(2.5, n)), 3 * wall.zoom)
    pore_u8 = np.zeros(wall.size_hw, np.uint8)
    xy = rng.uniform(0, 1, (n, 2)) * wall.size_hw[::-1]
    for centre, radius in zip((xy * 16).round().astype(int).tolist(), radius_px * 16, strict=True):
        axes, tone = (round(radius), round(radius * rng.uniform(0.6, 1))), int(rng.integers(90, 256))
        cv2.ellipse(pore_u8, centre, axes, rng.uniform(0, 180), 0, 360, tone, -1, cv2.LINE_AA, 4)
    pore_hw = pore_u8 / np.float32(255)
    wall.darken(rng.uniform(0.35, 0.8) * pore_hw * ramp(noise(rng, wall.size_hw, 3), -4, 0))
    wall.relief_hw -= 2.5 * blur(pore_hw, 0.6)


def mark_formwork(rng: Rng, wall: Wall) -> None:
    """Board lines at one spacing, faint ridges or open, dark seams; now and then panels, with lines both ways."""
    is_upright, is_open, is_panelled = bool(rng.random() < 0.6), rng.random() < 0.5, rng.random() < 0.3
    for turned in (False, True) if is_panelled else (False,):
        spacing = float(rng.uniform(0.4, 0.8) if is_panelled else rng.uniform(0.25, 0.6))
        for at in np.arange(rng.uniform(0, spacing), 1, spacing):
            line_hw, _ = _line_frame(rng, wall.size_hw, is_upright != turned, at)
            width_px, depth = (
                (rng.uniform(1, 6), rng.uniform(0.5, 0.95)) if is_open else (rng.uniform(0.8, 2), rng.uniform(0.1, 0.5))
            )
            _cut_groove(rng, wall, line_hw, width_px, depth)


def drill_tie_holes(rng: Rng, wall: Wall) -> None:
    """Where the formwork was tied: a grid of round holes, open and dark or plugged with mortar, some with a drip below."""
    pitch_px = min(wall.size_hw) * rng.uniform(0.35, 0.7)
    radius_px, is_plugged = float(rng.uniform(2.5, 5.5)) * wall.zoom, rng.random() < 0.4
    hole_u8, drip_u8 = np.zeros(wall.size_hw, np.uint8), np.zeros(wall.size_hw, np.uint8)
    for y in np.arange(rng.uniform(0, pitch_px), wall.size_hw[0], pitch_px):
        for x in np.arange(rng.uniform(0, 0.2 * pitch_px) + radius_px, wall.size_hw[1], pitch_px):
            centre = round(x * 16), round(y * 16)
            cv2.circle(hole_u8, centre, round(radius_px * 16), 255, -1, cv2.LINE_AA, 4)
            if rng.random() < 0.4:
                low = round(x * 16), round((y + pitch_px * rng.uniform(0.2, 0.8)) * 16)
                cv2.line(drip_u8, centre, low, 255, max(1, int(radius_px)), cv2.LINE_AA, 4)
    hole_hw, drip_hw = (canvas / np.float32(255) for canvas in (hole_u8, drip_u8))
    wall.darken(rng.uniform(0.05, 0.3) * blur(drip_hw, 0.5 * radius_px))
    rim_hw = blur(hole_hw, 0.25 * radius_px)
    if is_plugged:
        wall.cover(0.8 * hole_hw, wall.albedo_hwc.mean(axis=(0, 1)) * rng.uniform(0.75, 1.25))
        wall.darken(rng.uniform(0.5, 1.5) * rim_hw * (1 - rim_hw))  # dark where the plug meets the wall
        wall.relief_hw -= 0.8 * rim_hw
    else:
        wall.darken(rng.uniform(0.6, 0.9) * hole_hw * (0.7 + 0.3 * rim_hw))
        wall.relief_hw -= 3 * rim_hw


# --- laid


def fill_expansion_joints(rng: Rng, wall: Wall) -> None:
    """Straight bands of sealant between plates, at times crossing; it has come loose along an edge."""
    width_px, tone = float(rng.uniform(3, 9)) * wall.zoom**0.5, rng.choice([rng.uniform(0.06, 0.2), rng.uniform(0.25, 0.6)])
    is_upright = bool(rng.random() < 0.5)
    for turned in (False, True) if rng.random() < 0.35 else (False,):
        line_hw, along_hw = _line_frame(rng, wall.size_hw, is_upright != turned, rng.uniform(0.1, 0.9))
        band_hw = ramp(width_px / 2 - np.abs(line_hw) + 0.3 * noise(rng, wall.size_hw, 4), -0.6, 0.6)
        wall.cover(band_hw, tone * (1 + 0.1 * fractal(rng, wall.size_hw, 30, 2)[..., None]))
        _hide(wall, band_hw, 0.8)
        for edge_px in (-width_px / 2, width_px / 2):
            gap_px = rng.uniform(0.3, 1.2) + 0.6 * _noise_along(rng, along_hw, 80, 3)
            wall.darken(rng.uniform(0.3, 0.8) * ramp(gap_px - np.abs(line_hw - edge_px), -0.6, 0.6))
        wall.relief_hw -= rng.uniform(0.3, 1.5) * blur(band_hw, 0.7)


def seal_joints(rng: Rng, wall: Wall) -> None:
    """Bands of bitumen over old joints and cracks: dark, straight or winding, smooth-edged and as wide all along."""
    half_px, tone = float(rng.uniform(2, 5.5)) * wall.zoom**0.5, rng.uniform(0.05, 0.17)
    winding_px = float(rng.choice([0, rng.uniform(4, 20)]))
    is_upright, alpha = bool(rng.random() < 0.5), rng.uniform(0.75, 1)
    for _ in range(int(rng.integers(1, 4))):
        is_turned = rng.random() < 0.3
        line_hw, along_hw = _line_frame(rng, wall.size_hw, is_upright != is_turned, rng.uniform(0, 1))
        line_hw = line_hw + winding_px * _noise_along(rng, along_hw, 250, 60)
        width_hw = half_px * (1 + 0.15 * _noise_along(rng, along_hw, 60, 6)) + 0.3 * noise(rng, wall.size_hw, 5)
        band_hw = ramp(width_hw - np.abs(line_hw), -0.7, 0.7)
        wall.cover(alpha * band_hw, tone * np.array([1, 1, 1.04]))
        _hide(wall, band_hw, 0.75)
        wall.relief_hw += 0.8 * blur(band_hw, 0.3 * half_px)


def lay_patch(rng: Rng, wall: Wall) -> None:
    """A trench that was closed again: asphalt of another tone and grain, its straight edges sealed or open."""
    side = min(wall.size_hw)
    middle_xy, turn = rng.uniform(0, 1, 2) * wall.size_hw[::-1], float(rng.choice([0, 90]) + rng.normal(0, 4))
    corners_xy = cv2.boxPoints((middle_xy.tolist(), (side * rng.uniform(0.25, 0.6), side * rng.uniform(0.5, 2.5)), turn))
    shape_u8, rim_u8 = np.zeros(wall.size_hw, np.uint8), np.zeros(wall.size_hw, np.uint8)
    points = (corners_xy * 16).round().astype(np.int32)
    cv2.fillConvexPoly(shape_u8, points, 255, cv2.LINE_AA, 4)
    cv2.polylines(rim_u8, [points], True, 255, int(rng.integers(1, 9)), cv2.LINE_AA, 4)
    shape_hw, rim_hw = (canvas / np.float32(255) for canvas in (shape_u8, rim_u8))
    wall.albedo_hwc *= 1 + shape_hw[..., None] * np.float32(rng.choice([rng.uniform(-0.4, -0.15), rng.uniform(0.1, 0.3)]))
    wall.relief_hw *= 1 + shape_hw * np.float32(rng.uniform(-0.6, 0.3))
    broken_hw = ramp(fractal(rng, wall.size_hw, 60, 2), -1.5, 0.5)
    wall.darken(rng.uniform(0.4, 0.85) * rim_hw * broken_hw)
    wall.relief_hw += rng.uniform(-0.5, 0.5) * blur(shape_hw, 0.8)


def lay_kerb(rng: Rng, wall: Wall) -> None:
    """Kerb stones along one side, dirt in the gutter before them, a pavement or grass behind."""
    side, sign = min(wall.size_hw), float(rng.choice([-1, 1]))
    inset = rng.uniform(0.03, 0.25)
    line_hw, along_hw = _line_frame(rng, wall.size_hw, bool(rng.random() < 0.6), inset if sign < 0 else 1 - inset)
    outside_hw, width_px = sign * line_hw, max(3, side * float(rng.uniform(0.04, 0.1)))
    beyond_hw = ramp(outside_hw, -0.6, 0.6)
    if rng.random() < 0.5:  # pavement, its slabs as long as the kerb stones or so
        slab_px, lightness = width_px * rng.uniform(1.5, 4), rng.uniform(0.4, 0.65)
        edge_px = np.minimum(*(np.abs(place % slab_px - slab_px / 2) for place in (along_hw, outside_hw)))
        slabs_hw = 1 - 0.45 * ramp(1 + 0.3 * noise(rng, wall.size_hw, 4) - edge_px, -0.6, 0.6)
        wall.cover(beyond_hw, lightness * (slabs_hw * (1 + 0.06 * fractal(rng, wall.size_hw, 30, 1)))[..., None])
        _hide(wall, beyond_hw, 0.7)
    else:
        _grow_grass(rng, wall, outside_hw - width_px)
    stone_px = side * rng.uniform(0.3, 0.9)
    joint_hw = ramp(rng.uniform(0.7, 1.8) - np.abs(along_hw % stone_px - stone_px / 2), -0.6, 0.6)
    ragged_hw = 0.5 * fractal(rng, wall.size_hw, 12, 2)
    kerb_hw = ramp(width_px / 2 - np.abs(outside_hw - width_px / 2) + ragged_hw, -0.7, 0.7)
    tone = rng.uniform(0.45, 0.75) * (1 + 0.07 * fractal(rng, wall.size_hw, 20, 1)) * (1 - 0.6 * joint_hw)
    wall.cover(kerb_hw, tone[..., None] * np.array([1.02, 1, 0.96]))
    _hide(wall, kerb_hw, 0.6)
    wall.relief_hw += rng.uniform(1, 4) * blur(kerb_hw, 0.9)
    gutter_px = width_px * rng.uniform(0.15, 0.6) * (1 + 0.5 * fractal(rng, wall.size_hw, 40, 4))
    wall.darken(rng.uniform(0.15, 0.5) * ramp(gutter_px + outside_hw, -gutter_px.mean(), 1) * (outside_hw < 0))
    wall.darken(rng.uniform(0.4, 0.85) * ramp(1.2 - np.abs(outside_hw), -0.8, 0.8))  # where kerb and road meet


# --- painted


def paint_lanes(rng: Rng, wall: Wall) -> None:
    """A line, a double line, dashes or a crossing's bars; ragged at the edges and worn off the stones' tops first."""
    size_hw, side = wall.size_hw, min(wall.size_hw)
    kind = rng.choice(["line", "double", "dashes", "bars"], p=[0.4, 0.2, 0.2, 0.2])
    line_hw, along_hw = _line_frame(rng, size_hw, bool(rng.random() < 0.5), rng.uniform(0, 1))
    half_px = side * float(rng.uniform(0.015, 0.04) if kind == "double" else rng.uniform(0.025, 0.12))
    ragged_hw = rng.uniform(0.3, 1.5) * fractal(rng, size_hw, 10, 1)
    if kind == "double":
        line_hw = np.abs(line_hw) - half_px * rng.uniform(1.6, 2.6)
    elif kind == "bars":
        pitch_px = half_px * rng.uniform(3, 4.5)
        line_hw = (line_hw + pitch_px / 2) % pitch_px - pitch_px / 2
    band_hw = ramp(half_px - np.abs(line_hw) + ragged_hw, -1, 1)
    if kind in ("dashes", "bars"):
        pitch_px = side * float(rng.uniform(0.5, 1.5))
        dash_px = pitch_px * rng.uniform(0.4, 0.7)
        from_middle_hw = np.abs((along_hw + rng.uniform(0, pitch_px)) % pitch_px - pitch_px / 2)
        band_hw *= ramp(dash_px / 2 - from_middle_hw + ragged_hw, -1, 1)
    stones_hw, wear = wall.relief_hw - wall.relief_hw.mean(), rng.choice([-1.5, -0.9, 0])
    kept_hw = band_hw * ramp(fractal(rng, size_hw, 50, 1) - 0.25 * stones_hw, wear, wear + 1)
    wall.cover(0.85 * kept_hw, YELLOW_PAINT if rng.random() < 0.25 else BRIGHT_PAINT)
    wall.relief_hw += rng.uniform(0, 0.5) * kept_hw


def paint_base(rng: Rng, wall: Wall) -> None:
    """The lower part of a wall in another colour, with a straight edge and perhaps a line along it."""
    below_hw, _ = _line_frame(rng, wall.size_hw, False, rng.uniform(0.3, 0.9))
    painted_hw = ramp(below_hw + 0.4 * fractal(rng, wall.size_hw, 10, 2), -0.7, 0.7)
    peeled_hw = ramp(fractal(rng, wall.size_hw, min(wall.size_hw) / 3, 2), 1.5, 1.6)
    tone = rng.uniform(0.12, 0.8) * (1 + rng.normal(0, 0.1, 3)).clip(0.7, 1.3)
    wall.cover(0.9 * painted_hw * (1 - peeled_hw), tone)
    if rng.random() < 0.4:
        wall.darken(rng.uniform(0.3, 0.8) * ramp(rng.uniform(0.6, 3) - np.abs(below_hw), -0.7, 0.7))
    wall.relief_hw += 0.5 * painted_hw * (1 - peeled_hw)


def run_streaks(rng: Rng, wall: Wall) -> None:
    """Water, lime or rust that ran down."""
    run_hw = ramp(noise(rng, wall.size_hw, rng.uniform(4, 25), stretch=30), 0.6, 2.2)
    run_hw *= ramp(fractal(rng, wall.size_hw, min(wall.size_hw) / 2, 6), -0.5, 1)
    tint = rng.choice([(0.65, 0.65, 0.66), (0.76, 0.76, 0.75), (1.25, 1.25, 1.25), (0.75, 0.58, 0.42)])
    wall.cover(rng.uniform(0.4, 0.9) * run_hw, wall.albedo_hwc * tint)


def soil(rng: Rng, wall: Wall) -> None:
    """Damp or oil: a faintly darker patch with a darker rim."""
    field_hw = fractal(rng, wall.size_hw, min(wall.size_hw) / 2, 3)
    rim_hw = 1.2 - 0.5 * ramp(field_hw, 1.2, 1.5)
    wall.darken(rng.uniform(0.06, 0.25) * ramp(field_hw, 1, 1.25) * rim_hw)


def wet(rng: Rng, wall: Wall) -> None:
    """Water that dries: much darker with an irregular, crisp border, fingers along one side and perhaps a tide mark."""
    side = min(wall.size_hw)
    field_hw = fractal(rng, wall.size_hw, side * rng.uniform(0.3, 0.8), 2)
    if rng.random() < 0.5:  # rises from the ground or comes from one side
        is_upright = bool(rng.random() < 0.3)
        line_hw, along_hw = _line_frame(rng, wall.size_hw, is_upright, rng.uniform(0.3, 0.9))
        field_hw = 0.3 * field_hw + line_hw / (0.15 * side) + 0.4 * _noise_along(rng, along_hw, side / 4, 10)
    else:
        field_hw = field_hw - rng.uniform(0.2, 0.9)
    wet_hw = ramp(field_hw, 0, rng.uniform(0.05, 0.3))
    deepness = rng.uniform(0.2, 0.5)
    wall.albedo_hwc *= 1 - wet_hw[..., None] * np.float32(deepness) * np.array([1, 1.02, 1.06], np.float32)
    wall.relief_hw *= 1 - rng.uniform(0.2, 0.7) * wet_hw  # a film of water
    wall.darken(rng.normal(0.05, 0.15) * ramp(0.06 - np.abs(field_hw), -0.05, 0.05))  # dirt or lime at the border


# --- grown


def grow_verge(rng: Rng, wall: Wall) -> None:
    """Grass along one side, over a ragged edge of the surface."""
    sign, inset = float(rng.choice([-1, 1])), rng.uniform(0.02, 0.2)
    line_hw, _ = _line_frame(rng, wall.size_hw, bool(rng.random() < 0.5), inset if sign < 0 else 1 - inset)
    ragged_hw = 0.04 * min(wall.size_hw) * fractal(rng, wall.size_hw, 60, 6)
    _grow_grass(rng, wall, sign * line_hw + ragged_hw)


def _grow_grass(rng: Rng, wall: Wall, inside_hw: Float) -> None:
    """Grass where `inside_hw`, in px, is above 0; its blades hang over the edge."""
    height, width = wall.size_hw
    blades_hw = fractal(rng, wall.size_hw, 5 * wall.zoom, 1, stretch=2.5)
    grass_hw = ramp(inside_hw + 2 * blades_hw, -2, 2)
    tone = rng.choice(GRASS_TONES) * rng.uniform(0.8, 1.2)
    dry_hw = ramp(fractal(rng, wall.size_hw, 40, 6), 0, 2)[..., None]
    colour = (tone + dry_hw * (np.array(GRASS_TONES[2]) - tone)) * (1 + 0.35 * blades_hw[..., None])
    wall.darken(0.5 * ramp(inside_hw, -5, 0))  # soil and shadow at the edge
    wall.cover(grass_hw, colour)
    _hide(wall, ramp(blur(inside_hw, 3), 0, 1), 0.9)
    wall.relief_hw += blades_hw * grass_hw
    edge_yx = np.argwhere(np.abs(inside_hw) < 4 * wall.zoom)
    if not len(edge_yx):
        return
    root_xy = edge_yx[rng.integers(len(edge_yx), size=max(6, (height + width) // 6)), ::-1]
    blade_xy = rng.normal(0, 4 * wall.zoom, root_xy.shape)
    strokes = np.stack([root_xy, root_xy + 0.6 * blade_xy, root_xy + blade_xy + (0, 2)], axis=1)
    blade_u8 = np.zeros(wall.size_hw, np.uint8)
    cv2.polylines(blade_u8, list((strokes * 16).round().astype(np.int32)), False, 255, 1, cv2.LINE_AA, 4)
    wall.cover(blade_u8 / np.float32(255), colour * rng.uniform(0.9, 1.4))


# --- mounted


def mount_objects(rng: Rng, wall: Wall) -> None:
    """Plates, beams and openings: flat tones whose straight, shadowed edges are no cracks."""
    side = min(wall.size_hw)
    for _ in range(int(rng.integers(1, 4))):
        size_px = side * rng.uniform(0.05, 0.35), side * rng.uniform(0.1, 2)
        middle_xy = rng.uniform(0, 1, 2) * wall.size_hw[::-1]
        corners_xy = cv2.boxPoints((middle_xy.tolist(), size_px, float(rng.choice([0, 90, rng.uniform(0, 180)]))))
        shape_u8 = np.zeros(wall.size_hw, np.uint8)
        cv2.fillConvexPoly(shape_u8, (corners_xy * 16).round().astype(np.int32), 255, cv2.LINE_AA, 4)
        shadow_px = rng.uniform(-8, 8), rng.uniform(-8, 8)
        _mount(rng, wall, shape_u8 / np.float32(255), shadow_px, rng.uniform(0.7, 4))


def hang_cables(rng: Rng, wall: Wall) -> None:
    """Cables and pipes, side by side, straight or sagging, on clips; round, with their shadow beside them."""
    is_pipe, is_clipped = rng.random() < 0.4, rng.random() < 0.5
    thick_px = max(1, round(float(rng.uniform(7, 18) if is_pipe else rng.uniform(2, 5)) * wall.zoom**0.5))
    turn = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.06)
    way_xy = np.array([np.cos(turn), np.sin(turn)])
    sag_px = 0 if is_pipe or rng.random() < 0.4 else wall.size_hw[0] * rng.uniform(0.02, 0.3)
    t = np.linspace(-1, 1, 81)[:, None]
    path_xy = rng.random(2) * wall.size_hw[::-1] + np.hypot(*wall.size_hw) * t * way_xy + (0, sag_px) * (1 - (2 * t) ** 2)
    shadow_px = thick_px * rng.uniform(-1.5, 1.5), thick_px * rng.uniform(0.2, 1.5)
    for i in range(int(rng.integers(1, 4))):
        beside_xy = path_xy + i * thick_px * rng.uniform(1.2, 5) * way_xy[::-1] * (-1, 1)
        shape_u8 = np.zeros(wall.size_hw, np.uint8)
        cv2.polylines(shape_u8, [(beside_xy * 16).round().astype(np.int32)], False, 255, thick_px, cv2.LINE_AA, 4)
        for clip_xy in beside_xy[::6] if is_clipped else ():
            ends_xy = clip_xy + np.array([[-0.3], [0.3]]) * thick_px * way_xy
            ends = (ends_xy * 16).round().astype(int).tolist()
            cv2.line(shape_u8, ends[0], ends[1], 255, thick_px + max(2, thick_px // 3), cv2.LINE_AA, 4)
        shape_hw = shape_u8 / np.float32(255)
        _mount(rng, wall, shape_hw, shadow_px, 0.5 + 0.15 * thick_px)
        round_hw = blur(shape_hw, 0.3 * thick_px)
        wall.albedo_hwc *= 1 + 0.7 * (shape_hw * (round_hw - 0.75))[..., None]  # lighter along the middle
        wall.relief_hw += 0.4 * thick_px * round_hw * shape_hw


def _mount(rng: Rng, wall: Wall, shape_hw: Float, shadow_px: tuple[float, float], soft_px: float) -> None:
    shift = np.array([[1, 0, shadow_px[0]], [0, 1, shadow_px[1]]])
    shadow_hw = blur(np.asarray(cv2.warpAffine(shape_hw, shift, wall.size_hw[::-1]), np.float32), soft_px)
    wall.darken(rng.uniform(0, 0.7) * shadow_hw)
    tone = rng.uniform(0.05, 0.9) * (1 + rng.normal(0, 0.04, 3))
    uneven_hw = 1 + 0.05 * fractal(rng, wall.size_hw, min(wall.size_hw) / 3, 4)
    wall.cover(shape_hw, (tone * uneven_hw[..., None]).astype(np.float32))
    _hide(wall, shape_hw, 0.9)
