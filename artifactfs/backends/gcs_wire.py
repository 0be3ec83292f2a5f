"""Requests to Google Cloud Storage's JSON API: gcsfs's credentials and session, our own count of tries.

gcsfs's calls send a request again by themselves and keep neither status nor headers of what failed; so only its
instance is used (credentials, TLS, endpoint, who pays), and the requests are sent from here.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import json
import math
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import aiohttp
from fsspec.config import conf
from yarl import URL

from artifactfs.backends.gcs_errors import Refused, explain, no_bucket, refuse_options, transient
from artifactfs.backends.retry import GaveUp, retrying
from artifactfs.errors import ArtifactError, BackendError, InvalidConfig

CONNECT_SECONDS = 10.0

_RENEW_BEFORE = timedelta(seconds=300)

FSSPECS_OPTIONS = frozenset(
    {"use_listings_cache", "listings_expiry_time", "max_paths", "skip_instance_cache", "batch_size"}
)

_of_other_processes: list[object] = []  # kept for ever: closing them here would write into the parent's connections


class Answer(NamedTuple):
    """Status, headers and whole body of a response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def endpoint_of(options: Mapping[str, Any]) -> str:
    """The endpoint that gcsfs would use, without a trailing slash: the option, the emulator's variable, or Google's."""
    given = options.get("endpoint_url") or os.environ.get("STORAGE_EMULATOR_HOST", "")
    if given in {"", "default"}:
        return f"https://storage.{os.environ.get('GOOGLE_CLOUD_UNIVERSE_DOMAIN', 'googleapis.com')}"
    return str(given if "://" in given else f"http://{given}").rstrip("/")


def is_google(endpoint: str) -> bool:
    """Whether it is Google's own service, whose preconditions need no probe."""
    host = URL(endpoint).host or ""
    return endpoint.startswith("https://") and host.endswith(".googleapis.com")


class _Connection:
    """gcsfs's instance and its session, of one process and loop."""

    def __init__(self, filesystem: Any, session: aiohttp.ClientSession) -> None:
        self.filesystem = filesystem
        self.session = session
        self._renewing = asyncio.Lock()

    async def authorized(self, headers: Mapping[str, str]) -> dict[str, str]:
        """*headers*, and those that carry the credentials, which are renewed in time and off the loop."""
        made = {"User-Agent": "artifactfs", **headers}
        credentials = self.filesystem.credentials.credentials
        if credentials is not None:
            await self.renew(lambda: not _lasts(credentials))
            credentials.apply(made)
        return made

    async def renew(self, needed: Callable[[], bool]) -> None:
        """Renew the credentials, once for all that wait for it."""
        if needed():
            async with self._renewing:
                if needed():
                    await asyncio.to_thread(_renew, self.filesystem.credentials.credentials)


