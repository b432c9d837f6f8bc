"""What `crack survey` may be asked for."""

import argparse
from pathlib import Path

from model.inference import standards
from model.inference.options import Quality
from survey import coco, geojson
from survey.engines.http import LONGEST_WAIT_S
from survey.folder import SHEET
from survey.tables import CRACKS, PHOTOGRAPHS, WORKBOOK

# What each photograph's own scale is found by, while it is measured: another one needs another --out.
SCALES = {
    "distance_m": "from the camera to the surface, in place of --mm-per-px; the rest is in most photographs' EXIF, or in:",
    "focal_length_mm": "of the lens, its own",
    "sensor_width_mm": "of the camera's sensor, its longer side",
    "marker_size_mm": "of the printed markers that photographs show (crack markers), in place of --mm-per-px",
}
NOT_OF_MOSAICS = ("mm_per_px", *SCALES, "standard", "exposure", "exif", "also", "bom", "key_file")


def make_parser(url: str) -> argparse.ArgumentParser:
    """
    Args:
        url: of the sidecar that is asked where none is named.
    """
    parser = argparse.ArgumentParser(
        prog="crack survey",
        description="Find the cracks in each photograph of a folder and its sub-folders, by a sidecar or without one,\n"
        "or in an orthomosaic.\n\n"
        f"OUT then holds masks/, overlays/, {PHOTOGRAPHS} (a line for each photograph), {CRACKS} (a line for each crack),\n"
        f"both in {WORKBOOK} too, {geojson.NAME} for a GIS, and {SHEET}, a contact sheet with the surest cracks first.\n"
        "crack report turns OUT into a report. Of a mosaic OUT holds mask.tif, cracks.gpkg and cracks.geojson.\n"
        "The same command goes on where a survey was stopped or killed: what was added, changed or not answered since is\n"
        "asked about, and nothing else again.",
        epilog="examples:\n"
        "  crack survey photographs\n"
        "  crack survey /media/card/DCIM --out bridge-7 --threshold 0.5\n"
        "  crack survey photographs --engine local\n"
        "  crack survey deck.tif\n"
        "  crack survey photographs --mm-per-px 0.2 --exif --also dxf,coco\n"
        "  crack survey photographs --mm-per-px 0.2 --standard aci-224r-01 --exposure humidity\n"
        "  crack survey photographs --url https://cracks.example --key-file crew-7.key --concurrency 32\n\n"
        "exit codes:\n"
        "  0    each photograph is predicted, or all of the mosaic\n"
        "  1    some are not, or files were left out: photographs.csv says which and why\n"
        "  2    it cannot be done or gone on with: wrong usage, no server, no right, no space\n"
        "  130  stopped by Ctrl-C\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="a folder of photographs, or an orthomosaic (GeoTIFF); nothing in it is changed",
    )
    parser.add_argument("--out", type=Path, help="folder of what is found (default: SOURCE-cracks)")
    parser.add_argument(
        "--engine",
        choices=("http", "local"),
        help="what looks at the photographs. http: a running sidecar; local: processes on this machine's cores, without any "
        "server (default: http, for a mosaic local)",
    )
    parser.add_argument(
        "--url",
        default=url,
        help="address of the sidecar, or one behind which many stand (default: BACKEND_URL, now %(default)s)",
    )
    parser.add_argument("--key-file", type=Path, help="file that holds the API key (default: the key in CRACK_API_KEY)")
    parser.add_argument("--archive", type=Path, help="local: the model (default: what is served from the model store)")
    parser.add_argument(
        "--backend",
        default="auto",
        metavar="'RUNTIME PRECISION'",
        help="local: what computes it, such as 'openvino int8'; a server's answers name theirs (default: the fastest here)",
    )
    parser.add_argument("--quality", choices=list(Quality), default=Quality.NORMAL, help="high takes eight times the time")
    parser.add_argument("--threshold", help="probability from which a pixel is called crack (default: the model's own)")
    parser.add_argument(
        "--mm-per-px",
        help="how large a pixel is on the surface, for millimetres in all that is written; given later or changed, nothing "
        "is asked again",
    )
    for name, what in SCALES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="M" if name.endswith("_m") else "MM", help=what)
    parser.add_argument(
        "--standard",
        metavar="NAME",
        help=f"tell each crack's band by it, a guide value: one of {', '.join(standards.names())}; needs a scale, and with "
        "--exposure may be given later or changed, too",
    )
    parser.add_argument("--exposure", metavar="NAME", help="the row of the standard's table, such as humidity")
    parser.add_argument(
        "--exif",
        action="store_true",
        help="tell when and where each photograph was taken, by its EXIF (without it no file says so)",
    )
    parser.add_argument(
        "--also",
        type=_ways_out,
        default=(),
        metavar="dxf,coco",
        help=f"write dxf/NAME.dxf for each photograph with cracks, and {coco.NAME} with each crack's pixels, or one of both",
    )
    parser.add_argument("--bom", action="store_true", help="begin the CSVs by a byte order mark, which old Excels need")
    parser.add_argument(
        "--concurrency",
        type=_positive,
        help="photographs under way at a time. http: twice as many as the servers have processors keep them busy, more only "
        "make others wait; each takes 14 bytes a pixel here (default: 4). local: processes (default: the processors, "
        "fewer where there is less than 1.5 GB of memory for each)",
    )
    parser.add_argument(
        "--retries",
        type=_positive,
        default=10,
        help=f"http: tries more while the server is away or busy, up to {LONGEST_WAIT_S} s apart (default: %(default)s)",
    )
    return parser


def _ways_out(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not set(names) <= {"dxf", "coco"}:
        raise argparse.ArgumentTypeError(f"{text!r}: expected dxf, coco, or dxf,coco.")
    return names


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a positive whole number.")
    return int(text)
