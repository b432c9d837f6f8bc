"""Roll-over and the way back at the real TorchServe and two replicas, under load: nothing is lost, a kill leaves nothing."""

import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
import requests

from crack.serving import Serving
from export.archive import content_hash, write_archive
from handler.serve import Server
from model.checkpoint import REFERENCE
from model.synthetic import draw_surface
from retrain.replicas import ModelServer, RollOverError
from retrain.rollover import LARGEST_MEAN_DIFFERENCE, mean_difference, read_card, roll_back, roll_over, settle
from tests.conftest import ARCHIVE, start_server
from tests.photographs import jpeg
from tests.ports import free_ports
from tests.waiting import PATIENCE_S, eventually

GOLDEN = [jpeg(draw_surface(seed, (384, 544)).image_hwc_u8) for seed in (20, 21)]
DRAIN_S = 3.0  # at least
N_BEFORE = 8  # answers that load gets before a test goes on, and by which it knows how long one takes
NEXT = "20990101-000000"


@pytest.fixture(scope="module")
def next_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released network as another version."""
    folder = tmp_path_factory.mktemp("next")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    path = folder / "packed" / "challenger.mar"
    write_archive(folder, dataclasses.replace(read_card(ARCHIVE), version=NEXT), path)
    return path


class Answers(Counter[tuple[int, str]]):
    """How many requests were answered with which status by which version."""

    longest_s = 0.0

    def drain_s(self) -> float:
        """Long enough for whatever is being answered when nothing waits any more, on this machine."""
        return max(DRAIN_S, 10 * self.longest_s)


class System:
    """A TorchServe of one worker, and the model store in `folder`, which several may share; `settings` go to `start_server`."""

    def __init__(self, folder: Path, name: str = "logs", settings: Mapping[str, str] | None = None) -> None:
        self.logs, self.store = folder / name, folder / "model_store"
        self._settings = {"default_workers_per_model": "1", **(settings or {}), "model_store": str(self.store)}
        if not self.store.is_dir():
            self.store.mkdir()
            (self.store / ARCHIVE.name).write_bytes(ARCHIVE.read_bytes())
        self.start()

    def start(self) -> None:
        self.server: Server = start_server(self.logs, self._settings)
        self.server.wait_until_ready(PATIENCE_S)
        self.is_killed = False
        self.models = ModelServer(self.server.management_url, self.server.inference_url)
        (self.replica,) = self.models.replicas()

    def n_loaded(self) -> int:
        """Archives that it ever unpacked, each before its workers start; from its log, as its API may wait meanwhile."""
        return (self.logs / "ts_log.log").read_text().count("Model crack loaded")

    def kill(self) -> None:
        """At once, as a machine's end would."""
        self.is_killed = True
        family = self.server._process.children(recursive=True)
        for process in [*family, self.server._process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.server.stop()

    def predict(self) -> requests.Response:
        return requests.post(f"{self.server.inference_url}/predictions/crack", data=GOLDEN[0], timeout=PATIENCE_S)

    def version(self) -> str:
        return self.predict().headers["X-Crack-Model-Version"]

    def archives(self) -> set[str]:
        return {path.name for path in self.store.iterdir()} - {"serving.json"}

    @contextmanager
    def load(self, concurrency: int) -> Iterator["Answers"]:
        """Requests all the while, with some answers already."""
        answers = Answers()
        is_over, lock = threading.Event(), threading.Lock()

        def send() -> None:
            while not is_over.is_set():
                begun = time.monotonic()
                try:
                    answer = self.predict()
                except requests.RequestException:  # counts as an answer that nobody got
                    time.sleep(0.05)
                    found = (0, "")
                else:
                    found = (answer.status_code, answer.headers.get("X-Crack-Model-Version", ""))
                with lock:
                    answers[found] += 1
                    answers.longest_s = max(answers.longest_s, time.monotonic() - begun)

        clients = [threading.Thread(target=send) for _ in range(concurrency)]
        for client in clients:
            client.start()
        try:
            eventually(lambda: answers.total() >= N_BEFORE)
            yield answers
        finally:
            is_over.set()
            for client in clients:
                client.join()


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    running = System(tmp_path)
    yield running
    running.server.stop()


@pytest.fixture
def several_workers(tmp_path: Path) -> Iterator[System]:
    running = System(tmp_path, settings={"default_workers_per_model": "2"})
    yield running
    running.server.stop()


def test_under_load_no_request_is_lost_there_and_back_and_a_restart_serves_the_promoted(
    several_workers: System, next_archive: Path
) -> None:
    system = several_workers
    released = system.version()
    with system.load(concurrency=4) as answers:
        roll_over(next_archive, content_hash(next_archive), system.store, system.models, GOLDEN, answers.drain_s())
        eventually(lambda: answers[200, NEXT])
    assert answers.keys() == {(200, released), (200, NEXT)}
    assert system.replica.versions() == {NEXT}
    system.server.stop()
    system.start()
    assert system.version() == NEXT
    with system.load(concurrency=4) as answers:
        assert roll_back(system.store, system.models, GOLDEN, answers.drain_s()) == released
        eventually(lambda: answers[200, released])
    assert answers.keys() == {(200, released), (200, NEXT)}
    assert Serving.read(system.store) == Serving("crack.mar", f"crack-{NEXT}.mar")


def test_the_command_that_rolls_back_needs_no_data_sets(system: System, next_archive: Path, tmp_path: Path) -> None:
    released = system.version()
    roll_over(next_archive, content_hash(next_archive), system.store, system.models, GOLDEN, DRAIN_S)
    settings = {
        "CRACK_DATA_DIR": str(tmp_path / "nowhere"),
        "CRACK_DRAIN_S": str(DRAIN_S),
        "CRACK_MODEL_STORE": str(system.store),
        "CRACK_RETRAIN_WORKSPACE": str(tmp_path / "workspace"),
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_ports(1)[0]}",
        "TORCHSERVE_MANAGEMENT_URL": system.server.management_url,
        "TORCHSERVE_URL": system.server.inference_url,
    }
    command = [sys.executable, "-m", "retrain", "rollback"]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert system.version() == released


