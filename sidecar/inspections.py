"""The store of inspections: photographs with findings and decisions, stored as durably as feedback.

    images/<SHA-256>.jpg|png    levels/<SHA-256>.png    masks/<SHA-256>.png

`levels` is the model's crack probability, `masks` what people painted. A photograph's row has the fields of a survey's journal
(`inspection.rows`). The tables (`crack.stores.inspections`) refer to a file only once that is on disk; what a kill leaves
behind is swept (`sidecar.files`). Left to others: asking the model and measuring (`sidecar.inspecting`), the report
(`sidecar.reporting`), HTTP.
"""

import hashlib
import json
import logging
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from crack.stores import inspections as table
from crack.stores.database import Connection, Database
from crack.stores.rows import instant
from crack.stores.tables import Part
from inspection.findings import Mark, Photograph
from inspection.left_out import Box, LookAlike
from inspection.rows import Row, Status
from inspection.taken import Taken
from model.inference.errors import ErrorCode, RequestError
from model.inference.standards import Standard
from sidecar.files import DurableFiles, full_disk_named
from sidecar.look_alikes import as_json, read_look_alikes, read_zones

logger = logging.getLogger("sidecar.inspections")

_WHAT = "The store of inspections"
_ADVICE = "Delete an inspection, or ask the operator to raise CRACK_INSPECTIONS_QUOTA_GB."
_PAGES_BYTES = 4 * 4096  # of the index, which grows by whole pages


