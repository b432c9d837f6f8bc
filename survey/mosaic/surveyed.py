"""A mosaic whose survey has ended, as its folder tells it: where the mosaic is, and its cracks in its pixels."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crack.foreign import damage_named
from survey.engines import SurveyError
from survey.mosaic import STATE
from survey.mosaic.layers import read_layer
from survey.mosaic.raster import Raster
from survey.mosaic.writing import PACKAGE

Float = NDArray[np.float64]
Crack = tuple[dict[str, Any], list[Float]]
"""A crack's figures in pixels, as a photograph's, and its lines, (n, 2) pixels."""


@dataclass(frozen=True)
class Surveyed:
    """
    Attributes:
        mosaic: the file that was surveyed.
        made: by which model with which threshold, in words.
    """

    folder: Path
    mosaic: Path
    made: str

    @classmethod
    def find(cls, folder: Path, moved: str | None) -> "Surveyed":
        """
        Args:
            moved: the mosaic, or the folder that it is in, if it isn't where its survey found it.

        Raises:
            SurveyError: the survey has not ended, or its mosaic is not there or another one.
            ValueError: its record can't be read.
        """
        state = folder / STATE
        with damage_named(str(state), "Survey the mosaic again, with another --out."):
            told = json.loads(state.read_bytes())
            asked, has_ended = told["asked"], "n_cracks" in told
            name, n_bytes, mtime_ns = asked["mosaic"], asked["n_bytes"], asked["mtime_ns"]
            made = f"model {asked['model_version']} with threshold {asked['threshold']:g}"
            place = Path(told.get("place", folder.with_name(name)))  # older surveys don't tell it
        if not has_ended:
            raise SurveyError(f"The survey in {folder} has not ended. Continue it.")
        if moved is not None:
            place = Path(moved) / name if Path(moved).is_dir() else Path(moved)
        elif not place.exists():
            place = folder.with_name(name)  # both were moved together
        try:
            status = place.stat()
        except OSError:
            status = None
        is_same = status is not None and status.st_size == n_bytes and (moved is not None or status.st_mtime_ns == mtime_ns)
        if not is_same:
            raise SurveyError(
                f"{place} is not there, or has changed since its survey ({n_bytes} bytes then). If the mosaic has moved or was "
                "copied, name its place by --earlier-photographs or --later-photographs."
            )
        return cls(folder, place, made)

    def cracks(self, raster: Raster) -> list[Crack]:
        """In the mosaic's pixels. Raises OSError."""
        found = []
        for told, lines in read_layer(self.folder / PACKAGE):
            is_narrow = bool(told["is_width_below_limit"])
            figures = {
                "id": int(told["id"]),
                "length_px": float(told["length_m"]) / raster.m_per_px,
                "is_width_below_limit": is_narrow,
                "width_median_px": None if is_narrow else float(told["width_median_m"]) / raster.m_per_px,
                "width_uncertainty_px": None if is_narrow else float(told["width_uncertainty_m"]) / raster.m_per_px,
            }
            found.append((figures, [raster.pixel_xy(line) for line in lines]))
        return found
