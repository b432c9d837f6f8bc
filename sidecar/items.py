"""Feedback about a photograph and its effects: submissions, items, their states and their history. Left to others: storage,
and what a reviewer may decide (`sidecar.feedback`); reading photographs and masks (`sidecar.labels`).
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Literal, Self

from crack.stores.states import State
from inspection.left_out import LookAlike
from model.inference.errors import ErrorCode, RequestError
from sidecar.labels import Comparison, Mask, Verdict

_PRAISE = (Verdict.CORRECT, None)  # without a verdict, the model's own mask was sent
MODELS_OWN = "its newest mask is the model's own, so there is nothing to learn"
_UNCHECKED = "waits until the model answers again, as it could be the model's own"
_UNTURNED = ": it seems to be drawn on the photograph before it was turned upright, so it would be in the wrong place"
_MOSTLY_CRACK = (
    ": more than half of the photograph is called crack. If the crack is black in it, send it with the colours exchanged"
)
OF_A_CRACK = (Verdict.MISSED_CRACK, Verdict.TOO_THICK, Verdict.TOO_THIN)  # a mask beside them shows one


@dataclass(frozen=True)
class Submission:
    """Somebody's feedback about one photograph. `mask`: the corrected one, if there is one; an empty one beside `no_crack`."""

    verdict: Verdict | None
    mask: Mask | None = None
    is_unchecked: bool = False  # the mask could be the model's own: the model did not answer
    is_models_own_mask: bool = False
    is_cut_anew: bool = False  # the model's own mask at another threshold than the served one
    is_drawn_unturned: bool = False  # judged by the model's own mask: a person has to look
    is_mostly_crack: bool = False  # a person has to look here too
    uncertainty: float | None = None  # of the model about this photograph, 0 to 1
    request_id: str | None = None
    model_version: str | None = None
    note: str | None = None
    name: str | None = None  # of the file that was sent
    look_alikes: tuple[LookAlike, ...] = ()  # the areas marked as no crack

    def __post_init__(self) -> None:
        """Raises RequestError, MASK_INVALID (crack beside `no_crack`, or none beside a verdict that speaks of one),
        PARAMETER_INVALID (neither verdict nor mask).
        """
        check_said(self.verdict, self.mask is not None)
        if self.verdict is Verdict.NO_CRACK and self.mask and self.mask.n_crack_px:
            raise RequestError(
                ErrorCode.MASK_INVALID,
                f"The verdict is no_crack, but the mask has {self.mask.n_crack_px} pixels of crack. Send one or the other.",
            )
        if self.verdict in OF_A_CRACK and self.mask and not self.mask.n_crack_px:
            raise no_crack_in_mask(self.verdict, "send the verdict without a mask")

    def checked(self, found: Comparison) -> Self:
        """This submission, with the result of comparing its mask with the model's probability."""
        return replace(
            self,
            is_unchecked=False,
            is_models_own_mask=found.is_models_own,
            is_cut_anew=found.is_models_own and not found.is_unchanged,
            is_drawn_unturned=found.is_drawn_unturned,
            is_mostly_crack=found.is_mostly_crack,
            uncertainty=found.uncertainty,
        )

    @property
    def is_doubtful(self) -> bool:
        """Whether a person has to look, even where review is automatic."""
        return self.is_cut_anew or self.is_drawn_unturned or self.is_mostly_crack

    @property
    def label(self) -> Mask | None:
        """The mask to learn from, if the feedback has one. The model's own mask is none, unless somebody complains about it
        and chose another threshold.
        """
        is_own = self.is_models_own_mask and (self.verdict in _PRAISE or not self.is_cut_anew)
        return None if is_own else self.mask


def no_crack_in_mask(verdict: str | None, else_: str) -> RequestError:
    return RequestError(
        ErrorCode.MASK_INVALID, f"The verdict is {verdict}, but the mask holds no crack. Paint the crack, or {else_}."
    )


def check_said(verdict: Verdict | None, has_mask: bool) -> None:
    """Raises RequestError, PARAMETER_INVALID, if neither was sent."""
    if verdict is None and not has_mask:
        raise RequestError(
            ErrorCode.PARAMETER_INVALID,
            f"Neither verdict nor mask was sent. Send a corrected mask, or one of {', '.join(Verdict)}.",
        )


