"""How many processors and how much memory there are for this process, which may be less than the machine has."""

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


def usable_memory_bytes() -> int:
    """Memory that this process and its children may use: the machine's, and its control group's limit."""
    n_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return n_bytes
    return n_bytes if limit == "max" else min(n_bytes, int(limit))
