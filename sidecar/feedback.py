"""The feedback store: photographs, masks and an index on disk, such that what was acknowledged survives a kill and a power cut.

    images/<SHA-256 of the upload>.jpg|png    masks/<SHA-256 of the file>.png    index.sqlite3 (WAL)

The index, whose commits are synced, refers to a file only once that is on disk. A kill at any moment leaves at most files that
the index does not know; they are swept at the next start. One process at a time owns a store. Left to others: what becomes of
what was said (`sidecar.items`), HTTP, and who may do what (`sidecar.routes`).
"""

import hashlib
import logging
import sqlite3
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

from model.inference.errors import ErrorCode, RequestError
from sidecar.copies import Description
from sidecar.files import DurableFiles
from sidecar.index import Index, full_disk_named
from sidecar.items import OF_A_CRACK, Event, Item, State, Submission, no_crack_in_mask, state_after
from sidecar.labels import Mask, hash_distance, without_position
from sidecar.look_alikes import as_json, read_look_alikes

logger = logging.getLogger("sidecar.feedback")

_WHAT = "The feedback store"

NEAR_COPY_BITS = (
    6  # of 64: scaled, recompressed and slightly cropped pictures differ by less, other pictures by some 20 and more
)

_WITHOUT_POSITIONS = 1  # the store's version (SQLite's user_version) once none of its photographs has one


