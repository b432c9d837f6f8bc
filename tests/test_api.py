"""Every answer and every error of the contract, asked of the real TorchServe with the released archive."""

import contextlib
import http.client
import io
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
import requests
from numpy.typing import NDArray
from PIL import Image

from handler.serve import Server
from model.dataset import read_pairs
from model.inference import card, runtime
from model.inference.card import threshold_level
from model.inference.markers import SINGLE
from model.inference.photograph import decode
from model.inference.score import crack_score
from model.inference.segmenter import Segmenter
from model.synthetic import draw_surface
from model.synthetic_cracks import fracture
from tests import walls
from tests.conftest import ARCHIVE, ready_workers
from tests.photographs import cmyk_jpeg, jpeg, png, png_with_header, sixteen_bit_grey_png, with_orientation
from tests.sidecars import StartSidecar
from tests.waiting import PATIENCE_S

SURFACE = draw_surface(seed=5, size_hw=(390, 541), material="concrete").image_hwc_u8
PHOTOGRAPH = png(SURFACE)


def ask(server: Server, image: bytes | None = PHOTOGRAPH, **fields: str) -> requests.Response:
    """Send an image and fields as multipart."""
    files = {} if image is None else {"image": image}
    parts = {name: (None, value) for name, value in fields.items()}
    return requests.post(f"{server.inference_url}/predictions/crack", files={**files, **parts}, timeout=PATIENCE_S)


