"""Items of feedback and what happened to them.

Left to others: how feedback changes an item (`sidecar`), and how an item is learned from (`retrain`).
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, delete, func, insert, or_, select, update

from crack.stores import near
from crack.stores.rows import Values, every, first
from crack.stores.states import DECIDED, State
from crack.stores.tables import EVENTS, ITEMS, NEAR_KEYS

SAVED, CHECKED = "saved", "checked"  # the actions of events that are no reviewer's

_OF_ITEM = EVENTS.c.item_id == ITEMS.c.id
_REVISION = select(func.count()).select_from(EVENTS).where(_OF_ITEM).scalar_subquery().label("revision")
_SENT_BY = select(EVENTS.c.who).where(_OF_ITEM).order_by(EVENTS.c.id).limit(1).scalar_subquery().label("sent_by")
_LATEST = select(func.max(EVENTS.c.id)).where(_OF_ITEM).scalar_subquery()
_WAITS: ColumnElement[bool] = or_(  # for a person
    ITEMS.c.state.in_((State.NEEDS_LABEL, State.LABELLED)),
    ITEMS.c.proposed_mask_file.is_not(None),
    ITEMS.c.unchecked_mask_file.is_not(None),
)


def _items() -> Select[Any]:
    """All columns, and `revision`, how many things have happened to an item, and `sent_by`, who sent it first."""
    return select(ITEMS, _REVISION, _SENT_BY)


def find(connection: Connection, item_id: str) -> Values | None:
    return first(connection, _items().where(ITEMS.c.id == item_id))


def items(connection: Connection, states: Collection[State], limit: int, offset: int) -> list[Values]:
    """Items in the given states or, if none is given, those that wait for a person. Sorted by state, then by the model's
    uncertainty (highest first), then by age (oldest first); if only decided ones are asked for, the latest first, by the order
    of what happened, as a clock may be set back.
    """
    rank = case({state.value: rank for rank, state in enumerate(State)}, value=ITEMS.c.state)
    chosen = _items().where(ITEMS.c.state.in_(states) if states else _WAITS)
    if states and DECIDED.issuperset(states):
        in_order = chosen.order_by(_LATEST.desc())
    else:
        in_order = chosen.order_by(rank, ITEMS.c.uncertainty.desc().nulls_last(), ITEMS.c.created_at, ITEMS.c.id)
    return every(connection, in_order.limit(limit).offset(offset))


def unchecked(connection: Connection) -> list[Values]:
    """Items with a mask that is not checked yet, the least recently changed first."""
    return every(connection, _items().where(ITEMS.c.unchecked_mask_file.is_not(None)).order_by(ITEMS.c.updated_at))


def accepted(connection: Connection) -> list[Values]:
    """`id`, `image_file`, `mask_file`, `near_group` and `look_alikes` of the items used for training, sorted by id."""
    columns = (ITEMS.c.id, ITEMS.c.image_file, ITEMS.c.mask_file, ITEMS.c.near_group, ITEMS.c.look_alikes)
    is_label = (ITEMS.c.state == State.ACCEPTED) & ITEMS.c.mask_file.is_not(None)
    return every(connection, select(*columns).where(is_label).order_by(ITEMS.c.id))


def counts(connection: Connection) -> dict[State, int]:
    by_state = select(ITEMS.c.state, func.count()).group_by(ITEMS.c.state)
    found = {str(state): int(n) for state, n in connection.execute(by_state)}
    return {state: found.get(state.value, 0) for state in State}


def n_waiting(connection: Connection) -> int:
    return int(connection.scalar(select(func.count()).select_from(ITEMS).where(_WAITS)) or 0)


def oldest_waiting_at(connection: Connection) -> str | None:
    oldest: str | None = connection.scalar(select(func.min(ITEMS.c.updated_at)).where(_WAITS))
    return oldest


def newest_label_at(connection: Connection) -> str | None:
    newest: str | None = connection.scalar(select(func.max(ITEMS.c.updated_at)).where(ITEMS.c.mask_file.is_not(None)))
    return newest


def image_files(connection: Connection) -> list[str]:
    return list(connection.scalars(select(ITEMS.c.image_file).distinct()))


def events(connection: Connection, item_id: str) -> list[Values]:
    """The oldest first."""
    return every(connection, select(EVENTS).where(EVENTS.c.item_id == item_id).order_by(EVENTS.c.id))


def was_reviewed(connection: Connection, item_id: str) -> bool:
    """Whether a person has decided about it before."""
    decided = select(EVENTS.c.id).where(EVENTS.c.item_id == item_id, EVENTS.c.action.not_in((SAVED, CHECKED))).limit(1)
    return connection.scalar(decided) is not None


def near_group(connection: Connection, perceptual_hash: str) -> str | None:
    """The group of the oldest item that is a near copy; None if there is none."""
    kept = select(NEAR_KEYS.c.item_id).where(NEAR_KEYS.c.key.in_(near.neighbours(perceptual_hash)))
    found = select(ITEMS.c.near_group, ITEMS.c.perceptual_hash).where(ITEMS.c.id.in_(kept))
    for group, of_item in connection.execute(found.order_by(ITEMS.c.created_at, ITEMS.c.id)):
        if near.distance(of_item, perceptual_hash) <= near.MOST_BITS:
            return str(group)
    return None


def put(connection: Connection, item: Values, event: Values, *, is_new: bool) -> None:
    """Write an item, and what happened to it; `event` has all columns but its number and the item's id."""
    if is_new:
        connection.execute(insert(ITEMS).values(item))
        rows = [{"key": key, "item_id": item["id"]} for key in near.keys(item["perceptual_hash"])]
        connection.execute(insert(NEAR_KEYS), rows)
    else:
        connection.execute(update(ITEMS).where(ITEMS.c.id == item["id"]).values(item))
    connection.execute(insert(EVENTS).values({**event, "item_id": item["id"]}))


def remove(connection: Connection, item_id: str) -> set[str]:
    """Delete an item and its events; returns the files that they referred to."""
    of_events = select(EVENTS.c.mask_file).where(EVENTS.c.item_id == item_id)
    of_item = select(ITEMS.c.image_file, ITEMS.c.mask_file).where(ITEMS.c.id == item_id)
    files = {*connection.scalars(of_events), *(file for row in connection.execute(of_item) for file in row)}
    for table, column in ((ITEMS, ITEMS.c.id), (EVENTS, EVENTS.c.item_id), (NEAR_KEYS, NEAR_KEYS.c.item_id)):
        connection.execute(delete(table).where(column == item_id))
    return files - {None}
