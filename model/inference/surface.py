"""The scale of the surface that a photograph shows, from where the client asked for it: given, by the camera, by markers.

Left to others: each of the three (`options`, `camera`, `markers`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.inference.camera import CameraUnknownError, mm_per_px
from model.inference.markers import find
from model.inference.millimetres import Scale, ScaleSource, SurfaceScale
from model.inference.options import Options
from model.inference.photograph import exif_block

_NO_MARKER = (
    "No marker was found, so there are no millimetres. Expected one that `crack markers` prints, wholly visible "
    "with its white margin, sharp, at least 150 pixels per side. Take the photograph again, or send mm_per_px."
)


@dataclass(frozen=True)
class Surface:
    """
    Attributes:
        scale: none where nobody asked for one, and where the photograph doesn't tell it.
        note: why there is none although one was asked for.
    """

    scale: SurfaceScale | None
    note: str = ""

    def told(self) -> dict[str, object]:
        """As answers have it."""
        if self.scale is None:
            note = {"scale_note": self.note} if self.note else {}
            return {"mm_per_px": None, "scale_source": None, **note}
        return {"mm_per_px": self.scale.mm_per_px, "scale_source": self.scale.source}


def look_at(image: bytes, image_hwc_u8: NDArray[np.uint8], options: Options) -> Surface:
    """The scale that `options` ask for, of a photograph as file and decoded."""
    if options.marker_size_mm is not None:
        markers = find(image_hwc_u8, options.marker_size_mm)
        return Surface(markers, "" if markers else _NO_MARKER)
    height, width = image_hwc_u8.shape[:2]
    scale = options.scale((height, width))
    if scale is None and options.distance_m is not None:
        try:
            scale = Scale(mm_per_px(exif_block(image), (height, width), options.distance_m), ScaleSource.CAMERA)
        except CameraUnknownError as error:
            return Surface(None, str(error))
    return Surface(scale)
