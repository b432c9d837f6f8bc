"""What a survey hands on, opened by the programs of others: GDAL, geopandas, pyarrow, ezdxf, openpyxl, pycocotools."""

import csv
import gc
import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import ezdxf
import geopandas
import numpy as np
import openpyxl
import pyarrow.parquet
import pyogrio.raw
import pytest
from pycocotools.coco import COCO

from inspection import workbook
from inspection.report.ranking import width
from inspection.rows import Row, Status
from inspection.spreadsheets import csv_lines
from inspection.taken import Taken, read_taken
from model.inference import standards
from model.synthetic import draw_surface
from survey.coco import crack_pixels, write_coco
from survey.dxf import draw, write_dxfs
from survey.findings import Findings
from survey.geojson import geojson
from survey.parquet import parquet
from survey.results import write_results
from survey.tables import tables
from tests.photographs import jpeg
from tests.surveyed import exif, surveyed

NAMES = ("=1+1.jpg", "span 1/wall #1 <b>&amp;\n2.jpg", "-m\udcfcr.jpg", "plain.jpg")
SURFACES = {name: draw_surface(seed, (300, 420)) for seed, name in enumerate(NAMES, 3)}
TORN = Row("@torn.jpg", Status.REFUSED, 5, 0, "", error="=It is torn.")
EXIFS = {NAMES[0]: exif(47.3701, -8.5412), NAMES[1]: exif(-33.25, 151.75)}


@pytest.fixture
def findings(tmp_path: Path) -> Iterator[Findings]:
    findings = surveyed(tmp_path, SURFACES, exifs=EXIFS, others={"@torn.jpg": TORN})
    yield findings
    findings.survey.close()


def write_tables(findings: Findings, with_bom: bool) -> None:
    with tables(findings, with_bom) as add:
        for photograph in findings.photographs():
            add(photograph)


def write_geojson(findings: Findings) -> None:
    with geojson(findings) as add:
        for photograph in findings.photographs():
            add(photograph)


def write_parquet(findings: Findings) -> None:
    with parquet(findings) as add:
        for photograph in findings.photographs():
            add(photograph)


def test_a_folder_whose_name_is_not_utf_8_gets_all_results(tmp_path: Path) -> None:
    findings = surveyed(tmp_path / "Br\udcfccke", {"plain.jpg": SURFACES["plain.jpg"]})
    write_results(findings, False, ("coco", "dxf"), "")
    folder = findings.survey.folder
    findings.survey.close()
    of_tables = {f"{table}.{suffix}" for table in ("photographs", "cracks") for suffix in ("csv", "parquet")}
    wanted = {"index.html", "cracks.xlsx", "cracks.geojson", "coco.json", "dxf"}
    assert of_tables | wanted <= {path.name for path in folder.iterdir()}
    assert pyarrow.parquet.read_table(io.BytesIO((folder / "photographs.parquet").read_bytes())).num_rows == 1


def of_cracks(findings: Findings) -> Counter[str]:
    return Counter({photograph.row.file: len(photograph.cracks) for photograph in findings.predicted()})


