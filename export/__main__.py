"""Checkpoint -> ONNX -> parity with PyTorch on real photographs -> archive."""

import argparse
import dataclasses
import itertools
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from export.archive import ArchiveError, content_hash, repack, write_archive
from export.network import OPSET, ParityError, check_parity, write_onnx
from model import checkpoint
from model.dataset import add_data_option, read_training_pairs
from model.inference import runtime
from model.inference.card import ModelCard
from model.inference.processors import n_usable_cores
from model.params import Params
from model.synthetic import draw_surface

logger = logging.getLogger("export")

N_PARITY_PHOTOGRAPHS = 8


def export(checkpoint_path: Path, data_dir: Path, archive_path: Path) -> ModelCard:
    """Turn a checkpoint into the archive that TorchServe serves; returns the card inside it.

    Raises:
        ParityError, ArchiveError: the archive was not built, a former one at `archive_path` is untouched.
        ValueError, FileNotFoundError: checkpoint or data are not what they should be.
    """
    network, card = checkpoint.load(checkpoint_path)
    params = Params.model_validate(card.training["params"])
    _, validation = read_training_pairs(data_dir, params.data)
    with tempfile.TemporaryDirectory(prefix="crack-export-") as work:
        onnx_path = Path(work, runtime.FILE_NAME)
        write_onnx(network, onnx_path)
        candidate = runtime.OnnxNetwork(onnx_path, n_usable_cores())
        pairs = validation[:: -(-len(validation) // N_PARITY_PHOTOGRAPHS)]  # spread over all sets
        photographs = (pair.read().image_hwc_u8 for pair in tqdm(pairs, desc="checking parity", unit="photo", leave=False))
        side_px = card.tile_px + card.stride
        larger_than_a_tile = draw_surface(0, (side_px, side_px)).image_hwc_u8
        images = itertools.chain(photographs, [larger_than_a_tile])
        difference = check_parity(card, checkpoint.as_run(network), candidate, images, params.export.tolerance)
        parity = {"largest_difference": difference, "n_photographs": len(pairs) + 1, "onnx_opset": OPSET}
        card = dataclasses.replace(card, figures={**card.figures, "parity": parity})
        write_archive(onnx_path, card, archive_path)
    return card


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m export",
        description="Turn a checkpoint into the archive that TorchServe serves; parity is checked on validation photographs.",
        epilog="examples:\n"
        "  python -m export\n"
        "  python -m export --checkpoint models/attention_unet_20261123-140858.pth --out /tmp/crack.mar\n"
        "  python -m export --repack\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--checkpoint", type=Path, help="(default: the newest in models/)")
    source.add_argument(
        "--repack", action="store_true", help="keep the network and card of --out, renew the code packed with them"
    )
    add_data_option(parser)
    parser.add_argument("--out", type=Path, default=Path("model_store/crack.mar"), help="(default: model_store/crack.mar)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("onnxscript", "onnx_ir", "torch.onnx"):  # they report each of their passes, and that torchvision is absent
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        if options.repack:
            card = repack(options.out)
        else:
            card = export(options.checkpoint or checkpoint.newest(Path("models")), options.data, options.out)
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
    sys.exit(main())
