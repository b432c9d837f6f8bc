"""`photographs.parquet` and `cracks.parquet`: the tables with their types, for programs that read millions of lines.

With positions they are GeoParquet 1.1 (https://geoparquet.org/releases/v1.1.0/): `geometry` is the place of the camera, as
WKB, in longitude and latitude (OGC:CRS84, the format's default).
"""

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO

import pyarrow
from pyarrow.parquet import ParquetWriter

from inspection.findings import Photograph
from inspection.taken import Taken
from survey.findings import Findings

PHOTOGRAPHS, CRACKS = "photographs.parquet", "cracks.parquet"
GEOMETRY = "geometry"
_PER_GROUP = 20_000  # lines: at most this many are in memory
_TEXTS = (
    *("file", "status", "model_version", "error", "scale_source", "scale_note", "taken_at", "band_name"),
    *("decision", "decided_by", "decided_at", "note"),
)
_WHOLE = ("width", "height", "id", "area_px", "n_branches")
_LISTS = ("width_max_at", "bbox_px")
_POINT = struct.Struct("<BIdd")  # little-endian, a point, its longitude and latitude
_Add = Callable[[Photograph], None]


class _Table:
    """Collects lines, and writes them to a file a group at a time."""

    def __init__(self, file: BinaryIO, columns: Sequence[str], has_place: bool) -> None:
        fields = [(name, _type(name)) for name in columns] + ([(GEOMETRY, pyarrow.binary())] if has_place else [])
        self._schema = pyarrow.schema(fields)
        self._writer = ParquetWriter(file, self._schema, compression="zstd")
        self._lines: list[Sequence[Any]] = []
        self._bbox: list[float] = []  # of all places: west, south, east, north
        self._has_place = has_place

    def add(self, line: Sequence[Any], taken: Taken) -> None:
        place = None
        if self._has_place and taken.longitude is not None and taken.latitude is not None:
            at = [taken.longitude, taken.latitude]
            place = _POINT.pack(1, 1, *at)
            west_south, east_north = self._bbox[:2] or at, self._bbox[2:] or at
            self._bbox = [*map(min, west_south, at), *map(max, east_north, at)]
        self._lines.append([*map(_text, line), *([place] if self._has_place else ())])
        if len(self._lines) == _PER_GROUP:
            self._write()

    def close(self) -> None:
        self._write()
        if self._has_place:
            geometry: dict[str, Any] = {"encoding": "WKB", "geometry_types": ["Point"]}
            if self._bbox:
                geometry["bbox"] = self._bbox
            told = {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: geometry}}
            self._writer.add_key_value_metadata({"geo": json.dumps(told)})
        self._writer.close()

    def _write(self) -> None:
        if self._lines:
            columns = zip(*self._lines, strict=True)
            arrays = [pyarrow.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
            self._writer.write_batch(pyarrow.record_batch(arrays, schema=self._schema))
            self._lines = []


def _type(column: str) -> Any:
    if column in _TEXTS:
        return pyarrow.string()
    if column in _WHOLE:
        return pyarrow.int64()
    if column in _LISTS:
        return pyarrow.list_(pyarrow.float64())
    return pyarrow.bool_() if column.startswith(("is_", "touches_", "band_is_")) else pyarrow.float64()


def _text(value: Any) -> Any:
    """The text with a sign in place of bytes that are not UTF-8, as some file names have; None for an empty one."""
    return (value.encode(errors="surrogateescape").decode(errors="replace") or None) if isinstance(value, str) else value


@contextmanager
def parquet(findings: Findings) -> Iterator[_Add]:
    """Yields a function that takes one photograph after the other, in their order; at the end both files are complete."""
    columns = findings.columns
    with ExitStack() as stack:
        paths = [stack.enter_context(findings.survey.whole(name)) for name in (PHOTOGRAPHS, CRACKS)]
        files = [stack.enter_context(path.open("wb")) for path in paths]  # pyarrow takes no path that is not UTF-8
        photographs = _Table(files[0], columns.of_photographs, columns.with_taken)
        cracks = _Table(files[1], columns.of_cracks, columns.with_taken)

        def add(photograph: Photograph) -> None:
            photographs.add(columns.line(photograph), photograph.taken)
            for line in columns.crack_lines(photograph):
                cracks.add(line, photograph.taken)

        yield add
        photographs.close()
        cracks.close()
