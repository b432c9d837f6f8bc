"""Inspections through the sidecar's routes: what is kept, told, changed, refused and forgotten."""

import hashlib
import io
import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import ExifTags, Image

from handler.serve import Server
from inspection.findings import Mark
from inspection.rows import Row, Status
from inspection.taken import Taken
from model.inference.errors import ErrorCode, RequestError
from model.synthetic import draw_surface
from sidecar.feedback import FeedbackStore
from sidecar.files import MOST_LEFT, SET_ASIDE
from sidecar.inspections import Head, InspectionStore, Kept
from sidecar.keys import KeyRing, Right
from tests.photographs import heic, jpeg, noise, png
from tests.sidecars import Sidecar, StartSidecar
from tests.surveyed import exif
from tests.waiting import PATIENCE_S

SURFACE = draw_surface(3, (240, 320))
WALL = jpeg(SURFACE.image_hwc_u8, exif=exif(47.3701, 8.5412))
HEAD = {"name": "Spring", "structure": "Bridge 7", "element": "Pier 3", "date": "2026-05-01", "inspector": "M. Weber"}
MASK = np.zeros((240, 320), np.uint8)
MASK[100:104, 40:240] = 255  # 200 x 4 pixels


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def sidecar(server: Server, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Sidecar]:
    folder = tmp_path_factory.mktemp("inspections")
    is_shared = request.param == "postgresql"
    where = {"CRACK_STORE_URL": request.getfixturevalue("postgresql_server").database()} if is_shared else {}
    sidecar = Sidecar(folder / "store", folder / "log", server.inference_url, server.management_url, **where)
    yield sidecar
    sidecar.stop()


def ask(sidecar: Sidecar, method: str, route: str, status: int = 200, **request: Any) -> requests.Response:
    answer = requests.request(method, f"{sidecar.url}/inspections{route}", timeout=PATIENCE_S, **request)
    assert answer.status_code == status, answer.text
    return answer


def begin(sidecar: Sidecar, **fields: str) -> str:
    return str(ask(sidecar, "POST", "", data=HEAD | fields).json()["id"])


def add(sidecar: Sidecar, inspection: str, photograph: bytes = WALL, name: str = "wall.jpg", **fields: str) -> dict[str, Any]:
    files = {"image": (name, photograph)}
    return dict(ask(sidecar, "POST", f"/{inspection}/photographs", files=files, data=fields).json())


def change(sidecar: Sidecar, route: str, etag: str, status: int = 200, **fields: str | bytes) -> Any:
    """Texts as fields, bytes as a file."""
    files = {name: (None if isinstance(value, str) else name, value) for name, value in fields.items()}
    return ask(sidecar, "POST", route, status, files=files, headers={"If-Match": etag}).json()


def stored(sidecar: Sidecar) -> list[Path]:
    folder = sidecar.folder.with_name(f"{sidecar.folder.name}-inspections")
    return [path for path in folder.rglob("*") if path.is_file()]


def test_an_inspection_is_begun_listed_said_anew_and_read_by_a_colleague(sidecar: Sidecar) -> None:
    made = ask(sidecar, "POST", "", data=HEAD).json()
    assert {name: made[name] for name in HEAD} == HEAD
    assert ask(sidecar, "GET", "").json()["items"][0] == made
    changed = ask(sidecar, "POST", f"/{made['id']}", data=HEAD | {"element": "Pier 4"}).json()
    assert changed["element"] == "Pier 4"
    assert ask(sidecar, "GET", f"/{made['id']}").json() == changed


@pytest.mark.parametrize("wrong", [{"name": " "}, {"date": "yesterday"}, {"structure": "x" * 201}, {"position": "maybe"}])
def test_what_is_wrong_about_an_inspection_is_named(sidecar: Sidecar, wrong: dict[str, str]) -> None:
    (field,) = wrong
    answer = ask(sidecar, "POST", "", 400, data=HEAD | wrong).json()
    assert answer["code"] == "parameter_invalid"
    assert field in answer["message"]


