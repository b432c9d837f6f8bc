"""The feedback store: photographs, masks and tables, such that what was acknowledged survives a kill and a power cut.

    images/<SHA-256 of the upload>.jpg|png    masks/<SHA-256 of the file>.png

The tables (`crack.stores.feedback`), whose commits are synced, refer to a file only once that is on disk. A kill at any moment
leaves at most files that no row knows; they are swept (`sidecar.files`). Left to others: what becomes of what was said
(`sidecar.items`), HTTP, and who may do what (`sidecar.routes`).
"""

import hashlib
import logging
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crack.stores import feedback, folders
from crack.stores.database import Connection, Database
from crack.stores.states import State
from crack.stores.tables import Part
from model.inference.errors import ErrorCode, RequestError
from sidecar.copies import Description
from sidecar.files import DurableFiles, full_disk_named
from sidecar.items import OF_A_CRACK, Event, Item, Submission, no_crack_in_mask, state_after
from sidecar.labels import Mask, without_position
from sidecar.look_alikes import as_json, read_look_alikes

logger = logging.getLogger("sidecar.feedback")

_WHAT = "The feedback store"
_FROM_EVENTS = ("revision", "sent_by")  # fields of an item that its events say


class FeedbackStore:
    """Opens the store in `folder`, made where it does not exist, and sweeps what a kill left behind.

    Args:
        url: of the PostgreSQL that has its tables; empty: SQLite in the folder.
        quota_bytes: what images and masks together may take.
        is_review_required: whether a label needs a reviewer's yes before it trains.
        is_position_kept: whether photographs keep where and by whom they were taken. Where they don't, it is taken out of
            those that are there already, once.
        reserved: from a photograph's SHA-256, perceptual hash and description to the original set that it is in, if any.

    Raises:
        BlockingIOError: another process has it open in SQLite.
        OSError, ValueError: as `Database` and `DurableFiles` do.
    """

    def __init__(
        self,
        folder: Path,
        url: str = "",
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
        folder.mkdir(parents=True, exist_ok=True)
        self._database = Database(Part.FEEDBACK, folder, url, is_owner=True)
        try:
            self._files = DurableFiles(folder, ("images", "masks"), self._database, quota_bytes, _WHAT, advice)
            if is_position_kept:
                self._note_positions(has_none=False)
            else:
                self._drop_positions()
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        self._files.close()
        self._database.close()

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
        with full_disk_named(_WHAT), self._database.writing() as connection:
            known = _found(connection, item_id)
            mask_file = _mask_file(label) if label else None
            was_reviewed = known is not None and feedback.was_reviewed(connection, item_id)
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
                contents = {image_file: stored} | ({mask_file: label.png} if mask_file and label else {})
                self._files.write(connection, contents)
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
                    near_group=known.near_group if known else feedback.near_group(connection, perceptual_hash) or item_id,
                    created_at=known.created_at if known else now,
                    updated_at=now,
                    name=submission.name or (known.name if known else None),
                    look_alikes=look_alikes,
                )
            event = Event(
                at=now,
                who=who,
                action=feedback.SAVED,
                state=item.state,
                reason=item.reason,
                verdict=submission.verdict,
                mask_file=mask_file,
                request_id=submission.request_id,
                model_version=submission.model_version,
                note=submission.note,
            )
            return _put(connection, item, event, is_new=known is None)

    def find(self, item_id: str) -> Item | None:
        with self._database.reading() as connection:
            return _found(connection, item_id)

    def get(self, item_id: str) -> Item:
        """Raises RequestError, NOT_FOUND."""
        with self._database.reading() as connection:
            return _there(connection, item_id)

    def items(self, states: Sequence[State], limit: int, offset: int) -> list[Item]:
        """Those in the given states; where none is given, those that wait for a person. State by state; first what the model
        was most uncertain about, then the oldest.
        """
        with self._database.reading() as connection:
            return [_item(row) for row in feedback.items(connection, states, limit, offset)]

    def n_waiting(self) -> int:
        """Those that wait for a person: complaints without a mask, labels without a yes, newer masks for accepted labels."""
        with self._database.reading() as connection:
            return feedback.n_waiting(connection)

    def events(self, item_id: str) -> list[Event]:
        """What happened to an item, the oldest first."""
        with self._database.reading() as connection:
            return _events(connection, item_id)

    def counts(self) -> dict[State, int]:
        with self._database.reading() as connection:
            return feedback.counts(connection)

    def n_bytes(self) -> int:
        """What images and masks take on disk."""
        return self._files.n_bytes()

    @property
    def quota_bytes(self) -> int:
        return self._files.quota_bytes

    def n_free_bytes(self) -> int:
        """What is free on the disk that the files lie on."""
        return self._files.n_free_bytes()

    def oldest_waiting_at(self) -> str | None:
        """When what was longest left alone of the items that wait for a person was touched; None where there is none."""
        with self._database.reading() as connection:
            return feedback.oldest_waiting_at(connection)

    def newest_label_at(self) -> str | None:
        with self._database.reading() as connection:
            return feedback.newest_label_at(connection)

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
        with full_disk_named(_WHAT), self._database.writing() as connection:
            item = _as_seen(connection, item_id, seen)
            if item.state is State.QUARANTINED:
                raise RequestError(ErrorCode.STATE_CONFLICT, f"{item_id} is quarantined: it {item.reason}. It cannot train.")
            mask_file = _mask_file(mask) if mask else item.proposed_mask_file or item.mask_file
            if is_accepted and item.verdict in OF_A_CRACK and mask_file == _mask_file(Mask.empty((item.height, item.width))):
                raise no_crack_in_mask(item.verdict, "reject the photograph")
            if mask:
                self._files.write(connection, {_mask_file(mask): mask.png})
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
            event = Event(now, who, action, state, reason, None, mask_file, None, None, None)
            return _put(connection, reviewed, event, is_new=False)

    def delete(self, item_id: str, who: str, seen: str) -> None:
        """Forget a photograph, its masks and its history.

        Args:
            seen: the `etag` of the item that the reviewer looked at.

        Raises:
            RequestError: NOT_FOUND; STATE_CONFLICT, where something has happened to the item since.
        """
        with full_disk_named(_WHAT):
            with self._database.writing() as connection:
                item = _as_seen(connection, item_id, seen)
                gone = self._files.released(connection, feedback.remove(connection, item_id))
            self._files.remove(gone)
            self._database.forget_deleted()
        logger.info("deleted item=%s state=%s who=%s", item.id, item.state.value, who)

    # --- how it is kept

    def _drop_positions(self) -> None:
        """Take out of the stored photographs what earlier versions, or CRACK_POSITION=kept, left in them."""
        with self._database.reading() as connection:
            if folders.has_no_positions(connection, self._database.part):
                return
            files = feedback.image_files(connection)
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
            self._note_positions(has_none=True)

    def _note_positions(self, *, has_none: bool) -> None:
        with self._database.writing() as connection:
            folders.set_no_positions(connection, self._database.part, has_none)


