"""How our servers refuse a request: the form of every error, and when a client may try again.

Left to others: which codes there are (`model.inference.errors`), and what TorchServe answers by itself.
"""

import json

from starlette.responses import Response

RETRY_AFTER_S = 2
_MOST = 1000  # characters of a message, which may repeat what a client sent


def error_body(code: str, message: str) -> bytes:
    """The JSON that a client gets instead of an answer; of a very long message only its beginning and its end."""
    if len(message) > _MOST:
        message = f"{message[: _MOST // 2]} ... {message[-_MOST // 2 :]}"
    return json.dumps({"status": "error", "code": code, "message": message}).encode()


def error_headers(status: int) -> dict[str, str]:
    return {"content-type": "application/json"} | ({"retry-after": str(RETRY_AFTER_S)} if status == 503 else {})


def refusal(status: int, code: str, message: str) -> Response:
    """The answer to a request whose body is not read, so that it ends the connection."""
    return Response(error_body(code, message), status, error_headers(status) | {"connection": "close"})
