"""A streamed create on S3: parts that are sent while the next one is collected, and one conditional completion."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from artifactfs.backends.base import WHOLE_LIMIT, Written
from artifactfs.backends.s3_client import S3Client
from artifactfs.codecs.base import Bytes
from artifactfs.errors import BackendError, UnsafeBackend

PART = WHOLE_LIMIT
"""Bytes of a part, up to `FLAT` of them: 20 GiB."""

FLAT = 2500
MOST_PARTS = 10_000
GROWTH = 40
"""Every so many parts beyond `FLAT`, parts grow by `PART`, so that 10,000 of them, S3's limit, hold its 5 TiB."""

IN_FLIGHT = 16 * 1024 * 1024
"""Bytes of parts on their way at a time, beside the one that is being collected."""


def part_size(number: int) -> int:
    """Bytes of the part of this *number*, from 1.

    >>> part_size(1) == part_size(2500) == 8 * 1024 * 1024
    True
    >>> 5 * 2**40 <= sum(part_size(number) for number in range(1, 10_001)) <= 10 * 2**40
    True
    """
    return PART * (1 + max(0, number - FLAT) // GROWTH)


class S3Upload:
    """An `artifactfs.backends.base.Upload`: up to `WHOLE_LIMIT` bytes become one create, more a multipart upload.

    Args:
        create: stores a short payload whole.
        conditional: whether the completion carries the precondition; else `absent` is asked before it.
    """

    def __init__(
        self,
        client: S3Client,
        key: str,
        content_type: str,
        *,
        create: Callable[[bytes], Awaitable[Written]],
        conditional: bool,
        absent: Callable[[], Awaitable[bool]],
    ) -> None:
        self._client = client
        self._key = key
        self._content_type = content_type
        self._create = create
        self._conditional = conditional
        self._absent = absent
        self._number = 1
        # Of the size of a part, of which so many bytes are collected; and those of parts that have arrived.
        self._buffer, self._filled = bytearray(part_size(1)), 0
        self._spare: list[bytearray] = []
        self._upload_id: str | None = None
        self._parts: dict[int, str] = {}
        self._flying: set[asyncio.Task[None]] = set()
        self._ended = False

    async def write(self, data: Bytes) -> None:
        self._check_open()
        view = memoryview(data)
        while view:
            # A full part waits for the first byte after it: only then is it known not to be the whole payload.
            if self._filled == len(self._buffer):
                await self._send_part()
            piece = view[: len(self._buffer) - self._filled]
            self._buffer[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            view = view[len(piece) :]

    async def commit(self) -> Written:
        self._check_open()
        if self._upload_id is None:
            written = await self._create(bytes(memoryview(self._buffer)[: self._filled]))
        else:
            if self._filled:
                await self._send_part()
            while self._flying:
                await self._land()
            written = await self._complete()
        if written.done:
            self._ended = True
            self._drop()
        return written

    async def abort(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._drop()
        for task in self._flying:
            task.cancel()
        await asyncio.gather(*self._flying, return_exceptions=True)
        self._flying.clear()
        if self._upload_id is not None:
            await self._client.call("abort_multipart_upload", self._key, accept={404}, UploadId=self._upload_id)

    def _check_open(self) -> None:
        if self._ended:
            raise BackendError(
                f"{self._client.settings.url}: the upload of {self._key!r} has ended: save again",
                store=self._client.settings.url,
            )

    async def _send_part(self) -> None:
        if self._upload_id is None:
            begun = await self._client.call(
                "create_multipart_upload", self._key, write=True, ContentType=self._content_type
            )
            self._upload_id = begun.body["UploadId"]
        if self._number > MOST_PARTS:
            raise BackendError(
                f"{self._client.settings.url}: {self._key!r} is larger than the 5 TiB that S3 can hold",
                store=self._client.settings.url,
            )
        while self._flying and (len(self._flying) + 1) * len(self._buffer) > IN_FLIGHT:
            await self._land()
        del self._buffer[self._filled :]
        task = asyncio.create_task(self._upload_part(self._number, self._buffer))
        # An upload may be dropped while a part fails: nobody is to be told that then.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._flying.add(task)
        self._number += 1
        size = part_size(self._number)
        self._buffer, self._filled = self._spare.pop() if self._spare else bytearray(), 0
        if len(self._buffer) != size:
            self._buffer = bytearray(size)

    def _drop(self) -> None:
        """Hold nothing any more."""
        self._buffer, self._filled = bytearray(), 0
        self._spare.clear()

    async def _upload_part(self, number: int, data: bytearray) -> None:
        answer = await self._client.call(
            "upload_part", self._key, UploadId=self._upload_id, PartNumber=number, Body=data
        )
        self._parts[number] = answer.body["ETag"]
        if answer.sent == 1:  # else the connection of an earlier try may be sending these very bytes yet
            self._spare.append(data)

    async def _land(self) -> None:
        """Wait for a part, and raise what it failed with."""
        done, self._flying = await asyncio.wait(self._flying, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _complete(self) -> Written:
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in sorted(self._parts.items())]
        if not self._conditional and not await self._absent():
            return Written(False)
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if self._conditional else {}
        answer = await self._client.call(
            "complete_multipart_upload",
            self._key,
            write=True,
            accept={404, 412, 501},
            UploadId=self._upload_id,
            MultipartUpload={"Parts": parts},
            **condition,
        )
        if answer.status == 501:
            raise UnsafeBackend(
                f"{self._client.settings.url}: this store knows no create-only completion of an upload in parts",
                store=self._client.settings.url,
                seen="refused",
            )
        if answer.code == "NoSuchUpload" and answer.sent == 1:
            # Not our doing, so nothing was published.
            raise BackendError(
                f"{self._client.settings.url}: the upload of {self._key!r} was ended from outside: save again",
                store=self._client.settings.url,
            )
        return Written(not answer.code, answer.sent, answer.body.get("ETag", "").strip('"'))
