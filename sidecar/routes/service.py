"""Routes about the service itself: `/ping`, `/ready`, `/model`, `/metrics` and the page of `/docs`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response
from fastapi.openapi.docs import get_swagger_ui_html
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool

from model.inference.card import ModelCard
from model.inference.errors import ErrorCode, RequestError
from sidecar.access import Access
from sidecar.documents import Model, Ready
from sidecar.feedback import FeedbackStore
from sidecar.metrics import Metrics
from sidecar.predictor import Predictor, Served
from sidecar.readiness import Readiness


def service_routes(
    title: str,
    predictor: Predictor,
    readiness: Readiness,
    store: FeedbackStore,
    metrics: Metrics,
    model_store: Path,
    access: Access,
) -> APIRouter:
    """`title`: of the page that describes the routes; `model_store`: the folder of the served archive."""
    router = APIRouter(tags=["service"])

    @router.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """The description of the routes; its addresses are relative, as only a proxy knows the prefix that it gave them."""
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=title,
            swagger_js_url="static-offline-docs/swagger-ui-bundle.js",
            swagger_css_url="static-offline-docs/swagger-ui.css",
            swagger_favicon_url="static-offline-docs/favicon.png",
        )

    @router.get("/ping")
    async def ping() -> dict[str, str]:
        """Whether the sidecar itself is running."""
        return {"status": "ok"}

    @router.get("/ready")
    async def ready() -> Ready:
        """200 only if a tiny prediction has succeeded in the last seconds, otherwise 503."""
        access.check_keys()
        return Ready(status="ready", model_version=await readiness.check())

    @router.get("/model", dependencies=[access.may_predict])
    async def model() -> Model:
        """The served version, its card with its figures, and the feedback since."""
        served = await predictor.default()
        card = await run_in_threadpool(_read_card, model_store / served.archive)
        counts = await run_in_threadpool(store.counts)
        return Model(name="crack", version=served.name, card=card, feedback=dict(counts.items()))

    @router.get("/metrics", response_class=Response)
    async def get_metrics() -> Response:
        """Figures for Prometheus."""
        try:
            served: Served | None = await predictor.served()
        except RequestError:
            served = None
        return Response(await run_in_threadpool(metrics.exposition, served), media_type=CONTENT_TYPE_LATEST)

    return router


def _read_card(archive: Path) -> dict[str, Any]:
    try:
        return asdict(ModelCard.of_archive(archive))
    except ValueError as error:
        raise RequestError(ErrorCode.MODEL_UNAVAILABLE, f"The card of the served model cannot be read ({error}).") from error
