"""Which accepted labels count as new, of which there must be enough for a retraining."""

from pathlib import Path

import pytest

from crack.stores.jobs import Jobs, Labels
from crack.stores.states import JobState

JUDGED = {"bridge": "mask 1", "pier": "mask 2", "wall": "mask 3"}


@pytest.mark.parametrize(
    ("accepted", "n_new"),
    [
        (JUDGED, 0),
        ({**JUDGED, "deck": "mask 4"}, 1),
        ({"bridge": "mask 1", "deck": "mask 4", "joint": "mask 5"}, 2),
        ({**JUDGED, "wall": "mask 6"}, 1),
        ({"bridge": "mask 1"}, 0),
    ],
    ids=["the same", "another", "others in place of those taken back", "a newer mask", "some taken back"],
)
def test_what_no_retraining_had_is_new(tmp_path: Path, accepted: Labels, n_new: int) -> None:
    jobs = Jobs(tmp_path)
    assert jobs.n_new(accepted) == len(accepted)
    jobs.tell(jobs.begin("watch"), JobState.PROMOTED, 1.0, "done", {"older": "mask"})
    jobs.tell(jobs.begin("watch"), JobState.NOT_PROMOTED, 1.0, "done", JUDGED)
    jobs.tell(jobs.begin("watch"), JobState.FAILED, 1.0, "the disk is full")
    assert jobs.n_new(accepted) == n_new
    assert jobs.recent()[1].n_labels == 3


def test_what_was_stopped_stays_so_unless_it_had_succeeded_before_it_noticed(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path)
    assert jobs.stop("a test") is None
    for end, told in ((JobState.FAILED, JobState.STOPPED), (JobState.PROMOTED, JobState.PROMOTED)):
        job = jobs.begin("watch")
        jobs.stop("a test")
        jobs.tell(job, JobState.RUNNING, 0.5, "judging")
        assert jobs.is_stopped()
        jobs.tell(job, end, 1.0, "done")
        assert jobs.recent(1)[0].state is told
