"""One retraining from beginning to end: snapshot, train, judge, archive, roll over. The served model keeps answering
meanwhile.

Left to others: the steps themselves (`retrain.stages`), which files belong together (`retrain.workspace`), the record of each
retraining (`retrain.tracking`), and TorchServe (`retrain.rollover`).
"""

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from crack.serving import RELEASED, Serving
from crack.stores.jobs import Jobs, Labels
from crack.stores.states import JobState
from export.archive import content_hash
from model import checkpoint
from model.dataset import read_parts
from model.inference.card import ModelCard
from model.params import Params
from retrain import stages
from retrain.replicas import ModelServer, RollOverError
from retrain.rollover import read_card, roll_over, served_versions, settle
from retrain.settings import RetrainParams, Settings
from retrain.snapshot import FEEDBACK, LEARNED_FILE, Snapshot, is_whole, masks, read_labels, read_masks, take_snapshot
from retrain.tracking import Tracking, adopt
from retrain.verdict import VERDICT_FILE, Verdict
from retrain.workspace import Workspace, WorkspaceError, check_is_own

logger = logging.getLogger("retrain")

N_GOLDEN = 3
STAGES_END_S = 5.0  # within which the stages of a killed retraining end


class Outcome(IntEnum):
    """Exit codes of `crack retrain`."""

    PROMOTED = 0
    FAILED = 1
    NOT_PROMOTED = 3
    NOTHING_TO_DO = 4
    BUSY = 5


@dataclass(frozen=True)
class Result:
    """How a retraining ended, a sentence about it and, if models were judged, a table that compares them."""

    outcome: Outcome
    summary: str
    table: str = ""


class BusyError(RuntimeError):
    """Another retraining runs."""


