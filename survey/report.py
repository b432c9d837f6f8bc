"""A survey's results as a report: `crack report --help`. Left to others: what it says (`inspection.report`)."""

import argparse
import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from crack.faults import in_words
from inspection.report.writing import PAGE, PDF, compose
from survey.arguments import folder_or_url
from survey.changes_record import read_changes
from survey.findings import About, Findings
from survey.head import INSPECTION, NAMED, read_inspection
from survey.opening import open_survey, saved_source
from survey.results import present
from survey.sheet import link_results


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, both files are written; 2, they couldn't be."""
    parser = argparse.ArgumentParser(
        prog="crack report",
        description=f"Write {PAGE} and {PDF} beside a survey's results: what was inspected, its figures, a map where\n"
        "photographs have a position (crack survey --exif), and one page for each of the most important\n"
        "findings. If crack compare was run before, it tells what has changed since the earlier survey, too.\n\n"
        f"Put details that stay the same, or for which there is no option, into {INSPECTION} in the folder:\n"
        '  structure = "Bridge 7, A81"\n  inspector = "M. Weber"\n  client = "Road authority"\n',
        epilog="examples:\n"
        "  crack report photographs-cracks\n"
        '  crack report photographs-cracks --structure "Bridge 7" --element "Pier 3" --date 2026-05-01\n'
        "  crack report s3://agency/bridge-7-cracks\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", type=folder_or_url, metavar="RESULTS", help="a survey's folder, or its URL in a store")
    for name in NAMED:
        parser.add_argument(f"--{name}", help=f"for the cover (default: as in {INSPECTION}, or none)")
    parser.add_argument("--findings", type=int, default=30, help="at most so many pages of findings (default: %(default)s)")
    parser.add_argument("--photographs", help="folder or URL of the photographs, if they have moved since the survey")
    chosen = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        given = {name: text for name in NAMED if (text := getattr(chosen, name)) is not None}
        places = write_report(chosen.results, given, max(chosen.findings, 0), chosen.photographs)
    except BlockingIOError:
        parser.exit(2, f"error: A survey is writing {chosen.results}. Wait for it.\n")
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {in_words(error)}\n")
    print("\n".join(places))
    return 0


def write_report(results: Path | str, given: dict[str, str], n_pages: int, photographs: str | None = None) -> list[str]:
    """Write both files; returns where they are.

    Args:
        results: a survey's folder, or its URL.
        given: lines of the cover, by their names, before those of `inspection.toml`.
        n_pages: the most findings that get a page each; the next ones get a line of a table.
        photographs: their folder or URL, where it isn't that of the survey any more.

    Raises:
        ValueError: there is no survey, or `inspection.toml` can't be read.
        BlockingIOError: a survey is under way there.
        OSError: it cannot be read or written.
    """
    survey = open_survey(results, None)
    try:
        about = About.load(survey)
        if photographs is not None:
            about = replace(about, photographs=saved_source(photographs))
        files = survey.files()
        gone = about.photographs.gone(files)
        files = sorted(set(files) - set(gone))
        findings = Findings(survey, about, files)
        written = compose(findings, read_inspection(survey) | given, n_pages, gone, changes=read_changes(findings))
        for name, content in written.items():
            with survey.whole(name) as path:
                path.write_bytes(content)
        link_results(survey, present(survey))
    finally:
        survey.close()
    return [survey.place(name) for name in written]


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("report"))
