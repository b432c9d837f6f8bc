"""A photograph is taken out of what past retrainings keep: the real git, DVC with two remotes, and MLflow."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from model.dataset import read_pairs
from model.synthetic import draw_surface
from retrain.purge import purge
from retrain.rollover import read_card
from retrain.settings import RetrainParams
from retrain.snapshot import FEEDBACK, HELD_OUT, read_labels, take_snapshot
from retrain.tracking import Tracking
from retrain.workspace import Workspace
from sidecar.feedback import FeedbackStore
from sidecar.items import Submission
from sidecar.labels import Mask, Photograph, Verdict
from tests.conftest import ARCHIVE, ROOT
from tests.photographs import png
from tests.ports import free_ports
from tests.waiting import PATIENCE_S, eventually

RULES = RetrainParams.read(ROOT / "params.yaml")
CARD = read_card(ARCHIVE)
VERSIONS = ("20260101-000000", "20260102-000000", "20260103-000000")
PROGRAMS = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def dvc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ | PROGRAMS, capture_output=True, text=True, check=False)


class Past:
    """Two retrainings without the training itself: the first with eight labels, which the second has, too."""

    def __init__(self, folder: Path, mlflow_url: str) -> None:
        self.folder, self.feedback = folder, folder / "feedback"
        self.feedback.mkdir()
        self.contents: dict[str, bytes] = {}
        self.tracking = Tracking(mlflow_url, folder / "workspace")
        (folder / "sets").mkdir()
        self.revisions = [self.retrain(number, folder / remote) for number, remote in enumerate(("first", "second"))]

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder / "workspace", str(self.folder / "second"), {})

    def label(self, seeds: range) -> None:
        store = FeedbackStore(self.feedback, quota_bytes=10**9, is_review_required=False)
        for seed in seeds:
            surface = draw_surface(seed, (64, 80), is_cracked=True)
            content = png(surface.image_hwc_u8)
            photograph, said = Photograph.read(content), Submission(Verdict.OTHER, Mask.of(surface.mask_hw))
            self.contents[store.save(photograph, said, "crew-7", content).id] = content
        store.close()

    def retrain(self, number: int, remote: Path) -> str:
        self.label(range(8 * number, 8 * number + 8))
        workspace = Workspace(self.folder / "workspace", str(remote), {})
        workspace.prepare(ROOT / "params.yaml")
        at = workspace.folder
        take_snapshot(self.feedback, self.folder / "sets", [], RULES, at / "data")
        shutil.rmtree(at / "models", ignore_errors=True)
        for name in ("models", "report/pictures"):
            (at / name).mkdir(parents=True, exist_ok=True)
        for name in ("champion.mar", "start.mar", "challenger.mar", "models/model.pth"):
            (at / name).write_text(f"{name} {number}")
        former = {"version": VERSIONS[0], "training": {"parent": None}} if number else None
        card = replace(CARD, version=VERSIONS[number], training={**CARD.training, "parent": former})
        (at / "models" / "model.json").write_bytes(card.to_json())
        for k, pair in enumerate(read_pairs(at / "data", [FEEDBACK], HELD_OUT)):
            (at / "report" / "pictures" / f"{k:02d} label, champion, challenger.jpg").write_text(
                f"shows {pair.image_path.stem}"
            )
        workspace.keep_snapshot()
        assert dvc(at, "commit", "--force", "train", "judge", "archive").returncode == 0
        revision = workspace.commit(f"{VERSIONS[number]}: promoted")
        tags = {"outcome": "trained", "revision": revision}
        assert self.tracking.record(card, {}, tags, {"report": at / "report"})
        return revision

    def split(self, split: str) -> list[str]:
        """Ids of the newest snapshot."""
        return [pair.image_path.stem for pair in read_pairs(self.folder / "workspace" / "data", [FEEDBACK], split)]

    def files_with(self, *contents: bytes) -> list[Path]:
        """Whatever holds one of them, wherever it is but in the feedback store."""
        files = (path for path in self.folder.rglob("*") if path.is_file() and self.feedback not in path.parents)
        return [path for path in files if path.read_bytes() in contents]

    def checked_out(self, revision: str) -> Path:
        clone = self.folder / f"clone of {revision}"
        fetch = ["--no-checkout", "--config", "remote.origin.fetch=+refs/replace/*:refs/replace/*"]
        subprocess.run(["git", "clone", "--quiet", *fetch, str(self.folder / "workspace"), str(clone)], check=True)
        subprocess.run(["git", "checkout", "--quiet", revision], cwd=clone, check=True)
        return clone


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    folder, (port,) = tmp_path_factory.mktemp("past"), free_ports(1)
    where = [f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}/artifacts"]
    url, settings = f"http://127.0.0.1:{port}", {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [sys.executable, "-m", "mlflow", "server", f"--port={port}", "--workers=1", *where]
    with (folder / "mlflow.log").open("wb") as log:
        server = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log, start_new_session=True)
    try:
        eventually(lambda: requests.get(f"{url}/health", timeout=PATIENCE_S).ok, requests.ConnectionError)
        yield Past(folder, url)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


class Purged(NamedTuple):
    """What was purged, one label that was learned from and one that was held out, and what was told."""

    learned: str
    held_out: str
    contents: list[bytes]
    n_files_before: int
    told: list[str]


@pytest.fixture(scope="module")
def purged(past: Past) -> Purged:
    first = {label.id for label in read_labels(past.feedback)} & set(list(past.contents)[:8])
    learned = next(each for each in past.split("train") if each in first)
    held_out = past.split(HELD_OUT)[0]
    contents = [past.contents[learned], past.contents[held_out], f"shows {held_out}".encode()]
    n_before = len(past.files_with(*contents))
    return Purged(learned, held_out, contents, n_before, purge(past.workspace, past.tracking, [learned, held_out]))


def test_what_is_purged_is_nowhere(past: Past, purged: Purged) -> None:
    assert purged.n_files_before >= 8  # in the folder, the cache, both remotes and MLflow
    assert past.files_with(*purged.contents) == []


def test_what_was_learned_from_it_is_told_however_often_it_is_purged(past: Past, purged: Purged) -> None:
    assert f"Version {VERSIONS[0]} learned from {purged.learned}." in purged.told
    assert f"Version {VERSIONS[1]} began with the weights of version {VERSIONS[0]}, which did." in purged.told
    assert purge(past.workspace, past.tracking, [purged.learned, purged.held_out]) == purged.told


@pytest.mark.parametrize("number", [0, 1])
def test_a_past_revision_names_what_it_lacks_and_is_not_repeated_without_it(past: Past, purged: Purged, number: int) -> None:
    clone = past.checked_out(past.revisions[number])
    pulled = dvc(clone, "pull")
    assert pulled.returncode == 0, pulled.stderr
    missing = json.loads((clone / "data" / "purged.json").read_text())
    assert f"{FEEDBACK}/images/{purged.learned}.png" in missing
    assert not (clone / "data" / missing[0]).exists()
    assert len(list((clone / "data" / FEEDBACK / "images").iterdir())) == 8 * (1 + number) - len(missing)
    assert (clone / "models" / "model.pth").is_file()
    repeated = dvc(clone, "repro")
    assert repeated.returncode != 0
    assert f"This snapshot lacks photographs that were purged: {', '.join(missing)}." in repeated.stderr


@pytest.mark.usefixtures("purged")
def test_the_next_retraining_is_kept_as_ever(past: Past) -> None:
    revision = past.retrain(2, past.folder / "second")
    clone = past.checked_out(revision)
    assert dvc(clone, "pull").returncode == 0
    assert not (clone / "data" / "purged.json").exists()


@pytest.mark.usefixtures("purged")
def test_a_remote_that_is_not_there_any_more_is_named_and_not_made_again(past: Past) -> None:
    """The workspace came from another machine."""
    (past.folder / "first").rename(past.folder / "elsewhere")
    (sentence,) = (each for each in purge(past.workspace, past.tracking, [past.split("train")[0]]) if "Nothing was" in each)
    assert str(past.folder / "first") in sentence
    assert not (past.folder / "first").exists()