_FROM_EVENTS = {
    "revision": "(SELECT COUNT(*) FROM events WHERE item_id = items.id)",
    "sent_by": "(SELECT who FROM events WHERE item_id = items.id ORDER BY rowid LIMIT 1)",
}
_ITEM_COLUMNS = [field.name for field in fields(Item) if field.name not in _FROM_EVENTS]
_EVENT_COLUMNS = [field.name for field in fields(Event)]
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS items ({", ".join(_ITEM_COLUMNS)}, PRIMARY KEY (id));
CREATE INDEX IF NOT EXISTS items_by_state ON items (state, created_at);
CREATE TABLE IF NOT EXISTS events (item_id, {", ".join(_EVENT_COLUMNS)});
CREATE INDEX IF NOT EXISTS events_by_item ON events (item_id);
"""
_ITEMS = f"SELECT *, {', '.join(f'{value} AS {name}' for name, value in _FROM_EVENTS.items())} FROM items"  # noqa: S608
_LATER_COLUMNS = ("proposed_mask_file", "name", "look_alikes")  # which stores of earlier versions lack
_WAITING = f"state IN ('{State.NEEDS_LABEL}', '{State.LABELLED}') OR proposed_mask_file IS NOT NULL"  # for a person


class FeedbackStore:
    """Opens the store in `folder`, made where it does not exist, and sweeps what a kill left behind.

    Args:
        quota_bytes: what images and masks together may take.
        is_review_required: whether a label needs a reviewer's yes before it trains.
        is_position_kept: whether photographs keep where and by whom they were taken. Where they don't, it is taken out of
            those that are there already, once.
        reserved: from a photograph's SHA-256, perceptual hash and description to the original set that it is in, if any.

    Raises:
        BlockingIOError: another process has it open.
    """

    def __init__(
        self,
        folder: Path,
        *,
        quota_bytes: int,
        is_review_required: bool,
        is_position_kept: bool = False,
        reserved: Callable[[str, str, Description], str | None] = lambda _sha256, _perceptual_hash, _description: None,
    ) -> None:
        self._folder = folder
        self._is_review_required = is_review_required
        self._reserved = reserved
        advice = "Delete feedback, or have CRACK_QUOTA_GB raised."
        self._files = DurableFiles(folder, ("images", "masks"), quota_bytes, _WHAT, advice)
        self._lock = threading.RLock()
        self._index = Index(folder, _SCHEMA)
        self._index.add_columns("items", _LATER_COLUMNS)
        self._files.begin(self._known_files())
        if is_position_kept:
            self._index.execute("PRAGMA user_version = 0")
        else:
            self._drop_positions()

    def close(self) -> None:
        with self._lock:
            self._index.close()

    def save(self, submission: Submission, who: str, stored: bytes) -> Item:
        """Keep what was said; returns when it would survive a power cut.

        The same photograph again is the same item: a mask supersedes the older one, a complaint without a mask reopens what
        has none, and what says less than is known changes nothing; all of it stays in the item's history. What a reviewer
        decided, a reviewer undoes: a newer mask for an accepted label is a proposal beside it.

        Args:
            stored: the photograph's file as it is to lie on disk.

        Raises:
            RequestError: STORAGE_FULL; as `reserved` does.
        """
        item_id = hashlib.sha256(submission.photograph.data).hexdigest()
        perceptual_hash = submission.photograph.perceptual_hash
        label = submission.label
        reserved_for = self._reserved(item_id, perceptual_hash, submission.photograph.description)
        with self._lock, full_disk_named(_WHAT):
            known = self.find(item_id)
            mask_file = _mask_file(label) if label else None
            was_reviewed = known is not None and self._was_reviewed(item_id)
            is_doubtful = submission.is_cut_anew or submission.is_drawn_unturned
            is_reviewed = self._is_review_required or was_reviewed or is_doubtful
            look_alikes = submission.look_alikes
            if label is None and known:  # nothing is said of where cracks are: what was marked before still is
                look_alikes = look_alikes or known.look_alikes
            state, reason = state_after(submission, label is not None, known, reserved_for, is_reviewed=is_reviewed)
            now = _now()
            is_settled = known is not None and known.state is state is State.ACCEPTED and is_reviewed
            if (
                known
                and known.mask_file
                and state is known.state
                and (label is None or (is_settled and mask_file == known.mask_file))
            ):
                item = replace(known, updated_at=now, look_alikes=look_alikes)  # what is known already says as much, or more
            else:
                image_file = known.image_file if known else f"images/{item_id}.{submission.photograph.extension}"
                self._files.write({image_file: stored} | ({mask_file: label.png} if mask_file and label else {}))
                height, width = submission.photograph.size_hw
                item = Item(
                    id=item_id,
                    state=state,
                    reason=reason,
                    verdict=submission.verdict,
                    image_file=image_file,
                    mask_file=known.mask_file if known and is_settled else mask_file,
                    proposed_mask_file=mask_file if is_settled else None,
                    height=height,
                    width=width,
                    uncertainty=submission.uncertainty,
                    request_id=submission.request_id,
                    model_version=submission.model_version,
                    note=submission.note,
                    perceptual_hash=perceptual_hash,
                    near_group=known.near_group if known else self._near_group(item_id, perceptual_hash),
                    created_at=known.created_at if known else now,
                    updated_at=now,
                    name=submission.name or (known.name if known else None),
                    look_alikes=look_alikes,
                )
            event = Event(
                at=now,
                who=who,
                action="saved",
                state=item.state,
                reason=item.reason,
                verdict=submission.verdict,
                mask_file=mask_file,
                request_id=submission.request_id,
                model_version=submission.model_version,
                note=submission.note,
            )
            return self._commit(item, event)

    def find(self, item_id: str) -> Item | None:
        with self._lock:
            row = self._index.execute(f"{_ITEMS} WHERE id = ?", (item_id,)).fetchone()
        return None if row is None else _item(row)

    def get(self, item_id: str) -> Item:
        """Raises RequestError, NOT_FOUND."""
        item = self.find(item_id)
        if item is None:
            raise RequestError(ErrorCode.NOT_FOUND, f"No feedback has the id {item_id!r}. GET /feedback lists what there is.")
        return item

    def items(self, states: Sequence[State], limit: int, offset: int) -> list[Item]:
        """Those in the given states; where none is given, those that wait for a person. State by state; first what the model
        was most uncertain about, then the oldest.
        """
        order = " ".join(f"WHEN '{state.value}' THEN {rank}" for rank, state in enumerate(State))
        chosen = f"state IN ({', '.join('?' * len(states))})" if states else _WAITING
        with self._lock:
            rows = self._index.execute(
                f"{_ITEMS} WHERE {chosen} ORDER BY CASE state {order} END, uncertainty DESC, created_at, id LIMIT ? OFFSET ?",
                (*states, limit, offset),
            ).fetchall()
        return [_item(row) for row in rows]

    def n_waiting(self) -> int:
        """Those that wait for a person: complaints without a mask, labels without a yes, newer masks for accepted labels."""
        with self._lock:
            return int(self._index.execute(f"SELECT COUNT(*) FROM items WHERE {_WAITING}").fetchone()[0])  # noqa: S608

    def events(self, item_id: str) -> list[Event]:
        """What happened to an item, the oldest first."""
        with self._lock:
            rows = self._index.execute("SELECT * FROM events WHERE item_id = ? ORDER BY rowid", (item_id,)).fetchall()
        return [Event(**{name: row[name] for name in _EVENT_COLUMNS} | {"state": State(row["state"])}) for row in rows]

    def counts(self) -> dict[State, int]:
        with self._lock:
            found = dict(self._index.execute("SELECT state, COUNT(*) FROM items GROUP BY state").fetchall())
        return {state: found.get(state, 0) for state in State}

    def n_bytes(self) -> int:
        """What images and masks take on disk."""
        return self._files.n_bytes

    @property
    def quota_bytes(self) -> int:
        return self._files.quota_bytes

    def n_free_bytes(self) -> int:
        """What is free on the disk that the store lies on."""
        return self._files.n_free_bytes()

    def oldest_waiting_at(self) -> str | None:
        """When what was longest left alone of the items that wait for a person was touched; None where there is none."""
        with self._lock:
            row = self._index.execute(f"SELECT MIN(updated_at) FROM items WHERE {_WAITING}").fetchone()  # noqa: S608
        return None if row[0] is None else str(row[0])

    def newest_label_at(self) -> str | None:
        with self._lock:
            row = self._index.execute("SELECT MAX(updated_at) FROM items WHERE mask_file IS NOT NULL").fetchone()
        return None if row[0] is None else str(row[0])

    def read(self, file: str) -> bytes:
        """One of an item's files. Raises RequestError, NOT_FOUND, where the item was deleted meanwhile."""
        try:
            return self._files.read(file)
        except FileNotFoundError as error:
            raise RequestError(ErrorCode.NOT_FOUND, f"{file} was deleted meanwhile. Look at the item again.") from error

    def review(
        self,
        item_id: str,
        who: str,
        seen: str,
        *,
        is_accepted: bool,
        reason: str = "",
        mask: Mask | None = None,
    ) -> Item:
        """A reviewer's yes or no; with a mask, the reviewer's own correction, which is accepted.

        Where a newer mask was proposed for an accepted label, the decision is about that one: a no leaves the label as it is.

        Args:
            seen: the `etag` of the item that the reviewer looked at.

        Raises:
            RequestError: NOT_FOUND; STATE_CONFLICT, where something has happened to the item since, there is no label to accept
                or the item is quarantined; MASK_INVALID, where a crack was missed and the mask shows none; STORAGE_FULL.
        """
        with self._lock, full_disk_named(_WHAT):
            item = self._as_seen(item_id, seen)
            if item.state is State.QUARANTINED:
                raise RequestError(ErrorCode.STATE_CONFLICT, f"{item_id} is quarantined: it {item.reason}. It cannot train.")
            mask_file = _mask_file(mask) if mask else item.proposed_mask_file or item.mask_file
            if is_accepted and item.verdict in OF_A_CRACK and mask_file == _mask_file(Mask.empty((item.height, item.width))):
                raise no_crack_in_mask(item.verdict, "reject the photograph")
            if mask:
                self._files.write({_mask_file(mask): mask.png})
            if is_accepted and mask_file is None:
                raise RequestError(
                    ErrorCode.STATE_CONFLICT, f"{item_id} has no mask, so there is nothing to accept. Send a corrected mask."
                )
            now, state = _now(), State.ACCEPTED if is_accepted else State.REJECTED
            reason = reason or f"{state.value} by {who}"
            kept_file = mask_file
            if item.proposed_mask_file and not is_accepted:
                state, reason, kept_file = State.ACCEPTED, f"stays accepted without the newer mask: {reason}", item.mask_file
            reviewed = replace(item, state=state, reason=reason, mask_file=kept_file, proposed_mask_file=None, updated_at=now)
            action = "corrected" if mask else "reviewed"
            return self._commit(reviewed, Event(now, who, action, state, reason, None, mask_file, None, None, None))

    def delete(self, item_id: str, who: str, seen: str) -> None:
        """Forget a photograph, its masks and its history.

        Args:
            seen: the `etag` of the item that the reviewer looked at.

        Raises:
            RequestError: NOT_FOUND; STATE_CONFLICT, where something has happened to the item since.
        """
        with self._lock, full_disk_named(_WHAT):
            item = self._as_seen(item_id, seen)
            with self._index.transaction():
                self._index.execute("DELETE FROM items WHERE id = ?", (item_id,))
                self._index.execute("DELETE FROM events WHERE item_id = ?", (item_id,))
            self._files.sweep(self._known_files())
            logger.info("deleted item=%s state=%s who=%s", item.id, item.state.value, who)

    # --- how it is kept

    def _as_seen(self, item_id: str, seen: str) -> Item:
        """The item, if nothing has happened to it since it was seen."""
        item = self.get(item_id)
        if item.etag != seen:
            last = self.events(item_id)[-1]
            when, state = f"{last.at[:10]} at {last.at[11:16]} UTC", item.state.value.replace("_", " ")
            raise RequestError(
                ErrorCode.STATE_CONFLICT,
                f"{item.name or item_id[:8]} is not what you looked at: {last.who} {last.action} it on {when}, and it is "
                f"{state} now ({item.reason}). Look at it again, then decide.",
            )
        return item

    def _was_reviewed(self, item_id: str) -> bool:
        """Whether a person has decided about it before."""
        row = self._index.execute("SELECT 1 FROM events WHERE item_id = ? AND action != 'saved' LIMIT 1", (item_id,)).fetchone()
        return row is not None

    def _commit(self, item: Item, event: Event) -> Item:
        row = {name: getattr(item, name) for name in _ITEM_COLUMNS} | {"look_alikes": as_json(item.look_alikes)}
        with self._index.transaction():
            self._index.insert("INSERT OR REPLACE INTO items", row)
            self._index.insert(
                "INSERT INTO events", {"item_id": item.id} | {name: getattr(event, name) for name in _EVENT_COLUMNS}
            )
        return self.get(item.id)

    def _near_group(self, item_id: str, perceptual_hash: str) -> str:
        rows = self._index.execute("SELECT near_group, perceptual_hash FROM items ORDER BY created_at").fetchall()
        near = (row["near_group"] for row in rows if hash_distance(row["perceptual_hash"], perceptual_hash) <= NEAR_COPY_BITS)
        return str(next(near, item_id))

    def _drop_positions(self) -> None:
        """Take out of the stored photographs what earlier versions, or CRACK_POSITION=kept, left in them."""
        if self._index.execute("PRAGMA user_version").fetchone()[0] == _WITHOUT_POSITIONS:
            return
        files = [row[0] for row in self._index.execute("SELECT DISTINCT image_file FROM items").fetchall()]
        n_changed = n_left = 0
        for file in files:
            try:
                data = self._files.read(file)
                stripped = without_position(data)
                if stripped != data:
                    self._files.replace(file, stripped)
                    n_changed += 1
            except FileNotFoundError:  # the sweep has said so
                continue
            except (OSError, ValueError, struct.error) as error:
                logger.error(
                    "%s may say where it was taken: %s. Delete its feedback, or start again.", self._folder / file, error
                )
                n_left += 1
        if files:
            logger.info("took where, when and by whom out of %d of %d stored photographs, once", n_changed, len(files))
        if not n_left:
            self._index.execute(f"PRAGMA user_version = {_WITHOUT_POSITIONS}")

    def _known_files(self) -> set[str]:
        rows = self._index.execute(
            "SELECT image_file FROM items UNION SELECT mask_file FROM items UNION SELECT mask_file FROM events"
        ).fetchall()
        return {row[0] for row in rows if row[0]}


def _mask_file(mask: Mask) -> str:
    return f"masks/{hashlib.sha256(mask.png).hexdigest()}.png"


def _item(row: sqlite3.Row) -> Item:
    look_alikes = read_look_alikes(row["look_alikes"], (row["height"], row["width"]))
    told = {"state": State(row["state"]), "look_alikes": look_alikes}
    return Item(**{field.name: row[field.name] for field in fields(Item)} | told)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
