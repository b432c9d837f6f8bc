"""A weighted mean of two networks of one lineage, as a checkpoint: `crack average --help`.

Between the weights of two stages lies a network that is often better than both (Wortsman et al., Model Soups, ICML 2022). Its
passes and rules are those of params.yaml (`inference`), and its threshold is chosen anew on the choosing part.
"""

import argparse
import copy
import dataclasses
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from crack.shipped import shipped
from model import checkpoint
from model.attention_unet import AttentionUNet
from model.dataset import add_data_option, read_parts, read_photographs
from model.inference.segmenter import Segmenter
from model.params import InferenceParams, Params, read_params
from model.validation import validate

logger = logging.getLogger("model.average")


def average(
    former_path: Path, later_path: Path, data_dir: Path, out_dir: Path, inference: InferenceParams, share: float = 0.5
) -> Path:
    """Write the mean of two checkpoints and return its path; the later one began with the former, and weighs `share`.

    Raises ValueError if it did not: then photographs that one has learned from could choose for the other.
    """
    (former, former_card), (later, card) = checkpoint.load(former_path), checkpoint.load(later_path)
    parent = card.training["parent"]
    if not parent or parent["version"] != former_card.version:
        raise ValueError(f"{later_path} began with {parent and parent['version']}, expected version {former_card.version}.")
    network = between(former, later, share)
    parts = read_parts(data_dir, Params.model_validate(card.training["params"]).data)
    photographs = read_photographs(parts.choosing, "reading validation")
    card = dataclasses.replace(card, **inference.model_dump())
    choice = validate(Segmenter(card, checkpoint.as_run(checkpoint.rounded(network))), photographs)
    version = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    figures = {"score": choice.score, "by_set": choice.by_set, "threshold": choice.threshold}
    path = out_dir / checkpoint.FILE_PATTERN.format(version=version)
    out_dir.mkdir(parents=True, exist_ok=True)
    checkpoint.save(
        path,
        network,
        dataclasses.replace(
            card,
            version=version,
            threshold=choice.threshold,
            training={**card.training, "mean_of": {former_card.version: 1 - share, card.version: share}},
            figures={"validation": {**figures, "n_photographs": len(parts.choosing)}},
        ),
    )
    logger.info("wrote %s: validation %s", path, choice)
    return path


def between(start: AttentionUNet, end: AttentionUNet, share: float) -> AttentionUNet:
    """The network on the straight line between two, `share` of the way from the start to the end."""
    network, old, new = copy.deepcopy(end), start.state_dict(), end.state_dict()
    counters = {name for name in new if not new[name].is_floating_point()}
    network.load_state_dict({name: new[name] if name in counters else old[name].lerp(new[name], share) for name in new})
    return network


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="crack average",
        description="Write a weighted mean of two checkpoints, of which the later began with the former.",
        epilog="examples:\n  crack average models/3-wider-labels/*.pth models/*.pth --out models\n"
        "  crack average former.pth later.pth --share 0.75\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_option(parser)
    parser.add_argument(
        "--params", type=Path, default=shipped("params.yaml"), help="its passes and rules (default: params.yaml)"
    )
    parser.add_argument("former", type=Path, help="a .pth file")
    parser.add_argument("later", type=Path, help="a .pth file that was trained from it")
    parser.add_argument("--share", type=float, default=0.5, help="the later one's weight, 0 to 1 (default: 0.5)")
    parser.add_argument("--out", type=Path, default=Path("models"), help="where the checkpoint is written (default: models)")
    options = parser.parse_args(arguments)
    if not 0 <= options.share <= 1:
        parser.error(f"--share {options.share}: expected a number from 0 to 1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        inference = read_params(options.params).inference
        average(options.former, options.later, options.data, options.out, inference, options.share)
    except (FileNotFoundError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")
    return 0


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("average"))
