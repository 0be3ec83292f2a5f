"""Google Cloud Storage, through gcsfs: creates by ``ifGenerationMatch=0``, each operation one request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from artifactfs.backends.base import Abilities, Entry, Got, Page, Placement, Stat, Unfinished, Upload, Written
from artifactfs.backends.gcs_probe import probe
from artifactfs.backends.gcs_upload import GCSUpload
from artifactfs.backends.gcs_wire import Answer, Wire, is_google, multipart
from artifactfs.errors import ArtifactError, BackendError, InvalidConfig

MAX_NAME = 1024
"""Bytes of UTF-8 in an object's name, the root's prefix included."""

MAX_PAGE = 1000
"""Entries and folders of one answer; Google gives no more."""

DELETES_AT_ONCE = 16

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._:-]{1,220}[a-z0-9]")


class GCSBackend:
    """`artifactfs.backends.base.Backend` over one bucket of Google Cloud Storage, or of an emulator.

    Credentials, project and requester pays are gcsfs's; its listing cache is not used, nor its own retries: a request
    is sent again here only, so that `Written.tries` is true. Safe from many threads by fsspec's loop, and after a fork.
    Objects are stored with ``Cache-Control: no-store``: a public bucket's are otherwise served from caches for an hour.

    Args:
        url: ``gs://bucket/prefix`` or ``gcs://…``.
        options: gcsfs's own (``token``, ``project``, ``endpoint_url``, ``requester_pays``, …). Without a token, a plain
            ``http://`` endpoint is used anonymously.
        single_writer: changes nothing here, since every write carries its precondition; whether it must hold is for
            the caller to decide.
        tries: how often a request is sent at most.
        deadline: seconds after which no further try begins, and for which an answer is waited for.

    Raises:
        InvalidConfig: *url* names no bucket.
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
        scheme, _, path = url.partition("://")
        bucket, _, prefix = path.partition("/")
        prefix = prefix.strip("/")
        if scheme not in ("gs", "gcs") or not _BUCKET.fullmatch(bucket):
            raise InvalidConfig(
                f"a Google Cloud Storage URL is gs://bucket/prefix; the bucket {bucket!r} cannot be one"
            )
        self.url = f"gs://{bucket}/{prefix}".rstrip("/")
        self.prefix = self._root = f"{prefix}/" if prefix else ""
        self.wire = Wire(self.url, bucket, options, tries, deadline)
        self.single_writer = single_writer
        self.identity = f"{self.wire.endpoint}/{bucket}"
        self.abilities = Abilities("atomic", "atomic", "atomic") if is_google(self.wire.endpoint) else None
        self.max_key: int | None = MAX_NAME - len(self._root.encode())

    def __repr__(self) -> str:
        return f"GCSBackend({self.url!r})"

    # --- writes -------------------------------------------------------------------------------------------------------

    async def create(self, key: str, data: bytes, content_type: str) -> Written:
        return await self._write(key, data, content_type, "0")

    async def put(self, key: str, data: bytes, content_type: str, *, once: bool = False) -> Written:
        return await self._write(key, data, content_type, None, once=once)

    async def replace(self, key: str, data: bytes, content_type: str, tag: str) -> Written:
        return await self._write(key, data, content_type, tag)

    async def upload(self, key: str, content_type: str) -> Upload:
        return GCSUpload(self, self.wire, key, self._root + key, plain_type(content_type))

    async def _write(
        self, key: str, data: bytes, content_type: str, generation: str | None, *, once: bool = False
    ) -> Written:
        """One multipart request: a plain media upload's precondition is ignored by fake-gcs-server."""
        resource = self.wire.resource(self._root + key, plain_type(content_type))
        boundary, body = multipart(resource, plain_type(content_type), data)
        answer, tries = await self.wire.request(
            f"write {key!r}",
            "POST",
            self.wire.objects(kind="/upload"),
            params={
                "uploadType": "multipart",
                "fields": "generation",
                **({} if generation is None else {"ifGenerationMatch": generation}),
            },
            headers={"Content-Type": f"multipart/related; boundary={boundary}"},
            body=body,
            good={200, 201} if generation is None else {200, 201, 412},
            writes=True,
            once=once,
        )
        if answer.status == 412:
            return Written(False, tries)
        return Written(True, tries, self.wire.parsed(answer).get("generation", ""))

    async def delete(self, keys: Sequence[str]) -> None:
        places = asyncio.Semaphore(DELETES_AT_ONCE)

        async def remove(key: str) -> None:
            async with places:
                target = self.wire.objects(self._root + key)
                await self.wire.request(f"delete {key!r}", "DELETE", target, good={200, 204, 404}, writes=True)

        for ended in await asyncio.gather(*map(remove, keys), return_exceptions=True):
            if isinstance(ended, BaseException):
                raise ended

    # --- reads --------------------------------------------------------------------------------------------------------

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Got | None:
        if end is not None and end <= start:
            stat = await self.stat(key)
            return None if stat is None else Got(b"", *stat)
        headers = {"Accept-Encoding": "identity"}
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        target = self.wire.objects(self._root + key, kind="/download")
        answer, _ = await self.wire.request(
            f"read {key!r}", "GET", target, params={"alt": "media"}, headers=headers, good={200, 206, 404, 416}
        )
        if answer.status == 404:
            return None
        with self.wire.understood():
            stat = _stat_of(answer)
        if stat is None:  # a range past the end may be answered without the object's headers
            stat = await self.stat(key)
        if stat is None:
            return None
        data = {200: answer.body[start:end], 206: answer.body, 416: b""}[answer.status]
        return Got(data, *stat)

    async def stat(self, key: str) -> Stat | None:
        answer, _ = await self.wire.request(
            f"look at {key!r}",
            "GET",
            self.wire.objects(self._root + key),
            params={"fields": "generation,size,updated"},
            good={200, 404},
        )
        if answer.status == 404:
            return None
        found = self.wire.parsed(answer)
        with self.wire.understood():
            return Stat(int(found["size"]), _seconds(found["updated"]), str(found["generation"]))

    async def list(
        self, folder: str, after: str = "", *, deep: bool = False, limit: int = MAX_PAGE, newest: bool = False
    ) -> Page:
        """A page by one request: it begins at a name (``startOffset``, inclusive), never by a token of the server."""
        base = self._root + folder
        wanted = min(limit + (1 if after else 0), MAX_PAGE)
        params = {
            "prefix": base,
            "maxResults": str(wanted),
            "fields": "items(name,size,updated),prefixes,nextPageToken",
            **({} if deep else {"delimiter": "/"}),
        }
        if after:
            # "0" is what follows "/": all that lies in a folder is skipped.
            skips = after.endswith("/") and not deep
            params["startOffset"] = base + (after[:-1] + "0" if skips else after)
        while True:
            answer, _ = await self.wire.request(
                f"list {folder!r}", "GET", self.wire.objects(), params=params, good={200}
            )
            page = self.wire.parsed(answer)
            with self.wire.understood():
                found, more = _page(page, len(base), after, wanted), page.get("nextPageToken")
            if found or not more:
                break
            params["pageToken"] = more  # Google may give an empty page in the middle
        names = sorted(found, key=str.encode)
        if len(names) > limit:
            names, more = names[:limit], True
        return Page(
            tuple(entry for name in names if (entry := found[name]) is not None),
            tuple(name[:-1] for name in names if found[name] is None),
            names[-1] if more else None,
        )

    async def now(self) -> float:
        params = {"prefix": self._root, "maxResults": "1", "fields": "kind"}
        answer, _ = await self.wire.request("ask the time", "GET", self.wire.objects(), params=params, good={200})
        with self.wire.understood():
            return parsedate_to_datetime(answer.headers["Date"]).timestamp()

    # --- the rest -----------------------------------------------------------------------------------------------------

    async def unfinished(self, folder: str) -> Sequence[Unfinished]:
        """Always none: the service lists no upload sessions. One that is not ended expires by itself in a week."""
        return ()

    async def discard(self, upload: Unfinished) -> None:
        """Nothing is to be done: see `unfinished`."""

    async def sign(self, key: str, seconds: int) -> str:
        """A V4 signed URL, for at most 604,800 seconds; a service account signs it, or IAM for its identity."""
        what = f"{self.url}: cannot sign a URL for {key!r}"
        try:
            filesystem = await self.wire.filesystem()
            if filesystem.credentials.credentials is None:
                raise BackendError(f"{what} without credentials; use those of a service account", store=self.url)
            path = f"{self.wire.bucket}/{self._root}{key}"
            return str(await asyncio.to_thread(filesystem.sign, path, seconds, version="v4"))
        except ArtifactError:
            raise
        except Exception as error:
            raise BackendError(
                f"{what} with these credentials ({type(error).__name__}); use those of a service account, "
                "and at most 604800 seconds",
                store=self.url,
            ) from error

    async def probe(self, folder: str) -> Abilities:
        return await probe(self, self.wire, self._root, folder)

    async def settings(self) -> dict[str, Any]:
        """The bucket's own settings, as the JSON API tells them; it takes the permission storage.buckets.get."""
        target = self.wire.objects().removesuffix("/o")
        answer, _ = await self.wire.request("read the bucket's settings", "GET", target, good={200})
        return self.wire.parsed(answer)

    async def close(self) -> None:
        await self.wire.close()


