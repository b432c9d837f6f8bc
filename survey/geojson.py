"""`cracks.geojson`: each crack as a point where its photograph was taken, for a GIS (RFC 7946: longitude, latitude, WGS84)."""

import json
from collections.abc import Iterator
from typing import Any

from inspection.findings import printable
from survey.findings import Findings

NAME = "cracks.geojson"


def write_geojson(findings: Findings) -> None:
    """A feature for each crack; its geometry is null where the photograph has no position or none was asked for."""
    with findings.survey.whole(NAME) as path, path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, feature in enumerate(_features(findings), 1):
            file.write(",\n" if number > 1 else "\n")
            # A number of its own: GDAL would take the crack's, which begins anew with each photograph.
            json.dump({"type": "Feature", "id": number, **feature}, file, ensure_ascii=False)
        file.write("\n]}\n")


def _features(findings: Findings) -> Iterator[dict[str, Any]]:
    for photograph in findings.predicted():
        row, taken = photograph.row, photograph.taken
        point = None
        if taken.latitude is not None:
            point = {"type": "Point", "coordinates": [taken.longitude, taken.latitude]}
        about = {"file": printable(row.file), "crack_score": row.crack_score, "model_version": row.model_version}
        if findings.about.with_exif:
            about["taken_at"] = taken.at or None
        for crack in photograph.cracks:
            yield {"geometry": point, "properties": {**about, **crack}}
