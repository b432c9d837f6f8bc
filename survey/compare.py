"""Compares two surveys of the same structure: `crack compare --help`.

Left to others: what has changed between two photographs (`changes`), and loading the model (`processes`).
"""

import argparse
import csv
import io
import os
import shutil
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

import cv2
import jinja2
import numpy as np
from tqdm import tqdm

from crack.foreign import read_text
from crack.instance import of_instance
from crack.serving import Serving
from crack.temporary import OwnFolder
from inspection.findings import printable
from inspection.rows import Row
from inspection.spreadsheets import csv_lines
from model.inference import runtime
from model.inference.encoding import jpeg
from model.inference.errors import RequestError
from model.inference.photograph import decode
from survey.arguments import folder_or_url
from survey.changes import Change, Features, Float, Kind, Picture, Seen, changes, lay_over, n_alike
from survey.engines import StoppedError, SurveyError
from survey.findings import About, Findings, unchanged
from survey.folder import open_survey
from survey.pictures import fitting
from survey.processes import Core, EndedError, Processes, default_n
from survey.results import CHANGES as TABLE
from survey.results import CHANGES_PAGE as PAGE
from survey.results import present
from survey.sheet import link_results
from survey.sources import Source, saved_source
from survey.stopping import DONE, INTERRUPTED, NOT_POSSIBLE, SOME_MISSING, stopped_by_signals

PICTURES = "changes"
_LENGTHS = ("length", "changed", "width_before", "width")
COLUMNS = (
    *("file", "earlier_file", "change", "id", "earlier_ids"),
    *(f"{name}_{unit}" for unit in ("px", "mm") for name in _LENGTHS),
)
_MOST_PAIRS = 250_000  # of photographs that are looked through for counterparts: a quarter of an hour
_N_FEATURES, _SIDE_PX = 400, 800  # of each photograph when counterparts are looked for
_N_TRIED = 3  # of the photographs that look most alike
_PICTURE_PX = 1200  # the longer side of each half of a picture
_NEW, _BEFORE, _GONE = (255, 0, 64), (0, 140, 255), (255, 200, 0)


