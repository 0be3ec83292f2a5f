"""Names and the path segments they are stored as: one segment for each name, one spelling for each segment.

`encode` and `decode` are inverse of each other. Plain names stay readable; what a file system, a URL or the layout
would misread is percent-encoded as UTF-8 with capital hex digits (docs/spec.md, "Segments").
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from artifactfs.errors import IntegrityError, InvalidName

MAX_NAME = 1024
"""Bytes of UTF-8: the longest name that any store takes."""

USER_SCOPE = "user"
"""The segment that stands in a session's place for what all sessions of a user share."""

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f/\\%:*?\[\]#"<>|]')
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\.|$)", re.IGNORECASE | re.ASCII
)
_PLAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_. -]*[A-Za-z0-9_-])?")


def _escape(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def check(text: object, what: str = "name") -> str:
    """Return *text* if it may be a name; nothing but empty text, NUL, lone surrogates and length is refused.

    *what* says in the error which of app, user, session or name it is.
    """
    if not isinstance(text, str):
        raise InvalidName(f"{what} must be a str, not {type(text).__name__}: {text!r:.80}")
    if not text:
        raise InvalidName(f"{what} is empty; give it at least one character")
    if text.isascii():
        size = len(text)
    else:
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise InvalidName(f"{what} {text[:80]!r} holds a lone surrogate, which no UTF-8 text can") from error
    if "\0" in text:
        raise InvalidName(f"{what} {text[:80]!r} holds a NUL character, which no store takes")
    if size > MAX_NAME:
        raise InvalidName(f"{what} {text[:40]!r}… is {size} bytes of UTF-8; at most {MAX_NAME} are allowed")
    return str.__str__(text)


def encode(text: str, what: str = "name") -> str:
    """The path segment that *text* is stored as. *what* is ``app``, ``user``, ``session`` or ``name``.

    >>> encode("reports/q1.csv")
    'reports%2Fq1.csv'
    >>> encode("user", "session"), encode("user"), encode("..")
    ('%75ser', 'user', '%2E%2E')

    Raises:
        InvalidName: as `check`.
    """
    return spell(check(text, what), what)


def spell(text: str, what: str = "name") -> str:
    """As `encode` for any text, also one that no name may be: what a listing is compared with."""
    if _PLAIN.fullmatch(text) and not _DEVICE.match(text):
        return "%75ser" if what == "session" and text == USER_SCOPE else text
    last = len(text) - 1
    device = _DEVICE.match(text) is not None
    return "".join(
        _escape(char)
        if _UNSAFE.match(char) or (place == 0 and (char in ".@" or device)) or (place == last and char in ". ")
        else char
        for place, char in enumerate(text)
    )


def shared_prefix(prefix: str) -> str:
    """A text that the segment of every name that starts with *prefix* starts with; perhaps a short one, or empty.

    What is encoded only at the end of a name, or only where the whole name is a device's, is left out.

    >>> shared_prefix("reports/q"), shared_prefix(".a"), shared_prefix("co"), shared_prefix("v1.")
    ('reports%2Fq', '%2Ea', '', 'v1')
    """
    low = prefix.lower()
    if any(low.startswith(device) or device.startswith(low) for device in ("con", "prn", "aux", "nul", "com", "lpt")):
        return ""
    certain = prefix.rstrip(". ")
    return spell(certain + "x")[:-1] if certain else ""


def decode(segment: str, what: str = "name", folder: str = "") -> str:
    """The name that *segment* stands for; *folder* is where it was met, for the error.

    Raises:
        IntegrityError: *segment* is not the one spelling that `encode` gives that name; something else wrote it.
    """
    text = _read(segment, what)
    if text is not None:
        return text
    raise IntegrityError(
        f"{folder + segment!r} in the store is not how any {what} is spelled there (docs/spec.md, Segments); "
        "rename or remove it: another program wrote it"
    )


def is_segment(segment: str, what: str = "name") -> bool:
    """Whether *segment* is how some name is spelled."""
    return _read(segment, what) is not None


def _read(segment: str, what: str) -> str | None:
    if _PLAIN.fullmatch(segment) and len(segment) <= MAX_NAME and not _DEVICE.match(segment):
        return None if what == "session" and segment == USER_SCOPE else segment
    try:
        text = unquote_to_bytes(segment).decode() if "%" in segment else segment
        return text if encode(text, what) == segment else None
    except (UnicodeDecodeError, InvalidName):
        return None
