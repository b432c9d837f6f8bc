"""Orthomosaics, stopped and gone on with: the mask against one pass over the picture, the vectors against what was drawn."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyogrio.raw
import pytest
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.warp import transform as to_crs

from model.inference.card import Backend, threshold_level
from survey.__main__ import main
from survey.engines import SurveyError
from survey.mosaic.blocks import MosaicCrack
from survey.mosaic.raster import Raster
from survey.mosaic.writing import GEOJSON, MASK, PACKAGE, write_cracks, write_overviews
from survey.processes import Core, Processes
from tests.conftest import ARCHIVE, ROOT
from tests.mosaics import Crack, crack, draw, transform, write_mosaic
from tests.surveys import begin, end
from tests.waiting import eventually

BACKEND = Backend("openvino", "int8")
ON_BACKEND = ("--backend", str(BACKEND))
SIZE_HW = (2300, 2600)  # blocks meet in it, both ways
M_PER_PX = 0.002
TO_MAP = transform(M_PER_PX, turn_deg=20)
LARGE_HW = (20_000, 30_000)


def cracks_in(size_hw: tuple[int, int]) -> list[Crack]:
    """Three, the longest first, of which two go through several blocks."""
    height, width = size_hw
    places = [[(0.12, 0.08), (0.5, 0.45), (0.93, 0.95)], [(0.7, 0.5), (0.9, 0.08)], [(0.2, 0.95), (0.45, 0.7)]]
    return [
        crack(seed, [(x * width, y * height) for x, y in place], width_px)
        for seed, (place, width_px) in enumerate(zip(places, (7.0, 5.0, 4.0), strict=True), 1)
    ]


@dataclass(frozen=True)
class Deck:
    """A surveyed mosaic; the survey was interrupted once, and then gone on with."""

    cracks: list[Crack]
    out: Path
    interrupted: tuple[int, str]
    finished: tuple[int, str]


@pytest.fixture(scope="module")
def deck(tmp_path_factory: pytest.TempPathFactory) -> Deck:
    folder = tmp_path_factory.mktemp("deck")
    cracks, out = cracks_in(SIZE_HW), folder / "found"
    write_mosaic(folder / "deck.tif", SIZE_HW, cracks, TO_MAP)
    survey = begin(folder / "deck.tif", out, *ON_BACKEND)
    written = out / ".unfinished" / "probability-1"
    eventually(lambda: survey.poll() is not None or (written.exists() and written.stat().st_size > 0))
    os.killpg(survey.pid, signal.SIGINT)
    return Deck(cracks, out, end(survey), end(begin(folder / "deck.tif", out, *ON_BACKEND)))


def features(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What GDAL reads: about the layer, and of each feature its fields and its `points`, (n, 2)."""
    meta, _, geometry, fields = pyogrio.raw.read(path)
    columns = zip(*fields, strict=True) if len(geometry) else []
    return meta, [
        {**dict(zip(meta["fields"], values, strict=True)), "points": points(shape)}
        for shape, values in zip(geometry, columns, strict=True)
    ]


def points(wkb: bytes) -> NDArray[np.float64]:
    """Of a MultiLineString."""
    return shapely.get_coordinates(shapely.from_wkb(wkb))


def check_against_drawn(out: Path, cracks: list[Crack]) -> None:
    """Each is found as one, where it is, as long and as wide as it is."""
    meta, found = features(out / "cracks.gpkg")
    assert meta["crs"] == "EPSG:25832"
    assert len(found) == len(cracks)
    a, b, c, d, e, f = (~TO_MAP)[:6]
    for feature, drawn in zip(found, cracks, strict=True):
        print({**feature, "points": len(feature["points"])}, f"drawn: {drawn.length_px * M_PER_PX:.3f} m, {drawn.width_px} px")
        error_px = drawn.distance(feature["points"] @ np.array([(a, d), (b, e)]) + (c, f))
        assert error_px.mean() <= 0.5
        assert np.percentile(error_px, 90) <= 0.5  # beyond are its round ends, as the distance is from the middle line
        assert feature["length_m"] == pytest.approx(drawn.length_px * M_PER_PX, rel=0.03)
        assert feature["width_median_m"] == pytest.approx(drawn.width_px * M_PER_PX, rel=0.05)


def test_ctrl_c_stops_it_and_the_same_command_finishes_it(deck: Deck) -> None:
    code, said = deck.interrupted
    assert code == 130, said
    assert "Stopped. Continue with: crack survey" in said
    assert "Traceback" not in said
    code, said = deck.finished
    assert code == 0, said
    assert "Cracks: 3, " in said
    assert sorted(path.name for path in deck.out.iterdir()) == ["cracks.geojson", "cracks.gpkg", "mask.tif", "mosaic.json"]
    with closing(sqlite3.connect(deck.out / "cracks.gpkg")) as package:
        assert package.execute("PRAGMA user_version").fetchone() == (10200,)  # GeoPackage 1.2, which older programs know