@dataclass(frozen=True)
class Head:
    """The details of an inspection. `date`: as ISO 8601, or empty; `is_position_kept`: whether it keeps where and when its
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
    """`n_by_state`: the number of its photographs by what was decided."""

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
        marker_size_mm: of the printed markers, if they give the scale.
        look_alikes: what was marked as no crack.
        zones: boxes that no figure counts.
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
        """Identifies the state that somebody looked at before changing it (RFC 9110, section 8.8.3)."""
        return f'"{hashlib.sha256(f"{self.revision} {self.changed_at}".encode()).hexdigest()[:32]}"'

    def told(self, standard: Standard | None = None) -> Photograph:
        """As tables and reports have it."""
        by_people = (self.state, self.look_alikes, self.zones, self.note, self.changed_by, self.changed_at)
        return Photograph(self.row, None, self.taken, standard, *by_people)


class InspectionStore:
    """Opens the store in `folder`, creates it if it does not exist, and removes files that a kill left behind.

    Args:
        quota_bytes: the most that all inspections may take together; SQLite's index counts, too.
        url: of the PostgreSQL that has its tables; empty: SQLite in the folder.

    Raises:
        BlockingIOError: another process has it open in SQLite.
        OSError, ValueError: as `Database` and `DurableFiles` do.
    """

    def __init__(self, folder: Path, quota_bytes: int, url: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._database = Database(Part.INSPECTIONS, folder, url, is_owner=True)
        try:
            sub_folders = ("images", "levels", "masks")
            self._files = DurableFiles(folder, sub_folders, self._database, quota_bytes, _WHAT, _ADVICE)
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        self._files.close()
        self._database.close()

    @property
    def quota_bytes(self) -> int:
        return self._files.quota_bytes

    def n_bytes(self) -> int:
        """The bytes that files and index take on disk."""
        with self._database.reading() as connection:
            return self._files.n_bytes() + table.n_index_bytes(connection)

    def n_free_bytes(self) -> int:
        """The free bytes on the store's disk."""
        return self._files.n_free_bytes()

    # --- inspections

    def create(self, head: Head, who: str) -> Inspection:
        """A new inspection, without photographs. Raises RequestError: STORAGE_FULL."""
        now, inspection_id = instant(), uuid.uuid4().hex
        made = {"id": inspection_id, "made_by": who, "made_at": now, "changed_at": now}
        with full_disk_named(_WHAT), self._database.writing() as connection:
            self._write(connection, {}, len(str(head)))
            table.add(connection, asdict(head) | made)
            return _there(connection, inspection_id)

    def get(self, inspection_id: str) -> Inspection:
        """Raises RequestError: NOT_FOUND."""
        with self._database.reading() as connection:
            return _there(connection, inspection_id)

    def inspections(self, limit: int, offset: int) -> list[Inspection]:
        """The most recently changed first."""
        with self._database.reading() as connection:
            return [_inspection(connection, row) for row in table.newest(connection, limit, offset)]

    def n_inspections(self) -> int:
        with self._database.reading() as connection:
            return table.n_inspections(connection)

    def change(self, inspection_id: str, head: Head) -> Inspection:
        """Raises RequestError: NOT_FOUND; STORAGE_FULL."""
        with full_disk_named(_WHAT), self._database.writing() as connection:
            _there(connection, inspection_id)
            if not head.is_position_kept:
                table.forget_taken(connection, inspection_id, json.dumps(asdict(Taken())))
            table.change(connection, inspection_id, asdict(head) | {"changed_at": instant()})
            return _there(connection, inspection_id)

    def delete(self, inspection_id: str, who: str) -> None:
        """Delete an inspection and its contents. Raises RequestError: NOT_FOUND; STORAGE_FULL."""
        with full_disk_named(_WHAT):
            with self._database.writing() as connection:
                n_photographs = _there(connection, inspection_id).n_photographs
                gone = self._files.released(connection, table.remove(connection, inspection_id))
            self._forget(gone)
        logger.info("deleted inspection=%s photographs=%d who=%s", inspection_id, n_photographs, who)

    # --- their photographs

    def add(self, photograph: Kept, contents: Mapping[str, bytes], who: str) -> Kept:
        """Store a photograph; returns once it is safely on disk. One that is there already stays as it is.

        Args:
            photograph: gets another name where its inspection has a photograph of the same name.
            contents: its files by their names.

        Raises:
            RequestError: NOT_FOUND, where its inspection was deleted; STORAGE_FULL.
        """
        with full_disk_named(_WHAT), self._database.writing() as connection:
            _there(connection, photograph.inspection_id)
            known = _found(connection, photograph.inspection_id, photograph.id)
            if known is not None:
                return known
            name = _free_name(photograph.row.file, table.names(connection, photograph.inspection_id))
            row = replace(photograph.row, file=name)
            now = instant()
            added = replace(photograph, row=row, added_by=who, added_at=now, changed_by=who, changed_at=now)
            return self._put(connection, added, contents, is_new=True)

    def find(self, inspection_id: str, photograph_id: str) -> Kept | None:
        with self._database.reading() as connection:
            return _found(connection, inspection_id, photograph_id)

    def photograph(self, inspection_id: str, photograph_id: str) -> Kept:
        """Raises RequestError: NOT_FOUND."""
        with self._database.reading() as connection:
            return _photograph(connection, inspection_id, photograph_id)

    def as_seen(self, inspection_id: str, photograph_id: str, seen: str) -> Kept:
        """The photograph, if nobody has changed it since it was seen. Raises RequestError: NOT_FOUND; STATE_CONFLICT."""
        with self._database.reading() as connection:
            return _as_seen(connection, inspection_id, photograph_id, seen)

    def photographs(self, inspection_id: str, states: Sequence[Mark], limit: int, offset: int) -> list[Kept]:
        """In the order in which they were added; of any state where none is given. Raises RequestError: NOT_FOUND."""
        with self._database.reading() as connection:
            _there(connection, inspection_id)
            return [kept(row) for row in table.photographs(connection, inspection_id, states, limit, offset)]

    def change_photograph(self, changed: Kept, seen: str, contents: Mapping[str, bytes], who: str) -> Kept:
        """Replace a photograph's state by a new one.

        Args:
            seen: the `etag` of the state that its author looked at.
            contents: new files by their names.

        Raises:
            RequestError: NOT_FOUND; STATE_CONFLICT, where it has been changed since; STORAGE_FULL.
        """
        with full_disk_named(_WHAT):
            with self._database.writing() as connection:
                known = _as_seen(connection, changed.inspection_id, changed.id, seen)
                changed = replace(changed, changed_by=who, changed_at=instant(), revision=known.revision + 1)
                done = self._put(connection, changed, contents, is_new=False)
                former = {file for file in (known.mask_file,) if file not in (None, done.mask_file)}
                gone = self._files.released(connection, former)
            if former:
                self._forget(gone)
        return done

    def delete_photograph(self, inspection_id: str, photograph_id: str, seen: str, who: str) -> None:
        """Raises RequestError: NOT_FOUND; STATE_CONFLICT, where it has been changed since; STORAGE_FULL."""
        with full_disk_named(_WHAT):
            with self._database.writing() as connection:
                _as_seen(connection, inspection_id, photograph_id, seen)
                files = table.remove_photograph(connection, inspection_id, photograph_id)
                gone = self._files.released(connection, files)
                _touch(connection, inspection_id)
            self._forget(gone)
        logger.info("deleted photograph=%s inspection=%s who=%s", photograph_id, inspection_id, who)

    def read(self, file: str) -> bytes:
        """One of a photograph's files. Raises RequestError: NOT_FOUND, where it was deleted meanwhile."""
        try:
            return self._files.read(file)
        except FileNotFoundError as error:
            raise RequestError(ErrorCode.NOT_FOUND, f"{file} was deleted meanwhile. Look at the inspection again.") from error

    # --- how it is kept

    def _put(self, connection: Connection, photograph: Kept, contents: Mapping[str, bytes], *, is_new: bool) -> Kept:
        values = asdict(photograph)
        values |= {name: json.dumps(values[name]) for name in ("taken", "zones")}
        values["look_alikes"] = as_json(photograph.look_alikes)
        n_index_bytes = len(json.dumps(values["row"])) + len(values["look_alikes"]) + len(values["zones"])
        self._write(connection, contents, n_index_bytes)
        table.put(connection, values, is_new=is_new)
        _touch(connection, photograph.inspection_id)
        return photograph

    def _write(self, connection: Connection, contents: Mapping[str, bytes], n_index_bytes: int) -> None:
        beside = 0 if self._database.is_shared else table.n_index_bytes(connection) + n_index_bytes + _PAGES_BYTES
        self._files.write(connection, contents, beside)

    def _forget(self, gone: Collection[str]) -> None:
        """Remove deleted data from the files and from the index."""
        self._files.remove(gone)
        self._database.forget_deleted()


