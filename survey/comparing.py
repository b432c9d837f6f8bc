"""Compares the photographs of two surveys with each other, wherever the model is.

Left to others: what has changed between two photographs (`changes`), what is written of it (`changes_page`), loading the model
(`compare`) or asking a server for what it sees (`inspections`).
"""

import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from tqdm import tqdm

from inspection.findings import Photograph, printable
from inspection.rows import Row
from model.inference.encoding import jpeg
from model.inference.errors import RequestError
from model.inference.photograph import decode
from survey.changes import Change, Former, Kind, Seen, changes
from survey.changes_page import PANELS, Compared, Heading, Measured, counted, draw, write_changes
from survey.changes_record import digest
from survey.engines import SurveyError
from survey.findings import Findings, unchanged
from survey.laying import Features, Picture, covered, lay_over, n_alike, px_ratio
from survey.sights import COARSER
from survey.sources import Source

_MOST_PAIRS = 250_000  # of photographs that are looked through for counterparts: a quarter of an hour
_N_FEATURES, _SIDE_PX = 400, 800  # of each photograph when counterparts are looked for
_N_TRIED = 4  # of the photographs that look most alike
_LEAST_MORE = 0.05  # of the later photograph, which a further earlier one has to show
_MOST_PX = 60e6  # of the earlier photographs beside a later one, as all of them are in memory
_SCALES_DIFFER = 1.2  # times: less than what makes a crack wider, and than an oblique photograph's scale varies
_NOT_THERE = "is not where its survey found it, or has changed since"
_NO_COUNTERPART = "No earlier photograph shows the same flat surface."

_Result = TypeVar("_Result")


class Workers(Protocol):
    """Who looks at photographs, called from threads. RequestError and RuntimeError concern one photograph alone."""

    def look(self, candidates: Sequence[tuple[bytes, Row]], later: bytes, row: Row) -> "Looked | None":
        """As the function `look`."""

    def small_features(self, photograph: bytes) -> Features:
        """As the function `small_features`."""

    def in_order(self, calls: Iterable[Callable[[], _Result]]) -> Iterator[_Result]:
        """The results of functions that use the methods above, in order."""


class Outcome(NamedTuple):
    """
    Attributes:
        record: what `write_changes` wrote and returned.
        n_compared, without, not_used: the later photographs that were compared; why others were not, by name; and the
            earlier photographs that were compared with none.
        counts: the cracks by their changes, in words.
        made: how differently the surveys were made; empty if they were not.
        n_contradicting: photographs whose scales contradict each other.
    """

    record: dict[str, Any]
    n_compared: int
    without: dict[str, str]
    not_used: list[str]
    counts: str
    made: str
    n_contradicting: int


def measured(findings: Findings) -> tuple[list[str], str]:
    """The photographs whose cracks have lines, and by what they were found. Raises SurveyError if there are none."""
    files, made = [], set()
    for photograph in findings.predicted():
        row = photograph.row
        if row.lines is not None:
            files.append(row.file)
            made.add(f"model {row.model_version} with threshold {row.threshold:g}" if row.threshold else row.model_version)
    if not files:
        name = findings.about.title or findings.survey.place("")
        raise SurveyError(f"{name} holds no photograph whose cracks were measured.", "Survey it again.")
    return files, f"{' and '.join(sorted(made))}, quality {findings.quality}"


def compare(
    earlier: Findings,
    later: Findings,
    workers: Workers,
    scratch: Path,
    pairs: Mapping[str, Sequence[str]] | None = None,
    *,
    with_bom: bool = False,
    bar: "Callable[..., tqdm[Any]]" = tqdm,
) -> Outcome:
    """Compare all photographs, and write the changes into the later survey.

    Args:
        scratch: a folder for pictures, which those of ten thousand photographs fit into.
        pairs: the earlier files by the later one; None looks for them.
        bar: shows the progress.

    Raises:
        SurveyError: nothing could be compared, and nothing was written.
    """
    (before, before_by), (after, after_by) = measured(earlier), measured(later)
    comparer = _Comparer(earlier, later, workers, scratch, bar)
    results = dict(comparer.compare(comparer.candidates(before, after) if pairs is None else pairs))
    found = [result for result in results.values() if isinstance(result, Compared)]
    without = {file: result for file, result in sorted(results.items()) if isinstance(result, str)}
    if not found:
        reasons = " ".join(list(dict.fromkeys(without.values()))[:3])
        raise SurveyError(
            f"Nothing could be compared, and nothing was written. {reasons}",
            "If photographs have moved, name their places by --earlier-photographs and --later-photographs. Name the "
            "photographs that belong together by --pairs.",
        )
    used = {file for each in found for file in each.earlier_files}
    not_used = [] if pairs is not None else [file for file in before if file not in used]
    made = "" if before_by == after_by else f"the earlier one by {before_by}, the later one by {after_by}"
    before_name, after_name = (
        printable(each.about.title or each.survey.place("").rstrip("/").rpartition("/")[2]) for each in (earlier, later)
    )
    heading = Heading(printable(later.title), before_name, after_name, made)
    n_cracks = [(file, len(earlier.find(file).row.cracks or ())) for file in not_used]
    record, counts = write_changes(later.survey, heading, found, without, n_cracks, with_bom), counted(found)
    n_contradicting = sum(bool(each.contradiction) for each in found)
    return Outcome(record, len(found), without, not_used, counts, made, n_contradicting)