def test_what_is_finished_is_told_again_and_another_threshold_is_refused(deck: Deck, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [str(deck.out.parent / "deck.tif"), "--out", str(deck.out)]
    assert main(arguments) == 0
    assert "Cracks: 3, " in capfd.readouterr().out
    with pytest.raises(SystemExit):
        main([*arguments, "--threshold", "0.9"])
    assert "holds another survey (threshold" in capfd.readouterr().err


def test_its_mask_is_that_of_one_pass_over_the_whole_picture(deck: Deck) -> None:
    processes = Processes(ARCHIVE, 1, str(BACKEND), threading.Event())
    try:
        image_hwc_u8 = draw(0, SIZE_HW[0], SIZE_HW[1], deck.cracks)
        expected = processes.call(probability, image_hwc_u8) >= threshold_level(processes.card.threshold)
    finally:
        processes.close()
    with rasterio.open(deck.out / "mask.tif") as mask:
        np.testing.assert_array_equal(mask.read(1) == 255, expected)
    assert expected.any()


def probability(core: Core, image_hwc_u8: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return core.segmenter.probability(image_hwc_u8)


def test_its_mask_is_a_cloud_optimized_geotiff_in_the_mosaics_place(deck: Deck) -> None:
    with rasterio.open(deck.out / "mask.tif") as mask, rasterio.open(deck.out.parent / "deck.tif") as mosaic:
        assert (mask.crs, mask.shape, mask.dtypes) == (mosaic.crs, mosaic.shape, ("uint8",))
        assert mask.transform.almost_equals(mosaic.transform)
        assert mask.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert mask.overviews(1)[0] == 2


def test_cracks_are_where_they_were_drawn_as_long_and_as_wide_and_one_over_all_blocks(deck: Deck) -> None:
    check_against_drawn(deck.out, deck.cracks)


def test_the_geojson_holds_the_same_cracks_in_longitude_and_latitude(deck: Deck) -> None:
    told = json.loads((deck.out / "cracks.geojson").read_text())
    assert "crs" not in told
    _, of_package = features(deck.out / "cracks.gpkg")
    for feature, crack_ in zip(told["features"], of_package, strict=True):
        assert feature["properties"]["length_m"] == crack_["length_m"]
        degrees = np.array([point for line in feature["geometry"]["coordinates"] for point in line])
        assert 8 < degrees[0, 0] < 11
        assert 53 < degrees[0, 1] < 54
        on_map = np.stack(to_crs("EPSG:4326", "EPSG:25832", *degrees.T), axis=1)
        assert np.abs(on_map - crack_["points"]).max() < M_PER_PX / 2


def test_a_line_that_is_a_point_is_in_no_file(deck: Deck, tmp_path: Path) -> None:
    line_xy = np.array([(10.0, 10.0), (14.0, 12.0), (20.0, 11.0)])
    ring_xy = np.array([(20.0, 11.0), (20.6, 11.5), (20.0 + 1e-9, 11.0)])  # too short for a point between
    drawn = MosaicCrack([line_xy, ring_xy], np.full(5, 3.0), 1.0, 0.2, 40, 0.9)
    raster = Raster(deck.out.parent / "deck.tif")
    write_cracks([drawn], raster, "1", tmp_path)
    raster.close()
    for name in (PACKAGE, GEOJSON):
        _, _, (shape,), _ = pyogrio.raw.read(tmp_path / name)
        assert shapely.from_wkb(shape).is_valid
        assert len(shapely.from_wkb(shape).geoms) == 1


def test_what_has_no_data_has_no_mask_and_its_border_is_no_crack(tmp_path: Path) -> None:
    drawn = crack(5, [(500, 80), (900, 620)], 6.0)
    write_mosaic(tmp_path / "deck.tif", (700, 1000), [drawn], TO_MAP, n_without_px=150)
    assert main([str(tmp_path / "deck.tif"), "--backend", "onnxruntime int8"]) == 0
    out = tmp_path / "deck-cracks"
    with rasterio.open(out / "mask.tif") as mask, rasterio.open(tmp_path / "deck.tif") as mosaic:
        has_data = mosaic.dataset_mask() > 0
        np.testing.assert_array_equal(mask.dataset_mask() > 0, has_data)
        assert not mask.read(1)[~has_data].any()
    _, found = features(out / "cracks.gpkg")
    assert [feature["length_m"] for feature in found] == [pytest.approx(drawn.length_px * M_PER_PX, rel=0.05)]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # when it is written
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"crs": None}, "has no coordinate reference system"),
        ({"crs": "EPSG:4326", "transform": rasterio.Affine(1e-7, 0, 9.5, 0, -1e-7, 53.5)}, "is in degrees .*EPSG:32632"),
        ({"crs": "EPSG:3857", "transform": rasterio.Affine(1, 0, 1.06e6, 0, -1, 7.08e6)}, "1.68 times .*EPSG:32632"),
        ({"transform": rasterio.Affine(2, 0, 565e3, 0, -1, 5934e3)}, "pixels of 2 by 1, expected square ones.*-tr 1 1"),
        ({"transform": None}, "does not say how large its pixels are.*-a_ullr"),
        ({"dtype": "uint16"}, "holds uint16, expected 8 bits .*-ot Byte"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_what_to_do(tmp_path: Path, settings: dict[str, Any], sentence: str) -> None:
    profile = {
        "driver": "GTiff",
        "height": 40,
        "width": 40,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:25832",
        "transform": TO_MAP,
    }
    profile |= settings
    with rasterio.open(tmp_path / "deck.tif", "w", **profile) as file:
        file.write(np.zeros((3, 40, 40), profile["dtype"]))
    with pytest.raises(SurveyError, match=sentence):
        Raster(tmp_path / "deck.tif")


def test_a_mosaic_in_local_coordinates_is_measured_in_its_unit_and_has_no_longitudes(tmp_path: Path) -> None:
    drawn = crack(5, [(100, 80), (500, 420)], 6.0)
    feet = 'LOCAL_CS["pier 3",UNIT["foot",0.3048]]'
    write_mosaic(tmp_path / "pier.tif", (500, 600), [drawn], rasterio.Affine(0.01, 0, 0, 0, -0.01, 5), crs=feet)
    assert main([str(tmp_path / "pier.tif"), "--backend", "onnxruntime int8"]) == 0
    out = tmp_path / "pier-cracks"
    _, found = features(out / PACKAGE)
    assert [feature["length_m"] for feature in found] == [pytest.approx(drawn.length_px * 0.003048, rel=0.05)]
    assert not (out / GEOJSON).exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--engine", "http"], "expected --engine local"),
        (["--mm-per-px", "0.2", "--exif"], "--mm-per-px, --exif: not for a mosaic"),
        ([], "is not a readable GeoTIFF"),
    ],
)
def test_wrong_usage_is_told(options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(ROOT / "README.md"), "--out", "/nowhere", *options])
    assert sentence in capsys.readouterr().err


