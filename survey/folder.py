"""A survey's folder: the journal of what was answered, and who may write there.

The journal, `cracks.jsonl`, gets one line for each photograph once its pictures are in place, and is synced to disk each
second. When the folder is opened again, a torn last line is cut off and a line with zeros is passed over: a kill or a power
cut leaves these. Of several lines about a photograph the last one counts. Left to others: asking (`surveyor`), masks and
overlays (`pictures`), tables and contact sheet (`results`).
"""

import errno
import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson

from crack.files import sync
from inspection.rows import Row, Status
from survey.pictures import INCOMING, Pictures, StorePictures

JOURNAL = "cracks.jsonl"
_BEGINNING = b'{"question":'
_STATUSES = {str(status): status for status in Status}
_HELD_BYTE = 2**40
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # as some network shares answer


class Noted(NamedTuple):
    """What is kept in memory about a photograph; the rest, with all of its cracks, is in its line.

    Attributes:
        offset: of its last line in the journal, in bytes.
    """

    offset: int
    status: Status
    n_bytes: int
    mtime_ns: int


class Results:
    """The files in a folder of results. While some are written, there is a folder `INCOMING` in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count()

    @contextmanager
    def whole(self, name: str) -> Iterator[Path]:
        """A path to write to; if the block succeeds, the file takes the place of an earlier one under `name`."""
        with self.scratch() as incoming:
            yield incoming
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            incoming.replace(path)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A path for a file that is needed for a while, on the disk of the folder."""
        path = self.folder / INCOMING / str(next(self._numbers))
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """Read a file of the survey. Raises OSError."""
        return (self.folder / name).read_bytes()

    def remove(self, name: str) -> None:
        """Remove a file if it is there, and its sub-folder if that is empty then."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        if path.parent != self.folder:
            with suppress(OSError):
                path.parent.rmdir()

    def names(self, folder: str) -> list[str]:
        """The names of the files in a sub-folder; none if it doesn't exist."""
        return [path.name for path in (self.folder / folder).glob("*")]

    def listing(self) -> set[str]:
        """The names of the files beside the journal and, with a slash at the end, of the folders that a browser can open."""
        with os.scandir(self.folder) as entries:
            return {f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries}

    def place(self, name: str) -> str:
        """Where a file of the survey is, for people."""
        return str(self.folder / name)


