"""Roll-over and the way back at the real TorchServe, under load; nothing is lost, and a kill leaves nothing."""

import dataclasses
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
import requests

from export.archive import content_hash, write_archive
from handler.serve import Server
from model.synthetic import draw_surface
from retrain.rollover import ModelServer, RollOverError, Serving, read_card, roll_back, roll_over, settle
from tests.conftest import ARCHIVE, start_server
from tests.photographs import jpeg

GOLDEN = [jpeg(draw_surface(seed, (384, 544)).image_hwc_u8) for seed in (20, 21)]
DRAIN_S = 3.0
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


class System:
    """A TorchServe with a model store of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, folder / "model_store"
        self.store.mkdir()
        (self.store / ARCHIVE.name).write_bytes(ARCHIVE.read_bytes())
        self.start()

    def start(self) -> None:
        self.server: Server = start_server(self.folder / "logs", {"model_store": str(self.store)})
        self.server.wait_until_ready()
        self.models = ModelServer(self.server.management_url, self.server.inference_url)

    def predict(self) -> requests.Response:
        return requests.post(f"{self.server.inference_url}/predictions/crack", data=GOLDEN[0], timeout=60)

    def version(self) -> str:
        return self.predict().headers["X-Crack-Model-Version"]

    def archives(self) -> set[str]:
        return {path.name for path in self.store.iterdir()} - {"serving.json"}

    @contextmanager
    def load(self, concurrency: int) -> Iterator[Counter[tuple[int, str]]]:
        """Requests all the while; how many were answered with which status by which version."""
        answers: Counter[tuple[int, str]] = Counter()
        is_over, lock = threading.Event(), threading.Lock()

        def send() -> None:
            while not is_over.is_set():
                answer = self.predict()
                with lock:
                    answers[answer.status_code, answer.headers.get("X-Crack-Model-Version", "")] += 1

        clients = [threading.Thread(target=send) for _ in range(concurrency)]
        for client in clients:
            client.start()
        try:
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


def test_under_load_no_request_is_lost_there_and_back_and_a_restart_serves_the_promoted(
    system: System, next_archive: Path
) -> None:
    released = system.version()
    with system.load(concurrency=8) as answers:
        roll_over(next_archive, content_hash(next_archive), system.store, system.models, GOLDEN, DRAIN_S)
    assert answers.keys() == {(200, released), (200, NEXT)}
    assert system.models.versions() == {NEXT}
    system.server.stop()
    system.start()
    assert system.version() == NEXT
    with system.load(concurrency=8) as answers:
        assert roll_back(system.store, system.models, GOLDEN, DRAIN_S) == released
    assert answers.keys() == {(200, released), (200, NEXT)}
    assert Serving.read(system.store) == Serving("crack.mar", f"crack-{NEXT}.mar")


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
    write_archive(tmp_path / "spoiled", read_card(next_archive), spoiled)
    released = system.version()
    with pytest.raises(RollOverError, match="golden photograph 0"):
        roll_over(spoiled, content_hash(spoiled), system.store, system.models, GOLDEN, DRAIN_S)
    assert (system.version(), system.archives()) == (released, {"crack.mar"})
    assert system.models.versions() == {released}


def test_what_a_kill_left_is_cleared_away(system: System, next_archive: Path) -> None:
    """Killed after the workers came up and before the archive was in production."""
    released = system.version()
    (system.store / f"crack-{NEXT}.mar").write_bytes(next_archive.read_bytes())
    (system.store / f".crack-{NEXT}.mar.tmp").write_bytes(b"half")
    system.models.register(f"crack-{NEXT}.mar", 1)
    done = settle(system.store, system.models)
    assert len(done) == 3
    assert (system.models.versions(), system.archives()) == ({released}, {"crack.mar"})


def test_what_a_kill_cut_off_is_finished(system: System, next_archive: Path) -> None:
    """Killed after the archive was in production and before it was the default."""
    (system.store / f"crack-{NEXT}.mar").write_bytes(next_archive.read_bytes())
    Serving(f"crack-{NEXT}.mar", "crack.mar").write(system.store)
    settle(system.store, system.models)
    assert (system.version(), system.models.versions()) == (NEXT, {NEXT})


def test_without_a_former_version_there_is_no_way_back(system: System) -> None:
    with pytest.raises(RollOverError, match="no way back"):
        roll_back(system.store, system.models, GOLDEN, DRAIN_S)
