"""Nobody decides about what nobody has seen: labels that change between a reviewer's look and the decision."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from model.inference.encoding import mask_png
from model.synthetic import draw_surface
from retrain.snapshot import read_labels
from sidecar.keys import KeyRing, Right
from tests.photographs import png
from tests.sidecars import Sidecar, StartSidecar
from tests.waiting import PATIENCE_S

SURFACE = draw_surface(seed=5, size_hw=(96, 128))
PHOTOGRAPH, MASK, OTHER_MASK = png(SURFACE.image_hwc_u8), mask_png(SURFACE.mask_hw), mask_png(~SURFACE.mask_hw)


class Person:
    """Somebody with a key, as a program of theirs asks the sidecar."""

    def __init__(self, sidecar: Sidecar, key: str) -> None:
        self._url, self._headers = sidecar.url, {"Authorization": f"Bearer {key}"}

    def ask(self, method: str, route: str, seen: str | None = None, **parts: Any) -> requests.Response:
        files = {name: (name, value) if isinstance(value, bytes) else (None, value) for name, value in parts.items()}
        headers = self._headers | ({"If-Match": seen} if seen else {})
        return requests.request(method, self._url + route, files=files or None, headers=headers, timeout=PATIENCE_S)

    def save(self, **said: Any) -> dict[str, Any]:
        answer = self.ask("POST", "/save-for-retrain", image=PHOTOGRAPH, **said)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def look(self, item_id: str) -> str:
        """The ETag."""
        return self.ask("GET", f"/feedback/{item_id}").headers.get("ETag", "none")

    def decide(self, item_id: str, seen: str | None, **decision: Any) -> requests.Response:
        return self.ask("POST", f"/feedback/{item_id}/review", seen, **decision)

    def state(self, item_id: str) -> str:
        return str(self.ask("GET", f"/feedback/{item_id}").json()["item"]["state"])


@pytest.fixture
def people(start_sidecar: StartSidecar, tmp_path: Path) -> tuple[Person, Person, Person]:
    """Two reviewers, and a crew that may give feedback alone."""
    ring = KeyRing(tmp_path / "keys.json")
    keys = [ring.add("eve", list(Right)), ring.add("ann", list(Right)), ring.add("crew-7", [Right.FEEDBACK])]
    sidecar = start_sidecar(tmp_path / "store", CRACK_KEYS_FILE=str(tmp_path / "keys.json"))
    eve, ann, crew = (Person(sidecar, key) for key in keys)
    return eve, ann, crew


def test_a_mask_that_came_after_the_look_is_not_accepted(people: tuple[Person, Person, Person]) -> None:
    eve, _, crew = people
    item_id = crew.save(mask=MASK)["id"]
    seen = eve.look(item_id)
    crew.save(mask=OTHER_MASK)
    for answer in (eve.decide(item_id, seen, decision="accept"), eve.ask("DELETE", f"/feedback/{item_id}", seen)):
        assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
        assert "crew-7 saved it on 20" in answer.json()["message"]
    assert eve.state(item_id) == "labelled"
    assert eve.decide(item_id, eve.look(item_id), decision="accept").status_code == 200
    assert eve.ask("GET", f"/feedback/{item_id}/mask").content == OTHER_MASK


@pytest.mark.parametrize("seen", [None, "*"])
def test_who_does_not_say_what_was_seen_decides_nothing(people: tuple[Person, Person, Person], seen: str | None) -> None:
    eve, _, crew = people
    item_id = crew.save(mask=MASK)["id"]
    for answer in (eve.decide(item_id, seen, decision="accept"), eve.ask("DELETE", f"/feedback/{item_id}", seen)):
        assert (answer.status_code, answer.json()["code"]) == (428, "precondition_required")
    assert eve.state(item_id) == "labelled"


@pytest.mark.parametrize("form", ["W/{}", "{}", "unquoted", '"unquoted-gzip"', 'W/"unquoted;br"'])
def test_an_etag_counts_as_a_compressing_proxy_or_a_client_writes_it(people: tuple[Person, Person, Person], form: str) -> None:
    eve, _, crew = people
    item_id = crew.save(mask=MASK)["id"]
    seen = eve.look(item_id)
    crew.save(mask=OTHER_MASK)
    as_sent = [form.format(each).replace("unquoted", each.strip('"')) for each in (seen, eve.look(item_id))]
    assert [eve.decide(item_id, each, decision="accept").status_code for each in as_sent] == [409, 200]


def test_of_two_reviewers_the_second_is_told_who_decided_and_may_undo_it_then(people: tuple[Person, Person, Person]) -> None:
    eve, ann, crew = people
    item_id = crew.save(mask=MASK)["id"]
    seen = eve.look(item_id)
    assert seen == ann.look(item_id)
    assert eve.decide(item_id, seen, decision="accept").status_code == 200
    second = ann.decide(item_id, seen, decision="reject")
    assert (second.status_code, second.json()["code"]) == (409, "state_conflict")
    assert "eve reviewed it on 20" in second.json()["message"]
    assert "it is accepted now (accepted by eve)" in second.json()["message"]
    assert eve.state(item_id) == "accepted"
    assert ann.decide(item_id, ann.look(item_id), decision="reject", reason="blurred").status_code == 200
    assert eve.state(item_id) == "rejected"


def test_no_later_save_takes_an_accepted_label_back(people: tuple[Person, Person, Person], tmp_path: Path) -> None:
    eve, _, crew = people
    item_id = crew.save(mask=MASK)["id"]
    eve.decide(item_id, eve.look(item_id), decision="accept")
    trains = read_labels(tmp_path / "store")
    for said in (
        {"mask": MASK},
        {"verdict": "false_alarm"},
        {"verdict": "correct"},
        {"mask": OTHER_MASK},
        {"verdict": "no_crack"},
    ):
        assert crew.save(**said)["state"] == "accepted"
        assert read_labels(tmp_path / "store") == trains
    assert crew.ask("DELETE", f"/feedback/{item_id}", "*").status_code == 403

    (waiting,) = eve.ask("GET", "/feedback").json()["items"]  # the newest of the masks that were proposed
    assert waiting["id"] == item_id
    proposed = eve.ask("GET", f"/feedback/{item_id}/mask")
    assert proposed.content == mask_png(np.zeros((96, 128), np.bool_))
    assert proposed.headers["ETag"] == waiting["etag"]
    refused = eve.decide(item_id, waiting["etag"], decision="reject").json()["item"]
    assert (refused["state"], refused["reason"]) == ("accepted", "stays accepted without the newer mask: rejected by eve")
    assert read_labels(tmp_path / "store") == trains


def test_each_read_of_an_item_tells_what_a_decision_about_it_sends(people: tuple[Person, Person, Person]) -> None:
    eve, _, crew = people
    item_id = crew.save(mask=MASK)["id"]
    reads = [eve.ask("GET", f"/feedback/{item_id}{part}") for part in ("", "/image", "/mask")]
    (listed,) = eve.ask("GET", "/feedback").json()["items"]
    etags = {listed["etag"], reads[0].json()["item"]["etag"], *(read.headers["ETag"] for read in reads)}
    assert len(etags) == 1
    reviewed = eve.decide(item_id, etags.pop(), mask=OTHER_MASK)
    assert reviewed.headers["ETag"] == eve.look(item_id) == reviewed.json()["item"]["etag"]
