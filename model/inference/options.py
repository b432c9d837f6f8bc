"""What a client may ask about one photograph: the fields of a request, parsed and checked against each other.

Left to others: what is answered (`answer`), and how fields arrive (the doors).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from model.inference.errors import ErrorCode, RequestError
from model.inference.millimetres import Scale, ScaleSource
from model.inference.standards import Standard, find, names

_Choice = TypeVar("_Choice", bound=StrEnum)
_CAMERA = ("distance_m", "focal_length_mm", "sensor_width_mm")
_SCALES = ("mm_per_px", *_CAMERA, "marker_size_mm")


class Response(StrEnum):
    """What a client may ask for."""

    JSON = "json"  # which of 128 x 128 cells hold crack
    FULL = "full"  # the same, with the mask at the photograph's own size
    MASK = "mask"  # PNG, one channel, 0 or 255
    PROBABILITY = "probability"  # PNG, one channel, 0..255
    OVERLAY = "overlay"  # JPEG, the photograph with its cracks drawn on
    CRACKS = "cracks"  # GeoJSON, each crack with its centre line, length and width
    ALL = "all"  # JSON with the cracks' figures and lines, the mask, the overlay and a thumbnail


class Quality(StrEnum):
    NORMAL = "normal"
    HIGH = "high"  # averaged over mirror images and quarter turns


class Summary(StrEnum):
    """What a JSON answer may add."""

    CRACKS = "cracks"  # the number of cracks, their total length, the widest


@dataclass(frozen=True)
class Options:
    """The fields beside the image; `threshold=None` means the model's own, and without a scale nothing is told in millimetres.

    Attributes:
        mm_per_px: how large a pixel is on the surface; or
        distance_m: to the surface, with focal_length_mm and sensor_width_mm of the camera, or alone if EXIF tells of them; or
        marker_size_mm: how large the printed markers are that the photograph shows.
        standard, exposure: by which each crack's band is told, with a scale.
    """

    response: Response = Response.JSON
    quality: Quality = Quality.NORMAL
    threshold: float | None = None
    summary: Summary | None = None
    mm_per_px: float | None = None
    distance_m: float | None = None
    focal_length_mm: float | None = None
    sensor_width_mm: float | None = None
    marker_size_mm: float | None = None
    standard: str | None = None
    exposure: str | None = None

    @classmethod
    def parse(cls, fields: Mapping[str, str]) -> "Options":
        """Read the fields that are there; others are ignored, and so are empty ones, as HTML forms send what nobody filled in.

        Raises RequestError (PARAMETER_INVALID).
        """
        fields = {name: text for name, value in fields.items() if (text := value.strip())}
        options = cls(
            response=_choice("response", Response, fields.get("response", Response.JSON)),
            quality=_choice("quality", Quality, fields.get("quality", Quality.NORMAL)),
            threshold=_threshold(fields["threshold"]) if "threshold" in fields else None,
            summary=_choice("summary", Summary, fields["summary"]) if "summary" in fields else None,
            **{name: _positive(name, fields[name]) for name in _SCALES if name in fields},
            standard=fields.get("standard"),
            exposure=fields.get("exposure"),
        )
        options._check()
        return options

    def fields(self) -> dict[str, str]:
        """As texts that `parse` reads; what is left to its default isn't there."""
        named = {name: value for name, value in vars(self).items() if value is not None}
        return {name: value if isinstance(value, str) else repr(value) for name, value in named.items()}

    def scale(self, size_hw: tuple[int, ...]) -> Scale | None:
        """The scale that the fields tell for a photograph of that height and width; none where they don't.

        The sensor's width belongs to the photograph's longer side, however the camera was held.
        """
        if self.mm_per_px is not None:
            return Scale(self.mm_per_px, ScaleSource.GIVEN)
        if self.distance_m is None or self.focal_length_mm is None or self.sensor_width_mm is None:
            return None
        # Ground sampling distance: the sensor's pixel, enlarged as distance is to focal length.
        mm_per_px = 1000 * self.distance_m / self.focal_length_mm * self.sensor_width_mm / max(size_hw)
        return Scale(mm_per_px, ScaleSource.CAMERA)

    @property
    def asks_for_scale(self) -> bool:
        return any(getattr(self, name) is not None for name in _SCALES)

    def judged_by(self) -> Standard | None:
        """The standard that is asked for. Raises RequestError (PARAMETER_INVALID) where there is none such."""
        return None if self.standard is None else find(self.standard, self.exposure)

    def _check(self) -> None:
        if self.standard is None and self.exposure is not None:
            found = f"exposure={self.exposure!r} without standard: expected both."
            raise RequestError(ErrorCode.PARAMETER_INVALID, f"{found} Send the standard too, one of {', '.join(names())}.")
        if self.judged_by() and not self.asks_for_scale:
            found = f"standard={self.standard!r} without a scale: its limits are in millimetres."
            raise RequestError(ErrorCode.PARAMETER_INVALID, f"{found} Send mm_per_px, distance_m or marker_size_mm too.")
        scales = [name for name in _SCALES if getattr(self, name) is not None]
        given = [name for name in scales if name in _CAMERA]
        if len(scales) > max(len(given), 1):
            raise RequestError(
                ErrorCode.PARAMETER_INVALID,
                f"{', '.join(scales)}: expected one scale. Send mm_per_px, or marker_size_mm, or {', '.join(_CAMERA)}.",
            )
        if given and given != ["distance_m"] and len(given) < len(_CAMERA):
            missing = ", ".join(name for name in _CAMERA if name not in given)
            found = f"{', '.join(given)} without {missing}: expected all of {', '.join(_CAMERA)}, or distance_m alone."
            raise RequestError(ErrorCode.PARAMETER_INVALID, f"{found} Send the others too, or mm_per_px.")
        if self.summary and self.response not in (Response.JSON, Response.FULL):
            raise RequestError(
                ErrorCode.PARAMETER_INVALID,
                f"summary={self.summary.value!r} with response={self.response.value!r}: expected response=json or full. "
                "Leave summary out, or ask for one of them.",
            )


def _choice(name: str, choices: type[_Choice], text: str) -> _Choice:
    try:
        return choices(text)
    except ValueError as error:
        raise RequestError(ErrorCode.PARAMETER_INVALID, f"{name}={text!r}: expected one of {', '.join(choices)}.") from error


def _positive(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise RequestError(
            ErrorCode.PARAMETER_INVALID, f"{name}={text!r}: expected a number above 0, such as 0.2. Leave it out for pixels."
        )
    return value


def _threshold(text: str) -> float:
    try:
        threshold = float(text)
    except ValueError:
        threshold = float("nan")
    if not 0 < threshold < 1:
        raise RequestError(
            ErrorCode.PARAMETER_INVALID,
            f"threshold={text!r}: expected a number between 0 and 1, both excluded, such as 0.5. "
            "Leave it out for the model's own.",
        )
    return threshold
