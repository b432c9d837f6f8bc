"""Parses a multipart form while it arrives: files stay in memory in the pieces in which they arrived, and are never copied.

Starlette's own parser copies each piece, writes what is longer than 1 MB to a file and reads it back. The grammar is
python-multipart's, as Starlette's is. Left to others: the size of a body (`crack.bodies`), and the meaning of its parts
(`sidecar.forms`).
"""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_FIELDS = 16
MAX_TEXT_BYTES = 2**20
LEAST_PIECE_BYTES = 4096  # smaller ones are joined: an object for each would take more memory than its bytes
# How some clients send a name that isn't ASCII (RFC 5987), which the parser ignores.
_ENCODED_NAME = re.compile(rb";\s*filename\*\s*=\s*[\w-]+'[^;']*'([^;\s]*)", re.IGNORECASE)
_TEXTS = (b"text/", b"application/json")  # any other type is a file's, even if the client sends no name


@dataclass
class File:
    """A file of a request: its name, as the client sent it, and its bytes."""

    name: str = ""
    pieces: list[memoryview | bytearray] = field(default_factory=list)

    def add(self, piece: memoryview) -> None:
        last = self.pieces[-1] if self.pieces else None
        if len(piece) >= LEAST_PIECE_BYTES:
            self.pieces.append(piece)
        elif isinstance(last, bytearray):
            last += piece
        elif piece:
            self.pieces.append(bytearray(piece))

    def joined(self) -> bytes:
        return b"".join(self.pieces)


Form = dict[str, File | str]
"""Parts by name; if several have the same name, the last one."""


async def read_form(request: Request, max_files: int) -> Form:
    """Raises HTTPException if the body is not a form, has too many parts, or is compressed; ClientDisconnect."""
    check_coding(request)
    kind, parameters = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        async with request.form(max_fields=MAX_FIELDS) as texts:
            return {name: text for name, text in texts.items() if isinstance(text, str)}
    if b"boundary" not in parameters:
        raise HTTPException(400, "Its Content-Type names no boundary. Let the client write that header itself.")
    parts = _Parts(max_files)
    try:
        parser = MultipartParser(
            parameters[b"boundary"],
            {
                "on_part_begin": parts.begin,
                "on_header_field": parts.add_to_header_name,
                "on_header_value": parts.add_to_header_value,
                "on_header_end": parts.end_header,
                "on_headers_finished": parts.end_headers,
                "on_part_data": parts.add,
                "on_part_end": parts.end,
            },
        )
        async for piece in request.stream():
            parser.write(piece)
        parser.finalize()
    except FormParserError as error:
        raise HTTPException(
            400, "It is not a multipart form: expected the boundary that its Content-Type names, and lines that end with CR LF."
        ) from error
    if parts.is_within_one:
        raise HTTPException(400, "The form was cut short: its last part has no end.")
    return parts.form


def check_coding(request: Request) -> None:
    """Raises HTTPException if the body is compressed."""
    coding = request.headers.get("content-encoding", "identity")
    if coding.lower() not in ("", "identity"):
        raise HTTPException(
            400, f"Its Content-Encoding is {coding!r}. Send it without one: photographs are compressed already."
        )


class _Parts:
    """Collects what the parser finds; a piece is given as the bytes that arrived, with its start and end in them."""

    def __init__(self, max_files: int) -> None:
        self.form: Form = {}
        self.is_within_one = False
        self._most = {"files": max_files, "fields": MAX_FIELDS}
        self._n_left = dict(self._most)
        self._header_name = self._header_value = self._disposition = self._kind = b""
        self._name = ""
        self._file: File | None = None
        self._text = bytearray()

    def begin(self) -> None:
        self._disposition, self._kind, self._file, self._text = b"", b"", None, bytearray()

    def add_to_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def add_to_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        elif self._header_name.lower() == b"content-type":
            self._kind = self._header_value.strip().lower()
        self._header_name = self._header_value = b""

    def end_headers(self) -> None:
        _, parameters = parse_options_header(self._disposition)
        if b"name" not in parameters:
            raise HTTPException(400, 'The Content-Disposition header field "name" must be provided.')
        self._name = _decoded(parameters[b"name"])
        encoded = _ENCODED_NAME.search(self._disposition)
        called = unquote_to_bytes(encoded[1]) if encoded else parameters.get(b"filename")
        if called is not None or (self._kind and not self._kind.startswith(_TEXTS)):
            self._file = File(_decoded(called or b""))
        kind = "fields" if self._file is None else "files"
        self._n_left[kind] -= 1
        if self._n_left[kind] < 0:
            raise HTTPException(
                400, f"It has too many {kind}: expected {self._most[kind]} at most, and {self._name!r} is one more."
            )
        self.is_within_one = True

    def add(self, data: bytes, start: int, end: int) -> None:
        if self._file:
            self._file.add(memoryview(data)[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > MAX_TEXT_BYTES:
            raise HTTPException(400, f"Part exceeded maximum size of {MAX_TEXT_BYTES // 1024}KB.")

    def end(self) -> None:
        self.is_within_one = False
        self.form[self._name] = _decoded(self._text) if self._file is None else self._file


def _decoded(text: bytes | bytearray) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")
