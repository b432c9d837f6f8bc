"""Assembles the sidecar: creates its parts in the order in which they need each other, and closes them at the end.

Left to others: the routes (`sidecar.routes`) and what they do.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline

from crack.bodies import Bodies
from crack.instance import reachable_at
from crack.stores.jobs import Jobs
from crack.torchserve import TorchServe
from model.inference.errors import RequestError
from sidecar.access import Access
from sidecar.checking import keep_checking
from sidecar.decoding import Decoding
from sidecar.documents import ERRORS
from sidecar.envelope import Envelope
from sidecar.feedback import FeedbackStore
from sidecar.files import tighten
from sidecar.forms import FORM_OVERHEAD_BYTES
from sidecar.inspections import InspectionStore
from sidecar.issuer import Issuer
from sidecar.kept import KeptPredictions
from sidecar.keys import MARKER, KeyRing
from sidecar.metrics import Metrics
from sidecar.names import check_query
from sidecar.predictor import Predictor
from sidecar.rates import Rates
from sidecar.readiness import Readiness
from sidecar.refusals import answer_errors_in_one_form
from sidecar.reporting import Reporting
from sidecar.reserved import Reserved
from sidecar.routes.feedback import feedback_routes
from sidecar.routes.inspections import inspection_routes
from sidecar.routes.prediction import prediction_routes
from sidecar.routes.retraining import retraining_routes
from sidecar.routes.service import service_routes
from sidecar.settings import Settings

logger = logging.getLogger("sidecar")

TITLE = "Crack detection"


def create_app(settings: Settings) -> FastAPI:
    """The application; its stores are opened here and closed when the application ends.

    Raises:
        ValueError: a setting is invalid.
        BlockingIOError: another sidecar has a store open.
        StoreFullError: a store's disk is full or cannot be written to.
        OSError: a store cannot be opened for another reason.
    """
    limits, issuer = settings.limits, Issuer.from_settings(settings)
    keys = KeyRing(
        settings.keys_path,
        settings.feedback_dir / MARKER,
        is_required=issuer is not None or not settings.is_on_loopback,
        may_be_empty=issuer is not None,
    )
    rates = Rates(settings.requests_per_minute, settings.feedback_dir, settings.store_url)
    access = Access(keys, issuer, rates)
    torchserve = TorchServe(settings.torchserve_url, settings.management_url, patience_s=5)
    predictor = Predictor(torchserve, KeptPredictions(settings.kept_bytes, 60 * settings.kept_minutes))
    readiness = Readiness(predictor)
    store = FeedbackStore(
        settings.feedback_dir,
        settings.store_url,
        quota_bytes=settings.quota_bytes,
        is_review_required=settings.is_review_required,
        is_position_kept=settings.is_position_kept,
        reserved=Reserved(settings.data_dir, settings.feedback_dir),
    )
    inspections = InspectionStore(settings.inspections_dir, settings.inspections_quota_bytes, settings.store_url)
    jobs = Jobs(settings.feedback_dir, settings.store_url)
    _tighten(settings)
    metrics = Metrics(store, inspections, settings.model_store, keys)
    decoding = Decoding(limits, settings.max_pixels_at_once)
    reporting = Reporting(settings.inspections_dir, settings.store_url)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with torchserve:
            tasks = (
                asyncio.create_task(_announce(readiness, settings, keys)),
                asyncio.create_task(keep_checking(store, predictor, readiness, decoding)),
            )
            yield
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for part in (store, inspections, rates, decoding, reporting):
            part.close()

    app = FastAPIOffline(  # serves the scripts of /docs, which would otherwise come from another server
        docs_url=None,
        redoc_url=None,
        servers=[{"url": "."}],  # where the description itself is, whatever prefix a proxy gave it
        root_path_in_servers=False,
        title=TITLE,
        summary="Crack masks for photographs, and feedback that makes them better.",
        version="1",
        lifespan=lifespan,
        responses=ERRORS,
        dependencies=[Depends(check_query)],
    )
    routers = (
        prediction_routes(predictor, access),  # matched first
        service_routes(TITLE, predictor, readiness, store, metrics, settings.model_store, access),
        feedback_routes(store, predictor, decoding, metrics, limits, settings.is_position_kept, access),
        inspection_routes(inspections, reporting, predictor, decoding, limits, access),
        retraining_routes(jobs, store, settings.retrain_after_labels, access),
    )
    for router in routers:
        app.include_router(router)
    answer_errors_in_one_form(app, [*app.routes, *chain.from_iterable(router.routes for router in routers)])
    app.add_middleware(
        Bodies,
        max_bytes=limits.max_bytes + FORM_OVERHEAD_BYTES,
        max_bytes_at_once=settings.max_bytes_at_once + FORM_OVERHEAD_BYTES,
    )
    settings.doors.guard(app)
    app.add_middleware(Envelope, metrics=metrics)
    return app


def _tighten(settings: Settings) -> None:
    """Close the stores to other users of this machine."""
    for folder in (settings.feedback_dir, settings.inspections_dir):
        n_open = tighten(folder, but=settings.keys_path)  # rejected instead if it is open, because others may have changed it
        if n_open:
            logger.warning("closed %d files and folders in %s to other users of this machine", n_open, folder)


async def _announce(readiness: Readiness, settings: Settings, keys: KeyRing) -> None:
    """Print the addresses, once the system can answer."""
    while True:
        with contextlib.suppress(RequestError):
            await readiness.check()
            break
        await asyncio.sleep(0.5)
    url = reachable_at(settings.host, settings.port)
    key = "-H 'Authorization: Bearer KEY' " if keys.is_required else ""
    logger.info(
        "Crack detection is ready. Ctrl-C stops it.\n"
        f"  the page                  {reachable_at(settings.page_host, settings.page_port)}\n"
        f"  predictions and feedback  {url}/predict, {url}/save-for-retrain\n"
        f"  their description         {url}/docs\n"
        f"  metrics                   {url}/metrics\n"
        + (f"  Prometheus, with alerts   {settings.prometheus_url}\n" if settings.prometheus_url else "")
        + "Try it:\n"
        f"  curl {key}-F image=@docs/samples/images/synthetic-00002.jpg -F response=overlay -o overlay.jpg {url}/predict"
    )
