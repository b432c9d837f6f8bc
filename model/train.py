"""Train the Attention U-Net on folders of photographs and masks: `crack train --help`.

A training is a function of params.yaml and the data; killed at any time and resumed, it goes on as if it had not been.
Left to others: the steps themselves (`model.trainer`), figures on test photographs (`model.evaluate`), the archive (`export`).
"""

import argparse
import logging
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from crack.shipped import shipped
from model import checkpoint
from model.attention_unet import AttentionUNet, network_of
from model.crops import Pixels, find_alarms
from model.dataset import (
    Parts,
    add_data_option,
    draw_photographs,
    is_held_out,
    learned_by,
    read_pairs,
    read_parts,
    read_photographs,
)
from model.efficientnet_lite import imagenet_weights
from model.inference.card import ModelCard
from model.inference.segmenter import Segmenter
from model.machine import Machine, leave_processes
from model.params import DataParams, Params, read_params
from model.trainer import DRAWN, Report, Trainer

logger = logging.getLogger("model.train")

UNFINISHED = ".unfinished"


def train(
    params: Params,
    data_dir: Path,
    out_dir: Path,
    *,
    resume: Path | None = None,
    parent: Path | None = None,
    most_alarms: int | None = None,
    most_minutes: float = math.inf,
    report: Report = lambda done, of: None,
) -> Path:
    """Train, or go on with a training that was stopped.

    Args:
        params: the recipe; with `resume`, the recipe that the stopped training began with is used instead.
        data_dir: holds a folder for each of `params.data.sets`.
        out_dir: where `attention_unet_<version>.pth` and its card are written.
        resume: the `.unfinished` file of the stopped training.
        parent: a finished checkpoint or an archive whose weights to begin with, instead of ImageNet's or random ones.
        most_alarms: crack-free validation photographs with a false alarm that its threshold may cause, if one can be chosen so.
        most_minutes: where this machine needs longer for the steps of the recipe, it takes as many as fit. In one process.
        report: called after each step with the progress.

    Returns:
        The path of the finished checkpoint.
    """
    state = torch.load(resume, map_location="cpu", weights_only=True) if resume else None
    if state:
        params = Params.model_validate(state["params"])
    version = state["version"] if state else datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    _check(params)
    if params.network.is_from_imagenet and not (parent or resume):
        imagenet_weights(params.network.width, params.network.depth)
    ancestor = checkpoint.load(parent) if parent else None
    parts = read_parts(data_dir, params.data)
    if ancestor:
        _check_unseen(ancestor[1], data_dir, params.data, parts)
    by_set = read_photographs([pair for pair in parts.learning if params.data.sets[pair.set_name]], "reading")
    if params.data.n_synthetic:
        by_set[DRAWN] = draw_photographs(params.data)
    alarms: Mapping[str, Sequence[Pixels]] = {}
    if state:
        alarms = {name: [pixels.numpy() for pixels in of_set] for name, of_set in state["alarms"].items()}
    elif ancestor:
        card = replace(ancestor[1], least_sure_px=0)  # what it is unsure of is worth learning from, too
        alarms = find_alarms(Segmenter(card, checkpoint.as_run(ancestor[0])), by_set)
    validation = read_photographs(parts.choosing, "reading validation")
    trainer = Trainer(params, version, by_set, validation, most_alarms, report, alarms, 60 * most_minutes)
    if state:
        trainer.restore(state)
    elif ancestor:
        trainer.begin_with(*ancestor)
    elif params.network.is_from_imagenet:
        trainer.begin_with_imagenet()
    counts = ", ".join(f"{len(photographs)} {name}" for name, photographs in by_set.items())
    logger.info("learning from %s; %d photographs to choose on; version %s", counts, len(parts.choosing), version)
    out_dir.mkdir(parents=True, exist_ok=True)
    path = out_dir / checkpoint.FILE_PATTERN.format(version=version)
    unfinished = path.with_name(path.name + UNFINISHED)
    trainer.run(unfinished)
    if trainer.machine.is_first:
        best = trainer.best
        network = network_of(params.network)
        network.load_state_dict(best["weights"])
        card = trainer.card(best["threshold"])
        card.figures["validation"] = {
            "score": best["score"],
            "by_set": best["by_set"],
            "threshold": best["threshold"],
            "n_photographs": len(parts.choosing),
        }
        checkpoint.save(path, network, card)
        unfinished.unlink(missing_ok=True)
        logger.info("wrote %s: validation %.4f, threshold %.3f", path, best["score"], best["threshold"])
    trainer.machine.any_of_all(False)  # the others wait until it is written
    return path


def train_stages(
    recipes: Path, params_path: Path, overrides: Mapping[str, str], data_dir: Path, out_dir: Path, parent: Path | None = None
) -> Path:
    """Train by each recipe of a folder in the order of their names; each begins with the weights of the one before.

    The last one's checkpoint lies in `out_dir`, each other's in a folder of its own there. What is finished is left alone and
    what was stopped is gone on with, so that the same command goes on, here or on another machine that `out_dir` was copied to.

    Args:
        parent: what the first stage begins with; as for `train`.

    Returns:
        The path of the last stage's checkpoint.
    """
    stages = sorted(recipes.glob("*.yaml"))
    if not stages:
        raise FileNotFoundError(f"{recipes}: no *.yaml, expected a recipe for each stage.")
    recipe_of = {stage: read_params(params_path, overrides, stage) for stage in stages}  # all of them before any is trained
    path = out_dir
    for number, (stage, params) in enumerate(recipe_of.items(), start=1):
        folder = out_dir if stage == stages[-1] else out_dir / stage.stem
        unfinished = sorted(folder.glob(f"*{UNFINISHED}"))
        if finished := _child(folder, parent):
            logger.info("stage %d of %d, %s: %s is there", number, len(stages), stage.stem, finished)
            path = finished
        else:
            logger.info("stage %d of %d, %s", number, len(stages), stage.stem)
            resume = unfinished[-1] if unfinished else None
            path = train(params, data_dir, folder, resume=resume, parent=None if resume else parent)
        parent = path
    return path


