"""A survey's folder without a server: drawn surfaces whose exact masks are measured and kept as the survey keeps an answer."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from inspection.rows import Row, Status
from model.inference.cracks import measure
from model.inference.encoding import mask_png
from model.inference.findings import lines
from model.inference.millimetres import Scale, ScaleSource
from model.inference.overlay import draw_overlay
from model.synthetic import Surface
from survey.findings import About, Findings
from survey.folder import Survey
from survey.sources import FolderSource
from tests.photographs import jpeg

SCALE = Scale(0.2, ScaleSource.GIVEN)


def exif(latitude: float, longitude: float, at: str = "2026:05:01 10:20:30") -> Image.Exif:
    """As a phone writes it."""
    block = Image.Exif()
    block.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = at
    gps = block.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef] = "N" if latitude >= 0 else "S"
    gps[ExifTags.GPS.GPSLongitudeRef] = "E" if longitude >= 0 else "W"
    for name, value in ((ExifTags.GPS.GPSLatitude, latitude), (ExifTags.GPS.GPSLongitude, longitude)):
        minutes = 60 * (abs(value) % 1)
        gps[name] = (float(int(abs(value))), float(int(minutes)), 60 * (minutes % 1))
    return block


def surveyed(
    folder: Path,
    surfaces: Mapping[str, Surface],
    scale: Scale | None = SCALE,
    exifs: Mapping[str, Image.Exif] | None = None,
    others: Mapping[str, Row] | None = None,
) -> Findings:
    """The photographs are written to `folder`/photographs; the caller closes `survey`.

    Args:
        exifs: of those that have one; with any, positions are told.
        others: what became of further photographs.
    """
    photographs = folder / "photographs"
    survey = Survey(folder / "photographs-cracks", {"quality": "normal", "threshold": "of the model"})
    for number, (file, surface) in enumerate(surfaces.items(), 1):
        path = photographs / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(surface.image_hwc_u8, quality=95, exif=(exifs or {}).get(file, Image.Exif())))
        prob_hw_u8 = surface.mask_hw.astype(np.uint8) * 255
        cracks = measure(prob_hw_u8, surface.image_hwc_u8, 128)
        survey.pictures.keep(file, mask_png(surface.mask_hw), jpeg(draw_overlay(surface.image_hwc_u8, surface.mask_hw)))
        survey.append(
            Row(
                file,
                Status.PREDICTED,
                path.stat().st_size,
                path.stat().st_mtime_ns,
                hashlib.sha256(path.read_bytes()).hexdigest(),
                width=surface.mask_hw.shape[1],
                height=surface.mask_hw.shape[0],
                crack_ratio=float(surface.mask_hw.mean()),
                threshold=0.5,
                model_version="20260501-000000",
                crack_score=round(0.99 - number / 100, 3),
                cracks=[crack.figures for crack in cracks],
                lines=[lines(crack) for crack in cracks],
            )
        )
    for file, row in (others or {}).items():
        (photographs / file).write_bytes(b"torn")
        survey.append(row)
    about = About(FolderSource(photographs), scale, bool(exifs))
    about.save(survey)
    return Findings(survey, about, [*surfaces, *(others or {})])


def without_crack(wall: Surface) -> tuple[Surface, NDArray[np.bool_]]:
    """The wall before it cracked, and where it did."""
    shade = np.median(wall.image_hwc_u8, axis=(0, 1)).astype(np.uint8)
    rng = np.random.default_rng(0)
    plain = np.clip(shade + rng.normal(0, 6, wall.image_hwc_u8.shape), 0, 255).astype(np.uint8)
    around = cv2.dilate(wall.mask_hw.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    return Surface(np.where(around[..., None], plain, wall.image_hwc_u8), np.zeros_like(wall.mask_hw), wall.material), around
