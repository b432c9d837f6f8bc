"""`/save-for-retrain` and `/feedback`: people's feedback about predictions, and the decisions of reviewers."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from crack.stores.states import State
from model.inference.errors import ErrorCode, RequestError
from model.inference.photograph import Limits, read_size
from sidecar.access import Access
from sidecar.decoding import Decoding
from sidecar.documents import ETAG, FILE, REVIEW_BODY, SAVE_BODY, Feedback, FeedbackList, Saved, names_in
from sidecar.feedback import FeedbackStore
from sidecar.forms import file, file_name, image_in, read_parts, read_verdict, seen, texts
from sidecar.items import Item, Submission, check_said
from sidecar.keys import Caller
from sidecar.labels import Mask, compare, read_label
from sidecar.look_alikes import read_look_alikes
from sidecar.metrics import Metrics
from sidecar.prediction import Prediction
from sidecar.predictor import Predictor
from sidecar.ranges import file_answer

MODEL_TIMEOUT_S = 30  # photographs of 100 megapixels take longer: their masks are compared later
_SAVED, _REVIEWED = names_in(SAVE_BODY), names_in(REVIEW_BODY)

Seen = Annotated[
    str | None, Header(description="the ETag of the state that you looked at; without it nothing is decided (428)")
]


def feedback_routes(
    store: FeedbackStore,
    predictor: Predictor,
    decoding: Decoding,
    metrics: Metrics,
    limits: Limits,
    is_position_kept: bool,
    access: Access,
) -> APIRouter:
    router = APIRouter(tags=["feedback"])

    def counts() -> dict[str, int]:
        return dict(store.counts().items())

    @router.post("/save-for-retrain", openapi_extra=SAVE_BODY)
    async def save_for_retrain(request: Request, caller: Annotated[Caller, access.may_feed_back]) -> Saved:
        """Store a photograph with feedback about its mask. Answers once both are safely on disk."""
        form = await read_parts(request, _SAVED, max_files=2)
        image, mask = image_in(form).joined(), file(form, "mask").joined()
        fields, name = texts(form), file_name(form, "image")
        verdict = read_verdict(fields.get("verdict"))
        check_said(verdict, bool(mask))
        size_hw = await run_in_threadpool(read_size, image, limits)
        photograph, corrected = await decoding.call(size_hw, read_label, image, mask, verdict, limits)
        could_be_models_own = corrected is not None and corrected.n_crack_px > 0  # which must not train
        submission = Submission(
            verdict,
            corrected,
            is_unchecked=could_be_models_own,
            request_id=fields.get("request_id"),
            model_version=fields.get("model_version"),
            note=fields.get("note"),
            name=name,
            look_alikes=read_look_alikes(fields.get("look_alikes"), photograph.size_hw),
        )
        served = await _probability(predictor, image, fields.get("request_id", ""), is_needed=could_be_models_own)
        if served:
            found = await decoding.call(size_hw, compare, corrected, served.body, served.threshold, photograph.orientation)
            submission = submission.checked(found)
        stored = await run_in_threadpool(photograph.stored, is_position_kept)
        item = await run_in_threadpool(store.save, photograph, submission, caller.name, stored)
        metrics.count_feedback(submission, item.state)
        waiting = await run_in_threadpool(counts)
        return Saved(
            status="saved",
            id=item.id,
            state=item.state,
            own_mask_check=item.own_mask_check,
            reason=item.reason,
            waiting=waiting,
        )

    @router.get("/feedback", dependencies=[access.may_review])
    def list_feedback(
        state: Annotated[list[State] | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    ) -> FeedbackList:
        """List feedback: complaints without a mask first, then the photographs that the model was most uncertain about. By
        default only what waits for a person. Accepted and rejected ones alone come in the order of the decisions, latest first.
        """
        found = store.items(state or (), limit, offset)
        return FeedbackList(items=[_told(item) for item in found], counts=counts(), n_waiting=store.n_waiting())

    def described(item: Item, response: Response) -> Feedback:
        response.headers["ETag"] = item.etag
        return Feedback(item=_told(item), history=[asdict(event) for event in store.events(item.id)])

    @router.get("/feedback/{item_id}", dependencies=[access.may_review], responses=ETAG)
    def get_feedback(item_id: str, response: Response) -> Feedback:
        """One photograph's feedback, with everything that happened to it."""
        return described(store.get(item_id), response)

    @router.get("/feedback/{item_id}/{part}", dependencies=[access.may_review], response_class=Response, responses=FILE)
    def get_file(request: Request, item_id: str, part: Literal["image", "mask", "accepted-mask"]) -> Response:
        """The photograph, the mask that a review is about (the newest one), or the accepted mask."""
        item = store.get(item_id)
        accepted = item.mask_file if item.state is State.ACCEPTED else None
        file = {"image": item.image_file, "mask": item.newest_mask_file, "accepted-mask": accepted}[part]
        if file is None:
            raise RequestError(
                ErrorCode.NOT_FOUND, f"{item_id} has no such mask yet. POST /feedback/{item_id}/review with one."
            )
        return file_answer(request, file, store.read(file), item.etag)

    @router.post("/feedback/{item_id}/review", openapi_extra=REVIEW_BODY, responses=ETAG)
    async def review(
        item_id: str, request: Request, response: Response, caller: Annotated[Caller, access.may_review], if_match: Seen = None
    ) -> Feedback:
        """Accept or reject a label, or replace it by your own mask, which is then accepted."""
        etag = seen(if_match)
        form = await read_parts(request, _REVIEWED, max_files=1)
        mask, fields = file(form, "mask").joined(), texts(form)
        decision = fields.get("decision", "accept" if mask else "")
        if decision not in ("accept", "reject"):
            raise RequestError(ErrorCode.PARAMETER_INVALID, f"decision={decision!r}: expected accept or reject.")
        item = await run_in_threadpool(store.get, item_id)
        size_hw = item.height, item.width
        corrected = await decoding.call(size_hw, Mask.read, mask, size_hw) if mask else None
        reviewed = await run_in_threadpool(
            store.review,
            item_id,
            caller.name,
            etag,
            is_accepted=decision == "accept",
            reason=fields.get("reason", ""),
            mask=corrected,
        )
        return await run_in_threadpool(described, reviewed, response)

    @router.delete("/feedback/{item_id}")
    def delete(item_id: str, caller: Annotated[Caller, access.may_review], if_match: Seen = None) -> dict[str, str]:
        """Delete a photograph, its masks and its history. `crack retrain purge` removes it from past snapshots, too, and lists
        the models that learned from it.
        """
        store.delete(item_id, caller.name, seen(if_match))
        return {"status": "deleted"}

    return router


async def _probability(predictor: Predictor, image: bytes, request_id: str, *, is_needed: bool) -> Prediction | None:
    """The model's crack probability; None if the model is away: feedback does not wait for it.

    Args:
        is_needed: whether the mask must be compared with it; otherwise it only sorts reviews.

    Raises:
        RequestError: as `Predictor.probability` does if it is needed, but for MODEL_UNAVAILABLE.
    """
    try:
        return await asyncio.wait_for(predictor.probability(image, request_id), MODEL_TIMEOUT_S)
    except TimeoutError:
        return None
    except RequestError as error:
        if is_needed and error.code is not ErrorCode.MODEL_UNAVAILABLE:
            raise
        return None


def _told(item: Item) -> dict[str, Any]:
    return asdict(item) | {"etag": item.etag, "own_mask_check": item.own_mask_check}
