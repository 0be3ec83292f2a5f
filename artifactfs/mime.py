"""MIME types: what a payload is, from its name, else from its first bytes, and the same on every machine."""

from __future__ import annotations

import codecs
import re
from functools import cache, lru_cache
from posixpath import splitext

from artifactfs.errors import InvalidMetadata

UNKNOWN = "application/octet-stream"
"""What `guess` says of anything that it does not know."""

HEAD_BYTES = 8192
"""How many of a payload's first bytes `guess` can use; more are ignored (some container formats show late)."""

MAX_LENGTH = 255
"""Longest type in characters that `check` accepts, parameters included."""

# Over the standard library's table: what it lacks, or what differs between the Python versions that we run on.
_TYPES = {
    ".7z": "application/x-7z-compressed",
    ".arrow": "application/vnd.apache.arrow.file",
    ".arrows": "application/vnd.apache.arrow.stream",
    ".avif": "image/avif",
    ".avro": "application/avro",
    ".br": "application/x-brotli",
    ".bz2": "application/x-bzip2",
    ".cfg": "text/plain",
    ".conf": "text/plain",
    ".csv": "text/csv",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".epub": "application/epub+zip",
    ".feather": "application/vnd.apache.arrow.file",
    ".flac": "audio/flac",
    ".geojson": "application/geo+json",
    ".gz": "application/gzip",
    ".h5": "application/x-hdf5",
    ".hdf5": "application/x-hdf5",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".ini": "text/plain",
    ".ipynb": "application/x-ipynb+json",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".jsonld": "application/ld+json",
    ".log": "text/plain",
    ".lz4": "application/x-lz4",
    ".m4a": "audio/mp4",
    ".m4v": "video/x-m4v",
    ".markdown": "text/markdown",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".mkv": "video/x-matroska",
    ".ndjson": "application/x-ndjson",
    ".npy": "application/x-npy",
    ".npz": "application/x-npz",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".otf": "font/otf",
    ".parquet": "application/vnd.apache.parquet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".rst": "text/x-rst",
    ".rtf": "application/rtf",
    ".sql": "application/sql",
    ".sqlite": "application/vnd.sqlite3",
    ".svgz": "application/gzip",
    ".tbz2": "application/x-bzip2",
    ".tgz": "application/gzip",
    ".toml": "application/toml",
    ".ttf": "font/ttf",
    ".txz": "application/x-xz",
    ".weba": "audio/webm",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".z": "application/x-compress",
    ".zarr": "application/vnd.zarr",
    ".zst": "application/zstd",
}

# Formats of data people that the library of signatures does not know.
_HEADS = (
    (b"PAR1", ".parquet"),
    (b"ARROW1\x00\x00", ".arrow"),
    (b"\x93NUMPY", ".npy"),
    (b"\x89HDF\r\n\x1a\n", ".h5"),
)

# Formats that may be text from end to end. Any other signature in a text is chance: "BMW builds cars" is no bitmap.
_TEXTUAL = {"pdf", "ps", "rtf"}

_TEXTUAL_HEAD = re.compile(rb"(\xef\xbb\xbf)?%PDF|%!|{\\rt")
"""How those begin: of any other text no signature needs to be looked for."""

_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")

# RFC 6838 section 4.2 for type and subtype; RFC 9110 section 5.6.6 for parameters.
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_QUOTED = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_MIME = re.compile(rf"{_NAME}/{_NAME}(?: *; *{_TOKEN}=(?:{_TOKEN}|{_QUOTED}))*")


def guess(filename: str, head: bytes = b"") -> str:
    """The MIME type of a payload that is called *filename* and begins with *head*; never raises.

    A known extension decides, in whatever case, and a compressed file is of its compression's type, since that is what
    the bytes are: ``x.csv.gz`` is ``application/gzip``. Else the first bytes decide, where the package ``filetype`` is
    installed (``pip install "artifactfs[mime]"``). Else it is `UNKNOWN`. The tables of the machine
    (``/etc/mime.types``, the Windows registry) are never asked.

    Args:
        filename: a name, with or without folders.
        head: the first `HEAD_BYTES` bytes, or the whole payload where it is shorter.

    >>> guess("reports/Q1.CSV"), guess("q1.csv.gz"), guess("unheard.of")
    ('text/csv', 'application/gzip', 'application/octet-stream')
    """
    return _by_name(filename) or _by_head(bytes(head[:HEAD_BYTES])) or UNKNOWN


def check(mime_type: str) -> str:
    """*mime_type* itself, once it is certain that it may stand in an HTTP header.

    That is ``type/subtype`` as RFC 6838 spells them, with any parameters (``text/plain; charset=utf-8``): printable
    ASCII, at most `MAX_LENGTH` characters.

    Raises:
        InvalidMetadata: it is anything else.
    """
    if not isinstance(mime_type, str):
        raise InvalidMetadata(f"a MIME type is text such as 'text/csv', not {type(mime_type).__name__}")
    if len(mime_type) > MAX_LENGTH:
        raise InvalidMetadata(f"a MIME type of {len(mime_type)} characters; at most {MAX_LENGTH} can be stored")
    if not _is_mime(mime_type):
        raise InvalidMetadata(
            f"{mime_type!a} is no MIME type; it is type/subtype with optional parameters, "
            "such as 'text/csv' or 'text/plain; charset=utf-8'"
        )
    return mime_type


@lru_cache(maxsize=1000)
def _is_mime(text: str) -> bool:
    return _MIME.fullmatch(text) is not None


@lru_cache(maxsize=1000)
def _by_name(filename: str) -> str | None:
    return _by_extension(splitext(filename)[1])


def _by_extension(extension: str) -> str | None:
    return _table().get(extension.lower())


@cache
def _table() -> dict[str, str]:
    import mimetypes

    # An instance of its own starts from the table in the standard library's source, not from the machine's files.
    return {**mimetypes.MimeTypes(filenames=()).types_map[True], **_TYPES}


def _by_head(head: bytes) -> str | None:
    if not head:
        return None
    textual = _is_text(head)
    for signature, extension in _HEADS:
        if head.startswith(signature) and not textual:
            return _by_extension(extension)
    if textual and not _TEXTUAL_HEAD.match(head):
        return None
    try:
        # Chosen over puremagic, which knows more formats but calls every ZIP a Word document and any text that begins
        # with "From:" a mail, and takes 0.3 to 0.5 ms a call where this takes 0.03.
        import filetype
    except ImportError:
        return None
    kind = filetype.guess(head)
    if kind is None or (textual and kind.extension not in _TEXTUAL):
        return None
    # By way of the extension, so that a format has one type, whichever way it was recognised.
    return _by_extension("." + kind.extension) or str(kind.mime)


def _is_text(head: bytes) -> bool:
    """Whether *head* is UTF-8 without control characters; its last character may be cut off."""
    if _BINARY.search(head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True