def test_what_is_not_as_it_was_judged_is_not_served(system: System, next_archive: Path) -> None:
    with pytest.raises(RollOverError, match="expected 00"):
        roll_over(next_archive, "00", system.store, system.models, GOLDEN, DRAIN_S)
    assert system.archives() == {"crack.mar"}


def test_workers_that_answer_otherwise_than_their_network_are_not_served(
    system: System, next_archive: Path, tmp_path: Path
) -> None:
    """The 8-bit network of this archive, which its workers take, calls crack what is none."""
    with zipfile.ZipFile(next_archive) as archive:
        archive.extractall(tmp_path / "spoiled")
    path = tmp_path / "spoiled" / "model.int8.onnx"
    network = onnx.load(path)
    output = network.graph.output[0].name
    for node in network.graph.node:
        node.output[:] = [f"{name} before" if name == output else name for name in node.output]
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1), "one"))
    network.graph.node.append(onnx.helper.make_node("Sub", ["one", f"{output} before"], [output]))
    onnx.save(network, path)
    spoiled = tmp_path / "packed" / "challenger.mar"
    spoiled_card = read_card(next_archive)
    in_8_bits = (backend for backend in spoiled_card.backends if backend.precision.startswith("int8"))
    write_archive(tmp_path / "spoiled", dataclasses.replace(spoiled_card, backends=(*in_8_bits, REFERENCE)), spoiled)
    released = system.version()
    with pytest.raises(RollOverError, match="golden photograph 0"):
        roll_over(spoiled, content_hash(spoiled), system.store, system.models, GOLDEN, DRAIN_S)
    assert (system.version(), system.archives()) == (released, {"crack.mar"})
    assert system.replica.versions() == {released}


def test_a_group_that_a_worker_lowers_or_not_is_no_difference() -> None:
    card = read_card(ARCHIVE)
    computed = np.full((40, 50), 110, np.uint8)
    assert mean_difference(np.full((40, 50), 62, np.uint8), computed, card) < 2
    assert mean_difference(255 - computed, computed, card) > LARGEST_MEAN_DIFFERENCE


def test_what_a_kill_left_is_cleared_away(system: System, next_archive: Path) -> None:
    """Killed after the workers came up and before the archive was in production."""
    released = system.version()
    (system.store / f"crack-{NEXT}.mar").write_bytes(next_archive.read_bytes())
    (system.store / f".crack-{NEXT}.mar.tmp").write_bytes(b"half")
    of_a_person = system.store / "crack-bridge-7.mar"
    of_a_person.write_bytes(next_archive.read_bytes())
    system.replica.register(f"crack-{NEXT}.mar", 1)
    done = settle(system.store, system.models)
    assert len(done) == 3
    assert (system.replica.versions(), system.archives()) == ({released}, {"crack.mar", of_a_person.name})
    of_a_person.unlink()


def test_what_a_kill_cut_off_is_finished(system: System, next_archive: Path) -> None:
    """Killed after the archive was in production and before it was the default."""
    (system.store / f"crack-{NEXT}.mar").write_bytes(next_archive.read_bytes())
    Serving(f"crack-{NEXT}.mar", "crack.mar").write(system.store)
    settle(system.store, system.models)
    assert (system.version(), system.replica.versions()) == (NEXT, {NEXT})


def test_without_a_former_version_there_is_no_way_back(system: System) -> None:
    with pytest.raises(RollOverError, match="no way back"):
        roll_back(system.store, system.models, GOLDEN, DRAIN_S)


