"""The door as clients meet it: predictions passed on, feedback kept, everything else refused with a reason."""

import io
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from crack.stores.states import State
from handler.serve import Server
from model.inference.encoding import mask_png
from model.masks import read_mask
from model.synthetic import draw_surface
from sidecar.keys import KeyRing, Right
from tests.conftest import start_server
from tests.photographs import jpeg, noise, png, png_with_header
from tests.ports import NOBODY, free_ports
from tests.sidecars import Sidecar, StartSidecar
from tests.waiting import PATIENCE_S, eventually

SURFACE = draw_surface(seed=5, size_hw=(96, 128))
PHOTOGRAPH, MASK = png(SURFACE.image_hwc_u8), mask_png(SURFACE.mask_hw)


def post(sidecar: Sidecar, route: str, key: str = "", headers: dict[str, str] | None = None, **parts: Any) -> requests.Response:
    """Send bytes as files and text as fields, as multipart."""
    files = {name: (name, value) if isinstance(value, bytes) else (None, value) for name, value in parts.items()}
    headers = (headers or {}) | ({"Authorization": f"Bearer {key}"} if key else {})
    return requests.post(f"{sidecar.url}{route}", files=files or None, headers=headers, timeout=PATIENCE_S)


def get(sidecar: Sidecar, route: str, key: str = "") -> requests.Response:
    return requests.get(f"{sidecar.url}{route}", headers={"Authorization": f"Bearer {key}"} if key else {}, timeout=PATIENCE_S)


def look(sidecar: Sidecar, item_id: str) -> dict[str, str]:
    """The header of a decision about an item as it is now."""
    return {"If-Match": get(sidecar, f"/feedback/{item_id}").headers["ETag"]}


def assert_refused(answer: requests.Response, status: int, code: str) -> str:
    assert (answer.status_code, answer.json()["status"], answer.json()["code"]) == (status, "error", code), answer.text
    return str(answer.json()["message"])


@pytest.fixture
def sidecar(start_sidecar: StartSidecar) -> Sidecar:
    return start_sidecar()


# Predictions


def test_a_prediction_is_torchserves_own_byte_for_byte(sidecar: Sidecar, server: Server) -> None:
    url = f"{server.inference_url}/predictions/crack"
    for response in ("mask", "probability", "overlay"):
        direct = requests.post(url, files={"image": PHOTOGRAPH, "response": (None, response)}, timeout=PATIENCE_S)
        passed_on = post(sidecar, "/predict", image=PHOTOGRAPH, response=response)
        assert passed_on.status_code == 200
        assert passed_on.content == direct.content
        for name in ("Content-Type", "X-Crack-Model-Version", "X-Crack-Threshold", "X-Crack-Ratio", "X-Crack-Score"):
            assert passed_on.headers[name] == direct.headers[name]
        assert passed_on.headers["X-Request-Id"]


def test_options_may_stand_in_the_query_and_the_photograph_be_the_body(sidecar: Sidecar) -> None:
    by_form = post(sidecar, "/predict", image=PHOTOGRAPH, response="mask", threshold="0.3")
    by_query = requests.post(f"{sidecar.url}/predict?response=mask&threshold=0.3", data=PHOTOGRAPH, timeout=PATIENCE_S)
    assert by_query.content == by_form.content
    assert by_query.headers["X-Crack-Threshold"] == "0.3"


def test_what_a_former_archive_answers_without_a_score_is_passed_on(former_sidecar: Sidecar) -> None:
    answer = post(former_sidecar, "/predict", image=PHOTOGRAPH, response="mask")
    assert answer.status_code == 200
    assert "X-Crack-Ratio" in answer.headers
    assert "X-Crack-Score" not in answer.headers


