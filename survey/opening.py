"""Opens what a command line or a survey's record names, on this machine or behind a URL: photographs, and results."""

import functools
import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crack.foreign import finder
from survey.folder import Survey
from survey.sources import GLOB, FolderSource, Source


def open_source(names: Sequence[str]) -> Source:
    """A folder; or files and patterns of files; or a URL of a folder, or URLs of files and patterns.

    Raises:
        ValueError: nothing is there; the message is for people.
    """
    if any("://" in name for name in names):
        from survey.remote import open_url  # fsspec

        return open_url(names)
    if len(names) == 1 and Path(names[0]).is_dir():
        return FolderSource(Path(names[0]).resolve())
    paths: list[str] = []
    find = functools.cache(finder)
    for name in names:
        if os.path.lexists(name):
            paths.append(name)
        elif GLOB & set(name):
            paths += sorted(glob.glob(name, recursive=True))
        else:
            path = Path(name.replace("\\", "/"))  # as lists made on Windows have it
            paths.append(str(find(path.parent)(path.name)))
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing or not paths:
        raise ValueError(
            f"{(missing or names)[0]}: found nothing there, expected a folder of photographs, photographs, or an orthomosaic."
        )
    files = [str(Path(path).absolute()) for path in dict.fromkeys(paths)]
    folder = os.path.commonpath([os.path.dirname(path) for path in files])
    return FolderSource(Path(folder), tuple(sorted({Path(path).relative_to(folder).as_posix() for path in files})))


def saved_source(text: str) -> Source:
    """The source whose `str` this is, but with all of its files, even if only some were chosen."""
    if "://" in text:
        from survey.remote import UrlSource

        return UrlSource(text)
    return FolderSource(Path(text))


def open_survey(place: Path | str, question: dict[str, Any] | None, is_read_only: bool = False) -> Survey:
    """Open the survey in a folder, or below a URL, whose journal is read from a copy. Raises what `Survey` does."""
    if isinstance(place, Path):
        return Survey(place, question, is_read_only)
    from survey.store import StoreSurvey  # fsspec, which a folder doesn't need

    return StoreSurvey(place, question)
