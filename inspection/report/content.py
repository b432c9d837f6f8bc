"""The words and numbers of a report, which the page and the PDF use unchanged.

Left to others: the pictures (`pictures`, `drawings`), the order (`ranking`) and the two forms (`writing`, its templates).
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inspection.findings import Examination, Findings, Mark, Photograph, printable
from inspection.left_out import LookAlike, counted
from inspection.report.drawings import Place, histogram, runs, site_map
from inspection.report.ranking import figure, length, rank, scale_at, width
from inspection.rows import Status
from inspection.taken import Taken
from model.inference.millimetres import Scale
from model.inference.standards import NOTE, Standard
from model.inference.width_classes import classes, unit_of, width_class

MAX_IN_TABLE = 500  # of the cracks that get no page: some twelve pages
MAX_LEFT_OUT = 200
UNITS = ("mm", "px")
Pairs = list[tuple[str, str]]
NO_BAND = "No band: no scale, or the width is not known well enough"
_REJECTED = "Rejected by the inspector: nothing of it is in this report."
_SOURCES = {"given": "as given", "camera": "by distance and camera", "marker": "by a marker in it"}


@dataclass(frozen=True)
class Found:
    """One crack of one photograph; `index` counts its cracks from 0."""

    key: tuple[float, ...]
    file: str
    index: int


@dataclass
class Total:
    """Of some cracks; lengths and the largest width (95th percentile) by unit."""

    n_photographs: int = 0
    n_cracks: int = 0
    length: dict[str, float] = field(default_factory=dict)
    widest: dict[str, float] = field(default_factory=dict)

    def add(self, crack: Mapping[str, Any]) -> None:
        unit = unit_of(crack)
        self.n_cracks += 1
        self.length[unit] = self.length.get(unit, 0.0) + crack[f"length_{unit}"]
        self.widest[unit] = max(self.widest.get(unit, 0.0), crack.get(f"width_p95_{unit}") or 0.0)

    @property
    def told_length(self) -> str:
        return " and ".join(length(value, unit) for unit, value in self.length.items())

    @property
    def told_widest(self) -> str:
        return " and ".join(f"{figure(value)} {unit}" for unit, value in self.widest.items() if value)


@dataclass
class Overview:
    """The result of reading all photographs once; of its parts only `places` and `folders` grow with their number.

    Attributes:
        status: without those that a person rejected.
        bands: of a standard, the most serious first.
        folders: of photographs, by their names.
        widest: by unit, the widest crack's 95th percentile and its photograph.
        first: the cracks that are shown one by one, by rank.
        left_out: names and reasons, the first `MAX_LEFT_OUT`.
        look_alikes: what people marked as not a crack.
    """

    n_with_cracks: int = 0
    n_cracks: int = 0
    status: Counter[Status] = field(default_factory=Counter)
    marks: Counter[Mark] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    thresholds: Counter[float] = field(default_factory=Counter)
    of_class: dict[str, Counter[int]] = field(default_factory=lambda: {unit: Counter() for unit in UNITS})
    length_of_class: dict[str, dict[int, float]] = field(default_factory=lambda: {unit: defaultdict(float) for unit in UNITS})
    bands: dict[str, Total] = field(default_factory=lambda: defaultdict(Total))
    folders: dict[str, Total] = field(default_factory=lambda: defaultdict(Total))
    widest: dict[str, tuple[float, str]] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    first: list[Found] = field(default_factory=list)
    left_out: Pairs = field(default_factory=list)
    n_left_out: int = 0
    n_with_zones: int = 0
    look_alikes: list[LookAlike] = field(default_factory=list)


def look(findings: Findings, n_told: int) -> Overview:
    """Read all photographs once.

    Args:
        n_told: how many cracks are shown one by one, on pages and in the table after them.
    """
    seen = Overview()
    seen.first = heapq.nsmallest(n_told, _cracks(findings, seen), key=lambda found: (found.key, found.file, found.index))
    return seen


def _cracks(findings: Findings, seen: Overview) -> Iterator[Found]:
    for photograph in findings.photographs():
        if photograph.mark is not Mark.REJECTED:
            _place(seen, photograph)
        yield from add(seen, photograph)


def add(seen: Overview, photograph: Photograph) -> list[Found]:
    """Count a photograph, without its place; returns its cracks."""
    row, cracks = photograph.row, photograph.cracks
    folder = printable(row.file.rpartition("/")[0])
    if photograph.mark is not None:
        seen.marks[photograph.mark] += 1
    if photograph.mark is Mark.REJECTED:
        _leave_out(seen, row.file, _REJECTED + (f" Note: {printable(photograph.note)}" if photograph.note else ""))
        return []
    seen.status[row.status] += 1
    reason = row.error or ("" if row.lines is not None else "An older version answered, which measured less.")
    if row.status is not Status.PREDICTED or row.lines is None:
        _leave_out(seen, row.file, reason)
    if photograph.left_out:
        _leave_out(seen, row.file, photograph.left_out)
        seen.n_with_zones += bool(photograph.zones)
        seen.look_alikes += photograph.look_alikes
    if row.status is Status.PREDICTED:
        seen.models[row.model_version] += 1
        if row.scale is not None:
            seen.sources[row.scale.get("scale_source") or ""] += 1
        seen.thresholds[row.threshold or 0.0] += 1
        seen.folders[folder].n_photographs += 1
    seen.n_with_cracks += bool(cracks)
    for crack in cracks:
        unit = unit_of(crack)
        of_width = width_class(crack)
        seen.n_cracks += 1
        seen.of_class[unit][of_width.rank] += 1
        seen.length_of_class[unit][of_width.rank] += crack[f"length_{unit}"]
        wide = crack.get(f"width_p95_{unit}") or 0.0
        if wide > seen.widest.get(unit, (0.0, ""))[0]:
            seen.widest[unit] = wide, row.file
        seen.folders[folder].add(crack)
        if photograph.standard is not None:
            seen.bands[band["name"] if (band := crack.get("band")) else NO_BAND].add(crack)
    if row.lines is None:
        return []
    return [Found(rank(crack, row.crack_score), row.file, index) for index, crack in enumerate(cracks)]


def _leave_out(seen: Overview, name: str, reason: str) -> None:
    seen.n_left_out += 1
    if len(seen.left_out) < MAX_LEFT_OUT:
        seen.left_out.append((printable(name), reason))


def _place(seen: Overview, photograph: Photograph) -> None:
    taken = photograph.taken
    if taken.latitude is not None and taken.longitude is not None:
        ranks = [width_class(crack).rank for crack in photograph.cracks]
        seen.places[photograph.row.file] = Place(taken.latitude, taken.longitude, max(ranks, default=None))


def cover(given: Mapping[str, str], examination: Examination, seen: Overview) -> Pairs:
    """What was inspected, and how; empty fields are left out."""
    thresholds = ", ".join(f"{threshold:.3g}" for threshold in sorted(seen.thresholds))
    models = ", ".join(f"{version} ({n})" if len(seen.models) > 1 else version for version, n in seen.models.items())
    named = {"structure": "Structure", "element": "Element", "date": "Date of inspection", "inspector": "Inspector"}
    people = [(named.get(name, name.replace("_", " ").capitalize()), printable(text)) for name, text in given.items() if text]
    return [
        *people,
        ("Method", "A neural network searched the photographs for cracks; each crack was measured across its centre line"),
        (
            "Model",
            f"{models or 'none'}; crack at a probability of {thresholds or 'none'} or more; quality {examination.quality}",
        ),
        ("Scale", scale_text(examination.scale, seen)),
        *standard_rows(examination.standard),
    ]


def standard_rows(standard: Standard | None) -> Pairs:
    if standard is None:
        return []
    return [("Standard", f"{standard.title}; {standard.exposure_title}. {NOTE}"), ("Its source", standard.source)]


def scale_text(scale: Scale | None, seen: Overview) -> str:
    if scale is not None:
        return f"{figure(scale.mm_per_px)} mm per pixel, {_SOURCES.get(scale.source, scale.source)}, for all photographs"
    if seen.sources:
        told = [f"{_SOURCES.get(source, source) or 'none found, in pixels'} ({n})" for source, n in seen.sources.items()]
        n_without = seen.status[Status.PREDICTED] - seen.sources.total()
        told += [f"none given, in pixels ({n_without})"] if n_without else []
        return f"For each photograph: {'; '.join(told)}"
    return "None: all figures are in pixels and say nothing about sizes on the surface"


def summary(seen: Overview, standard: Standard | None, n_pages: int) -> Pairs:
    """The figures of all photographs together."""
    n_kept = seen.status.total() - seen.status[Status.LEFT_OUT]
    n_missing = n_kept - seen.status[Status.PREDICTED]
    decided = ", ".join(f"{seen.marks[mark]} {mark.value}" for mark in Mark if seen.marks[mark])
    rows = [
        ("Photographs", f"{n_kept + seen.marks[Mark.REJECTED]}"),
        *([("Decided by a person", decided)] if decided else []),
        ("Photographs with cracks", f"{seen.n_with_cracks}"),
        ("Photographs without cracks", f"{seen.status[Status.PREDICTED] - seen.n_with_cracks}"),
        *_left_out_by_people(seen),
        *([("Not evaluated (see Left out)", f"{n_missing}")] if n_missing else []),
        *([("Other files, not looked at (see Left out)", f"{n_files}")] if (n_files := seen.status[Status.LEFT_OUT]) else []),
        ("Cracks", f"{seen.n_cracks}"),
    ]
    for unit in UNITS:
        if seen.of_class[unit]:
            rows.append((f"Total length{_of(unit, seen)}", length(sum(seen.length_of_class[unit].values()), unit)))
            if unit in seen.widest:
                value, file = seen.widest[unit]
                rows.append((f"Widest, 95th percentile{_of(unit, seen)}", f"{figure(value)} {unit}, in {printable(file)}"))
            rows.append((f"Too narrow to measure{_of(unit, seen)}", f"{seen.of_class[unit][0]}"))
    rows += [
        (name, f"{total.n_cracks} ({total.told_length})" if total.n_cracks else "0") for name, total in bands(seen, standard)
    ]
    if seen.n_cracks > n_pages:
        rows.append(("Cracks with a page below", f"{n_pages}, by rank; the others follow in a table"))
    return rows


def bands(seen: Overview, standard: Standard | None) -> list[tuple[str, Total]]:
    """What is in each band of the standard, the most serious first, and what is in none."""
    if standard is None or not seen.n_cracks:
        return []
    return [(name, seen.bands.get(name, Total())) for name in (*reversed(standard.bands.names), NO_BAND)]


def folders(seen: Overview) -> list[list[str]]:
    """The values of `FOLDER_COLUMNS` for each folder; none if all photographs are in the same."""
    if len(seen.folders) < 2:
        return []
    return [
        [name or "(no folder)", str(total.n_photographs), str(total.n_cracks), total.told_length, total.told_widest]
        for name, total in sorted(seen.folders.items())
    ]


def _left_out_by_people(seen: Overview) -> Pairs:
    parts = [f"parts of {seen.n_with_zones} photograph{'s' if seen.n_with_zones > 1 else ''}"] if seen.n_with_zones else []
    marked = [f"what was marked as no crack ({counted(seen.look_alikes)})"] if seen.look_alikes else []
    told = " and ".join(parts + marked)
    return [("Left out of all figures by a person", f"{told}; see Left out")] if told else []


def _of(unit: str, seen: Overview) -> str:
    both = seen.of_class["mm"] and seen.of_class["px"]
    return (" (cracks with a scale)" if unit == "mm" else " (cracks without a scale)") if both else ""


def histograms(seen: Overview) -> list[str]:
    """SVG, one for each unit in use."""
    drawn = []
    for unit in UNITS:
        counts = seen.of_class[unit]
        if counts:
            ranks = [of_width for of_width in classes(unit) if min(counts) <= of_width.rank <= max(counts)]
            rows = [(of_width, counts[of_width.rank], seen.length_of_class[unit][of_width.rank]) for of_width in ranks]
            drawn.append(histogram(rows, unit))
    return drawn


def place_map(seen: Overview, numbers: Mapping[str, Sequence[int]]) -> str | None:
    """SVG; None if no photograph has a position.

    Args:
        numbers: the numbers of each photograph's findings, by its file.
    """
    if not seen.places:
        return None
    places = [
        Place(place.latitude, place.longitude, place.rank, runs(numbers.get(file, ()))) for file, place in seen.places.items()
    ]
    return site_map(places, classes("mm" if seen.of_class["mm"] else "px"))


def finding_rows(photograph: Photograph, index: int) -> Pairs:
    """The table of a finding."""
    crack, row = photograph.cracks[index], photograph.row
    unit = unit_of(crack)
    uncertainty = crack.get(f"width_uncertainty_{unit}")
    limit = crack.get(f"width_limit_{unit}")
    rows = [
        ("Photograph", printable(row.file)),
        *_decided_rows(photograph),
        *([("Note", printable(photograph.note))] if photograph.note else []),
        *([("Left out by a person, dark above", photograph.left_out)] if photograph.zones else []),
        ("Crack", f"{crack['id']} of {len(photograph.cracks)} in it"),
        ("Length", length(crack[f"length_{unit}"], unit)),
    ]
    if crack["is_width_below_limit"]:
        rows.append(("Width", f"{width(crack, 'median')}, too narrow to measure"))
    else:
        told = width(crack, "median") + (f" \u00b1 {uncertainty:.2g} {unit}" if uncertainty is not None else "")
        rows += [
            ("Width, median", told),
            ("Width, 95th percentile", width(crack, "p95")),
            ("Width, largest", width(crack, "max")),
        ]
        rows += [("Narrowest measurable width", f"{figure(limit)} {unit}")] if limit is not None else []
    area = crack.get("area_mm2")
    rows += [
        ("Area", f"{figure(area)} mm\u00b2" if area is not None else f"{crack['area_px']:,} pixels"),
        ("Direction", f"{crack['orientation_deg']:.0f}\u00b0 (0 horizontal, 90 vertical, 45 rises to the right)"),
        ("Lines between ends and junctions", f"{crack['n_branches']}"),
        ("Reaches the photograph's edge", "yes, and may continue" if crack["touches_edge"] else "no"),
        ("Mean probability", f"{crack['probability_mean']:.2f}"),
        *([("Crack score of the photograph", f"{row.crack_score:.3f}")] if row.crack_score is not None else []),
        *taken_rows(photograph.taken),
    ]
    if (scale := scale_at(crack, photograph.scale)) is not None:
        source = photograph.told_scale.get("scale_source", "")
        sure = crack.get("scale_uncertainty_ratio")
        within = f", \u00b1 {100 * sure:.2g}%" if sure is not None else ""
        rows.append(("Scale", f"{figure(scale)} mm per pixel, {_SOURCES.get(source, source)}{within}"))
    elif note := photograph.told_scale.get("scale_note"):
        rows.append(("Scale", printable(note)))
    if band := crack.get("band"):
        sure = "" if band.get("is_certain", True) else " (within the uncertainty of the width, another band is possible)"
        rows.append(("Band, a guide value", f"{printable(band['name'])}{sure}"))
    return rows


def _decided_rows(photograph: Photograph) -> Pairs:
    if photograph.mark is None:
        return []
    who, at = photograph.decided
    return [("Decided by a person", f"{photograph.mark.value} ({printable(who)}, {at[:10]})" if who else photograph.mark.value)]


def taken_rows(taken: Taken) -> Pairs:
    rows = [("Taken", taken.at.replace("T", " "))] if taken.at else []
    if taken.latitude is not None:
        rows.append(("Position (WGS84)", f"{taken.latitude:.5f}, {taken.longitude:.5f}"))
    return rows


def table_row(photograph: Photograph, index: int, number: int) -> list[str]:
    """A line of the table: the values of `TABLE_COLUMNS`."""
    crack, score = photograph.cracks[index], photograph.row.crack_score
    return [
        str(number),
        printable(photograph.row.file),
        str(crack["id"]),
        length(crack[f"length_{unit_of(crack)}"], unit_of(crack)),
        width(crack, "p95"),
        "" if score is None else f"{score:.3f}",
    ]


FOLDER_COLUMNS = ["Folder", "Photographs", "Cracks", "Total length", "Widest (95th perc.)"]
MAX_FOLDERS = 100
TABLE_COLUMNS = ["No.", "Photograph", "Crack", "Length", "Width (95th perc.)", "Crack score"]


def left_out(seen: Overview, gone: Sequence[str], elsewhere: str) -> Pairs:
    """Photographs and files that the report leaves out, with the reason; a long list ends with a reference to `elsewhere`."""
    rows = list(seen.left_out)
    if seen.n_left_out > len(rows):
        rows.append((f"{seen.n_left_out - len(rows)} more files", f"The reasons are in {elsewhere}."))
    rows += [(printable(file), "It is no longer in the folder of photographs.") for file in gone[:MAX_LEFT_OUT]]
    if len(gone) > MAX_LEFT_OUT:
        rows.append((f"{len(gone) - MAX_LEFT_OUT} more photographs", "They are no longer in the folder of photographs."))
    return rows


def notes(scale: Scale | None) -> list[str]:
    """What readers must know about the figures."""
    return [*_NOTES, *([_ONE_SCALE] if scale else [])]


_NOTES = [
    "A neural network found the cracks. It misses some and mistakes other lines for cracks: a person has to confirm each one "
    "on the structure before anything is decided. Nothing here is a verdict on safety.",
    "Widths are of the opening at the surface, broken edges included, on the day of the photograph. A stain or a shadow along "
    "a crack counts as width. A crack too narrow to measure is reported as narrower than a limit, without a number. The figure "
    "behind \u00b1 is one standard error: in about two of three cases the true width is no further off.",
]
_ONE_SCALE = (
    "The scale holds for photographs taken at a right angle to the surface; in an oblique one it is right at one distance only."
)