def test_a_bad_photograph_gets_the_handlers_sentence(sidecar: Sidecar) -> None:
    assert "The image is a text file, expected a photograph" in assert_refused(
        post(sidecar, "/predict", image=b"text"), 415, "image_unsupported"
    )
    assert_refused(post(sidecar, "/predict", image=jpeg(noise(90, 90))[:900]), 422, "image_undecodable")
    assert_refused(post(sidecar, "/predict", image=png_with_header(40_000, 40_000)), 413, "image_too_large")
    assert_refused(post(sidecar, "/predict", image=PHOTOGRAPH, threshold="7"), 400, "parameter_invalid")
    assert_refused(requests.post(f"{sidecar.url}/predict", timeout=PATIENCE_S), 400, "image_missing")
    assert "is an empty file" in assert_refused(post(sidecar, "/predict", image=b""), 400, "image_missing")


def test_more_than_the_limit_is_not_read(sidecar: Sidecar) -> None:
    def endless() -> Any:
        for _ in range(60):
            yield bytes(1024 * 1024)

    assert_refused(post(sidecar, "/predict", image=bytes(53 * 1024 * 1024)), 413, "image_too_large")
    chunked = requests.post(f"{sidecar.url}/predict", data=endless(), timeout=PATIENCE_S)
    assert_refused(chunked, 413, "image_too_large")


def test_ready_and_model_say_what_is_served(sidecar: Sidecar) -> None:
    ready, model = get(sidecar, "/ready").json(), get(sidecar, "/model").json()
    assert ready == {"status": "ready", "model_version": model["version"]}
    assert model["card"]["version"] == model["version"]
    assert model["feedback"][State.ACCEPTED] == 0