@dataclass(frozen=True)
class _Comparer:
    earlier: Findings
    later: Findings
    workers: Workers
    scratch: Path  # pictures of ten thousand photographs don't fit into the memory
    bar: "Callable[..., tqdm[Any]]"

    def compare(self, candidates: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Compared | str]]:
        """Each later photograph, by name, beside those of its candidates that show the same; or why there is none."""
        calls = (
            partial(self._look, _Photograph.of(self.later, file), [_Photograph.of(self.earlier, name) for name in names])
            for file, names in candidates.items()
        )
        results = self.bar(self.workers.in_order(calls), total=len(candidates), desc="comparing", unit="photo")
        for file, found in zip(candidates, results, strict=True):
            if isinstance(found, str):
                yield file, found
                continue
            names, looked = found
            paths = {panel: self.scratch / f"{uuid.uuid4().hex}.jpg" for panel in PANELS}
            for panel, path in paths.items():
                path.write_bytes(looked.pictures[panel])
            changes = [Measured(change, self._mm_per_px(file, change)) for change in looked.changes]
            contradictions = [self._contradiction(name, file, px) for name, px in zip(names, looked.px, strict=True)]
            contradiction = next(filter(None, contradictions), "")
            yield file, Compared(file, names, changes, paths, digest(self.later.find(file)), contradiction)

    def _contradiction(self, earlier_file: str, file: str, px: float) -> str:
        """How the scales of two photographs contradict each other, if they do.

        Args:
            px: pixels of the later photograph that one of the earlier covers.
        """
        before, now = (_whole_scale(each) for each in (self.earlier.find(earlier_file), self.later.find(file)))
        if before is None or now is None or max(before / px / now, now * px / before) <= _SCALES_DIFFER:
            return ""
        return (
            f"The two scales contradict each other: a pixel of this photograph covers {now:.3g} mm by its own scale, and "
            f"{before / px:.3g} mm by that of the earlier photograph."
        )

    def _look(self, later: "_Photograph", candidates: "Sequence[_Photograph]") -> "tuple[tuple[str, ...], Looked] | str":
        data = later.read()
        if data is None:
            return f"The photograph {_NOT_THERE}."
        formers = [(former, candidate.row) for candidate in candidates if (former := candidate.read()) is not None]
        if not formers:
            return f"The earlier photograph {_NOT_THERE}."
        try:
            found = self.workers.look(formers, data, later.row)
        except (RequestError, RuntimeError) as error:
            return str(error)
        return (tuple(formers[index][1].file for index in found.used), found) if found else _NO_COUNTERPART

    def candidates(self, before: Sequence[str], after: Sequence[str]) -> dict[str, list[str]]:
        """For each later photograph the earlier one of its name, and those that look most like it. Where there are too many to
        look at all of them, those that have one of their name are compared with that alone.
        """
        named = {file: [file] if file in before else [] for file in after}
        unnamed = [file for file in after if not named[file]]
        alike = self._alike(before, after if len(before) * len(after) <= _MOST_PAIRS else unnamed)
        return {file: list(dict.fromkeys([*names, *alike.get(file, ())])) for file, names in named.items()}

    def _alike(self, before: Sequence[str], after: Sequence[str]) -> dict[str, list[str]]:
        """For each later photograph the earlier ones that look most like it. Raises SurveyError where there are too many."""
        if not after:
            return {}
        if len(before) * len(after) > _MOST_PAIRS:
            raise SurveyError(
                f"{len(after)} photographs have no counterpart of the same name, too many to look for one by what they show.",
                "Name the pairs by --pairs.",
            )
        known, asked = self._features(self.earlier, before), self._features(self.later, after)
        return {
            file: sorted(known, key=lambda name: -n_alike(known[name], features))[:_N_TRIED]
            for file, features in self.bar(asked.items(), desc="looking for counterparts", unit="photo")
        }

    def _features(self, findings: Findings, files: Sequence[str]) -> dict[str, Features | None]:
        calls = (partial(self._small, _Photograph.of(findings, file)) for file in files)
        results = self.bar(self.workers.in_order(calls), total=len(files), desc=f"looking at {findings.title}", unit="photo")
        return dict(zip(files, results, strict=True))

    def _small(self, photograph: "_Photograph") -> Features | None:
        data = photograph.read()
        try:
            return self.workers.small_features(data) if data else None
        except (RequestError, RuntimeError):
            return None  # it is told when it is compared

    def _mm_per_px(self, file: str, change: Change) -> float | None:
        photograph = self.later.find(file)
        if change.kind is not Kind.GONE:
            crack = next(each for each in photograph.cracks if each["id"] == change.id)
            return crack["length_mm"] / crack["length_px"] if "length_mm" in crack else None
        return photograph.scale.mm_per_px if photograph.scale else None