class Wire:
    """Sends requests to one bucket, from any process: after a fork, or on another loop, it connects anew.

    All its coroutines belong to one event loop at a time (`Backend.placement` "loop").
    """

    def __init__(self, url: str, bucket: str, options: Mapping[str, Any], tries: int, deadline: float) -> None:
        self.url = url
        self.bucket = bucket
        self._asked = frozenset(options)
        # fsspec gives its configuration to every instance: it may name another endpoint.
        self.options = {**conf.get("gcs", {}), **conf.get("gs", {}), **options}
        self.endpoint = endpoint_of(self.options)
        self.tries = tries
        self.deadline = deadline
        self._objects = f"/storage/v1/b/{quote(bucket, safe='')}/o"
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=deadline)
        self._opened: tuple[int, asyncio.AbstractEventLoop, asyncio.Task[_Connection]] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def objects(self, key: str | None = None, *, kind: str = "") -> str:
        """Path of an object, or of the bucket's collection; *kind* is ``/upload`` or ``/download``."""
        name = "" if key is None else "/" + quote(key, safe="")
        return f"{kind}{self._objects}{name}"

    def resource(self, name: str, content_type: str) -> bytes:
        """An object's resource, as an upload begins with it."""
        return json.dumps({"name": name, "contentType": content_type, "cacheControl": "no-store"}).encode()

    def parsed(self, answer: Answer) -> dict[str, Any]:
        """The JSON object of an answer.

        Raises:
            BackendError: it is none.
        """
        with self.understood():
            found = json.loads(answer.body)
            if not isinstance(found, dict):
                raise ValueError("no object")
            return found

    @contextlib.contextmanager
    def understood(self) -> Iterator[None]:
        """Around the reading of an answer: what is not as documented becomes a `BackendError`."""
        try:
            yield
        except (LookupError, ValueError, TypeError) as error:
            raise BackendError(
                f"{self.url}: {self.endpoint} does not answer as Google Cloud Storage does; check endpoint_url",
                store=self.url,
            ) from error

    async def request(
        self,
        doing: str,
        method: str,
        target: str,
        *,
        good: Collection[int],
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        writes: bool = False,
        once: bool = False,
    ) -> tuple[Answer, int]:
        """Send until an answer with one of the *good* statuses comes; that, and how often it was sent.

        A 404 which says that the bucket is missing is never good.

        Raises:
            BackendError: or what else of `artifactfs.errors` the last failure means.
        """

        async def send(_: int) -> Answer:
            return check(await self.exchange(method, target, params, headers, body), good)

        try:
            return await retrying(send, tries=1 if once else self.tries, deadline=self.deadline, transient=transient)
        except GaveUp as gave_up:
            raise self.explained(gave_up, doing, writes) from gave_up.last

    def explained(self, gave_up: GaveUp, doing: str, writes: bool) -> ArtifactError:
        if isinstance(gave_up.last, ArtifactError):
            return gave_up.last
        return explain(gave_up, store=self.url, endpoint=self.endpoint, bucket=self.bucket, doing=doing, writes=writes)

    async def exchange(
        self,
        method: str,
        target: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Answer:
        """Send one request, once, and read the answer, whatever its status.

        Args:
            target: a path, or the URL of an upload session, which is used as it is.
            body: bytes, or an asynchronous iterable of them.

        Raises:
            Exception: of aiohttp, google.auth or the operating system, as it is.
        """
        connection = await self._connected()
        made = await connection.authorized(headers or {})
        credentials = connection.filesystem.credentials.credentials
        token = getattr(credentials, "token", None)
        answer = await self._send(connection, method, target, params, made, body)
        if answer.status == 401 and token is not None and (body is None or isinstance(body, bytes)):
            # Ended before its time, or this clock is wrong. A 401 had no effect, so it does not count as sent.
            await connection.renew(lambda: credentials.token == token)
            made = await connection.authorized(headers or {})
            answer = await self._send(connection, method, target, params, made, body)
        return answer

    async def _send(
        self,
        connection: _Connection,
        method: str,
        target: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str],
        body: Any,
    ) -> Answer:
        filesystem = connection.filesystem
        if target.startswith("/"):
            # Encoded by us and not again by the HTTP library: keys hold percent signs.
            url = f"{filesystem._location.rstrip('/')}{target}"
            query = urlencode(filesystem._get_params(params or {}), quote_via=quote)
            target = f"{url}?{query}" if query else url
        async with connection.session.request(
            method,
            URL(target, encoded=True),
            headers=headers,
            data=io.BytesIO(body) if body and isinstance(body, bytes) else body,
            allow_redirects=False,  # 308 means "go on" here
            timeout=filesystem.requests_timeout or self._timeout,
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def authorization(self, spent: str = "") -> tuple[dict[str, str], float]:
        """The headers that say who asks and who pays, and the time (seconds since the epoch) until which they are good.

        Without ``authorization`` among them where there are no credentials, or where they need a certificate of the
        client's beside them. *spent* is a token that was refused: the credentials are renewed if it is still theirs.
        """
        connection = await self._connected()
        filesystem = connection.filesystem
        credentials = filesystem.credentials.credentials
        if credentials is None or getattr(filesystem, "_use_client_cert", False):
            return {}, math.inf
        if spent:
            await connection.renew(lambda: bool(credentials.token == spent))
        headers = await connection.authorized({})
        if payer := filesystem._get_params({}).get("userProject"):
            headers["x-goog-user-project"] = payer
        return headers, _renew_at(credentials)

    async def filesystem(self) -> Any:
        """gcsfs's instance, of this process and loop."""
        return (await self._connected()).filesystem

    async def _connected(self) -> _Connection:
        process, loop = os.getpid(), asyncio.get_running_loop()
        if self._opened is None or self._opened[0] != process or self._opened[1] is not loop:
            _of_other_processes.extend([self._opened] if self._opened else [])
            self._opened = process, loop, loop.create_task(self._connect())
        connecting = self._opened[2]
        if connecting.done() and not connecting.cancelled() and connecting.exception() is None:
            return connecting.result()
        try:
            return await asyncio.shield(connecting)
        except Exception:
            if self._opened is not None and self._opened[2] is connecting:
                self._opened = None  # the next request tries again
            raise

    async def _connect(self) -> _Connection:
        try:
            filesystem = await asyncio.to_thread(self._new_filesystem)
        except ArtifactError:
            raise
        except Exception as error:  # noqa: BLE001 - gcsfs lets the errors of five libraries through
            refuse_options(error, self.url, self.options.get("token"))
        session: aiohttp.ClientSession = await filesystem._set_session()
        if hasattr(session, "_retry_connection"):
            session._retry_connection = False  # else PUT and DELETE may be sent twice without our knowing
        return _Connection(filesystem, session)

    def _new_filesystem(self) -> Any:
        """gcsfs's instance, with no cache of listings and of instances. Blocks: it may ask Google for credentials.

        Without a token a plain ``http://`` endpoint (an emulator) is used anonymously: credentials are neither looked for
        nor sent unencrypted. GOOGLE_APPLICATION_CREDENTIALS, where set, must work: gcsfs would fall back to anonymous.

        Raises:
            InvalidConfig: gcsfs does not know an option, and would pass it over.
        """
        given = {name: value for name, value in self.options.items() if value is not None}
        if not is_google(self.endpoint):
            given["endpoint_url"] = self.endpoint
            # Read when gcsfs is imported: its look at each bucket's kind over gRPC stalls against emulators.
            os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        from gcsfs.core import GCSFileSystem

        if unknown := self._asked - set(inspect.signature(GCSFileSystem.__init__).parameters) - FSSPECS_OPTIONS:
            raise InvalidConfig(f"{self.url}: gcsfs has no such option: {', '.join(sorted(unknown))}", store=self.url)
        if "token" not in given and self.endpoint.startswith("http://"):
            given["token"] = "anon"
        elif "token" not in given and os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
            given["token"] = "google_default"
        given |= {"asynchronous": True, "skip_instance_cache": True, "use_listings_cache": False}
        return GCSFileSystem(**given)

    async def close(self) -> None:
        """Close the connections of this process and loop."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        if opened[0] != os.getpid() or opened[1] is not asyncio.get_running_loop():
            _of_other_processes.append(opened)
            return
        await asyncio.wait([opened[2]])
        if opened[2].exception() is None:
            await opened[2].result().session.close()


def check(answer: Answer, good: Collection[int]) -> Answer:
    """*answer*, if its status is among the *good* ones.

    Raises:
        Refused: it is not, or the bucket does not exist.
    """
    if answer.status not in good:
        raise Refused(answer.status, answer.body)
    if answer.status == 404 and no_bucket((refused := Refused(404, answer.body)).message):
        raise refused
    return answer


def multipart(resource: bytes, content_type: str, data: bytes) -> tuple[str, bytes]:
    """A multipart/related body, and a boundary that nothing in it contains."""
    boundary = secrets.token_hex(16)
    while boundary.encode() in data:
        boundary = secrets.token_hex(16)
    head = (
        f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode()
        + resource
        + f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n\r\n".encode()
    )
    return boundary, b"".join([head, data, f"\r\n--{boundary}--\r\n".encode()])


def _lasts(credentials: Any) -> bool:
    return bool(credentials.valid) and time.time() < _renew_at(credentials)


def _renew_at(credentials: Any) -> float:
    expiry: datetime | None = credentials.expiry
    return math.inf if expiry is None else (expiry.replace(tzinfo=UTC) - _RENEW_BEFORE).timestamp()


def _renew(credentials: Any) -> None:
    """Renew *credentials*, if they can be or have to be. Blocks.

    Raises:
        google.auth.exceptions.GoogleAuthError: they cannot be renewed, and are of no use any more.
    """
    import requests
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request

    try:
        with requests.Session() as session:
            credentials.refresh(Request(session))
    except GoogleAuthError:
        if not credentials.valid:
            raise
