"""What is known of one photograph: a line of a survey's journal, and a row of the sidecar's inspections.

Left to others: how it comes about (`examining`), where it is kept (`survey.folder`, `sidecar.inspections`).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Line = list[list[float]]  # points, each x and y


class Status(StrEnum):
    """What became of a photograph."""

    PREDICTED = "predicted"
    REFUSED = "refused"  # it would be again: too large, torn, no photograph
    FAILED = "failed"  # this time
    UNANSWERED = "unanswered"  # the server was away or busy to the last try
    LEFT_OUT = "left out"  # no photograph, or nothing that can be read; nobody was asked


FINAL = (Status.PREDICTED, Status.REFUSED)


@dataclass(frozen=True)
class Row:
    """One photograph. `seconds` count from asking to what is kept, tries included; what was not predicted has `error` alone,
    and what was predicted but could not be measured has it too.
    """

    file: str  # below the folder of photographs, with /
    status: Status
    n_bytes: int
    mtime_ns: int
    sha256: str
    width: int | None = None
    height: int | None = None
    crack_ratio: float | None = None
    threshold: float | None = None
    model_version: str = ""
    seconds: float | None = None
    error: str = ""
    thumbnail: str = ""  # JPEG, base64
    crack_score: float | None = None  # none where a model or a survey from before there was one answered
    cracks: list[dict[str, Any]] | None = None  # figures in pixels; none where a survey from before they were measured answered
    scale: dict[str, Any] | None = None  # what the photograph itself tells of it, where it was asked to
    lines: list[list[Line]] | None = None  # each crack's centre lines in pixels; none from before they were kept