class Survey(Results):
    """The folder, held by one process at a time; created where it does not exist.

    Args:
        question: what is asked of each photograph, such as threshold and quality. A folder has one for all of its life; None
            takes what is there.
        is_read_only: nothing is written, so that the folder may be an archive; others may read it too.

    Raises:
        ValueError: what is there was asked with another `question`, or is no survey; or there is none, and no `question`.
        BlockingIOError: another process has it open.
        OSError: it cannot be written.
    """

    sync_s = 1.0  # a power cut costs at most the lines of so many seconds; syncing each line would wait for the disk

    def __init__(self, folder: Path, question: dict[str, Any] | None, is_read_only: bool = False) -> None:
        super().__init__(folder)
        self._is_read_only = is_read_only
        self.pictures: Pictures | StorePictures = Pictures(folder)
        self.question: dict[str, Any] = question or {}
        if question is None and not _is_begun(folder / JOURNAL):
            raise ValueError(
                f"{self.place('')} has no {JOURNAL}: expected a survey's folder, which crack survey names as Results."
            )
        if is_read_only:
            self._journal: IO[bytes] = open(folder / JOURNAL, "rb")  # noqa: SIM115 - as long as the survey
            try:
                hold(self._journal, is_shared=True)
                self._noted = self._read(question)
            except BaseException:
                self._journal.close()
                raise
            return
        if folder.exists() and not folder.is_dir():
            raise ValueError(
                f"--out {self.place('').rstrip('/')} is a file, expected a folder for the results. Choose another."
            )
        self._is_new = not folder.exists()
        folder.mkdir(0o700, parents=True, exist_ok=True)  # its owner may open it to others; the journal stays closed
        self._journal = open(folder / JOURNAL, "a+b")  # noqa: SIM115 - as long as the survey
        self._synced = 0.0
        try:
            (folder / JOURNAL).chmod(0o600)
            hold(self._journal)
            self._noted = self._read(question)
            shutil.rmtree(folder / INCOMING, ignore_errors=True)
            (folder / INCOMING).mkdir()
            if os.name == "posix":  # Windows needs and allows no syncing of names
                sync(folder)
                sync(folder.parent)
        except BaseException:
            self._journal.close()
            raise

    def close(self) -> None:
        """A folder that was created for nothing, as the server is away, is removed."""
        try:
            if not self._is_read_only:
                shutil.rmtree(self.folder / INCOMING, ignore_errors=True)
                self._sync()
        finally:
            self._journal.close()
        if not self._is_read_only and self._is_new and os.listdir(self.folder) == [JOURNAL] and not self._noted:
            (self.folder / JOURNAL).unlink()
            self.folder.rmdir()

    def find(self, file: str) -> Row | None:
        """What the journal says last about a photograph."""
        noted = self._noted.get(file)
        if noted is None:
            return None
        self._journal.seek(noted.offset)
        fields = _parsed(self._journal.readline())
        return Row(**fields | {"status": Status(fields["status"])})

    def noted(self, file: str) -> Noted | None:
        return self._noted.get(file)

    def rows(self, files: Iterable[str]) -> Iterator[Row]:
        """The journal's rows for those of `files` that it knows, in their order."""
        for file in files:
            row = self.find(file)
            if row is not None:
                yield row

    def append(self, row: Row) -> None:
        """Note the result of a photograph whose pictures are in place; if it was refused, earlier pictures are removed."""
        if row.status is Status.REFUSED:
            self.pictures.remove(row.file)
        self._noted[row.file] = Noted(self._append(vars(row)), row.status, row.n_bytes, row.mtime_ns)

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Note, once, what is not a photograph, and why."""
        for file, reason in reasons.items():
            row = Row(file, Status.LEFT_OUT, 0, 0, "", error=reason)
            if self.find(file) != row:
                self.append(row)

    def files(self) -> list[str]:
        """All photographs that the journal knows, by name."""
        return sorted(self._noted)

    def _read(self, question: dict[str, Any] | None) -> dict[str, Noted]:
        """Each photograph's last line; without a journal one is begun."""
        noted: dict[str, Noted] = {}
        offset = 0
        self._journal.seek(0)
        for line in self._journal:
            if not line.endswith(b"\n") and (offset or _may_be_torn(line)):
                if not self._is_read_only:
                    self._journal.truncate(offset)
                break
            if offset and b"\0" in line:
                offset += len(line)
                continue
            try:
                entry = _parsed(line)
                if offset == 0:
                    self.question = entry["question"]
                    if question is not None:
                        _check_question(self.folder, self.question, question)
                else:
                    noted[entry["file"]] = Noted(offset, _STATUSES[entry["status"]], entry["n_bytes"], entry["mtime_ns"])
            except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self.place(JOURNAL)}: the line at byte {offset} is not a survey's. Remove that line, or choose "
                    "another folder by --out."
                ) from error
            offset += len(line)
        if offset == 0 and question is None:
            raise ValueError(f"{self.place(JOURNAL)} holds no answer yet. Survey the photographs again.")
        if offset == 0 and not self._is_read_only:
            self._append({"question": self.question})
        return noted

    def _append(self, entry: dict[str, Any]) -> int:
        offset = self._journal.seek(0, os.SEEK_END)
        self._journal.write(_written(entry))
        self._journal.flush()
        if time.monotonic() - self._synced >= self.sync_s:
            self._sync()
        return offset

    def _sync(self) -> None:
        os.fsync(self._journal.fileno())
        self._synced = time.monotonic()


def _is_begun(journal: Path) -> bool:
    return journal.is_file() and journal.stat().st_size > 0


def _may_be_torn(first_line: bytes) -> bool:
    """Whether that may be what a power cut has left of a journal's first line, and not the whole of another file."""
    return _BEGINNING.startswith(first_line.rstrip(b"\0")[: len(_BEGINNING)])


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:  # a file's name that is not UTF-8 has surrogates, which orjson doesn't read ...
        return json.loads(line)


def _written(entry: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # ... or write
        return json.dumps(entry).encode() + b"\n"


def is_about_all(error: OSError) -> bool:
    """Whether the error concerns all photographs: the disk is full, broken or read-only."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM)


def hold(file: IO[bytes], is_shared: bool = False) -> None:
    """Lock a file until it is closed, or share it with others that only read; on a share without locks only print a warning.
    Raises BlockingIOError if another process holds it.
    """
    try:
        _lock(file, is_shared)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        folder = Path(file.name).parent
        print(
            f"warning: no file in {folder} can be locked ({error.strerror}), so nothing prevents another survey from "
            "writing there. Run one at a time, or choose an --out on a local disk.",
            file=sys.stderr,
        )


def _lock(file: IO[bytes], is_shared: bool) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        file.seek(_HELD_BYTE)  # far behind what is written: others could not read a byte that is held
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except PermissionError as error:
            raise BlockingIOError(str(error)) from error
    else:
        fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _check_question(folder: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    if found != expected:
        told = [", ".join(f"{name} {value}" for name, value in question.items()) for question in (found, expected)]
        raise ValueError(
            f"{folder} holds a survey with {told[0]}; this one has {told[1]}. "
            "Use the same options as before, or choose another folder by --out."
        )
