"""What looks at a survey's photographs, and how that may fail.

`http` asks a running sidecar, `local` computes in processes of this machine. Left to others: what an engine is for the one that
uses it (`surveyor`), the journal and the folder (`folder`).
"""

from inspection.rows import Status

REFUSED = (400, 413, 415, 422)  # an error's status that is about this photograph; any other 4xx is about all of them


class NotPredictedError(Exception):
    """A photograph that has no mask, and what its row says of it."""

    def __init__(self, status: Status, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class SurveyError(Exception):
    """Why no photograph can be predicted any more, in a sentence."""


class StoppedError(Exception):
    """Somebody wants the survey to stop; this photograph was not answered."""