def _there(connection: Connection, inspection_id: str) -> Inspection:
    row = table.find(connection, inspection_id)
    if row is None:
        raise RequestError(
            ErrorCode.NOT_FOUND, f"No inspection has the id {inspection_id!r}. GET /inspections lists what there is."
        )
    return _inspection(connection, row)


def _inspection(connection: Connection, row: Mapping[str, Any]) -> Inspection:
    found = table.counts(connection, row["id"])
    counts = {mark.value: found.get(mark.value, 0) for mark in Mark}
    return Inspection(**row, n_photographs=sum(counts.values()), n_by_state=counts)


def _found(connection: Connection, inspection_id: str, photograph_id: str) -> Kept | None:
    row = table.photograph(connection, inspection_id, photograph_id)
    return None if row is None else kept(row)


def _photograph(connection: Connection, inspection_id: str, photograph_id: str) -> Kept:
    found = _found(connection, inspection_id, photograph_id)
    if found is None:
        raise RequestError(
            ErrorCode.NOT_FOUND,
            f"Inspection {inspection_id!r} has no photograph {photograph_id!r}. "
            f"GET /inspections/{inspection_id}/photographs lists what it has.",
        )
    return found


def _as_seen(connection: Connection, inspection_id: str, photograph_id: str, seen: str) -> Kept:
    found = _photograph(connection, inspection_id, photograph_id)
    if found.etag != seen:
        raise RequestError(
            ErrorCode.STATE_CONFLICT,
            f"{found.row.file} is not what you looked at: {found.changed_by} changed it on {found.changed_at[:10]} at "
            f"{found.changed_at[11:16]} UTC, and it is {found.state.value} now. Look at it again, then decide.",
        )
    return found


def _touch(connection: Connection, inspection_id: str) -> None:
    table.change(connection, inspection_id, {"changed_at": instant()})


def _free_name(name: str, taken: Collection[str]) -> str:
    (stem, dot, suffix), free, number = name.rpartition("."), name, 1
    while free in taken:
        number += 1
        free = f"{stem} ({number}){dot}{suffix}" if stem else f"{name} ({number})"
    return free


def kept(row: Mapping[str, Any]) -> Kept:
    """A photograph from its row of the table."""
    found = row["row"]
    size_hw = (found["height"], found["width"])
    decoded = {
        "row": Row(**found | {"status": Status(found["status"])}),
        "taken": Taken(**json.loads(row["taken"])),
        "state": Mark(row["state"]),
        "look_alikes": read_look_alikes(row["look_alikes"], size_hw),
        "zones": read_zones(row["zones"], size_hw),
    }
    return Kept(**{**row, **decoded})
