"""`crack retrain --watch`: retrains whenever it is due, until a signal comes. Errors don't stop it."""

import logging
import time
from pathlib import Path
from typing import Never

from crack.stores.jobs import Jobs
from model.params import read_params
from retrain import metrics
from retrain.cycle import BusyError, Outcome, Result, alone, retrain
from retrain.replicas import RollOverError
from retrain.settings import RetrainParams, Settings
from retrain.snapshot import masks, read_labels
from retrain.tracking import Tracking, introduce

logger = logging.getLogger("retrain.watching")

LOOK_S = 10.0
RETRY_S = 600.0  # after a failure, the first time
LONGEST_RETRY_S = 24 * 3600.0
FAULTS = (BusyError, OSError, ValueError)


def watch(settings: Settings, params_path: Path) -> Never:
    """Check every few seconds whether there are enough new labels, or somebody has asked."""
    logger.info("waiting for %d new labels, or for somebody to ask", settings.retrain_after_labels)
    watcher, told = Watcher(settings, params_path), ""
    while True:
        faults = []
        for step in (watcher.publish, watcher.introduce, watcher.look):
            try:
                step()
            except FAULTS as error:
                faults.append(str(error) or repr(error))
        if faults and told != (told := " ".join(faults)):  # a fault that stays is told once
            logger.error("%s It is tried again.", told)
        time.sleep(LOOK_S)


def introduced(settings: Settings) -> bool:
    """Whether MLflow shows the served model. A failure here does not stop a retraining."""
    try:
        return introduce(Tracking(settings.mlflow_url, settings.workspace), settings.model_store)
    except (OSError, RollOverError) as error:
        logger.warning("MLflow does not show the served model: %s", error)
        return False


class Watcher:
    """The steps of each look, and what they remember from one look to the next."""

    def __init__(self, settings: Settings, params_path: Path) -> None:
        self._settings, self._params_path = settings, params_path
        self._is_published = self._is_swept = False
        self._asked_tried = -1
        self._n_failures, self._not_before = 0, 0.0
        self._is_introduced, self._introduce_pause_s, self._introduce_from = False, LOOK_S, 0.0

    def publish(self) -> None:
        """Serve metrics, if that has not begun. Raises ValueError if the port is taken, which may change later."""
        if not self._is_published:
            metrics.serve(self._settings)
            self._is_published = True

    def introduce(self) -> None:
        """Show the served model in MLflow: it tries often at first, as MLflow starts at the same time."""
        if not self._is_introduced and time.monotonic() >= self._introduce_from:
            self._is_introduced = introduced(self._settings)
            self._introduce_from = time.monotonic() + self._introduce_pause_s
            self._introduce_pause_s = min(2 * self._introduce_pause_s, RETRY_S)

    def look(self) -> None:
        """Retrain if it is due. After a model that was not promoted, it waits for new labels; after a failure, for a pause
        that doubles, or until somebody asks again; after somebody stopped it, until somebody asks again.
        """
        jobs = Jobs(self._settings.feedback_dir, self._settings.store_url)
        if not self._is_swept:
            try:
                self._sweep(jobs)
            except (OSError, ValueError) as error:
                jobs.tell_waiting(f"waits: {error}")
                raise
        n_new, asked = jobs.n_new(masks(read_labels(self._settings.feedback_dir, self._settings.store_url))), jobs.asked()
        is_due = n_new >= self._settings.retrain_after_labels and not jobs.is_stopped()
        has_waited = time.monotonic() >= self._not_before
        if asked not in (None, self._asked_tried) or (has_waited and (is_due or asked is not None)):
            self._asked_tried = -1 if asked is None else asked
            self._retrain(jobs)

    def _sweep(self, jobs: Jobs) -> None:
        """Mark killed jobs as failed; otherwise they would count as running forever."""
        try:
            with alone(self._settings.workspace):
                for sentence in jobs.fail_interrupted():
                    logger.warning("%s", sentence)
        except BusyError:  # then another job runs, and has done so already
            pass
        self._is_swept = True

    def _retrain(self, jobs: Jobs) -> None:
        try:
            params, rules = read_params(self._params_path), RetrainParams.read(self._params_path)
            result = retrain(self._settings, self._params_path, params, rules, who="watch")
        except FAULTS as error:
            result = Result(Outcome.FAILED, str(error) or repr(error))
        logger.info("%s: %s", result.outcome.name.lower(), result.summary)
        if result.outcome != Outcome.FAILED:
            self._n_failures, self._not_before = 0, 0.0
            return
        self._not_before = time.monotonic() + min(RETRY_S * 2**self._n_failures, LONGEST_RETRY_S)
        self._n_failures += 1
        jobs.tell_waiting(f"waits, and is tried again: {result.summary}")
