"""Photographs behind a URL, read by fsspec: `s3://`, `gs://`, `az://`, `https://` and what else it knows. Nothing is copied:
each is read once, where it is looked at.
"""

import datetime
import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from inspection.passed_over import is_hidden
from survey.folder import JOURNAL
from survey.sources import FIRST_BYTES, GLOB, Found, no_photograph
from survey.urls import opened, tried

_CHANGED = ("LastModified", "last_modified", "mtime", "updated", "Last-Modified")  # as the stores call it


@dataclass(frozen=True)
class UrlSource:
    """What is below a URL. Its keys are where the store's own programs have them, as in AWS_PROFILE.

    Attributes:
        root: without / at its end.
        patterns: of the files that are meant, as URLs; all below the root where none is named.
    """

    root: str
    patterns: tuple[str, ...] = ()
    _states: dict[str, tuple[int, int]] = field(default_factory=dict, compare=False, repr=False)  # as they were listed

    def __reduce__(self) -> "tuple[type[UrlSource], tuple[str]]":
        return UrlSource, (self.root,)  # another process is told one of its files at a time

    def __str__(self) -> str:
        return self.root

    @property
    def name(self) -> str:
        return self.root.rpartition("/")[2]

    @property
    def results(self) -> Path:
        return Path(f"{self.name}-cracks").resolve()

    def read(self, file: str) -> tuple[bytes, int]:
        url = f"{self.root}/{file}"
        store, path = opened(url)
        mtime_ns = self._states[file][1] if file in self._states else 0
        if not mtime_ns:
            with suppress(Exception):  # what it is known by then are its bytes
                mtime_ns = _state(store.info(path))[1]
        return tried(partial(store.cat_file, path, start=0), url), mtime_ns  # not from 0, S3's would ask for the size first

    def state(self, file: str) -> tuple[int, int]:
        found = self._states.get(file)
        if found is None:
            store, path = opened(f"{self.root}/{file}")
            found = _state(tried(partial(store.info, path), f"{self.root}/{file}"))
        return found

    def photographs(self, out: Path | str) -> Found:
        store, root = opened(self.root)
        states: dict[str, tuple[int, int] | None] = {}
        for pattern in self.patterns or (self.root,):
            for path, state in _below(store, root) if not self.patterns else _matching(store, opened(pattern)[1], pattern):
                states[path.removeprefix(root).lstrip("/")] = state
        surveys = tuple(f"{name.removesuffix(JOURNAL)}" for name in states if name.rpartition("/")[2] == JOURNAL)
        found: list[str] = []
        others: dict[str, str] = {}
        for name in sorted(states):
            if any(map(is_hidden, name.split("/"))) or (surveys and name.startswith(surveys)):
                continue
            state = states.pop(name)
            if state:
                self._states[name] = state
            reason = self._no_photograph(name)
            if reason:
                others[name] = reason
            else:
                found.append(name)
        return found, others

    def gone(self, files: Iterable[str]) -> list[str]:
        return []  # to know it would cost a request for each

    def _no_photograph(self, name: str) -> str:
        def first_bytes() -> bytes:
            store, path = opened(f"{self.root}/{name}")
            return tried(partial(store.cat_file, path, start=0, end=FIRST_BYTES), name)  # type: ignore[no-any-return]

        return no_photograph(name, self._states[name][0] if name in self._states else None, first_bytes)


def open_url(names: Sequence[str]) -> UrlSource:
    """Of one folder, or of files and patterns, all of one store. Raises ValueError."""
    schemes = {name.partition("://")[0] if "://" in name else "" for name in names}
    if len(schemes) > 1:
        raise ValueError(f"{names[0]} and {names[-1]} are of different places. Survey them one after the other.")
    urls = [name.rstrip("/") for name in names]
    store, path = opened(urls[0])
    may_be_folder = len(urls) == 1 and not GLOB & set(urls[0])
    try:
        if may_be_folder and tried(partial(_is_folder, store, path), urls[0]):
            return UrlSource(urls[0])
    except OSError as error:
        raise ValueError(f"{urls[0]} cannot be read ({error}).") from error
    scheme = schemes.pop()
    parts = [url.partition("://")[2].split("/")[:-1] for url in urls]
    common: list[str] = []
    for same in zip(*parts, strict=False):
        if len(set(same)) > 1 or GLOB & set(same[0]):
            break
        common.append(same[0])
    if not common:
        raise ValueError(f"{urls[0]} and {urls[-1]} have no folder in common. Survey them one after the other.")
    return UrlSource(f"{scheme}://{'/'.join(common)}", tuple(urls))


def _is_folder(store: Any, path: str) -> bool:
    try:
        found = store.info(path)
    except FileNotFoundError:
        return True  # a store has no folders, but names that begin alike
    return bool(found["type"] != "file" or found.get("mimetype") == "text/html")  # a web server's list of its files


def _below(store: Any, root: str) -> Iterator[tuple[str, tuple[int, int] | None]]:
    """Files, and their states unless only names are told, as by a web server. One folder at a time is in memory: what a store
    tells of a file takes 1.4 KB, its state 0.3.
    """
    folders, seen = [root], {root}
    while folders:
        folder = folders.pop()
        try:
            entries = tried(partial(store.ls, folder, detail=True), folder)
        except FileNotFoundError:
            continue
        for entry in entries:
            name, is_link = entry["name"], entry.get("size") is None and "://" in entry["name"]  # of a web server's page
            if is_link:
                link = html.unescape(name)
                name = urljoin(link, urlsplit(link).path)
                if "?" in link or not name.startswith(f"{root}/"):  # the same page in another order, a folder above
                    continue
            path = name.rstrip("/")
            if entry["type"] == "file":
                yield name, _told(entry)
            elif path not in seen:
                seen.add(path)
                folders.append(path)
        store.invalidate_cache()


def _matching(store: Any, path: str, pattern: str) -> Iterator[tuple[str, tuple[int, int] | None]]:
    """As `_below`, of a file or a pattern."""
    is_glob = bool(GLOB & set(path))
    found = tried(partial(store.glob if is_glob else store.info, path, **{"detail": True} if is_glob else {}), pattern)
    for each, entry in found.items() if is_glob else [(path, found)]:
        if entry["type"] == "file":
            yield each, _told(entry)


def _told(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    return None if entry.get("size") is None else _state(entry)


def _state(entry: Mapping[str, Any]) -> tuple[int, int]:
    """Size, and time of the last change in ns; 0 where a store doesn't tell it, so that a file is known by its bytes."""
    changed = next((entry[name] for name in _CHANGED if entry.get(name) is not None), 0)
    if isinstance(changed, str):
        is_http = changed.endswith("GMT")
        changed = parsedate_to_datetime(changed) if is_http else datetime.datetime.fromisoformat(changed)
    seconds = changed.timestamp() if isinstance(changed, datetime.datetime) else float(changed)
    return int(entry.get("size") or 0), int(seconds * 1e9)
