"""What looks at a survey's photographs, and what every such engine has in common: one call, from bytes to what is kept.

`http` asks a running sidecar, `local` computes in processes of this machine. Left to others: files, the journal and the folder
(`surveyor`, `folder`).
"""

from typing import Protocol

from inspection.rows import Status
from survey.outcome import Outcome

REFUSED = (400, 413, 415, 422)  # an error's status that is about this photograph; any other 4xx is about all of them


class Engine(Protocol):
    """
    Attributes:
        name: for people, such as an address.
        n_at_once: photographs that keep it busy.
    """

    name: str
    n_at_once: int

    def check(self) -> str:
        """Get ready; the version of the model. Raises SurveyError where it can't."""

    def look(self, photograph: bytes) -> Outcome:
        """What a photograph's file shows; from any number of threads.

        Raises:
            NotPredictedError: nothing, and why; the next photograph may be asked about.
            SurveyError: nor would any other one.
            StoppedError: the waiting was cut short.
        """

    def close(self) -> None:
        """No photograph is under way any more, and none follows."""


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
