"""Refuses a field whose name is nearly that of a field which is read: it would be ignored, and the answer would not be what was
asked for. Any other field that is not read stays without effect, because many clients send some of their own.
"""

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from itertools import islice

from fastapi import Request

from model.inference.errors import ErrorCode, RequestError

ALIKE_RATIO = 0.85  # of difflib: `mm_per_pixel` is like `mm_per_px` (0.857), `inspection` isn't like `inspector` (0.842)
_LEAST_ABBREVIATION = 5  # letters
_MOST_COMPARED = 100  # a comparison takes some microseconds, and an address has room for thousands of names


def check_names(sent: Iterable[str], known: Collection[str]) -> None:
    """
    Args:
        sent: the names that a client sent. Beside a field itself, names like it are harmless.
        known: the names of the fields that are read.

    Raises:
        RequestError: PARAMETER_INVALID.
    """
    names = set(sent)
    absent = sorted(set(known) - names)
    for name in islice(sorted(names - set(known)), _MOST_COMPARED):
        plain = _plain(name)
        alike = get_close_matches(plain, absent, 1, ALIKE_RATIO) or [
            each for each in absent if plain in _with_two_swapped(each) or _is_cut_short(plain, each)
        ]
        if alike:
            raise RequestError(
                ErrorCode.PARAMETER_INVALID,
                f"There is no field {name!r}: expected {alike[0]!r}. Correct the name, or leave the field out.",
            )


async def check_query(request: Request) -> None:
    """For routes that declare the fields of their query. Raises RequestError, PARAMETER_INVALID, as `check_names`."""
    check_names(request.query_params, {field.alias for field in request.scope["route"].dependant.query_params})


def _with_two_swapped(name: str) -> set[str]:
    """What becomes of a name if two neighbours are typed the wrong way round, which changes too much of a short one."""
    return {name[:at] + name[at + 1] + name[at] + name[at + 2 :] for at in range(len(name) - 1)}


def _is_cut_short(plain: str, name: str) -> bool:
    """`thresh` for threshold. A whole word is none: `model` is often sent, and is not model_version."""
    return len(plain) >= _LEAST_ABBREVIATION and name.startswith(plain) and name[len(plain)] != "_"


def _plain(name: str) -> str:
    """In snake case: `mm_per_px` for mmPerPx, MM-per-px and so on."""
    return re.sub(r"[\W_]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).strip("_").lower()
