"""Sharing the processors: alone a worker has them all, beside another one its share, from the next tile on."""

import contextlib
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.inference.cores import SharedCores
from tests.waiting import PATIENCE_S, eventually

TILE = np.zeros((1, 3, 16, 16), np.float32)


def worker(lock_path: Path) -> SharedCores:
    """A worker whose network answers 1 on all processors, 0 on a share."""

    def constant(value: float) -> NDArray[np.float32]:
        return np.full((1, 1, 16, 16), value, np.float32)

    return SharedCores(lock_path, on_all=lambda _: constant(1), on_share=lambda _: constant(0))


def has_all(one: SharedCores) -> bool:
    return bool(one(TILE).all())


def is_waited_for(lock_path: Path) -> bool:
    """Whether somebody waits for this lock, as Linux tells it: the line of who waits follows that of who holds it."""
    inode = lock_path.stat().st_ino
    return any("->" in line and f":{inode} " in line for line in Path("/proc/locks").read_text().splitlines())


def test_alone_it_has_all_processors_tile_after_tile(tmp_path: Path) -> None:
    one, _idle = worker(tmp_path / "lock"), worker(tmp_path / "lock")
    with one.answering():
        assert [has_all(one) for _ in range(3)] == [True] * 3


def test_beside_another_each_has_its_share_and_then_all_again(tmp_path: Path) -> None:
    one, other = worker(tmp_path / "lock"), worker(tmp_path / "lock")
    with one.answering():
        assert has_all(one)
        with other.answering():
            for _ in range(3):
                assert not has_all(one)
                assert not has_all(other)
        assert has_all(one)


def test_who_comes_while_another_is_answered_begins_on_its_share(tmp_path: Path) -> None:
    one, other = worker(tmp_path / "lock"), worker(tmp_path / "lock")
    with contextlib.ExitStack() as other_answers:
        other_answers.enter_context(other.answering())
        with one.answering():
            other_answers.close()
            assert [has_all(one) for _ in range(2)] == [False, True]


def test_who_begins_waits_for_the_others_tile_and_no_longer(tmp_path: Path) -> None:
    is_computing, may_end = threading.Event(), threading.Event()

    def slow(batch_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        is_computing.set()
        assert may_end.wait(PATIENCE_S)
        return batch_nchw[:, :1]

    one = SharedCores(tmp_path / "lock", on_all=slow, on_share=lambda batch_nchw: batch_nchw[:, :1])
    other, has_begun = worker(tmp_path / "lock"), threading.Event()

    def large() -> None:
        with one.answering():
            one(TILE)
            one(TILE)
            assert has_begun.wait(PATIENCE_S)

    def small() -> None:
        with other.answering():
            has_begun.set()
            assert not has_all(other)

    threads = [threading.Thread(target=large)]
    threads[0].start()
    assert is_computing.wait(PATIENCE_S)
    threads.append(threading.Thread(target=small))
    threads[1].start()
    eventually(lambda: is_waited_for(tmp_path / "lock"))
    assert not has_begun.is_set()
    may_end.set()
    for thread in threads:
        thread.join()
    assert has_begun.is_set()


def test_a_failed_tile_does_not_keep_the_processors(tmp_path: Path) -> None:
    def fail(_: NDArray[np.float32]) -> NDArray[np.float32]:
        raise RuntimeError("no memory")

    one, other = SharedCores(tmp_path / "lock", on_all=fail, on_share=fail), worker(tmp_path / "lock")
    with pytest.raises(RuntimeError, match="no memory"), one.answering():
        one(TILE)
    with other.answering():
        assert has_all(other)
