"""Compares two surveys of the same structure: `crack compare --help`.

Left to others: comparing photographs (`comparing`) and mosaics (`mosaic.compare`), and loading the model (`processes`).
"""

import argparse
import csv
import io
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from crack.faults import in_words
from crack.foreign import read_text
from crack.instance import of_instance
from crack.serving import Serving
from crack.temporary import OwnFolder
from inspection.report.writing import PAGE as REPORT
from inspection.rows import Row
from model.inference.card import ModelCard
from survey.arguments import folder_or_url
from survey.changes_record import PICTURES
from survey.comparing import Looked, compare, look, measured, small_features
from survey.engines import StoppedError, SurveyError
from survey.findings import About, Findings
from survey.laying import Features
from survey.mosaic import STATE
from survey.opening import open_survey, saved_source
from survey.processes import Core, Processes, default_n
from survey.results import CHANGES as TABLE
from survey.results import CHANGES_PAGE as PAGE
from survey.stopping import DONE, INTERRUPTED, NOT_POSSIBLE, SOME_MISSING, stopped_by_signals

_Result = TypeVar("_Result")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="crack compare",
        description="Compare two surveys of the same structure: which cracks are new, longer or wider, and which are no\n"
        f"longer found. It writes {TABLE}, {PAGE} and the folder {PICTURES} into LATER.\n\n"
        "Photographs of the same place are laid over each other by what both show, so they need not be taken from the\n"
        "same point, but the surface must be about flat. A photograph is compared with the earlier one of the same name,\n"
        "then with those that look most alike, as long as these show more of it. The served model examines all again.\n\n"
        "If both are surveys of an orthomosaic, the map says what belongs together, and both mosaics are laid over each other\n"
        "block by block; changes.gpkg and changes.geojson show the changes in a GIS.",
        epilog="examples:\n"
        "  crack compare bridge-7-2024-cracks bridge-7-2026-cracks\n"
        "  crack compare bridge-7-2024-cracks bridge-7-2026-cracks --pairs pairs.csv\n"
        "  crack compare deck-2024-cracks deck-2026-cracks\n\n"
        "exit codes:\n"
        "  0    each photograph of LATER was compared, or each pair, or each block with cracks of the mosaic\n"
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
        "--earlier-photographs", metavar="PLACE", help="where EARLIER's photographs, or its mosaic, are now, if they have moved"
    )
    parser.add_argument(
        "--later-photographs", metavar="PLACE", help="where LATER's photographs, or its mosaic, are now, if they have moved"
    )
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
    of_mosaics = [isinstance(place, Path) and (place / STATE).is_file() for place in places]
    if any(of_mosaics):
        return _compare_mosaics(chosen, places, of_mosaics)
    archive, stopping = _archive(chosen), threading.Event()
    with ExitStack() as stack:
        earlier = _findings(stack, places[0], chosen.earlier_photographs, is_read_only=True)
        later = _findings(stack, places[1], chosen.later_photographs)
        (before, _), (after, _) = measured(earlier), measured(later)
        pairs = _read_pairs(chosen.pairs, before, after) if chosen.pairs else None
        processes = Processes(archive, max(1, chosen.concurrency), _backend(archive), stopping)
        stack.callback(processes.close)
        print(f"Photographs: {len(before)} in {chosen.earlier}, {len(after)} in {chosen.later}.", flush=True)
        with stopped_by_signals(stopping):
            scratch = OwnFolder("crack-changes")
            stack.callback(scratch.remove)
            outcome = compare(earlier, later, _InProcesses(processes), scratch.path, pairs, with_bom=chosen.bom)
        print(f"Compared: {outcome.n_compared}; not compared: {len(outcome.without)}. Cracks: {outcome.counts}.")
        if outcome.not_used:
            print(f"Earlier photographs that were not compared: {len(outcome.not_used)}.")
        if outcome.made:
            print(
                f"warning: The two surveys were made differently, {outcome.made}. "
                "A crack may look longer or wider for that alone."
            )
        if n := outcome.n_contradicting:
            photographs = f"{n} {'photograph' if n == 1 else 'photographs'}"
            print(f"warning: The scales of {photographs} contradict the earlier survey's: see the page.")
        print(later.survey.place(PAGE))
        if REPORT in later.survey.listing():
            print(f"{REPORT} does not tell these changes yet: run crack report again.")
    return SOME_MISSING if outcome.without else DONE


def _archive(chosen: argparse.Namespace) -> Path:
    model_store = Path(of_instance(os.environ)["CRACK_MODEL_STORE"])
    return Path(chosen.archive or model_store / Serving.read(model_store).default)


def _compare_mosaics(chosen: argparse.Namespace, places: Sequence[Path | str], of_mosaics: Sequence[bool]) -> int:
    """As `_compare`."""
    if not all(of_mosaics):
        mosaic, photographs = (chosen.earlier, chosen.later) if of_mosaics[0] else (chosen.later, chosen.earlier)
        raise SurveyError(
            f"{mosaic} is the survey of a mosaic, {photographs} is not. A mosaic is compared with a mosaic, and photographs "
            "with photographs."
        )
    if chosen.pairs:
        raise SurveyError("--pairs: not for mosaics, which are compared by their place on the map. Leave it out.")
    # rasterio and pyogrio, which nothing else here needs
    from survey.mosaic.compare import compare_mosaics
    from survey.mosaic.surveyed import Surveyed

    archive, n_processes = _archive(chosen), max(1, chosen.concurrency)
    mosaics = chosen.earlier_photographs, chosen.later_photographs
    earlier, later = (Surveyed.find(Path(place), moved) for place, moved in zip(places, mosaics, strict=True))
    return compare_mosaics(earlier, later, archive, n_processes, _backend(archive), chosen.bom)


def _findings(stack: ExitStack, place: Path | str, photographs: str | None, is_read_only: bool = False) -> Findings:
    survey = open_survey(place, None, is_read_only)
    stack.callback(survey.close)
    about = About.load(survey)
    if photographs is not None:
        about = replace(about, photographs=saved_source(photographs))
    return Findings(survey, about, survey.files())


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


class _InProcesses:
    """Photographs are looked at in processes that have loaded the model."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def in_order(self, calls: Iterable[Callable[[], _Result]]) -> Iterator[_Result]:
        return self._processes.in_order(calls)

    def look(self, candidates: Sequence[tuple[bytes, Row]], later: bytes, row: Row) -> Looked | None:
        return self._processes.call(_look, candidates, later, row)

    def small_features(self, photograph: bytes) -> Features:
        return self._processes.call(_small_features, photograph)


def _look(core: Core, candidates: Sequence[tuple[bytes, Row]], later: bytes, row: Row) -> Looked | None:
    return look(lambda _, image_hwc_u8: core.segmenter.probability(image_hwc_u8), candidates, later, row)


def _small_features(_core: Core, photograph: bytes) -> Features:
    return small_features(photograph)


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("compare"))
