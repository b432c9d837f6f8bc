"""The feedback store: what becomes of a submission, what the same photograph again means, and what a full disk leaves."""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from crack.stores.states import State
from inspection.left_out import Kind, LookAlike
from model.inference.errors import ErrorCode, RequestError
from model.masks import read_mask
from model.synthetic import draw_surface
from sidecar.feedback import FeedbackStore
from sidecar.items import Item, Submission
from sidecar.labels import Mask, Photograph, Verdict
from tests.photographs import jpeg, png

SURFACE = draw_surface(seed=1, size_hw=(96, 128))
PHOTOGRAPH = Photograph.read(png(SURFACE.image_hwc_u8))
OTHER = Photograph.read(png(draw_surface(seed=2, size_hw=(96, 128)).image_hwc_u8))
MASK, EMPTY = SURFACE.mask_hw, np.zeros((96, 128), np.bool_)


Opened = Callable[..., FeedbackStore]
IN_SQLITE = pytest.mark.parametrize("store_url", [""])


@pytest.fixture
def opened(tmp_path: Path, store_url: str) -> Opened:
    """Opens the store of this test."""

    def opened(quota_bytes: int = 10**8, is_review_required: bool = True, **options: object) -> FeedbackStore:
        return FeedbackStore(
            tmp_path,
            store_url,
            quota_bytes=quota_bytes,
            is_review_required=is_review_required,
            **options,  # type: ignore[arg-type]
        )

    return opened


@pytest.fixture
def store(opened: Opened) -> Iterator[FeedbackStore]:
    store = opened()
    yield store
    store.close()


def send(
    store: FeedbackStore,
    verdict: Verdict | None = None,
    mask_hw: NDArray[np.bool_] | None = None,
    photograph: Photograph = PHOTOGRAPH,
    **said: object,
) -> Item:
    mask = None if mask_hw is None else Mask.of(mask_hw)
    return store.save(photograph, Submission(verdict, mask, **said), "crew-7", photograph.data)  # type: ignore[arg-type]


def review(store: FeedbackStore, item_id: str, **decision: object) -> Item:
    """Of somebody who looks at the item right before."""
    return store.review(item_id, "eve", store.get(item_id).etag, **decision)  # type: ignore[arg-type]


def mask_of(store: FeedbackStore, item: Item) -> NDArray[np.bool_]:
    assert item.mask_file is not None
    return read_mask(store.read(item.mask_file), (96, 128))


# What becomes of it


@pytest.mark.parametrize(
    ("verdict", "mask_hw", "state"),
    [
        (None, MASK, State.LABELLED),
        (Verdict.TOO_THICK, MASK, State.LABELLED),
        (Verdict.CORRECT, MASK, State.LABELLED),
        (Verdict.NO_CRACK, EMPTY, State.LABELLED),
        (Verdict.MISSED_CRACK, None, State.NEEDS_LABEL),
        (Verdict.OTHER, None, State.NEEDS_LABEL),
        (Verdict.CORRECT, None, State.NOTED),
    ],
)
def test_a_submission_gets_the_state_of_the_design(
    store: FeedbackStore, verdict: Verdict | None, mask_hw: NDArray[np.bool_] | None, state: State
) -> None:
    item = send(store, verdict, mask_hw)
    assert item.state is state
    assert store.get(item.id) == item
    assert item.id == hashlib.sha256(PHOTOGRAPH.data).hexdigest()
    assert store.read(item.image_file) == PHOTOGRAPH.data
    if state is State.LABELLED:
        assert np.array_equal(mask_of(store, item), EMPTY if verdict is Verdict.NO_CRACK else MASK)
    else:
        assert item.mask_file is None


@pytest.mark.parametrize(
    ("verdict", "state"),
    [(None, State.NOTED), (Verdict.CORRECT, State.NOTED), (Verdict.MISSED_CRACK, State.NEEDS_LABEL)],
)
def test_the_models_own_mask_is_no_label(store: FeedbackStore, verdict: Verdict | None, state: State) -> None:
    item = send(store, verdict, MASK, is_models_own_mask=True)
    assert (item.state, item.mask_file) == (state, None)


