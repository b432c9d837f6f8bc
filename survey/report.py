"""A survey's folder as a report: `crack report --help`. Left to others: what it says (`inspection.report`)."""

import argparse
import io
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from inspection.report.writing import PAGE, PDF, compose
from survey.findings import About, Findings
from survey.folder import JOURNAL, Survey
from survey.sources import FolderSource

INSPECTION = "inspection.toml"
NAMED = ("structure", "element", "date", "inspector")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, both files are written; 2, they couldn't be."""
    parser = argparse.ArgumentParser(
        prog="crack report",
        description=f"Write {PAGE} and {PDF} into a survey's folder: what was inspected, its figures, a map where photographs\n"
        "have a position (crack survey --exif), and one page for each of the most important findings.\n\n"
        f"Put details that stay the same, or for which there is no option, into {INSPECTION} in the folder:\n"
        '  structure = "Bridge 7, A81"\n  inspector = "M. Weber"\n  client = "Road authority"\n',
        epilog="examples:\n"
        "  crack report photographs-cracks\n"
        '  crack report photographs-cracks --structure "Bridge 7" --element "Pier 3" --date 2026-05-01\n',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the folder with a survey's results")
    for name in NAMED:
        parser.add_argument(f"--{name}", help=f"for the cover (default: as in {INSPECTION}, or none)")
    parser.add_argument("--findings", type=int, default=30, help="at most so many pages of findings (default: %(default)s)")
    parser.add_argument("--photographs", type=Path, help="folder of the photographs, if they have moved since the survey")
    chosen = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        given = read_inspection(chosen.folder) | {name: text for name in NAMED if (text := getattr(chosen, name)) is not None}
        paths = write_report(chosen.folder, given, max(chosen.findings, 0), chosen.photographs)
    except BlockingIOError:
        parser.exit(2, f"error: A survey is writing {chosen.folder}. Wait for it.\n")
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    print("\n".join(str(path) for path in paths))
    return 0


def write_report(folder: Path, given: dict[str, str], n_pages: int, photographs: Path | None = None) -> list[Path]:
    """Write both files; returns their paths.

    Args:
        folder: of a survey.
        given: lines of the cover, by their names.
        n_pages: the most findings that get a page each; the next ones get a line of a table.
        photographs: their folder, where it isn't that of the survey any more.

    Raises:
        ValueError: the folder is not a survey's.
        BlockingIOError: a survey is under way there.
        OSError: it cannot be read or written.
    """
    if not (folder / JOURNAL).is_file():
        raise ValueError(f"{folder} has no {JOURNAL}: expected a survey's folder, which crack survey names as Results.")
    about = About.load(folder)
    if photographs is not None:
        about = replace(about, photographs=FolderSource(photographs))
    survey = Survey(folder, None)
    try:
        files = survey.files()
        gone = about.photographs.gone(files)
        files = sorted(set(files) - set(gone))
        written = compose(Findings(survey, about, files), given, n_pages, gone)
        for name, content in written.items():
            with survey.whole(name) as path:
                path.write_bytes(content)
    finally:
        survey.close()
    return [folder / name for name in written]


def read_inspection(folder: Path) -> dict[str, str]:
    """What `inspection.toml` says, if it is there: each of its keys is a line of the cover. Raises ValueError, OSError."""
    path = folder / INSPECTION
    if not path.exists():
        return {}
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' editor begins a file with a mark
    except ValueError as error:
        raise ValueError(f'{path}: {error}. Expected lines such as structure = "Bridge 7".') from error
    for name, value in told.items():
        if isinstance(value, dict | list):
            raise ValueError(f'{path}: {name} is no text. Expected a line such as {name} = "...".')
    return {name: str(value) for name, value in told.items()}


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("report"))
