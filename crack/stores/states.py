"""The states of an item of feedback, and of a retraining."""

from enum import StrEnum


class State(StrEnum):
    """Of an item of feedback."""

    NOTED = "noted"  # nothing to learn from
    NEEDS_LABEL = "needs_label"  # a complaint without a mask
    LABELLED = "labelled"  # has a mask, waits for a reviewer
    ACCEPTED = "accepted"  # used for training
    REJECTED = "rejected"
    QUARANTINED = "quarantined"  # is in an original data set; parts of these judge models


DECIDED = frozenset((State.ACCEPTED, State.REJECTED))


class JobState(StrEnum):
    """Of a retraining."""

    QUEUED = "queued"
    RUNNING = "running"
    PROMOTED = "promoted"
    NOT_PROMOTED = "not_promoted"
    NOTHING_TO_DO = "nothing_to_do"
    FAILED = "failed"
    STOPPED = "stopped"  # by a person


OPEN = (JobState.QUEUED, JobState.RUNNING)
ENDED = tuple(state for state in JobState if state not in OPEN)
