"""What looks at a survey's photographs, and how that may fail.

`http` asks a running sidecar, `local` computes in processes of this machine, `ray` in actors of a cluster. Left to others: what
an engine is for the one that uses it (`surveyor`), the journal and the folder (`folder`).
"""

from inspection.rows import Status

REFUSED = (400, 413, 415, 422)  # error statuses that concern this photograph only; any other 4xx concerns all of them


class NotPredictedError(Exception):
    """A photograph without a mask; the reason for its row."""

    def __init__(self, status: Status, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class SurveyError(Exception):
    """No photograph can be predicted any more; a sentence says why."""


class StoppedError(Exception):
    """Somebody stopped the survey; this photograph was not answered."""
