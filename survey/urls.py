"""Files behind URLs, by fsspec: read, written and removed, with further tries while their store is away."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import fsspec

_WAITS_S = (1, 2, 4, 8, 16, 30)  # between tries, while a store is away
_T = TypeVar("_T")


def read(url: str) -> bytes:
    """Raises OSError."""
    store, path = opened(url)
    return tried(partial(store.cat_file, path), url)  # type: ignore[no-any-return]


def put(url: str, content: bytes) -> None:
    """In the place of what was there. Raises OSError."""
    store, path = opened(url)
    tried(partial(store.pipe_file, path, content), url)


def remove(url: str) -> None:
    """If it is there. Raises OSError."""
    store, path = opened(url)
    with suppress(FileNotFoundError):
        tried(partial(store.rm_file, path), url)


def opened(url: str) -> tuple[Any, str]:
    """The store, and the path in it. Raises ValueError where there is no such store, or its package isn't installed."""
    try:
        store, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise ValueError(f"{url} needs a package that isn't there ({error}). Run: pip install '.[cloud]'") from error
    return store, path


def tried(call: Callable[[], _T], what: str) -> _T:
    """What a call gives, tried again while the store is away. Raises OSError."""
    for wait_s in (*_WAITS_S, None):
        try:
            return call()
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise
        except Exception as error:  # each store has its own
            if wait_s is None:
                raise OSError(f"{what}: {error}") from error
        time.sleep(wait_s)
    raise AssertionError("The last try returns or raises.")
