"""What a survey found, photograph by photograph, as every way out of its folder tells it.

Left to others: where it is kept (`folder`), and the forms it goes out in (`tables`, `geojson`, `dxf`, `coco`, `report`).
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.inference import standards
from model.inference.cracks import Scale, ScaleSource, properties
from model.inference.errors import RequestError
from survey.exif import Taken, read_taken
from survey.folder import Row, Status, Survey

ABOUT = "survey.json"


@dataclass(frozen=True)
class Photograph:
    """A photograph's row, its cracks' properties as `response=cracks` tells them, and when and where it was taken."""

    row: Row
    given: Scale | None
    taken: Taken
    standard: standards.Standard | None = None

    @property
    def scale(self) -> Scale | None:
        """One for all of the photograph: given, or by its camera. With a marker each crack has its own."""
        told = self.row.scale or {}
        if self.given is None and told.get("scale_source") == ScaleSource.CAMERA:
            return Scale(told["mm_per_px"], ScaleSource.CAMERA)
        return self.given

    @property
    def told_scale(self) -> dict[str, Any]:
        """As answers have it: `mm_per_px`, `scale_source`, and `scale_note` where it was asked for and not found."""
        if self.given is not None:
            return {"mm_per_px": self.given.mm_per_px, "scale_source": self.given.source}
        return self.row.scale or {}

    @property
    def cracks(self) -> list[dict[str, Any]]:
        told = [properties(crack, self.scale) for crack in self.row.cracks or ()]
        if self.standard is None:
            return told
        return [{**crack, "band": self.standard.band(crack)} if "length_mm" in crack else crack for crack in told]


@dataclass(frozen=True)
class About:
    """What a survey was told; `survey.json` keeps it for the report.

    Attributes:
        photographs: their folder.
        scale: one that was given for all of them.
        with_exif: whether to tell when and where a photograph was taken.
        standard: by which the bands of cracks with a scale are told.
    """

    photographs: Path
    scale: Scale | None
    with_exif: bool
    standard: standards.Standard | None = None

    def save(self, survey: Survey) -> None:
        fields = {
            "photographs": str(self.photographs),
            "scale": self.scale and vars(self.scale),
            "with_exif": self.with_exif,
            "standard": self.standard and [self.standard.key, self.standard.exposure],
        }
        with survey.whole(ABOUT) as path:
            path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "About":
        """Of a survey's folder. Raises ValueError where there is none that can be read, OSError."""
        path = folder / ABOUT
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            scale = fields["scale"] and Scale(fields["scale"]["mm_per_px"], ScaleSource(fields["scale"]["source"]))
            standard = standards.find(*fields["standard"]) if fields.get("standard") else None
            return cls(Path(fields["photographs"]), scale, fields["with_exif"], standard)
        except (ValueError, KeyError, TypeError, RequestError) as error:
            raise ValueError(
                f"{path} is none of a survey's ({error!r}). Run the survey again; it asks nothing twice."
            ) from error


@dataclass(frozen=True)
class Findings:
    """The photographs of a survey, read from its folder again by each that asks: one at a time is in memory.

    Attributes:
        files: below the folder of photographs.
    """

    survey: Survey
    about: About
    files: Iterable[str]

    def photographs(self) -> Iterator[Photograph]:
        """Those that the journal knows, in the order of `files`."""
        return map(self._photograph, self.survey.rows(self.files))

    def find(self, file: str) -> Photograph:
        """Raises KeyError for one that the journal doesn't know."""
        row = self.survey.find(file)
        if row is None:
            raise KeyError(file)
        return self._photograph(row)

    def predicted(self) -> Iterator[Photograph]:
        return (photograph for photograph in self.photographs() if photograph.row.status is Status.PREDICTED)

    def _photograph(self, row: Row) -> Photograph:
        is_told = self.about.with_exif and row.status is not Status.LEFT_OUT
        taken = read_taken(self.about.photographs / row.file) if is_told else Taken()
        return Photograph(row, self.about.scale, taken, self.about.standard)


def printable(text: str) -> str:
    """On one line, without what XML, DXF and people can't read: a file's name may be any bytes."""
    return "".join(" " if char.isspace() else char if char.isprintable() else "\ufffd" for char in text)
