"""The HTTP headers of a prediction, each named here alone: what may come with a photograph in place of a form's fields, what
goes out beside a picture.

Left to others: what the options mean (`options`), and how headers travel.
"""

import re
from dataclasses import fields

from model.inference.options import Options

MODEL_VERSION = "X-Crack-Model-Version"
THRESHOLD = "X-Crack-Threshold"  # the one that was used or, as an option, the one to use
RATIO = "X-Crack-Ratio"
SCORE = "X-Crack-Score"
ANSWER = (MODEL_VERSION, THRESHOLD, RATIO, SCORE)
"""What an answer has; of an archive made before one of them was thought of, the others."""

PROBE = "X-Crack-Probe"  # a health check's picture, sent every few seconds, would distort the statistics of photographs
REQUEST_ID = "X-Request-Id"  # what a request is called; TorchServe has one of its own for each, whatever a client sends
REQUEST_ID_FORM = re.compile(r"[A-Za-z0-9._-]{1,64}")  # of one that is taken over: it goes to logs and to TorchServe
DOOR_REQUEST_ID = "X-Crack-Request-Id"  # what the door calls it; an answer has it if the handler goes by it

OPTIONS = {field.name: f"X-Crack-{field.name.replace('_', '-').title()}" for field in fields(Options)}


def of_options(options: Options) -> dict[str, str]:
    """What asks for these options."""
    return {OPTIONS[name]: value for name, value in options.fields().items()}