def _child(folder: Path, parent: Path | None) -> Path | None:
    """The newest checkpoint in the folder that was trained from `parent`."""
    version = ModelCard.read(parent.with_suffix(".json")).version if parent and parent.suffix == ".pth" else None
    for path in sorted(folder.glob(checkpoint.FILE_PATTERN.format(version="*")), reverse=True):
        ancestor = ModelCard.read(path.with_suffix(".json")).training["parent"]
        if version is None or (ancestor and ancestor["version"] == version):
            return path
    return None


def _check(params: Params) -> None:
    """Raise ValueError for settings that would fail only after the data is read, or at the first validation."""
    stride = AttentionUNet.stride
    if params.training.crop_px % stride:
        raise ValueError(f"training.crop_px={params.training.crop_px}: expected a multiple of {stride}.")
    with torch.device("meta"):  # allocates nothing
        network_of(params.network)
    Machine.here().own_draws(range(0), params.training.batch)
    tiles = params.inference.tile_px, params.inference.overlap_px
    ModelCard("", (0, 0, 0), (1, 1, 1), stride, *tiles, threshold=0.5, architecture={}, training={})


def _check_unseen(card: ModelCard, data_dir: Path, data: DataParams, parts: Parts) -> None:
    """Raise ValueError if the model, or one that it began with, learned from what this training is to be judged by."""
    pairs = read_pairs(data_dir, list(data.sets), "train")
    judges = {*parts.choosing, *parts.judging, *(pair for pair in pairs if is_held_out(pair, data))}
    for version, learned in learned_by(card, pairs).items():
        seen = judges & learned
        if seen:
            raise ValueError(
                f"version {version} was trained on {len(seen)} photographs that this training is to be judged by, "
                f"{min(pair.image_path.name for pair in seen)} among them. Begin with a model of the same data.seed, "
                "data.validation_ratio, data.judging_ratio and data.held_out_folds."
            )


def _find_unfinished(folder: Path) -> Path:
    found = sorted(folder.rglob(f"*{UNFINISHED}"), key=lambda path: path.name)
    if not found:
        raise FileNotFoundError(f"{folder}: no *{UNFINISHED} file, so there is no training to resume.")
    return found[-1]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="crack train",
        description="Train the Attention U-Net. Ctrl-C stops it; --resume goes on with it.",
        epilog="examples:\n"
        "  crack train --data ~/cracks\n"
        "  crack train --data ~/cracks --recipe recipes/release\n"
        "  crack train --data ~/cracks --set training.steps=1000\n"
        "  crack train --data ~/cracks --from models/2-deepcrack\n"
        "  crack train --data ~/cracks --resume\n"
        "  torchrun --nproc-per-node 4 --no-python crack train --data ~/cracks\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_option(parser)
    parser.add_argument("--params", type=Path, default=shipped("params.yaml"), help="the recipe (default: params.yaml)")
    parser.add_argument(
        "--recipe",
        type=shipped,
        metavar="PATH",
        help="a file with what differs from --params, or a folder of such files: stages, trained in the order of their names; "
        "given again, the command goes on where it was stopped",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="change one value of the recipe; may be repeated",
    )
    parser.add_argument("--out", type=Path, default=Path("models"), help="where checkpoints are written (default: models)")
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument(
        "--from",
        type=Path,
        dest="parent",
        metavar="PATH",
        help="begin with the weights of this checkpoint or archive, or of the newest checkpoint in this folder",
    )
    origin.add_argument(
        "--resume",
        type=Path,
        nargs="?",
        const=True,
        metavar="FILE",
        help=f"go on with a stopped training (default FILE: the newest *{UNFINISHED} in --out and the folders in it)",
    )
    options = parser.parse_args(arguments)
    if options.resume and (options.set or options.recipe):
        parser.error("--resume goes on with the recipe that the training began with: leave out --set and --recipe")
    if any("=" not in override for override in options.set):
        parser.error("--set: expected SECTION.KEY=VALUE, such as training.steps=1000")
    level = logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING  # under torchrun one process reports
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        overrides = dict(override.split("=", 1) for override in options.set)
        resume = _find_unfinished(options.out) if options.resume is True else options.resume
        out_dir = resume.parent if resume else options.out
        parent = checkpoint.newest(options.parent) if options.parent and options.parent.is_dir() else options.parent
        if options.recipe and options.recipe.is_dir():
            train_stages(options.recipe, options.params, overrides, options.data, out_dir, parent)
        else:
            params = read_params(options.params, overrides, options.recipe)
            train(params, options.data, out_dir, resume=resume, parent=parent)
    except (FileNotFoundError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")
    except KeyboardInterrupt:
        return 130
    finally:
        leave_processes()
    return 0


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("train"))
