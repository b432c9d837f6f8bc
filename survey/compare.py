"""Compares two surveys of the same structure: `crack compare --help`.

Left to others: what has changed between two photographs (`changes`), and loading the model (`processes`).
"""

import argparse
import csv
import io
import math
import os
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from crack.faults import in_words
from crack.foreign import read_text
from crack.instance import of_instance
from crack.serving import Serving
from crack.temporary import OwnFolder
from inspection.findings import Photograph
from inspection.report.writing import PAGE as REPORT
from inspection.rows import Row
from model.inference.card import ModelCard
from model.inference.encoding import jpeg
from model.inference.errors import RequestError
from model.inference.photograph import decode
from survey.arguments import folder_or_url
from survey.changes import COARSER, Change, Former, Kind, Seen, changes
from survey.changes_page import PANELS, Compared, draw, write_changes
from survey.changes_record import PICTURES
from survey.engines import StoppedError, SurveyError
from survey.findings import About, Findings, unchanged
from survey.laying import Features, covered, lay_over, n_alike, px_ratio
from survey.opening import open_survey, saved_source
from survey.processes import Core, EndedError, Processes, default_n
from survey.results import CHANGES as TABLE
from survey.results import CHANGES_PAGE as PAGE
from survey.sources import Source
from survey.stopping import DONE, INTERRUPTED, NOT_POSSIBLE, SOME_MISSING, stopped_by_signals

_MOST_PAIRS = 250_000  # of photographs that are looked through for counterparts: a quarter of an hour
_N_FEATURES, _SIDE_PX = 400, 800  # of each photograph when counterparts are looked for
_N_TRIED = 4  # of the photographs that look most alike
_LEAST_MORE = 0.05  # of the later photograph, which a further earlier one has to show
_MOST_PX = 60e6  # of the earlier photographs beside a later one, as all of them are in memory
_SCALES_DIFFER = 1.2  # times: less than what makes a crack wider, and than an oblique photograph's scale varies
_NOT_THERE = "is not where its survey found it, or has changed since"
_NO_COUNTERPART = "No earlier photograph shows the same flat surface."


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="crack compare",
        description="Compare two surveys of the same structure: which cracks are new, longer or wider, and which are no\n"
        f"longer found. It writes {TABLE}, {PAGE} and the folder {PICTURES} into LATER.\n\n"
        "Photographs of the same place are laid over each other by what both show, so they need not be taken from the\n"
        "same point, but the surface must be about flat. A photograph is compared with the earlier one of the same name,\n"
        "then with those that look most alike, as long as these show more of it. The served model examines all again.",
        epilog="examples:\n"
        "  crack compare bridge-7-2024-cracks bridge-7-2026-cracks\n"
        "  crack compare bridge-7-2024-cracks bridge-7-2026-cracks --pairs pairs.csv\n\n"
        "exit codes:\n"
        "  0    each photograph of LATER was compared, or each pair\n"
        "  1    some could not be compared: changes.html lists them, and why\n"
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
    parser.add_argument("--bom", action="store_true", help=f"begin {TABLE} with a byte order mark, for Excel")
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
        parser.exit(NOT_POSSIBLE, "error: Another command is writing to one of the two folders. Wait for it.\n")
    except (SurveyError, ValueError, OSError) as error:
        parser.exit(NOT_POSSIBLE, f"error: {in_words(error)}\n")


def _backend(archive: Path) -> str:
    """The same on every machine and at every time, so that a comparison that is repeated finds the same: 8 bits, as a rule."""
    return str([backend for backend in ModelCard.of_archive(archive).backends if "bf16" not in backend.precision][-1])


def _compare(chosen: argparse.Namespace) -> int:
    """Do what `main` was asked for; returns the exit code. Raises what `main` catches."""
    places = [place.resolve() if isinstance(place, Path) else place for place in (chosen.earlier, chosen.later)]
    if places[0] == places[1]:
        raise SurveyError(f"{chosen.earlier} is named twice. Name the earlier survey, then the later one.")
    model_store = Path(of_instance(os.environ)["CRACK_MODEL_STORE"])
    archive = chosen.archive or model_store / Serving.read(model_store).default
    stopping = threading.Event()
    with ExitStack() as stack:
        earlier = _findings(stack, places[0], chosen.earlier_photographs, is_read_only=True)
        later = _findings(stack, places[1], chosen.later_photographs)
        (before, before_by), (after, after_by) = _measured(earlier), _measured(later)
        pairs = _read_pairs(chosen.pairs, before, after) if chosen.pairs else None
        processes = Processes(archive, max(1, chosen.concurrency), _backend(archive), stopping)
        stack.callback(processes.close)
        print(f"Photographs: {len(before)} in {chosen.earlier}, {len(after)} in {chosen.later}.", flush=True)
        with stopped_by_signals(stopping):
            scratch = OwnFolder("crack-changes")
            stack.callback(scratch.remove)
            comparer = _Comparer(earlier, later, processes, scratch.path)
            results = dict(comparer.compare(comparer.candidates(before, after) if pairs is None else pairs))
        if stopping.is_set():
            raise StoppedError
        found = [result for result in results.values() if isinstance(result, Compared)]
        without = {file: result for file, result in sorted(results.items()) if isinstance(result, str)}
        if not found:
            reasons = " ".join(list(dict.fromkeys(without.values()))[:3])
            raise SurveyError(
                f"Nothing could be compared, and nothing was written. {reasons} If photographs have moved, name their places "
                "by --earlier-photographs and --later-photographs. Name the photographs that belong together by --pairs."
            )
        used = {file for each in found for file in each.earlier_files}
        not_used = [] if pairs is not None else [file for file in before if file not in used]
        made = "" if before_by == after_by else f"the earlier one by {before_by}, the later one by {after_by}"
        n_of = Counter(change.kind for each in found for change, _ in each.changes)
        counts = ", ".join(f"{n_of[kind]} {kind}" for kind in Kind if n_of[kind]) or "none"
        write_changes(earlier, later, found, without, not_used, counts, made, chosen.bom)
        print(f"Compared: {len(found)}; not compared: {len(without)}. Cracks: {counts}.")
        if not_used:
            print(f"Earlier photographs that were not compared: {len(not_used)}.")
        if made:
            print(f"warning: The two surveys were made differently, {made}. A crack may look longer or wider for that alone.")
        if n_contradicting := sum(bool(each.contradiction) for each in found):
            photographs = f"{n_contradicting} {'photograph' if n_contradicting == 1 else 'photographs'}"
            print(f"warning: The scales of {photographs} contradict the earlier survey's: see the page.")
        print(later.survey.place(PAGE))
        if REPORT in later.survey.listing():
            print(f"{REPORT} does not tell these changes yet: run crack report again.")
    return SOME_MISSING if without else DONE


