"""`cracks.geojson`: each crack as a point where its photograph was taken, for a GIS (RFC 7946: longitude, latitude, WGS84)."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from inspection.findings import Photograph, printable
from inspection.rows import Status
from inspection.tables import flat
from survey.findings import Findings

NAME = "cracks.geojson"


@contextmanager
def geojson(findings: Findings) -> Iterator[Callable[[Photograph], None]]:
    """Yields a function that takes one photograph after the other and writes a feature for each crack; its geometry is null if
    the photograph has no position, or none was asked for.
    """
    with findings.survey.whole(NAME) as path, path.open("wb") as file:
        file.write(b'{"type": "FeatureCollection", "features": [')
        numbers = itertools.count(1)  # else GDAL takes the cracks' ids, which start again in each photograph

        def add(photograph: Photograph) -> None:
            for feature in _features(photograph, findings.about.with_exif):
                number = next(numbers)
                file.write(b",\n" if number > 1 else b"\n")
                file.write(orjson.dumps({"type": "Feature", "id": number, **feature}))

        yield add
        file.write(b"\n]}\n")


def _features(photograph: Photograph, with_exif: bool) -> Iterator[dict[str, Any]]:
    row, taken = photograph.row, photograph.taken
    if row.status is not Status.PREDICTED or not row.cracks:
        return
    point = None
    if taken.latitude is not None:
        point = {"type": "Point", "coordinates": [taken.longitude, taken.latitude]}
    about = {"file": printable(row.file), "crack_score": row.crack_score, "model_version": row.model_version}
    if with_exif:
        about["taken_at"] = taken.at or None
    for crack in photograph.cracks:
        yield {"geometry": point, "properties": {**about, **flat(crack)}}  # QGIS can't style by a part of a value
