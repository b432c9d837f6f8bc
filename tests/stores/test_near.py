"""Near copies found by words of their hashes are those that comparing with all finds."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crack.stores import feedback
from crack.stores.database import Database
from crack.stores.near import MOST_BITS, distance, keys, neighbours
from crack.stores.tables import Part

HASHES = st.integers(0, 2**64 - 1)
FEW_BITS = st.sets(st.integers(0, 63), max_size=MOST_BITS)


@given(HASHES, FEW_BITS)
def test_whatever_few_bits_differ_a_near_copy_is_looked_for_where_it_is_kept(one: int, bits: set[int]) -> None:
    other = one ^ sum(1 << bit for bit in bits)
    assert distance(f"{one:016x}", f"{other:016x}") == len(bits)
    assert set(keys(f"{one:016x}")) & set(neighbours(f"{other:016x}"))


def crowd() -> list[str]:
    """Hashes, many of which are near copies of others, near ones of those, or just too far."""
    rng = np.random.default_rng(0)
    found = [int(value) for value in rng.integers(0, 2**63, 100)]
    for _ in range(400):
        bits = rng.choice(64, rng.integers(0, 10), replace=False)
        found.append(found[rng.integers(0, len(found))] ^ sum(1 << int(bit) for bit in bits))
    return [f"{value:016x}" for value in found]


def test_groups_are_those_of_comparing_with_all(tmp_path: Path, store_url: str) -> None:
    database, known = Database(Part.FEEDBACK, tmp_path, store_url), list[tuple[str, str]]()
    event = {"at": "", "who": "", "action": feedback.SAVED, "state": "noted", "reason": ""}
    texts = {"state": "noted", "reason": "", "image_file": "", "updated_at": "", "height": 1, "width": 1}
    with database.writing() as connection:
        for number, perceptual_hash in enumerate(crowd()):
            by_all = next((group for other, group in known if distance(other, perceptual_hash) <= MOST_BITS), None)
            assert feedback.near_group(connection, perceptual_hash) == by_all
            item_id, group = f"{number:04d}", by_all or f"{number:04d}"
            item = {"id": item_id, "perceptual_hash": perceptual_hash, "near_group": group, "created_at": item_id, **texts}
            feedback.put(connection, item, event, is_new=True)
            known.append((perceptual_hash, group))
    assert len({group for _, group in known}) < 300
    database.close()


@pytest.mark.parametrize("is_there", [True, False])
def test_what_is_deleted_is_no_near_copy(tmp_path: Path, is_there: bool) -> None:
    database = Database(Part.FEEDBACK, tmp_path)
    event = {"at": "", "who": "", "action": feedback.SAVED, "state": "noted", "reason": ""}
    texts = {"state": "noted", "reason": "", "image_file": "", "created_at": "", "updated_at": "", "height": 1, "width": 1}
    item = {"id": "one", "perceptual_hash": "00000000000000ff", "near_group": "one", **texts}
    with database.writing() as connection:
        feedback.put(connection, item, event, is_new=True)
        if not is_there:
            feedback.remove(connection, "one")
        assert feedback.near_group(connection, "00000000000000fe") == ("one" if is_there else None)
    database.close()
