"""The number of processors that a process may use."""

import os
import subprocess
import sys
from pathlib import Path

from model.inference.processors import n_usable_cores

REPOSITORY = Path(__file__).parents[3]


def test_usable_cores_are_at_least_one_and_at_most_those_that_the_process_is_bound_to() -> None:
    assert 1 <= n_usable_cores() <= len(os.sched_getaffinity(0))


def test_a_process_that_is_bound_to_one_core_may_use_one() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from model.inference.processors import n_usable_cores; print(n_usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
