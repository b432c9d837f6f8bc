"""The feedback store: photographs, masks and tables. Everything that was acknowledged survives a kill and a power cut.

    images/<SHA-256 of the upload>.jpg|png    masks/<SHA-256 of the file>.png

The tables (`crack.stores.feedback`), whose commits are synced, refer to a file only once that is on disk. A kill at any moment
leaves at most files that no row knows; they are swept (`sidecar.files`). Left to others: how feedback changes an item
(`sidecar.items`), HTTP, and permissions (`sidecar.routes`).
"""

import hashlib
import logging
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from crack.copies import Description
from crack.stores import feedback, folders
from crack.stores.database import Connection, Database
from crack.stores.jobs import Labels
from crack.stores.rows import instant
from crack.stores.states import State
from crack.stores.tables import Part
from model.inference.errors import ErrorCode, RequestError
from sidecar.files import DurableFiles, full_disk_named
from sidecar.items import MODELS_OWN, OF_A_CRACK, Event, Item, Submission, no_crack_in_mask, with_submission, with_unchecked
from sidecar.labels import Comparison, Mask, Photograph, Verdict, without_position
from sidecar.look_alikes import as_json, read_look_alikes

logger = logging.getLogger("sidecar.feedback")

_WHAT = "The feedback store"
_FROM_EVENTS = ("revision", "sent_by")  # fields of an item that are in its events, too
_CHECKER = "the server"  # who checks masks


