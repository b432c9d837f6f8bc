"""What is said of a photograph, and what becomes of it: submissions, items, their states and their history.

Left to others: how it is kept, and what a reviewer may decide (`sidecar.feedback`); reading photographs and masks
(`sidecar.labels`).
"""

import hashlib
from dataclasses import dataclass

from crack.stores.states import State
from inspection.left_out import LookAlike
from model.inference.errors import ErrorCode, RequestError
from sidecar.labels import Mask, Photograph, Verdict

_PRAISE = (Verdict.CORRECT, None)  # without a verdict, the model's own mask was sent
_UNTURNED = ": it seems to be drawn on the photograph before that was turned upright, and would lie in the wrong place"
OF_A_CRACK = (Verdict.MISSED_CRACK, Verdict.TOO_THICK, Verdict.TOO_THIN)  # a mask beside them shows one


@dataclass(frozen=True)
class Submission:
    """What somebody says of one photograph. `mask`: the corrected one, if there is one; an empty one beside `no_crack`."""

    photograph: Photograph
    verdict: Verdict | None
    mask: Mask | None = None
    is_models_own_mask: bool = False
    is_cut_anew: bool = False  # the model's own mask at another threshold than the served one
    is_drawn_unturned: bool = False  # as it seems by the model's own mask: a person has to look
    uncertainty: float | None = None  # of the model about this photograph, 0 to 1
    request_id: str | None = None
    model_version: str | None = None
    note: str | None = None
    name: str | None = None  # of the file that was sent
    look_alikes: tuple[LookAlike, ...] = ()  # what was marked as no crack

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

    @property
    def label(self) -> Mask | None:
        """The mask to learn from, if what was said holds one: the model's own is none, unless somebody complains about that and
        chose another threshold.
        """
        is_own = self.is_models_own_mask and (self.verdict in _PRAISE or not self.is_cut_anew)
        return None if is_own else self.mask


def no_crack_in_mask(verdict: str | None, else_: str) -> RequestError:
    return RequestError(
        ErrorCode.MASK_INVALID, f"The verdict is {verdict}, but the mask holds no crack. Paint the crack, or {else_}."
    )


def check_said(verdict: Verdict | None, has_mask: bool) -> None:
    """Raises RequestError, PARAMETER_INVALID, where that is nothing."""
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
    proposed_mask_file: str | None  # a newer mask for an accepted label, which trains as it is until a reviewer has decided
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
    revision: int = 0  # how many things have happened to it

    @property
    def etag(self) -> str:
        """Stands for what a reviewer decides about: the item's state, its masks and its revision (RFC 9110, section 8.8.3)."""
        seen = f"{self.state.value} {self.mask_file} {self.proposed_mask_file} {self.revision}"
        return f'"{hashlib.sha256(seen.encode()).hexdigest()[:32]}"'


@dataclass(frozen=True)
class Event:
    """One thing that happened to an item."""

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


def state_after(
    submission: Submission, has_label: bool, known: Item | None, reserved_for: str | None, *, is_reviewed: bool
) -> tuple[State, str]:
    """What becomes of a photograph by what was said of it, and why.

    Args:
        known: the photograph's item as it was before, if there is one.
        reserved_for: the original set that it is in, if any.
        is_reviewed: whether a label of this photograph needs a reviewer's yes.
    """
    if reserved_for:
        return State.QUARANTINED, f"lies in {reserved_for}, which models are judged by"
    if has_label:
        doubt = _UNTURNED if submission.is_drawn_unturned else ""
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
