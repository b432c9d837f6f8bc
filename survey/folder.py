"""A survey's folder: masks, overlays, a journal of what was answered, and the contact sheet made from it.

The journal, `cracks.jsonl`, gets one line for each photograph once its pictures are in place, and is brought to disk each
second. What a kill or a power cut has torn at its end is cut off when the folder is opened again; of two lines about a
photograph the later one holds. Left to others: asking (`surveyor`), the tables (`tables`).
"""

import errno
import hashlib
import heapq
import json
import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import jinja2

from crack.files import sync
from inspection.rows import Row, Status

JOURNAL = "cracks.jsonl"
SHEET = "index.html"
MAX_SHOWN = 3000  # on the contact sheet: with some 8 KB each a phone still opens it
_INCOMING = ".cracks-incoming"
_MAX_NAME_BYTES, _MAX_PARENT_BYTES = 255, 2000  # a path has 4096 at most, and the survey's folder is before it
_HELD_BYTE = 2**40
_SYNC_S = 1.0  # as much as a power cut may cost: each line by itself would wait for the disk
_ENDS = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9"}  # of a whole picture
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # as some network shares answer


class Survey:
    """The folder, held by one process at a time; created where it does not exist.

    Args:
        question: what is asked of each photograph, such as threshold and quality. A folder has one for all of its life; None
            takes what is there.

    Raises:
        ValueError: what is there was asked with another `question`, or is no survey.
        BlockingIOError: another process has it open.
        OSError: it cannot be written.
    """

    def __init__(self, folder: Path, question: dict[str, Any] | None) -> None:
        self.folder = folder
        self.question: dict[str, Any] = question or {}
        folder.mkdir(0o700, parents=True, exist_ok=True)  # whoever wants to show it opens it; the journal stays closed
        self._journal = open(folder / JOURNAL, "a+b")  # noqa: SIM115 - as long as the survey
        self._synced = 0.0
        try:
            (folder / JOURNAL).chmod(0o600)
            hold(self._journal)
            self._offsets = self._read(question)
            shutil.rmtree(folder / _INCOMING, ignore_errors=True)
            (folder / _INCOMING).mkdir()
            if os.name == "posix":  # elsewhere names need no bringing to disk, and can't be
                sync(folder)
                sync(folder.parent)
        except BaseException:
            self._journal.close()
            raise

    def close(self) -> None:
        shutil.rmtree(self.folder / _INCOMING, ignore_errors=True)
        try:
            self._sync()
        finally:
            self._journal.close()

    def find(self, file: str) -> Row | None:
        """What the journal says last about a photograph."""
        offset = self._offsets.get(file)
        if offset is None:
            return None
        self._journal.seek(offset)
        fields = json.loads(self._journal.readline())
        return Row(**fields | {"status": Status(fields["status"])})

    def rows(self, files: Iterable[str]) -> Iterator[Row]:
        """What the journal says of those of `files` that it knows, in their order."""
        for file in files:
            row = self.find(file)
            if row is not None:
                yield row

    def has_pictures(self, file: str) -> bool:
        """Whether mask and overlay are there, and not empty or half, as a power cut may leave them."""
        return all(_is_whole(path) for path in (self.mask(file), self.overlay(file)))

    def keep(self, file: str, mask_png: bytes, overlay_jpeg: bytes) -> None:
        """Write a photograph's pictures, each whole or not at all, in the place of earlier ones. Any thread may."""
        for path, content in ((self.mask(file), mask_png), (self.overlay(file), overlay_jpeg)):
            with self.whole(path.relative_to(self.folder).as_posix()) as incoming:
                incoming.write_bytes(content)

    def append(self, row: Row) -> None:
        """Note what became of a photograph whose pictures are in place; where it was refused, earlier ones are removed."""
        if row.status is Status.REFUSED:
            for path in (self.mask(row.file), self.overlay(row.file)):
                path.unlink(missing_ok=True)
        self._offsets[row.file] = self._append(vars(row))

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Note, once, what is no photograph, and why."""
        for file, reason in reasons.items():
            row = Row(file, Status.LEFT_OUT, 0, 0, "", error=reason)
            if self.find(file) != row:
                self.append(row)

    @contextmanager
    def whole(self, name: str) -> Iterator[Path]:
        """A path to write a file to; once that has gone well, it takes the place of an earlier one under `name`."""
        path, incoming = self.folder / name, self._incoming()
        yield incoming
        path.parent.mkdir(parents=True, exist_ok=True)
        incoming.replace(path)

    def write_sheet(self, files: Iterable[str], title: str, asked: str) -> Path:
        """`index.html`, thumbnails within it: by `crack_score`, the highest first; after them what has none, by its share of
        crack; then what was not predicted, with the reason.

        Args:
            title: what was surveyed.
            asked: a line about how.
        """
        predicted: list[tuple[float, float, str]] = []
        missing: list[str] = []
        for row in self.rows(files):
            if row.status is Status.PREDICTED:
                rank = math.inf if row.crack_score is None else -row.crack_score
                predicted.append((rank, -(row.crack_ratio or 0.0), row.file))
            else:
                missing.append(row.file)
        shown = heapq.nsmallest(MAX_SHOWN, predicted)
        sheet = (
            jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
            .from_string(Path(__file__).with_name("contact_sheet.html").read_text(encoding="utf-8"))
            .stream(
                title=title,
                asked=asked,
                n_predicted=len(predicted),
                n_missing=len(missing),
                n_shown=len(shown),
                n_without_score=sum(rank == math.inf for rank, _, _ in predicted),
                rows=({"row": row, **self._links(row.file)} for row in self.rows(file for _, _, file in shown)),
                missing=self.rows(missing),
            )
        )
        with self.whole(SHEET) as path:
            sheet.dump(str(path), encoding="utf-8", errors="replace")
        return self.folder / SHEET

    def files(self) -> list[str]:
        """All photographs that the journal knows, by name."""
        return sorted(self._offsets)

    def _read(self, question: dict[str, Any] | None) -> dict[str, int]:
        """Where each photograph's last line begins; without a journal one is begun."""
        offsets: dict[str, int] = {}
        offset = 0
        self._journal.seek(0)
        for line in self._journal:
            if not line.endswith(b"\n") or b"\0" in line:  # a power cut leaves zeros
                self._journal.truncate(offset)
                break
            try:
                entry = json.loads(line)
                if offset == 0:
                    self.question = entry["question"]
                    if question is not None:
                        _check_question(self.folder, self.question, question)
                else:
                    offsets[entry["file"]] = offset
            except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self.folder / JOURNAL}: the line at byte {offset} is none of a survey's. Remove that line, or choose "
                    "another folder by --out."
                ) from error
            offset += len(line)
        if offset == 0:
            self._append({"question": self.question})
        return offsets

    def _append(self, entry: dict[str, Any]) -> int:
        offset = self._journal.seek(0, os.SEEK_END)
        self._journal.write(json.dumps(entry).encode() + b"\n")
        self._journal.flush()
        if time.monotonic() - self._synced >= _SYNC_S:
            self._sync()
        return offset

    def _sync(self) -> None:
        os.fsync(self._journal.fileno())
        self._synced = time.monotonic()

    def _links(self, file: str) -> dict[str, str]:
        paths = {"mask": self.mask(file), "overlay": self.overlay(file)}
        return {name: quote(os.fsencode(path.relative_to(self.folder).as_posix())) for name, path in paths.items()}

    def mask(self, file: str) -> Path:
        return self.folder / "masks" / fitting(f"{file}.png")  # the suffix stays: wall.jpg and wall.png are two photographs

    def overlay(self, file: str) -> Path:
        return self.folder / "overlays" / fitting(f"{file}.jpg")

    def _incoming(self) -> Path:
        return self.folder / _INCOMING / str(threading.get_ident())