def test_a_photograph_is_kept_with_its_cracks_its_probability_and_a_thumbnail(sidecar: Sidecar) -> None:
    inspection = begin(sidecar)
    added = add(sidecar, inspection)
    assert (added["name"], added["state"], added["has_mask"]) == ("wall.jpg", "unseen", False)
    assert (added["height"], added["width"]) == (240, 320)
    assert len(added["cracks"]) == len(added["lines"]) == added["n_cracks"] > 0
    route = f"/{inspection}/photographs/{added['id']}"
    assert ask(sidecar, "GET", route).json() == added
    levels = np.asarray(Image.open(io.BytesIO(ask(sidecar, "GET", f"{route}/levels").content)))
    assert round(float((levels >= 255 * added["threshold"]).mean()), 4) == round(added["crack_ratio"], 4)
    shown = np.asarray(Image.open(io.BytesIO(ask(sidecar, "GET", f"{route}/image").content)))
    assert np.array_equal(shown, np.asarray(Image.open(io.BytesIO(WALL))))
    (listed,) = ask(sidecar, "GET", f"/{inspection}/photographs").json()["items"]
    assert listed == {name: value for name, value in added.items() if name not in ("cracks", "lines")}
    assert ask(sidecar, "GET", f"{route}/mask", 404).json()["code"] == "not_found"


def test_the_same_photograph_again_is_the_one_that_is_there_and_the_same_name_gets_a_number(sidecar: Sidecar) -> None:
    inspection = begin(sidecar)
    added = add(sidecar, inspection)
    assert add(sidecar, inspection) == added
    other = add(sidecar, inspection, jpeg(draw_surface(4, (240, 320)).image_hwc_u8))
    assert other["name"] == "wall (2).jpg"
    assert ask(sidecar, "GET", f"/{inspection}").json()["n_photographs"] == 2


def test_a_state_a_painted_mask_a_threshold_and_a_scale_are_kept_and_the_cracks_follow(sidecar: Sidecar) -> None:
    inspection = begin(sidecar)
    added = add(sidecar, inspection)
    route = f"/{inspection}/photographs/{added['id']}"
    fields = {"state": "corrected", "mm_per_px": "0.2", "scale_note": "By ruler.", "note": "spalling beside it"}
    painted = change(sidecar, route, added["etag"], mask=png(MASK), **fields)
    (crack,) = painted["cracks"]
    assert crack["length_mm"] == pytest.approx(40, abs=2)
    assert painted["scale"] == {"mm_per_px": 0.2, "scale_source": "given", "scale_note": "By ruler."}
    assert (painted["state"], painted["note"], painted["has_mask"]) == ("corrected", "spalling beside it", True)
    kept_mask = np.asarray(Image.open(io.BytesIO(ask(sidecar, "GET", f"{route}/mask").content)))
    assert np.array_equal(kept_mask, MASK)
    assert ask(sidecar, "GET", f"/{inspection}").json()["n_by_state"]["corrected"] == 1

    again = change(sidecar, route, painted["etag"], threshold="0.9", mask="")
    assert (again["has_mask"], again["threshold"], again["state"]) == (False, 0.9, "corrected")
    assert again["crack_ratio"] < added["crack_ratio"]
    back = change(sidecar, route, again["etag"], threshold="", mm_per_px="", state="confirmed")
    assert (back["cracks"], back["threshold"], back["scale"]) == (added["cracks"], added["model_threshold"], None)


def test_zones_and_look_alikes_are_kept_and_what_is_in_a_zone_is_no_crack(sidecar: Sidecar) -> None:
    inspection = begin(sidecar)
    added = add(sidecar, inspection)
    route = f"/{inspection}/photographs/{added['id']}"
    zones, marked = [[0, 0, 140, 240]], [{"box": [150, 90, 160, 110], "kind": "joint"}]  # half of the painted line
    said = {"zones": json.dumps(zones), "look_alikes": json.dumps(marked)}
    left = change(sidecar, route, added["etag"], mask=png(MASK), **said)
    (crack,) = left["cracks"]
    assert crack["length_px"] == pytest.approx(100, abs=3)
    assert left["crack_ratio"] == pytest.approx(4 * 100 / (240 * 180), abs=1e-5)
    assert (left["zones"], left["look_alikes"]) == (zones, marked)
    assert ask(sidecar, "GET", route).json() == left
    kept_mask = np.asarray(Image.open(io.BytesIO(ask(sidecar, "GET", f"{route}/mask").content)))
    assert np.array_equal(kept_mask, MASK)
    again = change(sidecar, route, left["etag"], zones="[]")
    assert again["cracks"][0]["length_px"] == pytest.approx(200, abs=3)
    assert again["look_alikes"] == marked