def test_without_torchserve_clients_are_told_to_come_again(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar(torchserve_url=NOBODY)
    assert get(sidecar, "/ping").status_code == 200
    for answer in (get(sidecar, "/ready"), post(sidecar, "/predict", image=PHOTOGRAPH)):
        assert_refused(answer, 503, "model_unavailable")
        assert int(answer.headers["Retry-After"]) > 0


# Feedback


def test_a_correction_is_kept_reviewed_and_deleted(sidecar: Sidecar) -> None:
    said = {"verdict": "too_thin", "request_id": "r-1", "model_version": "v-1", "note": "by the window"}
    answer = post(sidecar, "/save-for-retrain", image=PHOTOGRAPH, mask=MASK, **said)
    saved = answer.json()
    assert (answer.status_code, saved["status"], saved["state"]) == (200, "saved", "labelled")
    assert saved["waiting"]["labelled"] == 1

    (item,) = get(sidecar, "/feedback").json()["items"]
    assert {name: item[name] for name in said} == said
    assert get(sidecar, f"/feedback/{item['id']}/mask").content == MASK
    image = get(sidecar, f"/feedback/{item['id']}/image")
    assert image.headers["Content-Type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(image.content))), SURFACE.image_hwc_u8)

    reviewed = post(sidecar, f"/feedback/{item['id']}/review", headers=look(sidecar, item["id"]), decision="accept").json()
    assert reviewed["item"]["state"] == "accepted"
    assert [event["state"] for event in reviewed["history"]] == ["labelled", "accepted"]
    assert get(sidecar, "/feedback").json()["items"] == []

    url = f"{sidecar.url}/feedback/{item['id']}"
    assert requests.delete(url, headers=look(sidecar, item["id"]), timeout=PATIENCE_S).json() == {"status": "deleted"}
    assert_refused(get(sidecar, f"/feedback/{item['id']}"), 404, "not_found")


def test_the_accepted_mask_can_be_looked_at_beside_a_newer_one(sidecar: Sidecar) -> None:
    item_id = post(sidecar, "/save-for-retrain", image=PHOTOGRAPH, mask=MASK).json()["id"]
    route = f"/feedback/{item_id}"
    assert_refused(get(sidecar, f"{route}/accepted-mask"), 404, "not_found")
    post(sidecar, f"{route}/review", headers=look(sidecar, item_id), decision="accept")
    post(sidecar, "/save-for-retrain", image=PHOTOGRAPH, mask=mask_png(~SURFACE.mask_hw))
    assert get(sidecar, f"{route}/accepted-mask").content == MASK
    assert get(sidecar, f"{route}/mask").content == mask_png(~SURFACE.mask_hw)


def test_what_was_marked_as_no_crack_goes_along_with_a_correction(sidecar: Sidecar) -> None:
    marked = [{"box": [3, 4, 60, 20], "kind": "joint"}, {"box": [0, 0, 128, 96], "kind": "other"}]
    post(sidecar, "/save-for-retrain", image=PHOTOGRAPH, mask=MASK, look_alikes=json.dumps(marked))
    (item,) = get(sidecar, "/feedback").json()["items"]
    assert item["look_alikes"] == marked
    outside = json.dumps([{"box": [3, 4, 129, 20], "kind": "joint"}])
    refused = post(sidecar, "/save-for-retrain", image=PHOTOGRAPH, mask=MASK, look_alikes=outside)
    assert_refused(refused, 400, "parameter_invalid")


def test_a_reviewers_own_mask_replaces_the_label(sidecar: Sidecar) -> None:
    saved = post(sidecar, "/save-for-retrain", image=PHOTOGRAPH, verdict="missed_crack").json()
    assert saved["state"] == "needs_label"
    route, seen = f"/feedback/{saved['id']}/review", look(sidecar, saved["id"])
    assert_refused(post(sidecar, route, headers=seen, decision="accept"), 409, "state_conflict")
    assert_refused(post(sidecar, route, headers=seen, decision="perhaps"), 400, "parameter_invalid")
    assert post(sidecar, route, headers=seen, mask=MASK).json()["item"]["state"] == "accepted"
    assert np.array_equal(read_mask(get(sidecar, f"/feedback/{saved['id']}/mask").content, (96, 128)), SURFACE.mask_hw)


@pytest.mark.parametrize("threshold", ["0.05", "0.6"])
def test_the_models_own_mask_is_not_learned_from_whatever_its_threshold(sidecar: Sidecar, threshold: str) -> None:
    mask = post(sidecar, "/predict", image=PHOTOGRAPH, response="mask", threshold=threshold).content
    assert post(sidecar, "/save-for-retrain", image=PHOTOGRAPH, mask=mask).json()["state"] == "noted"
    painted = np.asarray(Image.open(io.BytesIO(mask))) > 0
    assert painted.any()  # an empty one says that there is no crack, which is a label whoever drew it
    painted = painted ^ (np.arange(128) < 3)  # a stroke with the brush
    assert post(sidecar, "/save-for-retrain", image=PHOTOGRAPH, mask=mask_png(painted)).json()["state"] == "labelled"


@pytest.mark.parametrize(
    ("parts", "status", "code"),
    [
        ({"verdict": "correct"}, 400, "image_missing"),
        ({"image": PHOTOGRAPH}, 400, "parameter_invalid"),
        ({"image": PHOTOGRAPH, "verdict": "meh"}, 400, "parameter_invalid"),
        ({"image": PHOTOGRAPH, "verdict": "other", "note": "x" * 3000}, 400, "parameter_invalid"),
        ({"image": b"text", "verdict": "correct"}, 415, "image_unsupported"),
        ({"image": PHOTOGRAPH, "mask": mask_png(SURFACE.mask_hw.T)}, 422, "mask_invalid"),
        ({"image": PHOTOGRAPH, "mask": PHOTOGRAPH}, 422, "mask_invalid"),
        ({"image": PHOTOGRAPH, "mask": MASK, "verdict": "no_crack"}, 422, "mask_invalid"),
    ],
)
def test_what_is_no_feedback_is_refused_and_leaves_nothing(
    sidecar: Sidecar, parts: dict[str, Any], status: int, code: str
) -> None:
    assert_refused(post(sidecar, "/save-for-retrain", **parts), status, code)
    assert sum(get(sidecar, "/model").json()["feedback"].values()) == 0
    assert [path for name in ("images", "masks", "incoming") for path in (sidecar.folder / name).iterdir()] == []


def test_names_of_uploads_are_never_used_as_paths(sidecar: Sidecar, tmp_path: Path) -> None:
    files = {"image": ("../../../outside.png", PHOTOGRAPH), "verdict": (None, "other")}
    saved = requests.post(f"{sidecar.url}/save-for-retrain", files=files, timeout=PATIENCE_S).json()
    assert [path.name for path in (sidecar.folder / "images").iterdir()] == [f"{saved['id']}.png"]
    assert list(tmp_path.rglob("outside*")) == []
    assert_refused(get(sidecar, "/feedback/..%2F..%2Fkeys.json/image"), 404, "not_found")


# Who may


def test_a_key_is_asked_for_and_has_its_rights(start_sidecar: StartSidecar, tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys.json")
    crew, eve = ring.add("crew-7", [Right.PREDICT]), ring.add("eve", list(Right))
    sidecar = start_sidecar(CRACK_KEYS_FILE=str(tmp_path / "keys.json"))
    assert_refused(post(sidecar, "/predict", image=PHOTOGRAPH), 401, "key_invalid")
    assert_refused(post(sidecar, "/predict", key=crew + "x", image=PHOTOGRAPH), 401, "key_invalid")
    assert post(sidecar, "/predict", key=crew, image=PHOTOGRAPH).status_code == 200
    refused = post(sidecar, "/save-for-retrain", key=crew, image=PHOTOGRAPH, verdict="correct")
    assert "'crew-7' does not have the right to feedback" in assert_refused(refused, 403, "not_permitted")
    assert post(sidecar, "/save-for-retrain", key=eve, image=PHOTOGRAPH, verdict="correct").status_code == 200
    (item,) = get(sidecar, "/feedback?state=noted", key=eve).json()["items"]
    assert get(sidecar, f"/feedback/{item['id']}", key=eve).json()["history"][0]["who"] == "eve"
    log = sidecar.log_path.read_text()
    assert crew not in log
    assert eve not in log


def test_a_page_elsewhere_may_not_send_anything(sidecar: Sidecar) -> None:
    elsewhere = post(
        sidecar, "/save-for-retrain", headers={"Origin": "https://evil.example"}, image=PHOTOGRAPH, verdict="other"
    )
    assert_refused(elsewhere, 403, "origin_refused")
    own = post(sidecar, "/save-for-retrain", headers={"Origin": sidecar.url}, image=PHOTOGRAPH, verdict="other")
    assert own.status_code == 200


def test_of_a_thousand_posts_at_once_the_permitted_ones_are_saved_and_the_others_told_to_come_again(
    start_sidecar: StartSidecar, tmp_path: Path
) -> None:
    """Fifty in each minute that they take, which is one unless the machine is slow."""
    key = KeyRing(tmp_path / "keys.json").add("crew-7", list(Right))
    sidecar = start_sidecar(CRACK_REQUESTS_PER_MINUTE="50", CRACK_KEYS_FILE=str(tmp_path / "keys.json"))
    started = time.monotonic()
    with ThreadPoolExecutor(32) as clients:
        answers = list(
            clients.map(lambda _: post(sidecar, "/save-for-retrain", key, image=PHOTOGRAPH, verdict="other"), range(1000))
        )
    n_minutes = 1 + int((time.monotonic() - started) // 60)
    n_saved = sum(answer.status_code == 200 for answer in answers)
    assert 50 <= n_saved <= 50 * n_minutes
    assert Counter(answer.status_code for answer in answers) == {200: n_saved, 429: 1000 - n_saved}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert_refused(refused, 429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60


def test_who_only_looks_locks_nobody_out_of_predictions(start_sidecar: StartSidecar, tmp_path: Path) -> None:
    key = KeyRing(tmp_path / "keys.json").add("page", list(Right))
    sidecar = start_sidecar(CRACK_REQUESTS_PER_MINUTE="5", CRACK_KEYS_FILE=str(tmp_path / "keys.json"))
    assert 429 in {get(sidecar, "/retrain", key).status_code for _ in range(10)}
    assert post(sidecar, "/predict", key, image=PHOTOGRAPH).status_code == 200


def test_without_keys_nobody_on_this_machine_is_counted(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar(CRACK_REQUESTS_PER_MINUTE="5")
    assert {get(sidecar, "/retrain").status_code for _ in range(20)} == {200}


# As other clients send it


def test_a_picture_that_came_as_text_is_told_how(sidecar: Sidecar) -> None:
    for height, width in ((96, 128), (800, 900)):  # the second has more than form fields may
        form = {"image": (None, png(noise(height, width)))}
        answer = requests.post(f"{sidecar.url}/predict", files=form, timeout=PATIENCE_S)
        assert "image=@photo.jpg" in assert_refused(answer, 400, "parameter_invalid")


def test_a_forms_media_type_is_known_in_any_case(sidecar: Sidecar) -> None:
    prepared = requests.Request("POST", f"{sidecar.url}/predict", files={"image": PHOTOGRAPH}).prepare()
    prepared.headers["Content-Type"] = prepared.headers["Content-Type"].replace("multipart/form-data", "Multipart/Form-Data")
    assert requests.Session().send(prepared, timeout=PATIENCE_S).status_code == 200


@pytest.mark.parametrize("is_key_required", [False, True])
def test_the_command_that_the_log_proposes_sends_a_key_if_one_is_required(
    start_sidecar: StartSidecar, tmp_path: Path, is_key_required: bool
) -> None:
    if is_key_required:
        KeyRing(tmp_path / "keys.json").add("crew-7", [Right.PREDICT])
    sidecar = start_sidecar(CRACK_KEYS_FILE=str(tmp_path / "keys.json"))
    eventually(lambda: "  curl " in sidecar.log_path.read_text())
    (command,) = [line for line in sidecar.log_path.read_text().splitlines() if line.startswith("  curl ")]
    assert ("Authorization: Bearer KEY" in command) == is_key_required


def test_bearer_is_known_in_any_case(start_sidecar: StartSidecar, tmp_path: Path) -> None:
    key = KeyRing(tmp_path / "keys.json").add("crew-7", [Right.PREDICT])
    sidecar = start_sidecar(CRACK_KEYS_FILE=str(tmp_path / "keys.json"))
    assert post(sidecar, "/predict", headers={"authorization": f"bearer {key}"}, image=PHOTOGRAPH).status_code == 200
    assert post(sidecar, "/predict", headers={"authorization": key}, image=PHOTOGRAPH).status_code == 401


# What is told


def test_every_error_the_description_promises_is_in_one_form(sidecar: Sidecar) -> None:
    for answer in (
        get(sidecar, "/nowhere"),
        get(sidecar, "/feedback?limit=0"),
        requests.put(f"{sidecar.url}/ping", timeout=PATIENCE_S),
    ):
        assert answer.json().keys() == {"status", "code", "message"}
    description = get(sidecar, "/openapi.json").json()
    assert {"/predict", "/save-for-retrain", "/feedback", "/retrain", "/model", "/ready", "/ping", "/metrics"} <= set(
        description["paths"]
    )
    assert "image_undecodable" in json.dumps(description["components"]["schemas"]["ErrorCode"])


def test_the_description_shows_the_keys_and_headers_of_a_real_answer(sidecar: Sidecar) -> None:
    described = get(sidecar, "/openapi.json").json()["paths"]["/predict"]["post"]["responses"]["200"]
    answer = post(sidecar, "/predict", image=PHOTOGRAPH)
    assert list(described["content"]["application/json"]["example"]) == list(answer.json())
    assert all(name in answer.headers for name in described["headers"])


def test_each_request_is_one_line_of_the_log(sidecar: Sidecar) -> None:
    answer = post(sidecar, "/predict", image=PHOTOGRAPH)
    # The line comes after the answer.
    (line,) = eventually(lambda: re.findall(r"^.*route=/predict .*\n", sidecar.log_path.read_text(), re.MULTILINE))
    assert f"id={answer.headers['X-Request-Id']}" in line
    assert "code=200" in line
    assert f"model={answer.headers['X-Crack-Model-Version']}" in line


def test_what_prometheus_and_probes_ask_for_is_no_line_of_the_log_while_it_is_answered(sidecar: Sidecar) -> None:
    for path in ("/ping", "/ready", "/metrics", "/ready"):
        assert get(sidecar, path).ok
    get(sidecar, "/feedback/none")
    assert eventually(lambda: re.findall(r"route=(\S+) code=404", sidecar.log_path.read_text())) == ["/feedback/{item_id}"]
    assert re.findall(r"route=/(?:ping|ready|metrics) ", sidecar.log_path.read_text()) == []


def test_each_accepted_label_brings_the_next_retraining_nearer(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar(CRACK_REVIEW="automatic", CRACK_RETRAIN_AFTER_LABELS="2")
    post(sidecar, "/save-for-retrain", image=PHOTOGRAPH, mask=MASK, verdict="too_thin")
    assert get(sidecar, "/retrain").json()["labels_until_next"] == 1


def test_a_retraining_is_queued_once(sidecar: Sidecar) -> None:
    assert get(sidecar, "/retrain").json() == {"job": None, "history": [], "labels_until_next": 50}
    first, second = post(sidecar, "/retrain"), post(sidecar, "/retrain")
    assert (first.status_code, first.json()["job"]["state"]) == (202, "queued")
    assert second.json() == first.json() == get(sidecar, "/retrain").json()


# Kills


def test_torchserve_may_go_and_come_back_under_load(start_sidecar: StartSidecar, tmp_path: Path) -> None:
    """Clients see 503 with Retry-After, then masks again; a correction is saved, and checked afterwards; the sidecar stays."""
    ports = free_ports(5)
    names = ("inference_address", "management_address", "metrics_address")
    addresses = {name: f"http://127.0.0.1:{port}" for name, port in zip(names, ports, strict=False)}
    settings = addresses | {"grpc_inference_port": str(ports[3]), "grpc_management_port": str(ports[4])}
    torchserve = start_server(tmp_path / "first", settings)
    answers: list[list[requests.Response]] = [[] for _ in range(3)]  # of each client
    is_over = threading.Event()

    def everybody_gets(status: int) -> bool:
        return all(own and own[-1].status_code == status for own in answers)

    try:
        torchserve.wait_until_ready(PATIENCE_S)
        sidecar = start_sidecar(torchserve_url=torchserve.inference_url, CRACK_REQUESTS_PER_MINUTE="100000")

        def ask(own: list[requests.Response]) -> None:
            while not is_over.is_set():
                own.append(post(sidecar, "/predict", image=PHOTOGRAPH, response="mask"))
                time.sleep(0.02)

        clients = [threading.Thread(target=ask, args=(own,)) for own in answers]
        for client in clients:
            client.start()
        eventually(lambda: everybody_gets(200))
        torchserve.stop()
        eventually(lambda: everybody_gets(503))
        saved = post(sidecar, "/save-for-retrain", image=PHOTOGRAPH, mask=MASK).json()
        assert (saved["state"], saved["own_mask_check"]) == ("labelled", "pending")
        torchserve = start_server(tmp_path / "second", settings)
        torchserve.wait_until_ready(PATIENCE_S)
        eventually(lambda: everybody_gets(200))
        eventually(lambda: get(sidecar, f"/feedback/{saved['id']}").json()["item"]["own_mask_check"] is None)
        is_over.set()
        for client in clients:
            client.join()
    finally:
        is_over.set()
        torchserve.stop()
    assert {answer.status_code for own in answers for answer in own} == {200, 503}
    assert everybody_gets(200)
    for answer in (answer for own in answers for answer in own if answer.status_code == 503):
        assert_refused(answer, 503, "model_unavailable")
        assert answer.headers["Retry-After"]
    assert sidecar.process.poll() is None


def test_nothing_that_the_description_allows_makes_a_server_error_or_an_answer_it_does_not_tell(
    start_sidecar: StartSidecar, tmp_path: Path
) -> None:
    sidecar = start_sidecar(CRACK_REQUESTS_PER_MINUTE="100000")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{sidecar.url}/openapi.json", "--checks", checks]
    finished = subprocess.run(
        [
            *[*command, "--max-examples", "40", "--seed", "1", "--no-color", "--report-dir", str(tmp_path)],
            *["--request-timeout", str(PATIENCE_S), "--suppress-health-check", "too_slow"],
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-6000:]
