"""Objects in a bucket of S3, Cloudflare R2, or any server that speaks S3's language, through s3fs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

from artifactfs.backends.base import Abilities, Entry, Got, Page, Placement, Stat, Unfinished, Written
from artifactfs.backends.s3_client import Answer, S3Client
from artifactfs.backends.s3_config import s3_settings
from artifactfs.backends.s3_probe import probe
from artifactfs.backends.s3_upload import S3Upload
from artifactfs.errors import BackendError, UnsafeBackend

LONGEST_KEY = 1024
"""Bytes of UTF-8 of a whole key, prefix included: S3's limit."""

LONGEST_SIGNATURE = 7 * 24 * 3600
"""Seconds that a signed URL may be valid: a limit of AWS signature version 4."""

BATCH = 1000
"""Keys in one multi-delete, and elements in one page of a listing."""

LAST = "\U0010ffff"
"""Sorts behind all that names are made of."""


class S3Backend:
    """A `artifactfs.backends.base.Backend` on S3.

    Args:
        url: ``s3://bucket/prefix``, or ``r2://bucket/prefix`` for Cloudflare R2.
        options: s3fs's own (``key``, ``secret``, ``endpoint_url``, ``profile``, ``client_kwargs``,
            ``s3_additional_kwargs``, …); what they add to requests reaches all of ours.
        single_writer: the caller vouches that nobody else writes: where the store is not known to create atomically,
            it is looked first and then written.
        tries: how often a request is sent at most.
        deadline: seconds after which none is sent again.

    Raises:
        InvalidConfig: the URL or a setting cannot be used. Nothing is sent here.
    """

    placement: Placement = "loop"
    max_segment: int | None = None

    def __init__(
        self,
        url: str,
        *,
        options: Mapping[str, Any],
        single_writer: bool = False,
        tries: int = 5,
        deadline: float = 60.0,
    ) -> None:
        settings = s3_settings(url, options, deadline=deadline)
        self.url = settings.url
        self.identity = settings.identity
        self.abilities: Abilities | None = Abilities("atomic", "atomic", "atomic") if settings.at_aws else None
        self.max_key: int | None = LONGEST_KEY - len(settings.prefix.encode())
        self.prefix = self._prefix = settings.prefix
        self._single_writer = single_writer
        self._client = S3Client(settings, tries=tries, deadline=deadline)

    # writes

    async def create(self, key: str, data: bytes, content_type: str) -> Written:
        if self._checks("create"):
            return await self._write(key, data, content_type, IfNoneMatch="*")
        if await self.stat(key) is not None:
            return Written(False)
        return await self._write(key, data, content_type)

    async def put(self, key: str, data: bytes, content_type: str, *, once: bool = False) -> Written:
        return await self._write(key, data, content_type, tries=1 if once else None)

    async def replace(self, key: str, data: bytes, content_type: str, tag: str) -> Written:
        # Unquoted: Ceph answers 412 to the right tag in quotes.
        if self._checks("rewrite"):
            return await self._write(key, data, content_type, IfMatch=tag)
        there = await self.stat(key)
        if there is None or there.tag != tag:
            return Written(False)
        return await self._write(key, data, content_type)

    async def upload(self, key: str, content_type: str) -> S3Upload:
        async def create(data: bytes) -> Written:
            return await self.create(key, data, content_type)

        async def absent() -> bool:
            return await self.stat(key) is None

        conditional = self._checks("complete")
        return S3Upload(self._client, key, content_type, create=create, conditional=conditional, absent=absent)

    def _checks(self, what: str) -> bool:
        """Is the store to keep the precondition, or do we look first because a single writer vouched for himself?"""
        return not self._single_writer or (self.abilities is not None and getattr(self.abilities, what) == "atomic")

    async def _write(
        self, key: str, data: bytes, content_type: str, *, tries: int | None = None, **condition: Any
    ) -> Written:
        answer = await self._client.call(
            "put_object",
            key,
            write=True,
            accept={404, 412, 501} if condition else (),
            tries=tries,
            Body=data,
            ContentType=content_type,
            **condition,
        )
        if answer.status == 501:
            raise unknown_precondition(self.url, next(iter(condition)), answer.code)
        return Written(not answer.code, answer.sent, _tag(answer.body))

    # reads

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Got | None:
        if end is not None and end <= start:
            return await self._empty(key)
        whole = start == 0 and end is None
        byte_range: dict[str, Any] = {} if whole else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        answer = await self._client.call("get_object", key, accept={404, 416}, **byte_range)
        if answer.status == 416:
            return await self._empty(key)
        if answer.code:
            return None
        data, size = answer.body["Body"], len(answer.body["Body"])
        if "ContentRange" in answer.body:
            size = int(answer.body["ContentRange"].rpartition("/")[2])
        elif not whole:
            data = data[start:end]  # a server that ignores ranges
        return Got(data, size, answer.body["LastModified"].timestamp(), _tag(answer.body))

    async def _empty(self, key: str) -> Got | None:
        """A range beyond the end of an object, which a server refuses without telling its time and tag."""
        there = await self.stat(key)
        return None if there is None else Got(b"", *there)

    async def stat(self, key: str) -> Stat | None:
        # To a HEAD, a missing bucket looks as a missing object does.
        answer = await self._client.call("head_object", key, accept={404})
        if answer.code:
            return None
        return Stat(answer.body["ContentLength"], answer.body["LastModified"].timestamp(), _tag(answer.body))

    async def list(
        self, folder: str, after: str = "", *, deep: bool = False, limit: int = BATCH, newest: bool = False
    ) -> Page:
        base = self._prefix + folder
        position: dict[str, Any] = {"StartAfter": base + _beyond(after, deep)} if after else {}
        grouping: dict[str, Any] = {} if deep else {"Delimiter": "/"}
        most = min(limit, BATCH)
        while True:
            answer = await self._client.call("list_objects_v2", Prefix=base, MaxKeys=most, **grouping, **position)
            page = _page(answer, base, after, most)
            # Truncated with nothing in it: all that it held was the folder that ended the page before.
            if page.entries or page.folders or not answer.body.get("IsTruncated"):
                return page
            position = {"ContinuationToken": answer.body["NextContinuationToken"]}

    async def now(self) -> float:
        # Any answer is dated, also one that refuses.
        answer = await self._client.call("head_bucket", accept=range(400, 500))
        return parsedate_to_datetime(answer.headers["date"]).timestamp()

    async def sign(self, key: str, seconds: int) -> str:
        if not 0 < seconds <= LONGEST_SIGNATURE:
            raise BackendError(
                f"{self.url}: S3 signs URLs for 1 to {LONGEST_SIGNATURE} seconds (7 days), not {seconds}",
                store=self.url,
            )
        return await self._client.presigned(key, seconds)

    # housekeeping

    async def delete(self, keys: Sequence[str]) -> None:
        for at in range(0, len(keys), BATCH):
            batch = keys[at : at + BATCH]
            if len(batch) == 1 or not await self._delete_together(batch):
                await self._delete_singly(batch)

    async def _delete_together(self, keys: Sequence[str]) -> bool:
        """One request; False where the server does not take it."""
        objects = [{"Key": self._prefix + key} for key in keys]
        answer = await self._client.call(
            "delete_objects", write=True, accept={400, 405, 501}, Delete={"Objects": objects, "Quiet": True}
        )
        if answer.code:
            return False
        failed = [error for error in answer.body.get("Errors", ()) if error.get("Code") != "NoSuchKey"]
        # Each of those by itself: it is tried again where that may help, and explained where it does not.
        await self._delete_singly([error["Key"].removeprefix(self._prefix) for error in failed])
        return True

    async def _delete_singly(self, keys: Sequence[str]) -> None:
        places = asyncio.Semaphore(32)

        async def one(key: str) -> None:
            async with places:
                await self._client.call("delete_object", key, write=True, accept={404})

        await asyncio.gather(*map(one, keys))

    async def unfinished(self, folder: str) -> Sequence[Unfinished]:
        found: list[Unfinished] = []
        position: dict[str, Any] = {}
        while True:
            # rclone says of none that there is no such upload.
            answer = await self._client.call(
                "list_multipart_uploads", accept={404}, Prefix=self._prefix + folder, **position
            )
            for upload in answer.body.get("Uploads", ()):
                key = upload["Key"].removeprefix(self._prefix)
                found.append(Unfinished(key, upload["Initiated"].timestamp(), upload["UploadId"]))
            if not answer.body.get("IsTruncated"):
                return found
            position = {
                "KeyMarker": answer.body["NextKeyMarker"],
                "UploadIdMarker": answer.body["NextUploadIdMarker"],
            }

    async def discard(self, upload: Unfinished) -> None:
        await self._client.call("abort_multipart_upload", upload.key, accept={404}, UploadId=upload.token)

    async def probe(self, folder: str) -> Abilities:
        return await probe(self._client, folder)

    async def ask(
        self, method: str, key: str | None = None, *, accept: Collection[int] = (), **arguments: Any
    ) -> Answer:
        """One call of S3's API about this bucket, for what only S3 has: its settings, and parts of uploads."""
        return await self._client.call(method, key, accept=accept, **arguments)

    async def close(self) -> None:
        await self._client.close()