@dataclass(frozen=True)
class _Photograph:
    """What a thread needs of a photograph, as one thread alone may read the journal."""

    row: Row
    source: Source

    @classmethod
    def of(cls, findings: Findings, file: str) -> "_Photograph":
        return cls(findings.find(file).row, findings.about.photographs)

    def read(self) -> bytes | None:
        return unchanged(self.source, self.row)


def _whole_scale(photograph: Photograph) -> float | None:
    """Millimetres per pixel of a photograph; with a marker, the median of its cracks' own."""
    if photograph.scale:
        return photograph.scale.mm_per_px
    own = [crack["length_mm"] / crack["length_px"] for crack in photograph.cracks if "length_mm" in crack]
    return median(own) if own else None


class Looked(NamedTuple):
    """What has changed since earlier photographs.

    Attributes:
        used: the indices of those that show more of the later one than the ones before them.
        px: of each, `px_ratio`.
        pictures: a JPEG for each of `PANELS`.
    """

    used: list[int]
    px: list[float]
    changes: list[Change]
    pictures: dict[str, bytes]


def look(
    see: Callable[[bytes, Picture], Picture], candidates: Sequence[tuple[bytes, Row]], later: bytes, row: Row
) -> Looked | None:
    """Compare a photograph with earlier ones; None if none of them shows the same.

    Args:
        see: the crack probability, uint8 (height, width), 255 = certain, of a photograph's file and its pixels.
    """
    image_hwc_u8 = decode(later)
    features, size_wh = Features.of(image_hwc_u8), image_hwc_u8.shape[1::-1]
    used, ratios, formers = list[int](), list[float](), list[Former]()
    is_covered = np.zeros(1, np.bool_)
    for index, (data, former_row) in enumerate(candidates):
        if is_covered.mean() > 1 - _LEAST_MORE:
            break
        former_hwc_u8 = decode(data)
        former_wh = former_hwc_u8.shape[1::-1]
        if formers and sum(each.seen.prob_hw_u8.size for each in formers) + math.prod(former_wh) > _MOST_PX:
            break
        to_later = lay_over(Features.of(former_hwc_u8), features)
        if to_later is None:
            continue
        covers = covered(former_wh, size_wh, to_later)
        if not covers.any() or (formers and (covers & ~is_covered).mean() < _LEAST_MORE):
            continue
        used.append(index)
        ratios.append(px_ratio(former_wh, size_wh, to_later))
        formers.append(Former(Seen(see(data, former_hwc_u8), former_hwc_u8, former_row), to_later))
        if ratios[-1] < COARSER:  # else a closer one may tell more of the same place
            is_covered = is_covered | covers
    if not formers:
        return None
    told = changes(formers, Seen(see(later, image_hwc_u8), image_hwc_u8, row))
    former_pictures = [(each.seen.image_hwc_u8, each.to_later) for each in formers]
    drawn = zip(PANELS, draw(former_pictures, image_hwc_u8, told), strict=True)
    return Looked(used, ratios, told, {panel: jpeg(picture) for panel, picture in drawn})


def small_features(photograph: bytes) -> Features:
    """Enough of a photograph to tell whether another one is like it."""
    return Features.of(decode(photograph), _N_FEATURES, _SIDE_PX)
