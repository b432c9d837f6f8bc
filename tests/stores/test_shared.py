"""One PostgreSQL and one folder under several sidecars: counted, locked and swept together, whoever is killed."""

import asyncio
import hashlib
import io
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from PIL import Image
from sqlalchemy import insert
from starlette.requests import Request

from crack.settings import read_store_url
from crack.stores.database import POSTGRESQL_FILE, Database
from crack.stores.faults import StoreAwayError
from crack.stores.jobs import Jobs
from crack.stores.states import State
from crack.stores.tables import REQUESTS, Part
from model.inference.errors import ErrorCode, RequestError
from retrain.snapshot import read_labels
from sidecar.feedback import FeedbackStore
from sidecar.inspections import Head, InspectionStore
from sidecar.items import Submission
from sidecar.keys import Caller, Right
from sidecar.labels import Mask, Photograph, Verdict
from sidecar.rates import RateLimitedError, Rates
from tests.photographs import noise, png
from tests.postgresql import PostgreSQL
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S, eventually

PHOTOGRAPHS = [Photograph.read(png(noise(24, 24, seed))) for seed in range(3)]
MASK = Mask.of(noise(24, 24, 9)[..., 0] > 128)
Opened = Callable[..., FeedbackStore]


def save(store: FeedbackStore, number: int = 0, who: str = "crew-7") -> str:
    photograph = PHOTOGRAPHS[number]
    return store.save(photograph, Submission(Verdict.OTHER, MASK), who, photograph.data).id


@pytest.fixture
def opened(tmp_path: Path, postgresql: str) -> Iterator[Opened]:
    """Opens the one store of this test, as each sidecar does."""
    with ExitStack() as stores:

        def opened(quota_bytes: int = 10**9, is_review_required: bool = True, folder: Path = tmp_path) -> FeedbackStore:
            store = FeedbackStore(folder, postgresql, quota_bytes=quota_bytes, is_review_required=is_review_required)
            stores.callback(store.close)
            return store

        yield opened


def test_what_one_saves_another_knows_and_the_same_photograph_is_one_item(opened: Opened) -> None:
    one, other = opened(), opened()
    assert save(one, who="crew-7") == save(other, who="crew-8")
    (item,) = one.items(list(State), 10, 0)
    assert (item.sent_by, [event.who for event in other.events(item.id)]) == ("crew-7", ["crew-7", "crew-8"])


def test_at_the_same_moment_it_is_one_item_too_and_counted_once(opened: Opened) -> None:
    stores = opened(), opened()
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(save, stores * 8))) == 1
    (item,) = stores[0].items(list(State), 10, 0)
    assert item.revision == 16
    assert stores[0].n_bytes() == len(PHOTOGRAPHS[0].data) + len(MASK.png)


def test_nobody_decides_about_what_another_has_changed(opened: Opened) -> None:
    one, other = opened(), opened()
    item = one.get(save(one))
    other.review(item.id, "eve", item.etag, is_accepted=True)
    with pytest.raises(RequestError, match="eve reviewed it"):
        one.review(item.id, "adam", item.etag, is_accepted=False)


def test_the_quota_is_one_for_all(opened: Opened) -> None:
    n_bytes = len(PHOTOGRAPHS[0].data) + len(MASK.png)
    one, other = opened(quota_bytes=n_bytes + 10), opened(quota_bytes=n_bytes + 10)
    item = one.get(save(one))
    with pytest.raises(RequestError, match="CRACK_QUOTA_GB") as refused:
        save(other, 1)
    assert refused.value.code is ErrorCode.STORAGE_FULL
    other.delete(item.id, "eve", item.etag)
    save(other, 1)


def test_what_is_deleted_by_one_is_gone_from_the_folder_but_for_what_others_share(opened: Opened, tmp_path: Path) -> None:
    one, other = opened(), opened()
    item, left = one.get(save(one)), other.get(save(other, 1))
    other.delete(item.id, "eve", item.etag)
    files = {f"{name}/{path.name}" for name in ("images", "masks") for path in (tmp_path / name).iterdir()}
    assert files == {left.image_file, left.mask_file}


def test_files_without_a_row_are_swept_once_they_have_lain_for_an_hour(opened: Opened, tmp_path: Path) -> None:
    opened()
    for name in ("images/old.png", "images/young.png"):
        (tmp_path / name).write_bytes(b"half")
    os.utime(tmp_path / "images" / "old.png", (0, 0))
    opened()
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["young.png"]


def test_one_process_sweeps_at_a_time(opened: Opened, tmp_path: Path, postgresql: str) -> None:
    opened()
    (tmp_path / "images" / "old.png").write_bytes(b"half")
    os.utime(tmp_path / "images" / "old.png", (0, 0))
    database = Database(Part.FEEDBACK, tmp_path, postgresql)
    with database.sweeping() as is_alone:
        assert is_alone
        opened()
        assert (tmp_path / "images" / "old.png").exists()
    database.close()
    opened()
    assert not (tmp_path / "images" / "old.png").exists()