class FeedbackStore:
    """Opens the store in `folder`, creates it if it does not exist, and removes files that a kill left behind.

    Args:
        url: of the PostgreSQL that has its tables; empty: SQLite in the folder.
        quota_bytes: the most that images and masks may take together.
        is_review_required: whether a reviewer must accept a label before it is used for training.
        is_position_kept: whether photographs keep where and by whom they were taken. If not, it is removed from the stored
            ones, too, once.
        reserved: takes a photograph's SHA-256, perceptual hash and description; returns the original set that it is in.

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
        advice = "Delete feedback, or ask the operator to raise CRACK_QUOTA_GB."
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

    def save(self, photograph: Photograph, submission: Submission, who: str, stored: bytes) -> Item:
        """Store feedback; returns once it is safely on disk.

        The same photograph is the same item: a new mask replaces the older one, a complaint without a mask reopens an item that
        has none, and feedback that says less than is known changes nothing. The item's history keeps everything. Only a
        reviewer can undo a reviewer's decision: a newer mask for an accepted label becomes a proposal beside it. A mask that
        could be the model's own is kept beside the others until `check`.

        Args:
            stored: the photograph's file as it is stored.

        Raises:
            RequestError: STORAGE_FULL; as `reserved` does.
        """
        item_id = hashlib.sha256(photograph.data).hexdigest()
        reserved_for = self._reserved(item_id, photograph.perceptual_hash, photograph.description)
        with full_disk_named(_WHAT), self._database.writing() as connection:
            known = _found(connection, item_id)
            item = known or _unknown(connection, item_id, photograph)
            contents, mask_file = {item.image_file: stored}, None
            if submission.label:
                mask_file = _mask_file(submission.label)
                contents[mask_file] = submission.label.png
            is_unchecked = submission.is_unchecked and mask_file not in (None, item.mask_file, item.proposed_mask_file)
            if is_unchecked and not reserved_for:
                item = replace(with_unchecked(item, submission), unchecked_mask_file=mask_file)
            else:
                needs_review = self._needs_review(connection, item_id)
                item = with_submission(
                    item, submission, mask_file, reserved_for, is_new=known is None, needs_review=needs_review
                )
            self._files.write(connection, contents)
            return _put(connection, item, _event(item, who, feedback.SAVED, submission, mask_file), is_new=known is None)

    def unchecked(self) -> list[Item]:
        """The items with a mask that could be the model's own, the least recently changed first."""
        with self._database.reading() as connection:
            return [_item(row) for row in feedback.unchecked(connection)]

    def check(self, item: Item, mask: Mask, found: Comparison) -> Item | None:
        """Decide about an item's unchecked mask as `save` would have done; None if the item has another one by now.

        Args:
            mask: the unchecked mask.
            found: how it compares with the model's probability.

        Raises:
            RequestError: STORAGE_FULL.
        """
        with full_disk_named(_WHAT), self._database.writing() as connection:
            now = _found(connection, item.id)
            if now is None or now.unchecked_mask_file != item.unchecked_mask_file:
                return None
            events = reversed(_events(connection, item.id))
            sent = next(event for event in events if event.mask_file == item.unchecked_mask_file)
            said = Submission(
                Verdict(sent.verdict) if sent.verdict else None,
                mask,
                request_id=sent.request_id,
                model_version=sent.model_version,
                note=sent.note,
                look_alikes=now.look_alikes,
            ).checked(found)
            mask_file = item.unchecked_mask_file if said.label else None
            needs_review = self._needs_review(connection, item.id)
            checked = with_submission(now.without_unchecked(), said, mask_file, None, is_new=False, needs_review=needs_review)
            if said.label is None:
                checked = replace(checked, reason=MODELS_OWN)
            return _put(connection, checked, _event(checked, _CHECKER, feedback.CHECKED, said, mask_file), is_new=False)

    def _needs_review(self, connection: Connection, item_id: str) -> bool:
        """Whether a reviewer must accept a label of this photograph: if all need it, or a reviewer decided about it before."""
        return self._is_review_required or feedback.was_reviewed(connection, item_id)

    def find(self, item_id: str) -> Item | None:
        with self._database.reading() as connection:
            return _found(connection, item_id)

    def get(self, item_id: str) -> Item:
        """Raises RequestError, NOT_FOUND."""
        with self._database.reading() as connection:
            return _there(connection, item_id)

    def items(self, states: Sequence[State], limit: int, offset: int) -> list[Item]:
        """Items in the given states or, if none is given, those that wait for a person. Sorted by state, then by the model's
        uncertainty (highest first), then by age (oldest first); decided ones alone the latest first.
        """
        with self._database.reading() as connection:
            return [_item(row) for row in feedback.items(connection, states, limit, offset)]

    def n_waiting(self) -> int:
        """The items that wait for a person: complaints without a mask, labels that nobody has accepted, newer masks for
        accepted labels.
        """
        with self._database.reading() as connection:
            return feedback.n_waiting(connection)

    def events(self, item_id: str) -> list[Event]:
        """What happened to an item, the oldest first."""
        with self._database.reading() as connection:
            return _events(connection, item_id)

    def counts(self) -> dict[State, int]:
        with self._database.reading() as connection:
            return feedback.counts(connection)

    def labels(self) -> Labels:
        """Those that are accepted."""
        with self._database.reading() as connection:
            return {row["id"]: row["mask_file"] for row in feedback.accepted(connection)}

    def n_bytes(self) -> int:
        """The bytes that images and masks take on disk."""
        return self._files.n_bytes()

    @property
    def quota_bytes(self) -> int:
        return self._files.quota_bytes

    def n_free_bytes(self) -> int:
        """The free bytes on the disk that holds the files."""
        return self._files.n_free_bytes()

    def oldest_waiting_at(self) -> str | None:
        """When the longest untouched item that waits for a person last changed; None if no item waits."""
        with self._database.reading() as connection:
            return feedback.oldest_waiting_at(connection)

    def newest_label_at(self) -> str | None:
        with self._database.reading() as connection:
            return feedback.newest_label_at(connection)

    def read(self, file: str) -> bytes:
        """One of an item's files. Raises RequestError, NOT_FOUND, if the item was deleted meanwhile."""
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
        """A reviewer accepts or rejects; with a mask, the reviewer's own correction is accepted.

        The decision is about the newest mask: rejecting one that was proposed for an accepted label leaves the label as it is.
        A mask that is not checked yet can be rejected, or replaced by the reviewer's own, but not accepted.

        Args:
            seen: the `etag` of the item that the reviewer looked at.

        Raises:
            RequestError: NOT_FOUND; STATE_CONFLICT, where something has happened to the item since, there is no label to
                accept, it is not checked yet or the item is quarantined; MASK_INVALID, where a crack was missed and the mask
                shows none; STORAGE_FULL.
        """
        with full_disk_named(_WHAT), self._database.writing() as connection:
            item = _as_seen(connection, item_id, seen)
            if item.state is State.QUARANTINED:
                raise RequestError(
                    ErrorCode.STATE_CONFLICT, f"{item_id} is quarantined: it {item.reason}. No model learns from it."
                )
            if is_accepted and item.own_mask_check and not mask:
                raise RequestError(
                    ErrorCode.STATE_CONFLICT,
                    f"{item.name or item_id[:8]} cannot be accepted yet: the model was away when its mask came, and the mask "
                    "could be the model's own. That is checked within seconds once the model answers again. Accept it then, "
                    "reject it, or send a mask of your own.",
                )
            mask_file = _mask_file(mask) if mask else item.newest_mask_file
            if is_accepted and item.verdict in OF_A_CRACK and mask_file == _mask_file(Mask.empty((item.height, item.width))):
                raise no_crack_in_mask(item.verdict, "reject the photograph")
            if mask:
                self._files.write(connection, {_mask_file(mask): mask.png})
            if is_accepted and mask_file is None:
                raise RequestError(
                    ErrorCode.STATE_CONFLICT, f"{item_id} has no mask, so there is nothing to accept. Send a corrected mask."
                )
            now, state = instant(), State.ACCEPTED if is_accepted else State.REJECTED
            reason = reason or f"{state.value} by {who}"
            kept_file, proposed_file = mask_file, None
            if not is_accepted and item.newest_mask_file != item.mask_file:  # rejecting the newest mask keeps the one before
                kept_file, proposed_file = item.mask_file, item.proposed_mask_file if item.unchecked_mask_file else None
                if item.state is State.ACCEPTED:
                    state, reason = State.ACCEPTED, f"stays accepted without the newer mask: {reason}"
            reviewed = replace(
                item,
                state=state,
                reason=reason,
                mask_file=kept_file,
                proposed_mask_file=proposed_file,
                unchecked_mask_file=None,
            )
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
        """Remove the positions that earlier versions, or CRACK_POSITION=kept, left in stored photographs."""
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
                    "%s may still say where it was taken: %s. Delete its feedback, or restart.", self._folder / file, error
                )
                n_left += 1
        if files:
            logger.info("removed place, time and author from %d of %d stored photographs, once", n_changed, len(files))
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
    """The item, if it has not changed since `seen`."""
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


