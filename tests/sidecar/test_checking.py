"""A mask that comes while the model is away: saved at once, compared with the model's own later, and not accepted before."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from numpy.typing import NDArray

from crack.stores.states import State
from handler.serve import Server
from model.inference.encoding import mask_png
from model.inference.errors import ErrorCode, RequestError
from model.synthetic import draw_surface
from retrain.snapshot import read_labels
from sidecar.feedback import FeedbackStore
from sidecar.items import Item, Submission
from sidecar.labels import Comparison, Mask, Photograph, Verdict
from tests.front import Front
from tests.photographs import png
from tests.ports import free_ports
from tests.sidecars import Sidecar, StartSidecar
from tests.test_save import assert_refused, get, look, post
from tests.waiting import PATIENCE_S, eventually

SURFACE = draw_surface(seed=1, size_hw=(96, 128), is_cracked=True)
PHOTOGRAPH = Photograph.read(png(SURFACE.image_hwc_u8))
MASK, OTHER = SURFACE.mask_hw, ~SURFACE.mask_hw
PAINTED = Comparison(is_models_own=False, is_unchanged=False, is_drawn_unturned=False, is_mostly_crack=False, uncertainty=0.2)
MODELS_OWN = Comparison(is_models_own=True, is_unchanged=True, is_drawn_unturned=False, is_mostly_crack=False, uncertainty=0.2)


@pytest.fixture(params=[True, False], ids=["reviewed", "automatic"])
def store(request: pytest.FixtureRequest, tmp_path: Path, store_url: str) -> Iterator[FeedbackStore]:
    store = FeedbackStore(tmp_path, store_url, quota_bytes=10**9, is_review_required=request.param)
    yield store
    store.close()


REVIEWED = pytest.mark.parametrize("store", [True], indirect=True)
AUTOMATIC = pytest.mark.parametrize("store", [False], indirect=True)


def send(
    store: FeedbackStore, mask_hw: NDArray[np.bool_] | None, verdict: Verdict | None = None, *, is_unchecked: bool = False
) -> Item:
    mask = None if mask_hw is None else Mask.of(mask_hw)
    said = Submission(verdict, mask, is_unchecked=is_unchecked)
    return store.save(PHOTOGRAPH, said, "crew-7", PHOTOGRAPH.data)


def away(store: FeedbackStore, mask_hw: NDArray[np.bool_] = MASK, verdict: Verdict | None = None) -> Item:
    return send(store, mask_hw, verdict, is_unchecked=True)


def check(store: FeedbackStore, found: Comparison, mask_hw: NDArray[np.bool_] = MASK) -> Item:
    (item,) = store.unchecked()
    checked = store.check(item, Mask.of(mask_hw), found)
    assert checked
    assert store.unchecked() == []
    return checked


def review(store: FeedbackStore, item: Item, **decision: Any) -> Item:
    return store.review(item.id, "eve", item.etag, **decision)


def accepted(store: FeedbackStore) -> Item:
    item = send(store, MASK)
    return item if item.state is State.ACCEPTED else review(store, item, is_accepted=True)


def test_it_waits_labelled_and_is_a_label_for_nobody(store: FeedbackStore, tmp_path: Path, store_url: str) -> None:
    item = away(store)
    assert (item.state, item.own_mask_check) == (State.LABELLED, "pending")
    assert store.items([], 10, 0) == store.unchecked() == [item]
    assert read_labels(tmp_path, store_url) == []


def test_nobody_accepts_it_before_it_is_checked(store: FeedbackStore) -> None:
    item = away(store)
    with pytest.raises(RequestError, match="cannot be accepted yet: the model was away when its mask came") as refused:
        review(store, item, is_accepted=True)
    assert refused.value.code is ErrorCode.STATE_CONFLICT
    assert store.get(item.id) == item


def test_a_reviewer_may_reject_it_or_send_another_mask(store: FeedbackStore) -> None:
    rejected = review(store, away(store), is_accepted=False)
    assert (rejected.state, rejected.mask_file, rejected.own_mask_check) == (State.REJECTED, None, None)
    corrected = review(store, away(store), is_accepted=True, mask=Mask.of(OTHER))
    assert (corrected.state, corrected.own_mask_check) == (State.ACCEPTED, None)


@REVIEWED
def test_a_persons_own_waits_for_a_reviewer_afterwards(store: FeedbackStore) -> None:
    mask_file = away(store, verdict=Verdict.TOO_THIN).unchecked_mask_file
    item = check(store, PAINTED)
    assert (item.state, item.mask_file, item.verdict, item.uncertainty) == (State.LABELLED, mask_file, "too_thin", 0.2)
    assert review(store, item, is_accepted=True).state is State.ACCEPTED


@AUTOMATIC
def test_a_persons_own_is_accepted_afterwards_where_review_is_automatic(store: FeedbackStore) -> None:
    away(store)
    assert check(store, PAINTED).state is State.ACCEPTED


@pytest.mark.parametrize(("verdict", "state"), [(None, State.NOTED), (Verdict.TOO_THIN, State.NEEDS_LABEL)])
def test_the_models_own_is_no_label(store: FeedbackStore, verdict: Verdict | None, state: State) -> None:
    away(store, verdict=verdict)
    item = check(store, MODELS_OWN)
    assert (item.state, item.mask_file, item.proposed_mask_file) == (state, None, None)
    assert "is the model's own, so there is nothing to learn" in item.reason


@pytest.mark.parametrize("verdict", [None, Verdict.OTHER])
def test_where_it_is_the_models_own_a_complaint_of_before_still_waits(store: FeedbackStore, verdict: Verdict | None) -> None:
    send(store, None, Verdict.MISSED_CRACK)
    assert away(store, verdict=verdict).state is State.LABELLED
    assert check(store, MODELS_OWN).state is State.NEEDS_LABEL


@pytest.mark.parametrize("is_rejected", [False, True])
def test_where_it_is_the_models_own_what_was_decided_before_stays(store: FeedbackStore, is_rejected: bool) -> None:
    before = accepted(store)
    if is_rejected:
        before = review(store, before, is_accepted=False)
    pending = away(store, OTHER)
    assert (pending.state, pending.mask_file, pending.own_mask_check) == (before.state, before.mask_file, "pending")
    checked = check(store, MODELS_OWN, OTHER)
    assert (checked.state, checked.mask_file, checked.proposed_mask_file) == (before.state, before.mask_file, None)


@REVIEWED
def test_beside_an_accepted_label_it_becomes_a_proposal(store: FeedbackStore) -> None:
    before = accepted(store)
    pending = away(store, OTHER)
    checked = check(store, PAINTED, OTHER)
    assert (checked.state, checked.mask_file) == (State.ACCEPTED, before.mask_file)
    assert checked.proposed_mask_file == pending.unchecked_mask_file


@REVIEWED
def test_rejected_it_leaves_a_proposal_that_nobody_has_decided_about(store: FeedbackStore) -> None:
    before = accepted(store)
    proposal = send(store, OTHER).proposed_mask_file
    left = review(store, away(store, MASK & (np.arange(128) > 40)), is_accepted=False)
    assert (left.state, left.mask_file, left.proposed_mask_file) == (State.ACCEPTED, before.mask_file, proposal)


def test_a_word_without_a_mask_leaves_it_and_a_newer_mask_takes_its_place(store: FeedbackStore) -> None:
    pending = away(store)
    assert send(store, None, Verdict.OTHER).unchecked_mask_file == pending.unchecked_mask_file
    assert send(store, OTHER).own_mask_check is None


def test_what_has_changed_meanwhile_is_not_decided_about(store: FeedbackStore) -> None:
    before = away(store)
    newer = away(store, OTHER)
    assert store.check(before, Mask.of(MASK), PAINTED) is None
    assert store.get(newer.id) == newer


def test_a_mask_that_was_checked_before_is_not_checked_again(store: FeedbackStore) -> None:
    send(store, MASK)
    assert away(store, MASK).own_mask_check is None


def own_mask_check(sidecar: Sidecar, item_id: str) -> str | None:
    found: str | None = get(sidecar, f"/feedback/{item_id}").json()["item"]["own_mask_check"]
    return found


def test_what_came_while_torchserve_was_away_is_checked_when_it_is_back_though_the_sidecar_was_killed(
    server: Server, start_sidecar: StartSidecar
) -> None:
    (port,) = free_ports(1)
    sidecar = start_sidecar(torchserve_url=f"http://127.0.0.1:{port}")
    drawn = [draw_surface(seed, (96, 128), is_cracked=True) for seed in (5, 6)]
    photographs = [png(surface.image_hwc_u8) for surface in drawn]
    url = f"{server.inference_url}/predictions/crack"
    models = requests.post(url, files={"image": photographs[0], "response": (None, "mask")}, timeout=PATIENCE_S).content
    saved = [
        post(sidecar, "/save-for-retrain", image=image, mask=mask, verdict="too_thin").json()
        for image, mask in zip(photographs, (models, mask_png(drawn[1].mask_hw)), strict=True)
    ]
    assert {(each["status"], each["state"], each["own_mask_check"]) for each in saved} == {("saved", "labelled", "pending")}
    ids = [each["id"] for each in saved]
    refused = post(sidecar, f"/feedback/{ids[1]}/review", headers=look(sidecar, ids[1]), decision="accept")
    assert "cannot be accepted yet" in assert_refused(refused, 409, "state_conflict")
    sidecar.kill()
    with Front(server.inference_url, port) as front:
        sidecar.start()
        eventually(lambda: {own_mask_check(sidecar, each) for each in ids} == {None})
        states = [get(sidecar, f"/feedback/{each}").json()["item"]["state"] for each in ids]
        front.shutdown()
    assert states == ["needs_label", "labelled"]