def test_inspections_are_shared_too(tmp_path: Path, postgresql: str) -> None:
    one, other = (InspectionStore(tmp_path, 10**9, postgresql) for _ in range(2))
    made = one.create(Head("Spring"), "crew-7")
    assert other.get(made.id) == made
    one.close()
    other.close()


def test_the_retrain_job_reads_labels_and_jobs_from_the_database(opened: Opened, tmp_path: Path, postgresql: str) -> None:
    item_id = save(opened(is_review_required=False))
    assert [label.id for label in read_labels(tmp_path, postgresql)] == [item_id]
    asked = Jobs(tmp_path, postgresql).ask("eve")
    assert (Jobs(tmp_path, postgresql).begin("watch"), list(tmp_path.glob("*.sqlite3"))) == (asked.id, [])


def test_a_name_with_a_character_that_postgresql_lacks_is_looked_for_and_not_found(opened: Opened) -> None:
    assert opened().find("no\0thing") is None


# Requests a minute


def ask(rates: Rates, name: str, method: str = "GET") -> None:
    caller = Caller(name, frozenset(Right))
    asyncio.run(rates.count(caller, Request({"type": "http", "method": method, "path": "/feedback", "headers": []})))


def test_requests_to_all_of_them_are_counted_together(tmp_path: Path, postgresql: str) -> None:
    one, other = (Rates(3, tmp_path, postgresql) for _ in range(2))
    for rates in (one, other, one):
        ask(rates, "crew-7")
    for rates in (one, other):
        with pytest.raises(RateLimitedError, match="More than 3 reads in a minute") as refused:
            ask(rates, "crew-7")
        assert 0 < refused.value.retry_after_s <= 60
    ask(one, "crew-8")
    ask(other, "crew-7", "POST")
    one.close()
    other.close()


def test_requests_counted_before_the_databases_clock_was_set_back_hold_up_nobody(tmp_path: Path, postgresql: str) -> None:
    rates = Rates(2, tmp_path, postgresql)
    database = Database(Part.REQUESTS, tmp_path, postgresql)
    with database.counting() as connection:
        connection.execute(insert(REQUESTS), [{"key": "reads crew-7", "at": time.time() + later} for later in (3600, 3601)])
    ask(rates, "crew-7")
    database.close()
    rates.close()


# Folder and database belong together


def test_a_folder_with_a_store_in_sqlite_is_refused(tmp_path: Path, opened: Opened) -> None:
    FeedbackStore(tmp_path, quota_bytes=10**9, is_review_required=True).close()
    with pytest.raises(ValueError, match=r"index\.sqlite3.*crack store move, unset CRACK_STORE_URL, or name an empty folder"):
        opened()


def test_sqlite_is_refused_where_the_tables_are_in_postgresql(tmp_path: Path, opened: Opened) -> None:
    item_id = save(opened())
    with pytest.raises(ValueError, match="Set CRACK_STORE_URL to that database"):
        FeedbackStore(tmp_path, quota_bytes=10**9, is_review_required=True)
    assert opened().find(item_id)


@pytest.mark.parametrize("is_marked", [True, False])
def test_another_database_than_the_folders_sweeps_nothing(
    tmp_path: Path, opened: Opened, postgresql_server: PostgreSQL, is_marked: bool
) -> None:
    save(opened())
    if not is_marked:
        (tmp_path / POSTGRESQL_FILE).unlink()
    for path in (tmp_path / "images").iterdir():
        os.utime(path, (0, 0))
    with pytest.raises(ValueError, match="holds files that the database in CRACK_STORE_URL does not know"):
        FeedbackStore(tmp_path, postgresql_server.database(), quota_bytes=10**9, is_review_required=True)
    assert len(list((tmp_path / "images").iterdir())) == 1


def test_another_folder_than_the_databases_is_refused(tmp_path: Path, opened: Opened) -> None:
    save(opened())
    with pytest.raises(ValueError, match="tables of another folder"):
        opened(folder=tmp_path / "another")


# The setting


def test_the_url_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://crack:secret@db/crack\n")
    assert read_store_url({"CRACK_STORE_URL_FILE": str(tmp_path / "url")}) == "postgresql://crack:secret@db/crack"


def test_what_is_no_url_of_postgresql_is_named_without_its_password() -> None:
    with pytest.raises(ValueError, match=r"CRACK_STORE_URL: expected postgresql://USER:PASSWORD@HOST/DATABASE") as refused:
        read_store_url({"CRACK_STORE_URL": "mysql://crack:secret@db/crack"})
    assert "secret" not in str(refused.value)


# Kills


def test_what_was_acknowledged_survives_a_power_cut_of_the_database(opened: Opened, postgresql_server: PostgreSQL) -> None:
    store = opened()
    item_id = save(store)
    postgresql_server.stop("immediate")
    try:
        with pytest.raises(StoreAwayError):
            save(store, 1)
    finally:
        postgresql_server.start()
    assert save(store, 1) != item_id
    kept = {hashlib.sha256(photograph.data).hexdigest() for photograph in PHOTOGRAPHS[:2]}
    assert {item.id for item in store.items(list(State), 10, 0)} == kept