def test_a_mask_that_seems_to_lie_in_the_wrong_place_waits_for_a_person_who_is_told_why(opened: Opened) -> None:
    store = opened(is_review_required=False)
    item = send(store, None, MASK, is_drawn_unturned=True)
    assert item.state is State.LABELLED
    assert "drawn on the photograph before it was turned upright" in item.reason
    assert send(store, None, MASK).state is State.ACCEPTED
    proposed = send(store, None, ~MASK, is_drawn_unturned=True)
    assert proposed.state is State.ACCEPTED
    assert np.array_equal(mask_of(store, proposed), MASK)
    store.close()


def test_a_mask_that_calls_most_of_the_photograph_crack_waits_for_a_person_who_is_told_why(opened: Opened) -> None:
    store = opened(is_review_required=False)
    item = send(store, None, ~MASK, is_mostly_crack=True)
    assert item.state is State.LABELLED
    assert "more than half of the photograph is called crack. If the crack is black" in item.reason
    store.close()


@pytest.mark.parametrize("verdict", [Verdict.MISSED_CRACK, Verdict.TOO_THICK, Verdict.TOO_THIN])
def test_a_mask_without_a_crack_is_no_label_of_a_crack(store: FeedbackStore, verdict: Verdict) -> None:
    with pytest.raises(RequestError, match=f"{verdict}, but the mask holds no crack. Paint the crack, or"):
        send(store, verdict, EMPTY)
    item = send(store, verdict)
    with pytest.raises(RequestError, match=f"{verdict}, but the mask holds no crack. Paint the crack, or reject") as refused:
        review(store, item.id, is_accepted=True, mask=Mask.of(EMPTY))
    assert refused.value.code is ErrorCode.MASK_INVALID
    assert store.get(item.id).state is State.NEEDS_LABEL


def test_a_reviewer_calls_a_false_alarm_free_of_cracks(store: FeedbackStore) -> None:
    item = send(store, Verdict.FALSE_ALARM)
    assert review(store, item.id, is_accepted=True, mask=Mask.of(EMPTY)).state is State.ACCEPTED


def test_an_item_tells_who_sent_it_first_and_what_its_file_was_called(store: FeedbackStore) -> None:
    item = send(store, Verdict.MISSED_CRACK, name="pier-3.jpg")
    reviewed = review(store, item.id, is_accepted=False)
    assert [(each.name, each.sent_by) for each in (item, reviewed)] == [("pier-3.jpg", "crew-7")] * 2


def test_the_models_mask_at_another_threshold_is_a_label_for_a_reviewer_where_somebody_complains(opened: Opened) -> None:
    store = opened(is_review_required=False)
    cut_anew = {"is_models_own_mask": True, "is_cut_anew": True}
    assert send(store, None, MASK, **cut_anew).state is State.NOTED
    assert send(store, Verdict.TOO_THICK, MASK, photograph=OTHER, **cut_anew).state is State.LABELLED
    store.close()


def test_labels_are_accepted_by_themselves_where_no_review_is_required(opened: Opened) -> None:
    store = opened(is_review_required=False)
    assert send(store, None, MASK).state is State.ACCEPTED
    assert send(store, Verdict.MISSED_CRACK, photograph=OTHER).state is State.NEEDS_LABEL


def test_crack_beside_no_crack_is_refused_and_leaves_nothing(store: FeedbackStore, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"the mask has \d+ pixels of crack") as caught:
        send(store, Verdict.NO_CRACK, MASK)
    assert caught.value.code is ErrorCode.MASK_INVALID
    assert sum(store.counts().values()) == 0
    assert list((tmp_path / "images").iterdir()) == []


def test_nothing_said_is_refused(store: FeedbackStore) -> None:
    with pytest.raises(RequestError, match="Neither verdict nor mask was sent") as caught:
        send(store)
    assert caught.value.code is ErrorCode.PARAMETER_INVALID


