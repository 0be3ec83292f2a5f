"""Objects in a bucket of S3 or a server that speaks S3's language, through obstore: what every save and load does.

Small writes, reads and looks go over obstore, on the caller's own event loop. The rest goes over the client of s3fs with
the same settings: listings, since obstore cannot begin a delimited one in the middle, nor list beside keys that its paths
cannot hold; uploads in parts, since its completion has no precondition; deletes, unfinished uploads, the probe's races.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import obstore
from obstore.exceptions import GenericError

from artifactfs.backends.base import Abilities, Flow, Got, Page, Placement, Stat, Unfinished, Written
from artifactfs.backends.obstore_client import (
    UNFIT_KEY,
    HomeUpload,
    ObstoreClient,
    ObstoreFlow,
    at_home,
    is_usable,
    uncut,
)
from artifactfs.backends.obstore_errors import Failure, breaks, how_it_broke, insecure, unsent
from artifactfs.backends.obstore_s3_config import Credentials, is_reachable, region_of, s3_store
from artifactfs.backends.obstore_s3_config import unfit as unfit_settings
from artifactfs.backends.s3 import BATCH, LONGEST_KEY, S3Backend, unknown_precondition
from artifactfs.backends.s3_client import Answer as S3Answer
from artifactfs.backends.s3_config import S3Settings, s3_settings
from artifactfs.backends.s3_errors import (
    ELSEWHERE,
    Place,
    Refusal,
    explained,
    gave_up,
    kept_failing,
    no_secure_connection,
    passes,
)
from artifactfs.backends.s3_errors import refused as refused_by
from artifactfs.errors import ArtifactError, BackendError, BackendUnavailable

_UNFIT = re.compile(UNFIT_KEY)
_CONDITIONS = frozenset({404, 412, 501})
_ABSENT_OR_SHORT = frozenset({404, 416})

RANGE_IGNORED = "non-partial response"
"""What obstore says where a server gives the whole object for a part of it."""


def unfit(url: str, options: Mapping[str, Any], *, asked: bool) -> str | None:
    """What of a store's settings this engine cannot honour, by name, whether or not it was *asked* for; else None."""
    return unfit_settings(s3_settings(url, options, deadline=1.0))