def test_a_torchserve_of_another_system_is_not_touched(system: System, next_archive: Path, tmp_path: Path) -> None:
    """Its model store has another default, which a job that took it for its own would bring there."""
    released, own_store = system.version(), tmp_path / "another"
    own_store.mkdir()
    (own_store / ARCHIVE.name).write_bytes(next_archive.read_bytes())
    with pytest.raises(RollOverError, match="belongs to another system"):
        settle(own_store, system.models)
    assert (system.replica.versions(), system.version()) == ({released}, released)
    assert {path.name for path in own_store.iterdir()} == {ARCHIVE.name}


NAME, ADDRESSES = "replicas.test", ("127.0.0.2", "127.0.0.3")


class Replicas:
    """Two TorchServes that share a model store, at the same ports of two addresses, which are those of one name."""

    def __init__(self, folder: Path) -> None:
        inference_port, management_port = free_ports(2)
        self.addresses = list(ADDRESSES)
        self.all = [
            System(
                folder,
                address,
                {
                    "inference_address": f"http://{address}:{inference_port}",
                    "management_address": f"http://{address}:{management_port}",
                },
            )
            for address in ADDRESSES
        ]
        self.store = self.all[0].store
        self.models = ModelServer(f"http://{NAME}:{management_port}", f"http://{NAME}:{inference_port}")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    running = Replicas(tmp_path_factory.mktemp("replicas"))
    yield running
    for system in running.all:
        system.server.stop()


@pytest.fixture
def replicas(pair: Replicas, monkeypatch: pytest.MonkeyPatch) -> Replicas:
    """Both of them running, with the released archive."""
    resolve = socket.getaddrinfo

    def resolved(host: str, *arguments: Any, **named: Any) -> list[Any]:
        hosts = pair.addresses if host == NAME else [host]
        return [found for each in hosts for found in resolve(each, *arguments, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)  # in place of a name server
    pair.addresses[:] = ADDRESSES
    (pair.store / "serving.json").unlink(missing_ok=True)
    for system in pair.all:
        if system.is_killed:
            system.start()
    settle(pair.store, pair.models)
    return pair


@contextmanager
def killed_when(moment: Callable[[], bool], victim: System) -> Iterator[None]:
    """Kill it at that moment, which must come while the body runs."""

    def watch() -> None:
        eventually(moment)
        victim.kill()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    yield
    watcher.join()
    assert victim.is_killed


def test_every_replica_is_rolled_over_and_one_that_is_killed_after_it_counted_starts_with_what_is_served(
    replicas: Replicas, next_archive: Path
) -> None:
    first, second = replicas.all
    released = first.version()
    with first.load(concurrency=4) as answers, second.load(concurrency=4) as others:
        drain_s = max(answers.drain_s(), others.drain_s())
        roll_over(next_archive, content_hash(next_archive), replicas.store, replicas.models, GOLDEN, drain_s)
        eventually(lambda: answers[200, NEXT] and others[200, NEXT])
    assert answers.keys() == others.keys() == {(200, released), (200, NEXT)}
    assert first.replica.versions() == second.replica.versions() == {NEXT}
    with (
        first.load(concurrency=4) as answers,
        killed_when(lambda: Serving.read(replicas.store).default == ARCHIVE.name, second),
    ):
        assert roll_back(replicas.store, replicas.models, GOLDEN, answers.drain_s()) == released
        eventually(lambda: answers[200, released])
    assert answers.keys() == {(200, released), (200, NEXT)}
    assert first.replica.versions() == {released}
    second.start()
    assert second.version() == released


def test_what_fails_at_one_replica_is_taken_back_at_all(replicas: Replicas, next_archive: Path) -> None:
    """One is killed while it loads what the other has loaded."""
    first, second = replicas.all
    released, n_before = first.version(), second.n_loaded()
    with (
        first.load(concurrency=4) as answers,
        killed_when(lambda: second.n_loaded() > n_before, second),
        pytest.raises(RollOverError, match=ADDRESSES[1]),
    ):
        roll_over(next_archive, content_hash(next_archive), replicas.store, replicas.models, GOLDEN, answers.drain_s())
    assert answers.keys() == {(200, released)}
    assert (first.replica.versions(), first.archives()) == ({released}, {ARCHIVE.name})


def test_a_replica_that_was_taken_away_is_not_missed(replicas: Replicas, next_archive: Path) -> None:
    """Killed while it loads, and its address no longer the name's, as when there are to be fewer."""
    first, second = replicas.all
    n_before = second.n_loaded()

    def is_taken_away() -> bool:
        if second.n_loaded() == n_before:
            return False
        replicas.addresses.remove(ADDRESSES[1])
        return True

    with first.load(concurrency=4) as answers, killed_when(is_taken_away, second):
        roll_over(next_archive, content_hash(next_archive), replicas.store, replicas.models, GOLDEN, answers.drain_s())
        eventually(lambda: answers[200, NEXT])
    assert {status for status, _ in answers} == {200}
