"""Recognises a file by its bytes: as a photograph that can be read, or as something that a message can name."""

import struct
from enum import StrEnum

JPEG_SIGNATURE = b"\xff\xd8\xff"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
EXPECTED = "JPEG, PNG, HEIC, TIFF, WebP, AVIF or BMP"
SUFFIXES = (".jpg", ".jpeg", ".png", ".heic", ".heif", ".hif", ".tif", ".tiff", ".webp", ".avif", ".bmp")
MEDIA_TYPES = tuple(f"image/{kind}" for kind in ("jpeg", "png", "heic", "heif", "tiff", "webp", "avif", "bmp"))

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1", b"avif", b"avis"}
_IN_BASE64 = (b"data:image/", b"/9j/", b"iVBORw0KGgo", b"UklGR", b"SUkqA", b"TU0AK", b"Qk0")
_AS_JPEG = "Save it as JPEG or PNG."
_UNPACK = "Unpack it, and send the photographs that are in it one by one."
DEVELOP = "Export it as JPEG or TIFF, in the camera or by the program that develops it."
_STILL = "Send a photograph instead."
_OTHERS: tuple[tuple[int, bytes, str, str], ...] = (
    # where, which bytes, what that is, what to do
    (0, b"\x89PNG", "a PNG whose line ends were changed, as by FTP in text mode", "Copy the original again, as binary."),
    (0, b"version https://git-lfs", "a pointer of Git LFS in the file's place", "Fetch the file itself: git lfs pull."),
    (0, b"%PDF", "a PDF", "Export the photographs that are in it as JPEG or PNG."),
    (0, b"PK\x03\x04", "a ZIP archive, as Office documents are too", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"BZh", "a bzip2 archive", _UNPACK),
    (0, b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (0, b"GIF8", "a GIF", _AS_JPEG),
    (0, b"8BPS", "a Photoshop document", _AS_JPEG),
    (0, b"gimp xcf", "a GIMP document", _AS_JPEG),
    (0, b"\xff\x0a", "a JPEG XL picture", _AS_JPEG),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture", _AS_JPEG),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture", _AS_JPEG),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture", _AS_JPEG),
    (0, b"v/1\x01", "an OpenEXR picture", _AS_JPEG),
    (0, b"II\xbc", "a JPEG XR picture", _AS_JPEG),
    *((0, b"P%d\n" % number, "a PBM picture", _AS_JPEG) for number in (1, 4)),
    *((0, b"P%d\n" % number, "a PGM picture", _AS_JPEG) for number in (2, 5)),
    *((0, b"P%d\n" % number, "a PPM picture", _AS_JPEG) for number in (3, 6)),
    (0, b"P7\n", "a PAM picture", _AS_JPEG),
    (0, b"MATLAB 5.0", "a MATLAB file", "Write its picture as PNG, by imwrite."),
    (0, b"\x89HDF\r\n", "an HDF5 file, as MATLAB writes too", "Write the picture that is in it as PNG."),
    (0, b"\x93NUMPY", "an array of numpy", _AS_JPEG),
    (0, b"\0\0\x01\0", "an icon", _STILL),
    (0, b"FUJIFILMCCD-RAW", "a RAW file of a Fujifilm camera", DEVELOP),
    (0, b"IIRO", "a RAW file of an Olympus camera", DEVELOP),
    (0, b"IIRS", "a RAW file of an Olympus camera", DEVELOP),
    (0, b"IIU\0", "a RAW file of a Panasonic camera", DEVELOP),
    (0, b"FOVb", "a RAW file of a Sigma camera", DEVELOP),
    (4, b"ftypcrx ", "a RAW file of a Canon camera", DEVELOP),
    (4, b"ftypqt  ", "a QuickTime film, such as an iPhone's Live Photo video", "Send its photograph, the .HEIC or .JPG."),
    (4, b"moov", "a QuickTime film", _STILL),
    (4, b"ftyp", "a film (MP4)", _STILL),
    (8, b"AVI ", "a film (AVI)", _STILL),
    (0, b"\x1aE\xdf\xa3", "a film (Matroska or WebM)", _STILL),
    (8, b"WAVE", "a sound (WAV)", _STILL),
    (0, b"ID3", "a sound (MP3)", _STILL),
    (0, b"\x00\x05\x16\x07", "what macOS keeps beside a photograph (its name starts with ._)", "Send the photograph itself."),
    (0, b"II+\0", "a BigTIFF", "Save it as a TIFF below 4 GB, or cut it into parts."),
    (0, b"MM\0+", "a BigTIFF", "Save it as a TIFF below 4 GB, or cut it into parts."),
    (128, b"DICM", "a DICOM picture", _AS_JPEG),
    (0, b"MZ", "a Windows program", _STILL),
    (0, b"\xd0\xcf\x11\xe0", "an Office document", "Export the photographs that are in it as JPEG or PNG."),
    (0, b"%!PS", "a PostScript document", "Export the photographs that are in it as JPEG or PNG."),
    (0, b"\0\0\x01\xba", "a film (MPEG)", _STILL),
    (0, b"\0\0\x01\xb3", "a film (MPEG)", _STILL),
    (0, b"FLV", "a film (Flash)", _STILL),
    (0, b"OggS", "a sound or a film (Ogg)", _STILL),
    (257, b"ustar", "a TAR archive", _UNPACK),
)