def read(path: Path, encoding: str = "utf-8") -> list[dict[str, str]]:
    with path.open(newline="", encoding=encoding, errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_what_a_spreadsheet_would_run_is_text(findings: Findings) -> None:
    write_tables(findings, with_bom=False)
    rows = read(findings.survey.folder / "photographs.csv")
    assert [row["file"] for row in rows] == ["'=1+1.jpg", NAMES[1], "'-m\udcfcr.jpg", "plain.jpg", "'@torn.jpg"]
    assert rows[-1]["error"] == "'=It is torn."


def test_a_name_with_the_end_of_a_line_is_one_cell() -> None:
    """macOS calls a folder's icon "Icon" and a carriage return."""
    file = io.StringIO(newline="")
    add = csv_lines(file)
    lines = [["Icon\r", "1"], ["two\nlines.jpg", "2"], ["plain.jpg", "3"]]
    for line in lines:
        add(line)
    assert file.getvalue().endswith("\nplain.jpg,3\n")
    file.seek(0)
    assert list(csv.reader(file)) == lines


def test_no_cell_runs_where_the_semicolon_separates() -> None:
    """As in a German Excel: a quote in the middle of a line is a character there."""
    file = io.StringIO(newline="")
    add = csv_lines(file)
    add(["a;=1+1;x.jpg", "wet\n=2+2", 'b;"=3+3"', "c; @d;\t+e", "f;-1\t\uff1d2", "plain; 1-2=3"])
    cells = [cell for line in file.getvalue().splitlines() for cell in re.split("[;\t]", line)]
    assert not [cell for cell in cells if cell.strip(' "')[:1] in tuple("=+-@\uff1d")]
    assert "plain; 1-2=3" in file.getvalue()


def test_the_workbook_holds_the_tables_with_numbers_as_numbers_and_no_formula(findings: Findings) -> None:
    write_tables(findings, with_bom=False)
    workbook = openpyxl.load_workbook(findings.survey.folder / "cracks.xlsx")
    assert workbook.sheetnames == ["cracks", "photographs", "summary"]
    cells = [cell for sheet in workbook for row in sheet.iter_rows() for cell in row]
    assert {cell.data_type for cell in cells} <= {"s", "inlineStr", "n", "b"}
    names = [str(row[0]) for row in workbook["photographs"].iter_rows(min_row=2, values_only=True)]
    assert names == ["=1+1.jpg", "span 1/wall #1 <b>&amp; 2.jpg", "-m\ufffdr.jpg", "plain.jpg", "@torn.jpg"]
    header, *rows = workbook["cracks"].iter_rows(values_only=True)
    assert {cell.number_format for cell in cells if cell.data_type == "b"} == {'"TRUE";"TRUE";"FALSE"'}
    assert {sheet.print_title_rows for sheet in workbook} == {"$1:$1"}
    lengths = [row[header.index("length_mm")] for row in rows]
    assert lengths == [crack["length_mm"] for photograph in findings.predicted() for crack in photograph.cracks]


def test_the_workbook_can_be_filtered_and_printed_and_sums_up(findings: Findings) -> None:
    standard = standards.find("aci-224r-01", "humidity")
    write_tables(replace(findings, about=replace(findings.about, standard=standard)), with_bom=False)
    workbook = openpyxl.load_workbook(findings.survey.folder / "cracks.xlsx")
    assert all(sheet.auto_filter.ref == sheet.dimensions for sheet in workbook)
    assert {sheet.title: (sheet.freeze_panes, sheet.print_title_cols) for sheet in workbook} == {
        "cracks": ("C2", "$A:$B"),
        "photographs": ("B2", "$A:$A"),
        "summary": ("B2", "$A:$A"),
    }
    assert all(sheet.sheet_properties.pageSetUpPr.fitToPage and (sheet.page_setup.fitToWidth or 1) <= 3 for sheet in workbook)
    _, *lines = workbook["summary"].iter_rows(values_only=True)
    cracks = [crack for photograph in findings.predicted() for crack in photograph.cracks]
    for section in ("width (95th percentile)", "band, a guide value", "folder"):
        assert sum(line[3] for line in lines if line[0] == section) == len(cracks)
        told = sum(line[4] or 0 for line in lines if line[0] == section)
        assert told == pytest.approx(sum(crack["length_mm"] for crack in cracks), abs=1)
    told_once = {line[1]: line[2] for line in lines}
    assert told_once["Cracks"] == len(cracks)
    assert told_once["Scale"] == "0.2 mm per pixel, as given, for all photographs"
    assert [line[1] for line in lines if line[0] == "left out"] == ["@torn.jpg"]


def test_a_torn_inspection_toml_is_told_in_the_workbook_and_stops_no_survey(findings: Findings) -> None:
    (findings.survey.folder / "inspection.toml").write_text("structure = ")
    write_tables(findings, with_bom=False)
    lines = openpyxl.load_workbook(findings.survey.folder / "cracks.xlsx")["summary"].iter_rows(values_only=True)
    assert any('Expected lines such as structure = "Bridge 7".' in str(line[2]) for line in lines)


def test_a_table_too_long_for_a_workbook_gets_none_and_loses_the_one_before(
    findings: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tables(findings, with_bom=False)
    monkeypatch.setattr(workbook, "MAX_LINES", len(NAMES))
    write_tables(findings, with_bom=False)
    assert not (findings.survey.folder / "cracks.xlsx").exists()
    assert len(read(findings.survey.folder / "photographs.csv")) == len(NAMES) + 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # xlsxwriter then leaves files open
def test_a_folder_that_vanishes_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    book = workbook.Workbook(tmp_path / "card" / "cracks.xlsx")
    book.sheet("cracks", ["file"])
    shutil.rmtree(tmp_path / "card")
    with pytest.raises(FileNotFoundError):
        book.close()
    del book
    gc.collect()


def test_a_table_has_no_scale_of_what_was_not_measured_and_no_column_without_a_figure(findings: Findings) -> None:
    standard = standards.find("aci-224r-01", "humidity")
    write_tables(replace(findings, about=replace(findings.about, standard=standard)), with_bom=False)
    scales = {row["file"]: row["mm_per_px"] for row in read(findings.survey.folder / "photographs.csv")}
    assert scales["'@torn.jpg"] == ""
    assert scales["plain.jpg"] == "0.2"
    cracks = read(findings.survey.folder / "cracks.csv")
    assert any(row["band_name"] for row in cracks)
    assert not all(row["band_name"] for row in cracks)  # too narrow to tell
    assert "band" not in cracks[0]


def test_a_byte_order_mark_is_a_choice(findings: Findings) -> None:
    write_tables(findings, with_bom=True)
    for name in ("cracks.csv", "photographs.csv"):
        assert (findings.survey.folder / name).read_bytes().startswith(b"\xef\xbb\xbffile,")
    write_tables(findings, with_bom=False)
    assert (findings.survey.folder / "cracks.csv").read_bytes().startswith(b"file,")


def test_time_and_position_are_told_where_they_were_asked_for_and_nowhere_else(findings: Findings) -> None:
    write_tables(findings, with_bom=False)
    rows = read(findings.survey.folder / "photographs.csv")
    assert [(row["taken_at"], row["latitude"], row["longitude"]) for row in rows[:3]] == [
        ("2026-05-01T10:20:30", "47.3701", "-8.5412"),
        ("2026-05-01T10:20:30", "-33.25", "151.75"),
        ("", "", ""),
    ]
    unasked = replace(findings, about=replace(findings.about, with_exif=False))
    write_tables(unasked, with_bom=False)
    write_geojson(unasked)
    for path in findings.survey.folder.rglob("*.*"):
        assert path.is_dir() or b"47.3701" not in path.read_bytes(), path
    assert "taken_at" not in read(findings.survey.folder / "photographs.csv")[0]


@pytest.mark.parametrize(
    ("at", "told"),
    [
        ("2026:02:28 23:59:59", "2026-02-28T23:59:59"),
        ("0000:00:00 00:00:00", ""),
        ("2026:02:29 10:20:30", ""),
        ("2026:05:01 24:00:00", ""),
        ("2026:05:01 10:20", ""),
        ("    :  :     :  :  ", ""),
    ],
)
def test_a_time_that_a_clock_never_shows_is_none(at: str, told: str) -> None:
    assert read_taken(jpeg(SURFACES["plain.jpg"].image_hwc_u8, exif=exif(47, 8, at))) == Taken(told, 47, 8)


def test_gdal_reads_a_point_for_each_crack_of_a_photograph_with_a_position(findings: Findings) -> None:
    write_geojson(replace(findings, about=replace(findings.about, standard=standards.find("aci-224r-01", "humidity"))))
    meta, fids, geometry, fields = pyogrio.raw.read(findings.survey.folder / "cracks.geojson", return_fids=True)
    values = dict(zip(meta["fields"], fields, strict=True))
    n_of = of_cracks(findings)
    assert meta["crs"] == "EPSG:4326"
    assert len(set(fids)) == len(fids) == n_of.total() > 0
    has_point = [wkb is not None for wkb in geometry]
    assert sum(has_point) == n_of[NAMES[0]] + n_of[NAMES[1]] > 0
    assert {"band_name", "band_above_mm", "band_up_to_mm", "band_is_certain"} < set(meta["fields"])  # none within another
    longitude, latitude = np.frombuffer(geometry[0][5:21], "<f8")
    assert (longitude, latitude) == (-8.5412, 47.3701)
    assert values["length_mm"].tolist() == [
        crack["length_mm"] for photograph in findings.predicted() for crack in photograph.cracks
    ]


def test_gdal_reads_cracks_without_any_position(tmp_path: Path) -> None:
    findings = surveyed(tmp_path, SURFACES, scale=None)
    write_geojson(findings)
    findings.survey.close()
    meta, _, geometry, _ = pyogrio.raw.read(findings.survey.folder / "cracks.geojson")
    assert set(geometry.tolist()) == {None}
    assert not any(name.endswith("_mm") for name in meta["fields"])


def test_geopandas_reads_the_places_of_photographs_and_cracks_and_pyarrow_all_figures(findings: Findings) -> None:
    write_parquet(findings)
    folder = findings.survey.folder
    photographs = geopandas.read_parquet(folder / "photographs.parquet")
    assert photographs.crs == "OGC:CRS84"
    assert [place and (place.x, place.y) for place in photographs.geometry] == [
        (-8.5412, 47.3701),
        (151.75, -33.25),
        None,
        None,
        None,
    ]
    assert photographs["file"].tolist()[2:] == ["-m\ufffdr.jpg", "plain.jpg", "@torn.jpg"]
    assert photographs["width"].tolist()[:4] == [420] * 4
    table = pyarrow.parquet.read_table(folder / "photographs.parquet")
    assert table["taken_at"].to_pylist()[2:] == [None] * 3  # an empty text is no time
    told = json.loads(pyarrow.parquet.read_metadata(folder / "cracks.parquet").metadata[b"geo"])
    assert (told["version"], told["columns"]["geometry"]["bbox"]) == ("1.1.0", [-8.5412, -33.25, 151.75, 47.3701])
    cracks = pyarrow.parquet.read_table(folder / "cracks.parquet").drop(["file", "geometry"]).to_pylist()
    expected = [crack | {"crack_score": each.row.crack_score} for each in findings.predicted() for crack in each.cracks]
    assert cracks == expected
    assert geopandas.read_parquet(folder / "cracks.parquet").geometry.notna().sum() == sum(
        n for name, n in of_cracks(findings).items() if name in EXIFS
    )


def test_without_positions_parquet_has_none(tmp_path: Path) -> None:
    findings = surveyed(tmp_path, {"wall.jpg": SURFACES[NAMES[0]]}, scale=None)
    write_parquet(findings)
    findings.survey.close()
    for name in ("photographs", "cracks"):
        table = pyarrow.parquet.read_table(findings.survey.folder / f"{name}.parquet")
        assert table.num_rows >= 1
        assert "geometry" not in table.column_names
        with pytest.raises(ValueError, match="Missing geo metadata"):
            geopandas.read_parquet(findings.survey.folder / f"{name}.parquet")


def test_a_drawing_passes_ezdxfs_audit_and_is_in_millimetres_y_up(findings: Findings) -> None:
    write_dxfs(findings)
    assert sorted(path.name for path in (findings.survey.folder / "dxf").rglob("*.dxf")) == sorted(
        f"{Path(name).name}.dxf" for name in NAMES
    )
    for photograph in findings.predicted():
        document = ezdxf.readfile(findings.survey.folder / "dxf" / f"{photograph.row.file}.dxf")
        audit = document.audit()
        assert (audit.errors, audit.fixes, document.units) == ([], [], 4)
        lines = [entity for entity in document.modelspace().query("LWPOLYLINE") if entity.dxf.layer != "photograph"]
        different = [{frozenset(map(tuple, line)) for line in crack} for crack in photograph.row.lines or ()]
        assert len(lines) == sum(len(line) > 1 for crack in different for line in crack)
        (x, y), *_ = photograph.row.lines[0][0] if photograph.row.lines else [(0, 0)]
        assert lines[0].get_points("xy")[0] == pytest.approx((0.2 * x, 0.2 * (300 - y)))
        view = document.viewports.get("*Active")[0].dxf
        assert (view.center.x, view.center.y, view.height) == (0.1 * 420, 0.1 * 300, 1.2 * 0.2 * 420)
        numbered = [text.dxf.text for text in document.modelspace().query("TEXT") if text.dxf.layer.startswith("cracks")]
        assert numbered == [f"{crack['id']}: {width(crack, 'p95')}" for crack in photograph.cracks]
        layers = {line.dxf.layer for line in lines}
        assert layers <= {layer.dxf.name for layer in document.layers}
        assert all(layer.startswith("cracks ") and layer.endswith((" mm", " tell")) for layer in layers)


def test_a_drawing_holds_no_line_twice_and_none_without_length(findings: Findings) -> None:
    photograph = next(each for each in findings.photographs() if each.row.lines)
    (first, *others), *further = photograph.row.lines or []
    twice = [[first, [[5.0, 5.0], [5.0, 5.0]], *others, first[::-1]], *further]
    drawn, again = (
        [entity.get_points("xy") for entity in draw(replace(photograph, row=row)).modelspace().query("LWPOLYLINE")]
        for row in (photograph.row, replace(photograph.row, lines=twice))
    )
    assert again == drawn


def test_a_drawing_without_a_scale_is_in_pixels_and_says_so(tmp_path: Path) -> None:
    findings = surveyed(tmp_path, {"wall.jpg": SURFACES[NAMES[0]]}, scale=None)
    write_dxfs(findings)
    findings.survey.close()
    document = ezdxf.readfile(findings.survey.folder / "dxf" / "wall.jpg.dxf")
    assert document.units == 0
    assert "No scale: 1 unit = 1 pixel, not a length." in [text.dxf.text for text in document.modelspace().query("TEXT")]


def test_a_photograph_that_has_no_crack_any_more_loses_its_drawing(findings: Findings) -> None:
    write_dxfs(findings)
    findings.survey.append(Row(NAMES[0], Status.PREDICTED, 1, 1, "", width=420, height=300, threshold=0.5, cracks=[], lines=[]))
    write_dxfs(findings)
    assert len(list((findings.survey.folder / "dxf").rglob("*.dxf"))) == 3


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")  # pycocotools and NumPy 2
def test_pycocotools_reads_each_cracks_pixels_back(findings: Findings) -> None:
    write_coco(findings)
    data_set = COCO(str(findings.survey.folder / "coco.json"))
    files = {image["id"]: image["file_name"] for image in data_set.dataset["images"]}
    assert list(files.values()) == list(NAMES)
    cracks = [crack for photograph in findings.predicted() for crack in photograph.cracks]
    annotations = data_set.dataset["annotations"]
    together = {name: np.zeros(surface.mask_hw.shape, np.bool_) for name, surface in SURFACES.items()}
    for annotation, crack in zip(annotations, cracks, strict=True):
        mask_hw = data_set.annToMask(annotation).astype(np.bool_)
        assert mask_hw.sum() == annotation["area"] == crack["area_px"]
        y, x = np.nonzero(mask_hw)
        left, top, width, height = annotation["bbox"]
        assert (x.min(), y.min(), x.max() + 1, y.max() + 1) == (left, top, left + width, top + height)
        together[files[annotation["image_id"]]] |= mask_hw
    for name, surface in SURFACES.items():
        assert not (together[name] & ~surface.mask_hw).any()


def test_a_pixel_belongs_to_one_crack_where_the_line_of_another_strays_to_it() -> None:
    mask_hw = np.zeros((40, 100), np.bool_)
    mask_hw[10, 20:80] = mask_hw[13, 20:80] = True
    upper = [[[float(x), 10.5] for x in range(20, 80, 4)]]
    lower = [[*([float(x), 13.5] for x in range(20, 76, 4)), [79.5, 11.9]]]
    found = crack_pixels(mask_hw, [upper, lower])
    assert [np.unique(at // 100).tolist() for at in found] == [[10], [13]]
    assert [len(at) for at in found] == [60, 60]
