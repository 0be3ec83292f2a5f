"""What an S3 server makes of If-None-Match and If-Match, seen by racing writers on keys of the probe's own.

The requests go the way of every other: same credentials, encryption, proxy, signature. Only the body of the first writer
is stopped half-way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple

from artifactfs.backends.base import Abilities
from artifactfs.backends.race import Paced, Race, judge, race
from artifactfs.backends.s3_client import Answer, S3Client, pace
from artifactfs.errors import BackendUnavailable

SIZE = 64 * 1024
"""Bytes of a racing writer's payload: half of it is more than a server reads together with the head."""

Seen = Literal["kept", "ignored", "refused"]


class Begun(NamedTuple):
    """An upload whose only part is there: its id, and that part's tag."""

    id: str
    tag: str


async def probe(client: S3Client, folder: str) -> Abilities:
    """Race writers below *folder*, remove all that they left, and say what the store guarantees."""
    probing = _Probe(client, folder)
    try:
        return Abilities(
            *await asyncio.gather(
                judge(probing.create_alone, probing.create_race),
                judge(probing.complete_alone, probing.complete_race),
                judge(probing.rewrite_alone, probing.rewrite_race),
            )
        )
    finally:
        await probing.clean_up()


class _Probe:
    def __init__(self, client: S3Client, folder: str) -> None:
        self._client = client
        self._folder = f"{folder}probe-{uuid.uuid4().hex}"
        self._keys: list[str] = []
        self._uploads: list[tuple[str, str]] = []

    def _key(self) -> str:
        self._keys.append(f"{self._folder}-{len(self._keys)}")
        return self._keys[-1]

    # requests

    async def _create(self, key: str, data: bytes, tries: int | None = None) -> Answer:
        return await self._write("put_object", key, tries, Body=data, IfNoneMatch="*")

    async def _rewrite(self, key: str, data: bytes, tag: str, tries: int | None = None) -> Answer:
        return await self._write("put_object", key, tries, Body=data, IfMatch=tag)

    async def _complete(self, key: str, upload: Begun, tries: int | None = None) -> Answer:
        parts = {"Parts": [{"PartNumber": 1, "ETag": upload.tag}]}
        return await self._write(
            "complete_multipart_upload", key, tries, UploadId=upload.id, MultipartUpload=parts, IfNoneMatch="*"
        )

    async def _write(self, method: str, key: str, tries: int | None, **arguments: Any) -> Answer:
        return await self._client.call(method, key, write=True, tries=tries, accept={404, 412, 501}, **arguments)

    async def _begin(self, key: str, data: bytes) -> Begun:
        """Begin an upload, and send its only part."""
        begun = await self._client.call("create_multipart_upload", key, write=True)
        upload_id = begun.body["UploadId"]
        self._uploads.append((key, upload_id))
        part = await self._client.call("upload_part", key, UploadId=upload_id, PartNumber=1, Body=data)
        return Begun(upload_id, part.body["ETag"])

    async def _make(self, key: str) -> str:
        """Put an object there; its tag."""
        answer = await self._client.call("put_object", key, write=True, Body=os.urandom(16))
        return str(answer.body["ETag"]).strip('"')

    async def _race(self, key: str, wrote: tuple[bytes, bytes], write: Callable[[int], Awaitable[Answer]]) -> Race:
        """Race two writers; *write* is given 0 or 1, and sends that one's bytes."""

        async def won(who: int) -> bool:
            try:
                return not (await write(who)).code
            except BackendUnavailable:
                # A server that refuses at the head may hang up on the body; what counts is what is there in the end.
                return False

        async def first(paced: Paced) -> bool:
            pace.set(paced)  # for this task alone
            return await won(0)

        who_won = await race(first, lambda: won(1))
        there = await self._client.call("get_object", key, accept={404})
        return Race(who_won, wrote, there.body.get("Body"))

    # what is judged

    async def create_alone(self) -> Seen:
        key = self._key()
        await self._make(key)
        return _seen(await self._create(key, b"second"))

    async def create_race(self) -> Race:
        key, wrote = self._key(), _two()
        return await self._race(key, wrote, lambda who: self._create(key, wrote[who], tries=1))

    async def complete_alone(self) -> Seen:
        key = self._key()
        await self._make(key)
        return _seen(await self._complete(key, await self._begin(key, b"second")))

    async def complete_race(self) -> Race:
        key, wrote = self._key(), _two()
        uploads = [await self._begin(key, data) for data in wrote]
        return await self._race(key, wrote, lambda who: self._complete(key, uploads[who], tries=1))

    async def rewrite_alone(self) -> Seen:
        key = self._key()
        tag = await self._make(key)
        if (await self._rewrite(key, b"right", tag)).code:
            return "refused"
        # By now, that tag is an old one.
        return _seen(await self._rewrite(key, b"wrong", tag))

    async def rewrite_race(self) -> Race:
        key, wrote = self._key(), _two()
        tag = await self._make(key)
        return await self._race(key, wrote, lambda who: self._rewrite(key, wrote[who], tag, tries=1))

    async def clean_up(self) -> None:
        for key, upload_id in self._uploads:
            with contextlib.suppress(BackendUnavailable):
                await self._client.call("abort_multipart_upload", key, accept={404}, UploadId=upload_id)
        for key in self._keys:
            with contextlib.suppress(BackendUnavailable):
                await self._client.call("delete_object", key, accept={404})


def _two() -> tuple[bytes, bytes]:
    """What two writers write."""
    return os.urandom(SIZE), os.urandom(SIZE)


def _seen(answer: Answer) -> Seen:
    """What the answer to a write says of a store, where the precondition of that write did not hold."""
    if not answer.code:
        return "ignored"
    return "refused" if answer.status == 501 else "kept"
