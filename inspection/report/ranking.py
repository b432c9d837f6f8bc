"""The order of cracks in a report, and how their figures are written."""

from collections.abc import Mapping
from typing import Any

from model.inference.millimetres import Scale
from model.inference.width_classes import unit_of

RULE = (
    "Findings are sorted by the band of the named standard, the most serious first, where there is one; then by the crack "
    "score, which tells how sure the model is that the photograph shows a crack at all; then by the width (95th percentile), "
    "the widest first. Cracks too narrow to measure follow by length. The share of a photograph that is crack plays no "
    "part."
)


def rank(crack: Mapping[str, Any], crack_score: float | None) -> tuple[float, ...]:
    """As `RULE` says: the smallest comes first."""
    unit = unit_of(crack)
    return (
        -(band.get("above_mm") or 0.0) if (band := crack.get("band")) else 1.0,
        -(crack_score if crack_score is not None else -1.0),
        -(crack.get(f"width_p95_{unit}") or 0.0),
        -crack[f"length_{unit}"],
    )


def length(value: float, unit: str) -> str:
    if unit == "mm":
        return f"{value / 1000:.2f} m" if value >= 1000 else f"{figure(value)} mm"
    return f"{value:,.0f} px"


def width(crack: Mapping[str, Any], name: str) -> str:
    """`name` is "median", "p95" or "max"; of a crack too narrow to measure only the limit is given."""
    unit = unit_of(crack)
    value = crack.get(f"width_{name}_{unit}")
    if value is not None:
        return f"{figure(value)} {unit}"
    limit = crack.get(f"width_limit_{unit}")
    return f"< {figure(limit)} {unit}" if limit is not None else "unknown"


def figure(value: float) -> str:
    """Three significant digits, or all digits before the decimal point: 0.124, 1.18, 26.4, 1208."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def scale_at(crack: Mapping[str, Any], scale: Scale | None) -> float | None:
    """Millimetres per pixel: the photograph's, or the crack's own if it comes from a marker; None without a scale."""
    return scale.mm_per_px if scale else crack.get("mm_per_px")
