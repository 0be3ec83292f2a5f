"""What obstore's client needs to know of Google Cloud Storage: who asks, by gcsfs's credentials, and what answers mean."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TypeVar

from obstore.exceptions import UnauthenticatedError
from obstore.store import GCSStore

from artifactfs.backends.gcs_errors import Refused, Unanswered, meaning, transient, unsent
from artifactfs.backends.gcs_wire import CONNECT_SECONDS, Wire
from artifactfs.backends.obstore_client import NEVER, RETRIES_OFF, at_home
from artifactfs.backends.obstore_errors import Failure, insecure
from artifactfs.errors import ArtifactError, BackendUnavailable

T = TypeVar("T")


class Credentials:
    """The headers that gcsfs's credentials make, remembered for as long as they are good."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.headers: Mapping[str, str] = {}
        self._until = 0.0

    async def are_there(self) -> bool:
        """Renew them where it is time. False also where they cannot be had: gcsfs's client then says why."""
        if time.time() >= self._until:
            try:
                await self._ask("")
            except Exception:  # noqa: BLE001 - of five libraries; it is met again where it is explained
                return False
        return self.headers.get("authorization", "").startswith("Bearer ")

    async def renew(self, spent: Mapping[str, str]) -> None:
        """Get others than *spent*, which were refused, unless somebody else just did."""
        if self.headers is spent:
            await self._ask(_token(spent))

    async def _ask(self, spent: str) -> None:
        headers, self._until = await at_home(lambda: self._wire.authorization(spent))
        if headers != self.headers:
            self.headers = headers


class Signing:
    """obstore's store for the bucket, made anew whenever the credentials change, which have to be there."""

    def __init__(self, wire: Wire, credentials: Credentials, seconds: float) -> None:
        self._wire = wire
        self._credentials = credentials
        self._seconds = seconds
        self._made: tuple[Mapping[str, str], GCSStore] | None = None
        self._signed()

    async def send(self, request: Callable[[GCSStore], Awaitable[T]]) -> T:
        """Send *request*; once more where the token was refused before its time, which had no effect."""
        headers, store = self._signed()
        try:
            return await request(store)
        except UnauthenticatedError as refused:
            try:
                await self._credentials.renew(headers)
            except Exception:  # noqa: BLE001 - what was said of these is what counts
                raise refused from None
            if self._credentials.headers is headers:
                raise
        return await request(self._signed()[1])

    def _signed(self) -> tuple[Mapping[str, str], GCSStore]:
        headers = self._credentials.headers
        if self._made is None or self._made[0] is not headers:
            # The bucket itself, without the prefix: what a prefix may hold is for keys to say. What decides where
            # requests go and who asks is said outright: obstore would look for it in variables of its own.
            store = GCSStore(
                self._wire.bucket,
                base_url=self._wire.endpoint,
                bearer_token=_token(headers),
                skip_signature=False,
                client_options={
                    "allow_http": self._wire.endpoint.startswith("http://"),
                    "connect_timeout": timedelta(seconds=min(CONNECT_SECONDS, self._wire.deadline)),
                    "read_timeout": timedelta(seconds=self._seconds),
                    "timeout": NEVER,
                    "default_headers": {
                        name.lower(): value
                        for name, value in headers.items()
                        if name.lower() not in {"authorization", "user-agent"}
                    },
                },
                retry_config=RETRIES_OFF,  # type: ignore[arg-type]
            )
            self._made = headers, store
        return self._made


def _token(headers: Mapping[str, str]) -> str:
    return headers["authorization"].removeprefix("Bearer ")


class GCSDialect:
    """Google's answers in our words, which are those of `artifactfs.backends.gcs_errors`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def passes(self, failure: Failure) -> bool:
        return transient(_as_error(failure))

    def unsent(self, failure: Failure) -> bool:
        return unsent(_as_error(failure))

    def explained(self, failure: Failure, operation: str, key: str) -> ArtifactError:
        return self._meaning(failure, operation, key, 1, False)

    def unavailable(
        self, failure: Failure, operation: str, key: str, *, tries: int, landed: bool
    ) -> BackendUnavailable:
        error = self._meaning(failure, operation, key, tries, landed)
        assert isinstance(error, BackendUnavailable)
        return error

    def _meaning(self, failure: Failure, operation: str, key: str, tries: int, landed: bool) -> ArtifactError:
        wire = self._wire
        return meaning(
            _as_error(failure),
            store=wire.url,
            endpoint=wire.endpoint,
            bucket=wire.bucket,
            doing=f"{operation} {key!r}",
            tries=tries,
            landed=landed,
        )


def _as_error(failure: Failure) -> Exception:
    if failure.status:
        return Refused(failure.status, failure.message.encode())
    if not failure.broken:
        return Unanswered("answer", failure.detail)
    if failure.broken == "Connect":
        if insecure(failure):
            return Unanswered("trust", "obstore")
        if "dns error" in failure.debug:
            return Unanswered("host", "obstore")
        said = "Connection refused" if "ConnectionRefused" in failure.debug else "obstore"
        return Unanswered("connect", said)
    return Unanswered("timeout" if failure.broken == "Timeout" else "broken", failure.broken)
