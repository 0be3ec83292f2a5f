"""What stands between the content of a version and the bytes that are stored of it: one small protocol.

All places and sizes are in bytes. A codec is that of one version: it may hold that version's key.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

Bytes: TypeAlias = "bytes | bytearray | memoryview"


class Encoder(Protocol):
    """Content in, stored bytes out, in bounded memory."""

    def update(self, data: Bytes) -> bytes:
        """Take more content, of any length; the stored bytes that are certain now, perhaps none."""
        ...

    def lend(self, data: Bytes) -> Bytes:
        """As `update`; but what is given is only lent: it is overwritten by the third call after this one."""
        ...

    def finish(self, data: Bytes = b"") -> bytes:
        """Take the last content; the last stored bytes. Nothing may follow."""
        ...


class Decoder(Protocol):
    """Stored bytes in, content out; nothing is given out before all that protects it was checked."""

    def open(self, start: int, end: int, stored: Bytes) -> bytes:
        """The content bytes ``start <= i < end``, from exactly the stored bytes that `Codec.span` tells for them.

        Raises:
            IntegrityError: they are not what was stored.
        """
        ...


class Codec(Protocol):
    """How the content of one version is stored.

    Attributes:
        head_size: how many of the first stored bytes a decoder is made from.
    """

    head_size: int

    def stored_size(self, size: int) -> int:
        """What *size* bytes of content take when stored."""
        ...

    def content_size(self, stored: int) -> int:
        """The size of the content that takes *stored* bytes.

        Raises:
            IntegrityError: no content takes that many.
        """
        ...

    def span(self, start: int, end: int, size: int) -> tuple[int, int]:
        """From where to where the stored bytes lie that opening ``start <= i < end`` of *size* bytes of content needs."""
        ...

    def encoder(self) -> Encoder: ...

    def decoder(self, head: Bytes, size: int) -> Decoder:
        """For content of *size* bytes of which the first stored bytes are *head*.

        Raises:
            IntegrityError: they are not the beginning of what this codec stored.
        """
        ...


def encode_whole(codec: Codec, content: Bytes) -> bytes:
    """What is stored of *content*."""
    return codec.encoder().finish(content)


def decode_whole(codec: Codec, stored: Bytes) -> bytes:
    """The content of which all stored bytes are *stored*.

    Raises:
        IntegrityError: they were altered, cut off or added to.
    """
    view = memoryview(stored)
    size = codec.content_size(len(view))
    at, to = codec.span(0, size, size)
    body = stored if to - at == len(view) else view[at:to]  # bytes as they are need no copy
    return codec.decoder(view[: codec.head_size], size).open(0, size, body)
