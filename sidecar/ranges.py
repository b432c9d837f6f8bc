"""A stored file as an answer, or the part of it that a client asks for, which goes on with a download after a break (RFC 9110,
14: `Range`, `If-Range`)."""

import re

from fastapi import Request, Response

_ASKED = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.IGNORECASE)


def file_answer(request: Request, file: str, content: bytes, etag: str) -> Response:
    """The whole file, one part of it, or 416 for a part behind its end. Several parts at once, and a part of what has changed
    since, are answered by the whole, as the standard allows.

    Args:
        file: its name.
    """
    headers = {"ETag": etag, "Accept-Ranges": "bytes"}
    media_type = "image/png" if file.endswith("png") else "image/jpeg"
    asked = _ASKED.fullmatch(request.headers.get("range", ""))
    if asked and any(asked.groups()) and request.headers.get("if-range", etag) == etag:
        first, last, size = *asked.groups(), len(content)
        start = int(first) if first else max(size - int(last), 0)
        end = min(int(last) + 1, size) if first and last else size
        if start >= size:
            return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{size}"})
        if start < end:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            return Response(content[start:end], 206, headers, media_type)
    return Response(content, headers=headers, media_type=media_type)
