"""The engines that examine a survey's photographs, and their errors.

`http` asks a running sidecar, `local` computes in processes of this machine, `ray` in actors of a cluster. Left to others: the
interface of all engines (`surveyor.Engine`), the journal and the folder (`folder`).
"""

from inspection.rows import Status

REFUSED = (400, 413, 415, 422)  # error statuses that concern this photograph only; any other 4xx concerns all of them


class NotPredictedError(Exception):
    """A photograph got no mask; `status` and `sentence` go into its row."""

    def __init__(self, status: Status, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class SurveyError(Exception):
    """The survey cannot begin or continue; the message is a sentence for people."""


class StoppedError(Exception):
    """Somebody stopped the survey; this photograph was not answered."""
