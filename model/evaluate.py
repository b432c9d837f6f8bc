"""Measure a model against labelled photographs: `crack evaluate --help`.

Both kinds of model go through the same figures: a checkpoint, run here by PyTorch, and a server, asked over HTTP. Counts are
pooled over all photographs at their own size, without a boundary tolerance, at the threshold that the model brings along.
"""

import argparse
import io
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import requests
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from crack.files import write_whole
from crack.neighbours import session
from model import checkpoint
from model.dataset import Pair, add_data_option, is_held_out, read_pairs, read_parts
from model.inference.card import ModelCard, threshold_level
from model.inference.headers import THRESHOLD
from model.inference.photograph import decode
from model.inference.score import crack_score
from model.inference.segmenter import Segmenter
from model.metrics import auroc, count_levels, count_near, count_skeletons, false_alarms, near_f1, report
from model.params import Params
from model.report import MIN_ALARM_PX, TOLERANCE_PX, Evaluation, Predict

logger = logging.getLogger("model.evaluate")

REQUEST_TIMEOUT_S = 600
CHOOSING, JUDGING, HELD_OUT = SPLITS_BY_CHECKPOINT = ("validation", "judging", "held-out")


def by_checkpoint(path: Path, is_high_quality: bool = False) -> tuple[Predict, ModelCard]:
    """Predict with PyTorch, through the same tiles as in production."""
    network, card = checkpoint.load(path)
    if torch.cuda.is_available():
        network.cuda()
    segmenter = Segmenter(card, checkpoint.as_run(network))
    return lambda image: (segmenter.probability(decode(image), is_high_quality), card.threshold), card


def by_server(url: str, is_high_quality: bool = False) -> Predict:
    """Predict by asking `url`, an address of predictions at TorchServe or the sidecar.

    Raises (when called): requests.RequestException if the server does not answer, or answers with an error.
    """
    server = session()
    fields = {"response": "probability", "quality": "high" if is_high_quality else "normal"}

    def predict(image: bytes) -> tuple[NDArray[np.uint8], float]:
        answer = server.post(url, files={"image": image}, data=fields, timeout=REQUEST_TIMEOUT_S)
        answer.raise_for_status()
        return np.asarray(Image.open(io.BytesIO(answer.content))), float(answer.headers[THRESHOLD])

    return predict


def evaluate(predict: Predict, pairs: Sequence[Pair]) -> Evaluation:
    """Score every pair at the threshold that the predictions come with."""
    levels, skeletons, near, scores, threshold = [], [], [], [], 0.0
    for pair in tqdm(pairs, desc="evaluating", unit="photo"):
        mask_hw = pair.read().mask_hw
        prob_hw_u8, threshold = predict(pair.encoded())
        called_hw = prob_hw_u8 >= threshold_level(threshold)
        levels.append(count_levels(prob_hw_u8, mask_hw))
        skeletons.append(count_skeletons(called_hw, mask_hw))
        near.append(count_near(called_hw, mask_hw, TOLERANCE_PX))
        scores.append(crack_score(prob_hw_u8))
    levels_n_2_256, threshold_u8, crack_scores = np.stack(levels), threshold_level(threshold), np.array(scores)
    has_crack = levels_n_2_256[:, 1].any(axis=1)
    return Evaluation(
        pairs,
        levels_n_2_256,
        threshold,
        scores,
        report=report(levels_n_2_256, np.array(skeletons), threshold_u8) if has_crack.any() else None,
        near_f1=near_f1(np.array(near)) if has_crack.any() else None,
        false_alarms=None if has_crack.all() else false_alarms(levels_n_2_256, threshold_u8, MIN_ALARM_PX),
        auroc=auroc(crack_scores[has_crack], crack_scores[~has_crack]) if has_crack.any() and not has_crack.all() else None,
    )


