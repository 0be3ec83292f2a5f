"""Objects in a bucket of Google Cloud Storage, with obstore: what every save and load does goes over it.

obstore speaks Google's XML interface. Writes, reads and deletes of whole objects go over that, on the caller's own event
loop; a create carries ``x-goog-if-generation-match: 0`` and a rewrite the generation that it replaces. The rest goes over
the JSON interface, by the client of gcsfs with the same settings: listings, since obstore cannot begin a delimited one in
the middle, nor list beside keys that its paths cannot hold; looks at an object, since a ``HEAD`` does not tell a missing
bucket from a missing object; uploads in parts, since the XML interface completes them without a precondition; signing, and
the probe's races. Both interfaces are views of the same objects, with the same generations.

The credentials are gcsfs's too, whatever its option ``token`` says: obstore is given the token that they hold at the time.
Without credentials (``token="anon"``) everything goes over gcsfs, since obstore cannot leave the signature out of a write.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import obstore
from obstore.store import GCSStore

from artifactfs.backends.base import Abilities, Flow, Got, Page, Placement, Stat, Unfinished, Upload, Written
from artifactfs.backends.gcs import DELETES_AT_ONCE, MAX_PAGE, GCSBackend, plain_type
from artifactfs.backends.gcs_probe import probe
from artifactfs.backends.gcs_wire import FSSPECS_OPTIONS, Answer, is_google
from artifactfs.backends.obstore_client import (
    UNFIT_KEY,
    HomeUpload,
    ObstoreClient,
    ObstoreFlow,
    at_home,
    goes_through_a_proxy,
    is_usable,
    uncut,
)
from artifactfs.backends.obstore_gcs_client import Credentials, GCSDialect, Signing
from artifactfs.backends.race import Paced

_OPTIONS = FSSPECS_OPTIONS | {
    *("token", "project", "access", "requester_pays", "endpoint_url"),
    *("block_size", "cache_timeout", "check_connection", "consistency", "default_location", "secure_serialize"),
    "version_aware",
}
"""Options of gcsfs that reach obstore's requests too, or change none of ours."""

_VARIABLES = ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_SERVICE_ACCOUNT_KEY")
"""Credentials that obstore reads by itself, and fails over where it cannot, whatever it is given; gcsfs knows none."""

_UNFIT = re.compile(UNFIT_KEY)


def unfit(url: str, options: Mapping[str, Any], *, asked: bool) -> str | None:
    """What of a store's settings this engine cannot honour, by name; None where it can be used.

    Unless it is *asked* for, it does not go to an endpoint that is not Google's: emulators know the JSON interface only;
    nor through a proxy of the environment, where gcsfs goes straight.
    """
    wire = GCSBackend(url, options=options).wire
    for name, value in wire.options.items():
        if value and name not in _OPTIONS:
            return f"option {name}"
    for name in _VARIABLES:
        if name in os.environ:
            return f"the environment's {name}"
    token = wire.options.get("token") or ("anon" if wire.endpoint.startswith("http://") else None)
    if token == "anon":
        return "token='anon' (without credentials)"
    if asked:
        return None
    if goes_through_a_proxy(wire.endpoint):
        return "a proxy of the environment"
    return None if is_google(wire.endpoint) else f"the endpoint {wire.endpoint}"


