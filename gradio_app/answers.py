"""What the page's scripts get from a call: a result or, if it fails, a sentence about why."""

import functools
import logging
from collections.abc import Callable
from typing import Any, ParamSpec

from gradio_app.backend import BackendError
from model.inference.errors import RequestError

logger = logging.getLogger("gradio_app")

Answer = dict[str, Any]
_Arguments = ParamSpec("_Arguments")


def told(act: Callable[_Arguments, Any]) -> Callable[_Arguments, Answer]:
    """The function, with `ok` and `text` in its answer. It returns a dictionary, or a sentence, which becomes `text`."""

    @functools.wraps(act)
    def call(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> Answer:
        try:
            found = act(*arguments, **named)
        except (BackendError, RequestError) as error:
            logger.warning("%s%s", error, f" ({error.__cause__!r})" if error.__cause__ else "")
            more = {name: value for name in ("retry_after_s", "status") if (value := getattr(error, name, None))}
            return {"ok": False, "text": str(error), **more}
        except OSError as error:
            logger.error("a file cannot be kept: %s", error)
            return {"ok": False, "text": f"The page cannot keep files ({error.strerror}). Ask whoever runs it to make room."}
        return {"ok": True, "text": found} if isinstance(found, str) else {"ok": True, "text": "", **found}

    return call
