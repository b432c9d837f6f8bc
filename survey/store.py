"""A survey's results in a store, which takes a file whole or not at all: `--out s3://agency/bridge-7-cracks`.

A temporary folder on this machine holds the journal, and the files that are being written. In the store the journal is
`cracks.jsonl` and, while a survey is under way, further lines in parts, `journal/....jsonl`, which are uploaded every few
seconds and never changed. At its end a survey makes one file of them; a killed survey is continued from them, on any machine.
Nothing prevents two surveys from writing to the same place.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from crack.temporary import OwnFolder
from survey.folder import JOURNAL, Survey
from survey.pictures import StorePictures
from survey.urls import opened, put, read, remove, tried

_PARTS = "journal"
_N_TOGETHER = 100  # parts that are read at a time


class StoreSurvey(Survey):
    """As `Survey`, below a URL. Raises OSError if the store can't be reached, ValueError if its package is missing."""

    sync_s = 5.0  # each takes a request

    def __init__(self, url: str, question: dict[str, Any] | None) -> None:
        self.url = url
        self._store, self._root = opened(url)
        self._own = OwnFolder("crack-survey")
        try:
            self._parts = self._fetch(self._own.path / JOURNAL)
            former = int(self._parts[-1].rpartition("/")[2].partition("-")[0]) if self._parts else 0
            self._run = f"{max(time.time_ns(), former + 1):020}-{secrets.token_hex(4)}"  # later than all others, by any clock
            super().__init__(self._own.path, question)
        except BaseException:
            self._own.remove()
            raise
        self.pictures = StorePictures(url)

    def close(self) -> None:
        try:
            super().close()
            if self._parts:
                whole = partial(self._store.put_file, str(self.folder / JOURNAL), f"{self._root}/{JOURNAL}")
                tried(whole, self.place(JOURNAL))
                for part in self._parts:
                    tried(partial(self._store.rm_file, part), part)
        finally:
            self._own.remove()

    @contextmanager
    def whole(self, name: str) -> Iterator[Path]:
        with self.scratch() as path:
            yield path
            tried(partial(self._store.put_file, str(path), f"{self._root}/{name}"), self.place(name))

    def read(self, name: str) -> bytes:
        return read(self.place(name))

    def remove(self, name: str) -> None:
        remove(self.place(name))

    def names(self, folder: str) -> list[str]:
        return [path.rpartition("/")[2] for path in self._found(folder)]

    def listing(self) -> set[str]:
        self._store.invalidate_cache()
        found = tried(partial(self._store.ls, self._root, detail=True), self.url)
        return {each["name"].rpartition("/")[2] for each in found if each["type"] == "file"}

    def place(self, name: str) -> str:
        return f"{self.url}/{name}"

    def _fetch(self, journal: Path) -> list[str]:
        """Download the journal; returns the names of its parts in the store."""
        parts = self._found(_PARTS)
        with suppress(FileNotFoundError):
            tried(partial(self._store.get_file, f"{self._root}/{JOURNAL}", str(journal)), self.place(JOURNAL))
        with journal.open("ab") as file:
            for start in range(0, len(parts), _N_TOGETHER):
                some = parts[start : start + _N_TOGETHER]
                contents = tried(partial(self._store.cat, some), self.place(_PARTS))
                file.writelines(contents[part] for part in some)
            self._n_sent = file.tell()
        return parts

    def _found(self, name: str) -> list[str]:
        path = f"{self._root}/{name}"
        self._store.invalidate_cache()
        return sorted(tried(partial(self._store.find, path), self.place(name)))

    def _sync(self) -> None:
        """Upload the new lines, each once; the very first one as the journal itself."""
        with (self.folder / JOURNAL).open("rb") as file:
            file.seek(self._n_sent)
            content = file.read()
        if content:
            name = f"{_PARTS}/{self._run}-{len(self._parts):06}.jsonl" if self._n_sent else JOURNAL
            put(self.place(name), content)
            if self._n_sent:
                self._parts.append(f"{self._root}/{name}")
            self._n_sent += len(content)
        self._synced = time.monotonic()