class ObstoreGCSBackend:
    """A `artifactfs.backends.base.Backend` on Google Cloud Storage, whose frequent requests are sent by obstore.

    Args:
        url, options, single_writer, tries, deadline: as those of `artifactfs.backends.gcs.GCSBackend`; `unfit` tells
            which options cannot be used.

    Raises:
        InvalidConfig: *url* names no bucket. Nothing is sent here.
    """

    placement: Placement = "any"
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
        self._gcs = GCSBackend(url, options=options, single_writer=single_writer, tries=tries, deadline=deadline)
        self.url = self._gcs.url
        self.prefix = self._gcs.prefix
        self.identity = f"{self._gcs.identity} by obstore"
        self.single_writer = single_writer
        self.abilities = self._gcs.abilities
        self.max_key = self._gcs.max_key
        self._credentials = Credentials(self._gcs.wire)
        self._client = ObstoreClient(
            lambda seconds: Signing(self._gcs.wire, self._credentials, seconds),
            GCSDialect(self._gcs.wire),
            read_timeout=deadline,
            tries=tries,
            deadline=deadline,
        )

    def __repr__(self) -> str:
        return f"ObstoreGCSBackend({self.url!r})"

    async def _holds(self, key: str) -> bool:
        """Can obstore do it: address this key, in this process, with these credentials?"""
        if not is_usable() or _UNFIT.search(self.prefix + key) is not None:
            return False
        return await self._credentials.are_there() and self._client.opens()

    # --- writes -------------------------------------------------------------------------------------------------------

    async def create(self, key: str, data: bytes, content_type: str) -> Written:
        if not await self._holds(key):
            return await at_home(lambda: self._gcs.create(key, data, content_type))
        return await self._write(key, data, content_type, "create")

    async def put(self, key: str, data: bytes, content_type: str, *, once: bool = False) -> Written:
        if not await self._holds(key):
            return await at_home(lambda: self._gcs.put(key, data, content_type, once=once))
        return await self._write(key, data, content_type, "overwrite", once=once)

    async def replace(self, key: str, data: bytes, content_type: str, tag: str) -> Written:
        if not await self._holds(key):
            return await at_home(lambda: self._gcs.replace(key, data, content_type, tag))
        return await self._write(key, data, content_type, {"version": tag})

    async def _write(self, key: str, data: bytes, content_type: str, mode: Any, *, once: bool = False) -> Written:
        path, attributes = self.prefix + key, {"Content-Type": plain_type(content_type), "Cache-Control": "no-store"}

        def put(store: GCSStore) -> Awaitable[Any]:
            return uncut(obstore.put_async(store, path, data, attributes=attributes, mode=mode, use_multipart=False))

        answer = await self._client.send(
            "write",
            key,
            lambda signing: signing.send(put),
            size=len(data),
            write=True,
            accept=() if mode == "overwrite" else {412},
            tries=1 if once else None,
        )
        if answer.failure is not None:
            return Written(False, answer.sent)
        return Written(True, answer.sent, answer.value["version"] or "")

    async def upload(self, key: str, content_type: str) -> Upload:
        return HomeUpload(await at_home(lambda: self._gcs.upload(key, content_type)))

    async def delete(self, keys: Sequence[str]) -> None:
        places = asyncio.Semaphore(DELETES_AT_ONCE)

        async def remove(key: str) -> None:
            async with places:
                await self._remove(key)

        for ended in await asyncio.gather(*map(remove, keys), return_exceptions=True):
            if isinstance(ended, BaseException):
                raise ended

    async def _remove(self, key: str) -> None:
        if not await self._holds(key):
            return await at_home(lambda: self._gcs.delete([key]))
        path = self.prefix + key

        def remove(store: GCSStore) -> Awaitable[None]:
            return uncut(obstore.delete_async(store, path))

        await self._client.send("delete", key, lambda signing: signing.send(remove), write=True, accept={404})
        return None

    # --- reads --------------------------------------------------------------------------------------------------------

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Got | None:
        if end is not None and end <= start:
            return await self._empty(key)
        if not await self._holds(key):
            return await at_home(lambda: self._gcs.get(key, start, end))
        path = self.prefix + key
        options: Any = {"range": {"offset": start}} if start else None
        if end is not None:
            options = {"range": (start, end)}

        async def read(store: GCSStore) -> Got:
            found = await store.get_async(path, options=options)
            data, meta = (await found.bytes_async()).to_bytes(), found.meta
            return Got(data, meta["size"], meta["last_modified"].timestamp(), meta["version"] or "")

        answer = await self._client.send("read", key, lambda signing: signing.send(read), accept={404, 416})
        if answer.failure is None:
            got: Got = answer.value
            return got
        return None if answer.failure.status == 404 else await self._empty(key)

    async def flow(self, key: str, start: int) -> tuple[int, Flow] | None:
        """As `artifactfs.backends.base.Flowing.flow`."""
        if not await self._holds(key):
            return None
        path = self.prefix + key

        async def read(store: GCSStore) -> Any:
            return await store.get_async(path, options={"range": {"offset": start}})

        answer = await self._client.send("read", key, lambda signing: signing.send(read), accept={404, 416})
        return None if answer.failure is not None else (answer.value.meta["size"], ObstoreFlow(answer.value))

    async def _empty(self, key: str) -> Got | None:
        """Nothing of an object: a range beyond its end is refused without a word of its time and generation."""
        there = await self.stat(key)
        return None if there is None else Got(b"", *there)

    async def stat(self, key: str) -> Stat | None:
        return await at_home(lambda: self._gcs.stat(key))

    async def list(
        self, folder: str, after: str = "", *, deep: bool = False, limit: int = MAX_PAGE, newest: bool = False
    ) -> Page:
        return await at_home(lambda: self._gcs.list(folder, after, deep=deep, limit=limit, newest=newest))

    async def now(self) -> float:
        return await at_home(self._gcs.now)

    # --- the rest -----------------------------------------------------------------------------------------------------

    async def unfinished(self, folder: str) -> Sequence[Unfinished]:
        return await at_home(lambda: self._gcs.unfinished(folder))

    async def discard(self, upload: Unfinished) -> None:
        await at_home(lambda: self._gcs.discard(upload))

    async def sign(self, key: str, seconds: int) -> str:
        return await at_home(lambda: self._gcs.sign(key, seconds))

    async def settings(self) -> dict[str, Any]:
        """As that of `artifactfs.backends.gcs.GCSBackend`."""
        return await at_home(self._gcs.settings)

    async def probe(self, folder: str) -> Abilities:
        """Races over both interfaces: what either lacks, the store lacks."""
        return await at_home(lambda: probe(self._gcs, self._gcs.wire, self.prefix, folder, also=self._put_raw))

    async def _put_raw(self, key: str, generation: str, data: bytes, paced: Paced | None) -> Answer:
        """The request that obstore sends for a conditional write, by a client that can stop in its middle."""
        wire = self._gcs.wire
        headers = {"x-goog-if-generation-match": generation, "Content-Length": str(len(data))}
        target = f"/{wire.bucket}/{quote(self.prefix + key, safe='')}"
        headers["Content-Type"] = "text/plain"
        return await wire.exchange("PUT", target, None, headers, paced(data) if paced else data)

    async def close(self) -> None:
        self._client.close()
        await at_home(self._gcs.close)
