"""Predictions that are kept: found by request and photograph alone, bounded in bytes and time; and what they spare."""

import pytest

from crack.torchserve import Answer
from handler.serve import Server
from model.inference.headers import DOOR_REQUEST_ID, REQUEST_ID
from sidecar.kept import KeptPredictions, digest
from sidecar.prediction import Prediction
from tests.front import Front
from tests.sidecars import StartSidecar
from tests.test_save import MASK, PHOTOGRAPH, post

WALL, DECK = digest([b"wa", b"ll"]), digest([b"deck"])


def prediction(request_id: str, n_bytes: int = 10) -> Prediction:
    return Prediction.of(Answer(200, bytes(n_bytes), {DOOR_REQUEST_ID: request_id}))


def test_one_is_found_by_the_same_request_and_the_same_bytes_alone() -> None:
    kept = KeptPredictions(100, 60)
    kept.add(WALL, prediction("a"))
    assert kept.find("a", digest([b"wall"])) == prediction("a")
    assert (kept.find("a", DECK), kept.find("b", WALL), kept.find("", WALL)) == (None, None, None)


@pytest.mark.parametrize(("n_bytes", "found"), [(10, [False, True, True]), (20, [False, False, True]), (26, [False] * 3)])
def test_the_oldest_give_way(n_bytes: int, found: list[bool]) -> None:
    kept = KeptPredictions(25, 60)
    for name in "abc":
        kept.add(WALL, prediction(name, n_bytes))
    assert [kept.find(name, WALL) is not None for name in "abc"] == found


def test_the_same_one_again_counts_once() -> None:
    kept = KeptPredictions(25, 60)
    for _ in range(5):
        kept.add(WALL, prediction("a"))
    kept.add(WALL, prediction("b"))
    assert kept.find("a", WALL)


def test_one_is_forgotten_when_its_time_is_over() -> None:
    kept = KeptPredictions(100, -1)
    kept.add(WALL, prediction("a"))
    assert kept.find("a", WALL) is None


def test_feedback_about_a_known_prediction_asks_for_no_second_one_and_about_another_does(
    server: Server, start_sidecar: StartSidecar
) -> None:
    with Front(server.inference_url) as front:
        sidecar = start_sidecar(torchserve_url=front.url)
        seen = post(sidecar, "/predict", image=PHOTOGRAPH, response="probability")
        for request_id, n_asked in ((seen.headers[REQUEST_ID], 1), ("another", 2)):
            saved = post(sidecar, "/save-for-retrain", image=PHOTOGRAPH, mask=MASK, request_id=request_id)
            assert (saved.json()["status"], front.asked[PHOTOGRAPH]) == ("saved", n_asked)
        front.shutdown()
