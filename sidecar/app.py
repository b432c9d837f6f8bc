"""The sidecar's routes: who may, what is asked, what is answered. The work is done by the modules that it imports."""

import asyncio
import contextlib
import logging
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Header, Query, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool

from crack.bodies import Bodies
from crack.instance import reachable_at
from model.inference import card as model_card
from model.inference.errors import ErrorCode, RequestError
from model.inference.formats import EXPECTED
from model.inference.options import Options
from model.inference.photograph import read_size
from sidecar.decoding import Decoding
from sidecar.documents import (
    ERRORS,
    ETAG,
    PREDICT_BODY,
    REVIEW_BODY,
    SAVE_BODY,
    Feedback,
    FeedbackList,
    Model,
    Ready,
    Retraining,
    Saved,
)
from sidecar.envelope import Envelope
from sidecar.feedback import FeedbackStore
from sidecar.files import tighten
from sidecar.forms import FORM_OVERHEAD_BYTES, file_name, read_file, read_image, read_verdict, seen, texts
from sidecar.inspection_routes import inspection_routes
from sidecar.inspections import InspectionStore
from sidecar.issuer import Issuer, is_token
from sidecar.items import Item, State, Submission, check_said
from sidecar.keys import LOCAL, MARKER, Caller, KeyRing, NoKeysError, Right
from sidecar.labels import Mask, compare, read_label
from sidecar.look_alikes import read_look_alikes
from sidecar.metrics import Metrics
from sidecar.rates import Rates
from sidecar.readiness import Readiness
from sidecar.refusals import answer_errors_in_one_form
from sidecar.reporting import Reporting
from sidecar.reserved import Reserved
from sidecar.retrain_queue import RetrainQueue
from sidecar.settings import Settings
from sidecar.torchserve import Prediction, TorchServe

logger = logging.getLogger("sidecar")

N_RECENT_JOBS = 10
OPTIONAL_TIMEOUT_S = 20
_KEYS_UNAVAILABLE = "API keys are required, and the sidecar has none to compare yours with. Its log says why."

Seen = Annotated[
    str | None, Header(description="the ETag that came with what you looked at; without it nothing is decided (428)")
]


