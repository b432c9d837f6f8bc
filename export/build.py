"""From a checkpoint to the archive that TorchServe serves: ONNX, parity on real photographs, int8 and its gate, packing."""

import dataclasses
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from export.archive import unpack, write_archive
from export.network import OPSET, check_parity, trace, write_onnx
from export.quantisation import measure, passed, write_int8
from export.reference import measure_reference
from model import checkpoint
from model.checkpoint import REFERENCE
from model.dataset import LabelledPhotograph, Pair, read_parts, read_photographs
from model.inference import runtime
from model.inference.card import Backend, ModelCard
from model.inference.processors import n_usable_cores
from model.inference.segmenter import Segmenter
from model.params import DataParams, ExportParams
from model.synthetic import draw_surface

logger = logging.getLogger("export")

N_PARITY_PHOTOGRAPHS = 8
T = TypeVar("T")


def export(checkpoint_path: Path, data_dir: Path, archive_path: Path, params: ExportParams) -> ModelCard:
    """Turn a checkpoint into the archive that TorchServe serves; returns the card inside it.

    Raises:
        ParityError, ArchiveError: the archive was not built, a former one at `archive_path` is untouched.
        ValueError, FileNotFoundError: checkpoint or data are not what they should be.
    """
    network, card = checkpoint.load(checkpoint_path)
    train, photographs = _training_data(data_dir, card)
    with tempfile.TemporaryDirectory(prefix="crack-export-") as work:
        graphs = trace(network)
        write_onnx(graphs.as_trained, Path(work, runtime.file_name(REFERENCE)))
        side_px = card.tile_px + card.stride
        larger_than_a_tile = draw_surface(0, (side_px, side_px)).image_hwc_u8
        images = [*(photograph.image_hwc_u8 for photograph in _spread(photographs, N_PARITY_PHOTOGRAPHS)), larger_than_a_tile]
        candidate = runtime.load(Path(work), REFERENCE, n_usable_cores())
        difference = check_parity(card, checkpoint.as_run(network), candidate, images, params.tolerance)
        calibration = [pair.read() for pair in _spread(train, params.n_calibration)]
        write_int8(graphs.folded, card, calibration, Path(work, runtime.file_name(Backend("openvino", "int8"))))
        iou = measure(Path(work), card, photographs, n_usable_cores())
        backends = passed(iou, params.largest_iou_loss)
        for backend, value in iou.items():
            verdict = "passed" if backend in backends else f"refused: more than {params.largest_iou_loss} below {REFERENCE}"
            logger.info("%s: crack IoU %.4f on %d validation photographs, %s", backend, value, len(photographs), verdict)
        figures = {
            "parity": {"largest_difference": difference, "n_photographs": len(images), "onnx_opset": OPSET},
            "backends": {
                str(backend): {"validation_iou": value, "is_served": backend in backends} for backend, value in iou.items()
            },
            "reference": measure_reference(Segmenter(card, candidate), photographs),
        }
        card = dataclasses.replace(card, figures=card.figures | figures, backends=backends)
        write_archive(Path(work), card, archive_path)
    return card


def renew_reference(archive_path: Path, data_dir: Path) -> ModelCard:
    """Measure anew what drift is measured against, and repack the archive with it; returns the card inside it.

    Raises as `export` does.
    """
    with tempfile.TemporaryDirectory(prefix="crack-export-") as work:
        card = unpack(archive_path, Path(work))
        segmenter = Segmenter(card, runtime.load(Path(work), REFERENCE, n_usable_cores()))
        reference = measure_reference(segmenter, _training_data(data_dir, card)[1])
        card = dataclasses.replace(card, figures=card.figures | {"reference": reference})
        write_archive(Path(work), card, archive_path)
    return card


def _training_data(data_dir: Path, card: ModelCard) -> tuple[list[Pair], list[LabelledPhotograph]]:
    """What the model learned from, and the validation photographs in memory."""
    parts = read_parts(data_dir, DataParams.model_validate(card.training["params"]["data"]))
    photographs = read_photographs(parts.choosing, "reading validation")
    return parts.learning, [photograph for members in photographs.values() for photograph in members]


def _spread(items: Sequence[T], n_items: int) -> Sequence[T]:
    """About so many of them, from beginning to end: pairs lie set by set."""
    return items[:: max(1, len(items) // n_items)]