def fitting(name: str) -> str:
    """A file's name below a folder; its last part is cut, and told apart by a hash, where no file system takes one as long; so
    are the folders before it, where no path may be as long.
    """
    parent, separator, last = name.rpartition("/")
    if len(os.fsencode(parent)) > _MAX_PARENT_BYTES:
        parent = f"~{hashlib.sha256(os.fsencode(parent)).hexdigest()[:16]}"
        name = f"{parent}/{last}"
    encoded = os.fsencode(last)
    if len(encoded) <= _MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return f"{parent}{separator}{encoded[:200].decode(errors='ignore')}~{digest}{Path(last).suffix}"


def is_about_all(error: OSError) -> bool:
    """Whether it would meet any other photograph too: the disk is full, broken, or may not be written."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM)


def _is_whole(picture: Path) -> bool:
    end = _ENDS[picture.suffix]
    try:
        with picture.open("rb") as file:
            file.seek(-len(end), os.SEEK_END)
            return file.read() == end
    except OSError:  # none there, or it is empty
        return False


def hold(file: IO[bytes]) -> None:
    """Until it is closed; on a share without locks a warning takes the place of that. Raises BlockingIOError where another
    process does.
    """
    try:
        _lock(file)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        folder = Path(file.name).parent
        print(
            f"warning: {folder} is where no file can be locked ({error.strerror}), so nothing keeps another survey from "
            "writing there. Run one at a time, or choose an --out on a local disk.",
            file=sys.stderr,
        )


def _lock(file: IO[bytes]) -> None:
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
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _check_question(folder: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    if found != expected:
        told = [", ".join(f"{name} {value}" for name, value in question.items()) for question in (found, expected)]
        raise ValueError(
            f"{folder} holds a survey with {told[0]}; this one has {told[1]}. Ask as before, or choose another folder by --out."
        )
