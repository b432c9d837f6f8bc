"""Which archive of a model store is served. Retraining writes it (`retrain.rollover`); whoever loads a model reads it here."""

import json
from pathlib import Path

RELEASED = "crack.mar"  # in git; never removed
STATE_FILE = "serving.json"


def served(model_store: Path) -> str:
    """The archive's name: of the last one that a retraining put into production, or else of the released one."""
    state = model_store / STATE_FILE
    return str(json.loads(state.read_text())["default"]) if state.is_file() else RELEASED
