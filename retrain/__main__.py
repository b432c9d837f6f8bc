"""Retrain from the accepted corrections, look at past retrainings, or roll back."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from crack.faults import in_words
from crack.serving import Serving
from crack.stores.jobs import Job, Jobs
from model.inference.card import ModelCard
from retrain.settings import Settings
from retrain.snapshot import masks, read_labels

logger = logging.getLogger("retrain")

_NONE = "no retraining yet"
_FOR = {"dry_run": "run", "watch": "run", "force": "run", "yes": "run", "ids": "purge", "checkpoint": "track"}


def _plan(settings: Settings) -> str:
    jobs = Jobs.find(settings.feedback_dir, settings.store_url)
    labels = read_labels(settings.feedback_dir, settings.store_url)
    if not (jobs or labels):
        return _no_store(settings)
    n_new = jobs.n_new(masks(labels)) if jobs else len(labels)
    is_asked = bool(jobs and jobs.asked() is not None)
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
    version = ModelCard.of_archive(settings.model_store / serving.default).version
    lines = [f"in production: version {version} ({serving.default})", f"before it: {serving.previous or 'nothing'}"]
    jobs = Jobs.find(settings.feedback_dir, settings.store_url)
    newest = jobs.recent(1) if jobs else []
    lines += [f"newest retraining: {_line(job)}" for job in newest] or [_NONE if jobs else _no_store(settings)]
    return "\n".join(lines)


def _history(settings: Settings) -> str:
    jobs = Jobs.find(settings.feedback_dir, settings.store_url)
    return "\n".join(map(_line, jobs.recent())) or _NONE if jobs else _no_store(settings)


def _stop(settings: Settings) -> str:
    jobs = Jobs.find(settings.feedback_dir, settings.store_url)
    if not jobs:
        return _no_store(settings)
    job = jobs.stop("the command line")
    if job is None:
        return "No retraining is queued or running."
    return (
        f"Retraining {job.id} ends within seconds, unless it replaces the served model already. The next one begins when "
        "somebody asks for it."
    )


def _no_store(settings: Settings) -> str:
    return (
        f"There is no record of retrainings in {settings.feedback_dir.resolve()}: nobody has asked for one yet, or it is "
        "another system's folder. Run this where the system was started, or set CRACK_FEEDBACK_DIR."
    )


def _line(job: Job) -> str:
    return f"{job.id} {job.asked_at} {job.state}: {job.message}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="crack retrain",
        description=__doc__,
        epilog="Ctrl-C, or crack retrain stop elsewhere, stops a retraining; the served model stays.\n\n"
        "exit codes: 0 promoted, 1 failed, 3 not promoted, 4 nothing to do, 5 another one runs\n\n"
        "examples:\n"
        "  crack retrain\n"
        "  crack retrain --dry-run\n"
        "  crack retrain --watch\n"
        "  crack retrain stop\n"
        "  crack retrain rollback\n"
        "  crack retrain purge ID\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=("run", "stop", "rollback", "status", "history", "adopt", "track", "purge"),
        default="run",
        help="run: retrain (the default); stop: stop the retraining that runs or waits, whoever began it; rollback: serve the "
        "former model again; status: show what is served; history: list past retrainings; adopt: record the served model as "
        "the first champion; track: record a training; purge: remove deleted photographs from past snapshots, and list the "
        "models that learned from them",
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
            case "stop":
                print(_stop(settings))
            case _ if options.dry_run:
                print(_plan(settings))
            case _:
                from retrain.acting import act  # torch and MLflow take seconds to import, and what only tells needs neither

                return act(options, settings)
    except (ValueError, OSError) as error:
        logger.error("%s", in_words(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("retrain"))