def test_what_models_are_judged_by_is_quarantined_and_stays_so(opened: Opened) -> None:
    store = opened(reserved=lambda sha256, *_: "deepcrack/test" if sha256.startswith(item_id[:8]) else None)
    item_id = hashlib.sha256(PHOTOGRAPH.data).hexdigest()
    item = send(store, None, MASK)
    assert (item.state, item.reason) == (State.QUARANTINED, "belongs to deepcrack/test, which judges models")
    with pytest.raises(RequestError, match="is quarantined") as caught:
        review(store, item.id, is_accepted=True)
    assert caught.value.code is ErrorCode.STATE_CONFLICT
    assert send(store, None, MASK, OTHER).state is State.LABELLED


# The same photograph again


def test_a_newer_mask_supersedes_the_older_one_which_stays_in_the_history(store: FeedbackStore) -> None:
    first = send(store, None, EMPTY, request_id="r-1", model_version="1")
    second = send(store, Verdict.MISSED_CRACK, MASK, request_id="r-2", model_version="2")
    assert first.id == second.id
    assert np.array_equal(mask_of(store, store.get(first.id)), MASK)
    assert [(event.action, event.mask_file, event.request_id, event.model_version) for event in store.events(first.id)] == [
        ("saved", first.mask_file, "r-1", "1"),
        ("saved", second.mask_file, "r-2", "2"),
    ]
    assert store.read(str(first.mask_file))
    assert sum(store.counts().values()) == 1


def test_a_newer_mask_for_an_accepted_label_is_a_proposal_until_a_reviewer_has_decided(store: FeedbackStore) -> None:
    first = send(store, None, EMPTY)
    accepted = review(store, first.id, is_accepted=True)
    proposed = send(store, None, MASK)
    assert (proposed.state, proposed.mask_file) == (State.ACCEPTED, accepted.mask_file)
    assert store.items([], 10, 0) == [proposed]
    assert store.n_waiting() == 1
    refused = review(store, first.id, is_accepted=False)
    assert (refused.state, refused.mask_file, refused.proposed_mask_file) == (State.ACCEPTED, accepted.mask_file, None)
    send(store, None, MASK)
    replaced = review(store, first.id, is_accepted=True)
    assert (replaced.state, replaced.proposed_mask_file) == (State.ACCEPTED, None)
    assert np.array_equal(mask_of(store, replaced), MASK)
    assert store.items([], 10, 0) == []


def test_the_accepted_mask_again_changes_nothing(store: FeedbackStore) -> None:
    item = review(store, send(store, None, MASK).id, is_accepted=True)
    again = send(store, Verdict.MISSED_CRACK, MASK)
    assert (again.state, again.mask_file, again.proposed_mask_file) == (State.ACCEPTED, item.mask_file, None)
    assert store.n_waiting() == 0


@pytest.mark.parametrize(("is_accepted", "state"), [(True, State.ACCEPTED), (False, State.LABELLED)])
def test_what_a_person_decided_no_automatic_review_undoes(opened: Opened, is_accepted: bool, state: State) -> None:
    store = opened(is_review_required=False)
    item = send(store, None, EMPTY)
    assert send(store, None, MASK).mask_file != item.mask_file  # nobody has looked yet
    decided = review(store, item.id, is_accepted=is_accepted)
    assert send(store, None, EMPTY).state is state
    assert store.n_waiting() == 1
    if is_accepted:
        assert store.get(item.id).mask_file == decided.mask_file


def test_less_than_is_known_changes_nothing_but_is_kept_in_the_history(store: FeedbackStore) -> None:
    item = send(store, Verdict.TOO_THIN, MASK)
    for verdict in (Verdict.MISSED_CRACK, Verdict.CORRECT):
        again = send(store, verdict, note="see the corner")
        assert (again.state, again.verdict, again.mask_file) == (State.LABELLED, Verdict.TOO_THIN, item.mask_file)
    assert [event.note for event in store.events(item.id)] == [None, "see the corner", "see the corner"]


