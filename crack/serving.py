"""Which archives of a model store are served: `serving.json`. A retraining writes it at the moment at which its model counts
(`retrain.rollover`); whoever loads a model, or tells since when it has been served, reads it here.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from crack.files import write_whole
from crack.foreign import damage_named

RELEASED = "crack.mar"  # in git; never removed
STATE_FILE = "serving.json"


@dataclass(frozen=True)
class Serving:
    """The names of archives in the model store: the served one, and the one before it."""

    default: str = RELEASED
    previous: str | None = None

    @classmethod
    def read(cls, model_store: Path) -> Self:
        """The released archive before the first retraining. Raises ValueError if the file has another form, and OSError."""
        path = model_store / STATE_FILE
        if not path.exists():
            return cls()
        expected = f'Expected {{"default": "{RELEASED}", "previous": null}}, or names of other archives there.'
        with damage_named(str(path), f"{expected} Remove it, and the released model is served."):
            told = cls(**json.loads(path.read_bytes()))
            if not (isinstance(told.default, str) and isinstance(told.previous, str | None)):
                raise TypeError("a name is not a text")
            return told

    def write(self, model_store: Path) -> None:
        """Replace the file in one step; returns once it is safely on disk."""
        write_whole(model_store / STATE_FILE, json.dumps(asdict(self)).encode())
