"""The report's drawings as SVG, for the page and the PDF: cracks by width, and where the photographs were taken."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from inspection.report.ranking import length
from model.inference.width_classes import WidthClass
from model.inference.width_overlay import round_length

# The PDF's own font first; a browser falls back to its plain one.
_FONT = "font-family=\"'Libertinus Serif', sans-serif\""
_INK, _FAINT = "#1c2733", "#8796a5"
# ColorBrewer's YlOrRd, darkened at its light end to be seen on white; grey for cracks too narrow to measure.
COLOURS = ("#8796a5", "#d9b310", "#e8a000", "#f08000", "#ee6220", "#e03e1c", "#c81e22", "#a80f26", "#850026", "#5c0020")
_EARTH_M = 6_371_000  # mean radius
_MAP_PX = (680.0, 370.0)
_MAX_LABELS = 40
_MAX_RUNS = 5  # in a label


@dataclass(frozen=True)
class Place:
    """Where a photograph was taken; `rank` is the class of its widest crack, None without a crack."""

    latitude: float
    longitude: float
    rank: int | None
    label: str = ""


def histogram(rows: Sequence[tuple[WidthClass, int, float]], unit: str) -> str:
    """Bars with the number of cracks in each class; beside them that number and the total length."""
    row_px, label_px, bar_px, top_px = 24, 130, 330, 8
    most = max(n for _, n, _ in rows)
    parts = []
    for number, (of_width, n, total) in enumerate(rows):
        y = top_px + number * row_px
        parts.append(_text(label_px - 8, y + 16, of_width.name, "end"))
        wide = max(bar_px * n / most, 2 if n else 0)
        parts.append(
            f'<rect x="{label_px}" y="{y + 3}" width="{wide:.1f}" height="{row_px - 6}" fill="{COLOURS[of_width.rank]}"/>'
        )
        if n:
            parts.append(_text(label_px + wide + 8, y + 16, f"{n}  ({length(total, unit)})", "start"))
    height = top_px + len(rows) * row_px
    parts.append(f'<path d="M{label_px} {top_px}V{height}" stroke="{_INK}"/>')
    return _svg(label_px + bar_px + 140, height + 8, parts)


def site_map(places: Sequence[Place], classes: Sequence[WidthClass]) -> str:
    """Points on a plane that touches the earth at their middle, north up, with a bar in metres. No picture of the ground."""
    x_m, y_m = _plane([place.latitude for place in places], [place.longitude for place in places])
    width, height = _MAP_PX
    span_m = max((max(x_m) - min(x_m)) / (width - 120), (max(y_m) - min(y_m)) / (height - 120)) * (width - 120)
    px_per_m = (width - 120) / max(span_m, 20.0)
    middle_x, middle_y = (max(x_m) + min(x_m)) / 2, (max(y_m) + min(y_m)) / 2
    parts = [f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" fill="#f4f6f8" stroke="{_FAINT}"/>']
    order = sorted(range(len(places)), key=lambda number: -1 if (of := places[number].rank) is None else of)
    n_labels = 0
    for number in order:
        place = places[number]
        x = width / 2 + (x_m[number] - middle_x) * px_per_m
        y = height / 2 - (y_m[number] - middle_y) * px_per_m
        fill = "#ffffff" if place.rank is None else COLOURS[place.rank]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{fill}" stroke="{_INK}" stroke-width="1.2"/>')
        if place.label and n_labels < _MAX_LABELS:
            n_labels += 1
            is_left = x > 0.7 * width  # else a long label would leave the map
            parts.append(_text(x - 9 if is_left else x + 9, y + 4, place.label, "end" if is_left else "start"))
    bar_m = round_length(150 / px_per_m)
    parts += [
        f'<path d="M30 {height - 24}v-7h{bar_m * px_per_m:.1f}v7" fill="none" stroke="{_INK}" stroke-width="1.5"/>',
        _text(30 + bar_m * px_per_m / 2, height - 12, f"{bar_m:g} m" if bar_m < 1000 else f"{bar_m / 1000:g} km", "middle"),
        f'<path d="M{width - 35} 62V24m-7 13l7 -15l7 15" fill="none" stroke="{_INK}" stroke-width="1.8"/>',
        _text(width - 35, 80, "N", "middle"),
    ]
    ranks = sorted({-1 if place.rank is None else place.rank for place in places})
    for number, rank in enumerate(ranks):
        y = height + 22 + 20 * (number // 3)
        x = 16 + 220 * (number % 3)
        fill = "#ffffff" if rank < 0 else COLOURS[rank]
        parts.append(f'<circle cx="{x}" cy="{y - 4}" r="6" fill="{fill}" stroke="{_INK}" stroke-width="1.2"/>')
        parts.append(_text(x + 12, y, "no crack found" if rank < 0 else classes[rank].name, "start"))
    return _svg(width, height + 34 + 20 * ((len(ranks) - 1) // 3), parts)


def runs(numbers: Sequence[int]) -> str:
    """Ascending numbers in few characters: "1-4, 7, 9-12 ..."."""
    ends: list[list[int]] = []
    for number in numbers:
        if ends and number == ends[-1][1] + 1:
            ends[-1][1] = number
        else:
            ends.append([number, number])
    told = [str(first) if first == last else f"{first}-{last}" for first, last in ends]
    return ", ".join(told[:_MAX_RUNS]) + (" ..." if len(told) > _MAX_RUNS else "")


def _plane(latitudes: Sequence[float], longitudes: Sequence[float]) -> tuple[list[float], list[float]]:
    """Metres to the east and north (equirectangular), also across the 180th meridian."""
    first = longitudes[0]
    turned = [(longitude - first + 180) % 360 - 180 for longitude in longitudes]
    shrink = math.cos(math.radians((max(latitudes) + min(latitudes)) / 2))
    x_m = [math.radians(longitude) * shrink * _EARTH_M for longitude in turned]
    return x_m, [math.radians(latitude) * _EARTH_M for latitude in latitudes]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="13" fill="{_INK}" {_FONT}>{escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}">{"".join(parts)}</svg>'
