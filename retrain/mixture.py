"""Chooses a blend between the weights that a training began with and the trained ones.

A blend of a network and the same network trained further keeps more of what was known, and takes up less of what is new
(Wortsman et al., Robust Fine-Tuning of Zero-Shot Models, CVPR 2022).
"""

import bisect
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model import checkpoint
from model.attention_unet import AttentionUNet
from model.average import between
from model.dataset import Pair, read_photographs
from model.inference.segmenter import Segmenter
from model.validation import Choice, validate
from retrain.judge import Findings, figure
from retrain.snapshot import FEEDBACK

logger = logging.getLogger("retrain.mixture")

SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the trained weights


def mix(start_path: Path, trained_path: Path, found: Findings, pairs: Sequence[Pair], most_alarms: int, most: float) -> None:
    """Replace the trained checkpoint by the blend closest to it that loses at most `most`.

    Args:
        start_path: the checkpoint or archive that the training began with.
        found: what that model found on `pairs`, the photographs to choose on.
        most_alarms: as in `model.validation.choose_threshold`.
        most: the largest accepted loss of mean F1 on the original sets; if every blend loses more, the one closest to the
            start is taken, and the judge decides about it.
    """
    start, _ = checkpoint.load(start_path)
    trained, card = checkpoint.load(trained_path)
    photographs = read_photographs(pairs, "reading validation")
    names = [name for name, marked in found.marked.items() if name != FEEDBACK and marked.any()]
    before = float(np.mean([figure(found.counts[name]) for name in names]))
    mixtures: dict[float, tuple[AttentionUNet, Choice]] = {}

    def loses_too_much(share: float) -> bool:
        network = between(start, trained, share)
        choice = validate(Segmenter(card, checkpoint.as_run(checkpoint.rounded(network))), photographs, most_alarms)
        mixtures[share] = network, choice
        lost = before - float(np.mean([choice.by_set[name] for name in names]))
        logger.info("%d%% of the way: validation %s, %+.4f on the original sets", 100 * share, choice, -lost)
        return lost > most

    # The further from the start, the more is lost. The trained weights are tried first: usually they can be kept.
    if loses_too_much(share := SHARES[-1]):
        n_good = bisect.bisect_left(SHARES[1:-1], True, key=loses_too_much)
        share = SHARES[n_good]
        if share not in mixtures:
            loses_too_much(share)
    network, choice = mixtures[share]
    figures = {"score": choice.score, "by_set": choice.by_set, "threshold": choice.threshold, "n_photographs": len(pairs)}
    checkpoint.save(
        trained_path,
        network,
        dataclasses.replace(
            card,
            threshold=choice.threshold,
            training={**card.training, "share_of_trained_weights": share},
            figures={**card.figures, "validation": figures},
        ),
    )
