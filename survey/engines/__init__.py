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
    """The survey cannot begin or continue. `message` is a sentence for people; `advice` is for those at a terminal."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message, advice)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".rstrip()


class MissingError(SurveyError):
    """The server has no such inspection or photograph, or has it no more."""


class StoppedError(Exception):
    """Somebody stopped the survey; this photograph was not answered."""
