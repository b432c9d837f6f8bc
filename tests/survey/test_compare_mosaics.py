"""Two flights over one deck: mosaics are laid over each other, and their cracks compared, each as a whole."""

import csv
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pyogrio.raw
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.warp import transform as to_crs

from model.synthetic_wall import build_wall
from survey.__main__ import main as survey
from survey.compare import main
from survey.engines import SurveyError
from survey.mosaic.blocks import BLOCK_PX
from survey.mosaic.raster import Raster
from survey.mosaic.surveyed import Surveyed
from survey.stopping import DONE, NOT_POSSIBLE
from tests.conftest import ARCHIVE
from tests.mosaics import Crack, crack

Picture = NDArray[np.uint8]
SIZE_HW = (320, BLOCK_PX + 352)  # two blocks
M_PER_PX, COARSER = 0.002, 1.2
PLACE = (565_000.0, 5_934_000.0)
SHIFT_PX, TURN_DEG = (45, -30), 0.4  # that the earlier mosaic is off the map
NO_DATA_PX = 260
END_X = 1500  # of the long crack in the earlier year

LONG = crack(1, [(500, 90), (END_X, 80), (2350, 100)], 6)
STAYS, NEW = crack(3, [(700, 250), (1300, 220)], 5), crack(4, [(2020, 260), (2360, 200)], 6)
BEFORE_DATA, GONE = crack(5, [(40, 30), (60, 290)], 6), crack(6, [(1450, 260), (1900, 230)], 6)


def drawn(cracks: list[Crack]) -> Picture:
    albedo = build_wall(np.random.default_rng(0), SIZE_HW, "concrete").albedo_hwc
    image = (255 * np.clip(albedo * (0.6 / albedo.mean()), 0, 1)).astype(np.uint8)
    for each in cracks:
        points = [np.round(each.path_xy * 8).astype(np.int32)]
        cv2.polylines(image, points, False, (45, 43, 42), round(each.width_px), cv2.LINE_AA, 3)
    return image


def before_it_grew(each: Crack) -> Crack:
    return Crack(each.path_xy[each.path_xy[:, 0] < END_X], each.width_px)


def flown(image: Picture) -> tuple[Picture, NDArray[np.bool_]]:
    """On another day, with larger pixels, and without data at the left; and which pixels have data."""
    height, width = SIZE_HW
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), TURN_DEG, 1 / COARSER)
    size = (round(width / COARSER), round(height / COARSER))
    turn[:, 2] += (np.array(size) - (width, height)) / 2 + np.array(SHIFT_PX) / COARSER
    taken = cv2.warpAffine(image, turn, size, flags=cv2.INTER_AREA) * 0.75
    has_data = cv2.warpAffine(np.ones(SIZE_HW, np.uint8), turn, size, flags=cv2.INTER_NEAREST) > 0
    has_data[:, : round(NO_DATA_PX / COARSER)] = False
    return taken.astype(np.uint8) * has_data[..., None], has_data