def test_a_complaint_reopens_what_was_called_correct_or_rejected(store: FeedbackStore) -> None:
    item = send(store, Verdict.CORRECT)
    assert send(store, Verdict.FALSE_ALARM).state is State.NEEDS_LABEL
    send(store, None, MASK)
    review(store, item.id, is_accepted=False)
    assert send(store, Verdict.FALSE_ALARM).state is State.NEEDS_LABEL
    assert store.get(item.id).mask_file is None


def test_near_copies_are_grouped_and_not_merged(store: FeedbackStore) -> None:
    first = send(store, Verdict.MISSED_CRACK)
    near = send(store, Verdict.MISSED_CRACK, photograph=Photograph.read(jpeg(SURFACE.image_hwc_u8, quality=70)))
    other = send(store, Verdict.MISSED_CRACK, photograph=OTHER)
    assert near.id != first.id
    assert near.near_group == first.id == first.near_group
    assert other.near_group == other.id


# Review


def test_a_reviewer_accepts_rejects_and_corrects(store: FeedbackStore) -> None:
    item = send(store, None, EMPTY)
    assert review(store, item.id, is_accepted=False, reason="blurred").reason == "blurred"
    corrected = review(store, item.id, is_accepted=True, mask=Mask.of(MASK))
    assert corrected.state is State.ACCEPTED
    assert np.array_equal(mask_of(store, corrected), MASK)
    assert [(event.who, event.action, event.state) for event in store.events(item.id)] == [
        ("crew-7", "saved", State.LABELLED),
        ("eve", "reviewed", State.REJECTED),
        ("eve", "corrected", State.ACCEPTED),
    ]


def test_nobody_decides_about_what_has_changed_since(store: FeedbackStore) -> None:
    seen = send(store, None, EMPTY)
    newer = send(store, None, MASK)
    for decide in (
        lambda: store.review(seen.id, "eve", seen.etag, is_accepted=True),
        lambda: store.delete(seen.id, "eve", seen.etag),
    ):
        with pytest.raises(RequestError, match=r"crew-7 saved it on 20.*, and it is labelled now") as caught:
            decide()
        assert caught.value.code is ErrorCode.STATE_CONFLICT
    assert store.get(seen.id) == newer


def test_whatever_happens_to_an_item_gives_it_another_etag(store: FeedbackStore) -> None:
    etags = [send(store, None, EMPTY).etag, send(store, None, EMPTY).etag, send(store, None, MASK).etag]
    item = review(store, store.items([], 1, 0)[0].id, is_accepted=True)
    etags += [item.etag, send(store, None, EMPTY).etag, review(store, item.id, is_accepted=False).etag]
    assert len(set(etags)) == len(etags)


def test_without_a_mask_there_is_nothing_to_accept(store: FeedbackStore) -> None:
    item = send(store, Verdict.MISSED_CRACK)
    with pytest.raises(RequestError, match="has no mask") as caught:
        review(store, item.id, is_accepted=True)
    assert caught.value.code is ErrorCode.STATE_CONFLICT
    assert store.get(item.id).state is State.NEEDS_LABEL


def test_complaints_come_before_labels_and_the_oldest_first(store: FeedbackStore) -> None:
    label = send(store, None, MASK)
    complaint = send(store, Verdict.MISSED_CRACK, photograph=OTHER)
    waiting = [State.NEEDS_LABEL, State.LABELLED]
    assert [item.id for item in store.items(waiting, 10, 0)] == [complaint.id, label.id]
    assert [item.id for item in store.items(waiting, 1, 1)] == [label.id]
    assert store.items([State.ACCEPTED], 10, 0) == []


def test_what_the_model_was_uncertain_about_comes_before_what_it_was_sure_of(store: FeedbackStore) -> None:
    sure, unknown = send(store, None, MASK, uncertainty=0.1), send(store, None, MASK, OTHER)
    third = Photograph.read(png(draw_surface(seed=3, size_hw=(96, 128)).image_hwc_u8))
    uncertain = send(store, None, MASK, third, uncertainty=0.6)
    assert [item.id for item in store.items([State.LABELLED], 10, 0)] == [uncertain.id, sure.id, unknown.id]


