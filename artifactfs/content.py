"""The content of one version that was found: its bytes by ranges, opened where they are sealed."""

from __future__ import annotations

import asyncio
import os
from typing import BinaryIO, Protocol

from artifactfs.backends import base
from artifactfs.backends.base import SUSPENDING, Backend, Flow, Got
from artifactfs.codecs.base import Bytes, Codec, Decoder
from artifactfs.errors import BackendError, BackendUnavailable, IntegrityError, VersionNotFound
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

    @property
    def flows(self) -> bool:
        """Whether `read_on` spares requests."""
        ...

    async def read(self, start: int, end: int) -> bytes:
        """The bytes ``start <= i < end``, within the size."""
        ...

    async def read_on(self, start: int, end: int) -> bytes:
        """As `read`, where reading goes on from call to call."""
        ...

    @property
    def under_way(self) -> bool:
        """Whether `begin` has begun something that neither ended nor broke off."""
        ...

    async def begin(self, start: int, end: int) -> None:
        """Have what `read_on` takes, from *start* on, come as one answer, if it does not yet and the store can do it."""
        ...

    def go_on(self, start: int, end: int) -> bytes | None:
        """`read_on` for ordinary code, which waits here; None where that was not begun, or does not go on there."""
        ...

    def stop(self) -> None:
        """Nobody reads on."""
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
        self._flowing: Flowing | None = None
        self.flows = isinstance(backend, base.Flowing)

    async def read(self, start: int, end: int) -> bytes:
        """The bytes ``start <= i < end`` (cut at the end), by one request; the first of what is sealed by two.

        Raises:
            VersionNotFound: the version was deleted since it was found.
            IntegrityError: its payload has another size now, or is not what was sealed.
            BackendUnavailable: the answer was cut off.
        """
        end = min(end, self.size)
        at, to = self._codec.span(start, end, self.size)
        head = b""
        if self._decoder is not None or not self._codec.head_size:
            stored = await self._stored(at, to)
        else:
            head, stored = await self._with_head(self._codec.head_size, at, to)
        return self._open(start, end, head, stored)

    def _open(self, start: int, end: int, head: bytes, stored: bytes) -> bytes:
        try:
            if self._decoder is None:
                self._decoder = self._codec.decoder(head, self.size)
            return self._decoder.open(start, end, stored)
        except IntegrityError as error:
            raise self._altered(str(error)) from error

    async def read_on(self, start: int, end: int) -> bytes:
        """As `read`, by one answer of the store that goes on from call to call, as long as it holds."""
        await self.begin(start, end)
        return await self.read(start, end)

    @property
    def under_way(self) -> bool:
        return self._flowing is not None

    async def begin(self, start: int, end: int) -> None:
        if self._flowing is None and self._decoder is not None and isinstance(self.backend, base.Flowing):
            at, _ = self._codec.span(start, min(end, self.size), self.size)
            begun = await self.backend.flow(self._key, at)
            if begun is not None and fits_size(self.record, begun[0]):
                self._flowing = Flowing(begun[1], at)

    def go_on(self, start: int, end: int) -> bytes | None:
        end = min(end, self.size)
        flowing, self._flowing = self._flowing, None  # what is interrupted in the middle is not gone on with
        if flowing is None:
            return None
        stored = flowing.wait_for(*self._codec.span(start, end, self.size))
        if stored is None:
            return None
        content = self._open(start, end, b"", stored)
        self._flowing = flowing
        return content

    def stop(self) -> None:
        self._flowing = None

    async def _with_head(self, size: int, at: int, to: int) -> tuple[bytes, bytes]:
        """The first stored bytes, and those from *at* to *to*."""
        if at <= size:
            stored = await self._stored(0, to)
            return stored[:size], stored[at:]
        if self.backend.placement in SUSPENDING:
            head, stored = await asyncio.gather(self._stored(0, size), self._stored(at, to))
            return head, stored
        return await self._stored(0, size), await self._stored(at, to)

    @property
    def _key(self) -> str:
        return self.artifact.payload(self.record.version)

    async def _stored(self, start: int, end: int) -> bytes:
        flowing, self._flowing = self._flowing, None  # what is interrupted in the middle is not gone on with
        if flowing is not None and (data := await flowing.take(start, end)) is not None:
            self._flowing = flowing
            return data
        got: Got | None = await self.backend.get(self._key, start, end)
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


SHARED = 64 * 1024
"""Bytes that two ranges may both need: a chunk of sealed content, and some more."""


class Flowing:
    """An answer of the store that is taken in sequence, from the stored byte *at* on."""

    def __init__(self, flow: Flow, at: int) -> None:
        self._flow, self._at, self._process = flow, at, os.getpid()
        self._last = b""  # the end of what was given, for the chunk that two ranges share
        self._held: list[memoryview] = []  # what came and was not given yet,
        self._to = at  # and where that ends

    async def take(self, start: int, end: int) -> bytes | None:
        """The bytes ``start <= i < end``; None where they do not come next, or the answer broke off."""
        if not self._comes_next(start, end):
            return None
        try:
            while self._to < end:
                self._keep(await self._flow.next())
        except BackendError:
            return None
        return self._give(start, end)

    def wait_for(self, start: int, end: int) -> bytes | None:
        """As `take`, for ordinary code: turns of an event loop would take longer than all that is done with a piece."""
        if not self._comes_next(start, end):
            return None
        try:
            while self._to < end:
                self._keep(self._flow.wait_for_next())
        except BackendError:
            return None
        return self._give(start, end)

    def _comes_next(self, start: int, end: int) -> bool:
        return 0 <= self._at - start <= len(self._last) and self._at <= end and self._process == os.getpid()

    def _keep(self, piece: Bytes) -> None:
        if not piece:
            raise BackendError("an answer ended early")
        self._held.append(memoryview(piece))
        self._to += len(piece)

    def _give(self, start: int, end: int) -> bytes:
        shared = memoryview(self._last)[len(self._last) - (self._at - start) :]
        rest = memoryview(b"")
        if self._held:  # only the last of them may go on behind the end
            cut = len(self._held[-1]) - (self._to - end)
            self._held[-1], rest = self._held[-1][:cut], self._held[-1][cut:]
        data = b"".join([shared, *self._held])
        self._last, self._held, self._at = data[-SHARED:], [rest] if rest else [], end
        return data


class Fetched:
    """What a pointer points to, fetched into a local file and checked."""

    flows = under_way = False

    def __init__(self, backend: Backend, record: Pointer, file: BinaryIO) -> None:
        self.backend, self.record = backend, record
        self._file = file
        self.size = file.seek(0, 2)

    async def read(self, start: int, end: int) -> bytes:
        self._file.seek(start)
        return self._file.read(end - start)

    async def read_on(self, start: int, end: int) -> bytes:
        return await self.read(start, end)

    async def begin(self, start: int, end: int) -> None:
        """There is nothing to begin."""

    def go_on(self, start: int, end: int) -> bytes | None:
        return None

    def stop(self) -> None:
        """Nothing is on its way."""
