"""The command line of `crack survey`."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from urllib3.util import parse_url

from crack.foreign import read_text
from inspection.tables import WORKBOOK
from model.inference import standards
from model.inference.options import Quality
from survey import coco, geojson
from survey.engines import SurveyError
from survey.engines.http import LONGEST_WAIT_S
from survey.sheet import NAME as SHEET
from survey.tables import CRACKS, PHOTOGRAPHS

# How each photograph's own scale is found. It is part of the measurement, so another one needs another --out.
SCALES = {
    "distance_m": "distance from the camera to the surface, instead of --mm-per-px; EXIF tells the rest, or these two:",
    "focal_length_mm": "the lens's own focal length",
    "sensor_width_mm": "the longer side of the camera's sensor",
    "marker_size_mm": "side of the printed markers in the photographs (crack markers), instead of --mm-per-px",
}
_STORES = ("s3", "gs", "az")
NOT_OF_MOSAICS = ("mm_per_px", *SCALES, "standard", "exposure", "exif", "also", "bom", "key_file")


def make_parser(url: str) -> argparse.ArgumentParser:
    """
    Args:
        url: the sidecar's default address.
    """
    parser = argparse.ArgumentParser(
        prog="crack survey",
        description="Find the cracks in each photograph of a folder and its sub-folders, or in an orthomosaic, with a running\n"
        "sidecar or without one.\n\n"
        f"It writes into OUT: masks/, overlays/, {PHOTOGRAPHS} (one line per photograph), {CRACKS} (one line per crack),\n"
        f"{WORKBOOK} with both tables, {geojson.NAME} for a GIS, and {SHEET}, a contact sheet with the most certain cracks\n"
        "first; for a mosaic mask.tif, cracks.gpkg and cracks.geojson. crack report turns OUT into a report.\n"
        "The same command continues a survey that was stopped or killed: only new, changed and unanswered photographs are\n"
        "examined.",
        epilog="examples:\n"
        "  crack survey photographs\n"
        "  crack survey /media/card/DCIM --out bridge-7 --threshold 0.5\n"
        "  crack survey photographs --engine local\n"
        "  crack survey IMG_0023.jpg\n"
        "  crack survey deck.tif\n"
        "  crack survey s3://agency/bridge-7 --engine local --out bridge-7\n"
        "  RAY_ADDRESS=10.0.0.1:6379 crack survey s3://agency/bridge-7 --engine ray --out s3://agency/bridge-7-cracks\n"
        "  crack survey photographs --mm-per-px 0.2 --exif --also dxf,coco\n"
        "  crack survey photographs --mm-per-px 0.2 --standard aci-224r-01 --exposure humidity\n"
        "  crack survey photographs --url https://cracks.example --key-file crew-7.key --concurrency 32\n\n"
        "exit codes:\n"
        "  0    all photographs, or the whole mosaic, are predicted\n"
        "  1    some are not, or files were left out: photographs.csv lists them with the reasons\n"
        "  2    the survey cannot start or continue: wrong usage, no server, no right, no space\n"
        "  130  stopped by Ctrl-C\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a folder of photographs, an orthomosaic (GeoTIFF), or photographs or patterns such as 'pier-3/*.jpg'; "
        "each may be a URL (s3://, gs://, az://, https://: pip install '.[cloud]'), or @FILE, a text file with one SOURCE per "
        "line. Photographs are never changed",
    )
    parser.add_argument(
        "--out",
        type=folder_or_url,
        help="folder of the results, or its URL in a store (s3://, gs://, az://) (default: SOURCE-cracks, on this machine)",
    )
    parser.add_argument(
        "--engine",
        choices=("http", "local", "ray"),
        help="where the model runs. http: at a running sidecar; local: in processes on this machine, without a server; ray: on "
        "the Ray cluster that RAY_ADDRESS names, else on a Ray that is started here (pip install '.[ray]') (default: http; for "
        "a mosaic local)",
    )
    parser.add_argument(
        "--url",
        default=url,
        help="address of the sidecar, or of a load balancer before several (default: BACKEND_URL, now %(default)s)",
    )
    parser.add_argument("--key-file", type=Path, help="file with the API key (default: the key in CRACK_API_KEY)")
    parser.add_argument(
        "--archive", type=Path, help="local, ray: the model's archive (default: the served one in the model store)"
    )
    parser.add_argument(
        "--backend",
        default="auto",
        metavar="'RUNTIME PRECISION'",
        help="local, ray: the runtime and precision, such as 'openvino int8' (default: the fastest on this machine, or on the "
        "cluster's first node, and then the same on all)",
    )
    parser.add_argument("--quality", choices=list(Quality), default=Quality.NORMAL, help="high takes eight times as long")
    parser.add_argument("--threshold", help="lowest probability at which a pixel counts as crack (default: the model's own)")
    parser.add_argument(
        "--mm-per-px",
        help="size of a pixel on the surface: lengths and widths are then in millimetres; can be added or changed later "
        "without examining anything again",
    )
    for name, what in SCALES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="M" if name.endswith("_m") else "MM", help=what)
    parser.add_argument(
        "--standard",
        metavar="NAME",
        help=f"add each crack's band by this standard, as a guide value: one of {', '.join(standards.names())}; needs a "
        "scale; it and --exposure can be added or changed later",
    )
    parser.add_argument("--exposure", metavar="NAME", help="the row of the standard's table, such as humidity")
    parser.add_argument(
        "--exif",
        action="store_true",
        help="write when and where each photograph was taken, from its EXIF data (otherwise it is written nowhere)",
    )
    parser.add_argument(
        "--also",
        type=ways_out,
        default=(),
        metavar="dxf,coco",
        help=f"write dxf/NAME.dxf for each photograph with cracks, and {coco.NAME} with each crack's pixels, or one of them",
    )
    parser.add_argument(
        "--bom", action="store_true", help="begin the CSV files with a byte order mark, for old versions of Excel"
    )
    parser.add_argument(
        "--concurrency",
        type=_positive,
        help="photographs at the same time. http: twice the number of the servers' processors keeps them busy; each takes 14 "
        "bytes of memory per pixel here (default: 4). local: number of processes (default: one per processor, fewer if "
        "there is less than 1.5 GB of memory for each). ray: number of actors, each on one processor with 1.5 GB (default: as "
        "many as the cluster takes)",
    )
    parser.add_argument(
        "--retries",
        type=_positive,
        default=10,
        help=f"http: further tries while the server is away or busy, up to {LONGEST_WAIT_S} s apart (default: %(default)s)",
    )
    return parser


def with_lists(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the lines of FILE in place of each @FILE. Raises OSError, and UnicodeError as `read_text` does."""
    named: list[str] = []
    for argument in arguments:
        listed = read_text(Path(argument[1:]), "surrogateescape").splitlines() if argument.startswith("@") else [argument]
        named += [line for line in listed if line.strip()]
    return named


def folder_or_url(text: str) -> Path | str:
    scheme, separator, _ = text.partition("://")
    if not separator:
        return Path(text)
    if scheme not in _STORES:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected a folder of this machine, or a URL of a store that writes a file whole or not at all "
            f"({', '.join(f'{name}://' for name in _STORES)})."
        )
    return text.rstrip("/")


def ways_out(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not set(names) <= {"dxf", "coco"}:
        raise argparse.ArgumentTypeError(f"{text!r}: expected dxf, coco, or dxf,coco.")
    return names


def key_in(file: Path | None) -> str | None:
    """The API key in a file, or else in CRACK_API_KEY. Raises OSError."""
    return read_text(file).strip() if file else os.environ.get("CRACK_API_KEY")


def address(text: str) -> str:
    """A server's, without / at its end. Raises SurveyError if it is none."""
    parts = parse_url(text)
    if parts.scheme not in ("http", "https") or not parts.host:
        raise SurveyError(f"{text!r} is not the address of a server. Give one such as http://127.0.0.1:8000.")
    return text.rstrip("/")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a positive whole number.")
    return int(text)
