"""Checkpoint -> ONNX -> parity with PyTorch on real photographs -> int8 and its gate -> archive."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from crack.shipped import shipped
from export.archive import ArchiveError, content_hash, repack
from export.build import export, renew_reference
from export.network import ParityError
from model import checkpoint
from model.dataset import add_data_option
from model.params import read_params

logger = logging.getLogger("export")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="crack export",
        description="Turn a checkpoint into the archive that TorchServe serves; parity is checked on validation photographs.",
        epilog="examples:\n"
        "  crack export\n"
        "  crack export --checkpoint models/attention_unet_20261123-140858.pth --out /tmp/crack.mar\n"
        "  crack export --repack\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--checkpoint", type=Path, help="(default: the newest in models/)")
    source.add_argument(
        "--repack", action="store_true", help="keep the network and card of --out, renew the code packed with them"
    )
    source.add_argument(
        "--reference",
        action="store_true",
        help="as --repack, and measure anew, on validation photographs, what drift in production is measured against",
    )
    add_data_option(parser)
    parser.add_argument("--params", type=Path, default=shipped("params.yaml"), help="its section export (default: params.yaml)")
    parser.add_argument("--out", type=Path, default=Path("model_store/crack.mar"), help="(default: model_store/crack.mar)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        if options.repack:
            card = repack(options.out)
        elif options.reference:
            card = renew_reference(options.out, options.data)
        else:
            params = read_params(options.params).export
            card = export(options.checkpoint or checkpoint.newest(Path("models")), options.data, options.out, params)
    except (ArchiveError, FileNotFoundError, ParityError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")
    except KeyboardInterrupt:
        return 130
    logger.info(
        "wrote %s: version %s, %.1f MB, ONNX within %.1e of PyTorch, content sha256 %s",
        options.out,
        card.version,
        options.out.stat().st_size / 1e6,
        card.figures["parity"]["largest_difference"],
        content_hash(options.out),
    )
    return 0


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("export"))
