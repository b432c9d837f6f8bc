"""How many processors and how much memory a process may use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.inference.processors import n_usable_cores, usable_memory_bytes

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


def machine(root: Path, groups: str, limits: dict[str, str]) -> Path:
    """A folder that looks like a machine's root to a process in these control groups."""
    for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": text for name, text in limits.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


LIMITED = {
    "a container": ("0::/\n", {"cpu.max": "50000 100000\n", "memory.max": "3000000000\n"}),
    "a service in a limited slice": (
        "0::/crack.slice/crack.service\n",
        {"crack.slice/cpu.max": "50000 100000\n", "crack.slice/crack.service/cpu.max": "max 100000\n"}
        | {"crack.slice/crack.service/memory.max": "3000000000\n"},
    ),
    "a container with version 1": (
        "5:memory:/docker/1f\n4:cpu,cpuacct:/docker/1f\n0::/\n",
        {
            "cpu/cpu.cfs_quota_us": "50000\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "memory/memory.limit_in_bytes": "3000000000\n",
        },
    ),
}


@pytest.mark.parametrize(("groups", "limits"), LIMITED.values(), ids=LIMITED)
def test_limits_of_control_groups_count(tmp_path: Path, groups: str, limits: dict[str, str]) -> None:
    root = machine(tmp_path, groups, limits)
    assert (n_usable_cores(root), usable_memory_bytes(root)) == (1, 3_000_000_000)


@pytest.mark.parametrize("limits", [{"cpu.max": "max 100000\n", "memory.max": "max\n"}, {}])
def test_without_a_limit_the_machine_counts(tmp_path: Path, limits: dict[str, str]) -> None:
    root = machine(tmp_path, "0::/\n", limits)
    assert n_usable_cores(root) == len(os.sched_getaffinity(0))