def test_nobody_overwrites_what_they_have_not_seen(sidecar: Sidecar) -> None:
    inspection = begin(sidecar)
    added = add(sidecar, inspection)
    route = f"/{inspection}/photographs/{added['id']}"
    confirmed = change(sidecar, route, added["etag"], state="confirmed")
    refused = change(sidecar, route, added["etag"], status=409, state="rejected")
    assert refused["code"] == "state_conflict"
    assert "local changed it on" in refused["message"]
    assert ask(sidecar, "GET", route).json() == confirmed
    assert ask(sidecar, "POST", route, 428, files={"state": (None, "rejected")}).json()["code"] == "precondition_required"
    assert ask(sidecar, "DELETE", route, 409, headers={"If-Match": added["etag"]}).json()["code"] == "state_conflict"


WRONG = [
    ({"state": "seen"}, 400, "parameter_invalid"),
    ({"threshold": "2"}, 400, "parameter_invalid"),
    ({"mm_per_px": "-1"}, 400, "parameter_invalid"),
    ({"zones": "[[0, 0, 321, 9]]"}, 400, "parameter_invalid"),
    ({"look_alikes": '[{"box": [0, 0, 9, 9], "kind": "pipe"}]'}, 400, "parameter_invalid"),
    ({"mask": "painted"}, 400, "parameter_invalid"),
]


@pytest.mark.parametrize(("fields", "status", "code"), WRONG)
def test_what_is_wrong_about_a_photograph_is_refused_and_changes_nothing(
    sidecar: Sidecar, fields: dict[str, str], status: int, code: str
) -> None:
    inspection = begin(sidecar)
    added = add(sidecar, inspection)
    route = f"/{inspection}/photographs/{added['id']}"
    assert change(sidecar, route, added["etag"], status=status, **fields)["code"] == code
    assert change(sidecar, route, added["etag"], status=422, mask=png(MASK[:100]))["code"] == "mask_invalid"
    assert ask(sidecar, "GET", route).json() == added


def test_what_is_no_photograph_is_refused_as_by_predict(sidecar: Sidecar) -> None:
    inspection = begin(sidecar)
    route = f"/{inspection}/photographs"
    assert ask(sidecar, "POST", route, 415, files={"image": ("a.jpg", b"text")}).json()["code"] == "image_unsupported"
    assert ask(sidecar, "POST", route, 422, files={"image": ("a.jpg", WALL[:900])}).json()["code"] == "image_undecodable"
    assert ask(sidecar, "POST", route, 400).json()["code"] == "image_missing"
    assert ask(sidecar, "POST", "/nowhere/photographs", 404, files={"image": WALL}).json()["code"] == "not_found"
    assert ask(sidecar, "GET", f"/{inspection}").json()["n_photographs"] == 0


@pytest.mark.parametrize("encode", [lambda: WALL, lambda: heic(SURFACE.image_hwc_u8, exif=exif(47.3701, 8.5412).tobytes())])
def test_where_a_photograph_was_taken_is_kept_only_where_that_was_asked_for(sidecar: Sidecar, encode: Any) -> None:
    for position in ("dropped", "kept"):
        inspection = begin(sidecar, position=position)
        added = add(sidecar, inspection, encode())
        told = added.get("taken", {})
        assert told == ({"at": "2026-05-01T10:20:30", "latitude": 47.3701, "longitude": 8.5412} if position == "kept" else {})
        kept = ask(sidecar, "GET", f"/{inspection}/photographs/{added['id']}/image").content
        assert not Image.open(io.BytesIO(kept)).getexif().get_ifd(ExifTags.IFD.GPSInfo)
    ask(sidecar, "POST", f"/{inspection}", data=HEAD | {"position": "dropped"})
    assert "taken" not in ask(sidecar, "GET", f"/{inspection}/photographs/{added['id']}").json()


