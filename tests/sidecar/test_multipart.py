"""Forms in pieces: their files are what was sent, however the network cut them, and are not copied."""

import asyncio
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.requests import Request

from sidecar.multipart import LEAST_PIECE_BYTES, MAX_FIELDS, MAX_TEXT_BYTES, File, Form, read_form

HEAD = b'--B\r\nContent-Disposition: form-data; name="image"; filename="wall.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
END = b"\r\n--B--\r\n"
BYTES = st.binary(max_size=200) | st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--B", b"\r\n--", b"x"])).map(b"".join)


def text(name: str, value: str) -> bytes:
    return f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def read(pieces: Iterable[bytes], max_files: int = 1, kind: str = "multipart/form-data; boundary=B") -> Form:
    coming = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    coming.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> dict[str, object]:
        return coming.pop(0)

    scope = {"type": "http", "headers": [(b"content-type", kind.encode())]}
    return asyncio.run(read_form(Request(scope, receive), max_files))


def sent(form: Form) -> bytes:
    image = form["image"]
    assert isinstance(image, File)
    return image.joined()


@given(BYTES, st.integers(1, 40))
def test_a_file_is_what_was_sent_wherever_the_network_cut_it(photograph: bytes, n_at_once: int) -> None:
    if b"\r\n--B" in b"\r\n" + photograph:  # it would be no content of this form
        return
    body = text("response", "mask") + HEAD + photograph + END
    form = read(body[start : start + n_at_once] for start in range(0, len(body), n_at_once))
    assert (form["response"], sent(form)) == ("mask", photograph)


def test_large_pieces_of_a_file_are_those_that_came() -> None:
    pieces = [bytes([number]) * LEAST_PIECE_BYTES for number in range(3)]
    image = read([HEAD, *pieces, END])["image"]
    assert isinstance(image, File)
    assert [piece.obj for piece in image.pieces if isinstance(piece, memoryview)] == pieces


def test_small_pieces_of_a_file_are_put_together() -> None:
    image = read([HEAD, *[b"x"] * 10_000, END])["image"]
    assert isinstance(image, File)
    assert (len(image.pieces), image.joined()) == (1, b"x" * 10_000)


def test_an_empty_file_has_no_pieces() -> None:
    image = read([HEAD, END])["image"]
    assert isinstance(image, File)
    image.add(memoryview(b""))
    assert image.pieces == []


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"; filename*=UTF-8''Br%C3%BCcke%207.jpg\r\n", "Brücke 7.jpg"),  # older requests of Python
        (b"; filename=\"Br_cke.jpg\"; filename*=utf-8'de'Br%C3%BCcke.jpg\r\nContent-Type: image/jpeg\r\n", "Brücke.jpg"),
        (b"\r\nContent-Type: image/jpeg\r\n", ""),  # FormData with a buffer
        (b"\r\nContent-Type: application/octet-stream\r\n", ""),
        (b"\r\nContent-Type: binary/octet-stream\r\n", ""),
    ],
)
def test_a_file_may_have_its_name_as_older_clients_write_it_or_none(head: bytes, name: str) -> None:
    form = read([b'--B\r\nContent-Disposition: form-data; name="image"', head, b"\r\npixels", END])
    assert form == {"image": File(name, [bytearray(b"pixels")])}


def test_a_field_may_declare_that_it_is_text() -> None:
    body = text("note", "ü").replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain; charset=UTF-8\r\n\r\n")
    assert read([body + END[2:]]) == {"note": "ü"}


def test_of_parts_that_are_called_the_same_the_last_counts() -> None:
    assert read([text("note", "a") + text("note", "ü") + END[2:]]) == {"note": "ü"}


def test_fields_may_come_without_files_as_pages_send_them() -> None:
    assert read([b"decision=accept&reason=a+b"], kind="application/x-www-form-urlencoded") == {
        "decision": "accept",
        "reason": "a b",
    }


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (HEAD + b"1\r\n" + HEAD + b"2" + END, "multipart/form-data; boundary=B"),
        (text("note", "x") * (MAX_FIELDS + 1) + END[2:], "multipart/form-data; boundary=B"),
        (text("note", "x" * (MAX_TEXT_BYTES + 1)) + END[2:], "multipart/form-data; boundary=B"),
        (HEAD.replace(b' name="image";', b"") + END, "multipart/form-data; boundary=B"),
        (b"no form at all", "multipart/form-data; boundary=B"),
        (HEAD + END, "multipart/form-data"),
        (HEAD + END, f"multipart/form-data; boundary={'B' * 1000}"),
    ],
    ids=["files", "fields", "a long field", "no name", "no form", "no boundary", "a long boundary"],
)
def test_what_is_no_form_or_too_much_of_one_is_refused(body: bytes, kind: str) -> None:
    with pytest.raises(HTTPException) as refused:
        read([body], kind=kind)
    assert refused.value.status_code == 400