def unknown_precondition(url: str, name: str, code: str) -> UnsafeBackend:
    return UnsafeBackend(
        f"{url}: this store does not know the precondition {name} ({code}), so concurrent savers would overwrite each "
        "other: use another store, or say single_writer=True if only one process ever writes",
        store=url,
        seen="refused",
    )


def _tag(body: Mapping[str, Any]) -> str:
    return str(body.get("ETag", "")).strip('"')


def _beyond(after: str, deep: bool) -> str:
    """Where a listing has to start so that *after*, and all below it if it is a folder, is passed over."""
    head, slash, _ = after.partition("/")
    return after if deep or not slash else f"{head}/{LAST}"


def _page(answer: Answer, base: str, after: str, most: int) -> Page:
    """The elements of an answer that sort after *after*, by names relative to *base*."""
    found, below = answer.body.get("Contents", ()), answer.body.get("CommonPrefixes", ())
    # Text sorts as its UTF-8 does. An empty name is a "folder" that some other program made visible.
    entries = [
        Entry(name, each["Size"], each["LastModified"].timestamp())
        for each in found
        if (name := each["Key"].removeprefix(base)) > after
    ]
    folders = [name for each in below if (name := each["Prefix"].removeprefix(base)) > after]
    # MinIO calls a full page the last one where it began behind an object in a sub-folder: so no full page is the last.
    more = answer.body.get("IsTruncated") or len(found) + len(below) >= most
    last = max([*(entry.name for entry in entries[-1:]), *folders[-1:]], default=None)
    return Page(tuple(entries), tuple(folder[:-1] for folder in folders), last if more else None)