def test_results_that_cannot_be_written_are_an_error_of_the_system_and_written_later(tmp_path: Path) -> None:
    write_mosaic(tmp_path / "deck.tif", (64, 64), [], transform(0.001))
    raster = Raster(tmp_path / "deck.tif")
    full = tmp_path / "full"
    with pytest.raises(OSError, match=r"The results cannot be written.*Free some space there"):
        write_cracks([], raster, "1", full)
    with pytest.raises(OSError, match=r"The results cannot be written.*Free some space there"):
        write_overviews(tmp_path / "deck.tif", full / MASK)
    full.mkdir()
    for name in (PACKAGE, GEOJSON, MASK):
        (full / name).write_bytes(b"half")
    write_overviews(tmp_path / "deck.tif", full / MASK)
    write_cracks([], raster, "1", full)
    assert [pyogrio.read_info(full / name)["features"] for name in (PACKAGE, GEOJSON)] == [0, 0]
    raster.close()


def test_a_survey_of_photographs_imports_nothing_that_only_mosaics_need() -> None:
    code = "import sys, survey.__main__, survey.engines.local; print({'rasterio', 'pyogrio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.soak
def test_a_mosaic_of_600_megapixels_takes_at_most_two_gigabytes(tmp_path: Path) -> None:
    """The proportional set sizes of all of its processes together, looked at ten times a second."""
    cracks = cracks_in(LARGE_HW)
    write_mosaic(tmp_path / "deck.tif", LARGE_HW, cracks, TO_MAP)
    survey = begin(tmp_path / "deck.tif", tmp_path / "found", *ON_BACKEND)
    peak_bytes, started = 0, time.monotonic()
    while survey.poll() is None:
        peak_bytes = max(peak_bytes, pss_bytes(psutil.Process(survey.pid)))
        threading.Event().wait(0.1)
    print(f"{peak_bytes / 1e9:.2f} GB at most, {time.monotonic() - started:.0f} s")
    code, said = end(survey)
    assert code == 0, said
    check_against_drawn(tmp_path / "found", cracks)
    assert peak_bytes < 2 * 2**30


def pss_bytes(process: psutil.Process) -> int:
    total = 0
    try:
        for each in (process, *process.children(recursive=True)):
            total += each.memory_full_info().pss
    except psutil.Error:  # one that has ended
        pass
    return total