def test_an_inspection_is_deleted_with_all_that_it_holds_and_no_other(sidecar: Sidecar) -> None:
    before = {path.name for path in stored(sidecar)}
    kept_one, gone = begin(sidecar), begin(sidecar, name="Gone tomorrow")
    other = jpeg(draw_surface(11, (240, 320)).image_hwc_u8)
    add(sidecar, kept_one)
    for photograph in (WALL, other):
        added = add(sidecar, gone, photograph)
        change(sidecar, f"/{gone}/photographs/{added['id']}", added["etag"], mask=png(MASK), note="the old mill")
    ask(sidecar, "DELETE", f"/{gone}")
    assert ask(sidecar, "GET", f"/{gone}", 404).json()["code"] == "not_found"
    assert ask(sidecar, "GET", f"/{gone}/photographs", 404).json()["code"] == "not_found"
    shown = ask(sidecar, "GET", f"/{kept_one}/photographs/{hashlib.sha256(WALL).hexdigest()}/image")
    assert Image.open(io.BytesIO(shown.content)).size == (320, 240)
    left = {path.name for path in stored(sidecar)} - before
    assert len(left) == 2 or before  # one photograph and its levels
    assert not any(b"old mill" in path.read_bytes() or b"Gone tomorrow" in path.read_bytes() for path in stored(sidecar))


