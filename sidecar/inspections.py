"""The store of inspections: photographs with what was found and decided, kept as the feedback store keeps its own.

    images/<SHA-256>.jpg|png    levels/<SHA-256>.png    masks/<SHA-256>.png    index.sqlite3 (WAL)

`levels` is the model's crack probability, `masks` what people painted. A photograph's row has the fields of a survey's journal
(`inspection.rows`). The index refers to a file only once that is on disk; what a kill leaves behind is swept at the next start.
Left to others: asking the model and measuring (`sidecar.inspecting`), the report (`sidecar.reporting`), HTTP.
"""

import hashlib
import json
import logging
import sqlite3
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from inspection.findings import Mark, Photograph
from inspection.left_out import Box, LookAlike
from inspection.rows import Row, Status
from inspection.taken import Taken
from model.inference.errors import ErrorCode, RequestError
from model.inference.standards import Standard
from sidecar.files import DurableFiles
from sidecar.index import Index, full_disk_named
from sidecar.look_alikes import as_json, read_look_alikes, read_zones

logger = logging.getLogger("sidecar.inspections")

_WHAT = "The store of inspections"
_ADVICE = "Delete an inspection, or have CRACK_INSPECTIONS_QUOTA_GB raised."
_PAGES_BYTES = 4 * 4096  # of the index, which grows by whole pages
_FILES = ("image_file", "levels_file", "mask_file")


@dataclass(frozen=True)
class Head:
    """What an inspection is about. `date`: as ISO 8601, or empty; `is_position_kept`: whether it tells where and when its
    photographs were taken.
    """

    name: str
    structure: str = ""
    element: str = ""
    date: str = ""
    inspector: str = ""
    is_position_kept: bool = False


@dataclass(frozen=True)
class Inspection(Head):
    """`n_by_state`: its photographs, by what was decided."""

    id: str = ""
    made_by: str = ""
    made_at: str = ""
    changed_at: str = ""
    n_photographs: int = 0
    n_by_state: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Kept:
    """One photograph of an inspection.

    Attributes:
        id: the SHA-256 of what was uploaded.
        row: what was found, from the mask as it is now and without the zones; its `file` is the photograph's name, once in
            each inspection.
        taken: where and when, if the inspection asks for it.
        model_threshold: at which the model's own mask is cut.
        marker_size_mm: of the printed markers, where the scale is told by them.
        look_alikes: what was marked as no crack.
        zones: what counts in no figure.
    """

    inspection_id: str
    id: str
    state: Mark
    row: Row
    taken: Taken
    image_file: str
    levels_file: str
    mask_file: str | None
    model_threshold: float
    marker_size_mm: float | None = None
    quality: str = "normal"
    note: str = ""
    look_alikes: tuple[LookAlike, ...] = ()
    zones: tuple[Box, ...] = ()
    added_by: str = ""
    added_at: str = ""
    changed_by: str = ""
    changed_at: str = ""
    revision: int = 0

    @property
    def etag(self) -> str:
        """Stands for what somebody looked at before they changed it (RFC 9110, section 8.8.3)."""
        return f'"{hashlib.sha256(f"{self.revision} {self.changed_at}".encode()).hexdigest()[:32]}"'

    def told(self, standard: Standard | None = None) -> Photograph:
        """As tables and reports have it."""
        return Photograph(self.row, None, self.taken, standard, self.state, self.look_alikes, self.zones)


