"""Measure a model against labelled photographs: `python -m model.evaluate --help`.

Both kinds of model go through the same figures: a checkpoint, run here by PyTorch, and a server, asked over HTTP. Counts are
pooled over all photographs at their own size, without a boundary tolerance, at the threshold that the model brings along.
"""

import argparse
import io
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import requests
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from model import checkpoint
from model.dataset import Pair, add_data_option, read_pairs, read_training_pairs
from model.inference.card import ModelCard
from model.inference.photograph import decode
from model.inference.segmenter import Segmenter, threshold_level
from model.metrics import FalseAlarms, Report, count_levels, count_skeletons, false_alarms, report
from model.params import Params

logger = logging.getLogger("model.evaluate")

REQUEST_TIMEOUT_S = 600
MIN_ALARM_PX = 100

Predict = Callable[[bytes], tuple[NDArray[np.uint8], float]]
"""From a photograph's file to its crack probability, uint8 (height, width), and the threshold to cut it at."""


def by_checkpoint(path: Path) -> tuple[Predict, ModelCard]:
    """Predict with PyTorch, through the same tiles as in production."""
    network, card = checkpoint.load(path)
    if torch.cuda.is_available():
        network.cuda()
    segmenter = Segmenter(card, checkpoint.as_run(network))
    return lambda image: (segmenter.probability(decode(image)), card.threshold), card


def by_server(url: str) -> Predict:
    """Predict by asking `url`, an address such as http://127.0.0.1:8080/predictions/crack.

    Raises (when called): requests.RequestException if the server does not answer, or answers with an error.
    """
    session = requests.Session()

    def predict(image: bytes) -> tuple[NDArray[np.uint8], float]:
        answer = session.post(url, files={"image": image}, data={"response": "probability"}, timeout=REQUEST_TIMEOUT_S)
        answer.raise_for_status()
        return np.asarray(Image.open(io.BytesIO(answer.content))), float(answer.headers["X-Crack-Threshold"])

    return predict


@dataclass(frozen=True)
class Evaluation:
    """What was measured: `report` where photographs hold a crack, `false_alarms` where some hold none."""

    report: Report | None
    false_alarms: FalseAlarms | None

    def to_dict(self) -> dict[str, Any]:
        figures: dict[str, Any] = dict(self.report.to_dict()) if self.report else {}
        return figures | ({"false_alarms": asdict(self.false_alarms)} if self.false_alarms else {})

    def to_markdown(self) -> str:
        parts = [self.report.to_markdown()] if self.report else []
        if self.false_alarms:
            alarms = self.false_alarms
            parts.append(
                f"{alarms.n_photographs} photographs without a crack: {alarms.n_with_alarm} with {MIN_ALARM_PX} or more pixels "
                f"called crack, {alarms.area_ratio:.3%} of their area.\n"
            )
        return "\n".join(parts)


def evaluate(predict: Predict, pairs: Sequence[Pair]) -> Evaluation:
    """Score every pair at the threshold that the predictions come with."""
    levels, skeletons, threshold = [], [], 0.0
    for pair in tqdm(pairs, desc="evaluating", unit="photo"):
        mask_hw = pair.read().mask_hw
        prob_hw_u8, threshold = predict(pair.image_path.read_bytes())
        levels.append(count_levels(prob_hw_u8, mask_hw))
        skeletons.append(count_skeletons(prob_hw_u8 >= threshold_level(threshold), mask_hw))
    levels_n_2_256, threshold_u8 = np.stack(levels), threshold_level(threshold)
    has_crack = levels_n_2_256[:, 1].any(axis=1)
    return Evaluation(
        report(levels_n_2_256, np.array(skeletons), threshold_u8) if has_crack.any() else None,
        None if has_crack.all() else false_alarms(levels_n_2_256, threshold_u8, MIN_ALARM_PX),
    )


def _pairs(data_dir: Path, sets: Sequence[str], split: str, card: ModelCard | None) -> list[Pair]:
    if split != "validation":
        return read_pairs(data_dir, sets, split)
    if card is None:
        raise ValueError("--split validation is cut as the checkpoint's training did: give --checkpoint, not --url.")
    data = Params.model_validate(card.training["params"]).data
    return read_training_pairs(data_dir, data.model_copy(update={"sets": tuple(sets)}))[1]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m model.evaluate",
        description="Measure a model against labelled photographs.",
        epilog="examples:\n"
        "  python -m model.evaluate\n"
        "  python -m model.evaluate --checkpoint models/attention_unet_20261123-140858.pth --split validation\n"
        "  python -m model.evaluate --url http://127.0.0.1:8080/predictions/crack --json figures.json\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subject = parser.add_mutually_exclusive_group()
    subject.add_argument("--checkpoint", type=Path, help="a .pth file (default: the newest in models/)")
    subject.add_argument("--url", help="measure what a server answers instead")
    add_data_option(parser)
    parser.add_argument("--sets", nargs="+", default=["deepcrack"], metavar="SET", help="(default: deepcrack)")
    parser.add_argument("--split", default="test", help="train, validation, val or test (default: test)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--record", action="store_true", help="also write the figures into the checkpoint's model card")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if options.record and options.url:
        parser.error("--record writes into a checkpoint's card: give --checkpoint, not --url")
    try:
        path, card = options.checkpoint, None
        if options.url:
            predict = by_server(options.url)
        else:
            path = path or checkpoint.newest(Path("models"))
            predict, card = by_checkpoint(path)
        figures = evaluate(predict, _pairs(options.data, options.sets, options.split, card))
    except (FileNotFoundError, ValueError, requests.RequestException) as error:
        parser.exit(2, f"error: {error}\n")
    except KeyboardInterrupt:
        return 130
    name = f"{'+'.join(options.sets)}/{options.split}"
    print(f"{name}, {options.url or path}\n\n{figures.to_markdown()}")
    if options.json:
        options.json.write_text(json.dumps(figures.to_dict(), indent=2) + "\n")
    if options.record and card is not None:
        recorded = {**card.figures, name: figures.to_dict()}
        replace(card, figures=recorded).write(path.with_suffix(".json"))
        logger.info("recorded in %s", path.with_suffix(".json"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