def _unknown(connection: Connection, item_id: str, photograph: Photograph) -> Item:
    """The item of a photograph without any feedback yet."""
    return Item(
        id=item_id,
        state=State.NOTED,
        reason="",
        verdict=None,
        image_file=f"images/{item_id}.{photograph.extension}",
        mask_file=None,
        proposed_mask_file=None,
        unchecked_mask_file=None,
        height=photograph.size_hw[0],
        width=photograph.size_hw[1],
        uncertainty=None,
        request_id=None,
        model_version=None,
        note=None,
        perceptual_hash=photograph.perceptual_hash,
        near_group=feedback.near_group(connection, photograph.perceptual_hash) or item_id,
        created_at=instant(),
        updated_at="",
    )


def _event(item: Item, who: str, action: str, said: Submission, mask_file: str | None) -> Event:
    """`item`: as it is after the event; `mask_file`: of the new label."""
    return Event(
        at=instant(),
        who=who,
        action=action,
        state=item.state,
        reason=item.reason,
        verdict=said.verdict,
        mask_file=mask_file,
        request_id=said.request_id,
        model_version=said.model_version,
        note=said.note,
    )


def _put(connection: Connection, item: Item, event: Event, *, is_new: bool) -> Item:
    """Write an item and its event; returns the item as it is read from now on."""
    values = {field.name: getattr(item, field.name) for field in fields(Item) if field.name not in _FROM_EVENTS}
    values |= {"look_alikes": as_json(item.look_alikes), "updated_at": event.at}
    feedback.put(connection, values, vars(event), is_new=is_new)
    return _there(connection, item.id)


def _mask_file(mask: Mask) -> str:
    return f"masks/{hashlib.sha256(mask.png).hexdigest()}.png"


def _item(row: Mapping[str, Any]) -> Item:
    look_alikes = read_look_alikes(row["look_alikes"], (row["height"], row["width"]))
    return Item(**{**row, "state": State(row["state"]), "look_alikes": look_alikes})