def write(path: Path, image: Picture, m_per_px: float, has_data: NDArray[np.bool_] | None = None) -> None:
    place = Affine.translation(*PLACE) @ Affine.scale(m_per_px, -m_per_px)
    profile = {"driver": "GTiff", "height": image.shape[0], "width": image.shape[1], "count": 3, "dtype": "uint8"}
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", crs="EPSG:25832", transform=place, **profile) as file,
    ):
        file.write(np.moveaxis(image, -1, 0))
        if has_data is not None:
            file.write_mask(has_data)


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two surveys, whose mosaics have one name, and are compared."""
    folder = tmp_path_factory.mktemp("decks")
    before = [before_it_grew(LONG), STAYS, BEFORE_DATA, GONE]
    former, has_data = flown(drawn(before))
    write(folder / "2024" / "deck.tif", former, M_PER_PX * COARSER, has_data)
    write(folder / "2026" / "deck.tif", drawn([LONG, STAYS, BEFORE_DATA, NEW]), M_PER_PX)
    for year in ("2024", "2026"):
        assert survey([str(folder / year / "deck.tif"), "--concurrency", "1", "--backend", "openvino int8"]) == DONE
    results = folder / "2024" / "deck-cracks", folder / "2026" / "deck-cracks"
    assert compare(*results) == DONE
    return results


def compare(earlier: Path, later: Path, *more: str) -> int:
    return main([str(earlier), str(later), "--archive", str(ARCHIVE), "--concurrency", "1", *more])


def told(later: Path) -> list[dict[str, str]]:
    with (later / "changes.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_crack_has_one_verdict_over_all_blocks(years: tuple[Path, Path]) -> None:
    rows = sorted(told(years[1]), key=lambda row: row["change"])
    kinds = [row["change"] for row in rows]
    assert kinds == ["longer", "new", "no longer found", "not on the earlier photograph", "unchanged"]
    grown, new, gone, outside, same = rows
    assert float(grown["length_mm"]) == pytest.approx(1000 * M_PER_PX * LONG.length_px, rel=0.03)
    part_px = LONG.length_px - before_it_grew(LONG).length_px
    assert float(grown["changed_mm"]) + float(grown["unknown_mm"]) == pytest.approx(1000 * M_PER_PX * part_px, rel=0.05)
    assert float(grown["unknown_px"]) < 2 * math.hypot(*SHIFT_PX)  # beyond the edge of the earlier mosaic
    assert float(new["changed_mm"]) == pytest.approx(1000 * M_PER_PX * NEW.length_px, rel=0.1)
    assert float(gone["changed_mm"]) == pytest.approx(1000 * M_PER_PX * GONE.length_px, rel=0.1)
    assert float(outside["unknown_px"]) == pytest.approx(float(outside["length_px"]), rel=0.1)
    assert float(same["width_mm"]) == pytest.approx(float(same["width_before_mm"]), rel=0.15)


def test_gis_workbook_and_page_tell_the_same(years: tuple[Path, Path]) -> None:
    later = years[1]
    meta, _, shapes, columns = pyogrio.raw.read(later / "changes.gpkg")
    assert meta["crs"] == "EPSG:25832"
    features = [dict(zip(meta["fields"], values, strict=True)) for values in zip(*columns, strict=True)]
    assert {(each["change"], each["part"]) for each in features} >= {
        ("longer", "new, or no longer found"),
        ("longer", "found in both"),
        ("unchanged", "found in both"),
        ("no longer found", "new, or no longer found"),
    }
    geojson = json.loads((later / "changes.geojson").read_text())
    assert [each["properties"]["change"] for each in geojson["features"]] == [each["change"] for each in features]
    assert len(shapes) == len(features)
    rows = {(row["change"], row["id"]): row for row in told(later)}
    assert len(rows) == 5
    for feature in features:
        is_gone = feature["change"] == "no longer found"
        row = rows[feature["change"], "" if is_gone else str(int(feature["id"]))]
        assert 1000 * feature["length_m"] == pytest.approx(float(row["length_mm"]), abs=0.01)
        assert PLACE[0] < float(row["map_x"]) < PLACE[0] + SIZE_HW[1] * M_PER_PX
        assert PLACE[1] > float(row["map_y"]) > PLACE[1] - SIZE_HW[0] * M_PER_PX
    head, *lines = openpyxl.load_workbook(later / "changes.xlsx")["changes"].iter_rows(values_only=True)
    assert head[-2:] == ("map_x", "map_y")
    assert len(lines) == 5
    page = (later / "changes.html").read_text()
    assert "Blocks of the mosaic: 2 compared" in page
    linked = set(re.findall(r'(?:href|src)="(changes[/.][^"]*)"', page))
    assert linked == {
        path.relative_to(later).as_posix()
        for path in later.glob("**/*")
        if re.match("changes.*(jpg|csv|xlsx|gpkg|geojson)$", path.relative_to(later).as_posix())
    }


def test_a_mosaic_that_has_moved_is_found_beside_its_results_or_by_name(years: tuple[Path, Path], tmp_path: Path) -> None:
    place = shutil.copytree(years[0].parent, tmp_path / "archive")
    state = place / "deck-cracks" / "mosaic.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"place": "/nowhere/deck.tif"}))
    assert Surveyed.find(place / "deck-cracks", None).mosaic == place / "deck.tif"
    moved = (place / "deck.tif").rename(tmp_path / "renamed.tif")
    assert Surveyed.find(place / "deck-cracks", str(moved)).mosaic == moved
    with pytest.raises(SurveyError, match="name its place by --earlier-photographs"):
        Surveyed.find(place / "deck-cracks", None)


def test_places_are_the_same_in_another_reference_system(tmp_path: Path) -> None:
    write(tmp_path / "deck.tif", np.zeros((40, 60, 3), np.uint8), M_PER_PX)
    (x,), (y,) = to_crs("EPSG:25832", "EPSG:25833", [PLACE[0]], [PLACE[1]])
    profile = {"driver": "GTiff", "height": 40, "width": 60, "count": 3, "dtype": "uint8", "crs": "EPSG:25833"}
    with rasterio.open(
        tmp_path / "other.tif", "w", transform=Affine.translation(x, y) @ Affine.scale(0.004, -0.004), **profile
    ):
        pass
    deck, other = Raster(tmp_path / "deck.tif"), Raster(tmp_path / "other.tif")
    np.testing.assert_allclose(other.pixel_xy_of(deck, np.array([(0.0, 0.0)])), [(0, 0)], atol=0.01)
    points_xy = np.array([(10.0, 20.0), (30.0, 5.0)])
    np.testing.assert_allclose(deck.pixel_xy_of(other, other.pixel_xy_of(deck, points_xy)), points_xy, atol=0.01)
    deck.close()
    other.close()


def elsewhere(years: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path, str]:
    shutil.copytree(years[0].parent, tmp_path / "far")
    with rasterio.open(tmp_path / "far" / "deck.tif", "r+") as file:
        file.transform = Affine.translation(5000, 0) @ file.transform
    state = tmp_path / "far" / "deck-cracks" / "mosaic.json"
    told = json.loads(state.read_text())
    told["place"] = str(tmp_path / "far" / "deck.tif")
    status = (tmp_path / "far" / "deck.tif").stat()
    told["asked"] |= {"n_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
    state.write_text(json.dumps(told))
    return state.parent, years[1], "They have no ground in common"


def changed(years: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path, str]:
    shutil.copytree(years[0], tmp_path / "deck-cracks")
    state = tmp_path / "deck-cracks" / "mosaic.json"
    state.write_text(state.read_text().replace('"n_bytes": ', '"n_bytes": 1'))
    return state.parent, years[1], "has changed since its survey"


def unfinished(years: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path, str]:
    shutil.copytree(years[0], tmp_path / "deck-cracks")
    state = tmp_path / "deck-cracks" / "mosaic.json"
    state.write_text(json.dumps({"asked": json.loads(state.read_text())["asked"]}))
    return state.parent, years[1], "has not ended. Continue it"


def photographs(years: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path, str]:
    return tmp_path, years[1], "A mosaic is compared with a mosaic, and photographs with photographs"


Make = Callable[[tuple[Path, Path], Path], tuple[Path, Path, str]]


@pytest.mark.parametrize("make", [elsewhere, changed, unfinished, photographs])
def test_what_cannot_be_compared_is_told(
    years: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Make,
) -> None:
    earlier, later, sentence = make(years, tmp_path)
    former = (later / "changes.html").read_text()
    with pytest.raises(SystemExit) as ended:
        compare(earlier, later)
    assert ended.value.code == NOT_POSSIBLE
    assert sentence in capsys.readouterr().err
    assert (later / "changes.html").read_text() == former