def test_a_sidecar_whose_database_is_away_says_so_and_goes_on_once_it_is_back(
    tmp_path: Path, postgresql: str, postgresql_server: PostgreSQL
) -> None:
    sidecar = Sidecar(tmp_path / "store", tmp_path / "log", CRACK_STORE_URL=postgresql)
    try:
        postgresql_server.stop()
        try:
            away = requests.get(f"{sidecar.url}/feedback", timeout=PATIENCE_S)
            assert requests.get(f"{sidecar.url}/ping", timeout=PATIENCE_S).ok
        finally:
            postgresql_server.start()
        assert (away.status_code, away.json()["code"], "Retry-After" in away.headers) == (503, "server_busy", True)
        assert requests.get(f"{sidecar.url}/feedback", timeout=PATIENCE_S).ok
    finally:
        sidecar.kill()


class Crew(threading.Thread):
    """Saves photographs of its own at one sidecar after the other, each until one of them acknowledges it."""

    def __init__(self, sidecars: list[Sidecar], seeds: Iterator[int]) -> None:
        super().__init__(daemon=True)
        self._sidecars, self._seeds = itertools.cycle(sidecars), seeds
        self.acknowledged: list[str] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            for seed in self._seeds:
                content = png(noise(24, 24, seed))
                files = {"image": content, "verdict": (None, "no_crack")}
                while not self._is_saved(files):
                    pass
                self.acknowledged.append(hashlib.sha256(content).hexdigest())
        except BaseException as error:
            self.error = error

    def _is_saved(self, files: dict[str, object]) -> bool:
        try:
            answer = requests.post(f"{next(self._sidecars).url}/save-for-retrain", files=files, timeout=PATIENCE_S)  # type: ignore[arg-type]
        except requests.RequestException:  # it is killed, or starts
            return False
        assert answer.status_code == 200, answer.text
        return True


@pytest.mark.parametrize(("n_saves", "saves_per_kill"), [(40, 10), pytest.param(500, 5, marks=pytest.mark.soak)])
def test_two_sidecars_on_one_postgresql_lose_nothing_and_keep_nothing_twice_whichever_is_killed(
    tmp_path: Path, postgresql: str, n_saves: int, saves_per_kill: int
) -> None:
    logs = [tmp_path / "log-1", tmp_path / "log-2"]
    sidecars = [Sidecar(tmp_path / "store", log, CRACK_STORE_URL=postgresql) for log in logs]
    waiting = queue.SimpleQueue[int | None]()
    crews = [Crew(sidecars[::step], iter(waiting.get, None)) for step in (1, -1, 1, -1)]
    for seed in (*range(n_saves), *(None for _ in crews)):
        waiting.put(seed)

    def n_acknowledged() -> int:
        assert [crew.error for crew in crews if crew.error] == []
        return sum(len(crew.acknowledged) for crew in crews)

    def kill_again_and_again(sidecar: Sidecar) -> int:
        """How often."""
        for n_kills in itertools.count():
            n_least = n_acknowledged() + saves_per_kill
            if n_least > n_saves:
                return n_kills
            eventually(lambda n_least=n_least: n_acknowledged() >= n_least)
            sidecar.kill()
            sidecar.start()
        raise AssertionError("it never ends")

    for crew in crews:
        crew.start()
    try:
        with ThreadPoolExecutor(len(sidecars)) as pool:
            n_kills = sum(pool.map(kill_again_and_again, sidecars))
        for crew in crews:
            crew.join()
        assert n_acknowledged() == n_saves
    finally:
        for sidecar in sidecars:
            sidecar.kill()
    assert all("is missing" not in log.read_text() for log in logs)
    for path in (tmp_path / "store").rglob("*"):
        os.utime(path, (0, 0))  # what no row refers to has lain long enough to be swept
    store = FeedbackStore(tmp_path / "store", postgresql, quota_bytes=10**9, is_review_required=True)
    items = store.items(list(State), 10**6, 0)
    acknowledged = [item_id for crew in crews for item_id in crew.acknowledged]
    assert len(acknowledged) == len(set(acknowledged)) == n_saves
    assert sorted(item.id for item in items) == sorted(acknowledged)
    files = {
        f"{name}/{path.name}": path
        for name in ("images", "masks", "incoming")
        for path in (tmp_path / "store" / name).iterdir()
    }
    assert files.keys() == {file for item in items for file in (item.image_file, item.mask_file)}
    assert {Image.open(io.BytesIO(path.read_bytes())).size for path in files.values()} == {(24, 24)}
    assert store.n_bytes() == sum(path.stat().st_size for path in files.values())
    print(f"{n_saves} saves, {n_kills} kills, {sum(item.revision for item in items) - n_saves} saved again as nobody had heard")
    store.close()
