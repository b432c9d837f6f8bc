"""An archive as the first releases wrote it."""

import dataclasses
import tempfile
from pathlib import Path

from export.archive import unpack, write_archive
from model.inference.card import ModelCard

VERSION = "20250101-000000"
LATER_KEYS = ("judging_ratio", "largest_group", "judged_elsewhere")


def former_card(card: ModelCard) -> ModelCard:
    """The card with what the first releases wrote there: another network, and a cut into what is learned from and chosen on."""
    params = card.training["params"]
    data = {name: value for name, value in params["data"].items() if name not in LATER_KEYS}
    return dataclasses.replace(
        card,
        version=VERSION,
        architecture={name: value for name, value in card.architecture.items() if name != "decoder"},
        training={**card.training, "params": {**params, "data": data}},
    )


def write_former(archive_path: Path, former_path: Path) -> Path:
    """An archive with the same network, of which the card says that it is one of the first releases."""
    with tempfile.TemporaryDirectory() as work:
        write_archive(Path(work), former_card(unpack(archive_path, Path(work))), former_path)
    return former_path
