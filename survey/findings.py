"""A survey's findings, photograph by photograph, for all output formats. Left to others: storage (`folder`), and the formats
(`tables`, `geojson`, `dxf`, `coco`, `report`).
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crack.foreign import damage_named
from inspection.findings import Photograph
from inspection.rows import Row, Status
from inspection.tables import Columns
from inspection.taken import Taken, read_taken
from model.inference import standards
from model.inference.errors import RequestError
from model.inference.millimetres import Scale, ScaleSource
from model.inference.photograph import decode
from survey.decided import Decided
from survey.folder import Survey
from survey.opening import saved_source
from survey.sources import Source

ABOUT = "survey.json"


@dataclass(frozen=True)
class About:
    """A survey's options, kept in `survey.json` for the report.

    Attributes:
        photographs: where they are.
        scale: one that was given for all of them.
        with_exif: whether to write when and where a photograph was taken.
        standard: whose bands the cracks with a scale get.
        title: of the survey, if the photographs' folder isn't called so.
        decided: what people decided about its photographs, if a server kept them.
    """

    photographs: Source
    scale: Scale | None
    with_exif: bool
    standard: standards.Standard | None = None
    title: str = ""
    decided: Mapping[str, Decided] = field(default_factory=dict)

    def save(self, survey: Survey) -> None:
        fields = {
            "photographs": str(self.photographs).removeprefix(f"{survey.folder}{os.sep}"),  # so both can be moved together
            "scale": self.scale and vars(self.scale),
            "with_exif": self.with_exif,
            "standard": self.standard and [self.standard.key, self.standard.exposure],
            "title": self.title,
            "decided": {file: asdict(each) for file, each in self.decided.items()},
        }
        with survey.whole(ABOUT) as path:
            path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, survey: Survey) -> "About":
        """A survey's options. Raises ValueError if they can't be read, OSError."""
        named = partial(damage_named, survey.place(ABOUT), "Run the same survey or fetch again.")
        try:
            with named():
                fields = json.loads(survey.read(ABOUT))
        except FileNotFoundError as error:
            raise ValueError(
                f"There is no {survey.place(ABOUT)}: the survey has not ended. Continue it; it examines no photograph twice."
            ) from error
        with named():
            scale = fields["scale"] and Scale(fields["scale"]["mm_per_px"], ScaleSource(fields["scale"]["source"]))
            try:
                standard = standards.find(*fields["standard"]) if fields.get("standard") else None
            except RequestError as error:
                raise ValueError(error.message) from error
            place, decided = fields["photographs"], {file: Decided.of(said) for file, said in fields.get("decided", {}).items()}
            if "://" not in place and not Path(place).is_absolute():
                place = survey.place(place)
            return cls(saved_source(place), scale, fields["with_exif"], standard, fields.get("title", ""), decided)


def unchanged(photographs: Source, row: Row) -> bytes | None:
    """A photograph's bytes; None if it is gone or has changed since it was surveyed."""
    try:
        data = photographs.read(row.file)[0]
    except OSError:
        return None
    return data if len(data) == row.n_bytes and hashlib.sha256(data).hexdigest() == row.sha256 else None


@dataclass(frozen=True)
class Findings:
    """The photographs of a survey. Each pass over them reads its folder anew: one photograph at a time is in memory.

    Attributes:
        files: names of photographs, below their folder.
    """

    survey: Survey
    about: About
    files: Iterable[str]

    @property
    def title(self) -> str:
        return self.about.title or self.about.photographs.name

    @property
    def quality(self) -> str:
        if self.about.decided:
            return ", ".join(sorted({each.quality for each in self.about.decided.values()}))
        return str(self.survey.question.get("quality", "normal"))

    @property
    def scale(self) -> Scale | None:
        return self.about.scale

    @property
    def standard(self) -> standards.Standard | None:
        return self.about.standard

    @property
    def columns(self) -> Columns:
        is_decided = bool(self.about.decided)
        by_marker = is_decided or "marker_size_mm" in self.survey.question
        is_scaled = self.scale is not None or by_marker or "distance_m" in self.survey.question
        return Columns(self.about.with_exif, is_decided, is_scaled, by_marker, self.standard is not None)

    @property
    def elsewhere(self) -> str:
        return "the tables in the survey's folder (cracks.csv, photographs.csv)"

    def photographs(self) -> Iterator[Photograph]:
        """Those that the journal knows, in the order of `files`."""
        return map(self._photograph, self.survey.rows(self.files))

    def find(self, file: str) -> Photograph:
        """Raises KeyError if the journal doesn't know it."""
        row = self.survey.find(file)
        if row is None:
            raise KeyError(file)
        return self._photograph(row)

    def predicted(self) -> Iterator[Photograph]:
        return (photograph for photograph in self.photographs() if photograph.row.status is Status.PREDICTED)

    def picture(self, file: str) -> tuple[NDArray[np.uint8], bool]:
        """The photograph as it was surveyed, and True; if it has changed or is gone, the survey's overlay, and False."""
        row = self.find(file).row
        with suppress(RequestError):
            data = unchanged(self.about.photographs, row)
            if data is not None:
                return decode(data), True
        return decode(self.survey.pictures.overlay(file).read_bytes()), False

    def _photograph(self, row: Row) -> Photograph:
        decided = self.about.decided.get(row.file)
        if decided is not None:
            return Photograph(row, None, decided.taken, self.about.standard, *decided.by_people)
        is_told = self.about.with_exif and row.status is not Status.LEFT_OUT
        return Photograph(row, self.about.scale, self._taken(row.file) if is_told else Taken(), self.about.standard)

    def _taken(self, file: str) -> Taken:
        try:
            return read_taken(self.about.photographs.read(file)[0])
        except OSError:
            return Taken()
