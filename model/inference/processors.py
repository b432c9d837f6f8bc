"""How many processors and how much memory this process may use, which may be less than the machine has.

Control groups limit both, of version 2 or 1. The limit of a group holds for all groups in it, such as the services of systemd.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def n_usable_cores(root: Path = _ROOT) -> int:
    """Processors that this process may really use: its affinity, and the smallest quota of its control groups rounded up.

    Args:
        root: the folder that holds `proc` and `sys`.
    """
    n_cores = len(os.sched_getaffinity(0))
    for quota, *period in _limits(root, "cpu", ("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        if quota.isdecimal():  # neither "max" nor "-1"
            n_cores = min(n_cores, max(1, -(-int(quota) // int(period[0]))))
    return n_cores


def usable_memory_bytes(root: Path = _ROOT) -> int:
    """Memory that this process and its children may use: the machine's, and the smallest limit of its control groups.

    Args:
        root: the folder that holds `proc` and `sys`.
    """
    n_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = _limits(root, "memory", ("memory.max",), ("memory.limit_in_bytes",))
    return min([n_bytes, *(int(limit) for (limit,) in limits if limit.isdecimal())])


def _limits(root: Path, controller: str, *files: tuple[str, ...]) -> Iterator[list[str]]:
    """The words in those files, for each control group of this process that has them, from its own to the outermost one."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for _, controllers, own in (line.split(":", 2) for line in groups):
        if controllers and controller not in controllers.split(","):  # of version 2 there is one for all of them
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = PurePosixPath(own).relative_to("/")
        for folder in (top / group, *(top / parent for parent in group.parents)):
            for names in files:
                try:
                    yield " ".join((folder / name).read_text() for name in names).split()
                except OSError:  # another version, or the group is not visible in this container
                    continue
