"""How many processors there are for this process, which may be fewer than the machine has."""

import os
from pathlib import Path


def n_usable_cores() -> int:
    """Processors that this process may really use: its affinity, and its control group's quota rounded up."""
    n_cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return n_cores
    return n_cores if quota == "max" else min(n_cores, max(1, -(-int(quota) // int(period))))