@dataclass(frozen=True)
class Compared:
    """A photograph of the later survey beside one of the earlier.

    Attributes:
        changes: with each the millimetres by pixel, None without a scale.
        picture: a JPEG, see `draw`.
    """

    file: str
    earlier_file: str
    changes: list[tuple[Change, float | None]]
    picture: Path

    @property
    def changed_px(self) -> float:
        return sum(change.changed_px for change, _ in self.changes if change.kind in (Kind.NEW, Kind.GROWN))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="crack compare",
        description="Compare two surveys of the same structure: which cracks are new, longer or wider, and which are no\n"
        f"longer found. It writes {TABLE}, {PAGE} and the folder {PICTURES} into LATER.\n\n"
        "Photographs of the same place are laid over each other by what both show, so they need not be taken from the\n"
        "same point, but the surface must be about flat. Two photographs of one name are tried first; for the others the\n"
        "one that looks most alike is looked for. The served model examines both photographs again.",
        epilog="examples:\n"
        "  crack compare bridge-7-2024-cracks bridge-7-2026-cracks\n"
        "  crack compare bridge-7-2024-cracks bridge-7-2026-cracks --pairs pairs.csv\n\n"
        "exit codes:\n"
        "  0    each photograph of LATER was compared, or each pair\n"
        "  1    some have no counterpart: changes.html lists them\n"
        "  2    nothing could be compared: wrong usage, no survey, no archive\n"
        "  130  stopped by Ctrl-C\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("earlier", type=folder_or_url, metavar="EARLIER", help="results of the earlier survey: folder or URL")
    parser.add_argument("later", type=folder_or_url, metavar="LATER", help="results of the later survey")
    parser.add_argument(
        "--pairs",
        type=Path,
        metavar="FILE",
        help="CSV with two columns, the file in EARLIER and the file in LATER; nothing else is compared",
    )
    parser.add_argument(
        "--earlier-photographs", metavar="PLACE", help="where EARLIER's photographs are now, if they have moved"
    )
    parser.add_argument("--later-photographs", metavar="PLACE", help="where LATER's photographs are now, if they have moved")
    parser.add_argument("--archive", type=Path, help="the model's archive (default: the served one in the model store)")
    parser.add_argument("--concurrency", type=int, default=default_n(), help="number of processes (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _compare(chosen)
    except StoppedError:
        print("Stopped; nothing was written. Run the same command again.")
        return INTERRUPTED
    except BlockingIOError:
        parser.exit(NOT_POSSIBLE, "error: A survey is writing one of the two folders. Wait for it.\n")
    except (SurveyError, ValueError, OSError) as error:
        parser.exit(NOT_POSSIBLE, f"error: {error}\n")


def _compare(chosen: argparse.Namespace) -> int:
    """Do what `main` was asked for; returns the exit code. Raises what `main` catches."""
    places = [place.resolve() if isinstance(place, Path) else place for place in (chosen.earlier, chosen.later)]
    if places[0] == places[1]:
        raise SurveyError(f"{chosen.earlier} is named twice. Name the earlier survey, then the later one.")
    model_store = Path(of_instance(os.environ)["CRACK_MODEL_STORE"])
    archive = chosen.archive or model_store / Serving.read(model_store).default
    stopping = threading.Event()
    with ExitStack() as stack:
        earlier = _findings(stack, chosen.earlier, chosen.earlier_photographs)
        later = _findings(stack, chosen.later, chosen.later_photographs)
        before, after = _measured(earlier), _measured(later)
        pairs = _read_pairs(chosen.pairs, before, after) if chosen.pairs else None
        processes = Processes(archive, max(1, chosen.concurrency), runtime.AUTO, stopping)
        stack.callback(processes.close)
        print(f"Photographs: {len(before)} in {chosen.earlier}, {len(after)} in {chosen.later}.", flush=True)
        with stopped_by_signals(stopping):
            scratch = OwnFolder("crack-changes")
            stack.callback(scratch.remove)
            comparer = _Comparer(earlier, later, processes, scratch.path)
            named = pairs if pairs is not None else {file: [file] for file in after if file in before}
            found = dict(comparer.compare(named, "comparing"))
            if pairs is None:
                remaining = [file for file in after if file not in found]
                found |= comparer.compare(comparer.alike(before, remaining), "comparing those alike")
        if stopping.is_set():
            raise StoppedError
        without = [file for file in (named if pairs is not None else after) if file not in found]
        _write(later, sorted(found.values(), key=lambda each: (-each.changed_px, each.file)), without, str(chosen.earlier))
        counts = {kind: sum(change.kind is kind for each in found.values() for change, _ in each.changes) for kind in Kind}
        told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "none"
        print(f"Compared: {len(found)}; without a counterpart: {len(without)}. Cracks: {told}.")
        if not found:
            print(
                "No earlier photograph shows the same as a later one, or the photographs are not where their surveys found "
                "them: then name their places by --earlier-photographs and --later-photographs."
            )
        print(later.survey.place(PAGE))
    return SOME_MISSING if without else DONE


def _findings(stack: ExitStack, place: Path | str, photographs: str | None) -> Findings:
    survey = open_survey(place, None)
    stack.callback(survey.close)
    about = About.load(survey)
    if photographs is not None:
        about = replace(about, photographs=saved_source(photographs))
    return Findings(survey, about, survey.files())


def _measured(findings: Findings) -> list[str]:
    """The photographs whose cracks have lines. Raises SurveyError if there are none."""
    files = [each.row.file for each in findings.predicted() if each.row.lines is not None]
    if not files:
        raise SurveyError(f"{findings.survey.place('')} holds no photograph whose cracks were measured. Survey it again.")
    return files


def _read_pairs(path: Path, before: Sequence[str], after: Sequence[str]) -> dict[str, list[str]]:
    """The earlier file by the later one. Raises SurveyError for a line that names no two photographs."""
    pairs: dict[str, list[str]] = {}
    for number, line in enumerate(csv.reader(read_text(path).splitlines()), 1):
        if not any(line):
            continue
        if len(line) != 2 or line[0] not in before or line[1] not in after:
            raise SurveyError(
                f"{path}, line {number}: found {','.join(line)!r}, expected a photograph of EARLIER, a comma, and one of "
                f"LATER, such as {before[0]},{after[0]}."
            )
        pairs.setdefault(line[1], []).append(line[0])
    return pairs


@dataclass(frozen=True)
class _Comparer:
    earlier: Findings
    later: Findings
    processes: Processes
    scratch: Path  # pictures of ten thousand photographs don't fit into the memory

    def compare(self, candidates: Mapping[str, Sequence[str]], doing: str) -> Iterator[tuple[str, Compared]]:
        """The later photographs that one of their candidates shows too, by name; the first such candidate is taken."""
        calls = (
            partial(self._first, _Photograph.of(self.later, file), [_Photograph.of(self.earlier, name) for name in names])
            for file, names in candidates.items()
        )
        results = tqdm(self.processes.in_order(calls), total=len(candidates), desc=doing, unit="photo", disable=not candidates)
        for file, found in zip(candidates, results, strict=True):
            if found:
                name, told, picture = found
                path = self.scratch / f"{uuid.uuid4().hex}.jpg"
                path.write_bytes(picture)
                yield file, Compared(file, name, [(change, self._mm_per_px(file, change)) for change in told], path)

    def _first(self, later: "_Photograph", candidates: "Sequence[_Photograph]") -> tuple[str, list[Change], bytes] | None:
        data = later.read()
        for candidate in candidates:
            former = candidate.read()
            if data is None or former is None:
                continue
            try:
                found = self.processes.call(look, former, candidate.row, data, later.row)
            except (EndedError, RequestError, RuntimeError) as error:
                tqdm.write(f"{later.row.file}: {error}")
                return None
            if found:
                return candidate.row.file, *found
        return None

    def alike(self, before: Sequence[str], after: Sequence[str]) -> dict[str, list[str]]:
        """For each later photograph the earlier ones that look most like it. Raises SurveyError where there are too many."""
        if not after:
            return {}
        if len(before) * len(after) > _MOST_PAIRS:
            raise SurveyError(
                f"{len(after)} photographs have no counterpart of the same name, too many to look for one by what they show. "
                "Name the pairs by --pairs."
            )
        known, asked = self._features(self.earlier, before), self._features(self.later, after)
        return {
            file: sorted(known, key=lambda name: -n_alike(known[name], features))[:_N_TRIED]
            for file, features in tqdm(asked.items(), desc="looking for counterparts", unit="photo")
        }

    def _features(self, findings: Findings, files: Sequence[str]) -> dict[str, Features | None]:
        calls = (partial(self._small, _Photograph.of(findings, file)) for file in files)
        results = tqdm(self.processes.in_order(calls), total=len(files), desc=f"looking at {findings.title}", unit="photo")
        return dict(zip(files, results, strict=True))

    def _small(self, photograph: "_Photograph") -> Features | None:
        data = photograph.read()
        try:
            return self.processes.call(small_features, data) if data else None
        except (EndedError, RequestError, RuntimeError):
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


def look(core: Core, earlier: bytes, before: Row, later: bytes, after: Row) -> tuple[list[Change], bytes] | None:
    """What has changed between two photographs, and a picture of it; None if they don't show the same. Runs in a process."""
    one, other = decode(earlier), decode(later)
    to_later = lay_over(Features.of(one), Features.of(other))
    if to_later is None:
        return None
    see = core.segmenter.probability
    told = changes(Seen(before, see(one)), Seen(after, see(other)), to_later)
    return told, jpeg(draw(one, other, to_later, told))


def small_features(_core: Core, photograph: bytes) -> Features:
    """Enough of a photograph to tell whether another one is like it. Runs in a process."""
    return Features.of(decode(photograph), _N_FEATURES, _SIDE_PX)


def draw(earlier_hwc_u8: Picture, later_hwc_u8: Picture, to_later: Float, told: Sequence[Change]) -> Picture:
    """Side by side: the earlier photograph as it would look from where the later one was taken, and the later one with its
    cracks, red what is new, blue what was there before, yellow what is no longer found.
    """
    height, width = later_hwc_u8.shape[:2]
    scale = min(1.0, _PICTURE_PX / max(height, width))
    size = (round(width * scale), round(height * scale))
    picture = np.array(cv2.resize(later_hwc_u8, size, interpolation=cv2.INTER_AREA), np.uint8)
    thickness = max(1, round(max(size) / 400))
    for change in sorted(told, key=lambda each: each.kind is not Kind.GONE):
        for points_xy, is_changed in sorted(change.parts, key=lambda part: part[1]):
            if change.kind is Kind.GONE and not is_changed:
                continue
            colour = _GONE if change.kind is Kind.GONE else _NEW if is_changed else _BEFORE
            points = np.round(points_xy * scale * 8).astype(np.int32)
            cv2.polylines(picture, [points], False, colour, thickness, cv2.LINE_AA, 3)
    former = cv2.warpPerspective(earlier_hwc_u8, np.diag([scale, scale, 1.0]) @ to_later, size, flags=cv2.INTER_AREA)
    return np.hstack([np.asarray(former, np.uint8), picture])


def _write(later: Findings, found: Sequence[Compared], without: Sequence[str], earlier: str) -> None:
    survey = later.survey
    names = {each.file: fitting(f"{PICTURES}/{rank:04d}-{Path(each.file).name}.jpg") for rank, each in enumerate(found, 1)}
    for former in survey.names(PICTURES):
        survey.remove(f"{PICTURES}/{former}")
    for each in found:
        with survey.whole(names[each.file]) as path:
            shutil.copyfile(each.picture, path)
    lines = [(each, _line(each, change, mm_per_px)) for each in found for change, mm_per_px in each.changes]
    with survey.whole(TABLE) as path, path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        add = csv_lines(file)
        add(COLUMNS)
        for _, line in lines:
            add([line[column] for column in COLUMNS])
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        Path(__file__).with_name("changes.html").read_text(encoding="utf-8")
    )
    photographs = [
        {
            "file": printable(each.file),
            "earlier": printable(each.earlier_file),
            "picture": quote(os.fsencode(names[each.file])),
            "lines": [line for of, line in lines if of is each and line["change"] not in (Kind.SAME, Kind.OUTSIDE)],
        }
        for each in found
    ]
    page = template.render(
        title=later.title,
        earlier=printable(earlier),
        photographs=photographs,
        without=[printable(file) for file in without],
        table=TABLE,
    )
    with survey.whole(PAGE) as path:
        path.write_text(page, encoding="utf-8")
    link_results(survey, present(survey))


def _line(compared: Compared, change: Change, mm_per_px: float | None) -> dict[str, object]:
    is_gone = change.kind is Kind.GONE
    lengths = (change.length_px, change.changed_px, change.width_before_px, change.width_px)
    line: dict[str, object] = {
        "file": compared.file,
        "earlier_file": compared.earlier_file,
        "change": change.kind.value,
        "id": None if is_gone else change.id,
        "earlier_ids": str(change.id) if is_gone else " ".join(map(str, change.earlier)),
    }
    for name, value in zip(_LENGTHS, lengths, strict=True):
        line[f"{name}_px"] = None if value is None else round(value, 1)
        line[f"{name}_mm"] = None if value is None or mm_per_px is None else round(value * mm_per_px, 2)
    return line


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("compare"))