def plain_type(content_type: str) -> str:
    """*content_type* where it can stand in a header; a part's header and the object's resource must say the same."""
    return content_type if re.fullmatch(r"[ -~]+", content_type) else "application/octet-stream"


def _page(page: Mapping[str, Any], skip: int, after: str, wanted: int) -> dict[str, Entry | None]:
    """What a page holds behind *after*, by sort key: entries, and None for folders (their key ends in a slash).

    fake-gcs-server counts objects only and brings every folder with every page; of such a page, what sorts behind its
    last object does not belong to it.
    """
    found: dict[str, Entry | None] = {prefix[skip:]: None for prefix in page.get("prefixes", ())}
    last = b""
    for item in page.get("items", ()):
        name = item["name"][skip:]
        last = max(last, name.encode())
        found[name] = Entry(name, int(item["size"]), _seconds(item["updated"]))
    cut = len(found) > wanted and "nextPageToken" in page
    return {
        name: entry
        for name, entry in found.items()
        if name.encode() > after.encode() and not (cut and last and name.encode() > last)
    }


def _seconds(time: str) -> float:
    """Whole seconds, since a download's header tells no more: the same object has the same time in every answer."""
    return float(int(datetime.fromisoformat(time).timestamp()))


def _stat_of(answer: Answer) -> Stat | None:
    """Size, time and generation by the headers of a download; None where they do not say all."""
    headers = answer.headers
    size = headers.get("X-Goog-Stored-Content-Length") or headers.get("Content-Range", "").rpartition("/")[2]
    modified, generation = headers.get("Last-Modified"), headers.get("X-Goog-Generation")
    if not size.isdigit() or modified is None or generation is None:
        return None
    return Stat(int(size), parsedate_to_datetime(modified).timestamp(), generation)
