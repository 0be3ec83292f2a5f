"""The way to an S3 server through s3fs: one request a call, counted retries, our errors, fit for threads and forks.

s3fs brings credentials, TLS, proxies and what else its options say; its listing cache and file objects are not used.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import contextvars
import ctypes
import hashlib
import io
import os
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any, NamedTuple

from aiobotocore.httpsession import AIOHTTPSession
from s3fs import S3FileSystem

from artifactfs.backends.retry import GaveUp, retrying
from artifactfs.backends.s3_config import S3Settings
from artifactfs.backends.s3_errors import Place, explained, refusal, transient, unavailable, unsent
from artifactfs.errors import ArtifactError

PIECE = 256 * 1024
"""Bytes. A larger body is handed to the connection in pieces of this size, so that it is not copied whole, and only
after the server has said that it wants it."""

pace: contextvars.ContextVar[Callable[[bytes], AsyncIterator[bytes]] | None] = contextvars.ContextVar(
    "pace", default=None
)
"""Within its context, what turns a request's body into the pieces to send: a probe's way to stop in the middle."""


async def _pieces(body: bytes | bytearray) -> AsyncIterator[memoryview]:
    for at in range(0, len(body), PIECE):
        yield memoryview(body)[at : at + PIECE]


class _SentOnce(AIOHTTPSession):  # type: ignore[misc]
    """aiobotocore's HTTP session, without the second attempt that aiohttp makes by itself.

    aiohttp sends a PUT again, unasked, where a kept connection breaks before the answer: a create would then meet its
    own object, and nobody would know that it was sent twice.
    """

    async def _get_session(self, proxy_url: str | None) -> Any:
        session = await super()._get_session(proxy_url)
        session._retry_connection = False
        return session

    async def send(self, request: Any) -> Any:
        # botocore makes a file of every payload, and has it announced.
        body, paced = request.body, pace.get()
        if isinstance(body, io.BytesIO):
            body = body.getvalue()
        if isinstance(body, (bytes, bytearray)):
            if len(body) > PIECE:
                body = _pieces(body)
            else:
                # Waiting for "100 Continue" would double the time of a small write.
                request.headers.pop("Expect", None)
                body = paced(bytes(body)) if paced is not None else body
            request.body = body
        return await super().send(request)


class Answer(NamedTuple):
    """What the server answered: `code` is empty where it succeeded, `sent` how often the request was sent."""

    status: int
    code: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    sent: int = 1


class S3Client:
    """Sends requests about one bucket, from fsspec's event loop.

    A connection is made at the first request, and anew after `close` and in a forked child.
    """

    def __init__(self, settings: S3Settings, *, tries: int, deadline: float) -> None:
        self.settings = settings
        self._tries = tries
        self._deadline = deadline
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._lock = asyncio.Lock()
        self._fs: S3FileSystem | None = None
        self._shut: Any = None

    async def call(
        self,
        method: str,
        key: str | None = None,
        *,
        write: bool = False,
        accept: Collection[int] = (),
        tries: int | None = None,
        **arguments: Any,
    ) -> Answer:
        """Call a method of the S3 client, with what s3fs's options add to it, until it is answered.

        Args:
            method: its name in boto3, such as ``put_object``.
            key: relative to the store's root.
            write: whether a request whose answer is lost may have changed something.
            accept: HTTP statuses that are answers here, not failures. A missing bucket always is a failure.
            tries: instead of the store's own.

        Raises:
            BackendUnavailable: the tries or the deadline were used up; `landed` as its documentation says. Also where a
                later try was refused for good, but an earlier one may have landed.
            BackendError, AccessDenied, InvalidName, InvalidConfig: trying again would not help.
        """
        if key is not None:
            arguments["Key"] = self.settings.prefix + key

        async def send(_: int) -> Answer:
            try:
                fs = await self._connected()
                body = await fs._call_s3(method, fs.req_kw, Bucket=self.settings.bucket, **arguments)
                if (stream := body.get("Body")) is not None:
                    async with stream:
                        body["Body"] = await stream.read()
            except Exception as error:
                answered = refusal(error)
                if answered is not None and answered.status in accept and answered.code != "NoSuchBucket":
                    return Answer(answered.status, answered.code, {}, answered.headers)
                raise
            meta = body["ResponseMetadata"]
            return Answer(meta["HTTPStatusCode"], "", body, meta["HTTPHeaders"])

        try:
            answer, sent = await retrying(
                send, tries=tries or self._tries, deadline=self._deadline, transient=transient
            )
        except GaveUp as gave_up:
            raise self._error(gave_up, self._place(method, key), write) from gave_up.last
        return answer._replace(sent=sent)

    async def presigned(self, key: str, seconds: int) -> str:
        """A URL that anyone may GET for so many seconds."""
        try:
            fs = await self._connected()
            client = await fs.get_s3(self.settings.bucket)
            named = {"Bucket": self.settings.bucket, "Key": self.settings.prefix + key, **fs.req_kw}
            url: str = await client.generate_presigned_url("get_object", Params=named, ExpiresIn=seconds)
        except Exception as error:
            raise explained(error, self._place("sign", key)) from error
        return url

    async def close(self) -> None:
        """Close the connections; the next request makes new ones."""
        fs, self._fs = self._fs, None
        if fs is not None and self._home == _home():
            self._shut.detach()
            await fs._s3creator.__aexit__(None, None, None)

    def _place(self, operation: str, key: str | None) -> Place:
        settings = self.settings
        return Place(settings.url, settings.bucket, settings.endpoint or "AWS", operation, key)

    def _error(self, gave_up: GaveUp, place: Place, write: bool) -> ArtifactError:
        *earlier, last = gave_up.failures
        landed = write and any(not unsent(error) for error in (gave_up.failures if gave_up.exhausted else earlier))
        if gave_up.exhausted or landed:
            return unavailable(last, place, tries=len(gave_up.failures), landed=landed)
        return explained(last, place)

    async def _connected(self) -> S3FileSystem:
        home = _home()
        if self._home == home and self._fs is not None:
            return self._fs
        if self._home != home:
            # Another process's connections, or another loop's. No other task of this loop gets in between: no await.
            if self._shut is not None:
                self._shut()
            self._home, self._lock, self._fs = home, asyncio.Lock(), None
        async with self._lock:
            if self._fs is None:
                options = dict(self.settings.options)
                options["config_kwargs"] = {**options["config_kwargs"], "http_session_cls": _SentOnce}
                fs = S3FileSystem(**options, asynchronous=True, skip_instance_cache=True)
                fs.retries = 1  # sends once, and retries nothing
                await fs.set_session()
                client = await fs.get_s3(self.settings.bucket)
                client.meta.events.register("before-call.s3.DeleteObjects", _add_content_md5)
                self._shut = weakref.finalize(self, _shut_down, *home, fs._s3creator)
                self._fs = fs
            return self._fs


def _home() -> tuple[int, asyncio.AbstractEventLoop]:
    return os.getpid(), asyncio.get_running_loop()


def _shut_down(pid: int, loop: asyncio.AbstractEventLoop, creator: Any) -> None:
    """Close the connections of a client that nobody uses any more."""
    if os.getpid() != pid:
        # These are the parent's. Collecting them would take its sockets off the event queue that both processes share,
        # so they are to live as long as this process.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(creator))
        return
    if not loop.is_running():
        return
    closing = asyncio.run_coroutine_threadsafe(creator.__aexit__(None, None, None), loop)
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is not loop:
        with contextlib.suppress(Exception):
            closing.result(timeout=1)


def _add_content_md5(params: dict[str, Any], **_: Any) -> None:
    """Older servers take no multi-delete without it; newer ones have checksums of their own, which botocore adds."""
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