def _found(connection: Connection, item_id: str) -> Item | None:
    row = feedback.find(connection, item_id)
    return None if row is None else _item(row)


def _there(connection: Connection, item_id: str) -> Item:
    item = _found(connection, item_id)
    if item is None:
        raise RequestError(ErrorCode.NOT_FOUND, f"No feedback has the id {item_id!r}. GET /feedback lists what there is.")
    return item


def _as_seen(connection: Connection, item_id: str, seen: str) -> Item:
    """The item, if nothing has happened to it since it was seen."""
    item = _there(connection, item_id)
    if item.etag != seen:
        last = _events(connection, item_id)[-1]
        when, state = f"{last.at[:10]} at {last.at[11:16]} UTC", item.state.value.replace("_", " ")
        raise RequestError(
            ErrorCode.STATE_CONFLICT,
            f"{item.name or item_id[:8]} is not what you looked at: {last.who} {last.action} it on {when}, and it is "
            f"{state} now ({item.reason}). Look at it again, then decide.",
        )
    return item


def _events(connection: Connection, item_id: str) -> list[Event]:
    return [
        Event(**{field.name: row[field.name] for field in fields(Event)} | {"state": State(row["state"])})
        for row in feedback.events(connection, item_id)
    ]


def _put(connection: Connection, item: Item, event: Event, *, is_new: bool) -> Item:
    """As it is to be read from now on."""
    values = {field.name: getattr(item, field.name) for field in fields(Item) if field.name not in _FROM_EVENTS}
    values["look_alikes"] = as_json(item.look_alikes)
    feedback.put(connection, values, vars(event), is_new=is_new)
    return _there(connection, item.id)


def _mask_file(mask: Mask) -> str:
    return f"masks/{hashlib.sha256(mask.png).hexdigest()}.png"


def _item(row: Mapping[str, Any]) -> Item:
    look_alikes = read_look_alikes(row["look_alikes"], (row["height"], row["width"]))
    return Item(**{**row, "state": State(row["state"]), "look_alikes": look_alikes})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