_HEAD_COLUMNS = [column.name for column in fields(Head)]
_COLUMNS = [*_HEAD_COLUMNS, "id", "made_by", "made_at", "changed_at"]
_KEPT_COLUMNS = [column.name for column in fields(Kept)]
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS inspections ({", ".join(_COLUMNS)}, PRIMARY KEY (id));
CREATE TABLE IF NOT EXISTS photographs ({", ".join(_KEPT_COLUMNS)}, PRIMARY KEY (inspection_id, id));
"""
_LATER_COLUMNS = ("look_alikes", "zones")  # which stores of earlier versions lack
ALL = "SELECT * FROM photographs WHERE inspection_id = ? ORDER BY added_at, rowid"


class InspectionStore:
    """Opens the store in `folder`, made where it does not exist, and sweeps what a kill left behind.

    Args:
        quota_bytes: what all inspections together may take, index included.

    Raises:
        BlockingIOError: another process has it open.
    """

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        self.folder = folder
        self._files = DurableFiles(folder, ("images", "levels", "masks"), quota_bytes, _WHAT, _ADVICE)
        self._lock = threading.RLock()
        self._index = Index(folder, _SCHEMA)
        self._index.add_columns("photographs", _LATER_COLUMNS)
        self._index.execute("PRAGMA secure_delete = ON")  # thumbnails and positions lie in the index
        self._files.begin(self._known_files())

    def close(self) -> None:
        with self._lock:
            self._index.close()

    @property
    def quota_bytes(self) -> int:
        return self._files.quota_bytes

    def n_bytes(self) -> int:
        """What files and index take on disk."""
        with self._lock:
            return self._files.n_bytes + self._n_index_bytes()

    def n_free_bytes(self) -> int:
        """What is free on the disk that the store lies on."""
        return self._files.n_free_bytes()

    # --- inspections

    def create(self, head: Head, who: str) -> Inspection:
        """A new inspection, without photographs. Raises RequestError: STORAGE_FULL."""
        now, inspection_id = _now(), uuid.uuid4().hex
        made = {"id": inspection_id, "made_by": who, "made_at": now, "changed_at": now}
        with self._lock, full_disk_named(_WHAT):
            self._write({}, len(str(head)))
            with self._index.transaction():
                self._index.insert("INSERT INTO inspections", asdict(head) | made)
            return self.get(inspection_id)

    def get(self, inspection_id: str) -> Inspection:
        """Raises RequestError: NOT_FOUND."""
        with self._lock:
            row = self._index.execute("SELECT * FROM inspections WHERE id = ?", (inspection_id,)).fetchone()
            if row is None:
                raise RequestError(
                    ErrorCode.NOT_FOUND, f"No inspection has the id {inspection_id!r}. GET /inspections lists what there is."
                )
            return self._inspection(row)

    def inspections(self, limit: int, offset: int) -> list[Inspection]:
        """What was changed last comes first."""
        command = "SELECT * FROM inspections ORDER BY changed_at DESC, id LIMIT ? OFFSET ?"
        with self._lock:
            return [self._inspection(row) for row in self._index.execute(command, (limit, offset)).fetchall()]

    def n_inspections(self) -> int:
        with self._lock:
            return int(self._index.execute("SELECT COUNT(*) FROM inspections").fetchone()[0])

    def change(self, inspection_id: str, head: Head) -> Inspection:
        """Raises RequestError: NOT_FOUND; STORAGE_FULL."""
        with self._lock, full_disk_named(_WHAT):
            self.get(inspection_id)
            changes = asdict(head) | {"changed_at": _now()}
            chosen = ", ".join(f"{name} = ?" for name in changes)
            with self._index.transaction():
                if not head.is_position_kept:
                    forgotten = (json.dumps(asdict(Taken())), inspection_id)
                    self._index.execute("UPDATE photographs SET taken = ? WHERE inspection_id = ?", forgotten)
                self._index.execute(f"UPDATE inspections SET {chosen} WHERE id = ?", (*changes.values(), inspection_id))  # noqa: S608
            return self.get(inspection_id)

    def delete(self, inspection_id: str, who: str) -> None:
        """With all that it holds. Raises RequestError: NOT_FOUND; STORAGE_FULL."""
        with self._lock, full_disk_named(_WHAT):
            n_photographs = self.get(inspection_id).n_photographs
            with self._index.transaction():
                self._index.execute("DELETE FROM photographs WHERE inspection_id = ?", (inspection_id,))
                self._index.execute("DELETE FROM inspections WHERE id = ?", (inspection_id,))
            self._forget()
        logger.info("deleted inspection=%s photographs=%d who=%s", inspection_id, n_photographs, who)

    # --- their photographs

    def add(self, photograph: Kept, contents: Mapping[str, bytes], who: str) -> Kept:
        """Keep a photograph; returns when it would survive a power cut. One that is there already stays as it is.

        Args:
            photograph: gets another name where its inspection has a photograph of the same name.
            contents: its files by their names.

        Raises:
            RequestError: NOT_FOUND, where its inspection was deleted; STORAGE_FULL.
        """
        with self._lock, full_disk_named(_WHAT):
            self.get(photograph.inspection_id)
            known = self.find(photograph.inspection_id, photograph.id)
            if known is not None:
                return known
            row = replace(photograph.row, file=self._free_name(photograph.inspection_id, photograph.row.file))
            now = _now()
            added = replace(photograph, row=row, added_by=who, added_at=now, changed_by=who, changed_at=now)
            return self._put(added, contents)

    def find(self, inspection_id: str, photograph_id: str) -> Kept | None:
        command = "SELECT * FROM photographs WHERE inspection_id = ? AND id = ?"
        with self._lock:
            row = self._index.execute(command, (inspection_id, photograph_id)).fetchone()
        return None if row is None else kept(row)

    def photograph(self, inspection_id: str, photograph_id: str) -> Kept:
        """Raises RequestError: NOT_FOUND."""
        found = self.find(inspection_id, photograph_id)
        if found is None:
            raise RequestError(
                ErrorCode.NOT_FOUND,
                f"Inspection {inspection_id!r} has no photograph {photograph_id!r}. "
                f"GET /inspections/{inspection_id}/photographs lists what it has.",
            )
        return found

    def as_seen(self, inspection_id: str, photograph_id: str, seen: str) -> Kept:
        """The photograph, if nobody has changed it since it was seen. Raises RequestError: NOT_FOUND; STATE_CONFLICT."""
        found = self.photograph(inspection_id, photograph_id)
        if found.etag != seen:
            raise RequestError(
                ErrorCode.STATE_CONFLICT,
                f"{found.row.file} is not what you looked at: {found.changed_by} changed it on {found.changed_at[:10]} at "
                f"{found.changed_at[11:16]} UTC, and it is {found.state.value} now. Look at it again, then decide.",
            )
        return found

    def photographs(self, inspection_id: str, states: Sequence[Mark], limit: int, offset: int) -> list[Kept]:
        """In the order in which they were added; of any state where none is given. Raises RequestError: NOT_FOUND."""
        chosen = f"AND state IN ({', '.join('?' * len(states))})" if states else ""
        command = ALL.replace("ORDER", f"{chosen} ORDER") + " LIMIT ? OFFSET ?"
        with self._lock:
            self.get(inspection_id)
            rows = self._index.execute(command, (inspection_id, *states, limit, offset)).fetchall()
        return [kept(row) for row in rows]

    def change_photograph(self, changed: Kept, seen: str, contents: Mapping[str, bytes], who: str) -> Kept:
        """Put what became of a photograph in the place of what it was.

        Args:
            seen: the `etag` of what its author looked at.
            contents: new files by their names.

        Raises:
            RequestError: NOT_FOUND; STATE_CONFLICT, where it has been changed since; STORAGE_FULL.
        """
        with self._lock, full_disk_named(_WHAT):
            known = self.as_seen(changed.inspection_id, changed.id, seen)
            changed = replace(changed, changed_by=who, changed_at=_now(), revision=known.revision + 1)
            done = self._put(changed, contents)
            if known.mask_file not in (None, done.mask_file):
                self._forget()
            return done

    def delete_photograph(self, inspection_id: str, photograph_id: str, seen: str, who: str) -> None:
        """Raises RequestError: NOT_FOUND; STATE_CONFLICT, where it has been changed since; STORAGE_FULL."""
        with self._lock, full_disk_named(_WHAT):
            self.as_seen(inspection_id, photograph_id, seen)
            with self._index.transaction():
                command = "DELETE FROM photographs WHERE inspection_id = ? AND id = ?"
                self._index.execute(command, (inspection_id, photograph_id))
                self._touch(inspection_id)
            self._forget()
        logger.info("deleted photograph=%s inspection=%s who=%s", photograph_id, inspection_id, who)

    def read(self, file: str) -> bytes:
        """One of a photograph's files. Raises RequestError: NOT_FOUND, where it was deleted meanwhile."""
        try:
            return self._files.read(file)
        except FileNotFoundError as error:
            raise RequestError(ErrorCode.NOT_FOUND, f"{file} was deleted meanwhile. Look at the inspection again.") from error

    # --- how it is kept

    def _put(self, photograph: Kept, contents: Mapping[str, bytes]) -> Kept:
        values = asdict(photograph)
        values |= {name: json.dumps(values[name]) for name in ("row", "taken", "zones")}
        values["look_alikes"] = as_json(photograph.look_alikes)
        self._write(contents, sum(len(values[name]) for name in ("row", "look_alikes", "zones")))
        with self._index.transaction():
            self._index.insert("INSERT OR REPLACE INTO photographs", values)
            self._touch(photograph.inspection_id)
        return photograph

    def _write(self, contents: Mapping[str, bytes], n_index_bytes: int) -> None:
        self._files.write(contents, self._n_index_bytes() + n_index_bytes + _PAGES_BYTES)

    def _touch(self, inspection_id: str) -> None:
        self._index.execute("UPDATE inspections SET changed_at = ? WHERE id = ?", (_now(), inspection_id))

    def _n_index_bytes(self) -> int:
        n_pages, page_bytes, n_free = (
            self._index.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size", "freelist_count")
        )
        return int((n_pages - n_free) * page_bytes)

    def _free_name(self, inspection_id: str, name: str) -> str:
        rows = self._index.execute("SELECT row ->> 'file' FROM photographs WHERE inspection_id = ?", (inspection_id,))
        taken, (stem, dot, suffix), free, number = {row[0] for row in rows}, name.rpartition("."), name, 1
        while free in taken:
            number += 1
            free = f"{stem} ({number}){dot}{suffix}" if stem else f"{name} ({number})"
        return free

    def _inspection(self, row: sqlite3.Row) -> Inspection:
        command = "SELECT state, COUNT(*) FROM photographs WHERE inspection_id = ? GROUP BY state"
        found = dict(self._index.execute(command, (row["id"],)).fetchall())
        counts = {mark.value: found.get(mark.value, 0) for mark in Mark}
        told = {name: row[name] for name in _COLUMNS} | {"is_position_kept": bool(row["is_position_kept"])}
        return Inspection(**told, n_photographs=sum(counts.values()), n_by_state=counts)

    def _forget(self) -> None:
        """Of what was deleted nothing stays, in the files and in the index."""
        self._files.sweep(self._known_files())
        self._index.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _known_files(self) -> set[str]:
        command = " UNION ".join(f"SELECT {column} FROM photographs" for column in _FILES)  # noqa: S608
        return {row[0] for row in self._index.execute(command).fetchall() if row[0]}


def kept(row: sqlite3.Row) -> Kept:
    """A photograph from its line of the index."""
    found = json.loads(row["row"])
    size_hw = (found["height"], found["width"])
    decoded = {
        "row": Row(**found | {"status": Status(found["status"])}),
        "taken": Taken(**json.loads(row["taken"])),
        "state": Mark(row["state"]),
        "look_alikes": read_look_alikes(row["look_alikes"], size_hw),
        "zones": read_zones(row["zones"], size_hw),
    }
    return Kept(**{name: row[name] for name in _KEPT_COLUMNS} | decoded)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