def picture(answer: requests.Response) -> NDArray[np.uint8]:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released archive, unpacked."""
    folder = tmp_path_factory.mktemp("archive")
    with zipfile.ZipFile(ARCHIVE) as packed:
        packed.extractall(folder)
    return folder


@pytest.fixture(scope="session")
def released(archive: Path) -> card.ModelCard:
    return card.ModelCard.read(archive / card.FILE_NAME)


# What is answered


def test_json_is_the_default_and_holds_what_the_contract_names(server: Server, released: card.ModelCard) -> None:
    answer = ask(server)
    body = answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    assert body["status"] == "success"
    assert body["shape"] == [128, 128] == list(np.shape(body["prediction"]))
    assert set(np.unique(body["prediction"])) <= {0, 1}
    assert body["image_size"] == [390, 541]
    assert body["threshold"] == released.threshold
    assert 0 < body["crack_ratio"] < 1
    model = body["model"]
    assert (model["name"], model["version"]) == ("crack", released.version)
    assert card.Backend(model["runtime"], model["precision"]) in released.backends
    assert body["request_id"] == answer.headers["X-Request-Id"]


def test_a_cell_of_the_grid_is_1_where_the_mask_holds_crack_in_it(server: Server) -> None:
    mask_hw = picture(ask(server, response="mask")) > 0
    rows, columns = ([(i * side // 128, -(-(i + 1) * side // 128)) for i in range(128)] for side in mask_hw.shape)
    expected = [[int(mask_hw[top:bottom, left:right].any()) for left, right in columns] for top, bottom in rows]
    assert ask(server).json()["prediction"] == expected


def test_full_is_the_mask_as_json(server: Server) -> None:
    body = ask(server, response="full").json()
    assert body["shape"] == [390, 541]
    assert np.array_equal(np.array(body["prediction"]) * 255, picture(ask(server, response="mask")))


def test_mask_is_a_one_channel_png_of_the_photographs_size(server: Server) -> None:
    answer = ask(server, response="mask")
    assert answer.headers["Content-Type"] == "image/png"
    mask = picture(answer)
    assert mask.shape == (390, 541)
    assert set(np.unique(mask)) == {0, 255}


def test_mask_is_the_probability_at_or_above_the_threshold(server: Server) -> None:
    probability = ask(server, response="probability")
    assert probability.headers["Content-Type"] == "image/png"
    level = threshold_level(float(probability.headers["X-Crack-Threshold"]))
    assert np.array_equal(picture(probability) >= level, picture(ask(server, response="mask")) > 0)


def test_a_threshold_of_the_request_is_used_and_named(server: Server) -> None:
    low, high = (ask(server, response="mask", threshold=text) for text in ("0.02", "0.98"))
    assert low.headers["X-Crack-Threshold"] == "0.02"
    assert np.count_nonzero(picture(low)) > np.count_nonzero(picture(high))


def test_overlay_is_the_photograph_with_its_cracks_drawn_on(server: Server) -> None:
    answer = ask(server, response="overlay")
    assert answer.headers["Content-Type"] == "image/jpeg"
    overlay = picture(answer).astype(int)
    mask_hw = picture(ask(server, response="mask")) > 0
    redness = overlay[..., 0] - overlay[..., 1] - (SURFACE[..., 0].astype(int) - SURFACE[..., 1])
    assert overlay.shape == SURFACE.shape
    assert redness[mask_hw].mean() > redness[~mask_hw].mean() + 50


def test_headers_of_a_picture_name_request_model_threshold_and_ratio(server: Server, released: card.ModelCard) -> None:
    answer = ask(server, response="mask")
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["X-Request-Id"])
    assert answer.headers["X-Crack-Model-Version"] == released.version
    assert float(answer.headers["X-Crack-Threshold"]) == pytest.approx(released.threshold, abs=1e-6)
    assert float(answer.headers["X-Crack-Ratio"]) == pytest.approx((picture(answer) > 0).mean(), abs=1e-6)


@pytest.mark.parametrize("response", ["json", "full", "mask", "probability", "overlay"])
def test_every_answer_has_the_score_of_its_probabilities(server: Server, response: str) -> None:
    expected = f"{crack_score(picture(ask(server, response='probability'))):.6f}"
    answer = ask(server, response=response, threshold="0.9")
    assert answer.headers["X-Crack-Score"] == expected
    if answer.headers["Content-Type"] == "application/json":
        assert f"{answer.json()['crack_score']:.6f}" == expected


def test_high_quality_is_answered_and_differs_little(server: Server) -> None:
    normal, high = (picture(ask(server, response="probability", quality=name)) for name in ("normal", "high"))
    assert not np.array_equal(normal, high)
    assert np.abs(normal.astype(int) - high).mean() < 10


def test_the_image_may_be_the_body_itself(server: Server) -> None:
    url = f"{server.inference_url}/predictions/crack"
    raw = requests.post(url, data=PHOTOGRAPH, headers={"Content-Type": "image/png"}, timeout=PATIENCE_S)
    assert raw.json()["prediction"] == ask(server).json()["prediction"]


def test_a_part_that_declares_itself_as_text_or_json_is_read_all_the_same(server: Server) -> None:
    parts = {
        "image": ("a.txt", PHOTOGRAPH, "text/plain"),
        "threshold": (None, "0.3", "application/json"),
        "response": (None, "mask", "text/plain"),
    }
    answer = requests.post(f"{server.inference_url}/predictions/crack", files=parts, timeout=PATIENCE_S)
    assert picture(answer).shape == (390, 541)
    assert answer.headers["X-Crack-Threshold"] == "0.3"


def test_the_version_can_be_addressed(server: Server, released: card.ModelCard) -> None:
    url = f"{server.inference_url}/predictions/crack/{released.version}"
    assert requests.post(url, files={"image": PHOTOGRAPH}, timeout=PATIENCE_S).status_code == 200


def test_all_workers_draw_the_same_mask(server: Server) -> None:
    """They agree on one backend, though each could find another one fastest."""
    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda _: ask(server, response="probability").content, range(12)))
    assert len(set(answers)) == 1


def test_what_is_served_is_what_one_of_the_archives_backends_computes(
    server: Server, archive: Path, released: card.ModelCard
) -> None:
    served = picture(ask(server, response="probability")).astype(int)
    backends = filter(runtime.is_usable, released.backends)
    computed = [Segmenter(released, runtime.load(archive, backend, n_threads=1)).probability(SURFACE) for backend in backends]
    assert min(np.abs(served - probability).max() for probability in computed) <= 1


# Photographs of every kind


def test_a_photograph_of_24_megapixels_is_answered_at_its_own_size(server: Server) -> None:
    tile = draw_surface(seed=1, size_hw=(1000, 1500)).image_hwc_u8
    large = jpeg(np.tile(tile, (4, 4, 1)))
    assert picture(ask(server, large, response="mask")).shape == (4000, 6000)


def test_a_photograph_of_16_pixels_a_side_is_answered(server: Server) -> None:
    assert picture(ask(server, png(SURFACE[:16, :16]), response="mask")).shape == (16, 16)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_mask_fits_the_photograph_as_people_see_it(server: Server, orientation: int) -> None:
    rotated = with_orientation(SURFACE, orientation)
    mask = picture(ask(server, rotated, response="mask"))
    assert mask.shape == decode(rotated).shape[:2]
    assert mask.shape == ((390, 541) if orientation < 5 else (541, 390))
    upright = picture(ask(server, jpeg(decode(rotated), quality=95), response="mask"))
    assert np.mean(mask != upright) < 0.01


@pytest.mark.parametrize(
    "photograph",
    [cmyk_jpeg(SURFACE), sixteen_bit_grey_png(SURFACE), jpeg(SURFACE[..., 0]), png(np.dstack([SURFACE, SURFACE[..., :1]]))],
    ids=["CMYK JPEG", "16-bit grey PNG", "grey JPEG", "RGBA PNG"],
)
def test_unusual_colours_are_answered(server: Server, photograph: bytes) -> None:
    assert picture(ask(server, photograph, response="mask")).shape == (390, 541)


# What is refused

TORN_JPEG = jpeg(SURFACE)[:20000]
HUGE_HEADER = png_with_header(40_000, 40_000)
REFUSALS = [
    ("a text file", b"Dear inspector,\n", {}, 415, "image_unsupported"),
    ("a GIF", b"GIF89a" + bytes(100), {}, 415, "image_unsupported"),
    ("a torn JPEG", TORN_JPEG, {}, 422, "image_undecodable"),
    ("a torn PNG", PHOTOGRAPH[:5000], {}, 422, "image_undecodable"),
    ("a PNG of 40,000 x 40,000", HUGE_HEADER, {}, 413, "image_too_large"),
    ("too small a photograph", png(SURFACE[:15, :400]), {}, 422, "image_too_small"),
    ("no image", None, {"response": "mask"}, 400, "image_missing"),
    ("an empty image", b"", {}, 400, "image_missing"),
    ("threshold=7", PHOTOGRAPH, {"threshold": "7"}, 400, "parameter_invalid"),
    ("threshold=nan", PHOTOGRAPH, {"threshold": "nan"}, 400, "parameter_invalid"),
    ("response=gif", PHOTOGRAPH, {"response": "gif"}, 400, "parameter_invalid"),
    ("quality=best", PHOTOGRAPH, {"quality": "best"}, 400, "parameter_invalid"),
    ("full of 6 megapixels", jpeg(np.zeros((2000, 3000, 3), np.uint8)), {"response": "full"}, 413, "image_too_large"),
    ("overlay of 65,501 px", png(np.zeros((16, 65_501), np.uint8)), {"response": "overlay"}, 413, "image_too_large"),
    ("high of 30 megapixels", jpeg(np.zeros((5000, 6000, 3), np.uint8)), {"quality": "high"}, 413, "image_too_large"),
]


@pytest.mark.parametrize(("image", "fields", "status", "code"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_bad_input_gets_its_status_and_a_sentence_and_harms_nobody(
    server: Server, image: bytes | None, fields: dict[str, str], status: int, code: str
) -> None:
    workers = ready_workers(server)
    answer = ask(server, image, **fields)
    assert (answer.status_code, answer.json()["status"], answer.json()["code"]) == (status, "error", code)
    assert answer.json()["message"].endswith(".")
    assert "X-Crack-Model-Version" in answer.headers
    assert ask(server).status_code == 200
    assert ready_workers(server) == workers


def test_an_empty_body_is_refused(server: Server) -> None:
    answer = requests.post(f"{server.inference_url}/predictions/crack", timeout=PATIENCE_S)
    assert (answer.status_code, answer.json()["code"]) == (400, "image_missing")


def test_a_body_of_60_megabytes_is_refused_by_torchserve_itself(server: Server) -> None:
    workers = ready_workers(server)
    # TorchServe answers before it has read everything; requests would report a broken pipe instead of the answer.
    assert raw_status(server, bytes(60 * 1024 * 1024)) == 413
    assert ask(server).status_code == 200
    assert ready_workers(server) == workers


def raw_status(server: Server, body: bytes) -> int:
    """The status of a POST whose answer may come while the body is still on its way."""
    connection = http.client.HTTPConnection(urlsplit(server.inference_url).netloc, timeout=PATIENCE_S)
    connection.putrequest("POST", "/predictions/crack")
    connection.putheader("Content-Type", "image/jpeg")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.send(body)
    status = connection.getresponse().status
    connection.close()
    return status


def test_bad_photographs_among_good_ones_fail_alone(server: Server) -> None:
    images = [PHOTOGRAPH, TORN_JPEG, PHOTOGRAPH, b"text", PHOTOGRAPH, HUGE_HEADER] * 3
    with ThreadPoolExecutor(6) as clients:
        statuses = list(clients.map(lambda image: ask(server, image).status_code, images))
    assert statuses == [200, 422, 200, 415, 200, 413] * 3


# Around it


def test_cracks_are_the_same_by_a_form_by_headers_and_through_the_sidecar(server: Server, start_sidecar: StartSidecar) -> None:
    headers = {"Content-Type": "image/png", "X-Crack-Response": "cracks", "X-Crack-Mm-Per-Px": "0.2"}
    fields = {"response": "cracks", "mm_per_px": "0.2"}
    answers = [
        ask(server, **fields),
        requests.post(f"{server.inference_url}/predictions/crack", data=PHOTOGRAPH, headers=headers, timeout=PATIENCE_S),
        requests.post(f"{start_sidecar().url}/predict", params=fields, data=PHOTOGRAPH, timeout=PATIENCE_S),
    ]
    assert {answer.headers["Content-Type"] for answer in answers} == {"application/geo+json"}
    bodies = [answer.json() for answer in answers]
    for body in bodies:
        body.pop("request_id")
    assert bodies[0] == bodies[1] == bodies[2]
    assert (bodies[0]["mm_per_px"], bodies[0]["scale_source"]) == (0.2, "given")
    assert bodies[0]["features"][0]["properties"]["length_mm"] > 0


def test_a_marker_tells_the_scale_at_both_doors(server: Server, start_sidecar: StartSidecar) -> None:
    path_mm = fracture(np.random.default_rng(1), np.array([(-60.0, -40.0), (0.0, -44.0), (70.0, -38.0)]), 0.04)
    crack = walls.Crack(path_mm, 1.5)
    image_hwc_u8, _ = walls.photograph(
        (600, 800), walls.camera((600, 800), 0.25, 30, 90), [crack], [walls.Marker(SINGLE, (-20, -10), 50)]
    )
    photo = png(image_hwc_u8)
    headers = {"Content-Type": "image/png", "X-Crack-Response": "cracks", "X-Crack-Marker-Size-Mm": "50"}
    fields = {"response": "cracks", "marker_size_mm": "50"}
    answers = [
        requests.post(f"{server.inference_url}/predictions/crack", data=photo, headers=headers, timeout=PATIENCE_S),
        requests.post(f"{start_sidecar().url}/predict", params=fields, data=photo, timeout=PATIENCE_S),
    ]
    for body in (answer.json() for answer in answers):
        assert body["scale_source"] == "marker"
        longest = body["features"][0]["properties"]
        assert longest["length_mm"] == pytest.approx(crack.length_mm, rel=0.05)
        assert longest["width_median_mm"] == pytest.approx(1.5, abs=0.15)
    without = ask(server, PHOTOGRAPH, **fields).json()
    assert (without["scale_source"], without["scale_note"][:20]) == (None, "No marker was found,")


def test_a_scale_out_of_range_is_refused_at_both_doors(server: Server, start_sidecar: StartSidecar) -> None:
    for answer in (
        ask(server, response="cracks", mm_per_px="-1"),
        requests.post(f"{start_sidecar().url}/predict?mm_per_px=-1", data=PHOTOGRAPH, timeout=PATIENCE_S),
    ):
        assert (answer.status_code, answer.json()["code"]) == (400, "parameter_invalid")
        assert "mm_per_px='-1': expected a number above 0" in answer.json()["message"]


def test_a_photograph_without_a_form_has_its_fields_in_headers(server: Server) -> None:
    headers = {"Content-Type": "image/png", "X-Crack-Response": "mask", "x-crack-threshold": "0.5"}
    answer = requests.post(f"{server.inference_url}/predictions/crack", data=PHOTOGRAPH, headers=headers, timeout=PATIENCE_S)
    in_a_form = ask(server, response="mask", threshold="0.5")
    assert answer.headers["X-Crack-Threshold"] == "0.5"
    assert answer.content == in_a_form.content


def test_no_archive_can_be_loaded_from_an_address(server: Server) -> None:
    for url in ("http://127.0.0.1:1/crack.mar", f"file://{ARCHIVE}"):
        answer = requests.post(
            f"{server.management_url}/models", params={"url": url, "model_name": "other"}, timeout=PATIENCE_S
        )
        assert answer.status_code in (400, 403, 404), answer.text
    models = requests.get(f"{server.management_url}/models", timeout=PATIENCE_S).json()["models"]
    assert [model["modelName"] for model in models] == ["crack"]


def test_no_worker_keeps_growing(server: Server) -> None:
    def resident() -> int:
        return sum(psutil.Process(pid).memory_info().rss for pid in ready_workers(server))

    def grows() -> bool:
        before = resident()
        for _ in range(30):
            ask(server)
        return resident() >= before * 1.1

    assert not all(grows() for _ in range(5))  # at first each does, with its first photographs, whenever it gets those


# On real photographs


def test_cracks_of_real_photographs_are_found(server: Server, data_dir: Path) -> None:
    hits = false = missed = 0
    for pair in read_pairs(data_dir, ["deepcrack"], "test")[::20]:
        found = picture(ask(server, pair.image_path.read_bytes(), response="mask")) > 0
        true = pair.read().mask_hw
        hits, false, missed = hits + (found & true).sum(), false + (found & ~true).sum(), missed + (~found & true).sum()
    assert 2 * hits / (2 * hits + false + missed) > 0.7


def test_a_wall_without_a_crack_stays_mostly_empty(server: Server, data_dir: Path) -> None:
    ratios = [
        float(ask(server, pair.image_path.read_bytes()).json()["crack_ratio"])
        for pair in read_pairs(data_dir, ["negatives"], "train")[::10]
    ]
    assert np.median(ratios) < 0.01
