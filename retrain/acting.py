"""What `crack retrain` does, beside telling what is: it retrains, rolls back, records and purges."""

import argparse
import logging
import re
from pathlib import Path

from crack.serving import Serving
from crack.shipped import shipped
from model import checkpoint
from model.inference.card import ModelCard
from model.inference.encoding import jpeg
from model.params import read_params
from model.synthetic import draw_surface
from retrain.cycle import N_GOLDEN, BusyError, Outcome, alone, retrain
from retrain.replicas import ModelServer, RollOverError
from retrain.rollover import read_card, roll_back, served_versions, settle
from retrain.settings import RetrainParams, Settings
from retrain.snapshot import read_labels
from retrain.tracking import Tracking, adopt
from retrain.watching import introduced, watch
from retrain.workspace import Workspace, WorkspaceError, is_begun

logger = logging.getLogger("retrain")

PARAMS = shipped("params.yaml")


def act(options: argparse.Namespace, settings: Settings) -> int:
    """Carry out a command of `crack retrain`; returns its exit code."""
    try:
        match options.command:
            case "rollback":
                print(_roll_back(settings))
            case "adopt":
                print(_adopt(settings))
            case "purge":
                print(_purge(settings, options.ids))
            case "track":
                print(_track(settings, options.checkpoint or Path("models")))
            case _ if options.watch:
                watch(settings, PARAMS)
            case _:
                introduced(settings)
                result = retrain(
                    settings,
                    PARAMS,
                    read_params(PARAMS),
                    RetrainParams.read(PARAMS),
                    who="command line",
                    is_forced=options.force,
                    is_small_gain_accepted=options.yes,
                )
                print(f"{result.table}\n{result.summary}".strip())
                return result.outcome
    except BusyError as error:
        logger.error("%s", error)
        return Outcome.BUSY
    except (RollOverError, WorkspaceError) as error:
        logger.error("%s", error)
        return Outcome.FAILED
    return Outcome.PROMOTED


def _roll_back(settings: Settings) -> str:
    read_card(settings.model_store / Serving.read(settings.model_store).default)  # in a wrong folder nothing is made
    server = ModelServer(settings.management_url, settings.torchserve_url)
    with alone(settings.workspace):
        for sentence in settle(settings.model_store, server, settings.drain_s):
            logger.warning("%s", sentence)
        golden = [jpeg(draw_surface(seed).image_hwc_u8) for seed in range(N_GOLDEN)]  # a rollback needs no data set
        version = roll_back(settings.model_store, server, golden, settings.drain_s)
        Tracking(settings.mlflow_url, settings.workspace).name_served(*served_versions(settings.model_store))
    return f"Version {version} is in production again."


def _adopt(settings: Settings) -> str:
    archive = settings.model_store / Serving.read(settings.model_store).default
    previous = served_versions(settings.model_store)[1]
    is_there = adopt(Tracking(settings.mlflow_url, settings.workspace), archive, previous)
    return f"{archive} is the champion in MLflow." if is_there else "MLflow is away: the record waits for the next retraining."


def _purge(settings: Settings, ids: list[str]) -> str:
    from retrain.purge import purge  # DVC takes a second to import, and no other command does

    strange = [each for each in ids if not re.fullmatch("[0-9a-f]{64}", each)]
    if strange or not ids:
        raise ValueError(
            f"purge got {strange or 'no ids'}: expected the ids of deleted photographs, 64 hexadecimal digits each."
        )
    kept = {label.id for label in read_labels(settings.feedback_dir, settings.store_url)} & set(ids)
    if kept:
        raise ValueError(
            f"{', '.join(sorted(kept))}: still accepted, so a retraining would learn from it. DELETE /feedback/ID first."
        )
    if not is_begun(settings.workspace):
        raise ValueError(
            f"{settings.workspace.resolve()} holds no retraining, so there is nothing to purge there. If the system has "
            "another workspace, set CRACK_RETRAIN_WORKSPACE."
        )
    with alone(settings.workspace):
        workspace = Workspace(settings.workspace, settings.dvc_remote, {})
        for sentence in workspace.clean():
            logger.warning("%s", sentence)
        told = purge(workspace, Tracking(settings.mlflow_url, settings.workspace), ids)
    return "\n".join([*told, "No past snapshot or report here contains these photographs any more."])


def _track(settings: Settings, path: Path) -> str:
    path = checkpoint.newest(path) if path.is_dir() else path
    card = ModelCard.read(path.with_suffix(".json"))
    is_there = Tracking(settings.mlflow_url, settings.workspace).record(card, {}, {"outcome": "trained"}, {path.name: path})
    return f"{path} is recorded in MLflow." if is_there else "MLflow is away: the record waits for the next retraining."