@contextmanager
def alone(workspace: Path) -> Iterator[None]:
    """Hold the workspace's lock, which is released when the process and its stages end, however they end. Raises BusyError,
    OSError, and ValueError if the folder is somebody else's.
    """
    check_is_own(workspace)
    workspace.mkdir(0o700, parents=True, exist_ok=True)
    if workspace.stat().st_uid == os.geteuid():  # a mounted volume may belong to another user
        workspace.chmod(0o700)  # it holds copies of the photographs, which older versions left readable for others
    deadline = time.monotonic() + STAGES_END_S
    with (workspace / "lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise BusyError(f"Another retraining runs in {workspace}. Wait for it, or stop it.") from error
                time.sleep(0.2)
            except OSError as error:
                raise OSError(
                    f"no file in {workspace} can be locked ({error.strerror}), as on some network shares. Set "
                    "CRACK_RETRAIN_WORKSPACE to a folder on a disk of this machine."
                ) from error
        os.set_inheritable(lock.fileno(), True)
        yield


def retrain(
    settings: Settings,
    params_path: Path,
    params: Params,
    rules: RetrainParams,
    *,
    who: str,
    is_forced: bool = False,
    is_small_gain_accepted: bool = False,
) -> Result:
    """Run the whole cycle if there is something to learn.

    Args:
        params_path: the file from which `params` and `rules` were read; it is copied into the workspace.
        who: the person or program that asks, if nobody did so through the queue.
        is_forced: whether to retrain however few new labels there are.
        is_small_gain_accepted: whether a person accepts a challenger although there are too few held-out labels to show a
        gain.

    Raises:
        BusyError: another retraining runs.
    """
    with alone(settings.workspace):
        jobs = Jobs(settings.feedback_dir, settings.store_url)
        server = ModelServer(settings.management_url, settings.torchserve_url)
        try:
            store = {"CRACK_FEEDBACK_DIR": str(settings.feedback_dir.resolve()), "CRACK_STORE_URL": settings.store_url}
            workspace = Workspace(settings.workspace, settings.dvc_remote, store)  # stages run in another folder
            cleaned = [*jobs.fail_interrupted(), *workspace.clean(), *settle(settings.model_store, server, settings.drain_s)]
        except (OSError, RollOverError, WorkspaceError) as error:
            return Result(Outcome.FAILED, f"Nothing was started: {error}")
        for sentence in cleaned:
            logger.warning("%s", sentence)
        n_new = jobs.n_new(masks(read_labels(settings.feedback_dir, settings.store_url)))
        if not (is_forced or jobs.asked() is not None or n_new >= settings.retrain_after_labels):
            return Result(Outcome.NOTHING_TO_DO, f"{n_new} new labels; a retraining starts at {settings.retrain_after_labels}.")
        job = _Job(jobs, jobs.begin(who))
        try:
            return job.end(*_run(settings, params_path, params, rules, workspace, server, job, is_small_gain_accepted))
        except (OSError, RollOverError, ValueError, WorkspaceError) as error:
            return job.end(Result(Outcome.FAILED, str(error)))
        except BaseException as error:
            job.end(Result(Outcome.FAILED, f"stopped by {type(error).__name__}"))
            raise


class _Job:
    """Reports the progress of this retraining to the queue, where the page reads it."""

    def __init__(self, jobs: Jobs, number: int) -> None:
        self._jobs, self._number = jobs, number

    def tell(self, progress: float, message: str) -> None:
        logger.info("%3.0f%% %s", 100 * progress, message)
        self._jobs.tell(self._number, JobState.RUNNING, progress, message)

    def end(self, result: Result, labels: Labels | None = None) -> Result:
        """`labels`: those that were judged, if they were."""
        self._jobs.tell(self._number, JobState(result.outcome.name.lower()), 1.0, result.summary, labels)
        return result


def _run(
    settings: Settings,
    params_path: Path,
    params: Params,
    rules: RetrainParams,
    workspace: Workspace,
    server: ModelServer,
    job: _Job,
    is_small_gain_accepted: bool,
) -> tuple[Result, Labels | None]:
    started, seconds = time.monotonic(), dict[str, float]()
    folder = workspace.folder
    champion = settings.model_store / Serving.read(settings.model_store).default
    job.tell(0.0, "taking a snapshot of the labels")
    workspace.prepare(params_path)
    sets, data = list(params.data.sets), folder / stages.DATA
    unknown = "" if workspace.revision() else labels_unknown(read_card(champion))
    if not is_whole(data):
        workspace.bring_back(stages.DATA.name, LEARNED_FILE)  # without it, what the champion learned from would judge
    snapshot = take_snapshot(settings.feedback_dir, settings.data_dir, sets, rules, data, settings.store_url)
    if snapshot.n_labels == 0:
        return Result(Outcome.NOTHING_TO_DO, "No label is accepted, so there is nothing to learn."), None
    champion_copy, start_copy = folder / stages.CHAMPION, folder / stages.START
    shutil.copy(champion, champion_copy)
    shutil.copy(choose_start(champion, settings.model_store / RELEASED), start_copy)
    began_with = stages.began_with(read_card(champion_copy), read_card(start_copy))
    workspace.keep_snapshot()
    verdict = stages.doubts(folder / stages.DATA, snapshot, rules, is_accepted=is_small_gain_accepted)
    if verdict:
        verdict.write(folder / stages.REPORT)
    else:
        n_learned = snapshot.n_labels - snapshot.n_held_out
        job.tell(stages.PROGRESS[0], f"training on {n_learned} labels and the original sets. {began_with}".rstrip(". "))
        seconds["train"] = workspace.run("train")
        job.tell(0.65, f"judging on the gate set and {snapshot.n_held_out} held-out labels")
        seconds["judge"] = workspace.run("judge", {stages.ACCEPTED: "1"} if is_small_gain_accepted else {})
        verdict = Verdict.read(folder / stages.REPORT / VERDICT_FILE)
    archive_hash = None
    if verdict.is_promoted:
        job.tell(0.8, "building the archive")
        seconds["archive"] = workspace.run("archive")
        archive_hash = content_hash(folder / stages.ARCHIVE)
    outcome = Outcome.PROMOTED if verdict.is_promoted else Outcome.NOT_PROMOTED
    revision = workspace.commit(_message(outcome, verdict, snapshot))
    if archive_hash:
        job.tell(0.9, "rolling over")
        golden = golden_photographs(settings, params)
        rolling = time.monotonic()
        roll_over(folder / stages.ARCHIVE, archive_hash, settings.model_store, server, golden, settings.drain_s)
        seconds["roll-over"] = time.monotonic() - rolling
        summary = f"Version {verdict.challenger} went into production in place of {verdict.champion}: {verdict.reason}."
    else:
        summary = f"Version {read_card(champion_copy).version} stays: {verdict.reason}."
    summary = " ".join(filter(None, (summary, verdict.remark, unknown)))
    job.tell(0.97, "recording it in MLflow")
    seconds["all"] = time.monotonic() - started
    tags = {
        "outcome": outcome.name.lower(),
        "revision": revision,
        "data": workspace.data_hash(),
        "labels": snapshot.digest,
        "reason": verdict.reason,
    }
    summary += record(settings, folder, verdict, snapshot, seconds, tags, archive_hash)
    return Result(outcome, summary, _table(verdict, seconds["all"], folder / stages.REPORT)), read_masks(data)


def choose_start(champion: Path, released: Path) -> Path:
    """The archive whose weights a training begins with: the champion or, if its network can't be trained, the released one.
    Raises ValueError if neither can.
    """
    cards = {path: read_card(path) for path in (champion, released)}
    for path, card in cards.items():
        if not checkpoint.is_former(card):
            return path
    raise ValueError(
        f"The champion, version {cards[champion].version}, and the released archive {released}, version "
        f"{cards[released].version}, have the network of the first releases, which can't be trained any more. Put the archive "
        f"that this version of the program was released with at {released}."
    )


def labels_unknown(champion: ModelCard) -> str:
    """A sentence for a workspace without a record; empty if the champion, and what it began with, learned from no label."""
    training = champion.training
    while FEEDBACK not in training["params"]["data"]["sets"]:
        if not training["parent"]:
            return ""
        training = training["parent"]["training"]
    return (
        f"This workspace has no record of the labels that version {champion.version} learned from, so some of them may have "
        "judged now."
    )


def golden_photographs(settings: Settings, params: Params) -> list[bytes]:
    """The first photographs of the gate set, on which the served model must agree with its archive."""
    gate = read_parts(settings.data_dir, params.data).judging
    return [pair.image_path.read_bytes() for pair in gate[:N_GOLDEN]]


def record(
    settings: Settings,
    folder: Path,
    verdict: Verdict,
    snapshot: Snapshot,
    seconds: dict[str, float],
    tags: dict[str, str],
    archive_hash: str | None,
) -> str:
    """Record a retraining in MLflow; returns a sentence if that failed. Raises nothing: what is served was decided before."""
    try:
        tracking = Tracking(settings.mlflow_url, folder)
        champion = folder / stages.CHAMPION
        if tracking.has(read_card(champion).version) is False:
            adopt(tracking, champion, None)
        is_there = _is_recorded(tracking, folder, verdict, snapshot, seconds, tags, archive_hash)
        tracking.name_served(*served_versions(settings.model_store))
    except (OSError, RollOverError, ValueError) as error:
        return f" It is not recorded in MLflow: {error}."
    return "" if is_there else " MLflow was away: the record waits for the next retraining."


def _is_recorded(
    tracking: Tracking,
    folder: Path,
    verdict: Verdict,
    snapshot: Snapshot,
    seconds: dict[str, float],
    tags: dict[str, str],
    archive_hash: str | None,
) -> bool:
    """Whether MLflow has the record; a retraining that was refused before any training needs none."""
    if not verdict.figures:
        return tracking.send_waiting()
    challenger = checkpoint.newest(folder / stages.MODELS)
    figures = {"labels/all": float(snapshot.n_labels), "labels/held out": float(snapshot.n_held_out)}
    figures |= {f"seconds/{name}": value for name, value in seconds.items()}
    for name, of_both in verdict.figures.items():
        for model, value, (low, high) in zip(("champion", "challenger"), of_both, verdict.intervals[name], strict=True):
            figures |= {f"{model}/{name}": value, f"{model}/{name} low": low, f"{model}/{name} high": high}
    labels = folder / stages.DATA / FEEDBACK / "split.csv"
    files = {"report": folder / stages.REPORT, challenger.name: challenger, "labels.csv": labels}
    if archive_hash:
        files[stages.ARCHIVE.name] = folder / stages.ARCHIVE
        tags = {**tags, "archive_hash": archive_hash}
    return tracking.record(ModelCard.read(challenger.with_suffix(".json")), figures, tags, files)


def _table(verdict: Verdict, seconds: float, report: Path) -> str:
    width = max(map(len, verdict.figures), default=0)
    lines = [f"{'':{width}}  champion  challenger"] if verdict.figures else []
    for name, (before, after) in verdict.figures.items():
        lines.append(f"{name:{width}}  {before:8.4f}  {after:10.4f}  {after - before:+.4f}")
    return "\n".join([*lines, f"{seconds / 60:.1f} minutes; why, and pictures: {report / 'verdict.html'}"])


def _message(outcome: Outcome, verdict: Verdict, snapshot: Snapshot) -> str:
    figures = "\n".join(f"{name}: {before:.4f} -> {after:.4f}" for name, (before, after) in verdict.figures.items())
    head = f"{verdict.challenger}: {outcome.name.lower().replace('_', ' ')}"
    said = f"{snapshot.n_labels} labels, {snapshot.n_held_out} held out. {verdict.reason}. {verdict.remark}".rstrip()
    return f"{head}\n\n{said}\n\n{figures}\n"
