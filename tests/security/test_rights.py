"""Requests nobody thought of: at the sidecar, from its description, with a key of each right; and at the page."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from sidecar.keys import KeyRing, Right
from tests.pages import ServedPage
from tests.ports import NOBODY
from tests.sidecars import StartSidecar
from tests.waiting import PATIENCE_S

ASKED = re.compile(r"method=(\w+) route=(\S+) code=(\d+)")
ANYBODY = {("GET", "/ping"), ("GET", "/ready"), ("GET", "/metrics"), ("GET", "none")}  # the last: the description itself
INSPECTION = "/inspections/{inspection_id}"
KEPT = f"{INSPECTION}/photographs/{{photograph_id}}"
GRANTED = {
    Right.PREDICT: {
        *(("POST", "/predict"), ("GET", "/model"), ("GET", "/retrain")),
        *(("GET", "/inspections"), ("POST", "/inspections"), ("GET", INSPECTION), ("POST", INSPECTION)),
        *(("GET", f"{INSPECTION}/report"), ("GET", f"{INSPECTION}/photographs"), ("POST", f"{INSPECTION}/photographs")),
        *(("GET", KEPT), ("GET", f"{KEPT}/{{part}}"), ("POST", KEPT)),
    },
    Right.FEEDBACK: {("POST", "/save-for-retrain")},
    Right.REVIEW: {
        *(("GET", "/feedback"), ("GET", "/feedback/{item_id}"), ("GET", "/feedback/{item_id}/{part}")),
        *(("POST", "/feedback/{item_id}/review"), ("DELETE", "/feedback/{item_id}"), ("POST", "/retrain")),
        ("DELETE", "/retrain"),
        *(("DELETE", INSPECTION), ("DELETE", KEPT)),
    },
}
WITHOUT_TORCHSERVE = {("POST", "/predict"), ("GET", "/model"), ("GET", "/ready"), ("POST", f"{INSPECTION}/photographs")}


def attack(url: str, key: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Send what Schemathesis makes of the description at `url`, valid and not."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", url, "--header", f"Authorization: Bearer {key}"]
    checks = "status_code_conformance,content_type_conformance,response_schema_conformance"
    how = ["--checks", checks, "--max-examples", "10", "--seed", "1", "--no-color", "--suppress-health-check", "too_slow"]
    patiently = ["--request-timeout", str(PATIENCE_S)]
    return subprocess.run([*command, *how, *patiently], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("right", Right)
def test_a_key_of_one_right_opens_its_own_routes_and_no_other(
    right: Right, start_lone_sidecar: StartSidecar, tmp_path: Path
) -> None:
    key = KeyRing(tmp_path / "store" / "keys.json").add("eve", [right])
    sidecar = start_lone_sidecar(CRACK_REQUESTS_PER_MINUTE="100000")
    finished = attack(f"{sidecar.url}/openapi.json", key, tmp_path)
    assert finished.returncode == 0, finished.stdout[-6000:]
    found = {((method, route), int(code)) for method, route, code in ASKED.findall(sidecar.log_path.read_text())}
    routes = set[tuple[str, str]]().union(*GRANTED.values())
    assert routes <= {route for route, _ in found}
    assert {route for route, code in found if code < 400} <= GRANTED[right] | ANYBODY
    assert {route for route, code in found if code == 403}.isdisjoint(GRANTED[right])
    assert {route for route, code in found if code >= 500} <= WITHOUT_TORCHSERVE


API = "/gradio_api"
ENDPOINTS = st.sampled_from(
    [
        *(f"{API}/{way}/{name}" for way in ("run", "call", "call/v2") for name in ("inspect", "correct", "model", "retrain")),
        *(f"{API}/{name}" for name in ("component_server", "queue/join", "cancel", "reset", "upload", "process_recording")),
    ]
)
FIELDS = ("data", "fn_index", "fn_name", "session_hash", "event_id", "component_id", "path", "url", "meta", "mask", "image")
WORDS = st.sampled_from(
    ["/etc/passwd", "../../etc/passwd", "gradio.FileData", "review_item", "__init__", "http://127.0.0.1:9/"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**40) | st.floats(allow_nan=False) | st.text(max_size=20) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=10,
)
BODIES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6).map(json.dumps) | VALUES.map(json.dumps) | st.text()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    running = ServedPage(tmp_path_factory.mktemp("page") / "log", BACKEND_URL=NOBODY)
    yield running
    running.stop()


@given(endpoint=ENDPOINTS, body=BODIES)
def test_the_page_tells_no_file_and_no_stack_and_goes_on_whatever_it_is_sent(
    page: ServedPage, endpoint: str, body: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = requests.post(page.url + endpoint, data=body.encode(), headers=headers, timeout=PATIENCE_S)
    assert "Traceback" not in answer.text
    assert "root:" not in answer.text  # of /etc/passwd
    assert requests.get(f"{page.url}/ping", timeout=PATIENCE_S).ok