def test_the_latest_decision_comes_first_on_a_clock_that_was_set_back(
    store: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sure, uncertain = send(store, None, MASK, uncertainty=0.1), send(store, None, MASK, OTHER, uncertainty=0.6)
    review(store, uncertain.id, is_accepted=True)
    monkeypatch.setattr("sidecar.feedback.instant", lambda: "2019-01-01T00:00:00.000+00:00")
    review(store, sure.id, is_accepted=False)
    decided = [State.ACCEPTED, State.REJECTED]
    assert [item.id for item in store.items(decided, 10, 0)] == [sure.id, uncertain.id]
    assert store.items(decided, 1, 0)[0].updated_at.startswith("2019")


def test_what_is_deleted_is_gone_but_for_files_that_others_share(store: FeedbackStore, tmp_path: Path) -> None:
    one, other = send(store, Verdict.NO_CRACK, EMPTY), send(store, Verdict.NO_CRACK, EMPTY, OTHER)
    assert one.mask_file == other.mask_file
    store.delete(one.id, "eve", one.etag)
    with pytest.raises(RequestError, match="No feedback has the id"):
        store.get(one.id)
    assert store.events(one.id) == []
    assert not (tmp_path / one.image_file).exists()
    assert not mask_of(store, other).any()
    assert store.n_bytes() == sum(path.stat().st_size for name in ("images", "masks") for path in (tmp_path / name).iterdir())


# What a kill, a full disk and a second process leave


def test_what_was_saved_is_there_after_a_restart_and_what_nobody_knows_is_swept(tmp_path: Path, opened: Opened) -> None:
    store = opened()
    item = send(store, None, MASK)
    store.close()
    for name in ("images/0123.jpg", "masks/4567.png", "incoming/89ab"):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (0, 0))
    again = opened()
    assert again.get(item.id) == item
    assert {path.name for name in ("images", "masks", "incoming") for path in (tmp_path / name).iterdir()} == {
        Path(item.image_file).name,
        Path(str(item.mask_file)).name,
    }


def test_the_quota_refuses_before_anything_is_written(tmp_path: Path, opened: Opened) -> None:
    store = opened(quota_bytes=len(PHOTOGRAPH.data) + 10)
    with pytest.raises(RequestError, match=r"Nothing was saved.*CRACK_QUOTA_GB") as caught:
        send(store, None, MASK)
    assert caught.value.code is ErrorCode.STORAGE_FULL
    assert sum(store.counts().values()) == 0
    assert list((tmp_path / "images").iterdir()) == []
    assert send(store, Verdict.MISSED_CRACK).state is State.NEEDS_LABEL


@IN_SQLITE
def test_a_second_process_is_refused(opened: Opened) -> None:
    first = opened()
    with pytest.raises(BlockingIOError):
        opened()
    first.close()
    opened().close()


@IN_SQLITE
def test_the_index_syncs_each_commit(store: FeedbackStore, tmp_path: Path) -> None:
    send(store, None, MASK)
    with sqlite3.connect(tmp_path / "index.sqlite3") as index:
        assert index.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# What was marked as no crack


JOINT = LookAlike((4, 8, 60, 20), Kind.JOINT)


def test_what_was_marked_as_no_crack_is_kept_with_its_label(store: FeedbackStore) -> None:
    item = send(store, None, MASK, look_alikes=(JOINT,))
    assert store.get(item.id).look_alikes == (JOINT,)
    assert review(store, item.id, is_accepted=True).look_alikes == (JOINT,)


def test_a_newer_mask_brings_its_own_look_alikes_and_a_word_without_a_mask_leaves_them(store: FeedbackStore) -> None:
    item = send(store, None, MASK, look_alikes=(JOINT,))
    send(store, Verdict.OTHER)
    assert store.get(item.id).look_alikes == (JOINT,)
    send(store, None, ~MASK)
    assert store.get(item.id).look_alikes == ()
