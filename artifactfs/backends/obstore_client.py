"""Sending by obstore: one request a call, counted retries, our errors, on whatever event loop the caller is.

obstore's own retries are off. Its threads do not survive a fork, and a call in a forked child would wait for ever:
`is_usable` tells.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from artifactfs.backends.base import WHOLE_LIMIT, Upload, Written
from artifactfs.backends.obstore_errors import Failed, Failure, failure_of, unclear
from artifactfs.backends.retry import GaveUp, retrying
from artifactfs.codecs.base import Bytes
from artifactfs.errors import ArtifactError, BackendError, BackendUnavailable
from artifactfs.waiting import to_its_end

T = TypeVar("T")

QUICK = 256 * 1024
"""Bytes. For a longer body the wait for an answer is longer: obstore's runs from the start of a request, not its end."""

SLOWEST = 32 * 1024
"""Bytes a second at which a body of up to `WHOLE_LIMIT` may still be sent."""

FLOWING = 1024 * 1024
"""Bytes of a piece of an answer that is taken piece by piece, at least: each takes turns of an event loop."""

FLOWING_HERE = 128 * 1024
"""The same for ordinary code, which waits by itself: what the cache of a processor holds is copied soonest."""

NEVER = "365d"
"""obstore's limit for a whole request: the limits for connecting and reading find a server that hangs."""

RETRIES_OFF = {"max_retries": 0}

UNFIT_KEY = r"(?:^|/)\.{0,2}(?:/|$)|[\x00-\x1f\x7f]"
"""What obstore's paths cannot hold, and refuses or silently alters: empty segments, ``.``, ``..``, control characters."""


class Answer(NamedTuple):
    """What obstore answered; or, where `failure` is set, a refusal that is an answer here. `sent`: how often."""

    value: Any
    failure: Failure | None = None
    sent: int = 1


class Dialect(Protocol):
    """What differs between stores."""

    def passes(self, failure: Failure) -> bool:
        """May the same request succeed if it is sent again?"""
        ...

    def unsent(self, failure: Failure) -> bool:
        """Is it certain that the request had no effect?"""
        ...

    def explained(self, failure: Failure, operation: str, key: str) -> ArtifactError:
        """Our error for one that trying again would not help."""
        ...

    def unavailable(
        self, failure: Failure, operation: str, key: str, *, tries: int, landed: bool
    ) -> BackendUnavailable:
        """Our error for one that more tries or time might have overcome."""
        ...


class ObstoreFlow:
    """An `artifactfs.backends.base.Flow` of obstore's."""

    def __init__(self, result: Any) -> None:
        self._result = result
        self._pieces: Any = None

    async def next(self) -> Bytes:
        if self._pieces is None:
            self._pieces = self._result.stream(FLOWING)
        try:
            return await anext(self._pieces, b"")
        except Exception as error:  # noqa: BLE001  (whatever it is, the rest is asked for by ranges, which tell)
            raise _broken(error) from None

    def wait_for_next(self) -> Bytes:
        if self._pieces is None:
            self._pieces = self._result.stream(FLOWING_HERE)
        try:
            return next(self._pieces, b"")
        except Exception as error:  # noqa: BLE001  (as above)
            raise _broken(error) from None


def _broken(error: Exception) -> BackendError:
    failure = failure_of(error)
    return BackendError(f"an answer broke off ({failure.broken or failure.detail})")


