"""`/retrain`: request a retraining, follow it, and stop it."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter

from crack.stores.jobs import Jobs
from sidecar.access import Access
from sidecar.documents import Retraining
from sidecar.feedback import FeedbackStore
from sidecar.keys import Caller

N_RECENT_JOBS = 10


def retraining_routes(jobs: Jobs, store: FeedbackStore, after_labels: int, access: Access) -> APIRouter:
    """`after_labels`: the number of accepted labels after which a retraining starts automatically."""
    router = APIRouter(tags=["retraining"])

    def told() -> Retraining:
        recent = [asdict(job) for job in jobs.recent(N_RECENT_JOBS)]
        n_new = jobs.n_new(store.labels())
        return Retraining(job=recent[0] if recent else None, history=recent, labels_until_next=max(0, after_labels - n_new))

    @router.post("/retrain", status_code=202)
    def ask_for_retraining(caller: Annotated[Caller, access.may_review]) -> Retraining:
        """Queue a retraining. While one is queued or running, the answer is about that one."""
        jobs.ask(caller.name)
        return told()

    @router.delete("/retrain")
    def stop_retraining(caller: Annotated[Caller, access.may_review]) -> Retraining:
        """Stop the queued or running retraining. It ends within seconds, unless it replaces the served model already; the next
        one begins when somebody asks for it.
        """
        jobs.stop(caller.name)
        return told()

    @router.get("/retrain", dependencies=[access.may_predict])
    def get_retraining() -> Retraining:
        """The newest retraining: its state, its progress and, if it failed, why; and those before it."""
        return told()

    return router