def create_app(settings: Settings) -> FastAPI:
    """The application; its store is opened here and closed when the application ends.

    Raises:
        ValueError: a setting is no sensible value.
        BlockingIOError: another sidecar has the store open.
    """
    limits, issuer = settings.limits, Issuer.from_settings(settings)
    keys = KeyRing(
        settings.keys_path,
        settings.feedback_dir / MARKER,
        is_required=issuer is not None or not settings.is_on_loopback,
        may_be_empty=issuer is not None,
    )
    torchserve = TorchServe(settings.torchserve_url, settings.management_url)
    store = FeedbackStore(
        settings.feedback_dir,
        quota_bytes=settings.quota_bytes,
        is_review_required=settings.is_review_required,
        is_position_kept=settings.is_position_kept,
        reserved=Reserved(settings.data_dir, settings.feedback_dir),
    )
    inspections = InspectionStore(settings.inspections_dir, settings.inspections_quota_bytes)
    queue = RetrainQueue(settings.feedback_dir / "retrain.sqlite3")
    metrics = Metrics(store, inspections, settings.model_store, keys)
    decoding = Decoding(limits, settings.max_pixels_at_once)
    readiness = Readiness(torchserve)
    reporting = Reporting(settings.inspections_dir)
    for folder in (settings.feedback_dir, settings.inspections_dir):
        n_open = tighten(folder, but=settings.keys_path)  # which is refused instead, as others may have changed it
        if n_open:
            logger.warning("took %d files and folders in %s from other users of this machine", n_open, folder)
    rates = Rates(settings.requests_per_minute)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        announcement = asyncio.create_task(_announce(readiness, settings))
        yield
        announcement.cancel()
        await torchserve.close()
        if issuer:
            await issuer.close()
        store.close()
        inspections.close()
        decoding.close()
        reporting.close()

    app = FastAPIOffline(  # has the scripts of /docs, which would otherwise come from another server
        docs_url=None,
        redoc_url=None,
        servers=[{"url": "."}],  # where the description itself is, whatever prefix a proxy gave it
        root_path_in_servers=False,
        title="Crack detection",
        summary="Crack masks for photographs, and feedback that makes them better.",
        version="1",
        lifespan=lifespan,
        responses=ERRORS,
    )

    async def identify(key: str) -> Caller:
        if issuer and is_token(key):
            return await issuer.caller(key)
        if not keys.is_required:
            return LOCAL
        try:
            caller = keys.find(key)
        except NoKeysError as error:
            raise RequestError(ErrorCode.KEYS_UNAVAILABLE, _KEYS_UNAVAILABLE) from error
        if caller is None:
            raise RequestError(ErrorCode.KEY_INVALID, "No valid API key was sent. Send it as 'Authorization: Bearer KEY'.")
        return caller

    def caller_with(right: Right) -> Callable[[Request], Awaitable[Caller]]:
        async def authorise(request: Request) -> Caller:
            scheme, _, key = request.headers.get("authorization", "").partition(" ")
            caller = await identify(key.strip() if scheme.lower() == "bearer" else "")
            if right not in caller.rights:
                raise RequestError(ErrorCode.NOT_PERMITTED, f"{caller.name!r} has no right to {right.value}.")
            rates.count(caller, request)
            return caller

        return authorise

    may_predict = Depends(caller_with(Right.PREDICT))
    may_feed_back = Depends(caller_with(Right.FEEDBACK))
    may_review = Depends(caller_with(Right.REVIEW))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """The description of the routes; its addresses are relative, as only a proxy knows the prefix that it gave them."""
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url="static-offline-docs/swagger-ui-bundle.js",
            swagger_css_url="static-offline-docs/swagger-ui.css",
            swagger_favicon_url="static-offline-docs/favicon.png",
        )

    @app.get("/ping", tags=["service"])
    async def ping() -> dict[str, str]:
        """Whether the sidecar itself runs."""
        return {"status": "ok"}

    @app.get("/ready", tags=["service"])
    async def ready() -> Ready:
        """200 only when a tiny prediction has succeeded in the last seconds, else 503."""
        if keys.fault:
            raise RequestError(ErrorCode.KEYS_UNAVAILABLE, _KEYS_UNAVAILABLE)
        return Ready(status="ready", model_version=await readiness.check())

    @app.get("/model", tags=["service"], dependencies=[may_predict])
    async def model() -> Model:
        """The version that is served, its card with its figures, and what has been learned since."""
        described = await torchserve.describe()
        archive = settings.model_store / str(described["modelUrl"])
        card = await run_in_threadpool(_read_card, archive)
        counts = await run_in_threadpool(_counts, store)
        return Model(name="crack", version=str(described["modelVersion"]), card=card, feedback=counts)

    @app.post("/predict", tags=["prediction"], openapi_extra=PREDICT_BODY, response_class=Response)
    async def predict(request: Request, _: Annotated[Caller, may_predict]) -> Response:
        """The cracks of one photograph: as JSON, as a mask, as probability or drawn over the photograph."""
        image, fields = await read_image(request)
        return _passed_on(await torchserve.predict(image, Options.parse(fields)))

    @app.post("/save-for-retrain", tags=["feedback"], openapi_extra=SAVE_BODY)
    async def save_for_retrain(request: Request, caller: Annotated[Caller, may_feed_back]) -> Saved:
        """Keep a photograph with what is wrong, or right, about its mask. Answers once it would survive a power cut."""
        async with request.form(max_files=2, max_fields=16) as form:
            image, mask = await read_file(form, "image"), await read_file(form, "mask")
            fields, name = texts(form), file_name(form, "image")
        if not image:
            raise RequestError(
                ErrorCode.IMAGE_MISSING, f"The request holds no image. Send a photograph ({EXPECTED}) as the part 'image'."
            )
        verdict = read_verdict(fields.get("verdict"))
        check_said(verdict, bool(mask))
        size_hw = await run_in_threadpool(read_size, image, limits)
        photograph, corrected = await decoding.call(size_hw, read_label, image, mask, verdict, limits)
        submission = Submission(
            photograph,
            verdict,
            corrected,
            request_id=fields.get("request_id"),
            model_version=fields.get("model_version"),
            note=fields.get("note"),
            name=name,
            look_alikes=read_look_alikes(fields.get("look_alikes"), photograph.size_hw),
        )
        if corrected and corrected.n_crack_px:  # it could be the model's own, which must not train
            served: Prediction | None = await torchserve.probability(image)
        else:
            served = await _probability_if_possible(torchserve, image)
        if served:
            found = await decoding.call(size_hw, compare, corrected, served.body, served.threshold, photograph.orientation)
            submission = replace(
                submission,
                is_models_own_mask=found.is_models_own,
                is_cut_anew=found.is_models_own and not found.is_unchanged,
                is_drawn_unturned=found.is_drawn_unturned,
                uncertainty=found.uncertainty,
            )
        stored = await run_in_threadpool(photograph.stored, settings.is_position_kept)
        item = await run_in_threadpool(store.save, submission, caller.name, stored)
        metrics.count_feedback(submission, item.state)
        waiting = await run_in_threadpool(_counts, store)
        return Saved(status="saved", id=item.id, state=item.state, reason=item.reason, waiting=waiting)

    @app.get("/feedback", tags=["feedback"], dependencies=[may_review])
    def list_feedback(
        state: Annotated[list[State] | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    ) -> FeedbackList:
        """What was sent, complaints without a mask first, then what the model was uncertain about; by default what waits."""
        found = store.items(state or (), limit, offset)
        return FeedbackList(items=[_told(item) for item in found], counts=_counts(store), n_waiting=store.n_waiting())

    def described(item: Item, response: Response) -> Feedback:
        response.headers["ETag"] = item.etag
        return Feedback(item=_told(item), history=[asdict(event) for event in store.events(item.id)])

    @app.get("/feedback/{item_id}", tags=["feedback"], dependencies=[may_review], responses=ETAG)
    def get_feedback(item_id: str, response: Response) -> Feedback:
        """One photograph's feedback, with everything that happened to it."""
        return described(store.get(item_id), response)

    @app.get(
        "/feedback/{item_id}/{part}", tags=["feedback"], dependencies=[may_review], response_class=Response, responses=ETAG
    )
    def get_file(item_id: str, part: Literal["image", "mask", "accepted-mask"]) -> Response:
        """The photograph, the mask that a review is about (a newer one, if one was proposed), or the accepted mask."""
        item = store.get(item_id)
        accepted = item.mask_file if item.state is State.ACCEPTED else None
        file = {"image": item.image_file, "mask": item.proposed_mask_file or item.mask_file, "accepted-mask": accepted}[part]
        if file is None:
            raise RequestError(
                ErrorCode.NOT_FOUND, f"{item_id} has no such mask yet. POST /feedback/{item_id}/review with one."
            )
        return Response(
            store.read(file), headers={"ETag": item.etag}, media_type="image/png" if file.endswith("png") else "image/jpeg"
        )

    @app.post("/feedback/{item_id}/review", tags=["feedback"], openapi_extra=REVIEW_BODY, responses=ETAG)
    async def review(
        item_id: str, request: Request, response: Response, caller: Annotated[Caller, may_review], if_match: Seen = None
    ) -> Feedback:
        """Accept or reject a label, or replace it by a mask of your own, which is accepted."""
        etag = seen(if_match)
        async with request.form(max_files=1, max_fields=16) as form:
            mask, fields = await read_file(form, "mask"), texts(form)
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

    @app.delete("/feedback/{item_id}", tags=["feedback"])
    def delete(item_id: str, caller: Annotated[Caller, may_review], if_match: Seen = None) -> dict[str, str]:
        """Forget a photograph, its masks and its history, from now on: what was learned from it, `python -m retrain purge`
        tells.
        """
        store.delete(item_id, caller.name, seen(if_match))
        return {"status": "deleted"}

    app.include_router(inspection_routes(inspections, reporting, torchserve, decoding, limits, may_predict, may_review))

    @app.post("/retrain", tags=["retraining"], status_code=202)
    def ask_for_retraining(caller: Annotated[Caller, may_review]) -> Retraining:
        """Queue a retraining; while one is queued or running, that one is answered."""
        queue.ask(caller.name)
        return _retraining(queue, store, settings)

    @app.get("/retrain", tags=["retraining"], dependencies=[may_predict])
    def get_retraining() -> Retraining:
        """The newest retraining: its state, progress and, where it failed, why; and those before it."""
        return _retraining(queue, store, settings)

    @app.get("/metrics", tags=["service"], response_class=Response)
    async def get_metrics() -> Response:
        """Figures for Prometheus."""
        try:
            served = await torchserve.served()
        except RequestError:
            served = None
        return Response(await run_in_threadpool(metrics.exposition, served), media_type=CONTENT_TYPE_LATEST)

    answer_errors_in_one_form(app)
    app.add_middleware(
        Bodies,
        max_bytes=limits.max_bytes + FORM_OVERHEAD_BYTES,
        max_bytes_at_once=settings.max_bytes_at_once + FORM_OVERHEAD_BYTES,
    )
    settings.doors.guard(app)
    app.add_middleware(Envelope, metrics=metrics)
    return app


async def _probability_if_possible(torchserve: TorchServe, image: bytes) -> Prediction | None:
    """For the order of reviews alone: feedback does not wait for a model that is away."""
    try:
        return await asyncio.wait_for(torchserve.probability(image), OPTIONAL_TIMEOUT_S)
    except (RequestError, TimeoutError):
        return None


def _retraining(queue: RetrainQueue, store: FeedbackStore, settings: Settings) -> Retraining:
    recent = [asdict(job) for job in queue.recent(N_RECENT_JOBS)]
    n_new = store.counts()[State.ACCEPTED] - queue.n_labels_judged()
    missing = max(0, settings.retrain_after_labels - n_new)
    return Retraining(job=recent[0] if recent else None, history=recent, labels_until_next=missing)


def _told(item: Item) -> dict[str, Any]:
    return asdict(item) | {"etag": item.etag}


def _counts(store: FeedbackStore) -> dict[str, int]:
    return {state.value: count for state, count in store.counts().items()}


def _read_card(archive: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(archive) as packed:
            return asdict(model_card.ModelCard.parse(packed.read(model_card.FILE_NAME)))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise RequestError(ErrorCode.MODEL_UNAVAILABLE, f"The card of the served model cannot be read ({error}).") from error


async def _announce(readiness: Readiness, settings: Settings) -> None:
    """Say where to go, once that is of use."""
    while True:
        with contextlib.suppress(RequestError):
            await readiness.check()
            break
        await asyncio.sleep(0.5)
    url = reachable_at(settings.host, settings.port)
    logger.info(
        "Crack detection is ready. Ctrl-C stops it.\n"
        f"  the page                  {reachable_at(settings.page_host, settings.page_port)}\n"
        f"  predictions and feedback  {url}/predict, {url}/save-for-retrain\n"
        f"  their description         {url}/docs\n"
        f"  metrics                   {url}/metrics\n"
        + (f"  Prometheus, with alerts   {settings.prometheus_url}\n" if settings.prometheus_url else "")
        + "Try it:\n"
        f"  curl -F image=@docs/samples/images/synthetic-00002.jpg -F response=overlay -o overlay.jpg {url}/predict"
    )


def _passed_on(prediction: Prediction) -> Response:
    return Response(prediction.body, prediction.status, prediction.headers)