class ObstoreClient:
    """Sends requests to one store of obstore's.

    Args:
        make: makes the store; is given the seconds to wait for an answer.
        read_timeout: seconds to wait for an answer to a short request.
        redirected: asks whether a store that is made now is another than this one, by which a request just failed so:
            then that had no effect, and is sent to the other at once.
    """

    def __init__(
        self,
        make: Callable[[float], Any],
        dialect: Dialect,
        *,
        read_timeout: float,
        tries: int,
        deadline: float,
        redirected: Callable[[Failure, Any], Awaitable[bool]] | None = None,
    ) -> None:
        self._make = make
        self._dialect = dialect
        self._redirected = redirected
        self._read_timeout = read_timeout
        self._tries = tries
        self._deadline = deadline
        self._stores: dict[float, Any] = {}
        self._opens: bool | None = None

    async def send(
        self,
        operation: str,
        key: str,
        request: Callable[[Any], Awaitable[Any]],
        *,
        size: int = 0,
        write: bool = False,
        accept: Collection[int] = (),
        absent: Callable[[Any], Awaitable[bool]] | None = None,
        tries: int | None = None,
    ) -> Answer:
        """Send *request* until it is answered.

        Args:
            request: is given obstore's store, and sends once.
            size: bytes of the body.
            write: whether a request whose answer is lost may have changed something.
            accept: HTTP statuses that are answers here, not failures. A missing bucket always is a failure.
            absent: of a create: asks whether the object is not there. obstore says "already exists" where it does (412)
                and where another writer was at it just then (409), which may have failed: that is to be tried again.
            tries: instead of the client's own.

        Raises:
            BackendUnavailable: the tries or the deadline were used up; `landed` as its documentation says. Also where a
                later try was refused for good, but an earlier one may have landed.
            BackendError, AccessDenied, InvalidName, InvalidConfig: trying again would not help.
        """

        async def once(store: Any) -> Answer:
            try:
                return Answer(await request(store))
            except Exception as error:  # noqa: BLE001 - judged by the layer of retries
                failure = failure_of(error)
                if failure.exists:
                    conflict = absent is None or await absent(store)
                    failure = failure._replace(status=409 if conflict else 412)
                if failure.status in accept and failure.code != "NoSuchBucket":
                    return Answer(None, failure)
                raise Failed(failure) from None  # its text holds the whole answer

        async def attempt(_: int) -> Answer:
            store = self._store(size)
            try:
                return await once(store)
            except Failed as failed:
                if self._redirected is None or not await self._redirected(failed.failure, store):
                    raise
            return await once(self._store(size))

        try:
            answer, sent = await retrying(
                attempt, tries=tries or self._tries, deadline=self._deadline, transient=self._passes
            )
        except GaveUp as gave_up:
            failures = [_failure(error) for error in gave_up.failures]
            before = failures if gave_up.exhausted or unclear(failures[-1]) else failures[:-1]
            landed = write and any(not self._dialect.unsent(failure) for failure in before)
            if gave_up.exhausted or landed:
                raise self._dialect.unavailable(
                    failures[-1], operation, key, tries=len(failures), landed=landed
                ) from gave_up.last
            raise self._dialect.explained(failures[-1], operation, key) from gave_up.last
        return answer if sent == 1 else answer._replace(sent=sent)

    def _passes(self, error: BaseException) -> bool:
        return self._dialect.passes(_failure(error))

    def _store(self, size: int) -> Any:
        global _started
        seconds = self._read_timeout + (WHOLE_LIMIT / SLOWEST if size > QUICK else 0)
        store = self._stores.get(seconds)
        if store is None:
            _started = True
            store = self._stores[seconds] = self._make(seconds)
        return store

    def opens(self) -> bool:
        """Can obstore make a store here? Not where it finds no certificates to trust, for one."""
        if self._opens is None:
            try:
                self._store(0)
            except Exception:  # noqa: BLE001 - the other client can do it, or says what is wrong
                self._opens = False
            else:
                self._opens = True
        return self._opens

    def close(self) -> None:
        """Give back the connections; the next request makes new ones."""
        self._stores.clear()


def _failure(error: BaseException) -> Failure:
    return error.failure if isinstance(error, Failed) else failure_of(error)


def goes_through_a_proxy(endpoint: str) -> bool:
    """Has the environment a proxy that obstore uses for *endpoint*?"""
    parts, proxies = urlsplit(endpoint), getproxies_environment()
    if proxy_bypass_environment(parts.hostname or "", proxies):
        return False
    return parts.scheme in proxies or "all" in proxies


_started = False
_lost = False


def _in_child() -> None:
    global _lost
    _lost = _started


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def is_usable() -> bool:
    """False in a child that was forked off a process that had used obstore: its threads are gone there."""
    return not _lost


async def uncut(request: Awaitable[T]) -> T:
    """Await a write of obstore's. Who is cancelled waits for its end, also where a loop that stops cancels every task.

    obstore would drop it half sent: it might take effect later, when all that follows from a cancellation is done.
    """
    return await to_its_end(asyncio.ensure_future(request))


async def at_home(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run what belongs to fsspec's own event loop, from whatever loop. Who is cancelled waits for its end."""
    from fsspec.asyn import get_loop

    home = get_loop()
    if asyncio.get_running_loop() is home:
        return await make()
    return await to_its_end(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(make(), home)))


class HomeUpload:
    """An `artifactfs.backends.base.Upload` whose parts are sent on fsspec's loop, whatever loop writes them."""

    def __init__(self, inner: Upload) -> None:
        self._inner = inner

    async def write(self, data: Bytes) -> None:
        await at_home(lambda: self._inner.write(data))

    async def commit(self) -> Written:
        return await at_home(self._inner.commit)

    async def abort(self) -> None:
        await at_home(self._inner.abort)
