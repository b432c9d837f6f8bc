"""Reads a request to the sidecar: a photograph, a mask, and the fields beside them.

Left to others: how many bytes a body may have (`crack.bodies`), and what is in its pictures (`sidecar.labels`).
"""

import re
from collections.abc import Collection

from starlette.requests import Request

from crack.torchserve import Pieces
from model.inference.errors import ErrorCode, RequestError
from model.inference.formats import EXPECTED
from model.inference.photograph import MEGABYTE
from sidecar.labels import Verdict
from sidecar.multipart import File, Form, check_coding, read_form
from sidecar.names import check_names

FORM_OVERHEAD_BYTES = 2 * MEGABYTE  # for the fields and a mask beside the largest photograph
MAX_FIELD_CHARACTERS = 2000
MAX_LIST_CHARACTERS = 30_000  # of a field that holds a list
_LISTS = ("look_alikes", "zones")
MAX_NAME_CHARACTERS = 200
AS_A_FILE = "Send pictures as files: with curl as image=@photo.jpg."
# Of an ETag: proxies that compress rewrite it, and some clients drop its quotes.
_AS_OURS = re.compile(r'^(?:W/)?"?([0-9a-f]+)(?:[-;/](?:gzip|br|zstd))?"?$')
_HEAD_BYTES = 512  # the head of every picture contains zero bytes


async def read_image(request: Request, known: Collection[str]) -> tuple[Pieces, dict[str, str]]:
    """Read the photograph from a form or from the body itself, in the pieces in which it arrived, and the fields of the form
    and of the query. If its file has a name, that is the field `name`.

    Args:
        known: the names of all fields that are read.

    Raises:
        RequestError: IMAGE_MISSING; PARAMETER_INVALID, as `file`, `texts` and `check_names` do.
    """
    fields = dict(request.query_params)
    check_names(fields, known)
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        form = await read_parts(request, known, max_files=1)
        image, name = image_in(form), file_name(form, "image")
        return image.pieces, {**fields, **({"name": name} if name else {}), **texts(form)}
    check_coding(request)
    image = File()
    async for piece in request.stream():
        image.add(memoryview(piece))
    if not image.pieces:
        raise _no_image("no image")
    head = bytes(image.pieces[0][:_HEAD_BYTES])
    if head.startswith(b"--") and b"form-data" in head:
        raise RequestError(
            ErrorCode.PARAMETER_INVALID,
            "The body is a form, but its Content-Type does not say so. Let the client write that header itself.",
        )
    is_form = request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded")
    if is_form and b"\0" not in head:  # curl's -d removes zeros and line ends
        raise RequestError(
            ErrorCode.PARAMETER_INVALID,
            "The body is a form of texts, or a file that curl's -d has changed. With curl send -F image=@photo.jpg, or "
            "--data-binary @photo.jpg.",
        )
    return image.pieces, fields


async def read_parts(request: Request, known: Collection[str], max_files: int) -> Form:
    """As `read_form`. Raises RequestError, too: PARAMETER_INVALID, as `check_names` does."""
    form = await read_form(request, max_files)
    check_names(form, known)
    return form


def image_in(form: Form) -> File:
    """The photograph in a form. Raises RequestError: IMAGE_MISSING; PARAMETER_INVALID where it came as text."""
    image = file(form, "image")
    if not image.pieces and isinstance(form.get("image"), File):
        raise RequestError(ErrorCode.IMAGE_MISSING, "The image is an empty file. Copy it again from the camera or the card.")
    if not image.pieces:
        parts = ", ".join(repr(name) for name in form if name != "image")
        raise _no_image(f"{parts}, but no image" if parts else "no image")
    return image


def _no_image(held: str) -> RequestError:
    return RequestError(
        ErrorCode.IMAGE_MISSING,
        f"The request holds {held}. Send a photograph ({EXPECTED}) as the part 'image', or as the body itself.",
    )


def file(form: Form, name: str) -> File:
    """A part of a form; empty where there is none. Raises RequestError, PARAMETER_INVALID, where it came as text."""
    part = form.get(name)
    if isinstance(part, File):
        return part
    if part:
        raise RequestError(ErrorCode.PARAMETER_INVALID, f"{name} came as text. {AS_A_FILE}")
    return File()


def seen(if_match: str | None) -> str:
    """The ETag of the state that somebody looked at; `*` doesn't name one. Raises RequestError: PRECONDITION_REQUIRED."""
    if if_match in (None, "", "*"):
        raise RequestError(
            ErrorCode.PRECONDITION_REQUIRED,
            f"If-Match is {repr(if_match) if if_match else 'missing'}: expected the ETag of what you looked at, so that you "
            "decide about nothing else. GET it, and send its ETag as If-Match.",
        )
    return _AS_OURS.sub(r'"\1"', str(if_match).strip())


def file_name(form: Form, name: str) -> str | None:
    """The name of a part's file, without folders; None if it was sent without one."""
    part = form.get(name)
    called = re.split(r"[/\\]", part.name)[-1] if isinstance(part, File) else ""
    return called.replace("\0", "")[:MAX_NAME_CHARACTERS] or None


def texts(form: Form) -> dict[str, str]:
    """The fields of a form, without its files. Raises RequestError, PARAMETER_INVALID, if one is too long, or holds NUL."""
    found = {name: value for name, value in form.items() if isinstance(value, str)}
    for name, value in found.items():
        most = MAX_LIST_CHARACTERS if name in _LISTS else MAX_FIELD_CHARACTERS
        if len(value) > most:
            raise RequestError(ErrorCode.PARAMETER_INVALID, f"{name} has {len(value)} characters, at most {most} are accepted.")
        if "\0" in value:
            raise RequestError(ErrorCode.PARAMETER_INVALID, f"{name} holds the character NUL. Send a text without it.")
    return found


def read_verdict(text: str | None) -> Verdict | None:
    """Raises RequestError, PARAMETER_INVALID, if it is not one of them."""
    if not text:
        return None
    if text not in list(Verdict):
        raise RequestError(ErrorCode.PARAMETER_INVALID, f"verdict={text!r}: expected one of {', '.join(Verdict)}.")
    return Verdict(text)
