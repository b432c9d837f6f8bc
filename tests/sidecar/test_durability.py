"""What the feedback store promises, at the level of the operating system: order of writes, kills between them, full disks."""

import functools
import hashlib
import io
import itertools
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import sqlalchemy
from PIL import Image

from crack.stores.states import State
from model.inference.errors import ErrorCode, RequestError
from model.masks import read_mask
from sidecar.feedback import FeedbackStore
from sidecar.items import Submission
from sidecar.labels import Mask, Photograph, Verdict
from tests.photographs import noise, png
from tests.sidecars import Sidecar, StartSidecar
from tests.waiting import PATIENCE_S, eventually

PHOTOGRAPHS = [Photograph.read(png(noise(24, 24, seed))) for seed in range(3)]
MASKS = [noise(24, 24, seed)[..., 0] > 128 for seed in range(3)]


def opened(folder: Path, url: str = "") -> FeedbackStore:
    return FeedbackStore(folder, url, quota_bytes=10**9, is_review_required=True)


def save(store: FeedbackStore, number: int) -> str:
    photograph = PHOTOGRAPHS[number]
    return store.save(photograph, Submission(Verdict.OTHER, Mask.of(MASKS[number])), "crew-7", photograph.data).id


def assert_whole(folder: Path, url: str, acknowledged: set[str]) -> set[str]:
    """Every acknowledged item is there, what else is there is whole, and nothing lies around; returns the ids of all."""
    for path in folder.rglob("*"):
        os.utime(path, (0, 0))  # what no row refers to has lain long enough, wherever the tables are
    store = opened(folder, url)
    items = store.items(list(State), 100, 0)
    for item in items:
        number = next(i for i, photograph in enumerate(PHOTOGRAPHS) if photograph.data == store.read(item.image_file))
        assert np.array_equal(read_mask(store.read(str(item.mask_file)), (24, 24)), MASKS[number])
        assert len(store.events(item.id)) == 1
        Image.open(io.BytesIO(store.read(item.image_file))).load()
    files = {f"{name}/{path.name}" for name in ("images", "masks", "incoming") for path in (folder / name).iterdir()}
    assert files == {file for item in items for file in (item.image_file, item.mask_file)}
    assert acknowledged <= {item.id for item in items}
    store.close()
    return {item.id for item in items}


steps_left = 10**9


def die_at_the_last_step() -> None:
    global steps_left
    steps_left -= 1
    if steps_left < 0:
        os.kill(os.getpid(), signal.SIGKILL)