class UnsupportedError(Exception):
    """A file without a readable photograph: `found` names what it is, `advice` is a sentence."""

    def __init__(self, found: str, advice: str) -> None:
        super().__init__(found)
        self.found, self.advice = found, advice


class Format(StrEnum):
    JPEG = "JPEG"
    PNG = "PNG"
    HEIF = "HEIF"
    TIFF = "TIFF"
    WEBP = "WebP"
    BMP = "BMP"


def recognise(data: bytes) -> Format:
    """By the first bytes of a file. Raises UnsupportedError."""
    if data.startswith(JPEG_SIGNATURE):
        return Format.JPEG
    if data.startswith(PNG_SIGNATURE):
        return Format.PNG
    if data[4:8] == b"ftyp" and _brands(data) & _HEIF_BRANDS:
        return Format.HEIF
    if data[:4] in (b"II*\0", b"MM\0*"):
        return Format.TIFF
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Format.WEBP
    if data[:2] == b"BM" and data[6:10] == bytes(4):
        return Format.BMP
    raise UnsupportedError(*_named(data))


def is_shown_by_browsers(data: bytes) -> bool:
    """Whether every browser shows this photograph, and as bright as it is decoded here: a JPEG, or a PNG of up to 8 bits."""
    kind = recognise(data)
    return kind is Format.JPEG or (kind is Format.PNG and data[24:25] != b"\x10")


def _brands(data: bytes) -> set[bytes]:
    (size,) = struct.unpack_from(">I", data)
    return {data[at : at + 4] for at in (8, *range(16, min(size, 256), 4))}


def _named(data: bytes) -> tuple[str, str]:
    for at, signature, name, advice in _OTHERS:
        if data.startswith(signature, at):
            return name, advice
    start = data[:1024]
    if not any(start):
        return "nothing but zeros, as a broken copy is", "Copy it from the camera or the card again."
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<svg", b"<?xml")) and b"<svg" in start.lower():
        return "an SVG drawing", "Export it as PNG."
    if text.startswith((b"<!doctype html", b"<html")):
        return (
            "a web page under another name, such as a website's error or log-in page",
            "Download the photograph itself, and look whether it opens.",
        )
    if start.lstrip().startswith(_IN_BASE64):
        return "a picture written as text (base64)", "Send its bytes as they are, as the part 'image' or as the body itself."
    if text.startswith(b"{\\rtf"):
        return "an RTF document", "Export the photographs that are in it as JPEG or PNG."
    if text.startswith((b"{", b"[{")):
        return "a JSON document", "Send the photograph itself, as the part 'image' or as the body."
    if not start.translate(None, bytes(range(32, 256)) + b"\t\r\n\f"):
        try:
            start[:-3].decode()
            return "a text file", _STILL
        except UnicodeDecodeError:
            pass
    return "of an unknown kind", "If it should be one of these, it is damaged: send the original file again."
