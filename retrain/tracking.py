"""Records every training in MLflow and in its model registry; only this module uses MLflow.

If MLflow is away, nothing stops: the record waits in the folder `unrecorded/` and is sent with the next one.
"""

import fcntl
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow sends telemetry from the moment of its import

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from crack.files import write_whole
from crack.foreign import damage_named
from crack.neighbours import ask_without_proxy
from crack.serving import Serving
from crack.stores.states import JobState
from model.inference.card import ModelCard
from retrain.rollover import read_card, served_versions

logger = logging.getLogger("retrain.tracking")

NAME = "crack"  # of the experiment, and of the registered model
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
ADOPTED = "adopted"  # the outcome of a model that no retraining here has made
REGISTERED = (JobState.PROMOTED, JobState.NOT_PROMOTED, ADOPTED)
INTERVAL = "_interval"  # ends the name of a figure's interval in a card
VERSION_TAG, NOTE_TAG = "version", "mlflow.note.content"
RECORD_FILE, CARD_FILE, FILES = "record.json", "card.json", "files"

# An absent server should cost seconds, not the minutes of MLflow's default timeouts.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")


class Tracking:
    """The records in the MLflow server at `url`; waiting records are in the workspace, `folder`."""

    def __init__(self, url: str, folder: Path) -> None:
        ask_without_proxy(url)
        self._client = mlflow.MlflowClient(tracking_uri=url, registry_uri=url)
        self._url = url
        self._waiting = folder / "unrecorded"

    def record(self, card: ModelCard, figures: Mapping[str, float], tags: Mapping[str, str], files: Mapping[str, Path]) -> bool:
        """Store a training's record on disk, then send all waiting records to MLflow; returns whether MLflow has all of them.

        Args:
            card: of the model that came out of it, with its parameters and curves.
            figures: beside the card's own; MLflow draws those with the same name before "/" together.
            tags: of the run; `outcome` decides whether the model is registered, as the challenger.
            files: files or folders to keep with it, by their path there.
        """
        folder = self._waiting / card.version
        shutil.rmtree(folder, ignore_errors=True)
        (folder / FILES).mkdir(parents=True)
        for place, path in files.items():
            target = folder / FILES / place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(path, target) if path.is_dir() else shutil.copy(path, target)
        write_whole(folder / CARD_FILE, card.to_json())
        write_whole(folder / RECORD_FILE, json.dumps({"figures": dict(figures), "tags": dict(tags)}).encode())
        return self.send_waiting()

    def send_waiting(self) -> bool:
        """Send the waiting records to MLflow; returns whether none is left that could be sent."""
        self._waiting.mkdir(parents=True, exist_ok=True)
        with (self._waiting / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a training by hand may end beside a retraining
            for record in sorted(self._waiting.glob(f"*/{RECORD_FILE}")):  # written last, so the folder is whole
                try:
                    self._send(record.parent, **_read(record))
                except ValueError as error:  # it stays, and the others don't wait for it
                    logger.warning("%s", error)
                    continue
                except (MlflowException, OSError) as error:
                    logger.warning(
                        "MLflow at %s did not take a record (%s); it waits in %s", self._url, _reason(error), record.parent
                    )
                    return False
                shutil.rmtree(record.parent)
        return True

    def remove(self, revision: str, places: Sequence[str]) -> None:
        """Remove files from the record of a retraining, even if it still waits. Raises ConnectionError if MLflow is away."""
        for record in self._waiting.glob(f"*/{RECORD_FILE}"):
            if _read(record)["tags"].get("revision") == revision:
                for place in places:
                    (record.parent / FILES / place).unlink(missing_ok=True)
        try:
            experiment = self._client.get_experiment_by_name(NAME)
            runs = self._client.search_runs([experiment.experiment_id], f"tags.revision = '{revision}'") if experiment else []
            for run in runs:
                artifacts = get_artifact_repository(str(run.info.artifact_uri), tracking_uri=self._url)
                for place in places:
                    artifacts.delete_artifacts(place)  # type: ignore[no-untyped-call]
        except MlflowException as error:
            raise ConnectionError(
                f"MLflow at {self._url} may show the photograph in its record of {revision}, and removes nothing "
                f"({_reason(error)}). Start it, then purge again."
            ) from error

    def name_served(self, champion: str, previous: str | None) -> None:
        """Give the aliases to the models of these versions, as far as they are registered. Only warns if MLflow is away; the
        next call makes up for it.
        """
        try:
            for alias, version in ((CHAMPION, champion), (PREVIOUS, previous)):
                numbers = [int(found.version) for found in self._registered() if found.tags.get(VERSION_TAG) == version]
                if numbers:
                    self._client.set_registered_model_alias(NAME, alias, str(max(numbers)))
        except MlflowException as error:
            logger.warning("MLflow at %s did not take the aliases (%s)", self._url, _reason(error))

    def has(self, version: str) -> bool | None:
        """Whether MLflow has a model of this version; None if MLflow is away."""
        try:
            return any(found.tags.get(VERSION_TAG) == version for found in self._registered())
        except MlflowException as error:
            logger.warning("MLflow at %s does not answer (%s)", self._url, _reason(error))
            return None

    def _send(self, folder: Path, figures: dict[str, float], tags: dict[str, str]) -> None:
        card = ModelCard.read(folder / CARD_FILE)
        experiment = self._client.get_experiment_by_name(NAME)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(NAME)
        if self._is_sent(experiment_id, card.version, tags["outcome"]):
            return
        origin = {str(name): str(card.training[name]) for name in ("git_commit", "machine") if name in card.training}
        note = f"{card.use} The file {CARD_FILE} is its model card."
        run = self._client.create_run(experiment_id, run_name=card.version, tags={NOTE_TAG: note, **origin, **tags}).info.run_id
        for name, value in _flat(card.training.get("params", {})):
            self._client.log_param(run, name, str(value)[:500])
        for point in card.training.get("history", []):
            curves = {"loss": point["loss"], "validation/score": point["score"], "validation/threshold": point["threshold"]}
            for name, value in {**curves, **{f"validation/{key}": of_set for key, of_set in point["by_set"].items()}}.items():
                self._client.log_metric(run, name, value, step=point["step"])
        for name, value in figures.items():
            self._client.log_metric(run, name, value)
        self._client.log_artifacts(run, str(folder / FILES))
        self._client.log_artifact(run, str(folder / CARD_FILE))
        if tags["outcome"] in REGISTERED:
            number = self._register(run, card)
            if tags["outcome"] != ADOPTED:
                self._client.set_registered_model_alias(NAME, CHALLENGER, number)
        self._client.set_terminated(run)

    def _is_sent(self, experiment_id: str, version: str, outcome: str) -> bool:
        """Whether MLflow has this record complete; an incomplete one, left by a kill, is removed."""
        of_version = f"tags.`mlflow.runName` = '{version}' AND tags.outcome = '{outcome}'"
        for run in self._client.search_runs([experiment_id], of_version):
            if run.info.status == "FINISHED":
                return True
            for found in self._registered():
                if found.run_id == run.info.run_id:
                    self._client.delete_model_version(NAME, found.version)
            self._client.delete_run(run.info.run_id)
        return False

    def _registered(self) -> Iterable[ModelVersion]:
        """Also those that somebody registered by hand, without our tags."""
        return self._client.search_model_versions(f"name = '{NAME}'", max_results=1000)

    def _register(self, run: str, card: ModelCard) -> str:
        """Register the model; returns the number of its version in the registry."""
        try:
            self._client.get_registered_model(NAME)
        except MlflowException:
            self._client.create_registered_model(NAME)
        source, tags = self._client.get_run(run).info.artifact_uri, {VERSION_TAG: card.version}
        return str(self._client.create_model_version(NAME, source, run, tags=tags, description=card.use).version)


def introduce(tracking: Tracking, model_store: Path) -> bool:
    """Record the served model as the champion in an MLflow that doesn't know it yet; returns whether MLflow has it.

    Raises:
        OSError: the workspace cannot be written.
        RollOverError: an archive is missing.
    """
    version, previous = served_versions(model_store)
    has_it = tracking.has(version)
    if has_it is False:
        return adopt(tracking, model_store / Serving.read(model_store).default, previous)
    return bool(has_it)


def adopt(tracking: Tracking, archive_path: Path, previous: str | None) -> bool:
    """Record the served archive as the champion; returns whether MLflow has it.

    Args:
        previous: the version that was served before it.
    """
    card = read_card(archive_path)
    is_there = tracking.record(card, _figures(card), {"outcome": ADOPTED}, {archive_path.name: archive_path})
    tracking.name_served(card.version, previous)
    return is_there


def _read(record: Path) -> dict[str, Any]:
    """Of a waiting training. Raises ValueError if it can't be read, OSError."""
    advice = f"Restore it from a backup, or remove {record.parent}: only MLflow's record of one training is lost by that."
    with damage_named(str(record), advice):
        told = json.loads(record.read_bytes())
        return {"figures": dict(told["figures"]), "tags": dict(told["tags"])}


def _figures(card: ModelCard) -> dict[str, float]:
    """The card's numbers, under names that MLflow accepts; an interval has two. The curves' numbers and the reference for
    drift are left out.
    """
    figures: dict[str, float] = {}
    told = {name: of_set for name, of_set in card.figures.items() if name not in ("validation", "reference")}
    for name, value in _flat(told, separator="/"):
        if name.endswith(INTERVAL):
            figures |= dict(zip((f"{name.removesuffix(INTERVAL)} {end}" for end in ("low", "high")), value, strict=True))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            figures[name] = value
    return {re.sub(r"[^\w\-. :/]", " ", name): value for name, value in figures.items()}


def _flat(values: Mapping[str, Any], prefix: str = "", separator: str = ".") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            found += _flat(value, f"{prefix}{name}{separator}", separator)
        else:
            found.append((f"{prefix}{name}", value))
    return found


def _reason(error: Exception) -> str:
    """The system's own word, such as "Connection refused", where MLflow wraps it in lines of others."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    return (str(error).strip() or repr(error)).splitlines()[0][:200]
