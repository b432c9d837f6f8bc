"""The model card: every number that belongs to one trained model and travels with it, as `model_card.json`.

Code that runs a model reads these numbers here and holds none of them itself.
"""

import json
import math
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

FILE_NAME = "model_card.json"


class Backend(NamedTuple):
    """A runtime and the precision in which it computes a network."""

    runtime: str
    precision: str

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}"


@dataclass(frozen=True)
class ModelCard:
    """One trained model, from its data to its measured figures.

    Attributes:
        version: the time at which its training began, `YYYYmmdd-HHMMSS`, UTC; also the archive's version.
        mean, deviation: of the training photographs' channels R, G, B, in 0..255; the network sees (pixel - mean) / deviation.
        stride: height and width of what the network sees are multiples of it.
        tile_px, overlap_px: longest side of a tile, and how far neighbouring tiles reach into each other.
        threshold: in (0, 1); a pixel is crack where its probability is at least this; chosen on validation photographs.
        training: recipe, lineage, data with their publishers' terms.
        figures: measured quality, by data set and split.
        reductions, least_px, wide_px, narrow_px, sure: the passes over the reduced photograph, as in `scales.predict_scales`.
        seen, sure, cell_px, least_sure_px: which pixels are too unsure to be called crack, as `certainty.Cells` takes them.
        backends: what may compute the network; at export its masks with each of them were held against labels.
    """

    version: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    stride: int
    tile_px: int
    overlap_px: int
    threshold: float
    architecture: dict[str, Any]
    training: dict[str, Any]
    figures: dict[str, Any] = field(default_factory=dict)
    name: str = "crack"
    backends: tuple[Backend, ...] = (Backend("onnxruntime", "fp32"),)
    reductions: tuple[int, ...] = ()  # the first releases had one pass, at the photograph's own size
    least_px: int = 256
    wide_px: int = 5
    narrow_px: int = 0  # until 2026-11-27 reduced passes took nothing away
    sure: float = 0.78
    seen: float = 0.25
    cell_px: int = 12
    least_sure_px: int = 0  # nor was there this rule
    use: str = (
        "Research and evaluation only: the publishers of the training photographs allow no more, or state no terms. "
        "A mask is a hint for an inspector, not a finding."
    )

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold={self.threshold!r}: expected a number in (0, 1).")
        is_possible = self.stride >= 1 and self.overlap_px >= 0
        if not is_possible or self.tile_px < 3 * self.overlap_px + 5 * self.stride or self.tile_px % self.stride:
            raise ValueError(
                f"tile_px={self.tile_px!r}, overlap_px={self.overlap_px!r}, stride={self.stride!r}: "
                "expected tiles of at least three overlaps and five strides, and a multiple of the stride."
            )

    def to_json(self) -> bytes:
        """What `parse` reads."""
        return f"{json.dumps(asdict(self), indent=2)}\n".encode()

    @classmethod
    def read(cls, path: Path) -> "ModelCard":
        """Raises ValueError, naming the file, if it is not a model card."""
        try:
            return cls.parse(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def of_archive(cls, path: Path) -> "ModelCard":
        """The card of a .mar. Raises ValueError, naming the file, if it is none of a crack model, or cannot be read."""
        try:
            with zipfile.ZipFile(path) as archive:
                return cls.parse(archive.read(FILE_NAME))
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is no archive of a crack model ({error}).") from error

    @classmethod
    def parse(cls, text: bytes) -> "ModelCard":
        """Raises ValueError if that is not a model card."""
        try:
            values = json.loads(text)
            values["mean"], values["deviation"] = tuple(values["mean"]), tuple(values["deviation"])
            values["reductions"] = tuple(values.get("reductions", ()))
            values["backends"] = tuple(Backend(*pair) for pair in values["backends"])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no model card ({error}). Write it with crack train.") from error


def threshold_level(threshold: float) -> int:
    """The lowest of the levels 1..255 of a probability map that counts as crack: the first at or above `threshold` * 255."""
    return max(1, math.ceil(threshold * 255 - 1e-6))  # a threshold of k / 255 means level k, whatever the division's rounding
