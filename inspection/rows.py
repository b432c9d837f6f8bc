"""The result for one photograph: a line of a survey's journal, and a row of the sidecar's inspections.

Left to others: computing it (`examining`), storing it (`survey.folder`, `sidecar.inspections`).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Line = list[list[float]]  # points, each x and y


class Status(StrEnum):
    """What became of a photograph."""

    PREDICTED = "predicted"
    REFUSED = "refused"  # and would be refused again: too large, damaged, not a photograph
    FAILED = "failed"  # and may succeed next time
    UNANSWERED = "unanswered"  # the server was away or busy until the last try
    LEFT_OUT = "left out"  # not a photograph, or unreadable; the model was not asked


FINAL = (Status.PREDICTED, Status.REFUSED)


@dataclass(frozen=True)
class Row:
    """One photograph. `seconds` run from the request to the stored result, retries included. A photograph that was not
    predicted has only `error`; one that was predicted but could not be measured has it too.
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
    crack_score: float | None = None  # None in results of older models and surveys
    cracks: list[dict[str, Any]] | None = None  # figures in pixels; None in results of older surveys
    scale: dict[str, Any] | None = None  # found in the photograph itself, if that was asked for
    lines: list[list[Line]] | None = None  # each crack's centre lines in pixels; None in older results
