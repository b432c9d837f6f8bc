"""The perspective in which a synthetic wall is seen: a road that runs away from the camera, a facade along a street.

Lengths are in pixels, counted from the corner of the first pixel and not from its middle. The wall is drawn flat and larger
than the picture; `look_at` then shows it through a homography, and cracks are projected point by point by `to_picture`.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from model.synthetic_wall import Float, Rng, Size, Wall

N_SAMPLES = 2  # per side of a pixel: they keep the far end of a rough wall from glittering
MIN_DEPTH_RATIO = 0.05  # nearer to the camera than that share of the picture's middle, a point is clamped


@dataclass(frozen=True)
class View:
    flat_hw: Size  # the flat wall that this view needs
    picture_hw: Size
    to_picture: Float  # homography; its last row gives 1 for the point in the picture's middle


def choose_view(rng: Rng, picture_hw: Size, material: str) -> View:
    """A camera that tilts up to where things at the far side look three times as small as at the near side.

    Roads run away upwards; walls also to the left and to the right.
    """
    n_turns = 0 if material == "asphalt" else int(rng.choice([0, 1, 3]))  # quarter turns: far is up, right or left
    height, width = picture_hw
    across_px, depth_px = (width, height) if n_turns == 0 else (height, width)
    half_far, half_near = across_px / 2 * np.sqrt(rng.uniform(1.3, 3)) ** np.array([1, -1])
    aside_px = rng.uniform(-0.8, 0.8) * (half_far - half_near)  # where the camera walks
    half_depth = depth_px / 2 * rng.uniform(1, 1.4)
    flat_xy = np.array(
        [
            (-half_far, -half_depth),
            (half_far, -half_depth),
            (aside_px + half_near, half_depth),
            (aside_px - half_near, half_depth),
        ]
    )
    seen_xy = np.array([(-across_px, -depth_px), (across_px, -depth_px), (across_px, depth_px), (-across_px, depth_px)]) / 2
    quarter = np.array([(0, 1), (-1, 0)])  # x to y, y to -x: what was up is at the right
    turn = np.linalg.matrix_power(quarter, n_turns)
    roll = rng.normal(0, 0.05)
    flat_xy = flat_xy @ turn @ np.array([(np.cos(roll), np.sin(roll)), (-np.sin(roll), np.cos(roll))])
    flat_xy -= flat_xy.min(axis=0)
    seen_xy = seen_xy @ turn + (width / 2, height / 2)
    to_picture = cv2.getPerspectiveTransform(flat_xy.astype(np.float32), seen_xy.astype(np.float32))
    middle_xy = cv2.perspectiveTransform(np.array([[(width / 2, height / 2)]]), np.linalg.inv(to_picture))[0, 0]
    to_picture = to_picture / (to_picture[2] @ (*middle_xy, 1))
    flat_w, flat_h = np.ceil(flat_xy.max(axis=0)).astype(int).tolist()
    return View((flat_h, flat_w), picture_hw, to_picture)


def look_at(wall: Wall, view: View) -> None:
    """Replace the flat wall's planes by what is seen of them in the picture."""
    wall.to_picture = view.to_picture
    height, width = (N_SAMPLES * n for n in view.picture_hw)
    # OpenCV counts from the middle of the first pixel
    to_samples = np.array([(N_SAMPLES, 0, -0.5), (0, N_SAMPLES, -0.5), (0, 0, 1)]) @ view.to_picture
    to_samples = to_samples @ np.array([(1, 0, 0.5), (0, 1, 0.5), (0, 0, 1)])

    def see(plane: Float) -> Float:
        samples = cv2.warpPerspective(plane, to_samples, (width, height), borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(cv2.resize(samples, view.picture_hw[::-1], interpolation=cv2.INTER_AREA), np.float32)

    wall.albedo_hwc, wall.relief_hw, wall.covered_hw = see(wall.albedo_hwc), see(wall.relief_hw), see(wall.covered_hw)


def to_picture(wall: Wall, flat_xy: Float) -> Float:
    """Where points of the flat wall (..., 2) are in the picture; points behind the camera come out far below its near side."""
    x, y, depth = np.moveaxis(flat_xy @ wall.to_picture[:, :2].T + wall.to_picture[:, 2], -1, 0)
    return np.asarray(np.stack([x, y], -1) / np.maximum(depth, MIN_DEPTH_RATIO)[..., None])


def to_flat(wall: Wall, picture_xy: Float) -> Float:
    """Where a point of the picture (2,) is on the flat wall."""
    x, y, depth = np.linalg.inv(wall.to_picture) @ (*picture_xy, 1)
    return np.array([x / depth, y / depth])
