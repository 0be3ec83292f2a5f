"""Content stored as it is: what another program reads without this library."""

from __future__ import annotations

from artifactfs.codecs.base import Bytes
from artifactfs.errors import IntegrityError


class Plain:
    """The codec of unsealed versions. It protects nothing but the length: digests in the record do the rest."""

    head_size = 0

    def stored_size(self, size: int) -> int:
        return size

    def content_size(self, stored: int) -> int:
        return stored

    def span(self, start: int, end: int, size: int) -> tuple[int, int]:
        return start, end

    def encoder(self) -> _Encoder:
        return _Encoder()

    def decoder(self, head: Bytes, size: int) -> _Decoder:
        return _Decoder()


class _Encoder:
    def update(self, data: Bytes) -> bytes:
        return bytes(data)

    def lend(self, data: Bytes) -> Bytes:
        return data

    def finish(self, data: Bytes = b"") -> bytes:
        return bytes(data)


class _Decoder:
    def open(self, start: int, end: int, stored: Bytes) -> bytes:
        content = bytes(stored)
        if len(content) != end - start:
            raise IntegrityError(
                f"the store gave {len(content)} bytes where {end - start} were asked for: the payload was cut off, or "
                "the connection broke; read it again"
            )
        return content