def test_a_restart_loses_nothing(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar()
    inspection = begin(sidecar)
    added = add(sidecar, inspection)
    route = f"/{inspection}/photographs/{added['id']}"
    painted = change(sidecar, route, added["etag"], mask=png(MASK), state="corrected")
    sidecar.kill()
    sidecar.start()
    assert ask(sidecar, "GET", route).json() == painted
    assert ask(sidecar, "GET", f"{route}/mask").status_code == 200


def test_who_may_predict_keeps_inspections_and_who_may_review_deletes_them(start_sidecar: StartSidecar, tmp_path: Path) -> None:
    keys = KeyRing(tmp_path / "store" / "keys.json")
    key = {right: {"Authorization": f"Bearer {keys.add(right, [right])}"} for right in Right}
    sidecar = start_sidecar(tmp_path / "store")
    inspection = ask(sidecar, "POST", "", data=HEAD, headers=key[Right.PREDICT]).json()
    assert inspection["made_by"] == "predict"
    for right in (Right.FEEDBACK, Right.REVIEW):
        assert ask(sidecar, "GET", "", 403, headers=key[right]).json()["code"] == "not_permitted"
    assert ask(sidecar, "GET", "", 401).json()["code"] == "key_invalid"
    assert ask(sidecar, "DELETE", f"/{inspection['id']}", 403, headers=key[Right.PREDICT]).json()["code"] == "not_permitted"
    ask(sidecar, "DELETE", f"/{inspection['id']}", headers=key[Right.REVIEW])


# --- the store, without a server

LEVELS = png(noise(24, 24)[..., 0])


def photograph(inspection_id: str, number: int) -> tuple[Kept, dict[str, bytes]]:
    content = png(noise(24, 24, number))
    digest = hashlib.sha256(content).hexdigest()
    row = Row(f"{number}.png", Status.PREDICTED, len(content), 0, digest, height=24, width=24, cracks=[], lines=[])
    image_file, levels_file = f"images/{digest}.png", f"levels/{digest}.png"
    found = Kept(inspection_id, digest, Mark.UNSEEN, row, Taken(), image_file, levels_file, None, 0.5)
    return found, {image_file: content, levels_file: LEVELS}


def test_the_quota_counts_files_and_index_and_what_is_refused_leaves_nothing(tmp_path: Path) -> None:
    store = InspectionStore(tmp_path, quota_bytes=90_000)
    inspection = store.create(Head("Spring"), "crew-7")

    def add_all() -> None:
        for number in itertools.count():
            store.add(*photograph(inspection.id, number), "crew-7")

    def begin_all() -> None:
        for number in itertools.count():
            store.create(Head(f"{number} {'x' * 190}"), "crew-7")

    with pytest.raises(RequestError, match="CRACK_INSPECTIONS_QUOTA_GB") as refused:
        add_all()
    assert refused.value.code is ErrorCode.STORAGE_FULL
    n_added = store.get(inspection.id).n_photographs
    assert n_added > 0
    assert store.n_bytes() <= 90_000
    assert len(list((tmp_path / "images").iterdir())) == n_added
    with pytest.raises(RequestError, match="CRACK_INSPECTIONS_QUOTA_GB"):
        begin_all()
    store.delete(inspection.id, "chief")
    other = store.create(Head("Autumn"), "crew-7")
    store.add(*photograph(other.id, 1), "crew-7")
    store.close()


def test_a_store_has_one_owner(tmp_path: Path) -> None:
    store = InspectionStore(tmp_path, 10**9)
    with pytest.raises(BlockingIOError):
        InspectionStore(tmp_path, 10**9)
    store.close()


def test_what_a_kill_left_behind_is_swept(tmp_path: Path) -> None:
    InspectionStore(tmp_path, 10**9).close()
    (tmp_path / "images" / "left.png").write_bytes(b"left")
    InspectionStore(tmp_path, 10**9).close()
    assert not list((tmp_path / "images").iterdir())


def test_more_files_than_a_kill_leaves_are_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As if an older index had been restored."""
    InspectionStore(tmp_path, 10**9).close()
    names = {f"{number}.png" for number in range(MOST_LEFT + 1)}
    for name in names:
        (tmp_path / "images" / name).write_bytes(b"precious")
    InspectionStore(tmp_path, 10**9).close()
    assert {path.name for path in (tmp_path / SET_ASIDE / "images").iterdir()} == names
    assert f"{len(names)} files" in caplog.text


@pytest.mark.parametrize("is_a_store", [True, False])
def test_files_of_another_program_or_store_are_neither_removed_nor_closed(tmp_path: Path, is_a_store: bool) -> None:
    if is_a_store:
        store = InspectionStore(tmp_path, 10**9)
        store.add(*photograph(store.create(Head("Autumn"), "crew-7").id, 1), "crew-7")
        store.close()
    else:
        (tmp_path / "masks").mkdir()
        (tmp_path / "masks" / "wall.png").write_bytes(b"precious")
    before = set(tmp_path.rglob("*.png"))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"no store of feedback knows them.*CRACK_FEEDBACK_DIR"):
            FeedbackStore(tmp_path, quota_bytes=10**9, is_review_required=True)
    assert before == set(tmp_path.rglob("*.png"))


class Crew(threading.Thread):
    """Begins an inspection and decides about photographs of it, until the sidecar is killed; notes what was acknowledged."""

    def __init__(self, sidecar: Sidecar) -> None:
        super().__init__()
        self.sidecar, self.states = sidecar, dict[str, str]()
        self.inspection, self.added = begin(sidecar), list[dict[str, Any]]()
        for seed in (1, 2):
            self.added.append(add(sidecar, self.inspection, jpeg(noise(32, 32, seed)), name=f"{seed}.jpg"))
        self.etags = {each["id"]: each["etag"] for each in self.added}

    def run(self) -> None:
        for number in itertools.count():
            each = self.added[number % len(self.added)]["id"]
            state = list(Mark)[number % len(Mark)].value
            route = f"/{self.inspection}/photographs/{each}"
            mask = png(np.eye(32, dtype=np.uint8) * 255 if number % 3 else np.eye(32, k=number % 7, dtype=np.uint8) * 255)
            try:
                done = change(self.sidecar, route, self.etags[each], mask=mask, state=state)
            except requests.RequestException:
                return
            self.etags[each] = done["etag"]
            self.states[each] = state


def test_killed_at_any_moment_it_has_every_decision_that_was_acknowledged(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar()
    rng = np.random.default_rng(0)
    for _ in range(3):
        crews = [Crew(sidecar) for _ in range(2)]
        for crew in crews:
            crew.start()
        time.sleep(rng.uniform(0.3, 1.2))
        sidecar.kill()
        for crew in crews:
            crew.join()
        sidecar.start()
        for crew in crews:
            for each, state in crew.states.items():
                route = f"/{crew.inspection}/photographs/{each}"
                found = ask(sidecar, "GET", route).json()
                # The one after the last that was acknowledged may have been kept too, whole.
                assert found["state"] == state or found["etag"] != crew.etags[each]
                for part in ("image", "levels", "mask"):
                    Image.open(io.BytesIO(ask(sidecar, "GET", f"{route}/{part}").content)).load()
