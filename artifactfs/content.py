"""The content of one version that was found: its bytes by ranges, opened where they are sealed."""

from __future__ import annotations

import asyncio
from typing import BinaryIO, Protocol

from artifactfs.backends.base import SUSPENDING, Backend, Got
from artifactfs.codecs.base import Codec, Decoder
from artifactfs.errors import BackendUnavailable, IntegrityError, VersionNotFound
from artifactfs.layout import ArtifactId
from artifactfs.records import Blob, Pointer, fits_size, payload_size


class Readable(Protocol):
    """What a reader reads: `size` bytes, by ranges. Its coroutine runs where those of `backend` do."""

    @property
    def backend(self) -> Backend: ...

    @property
    def record(self) -> Blob | Pointer: ...

    @property
    def size(self) -> int: ...

    async def read(self, start: int, end: int) -> bytes:
        """The bytes ``start <= i < end``, within the size."""
        ...


class Content:
    """The bytes of a version in the store; what is sealed is given out only after it was checked.

    The size is that of the record, which is authenticated where the bytes are sealed: so a reader that goes to the end
    needs no look at the last chunk to know where that is.
    """

    def __init__(self, backend: Backend, artifact: ArtifactId, record: Blob, codec: Codec) -> None:
        self.backend, self.artifact, self.record = backend, artifact, record
        self.size = record.size_bytes or 0
        self._codec = codec
        self._decoder: Decoder | None = None

    async def read(self, start: int, end: int) -> bytes:
        """The bytes ``start <= i < end`` (cut at the end), by one request; the first of what is sealed by two.

        Raises:
            VersionNotFound: the version was deleted since it was found.
            IntegrityError: its payload has another size now, or is not what was sealed.
            BackendUnavailable: the answer was cut off.
        """
        end = min(end, self.size)
        at, to = self._codec.span(start, end, self.size)
        try:
            if self._decoder is not None or not self._codec.head_size:
                stored = await self._stored(at, to)
            else:
                head, stored = await self._with_head(self._codec.head_size, at, to)
                self._decoder = self._codec.decoder(head, self.size)
            if self._decoder is None:
                self._decoder = self._codec.decoder(b"", self.size)
            return self._decoder.open(start, end, stored)
        except IntegrityError as error:
            if error.artifact is not None:
                raise
            raise self._altered(str(error)) from error

    async def _with_head(self, size: int, at: int, to: int) -> tuple[bytes, bytes]:
        """The first stored bytes, and those from *at* to *to*."""
        if at <= size:
            stored = await self._stored(0, to)
            return stored[:size], stored[at:]
        if self.backend.placement in SUSPENDING:
            head, stored = await asyncio.gather(self._stored(0, size), self._stored(at, to))
            return head, stored
        return await self._stored(0, size), await self._stored(at, to)

    async def _stored(self, start: int, end: int) -> bytes:
        got: Got | None = await self.backend.get(self.artifact.payload(self.record.version), start, end)
        if got is None:
            raise VersionNotFound(
                f"version {self.record.version} of {self.artifact.label!r} was deleted while it was read",
                store=self.backend.url,
                artifact=self.artifact.label,
                version=self.record.version,
            )
        if not fits_size(self.record, got.size):
            raise self._altered(
                f"the payload does not match its record: it has {got.size} bytes, not {payload_size(self.record)}; it was "
                "altered or cut off after it was saved"
            )
        if len(got.data) < min(end, got.size) - start:
            raise BackendUnavailable(
                f"the store gave only {len(got.data)} bytes of those from {start} on of {self.artifact.label!r}; try again",
                store=self.backend.url,
                artifact=self.artifact.label,
            )
        return got.data

    def _altered(self, why: str) -> IntegrityError:
        return IntegrityError(
            f"version {self.record.version} of {self.artifact.label!r}: {why}",
            store=self.backend.url,
            artifact=self.artifact.label,
        )


class Fetched:
    """What a pointer points to, fetched into a local file and checked."""

    def __init__(self, backend: Backend, record: Pointer, file: BinaryIO) -> None:
        self.backend, self.record = backend, record
        self._file = file
        self.size = file.seek(0, 2)

    async def read(self, start: int, end: int) -> bytes:
        self._file.seek(start)
        return self._file.read(end - start)
