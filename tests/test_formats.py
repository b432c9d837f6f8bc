"""Each format at each door: the right picture the right way up, stored so that browsers and trainings read it."""

import io

import numpy as np
import pytest
import requests
from PIL import Image

from handler.serve import Server
from model.inference.encoding import mask_png
from model.inference.photograph import decode
from model.synthetic import draw_surface
from tests.heif_files import grid, heif, hevc, turned
from tests.photographs import ORIENTATION_TAG, avif, bmp, sixteen_bit_png, tiff, webp
from tests.sidecars import Sidecar, StartSidecar
from tests.waiting import PATIENCE_S

DRAWN = draw_surface(seed=5, size_hw=(128, 192))
SURFACE = DRAWN.image_hwc_u8
TILES = [hevc(SURFACE[top : top + 64, left : left + 64], 64, 64) for top in (0, 64) for left in (0, 64, 128)]
IPHONE = heif([*TILES, grid(2, 3, 192, 128, turned(3))], 7, {(b"dimg", 7): [1, 2, 3, 4, 5, 6]})
FILES = {
    "an iPhone's HEIC, turned": IPHONE,
    "AVIF": avif(SURFACE, quality=90),
    "TIFF, turned": tiff(SURFACE, compression="tiff_lzw", tiffinfo={ORIENTATION_TAG: 6}),
    "WebP": webp(SURFACE, lossless=True),
    "BMP": bmp(SURFACE),
    "PNG of 12 bits": sixteen_bit_png(SURFACE.astype(np.uint16) * 16 + 8),
}


@pytest.fixture
def sidecar(start_sidecar: StartSidecar) -> Sidecar:
    return start_sidecar()


@pytest.mark.parametrize("kind", FILES)
def test_both_doors_mark_cracks_of_each_format_in_the_upright_photograph(kind: str, sidecar: Sidecar, server: Server) -> None:
    form = {"image": FILES[kind], "response": (None, "mask")}
    addresses = (f"{sidecar.url}/predict", f"{server.inference_url}/predictions/crack")
    masks = [requests.post(address, files=form, timeout=PATIENCE_S) for address in addresses]
    assert [mask.status_code for mask in masks] == [200, 200], masks[0].text
    mask_hw = np.asarray(Image.open(io.BytesIO(masks[0].content))) > 0
    assert masks[0].content == masks[1].content
    is_turned = "turned" in kind
    assert mask_hw.shape == ((192, 128) if is_turned else (128, 192))
    true_hw = np.rot90(DRAWN.mask_hw, -1) if is_turned else DRAWN.mask_hw
    assert (mask_hw & true_hw).sum() > 0.3 * true_hw.sum()


@pytest.mark.parametrize("kind", FILES)
def test_feedback_on_each_format_is_stored_as_the_pixels_that_were_decoded(kind: str, sidecar: Sidecar) -> None:
    upright = decode(FILES[kind])
    mask_hw = np.zeros(upright.shape[:2], np.bool_)
    mask_hw[20:24, 10:90] = True
    form = {"image": FILES[kind], "mask": mask_png(mask_hw)}
    saved = requests.post(f"{sidecar.url}/save-for-retrain", files=form, timeout=PATIENCE_S).json()
    assert saved["status"] == "saved", saved
    stored = requests.get(f"{sidecar.url}/feedback/{saved['id']}/image", timeout=PATIENCE_S)
    assert stored.headers["Content-Type"] == "image/png"
    np.testing.assert_array_equal(decode(stored.content), upright)
    item = requests.get(f"{sidecar.url}/feedback/{saved['id']}", timeout=PATIENCE_S).json()["item"]
    assert (item["height"], item["width"]) == upright.shape[:2]


def test_a_film_is_named_at_both_doors(sidecar: Sidecar, server: Server) -> None:
    film = b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(1000)
    for address in (f"{sidecar.url}/predict", f"{sidecar.url}/save-for-retrain", f"{server.inference_url}/predictions/crack"):
        form = {"image": film, "verdict": (None, "other")}
        answer = requests.post(address, files=form, timeout=PATIENCE_S)
        assert answer.status_code == 415
        assert "an iPhone's Live Photo video" in answer.json()["message"]