def _findings(stack: ExitStack, place: Path | str, photographs: str | None, is_read_only: bool = False) -> Findings:
    survey = open_survey(place, None, is_read_only)
    stack.callback(survey.close)
    about = About.load(survey)
    if photographs is not None:
        about = replace(about, photographs=saved_source(photographs))
    return Findings(survey, about, survey.files())


def _measured(findings: Findings) -> tuple[list[str], str]:
    """The photographs whose cracks have lines, and by what they were found. Raises SurveyError if there are none."""
    files, made = [], set()
    for photograph in findings.predicted():
        row = photograph.row
        if row.lines is not None:
            files.append(row.file)
            made.add(f"model {row.model_version} with threshold {row.threshold:g}" if row.threshold else row.model_version)
    if not files:
        raise SurveyError(f"{findings.survey.place('')} holds no photograph whose cracks were measured. Survey it again.")
    return files, f"{' and '.join(sorted(made))}, quality {findings.quality}"


def _read_pairs(path: Path, before: Sequence[str], after: Sequence[str]) -> dict[str, list[str]]:
    """The earlier file by the later one. Raises SurveyError for a line that names no two photographs."""
    pairs: dict[str, list[str]] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip(" ,;"):
            continue
        read = [next(csv.reader([line], delimiter=separator)) for separator in ",;"]  # Excel's is ; where numbers have a comma
        pair = next((each for each in read if len(each) == 2 and each[0] in before and each[1] in after), None)
        if pair is None:
            raise SurveyError(
                f"{path}, line {number}: found {line!r}, expected a photograph of EARLIER, a comma, and one of LATER, such as "
                f"{before[0]},{after[0]}."
            )
        pairs.setdefault(pair[1], []).append(pair[0])
    if not pairs:
        raise SurveyError(f"{path} names no pair. Expected lines such as {before[0]},{after[0]}.")
    return pairs


@dataclass(frozen=True)
class _Comparer:
    earlier: Findings
    later: Findings
    processes: Processes
    scratch: Path  # pictures of ten thousand photographs don't fit into the memory

    def compare(self, candidates: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Compared | str]]:
        """Each later photograph, by name, beside those of its candidates that show the same; or why there is none."""
        calls = (
            partial(self._look, _Photograph.of(self.later, file), [_Photograph.of(self.earlier, name) for name in names])
            for file, names in candidates.items()
        )
        results = tqdm(self.processes.in_order(calls), total=len(candidates), desc="comparing", unit="photo")
        for file, found in zip(candidates, results, strict=True):
            if isinstance(found, str):
                yield file, found
                continue
            names, looked = found
            paths = {panel: self.scratch / f"{uuid.uuid4().hex}.jpg" for panel in PANELS}
            for panel, path in paths.items():
                path.write_bytes(looked.pictures[panel])
            changes = [(change, self._mm_per_px(file, change)) for change in looked.changes]
            contradictions = [self._contradiction(name, file, px) for name, px in zip(names, looked.px, strict=True)]
            yield file, Compared(file, names, changes, paths, next(filter(None, contradictions), ""))

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
            found = self.processes.call(look, formers, data, later.row)
        except (EndedError, RequestError, RuntimeError) as error:
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


def look(core: Core, candidates: Sequence[tuple[bytes, Row]], later: bytes, row: Row) -> Looked | None:
    """Compare a photograph with earlier ones; None if none of them shows the same. Runs in a process."""
    image_hwc_u8, see = decode(later), core.segmenter.probability
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
        formers.append(Former(Seen(former_row, see(former_hwc_u8), former_hwc_u8), to_later))
        if ratios[-1] < COARSER:  # else a closer one may tell more of the same place
            is_covered = is_covered | covers
    if not formers:
        return None
    told = changes(formers, Seen(row, see(image_hwc_u8), image_hwc_u8))
    former_pictures = [(each.seen.image_hwc_u8, each.to_later) for each in formers]
    drawn = zip(PANELS, draw(former_pictures, image_hwc_u8, told), strict=True)
    return Looked(used, ratios, told, {panel: jpeg(picture) for panel, picture in drawn})


def small_features(_core: Core, photograph: bytes) -> Features:
    """Enough of a photograph to tell whether another one is like it. Runs in a process."""
    return Features.of(decode(photograph), _N_FEATURES, _SIDE_PX)


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("compare"))