def save_and_die(folder: Path, url: str, n_steps: int) -> bool:
    """Save in a process of its own that is killed before its step number `n_steps`; whether it came to its end."""
    global steps_left
    child = os.fork()
    if child == 0:

        def counted(call: Any) -> Any:
            def step(*arguments: Any, **named: Any) -> Any:
                die_at_the_last_step()
                return call(*arguments, **named)

            return step

        os.fsync, Path.rename = counted(os.fsync), counted(Path.rename)  # type: ignore[method-assign]
        for asked in ("before_cursor_execute", "commit"):
            sqlalchemy.event.listen(sqlalchemy.Engine, asked, lambda *_: die_at_the_last_step())
        store = opened(folder, url)
        steps_left = n_steps
        save(store, 1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def test_killed_before_any_step_it_comes_back_with_all_that_was_acknowledged_and_nothing_half(
    tmp_path: Path, request: pytest.FixtureRequest, store_url: str
) -> None:
    n_steps, found = 0, set()
    while True:
        folder = tmp_path / str(n_steps)
        url = request.getfixturevalue("postgresql_server").database() if store_url else ""
        store = opened(folder, url)
        first = save(store, 0)
        store.close()
        is_done = save_and_die(folder, url, n_steps)
        ids = assert_whole(folder, url, {first})
        found.add(len(ids))
        if is_done:
            assert len(ids) == 2
            break
        n_steps += 1
    assert n_steps >= 10  # two files written, renamed and synced, tables read and a transaction committed
    assert found == {1, 2}


class Crew(threading.Thread):
    """Saves photographs of its own, accepts or rejects each, deletes every third, and asks again until it is answered."""

    def __init__(self, url: str, seeds: Iterator[int]) -> None:
        super().__init__()
        self._url, self._seeds = url, seeds
        self.is_over = threading.Event()
        self.n_acknowledged = 0
        self.states: dict[str, str] = {}  # of what was acknowledged and not deleted
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.is_over.is_set():
                self._keep_one(next(self._seeds))
        except BaseException as error:
            self.error = error

    def _keep_one(self, seed: int) -> None:
        content = png(noise(24, 24, seed))
        item_id = hashlib.sha256(content).hexdigest()
        saved = self._ask(item_id, "POST", "/save-for-retrain", files={"image": content, "verdict": (None, "no_crack")})
        assert saved.json()["state"] == "labelled", saved.text
        self._note(item_id, "labelled")
        decision, state = ("accept", "accepted") if seed % 2 else ("reject", "rejected")
        seen = {"If-Match": self._whole(item_id)["etag"]}
        answer = self._ask(item_id, "POST", f"/feedback/{item_id}/review", files={"decision": (None, decision)}, headers=seen)
        # 409: the try before it was not answered any more, but counted.
        assert answer.status_code in (200, 409), answer.text
        item = self._whole(item_id)
        assert item["state"] == state
        self._note(item_id, state)
        if seed % 3 == 0:
            answer = self._ask(item_id, "DELETE", f"/feedback/{item_id}", headers={"If-Match": item["etag"]})
            assert answer.status_code in (200, 404), answer.text
            del self.states[item_id]
            self.n_acknowledged += 1

    def _note(self, item_id: str, state: str) -> None:
        self.states[item_id] = state
        self.n_acknowledged += 1

    def _whole(self, item_id: str) -> dict[str, Any]:
        """The item, which must be there, with its photograph, its mask and the event that made it what it is."""
        found = self._ask(item_id, "GET", f"/feedback/{item_id}")
        assert found.status_code == 200, found.text
        item, history = found.json()["item"], found.json()["history"]
        assert (history[0]["action"], history[-1]["state"]) == ("saved", item["state"])
        for part in ("image", "mask"):
            content = self._ask(item_id, "GET", f"/feedback/{item_id}/{part}").content
            assert Image.open(io.BytesIO(content)).size == (24, 24)
        return dict(item)

    def _ask(self, item_id: str, method: str, route: str, **request: Any) -> requests.Response:
        while True:
            try:
                answer = requests.request(method, f"{self._url}{route}", timeout=PATIENCE_S, **request)
            except requests.RequestException:
                time.sleep(0.02)
                if method != "GET" and self._ask(item_id, "GET", f"/feedback/{item_id}").ok:
                    self._whole(item_id)  # whatever became of what was not answered, it is not half done
                continue
            assert answer.status_code < 500, answer.text
            return answer


@pytest.mark.parametrize("n_kills", [30, pytest.param(1000, marks=pytest.mark.soak)])
def test_nothing_that_was_acknowledged_is_lost_or_half_done_however_often_it_is_killed(tmp_path: Path, n_kills: int) -> None:
    """By `kill -9` at random moments of saves, reviews and deletes."""
    folder, rng, seeds = tmp_path / "store", np.random.default_rng(0), itertools.count(1)
    sidecar = Sidecar(folder, tmp_path / "log", CRACK_REQUESTS_PER_MINUTE="1000000")
    crews = [Crew(sidecar.url, seeds) for _ in range(4)]

    def n_acknowledged() -> int:
        assert [crew.error for crew in crews if crew.error] == []
        return sum(crew.n_acknowledged for crew in crews)

    for crew in crews:
        crew.start()
    try:
        for _ in range(n_kills):
            n_least = n_acknowledged() + int(rng.integers(0, 12))
            eventually(lambda n_least=n_least: n_acknowledged() >= n_least)
            time.sleep(rng.uniform(0, 0.05))
            sidecar.kill()
            sidecar.start()
    finally:
        for crew in crews:
            crew.is_over.set()
        for crew in crews:
            crew.join()
        sidecar.kill()
    print(f"{n_kills} kills, {n_acknowledged()} acknowledged")
    assert "is missing" not in (tmp_path / "log").read_text()
    store, states = opened(folder), dict[str, str]()
    for crew in crews:
        states |= crew.states
    items = store.items(list(State), 10**6, 0)
    assert {item.id: item.state.value for item in items} == states
    files = {f"{name}/{path.name}" for name in ("images", "masks", "incoming") for path in (folder / name).iterdir()}
    assert files == {file for item in items for file in (item.image_file, item.mask_file)}
    store.close()
    with closing(sqlite3.connect(folder / "index.sqlite3")) as index:
        assert index.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert {row[0] for row in index.execute("SELECT DISTINCT item_id FROM events")} == set(states)


def test_a_full_disk_is_told_and_nothing_is_acknowledged_that_is_not_there(small_disk: Path) -> None:
    store, acknowledged = opened(small_disk), set()

    def fill() -> None:
        for seed in range(100):
            photograph = Photograph.read(png(noise(150, 150, 100 + seed)))
            submission = Submission(Verdict.NO_CRACK, Mask.empty(photograph.size_hw))
            acknowledged.add(store.save(photograph, submission, "crew-7", photograph.data).id)

    with pytest.raises(RequestError, match="Nothing was saved") as caught:
        fill()
    assert caught.value.code is ErrorCode.STORAGE_FULL
    assert 5 < len(acknowledged) < 100
    store.close()
    again = opened(small_disk)
    assert {item.id for item in again.items(list(State), 1000, 0)} == acknowledged
    again.close()


def test_a_disk_that_may_not_be_written_is_told(small_disk: Path) -> None:
    store = opened(small_disk)
    kept = save(store, 0)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", small_disk / "incoming"], check=True)
    with pytest.raises(RequestError, match="Read-only file system") as caught:
        save(store, 1)
    assert caught.value.code is ErrorCode.STORAGE_FULL
    subprocess.run(["umount", small_disk / "incoming"], check=True)
    assert {item.id for item in store.items(list(State), 10, 0)} == {kept}
    save(store, 1)
    store.close()


def test_a_store_that_cannot_be_opened_stops_the_start_with_a_sentence(start_sidecar: StartSidecar, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AssertionError, match=r"error: .*Not a directory: .*file/store"):
        start_sidecar(tmp_path / "file" / "store")


def test_files_folders_and_index_are_synced_before_the_answer_leaves(start_sidecar: StartSidecar, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    sidecar = start_sidecar()
    trace = tmp_path / "trace"
    calls = "fsync,fdatasync,rename,renameat,renameat2,sendto,write,writev"
    command = ["strace", "--follow-forks", "--decode-fds=path", "--trace", calls, "--output", str(trace), "--attach"]
    with subprocess.Popen([*command, str(sidecar.process.pid)], stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        assert "attached" in tracer.stderr.readline()
        requests.get(f"{sidecar.url}/ping", timeout=PATIENCE_S)
        eventually(lambda: "HTTP/1.1 200" in trace.read_text())
        files = {"image": PHOTOGRAPHS[0].data, "verdict": (None, "no_crack")}
        answer = requests.post(f"{sidecar.url}/save-for-retrain", files=files, timeout=PATIENCE_S)
        assert answer.json()["status"] == "saved"
        tracer.send_signal(signal.SIGINT)
        tracer.wait(PATIENCE_S)
    lines = trace.read_text().splitlines()

    def first(pattern: str, after: int = -1) -> int:
        return next(i for i, line in enumerate(lines) if i > after and re.search(pattern, line))

    answered = first(r"HTTP/1.1 200", after=first(r"HTTP/1.1 200"))
    for kind in ("images", "masks"):
        placed = first(rf'rename.*incoming/.*"[^"]*{kind}/')
        assert first(r"fsync\(\d+<[^>]*/incoming/") < placed < first(rf"fsync\(\d+<[^>]*/{kind}>") < answered
    committed = first(r"(fsync|fdatasync)\(\d+<[^>]*index\.sqlite3-wal>")
    assert first(r"fsync\(\d+<[^>]*/masks>") < committed < answered


def test_a_store_that_waits_for_a_lock_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    """Neither of feedback nor of inspections: while each route of theirs waits, others are answered."""
    sidecar = Sidecar(tmp_path / "store", tmp_path / "log")
    made = requests.post(f"{sidecar.url}/inspections", data={"name": "pier 4"}, timeout=PATIENCE_S).json()["id"]
    indexes = [sqlite3.connect(each, isolation_level=None) for each in tmp_path.rglob("index.sqlite3")]
    assert len(indexes) == 2
    routes = ("/feedback", "/feedback/none", "/feedback/none/image", "/retrain", "/inspections", f"/inspections/{made}")
    asked = [functools.partial(requests.get, f"{sidecar.url}{route}", timeout=PATIENCE_S) for route in routes]
    change = functools.partial(requests.post, f"{sidecar.url}/inspections/{made}", {"name": "pier 5"}, timeout=PATIENCE_S)
    delete = functools.partial(requests.delete, f"{sidecar.url}/feedback/none", headers={"If-Match": '"x"'}, timeout=PATIENCE_S)
    try:
        with ThreadPoolExecutor(len(routes) + 2) as pool:
            for index in indexes:
                index.execute("BEGIN IMMEDIATE")
            waiting = [pool.submit(change), pool.submit(delete)]
            time.sleep(0.5)  # they hold the stores by now
            waiting += map(pool.submit, asked)
            time.sleep(0.5)
            assert requests.get(f"{sidecar.url}/ping", timeout=PATIENCE_S).ok
            assert not waiting[0].done(), "nothing waited"
            for index in indexes:
                index.execute("ROLLBACK")
            assert {answer.result().status_code for answer in waiting} <= {200, 404}
    finally:
        sidecar.kill()
        for index in indexes:
            index.close()
