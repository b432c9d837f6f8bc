"""Behind a reverse proxy the sidecar's addresses have a prefix, which the proxy passes on or leaves out."""

from pathlib import Path

import pytest
import requests

from crack.doors import Doors
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S


@pytest.mark.parametrize("prefix", ["", "/site", "/site/api"])
def test_a_proxy_may_pass_the_prefix_on_or_leave_it_out(tmp_path: Path, prefix: str) -> None:
    sidecar = Sidecar(tmp_path / "store", tmp_path / "log", CRACK_ROOT_PATH="/site/")
    try:
        answers = {path: requests.get(f"{sidecar.url}{prefix}{path}", timeout=PATIENCE_S) for path in ("/ping", "/docs")}
        assert answers["/ping"].json() == {"status": "ok"}
        assert "url: 'openapi.json'" in answers["/docs"].text
        assert requests.get(f"{sidecar.url}{prefix}/no/such", timeout=PATIENCE_S).json()["code"] == "not_found"
        for path in ("/ping/", "//ping", "//ping//"):  # as clients join addresses with one slash too many
            answer = requests.get(f"{sidecar.url}{prefix}{path}", timeout=PATIENCE_S, allow_redirects=False)
            assert answer.json() == {"status": "ok"}
    finally:
        sidecar.stop()


@pytest.mark.parametrize("text", ["cracks", "https://cracks.example/cracks", "/cracks?x", "//cracks", "/a b"])
def test_what_is_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"CRACK_ROOT_PATH='.*expected a path such as /cracks"):
        Doors.from_environment({"CRACK_ROOT_PATH": text})