def _pairs(data_dir: Path, sets: Sequence[str], split: str, card: ModelCard | None) -> list[Pair]:
    if split not in SPLITS_BY_CHECKPOINT:
        return read_pairs(data_dir, sets, split)
    if card is None:
        raise ValueError(f"--split {split} is cut as the checkpoint's training did: give --checkpoint, not --url.")
    data = Params.model_validate(card.training["params"]).data
    if split == HELD_OUT:
        if not set(sets) <= data.held_out_folds.keys():
            raise ValueError(f"The training held out no fold of {', '.join(sets)}: held_out_folds={data.held_out_folds!r}.")
        return [pair for pair in read_pairs(data_dir, sets, "train") if is_held_out(pair, data)]
    parts = read_parts(data_dir, data.model_copy(update={"sets": dict.fromkeys(sets, 1.0)}))
    return parts.choosing if split == CHOOSING else parts.judging


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="crack evaluate",
        description="Measure a model against labelled photographs.",
        epilog="examples:\n"
        "  crack evaluate\n"
        "  crack evaluate --checkpoint models/attention_unet_20261123-140858.pth --split validation\n"
        "  crack evaluate --high-quality\n"
        "  crack evaluate --url http://127.0.0.1:8080/predictions/crack\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subject = parser.add_mutually_exclusive_group()
    subject.add_argument("--checkpoint", type=Path, help="a .pth file or a .mar archive (default: the newest .pth in models/)")
    subject.add_argument("--url", help="measure what a server answers instead")
    add_data_option(parser)
    parser.add_argument("--sets", nargs="+", default=["deepcrack"], metavar="SET", help="(default: deepcrack)")
    parser.add_argument(
        "--split",
        default="test",
        help=f"train, val or test, or as the checkpoint's training cut them: {', '.join(SPLITS_BY_CHECKPOINT)} (default: test)",
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="measure each N-th photograph alone (default: 1, all)"
    )
    parser.add_argument(
        "--enlarge", type=int, default=1, metavar="N", help="enlarge the photographs N times first, as if taken from closer"
    )
    parser.add_argument("--high-quality", action="store_true", help="average over mirror images and quarter turns")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the report goes (default: a folder in reports/)")
    parser.add_argument("--record", action="store_true", help="also write the figures into the checkpoint's model card")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if options.record and (options.url or (options.checkpoint and options.checkpoint.suffix == ".mar")):
        parser.error("--record writes into the card beside a checkpoint: give a .pth file as --checkpoint")
    try:
        path, card = options.checkpoint, None
        if options.url:
            predict = by_server(options.url, options.high_quality)
        else:
            path = path or checkpoint.newest(Path("models"))
            predict, card = by_checkpoint(path, options.high_quality)
        pairs = _pairs(options.data, options.sets, options.split, card)[:: options.every]
        figures = evaluate(predict, [replace(pair, enlargement=options.enlarge) for pair in pairs])
        name = f"{'+'.join(options.sets)}/{options.split}" + (" high quality" if options.high_quality else "")
        name += (f" every {options.every}" if options.every > 1 else "") + (
            f" x{options.enlarge}" if options.enlarge > 1 else ""
        )
        model = options.url if card is None else f"{path}, version {card.version}"
        folder = options.out or Path(
            "reports", f"{card.version if card else 'server'} {name}".replace("/", "-").replace(" ", "-")
        )
        page = figures.write(folder, name, model, predict)
    except (FileNotFoundError, ValueError, requests.RequestException) as error:
        parser.exit(2, f"error: {error}\n")
    except KeyboardInterrupt:
        return 130
    print(f"{name}, {model}\n\n{figures.to_markdown()}\nreport: {page}")
    if options.record and card is not None:
        card = ModelCard.read(path.with_suffix(".json"))  # another evaluation may have recorded meanwhile
        card = replace(card, figures={**card.figures, name: figures.to_dict()})
        write_whole(path.with_suffix(".json"), card.to_json())
        logger.info("recorded in %s", path.with_suffix(".json"))
    return 0


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("evaluate"))
