"""Retrain from the accepted corrections, look at past retrainings, or roll back."""

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from crack.serving import Serving
from crack.shipped import shipped
from crack.stores.jobs import Job, Jobs
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
_NONE = "no retraining yet"
_FOR = {"dry_run": "run", "watch": "run", "force": "run", "yes": "run", "ids": "purge", "checkpoint": "track"}


def _plan(settings: Settings) -> str:
    jobs = Jobs.find(settings.feedback_dir, settings.store_url)
    labels = read_labels(settings.feedback_dir, settings.store_url)
    if not (jobs or labels):
        return _no_store(settings)
    n_new, is_asked = len(labels) - (jobs.n_labels_judged() if jobs else 0), bool(jobs and jobs.asked() is not None)
    lines = [
        f"{len(labels)} labels are accepted, {n_new} are new; a retraining starts at {settings.retrain_after_labels} new ones."
    ]
    if is_asked:
        lines.append("A retraining was asked for.")
    if is_asked or n_new >= settings.retrain_after_labels:
        lines.append(
            f"It would copy them and the sets in {settings.data_dir} into {settings.workspace}, train from the weights of "
            f"{Serving.read(settings.model_store).default}, judge, and, if every rule holds, roll over at "
            f"{settings.management_url}."
        )
    else:
        lines.append("There is nothing to do.")
    return "\n".join(lines)


def _status(settings: Settings) -> str:
    serving = Serving.read(settings.model_store)
    version = read_card(settings.model_store / serving.default).version
    lines = [f"in production: version {version} ({serving.default})", f"before it: {serving.previous or 'nothing'}"]
    jobs = Jobs.find(settings.feedback_dir, settings.store_url)
    newest = jobs.recent(1) if jobs else []
    lines += [f"newest retraining: {_line(job)}" for job in newest] or [_NONE if jobs else _no_store(settings)]
    return "\n".join(lines)


def _history(settings: Settings) -> str:
    jobs = Jobs.find(settings.feedback_dir, settings.store_url)
    return "\n".join(map(_line, jobs.recent())) or _NONE if jobs else _no_store(settings)


def _no_store(settings: Settings) -> str:
    return (
        f"There is no record of retrainings in {settings.feedback_dir.resolve()}: nobody has asked for one yet, or it is "
        "another system's folder. Run this where the system was started, or set CRACK_FEEDBACK_DIR."
    )


def _line(job: Job) -> str:
    return f"{job.id} {job.asked_at} {job.state}: {job.message}"


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
    return "\n".join([*told, "No past snapshot or report contains these photographs any more."])


def _track(settings: Settings, path: Path) -> str:
    path = checkpoint.newest(path) if path.is_dir() else path
    card = ModelCard.read(path.with_suffix(".json"))
    is_there = Tracking(settings.mlflow_url, settings.workspace).record(card, {}, {"outcome": "trained"}, {path.name: path})
    return f"{path} is recorded in MLflow." if is_there else "MLflow is away: the record waits for the next retraining."


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="crack retrain",
        description=__doc__,
        epilog="exit codes: 0 promoted, 1 failed, 3 not promoted, 4 nothing to do, 5 another one runs\n\n"
        "examples:\n"
        "  crack retrain\n"
        "  crack retrain --dry-run\n"
        "  crack retrain --watch\n"
        "  crack retrain rollback\n"
        "  crack retrain purge ID\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=("run", "rollback", "status", "history", "adopt", "track", "purge"),
        default="run",
        help="run: retrain (the default); rollback: serve the former model again; status: show what is served; history: list "
        "past retrainings; adopt: record the served model as the first champion; track: record a training; purge: remove "
        "deleted photographs from past snapshots, and list the models that learned from them",
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="for purge: IDs of deleted photographs")
    parser.add_argument("--checkpoint", type=Path, help="for track: a .pth, or the newest in a folder (default: models)")
    parser.add_argument("--dry-run", action="store_true", help="show what a run would do")
    parser.add_argument(
        "--watch", action="store_true", help="keep running, and retrain whenever there are enough new labels or somebody asks"
    )
    parser.add_argument("--force", action="store_true", help="retrain however few new labels there are")
    parser.add_argument(
        "--yes", action="store_true", help="accept a model that is not worse, if too few labels are held out to show a gain"
    )
    options = parser.parse_args(arguments)
    for option, command in _FOR.items():
        if getattr(options, option) and options.command != command:  # a dry run would purge, a named version not be served
            name = "ID" if option == "ids" else f"--{option.replace('_', '-')}"
            parser.error(f"{name} is for crack retrain {command}, and {options.command} does not heed it. Leave it out.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns at each attempt; we log the result
    try:
        settings = Settings.from_environment()
        match options.command:
            case "status":
                print(_status(settings))
            case "history":
                print(_history(settings))
            case "rollback":
                print(_roll_back(settings))
            case "adopt":
                print(_adopt(settings))
            case "purge":
                print(_purge(settings, options.ids))
            case "track":
                print(_track(settings, options.checkpoint or Path("models")))
            case _ if options.dry_run:
                print(_plan(settings))
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
    except (RollOverError, WorkspaceError, ValueError, OSError) as error:
        logger.error("%s", error)
        return Outcome.FAILED
    except KeyboardInterrupt:
        return 130
    return Outcome.PROMOTED


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("retrain"))