@dataclass(frozen=True)
class Item:
    """One photograph of the store, by the SHA-256 of its upload."""

    id: str
    state: State
    reason: str
    verdict: str | None
    image_file: str
    mask_file: str | None
    proposed_mask_file: str | None  # a newer mask for an accepted label, which is used unchanged until a reviewer decides
    unchecked_mask_file: str | None  # the newest mask, kept beside the others until it is known whether it is the model's
    height: int
    width: int
    uncertainty: float | None
    request_id: str | None
    model_version: str | None
    note: str | None
    perceptual_hash: str
    near_group: str  # the id of the first of its near copies; its own, where it has none
    created_at: str
    updated_at: str
    name: str | None = None  # of the file that was sent
    look_alikes: tuple[LookAlike, ...] = ()  # marked by whoever sent the mask
    sent_by: str = ""  # who sent it first
    revision: int = 0  # the number of its events

    @property
    def newest_mask_file(self) -> str | None:
        """What a review is about."""
        return self.unchecked_mask_file or self.proposed_mask_file or self.mask_file

    @property
    def own_mask_check(self) -> Literal["pending"] | None:
        return "pending" if self.unchecked_mask_file else None

    def without_unchecked(self) -> "Item":
        """The item as it was before its unchecked mask came."""
        if self.state is not State.LABELLED or self.mask_file:
            return replace(self, unchecked_mask_file=None)
        state = State.NOTED if self.verdict in _PRAISE else State.NEEDS_LABEL
        return replace(self, unchecked_mask_file=None, state=state)

    @property
    def etag(self) -> str:
        """Identifies what a reviewer decides about: the item's state, its masks and its revision (RFC 9110, section 8.8.3)."""
        seen = f"{self.state.value} {self.mask_file} {self.proposed_mask_file} {self.revision}"
        return f'"{hashlib.sha256(seen.encode()).hexdigest()[:32]}"'


@dataclass(frozen=True)
class Event:
    """One event in an item's history."""

    at: str
    who: str
    action: str
    state: State
    reason: str
    verdict: str | None
    mask_file: str | None
    request_id: str | None
    model_version: str | None
    note: str | None


def with_unchecked(item: Item, said: Submission) -> Item:
    """An item after a mask that could be the model's own: an item that was accepted, rejected or labelled before stays so until
    the mask is checked.
    """
    item = replace(item, name=said.name or item.name, look_alikes=said.look_alikes)
    if item.state not in (State.NOTED, State.NEEDS_LABEL):
        return replace(item, reason=f"stays {item.state.value}; a newer mask {_UNCHECKED}")
    is_still_complaint = item.state is State.NEEDS_LABEL and said.verdict in _PRAISE
    return replace(
        item,
        state=State.LABELLED,
        reason=f"its mask {_UNCHECKED}",
        verdict=item.verdict if is_still_complaint else said.verdict,
        request_id=said.request_id,
        model_version=said.model_version,
        note=said.note,
    )


def with_submission(
    item: Item, said: Submission, mask_file: str | None, reserved_for: str | None, *, is_new: bool, needs_review: bool
) -> Item:
    """An item after feedback about its photograph.

    Args:
        mask_file: of `said.label`, if there is one.
        reserved_for: the original set that the photograph is in, if any.
        is_new: nothing was said of its photograph before.
        needs_review: whether a reviewer must accept a label of it, even one that passes every check.
    """
    is_reviewed = needs_review or said.is_doubtful
    state, reason = _state_after(said, mask_file is not None, None if is_new else item, reserved_for, is_reviewed=is_reviewed)
    # Feedback without a mask leaves the earlier marks as they are.
    look_alikes = said.look_alikes or (item.look_alikes if mask_file is None else ())
    is_settled = item.state is state is State.ACCEPTED and is_reviewed
    is_known = state is item.state and bool(item.mask_file or item.unchecked_mask_file)
    if is_known and (mask_file is None or (is_settled and mask_file == item.mask_file)):
        return replace(item, look_alikes=look_alikes)  # the item already holds as much, or more
    return replace(
        item,
        state=state,
        reason=reason,
        verdict=said.verdict,
        mask_file=item.mask_file if is_settled else mask_file,
        proposed_mask_file=mask_file if is_settled else None,
        unchecked_mask_file=item.unchecked_mask_file if mask_file is None else None,
        uncertainty=said.uncertainty,
        request_id=said.request_id,
        model_version=said.model_version,
        note=said.note,
        name=said.name or item.name,
        look_alikes=look_alikes,
    )


def _state_after(
    submission: Submission, has_label: bool, known: Item | None, reserved_for: str | None, *, is_reviewed: bool
) -> tuple[State, str]:
    """The new state of a photograph after feedback about it, and why.

    Args:
        known: the photograph's item as it was before, if there is one.
        reserved_for: the original set that it is in, if any.
        is_reviewed: whether a reviewer must accept a label of this photograph.
    """
    if reserved_for:
        return State.QUARANTINED, f"belongs to {reserved_for}, which judges models"
    if has_label:
        doubt = _UNTURNED if submission.is_drawn_unturned else _MOSTLY_CRACK if submission.is_mostly_crack else ""
        if not is_reviewed:
            return State.ACCEPTED, "passed every check; review is automatic"
        if known and known.state is State.ACCEPTED:
            return State.ACCEPTED, f"stays accepted; a newer mask waits for a reviewer{doubt}"
        return State.LABELLED, f"waits for a reviewer{doubt}"
    is_label_known = known is not None and known.state in (State.LABELLED, State.ACCEPTED)
    is_praise = submission.verdict in _PRAISE
    if known and (is_label_known or is_praise):
        return known.state, known.reason
    if is_praise:
        return State.NOTED, "the prediction was called correct"
    return State.NEEDS_LABEL, "a complaint without a corrected mask"