class ObstoreS3Backend:
    """A `artifactfs.backends.base.Backend` on S3, whose frequent requests are sent by obstore.

    Args:
        url, options, single_writer, tries, deadline: as those of `artifactfs.backends.s3.S3Backend`; `unfit` tells
            which options cannot be used.

    Raises:
        InvalidConfig: the URL or a setting cannot be used. Nothing is sent here.
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
        settings = s3_settings(url, options, deadline=deadline)
        self._s3 = S3Backend(url, options=options, single_writer=single_writer, tries=tries, deadline=deadline)
        self.url = settings.url
        self.identity = settings.identity
        self.max_key: int | None = LONGEST_KEY - len(settings.prefix.encode())
        self.prefix = settings.prefix
        self._single_writer = single_writer
        self._settings = settings
        self._region: str | None = None
        credentials = Credentials(settings)
        self._client = ObstoreClient(
            lambda read_timeout: s3_store(settings, credentials, self._region or region_of(settings), read_timeout),
            _S3Dialect(settings, credentials),
            read_timeout=settings.options["config_kwargs"]["read_timeout"],
            tries=tries,
            deadline=deadline,
            redirected=self._redirected,
        )

    async def _redirected(self, failure: Failure, store: Any) -> bool:
        """Where the bucket is in another region than *store* looked in, learn which, as s3fs does."""
        # A HEAD that is signed for another region is answered by a mere 400.
        if failure.status not in (301, 302, 307) and failure.code not in ELSEWHERE and failure.code != "400":
            return False
        looked_in = store.config["region"]
        if self._region in (None, looked_in):
            told = failure.region or await self._told_region()
            if told and is_reachable(self._settings, told) and told != looked_in:
                self._region = told
                self._client.close()
        return self._region not in (None, looked_in)

    async def _told_region(self) -> str | None:
        try:
            answer = await self.ask("head_bucket", accept=range(300, 500))
        except ArtifactError:
            return None
        return answer.headers.get("x-amz-bucket-region")

    @property
    def abilities(self) -> Abilities | None:
        return self._s3.abilities

    @abilities.setter
    def abilities(self, seen: Abilities | None) -> None:
        self._s3.abilities = seen

    def _holds(self, key: str) -> bool:
        """Can obstore address this key, in this process?"""
        return is_usable() and _UNFIT.search(self.prefix + key) is None and self._client.opens()

    # writes

    async def create(self, key: str, data: bytes, content_type: str) -> Written:
        if not self._holds(key):
            return await at_home(lambda: self._s3.create(key, data, content_type))
        if not self._single_writer or (self.abilities is not None and self.abilities.create == "atomic"):
            return await self._write(key, data, content_type, "create")
        if await self.stat(key) is not None:
            return Written(False)
        return await self._write(key, data, content_type)

    async def put(self, key: str, data: bytes, content_type: str, *, once: bool = False) -> Written:
        if not self._holds(key):
            return await at_home(lambda: self._s3.put(key, data, content_type, once=once))
        return await self._write(key, data, content_type, tries=1 if once else None)

    async def replace(self, key: str, data: bytes, content_type: str, tag: str) -> Written:
        if not self._holds(key):
            return await at_home(lambda: self._s3.replace(key, data, content_type, tag))
        # Unquoted: Ceph answers 412 to the right tag in quotes.
        if not self._single_writer or (self.abilities is not None and self.abilities.rewrite == "atomic"):
            return await self._write(key, data, content_type, {"e_tag": tag})
        there = await self.stat(key)
        if there is None or there.tag != tag:
            return Written(False)
        return await self._write(key, data, content_type)

    async def _write(
        self, key: str, data: bytes, content_type: str, mode: Any = "overwrite", *, tries: int | None = None
    ) -> Written:
        path, attributes = self.prefix + key, {"Content-Type": content_type}

        async def absent(store: Any) -> bool:
            try:
                await store.head_async(path)
            except FileNotFoundError:
                return True
            return False

        answer = await self._client.send(
            "put_object",
            key,
            lambda store: uncut(
                obstore.put_async(store, path, data, attributes=attributes, mode=mode, use_multipart=False)
            ),
            size=len(data),
            write=True,
            accept=() if mode == "overwrite" else _CONDITIONS,
            absent=absent if mode == "create" else None,
            tries=tries,
        )
        if answer.failure is None:
            return Written(True, answer.sent, _tag(answer.value["e_tag"]))
        if answer.failure.status == 501:
            name = "IfNoneMatch" if mode == "create" else "IfMatch"
            raise unknown_precondition(self.url, name, answer.failure.code)
        return Written(False, answer.sent)

    # reads

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Got | None:
        if end is not None and end <= start:
            return await self._empty(key)
        if not self._holds(key):
            return await at_home(lambda: self._s3.get(key, start, end))
        path = self.prefix + key
        if end is not None:
            options: dict[str, Any] | None = {"range": (start, end)}
        else:
            options = {"range": {"offset": start}} if start else None

        async def request(store: Any) -> Got:
            cut = slice(None)
            try:
                result = await store.get_async(path, options=options)
            except GenericError as error:
                if options is None or RANGE_IGNORED not in str(error):
                    raise
                result, cut = await store.get_async(path), slice(start, end)
            data = (await result.bytes_async()).to_bytes()
            meta = result.meta
            return Got(data[cut], meta["size"], meta["last_modified"].timestamp(), _tag(meta["e_tag"]))

        answer = await self._client.send("get_object", key, request, accept=_ABSENT_OR_SHORT)
        if answer.failure is None:
            got: Got = answer.value
            return got
        if answer.failure.status == 416:
            return await self._empty(key)
        return None

    async def flow(self, key: str, start: int) -> tuple[int, Flow] | None:
        """As `artifactfs.backends.base.Flowing.flow`."""
        if not self._holds(key):
            return None

        async def request(store: Any) -> Any:
            try:
                return await store.get_async(self.prefix + key, options={"range": {"offset": start}})
            except GenericError as error:
                if RANGE_IGNORED not in str(error):
                    raise
                return None

        answer = await self._client.send("get_object", key, request, accept=_ABSENT_OR_SHORT)
        return None if answer.value is None else (answer.value.meta["size"], ObstoreFlow(answer.value))

    async def _empty(self, key: str) -> Got | None:
        """A range beyond the end of an object, which a server refuses without telling its time and tag."""
        there = await self.stat(key)
        return None if there is None else Got(b"", *there)

    async def stat(self, key: str) -> Stat | None:
        if not self._holds(key):
            return await at_home(lambda: self._s3.stat(key))
        path = self.prefix + key
        # To a HEAD, a missing bucket looks as a missing object does.
        answer = await self._client.send("head_object", key, lambda store: store.head_async(path), accept={404})
        if answer.failure is not None:
            return None
        meta = answer.value
        return Stat(meta["size"], meta["last_modified"].timestamp(), _tag(meta["e_tag"]))

    # what s3fs's client does, on its own loop

    async def list(
        self, folder: str, after: str = "", *, deep: bool = False, limit: int = BATCH, newest: bool = False
    ) -> Page:
        return await at_home(lambda: self._s3.list(folder, after, deep=deep, limit=limit))

    async def delete(self, keys: Sequence[str]) -> None:
        await at_home(lambda: self._s3.delete(keys))

    async def unfinished(self, folder: str) -> Sequence[Unfinished]:
        return await at_home(lambda: self._s3.unfinished(folder))

    async def discard(self, upload: Unfinished) -> None:
        await at_home(lambda: self._s3.discard(upload))

    async def now(self) -> float:
        return await at_home(self._s3.now)

    async def sign(self, key: str, seconds: int) -> str:
        return await at_home(lambda: self._s3.sign(key, seconds))

    async def probe(self, folder: str) -> Abilities:
        return await at_home(lambda: self._s3.probe(folder))

    async def ask(
        self, method: str, key: str | None = None, *, accept: Collection[int] = (), **arguments: Any
    ) -> S3Answer:
        """As `artifactfs.backends.s3.S3Backend.ask`."""
        return await at_home(lambda: self._s3.ask(method, key, accept=accept, **arguments))

    async def upload(self, key: str, content_type: str) -> HomeUpload:
        return HomeUpload(await at_home(lambda: self._s3.upload(key, content_type)))

    async def close(self) -> None:
        self._client.close()
        await at_home(self._s3.close)


class _S3Dialect:
    """S3's error codes, and who is asked for credentials."""

    def __init__(self, settings: S3Settings, credentials: Credentials) -> None:
        self._settings = settings
        self._credentials = credentials

    def _place(self, operation: str, key: str) -> Place:
        settings = self._settings
        return Place(settings.url, settings.bucket, settings.endpoint or "AWS", operation, key)

    def passes(self, failure: Failure) -> bool:
        return passes(_refusal(failure)) or failure.status == 409 if failure.status else breaks(failure)

    def unsent(self, failure: Failure) -> bool:
        return unsent(failure)

    def explained(self, failure: Failure, operation: str, key: str) -> ArtifactError:
        place = self._place(operation, key)
        if (problem := self._credentials.problem) is not None and failure.code == "401":
            return explained(problem, place)
        if failure.status:
            return refused_by(_refusal(failure), place)
        if insecure(failure):
            return no_secure_connection(place)
        return BackendError(place.says(f"the request failed ({failure.detail})"), store=place.store)

    def unavailable(
        self, failure: Failure, operation: str, key: str, *, tries: int, landed: bool
    ) -> BackendUnavailable:
        place = self._place(operation, key)
        if failure.status:
            what = kept_failing(_refusal(failure))
        else:
            what = how_it_broke(failure, place.endpoint) if failure.broken else f"the request failed ({failure.detail})"
        return gave_up(what, place, tries=tries, landed=landed)


def _refusal(failure: Failure) -> Refusal:
    headers = {"x-amz-bucket-region": failure.region} if failure.region else {}
    return Refusal(failure.status, failure.code, failure.message, headers)


def _tag(tag: str | None) -> str:
    return (tag or "").strip('"')
