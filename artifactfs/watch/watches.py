"""Watches, as ordinary code and code on an event loop hold them: they look, tell, wait, and look again."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from types import TracebackType

from artifactfs.drivers import aiterate, iterate
from artifactfs.errors import ArtifactError, BackendUnavailable, InvalidConfig
from artifactfs.operations.core import Core
from artifactfs.protocol.ops import Lazy
from artifactfs.waiting import in_thread
from artifactfs.watch.events import Event
from artifactfs.watch.local import Changes, Feed, folder_of
from artifactfs.watch.looking import Lookout
from artifactfs.watch.state import State
from artifactfs.watch.walking import Place

LOG = logging.getLogger("artifactfs.watch")

START = "start"
"""What ``since`` is to be told of everything from the beginning."""

WHOLE_EVERY = 12
"""A look at everything comes after the time of so many polls; those between may go past what is known (`Tail`)."""


class _Watching:
    """What both kinds of watch share: what was told, when to look, and at what."""

    def __init__(self, core: Core, place: Place, since: str | None, every: float) -> None:
        if isinstance(every, bool) or not isinstance(every, (int, float)) or not 0 < every < float("inf"):
            raise InvalidConfig(f"every is the seconds between two looks, more than 0, not {every!r}")
        self._core, self._place, self._every = core, place, float(every)
        self._stop = threading.Event()
        known = None if since in (None, START) else since
        label = place.folder.rstrip("/") or core.backend.url
        self._lookout = self._fresh(State(place.folder) if known is None else State.decode(known, place.folder, label))
        self._begun = since is not None
        self._answered = False
        self._down = False
        self._whole_at = 0.0
        self._local = folder_of(core.backend.url)

    @property
    def token(self) -> str | None:
        """What was told so far: give it as ``since`` to be told the rest. None before a watch that begins now has begun."""
        return self._lookout.state.encode() if self._begun else None

    def _fresh(self, state: State) -> Lookout:
        instant = self._core.backend.placement != "thread"
        return Lookout(self._place, state, instant=instant, stopped=self._stop.is_set)

    def _changes(self) -> Changes | None:
        """What the system tells of changes, where the store lies on a disk of this machine; everything is looked at anew."""
        if self._local is None:
            return None
        try:
            changes = Changes(os.path.join(self._local, self._place.folder), self._place.depth)
        except FileNotFoundError:  # nothing was ever saved there
            return None
        except ImportError:
            LOG.warning(
                "%s is polled every %g s: install artifactfs[watch] to be told at once", self._local, self._every
            )
        except (OSError, RuntimeError) as error:
            LOG.warning("%s is polled every %g s, for its system tells no changes: %s", self._local, self._every, error)
        else:
            self._whole_at = 0.0
            return changes
        self._local = None
        return None

    def _silently(self) -> Lazy[Event]:
        """Take what is there for known."""
        self._lookout = self._fresh(State(self._place.folder))
        return self._lookout.look(silent=True)

    def _look(self, within: list[str]) -> Lazy[Event]:
        """Look what is new; only past what is known where a look at everything is not due."""
        now = time.monotonic()
        brief = self._local is None and now < self._whole_at
        yield from self._lookout.look(within, brief=brief)
        if within == [""] and not brief:
            self._whole_at = now + WHOLE_EVERY * self._every

    def _due(self, within: list[str] | None) -> list[str]:
        """Where to look after a wait that has told *within*."""
        return [""] if within is None or time.monotonic() >= self._whole_at else within

    def _failed(self, error: BackendUnavailable) -> None:
        """The store does not answer: that is for whoever began the watch; later it is waited for."""
        if not self._answered:
            raise error
        self._whole_at = 0.0
        if not self._down:
            self._down = True
            LOG.warning(
                "%s does not answer, and is tried again every %g s: %s", self._core.backend.url, self._every, error
            )

    def _worked(self) -> None:
        self._begun = self._answered = True
        if self._down:
            self._down = False
            LOG.warning("%s answers again", self._core.backend.url)

    def _told(self, error: ArtifactError) -> None:
        error.store = error.store or self._core.backend.url

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._core.backend.url}/{self._place.folder}>"


class Watch(_Watching):
    """An iterator over what happens to versions, without end; made by `Scope.watch` and `ArtifactStore.watch`.

    It begins when it is entered (``with scope.watch() as events``), or else with the first event that is asked for. One
    thread at a time may ask for events; any may close it.
    """

    _running: Iterator[Event] | None = None
    _listening: Changes | None = None

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> Event:
        """The next event; waits for it.

        Raises:
            BackendUnavailable: the store does not answer at the very beginning. Later it is logged, and tried again.
            AccessDenied: it may not be listed or read. Asking for an event again looks again.
        """
        if self._stop.is_set():
            raise StopIteration
        try:
            self._begin()
            if self._running is None:
                self._running = self._events()
            return next(self._running)
        except BaseException as error:
            self._running = None
            if isinstance(error, ArtifactError):
                self._told(error)
            raise

    def _begin(self) -> None:
        if self._listening is None:
            self._listening = self._changes()
        if not self._begun:
            for _ in iterate(self._silently(), self._core.backend):
                pass
            if not self._stop.is_set():
                self._worked()

    def _events(self) -> Iterator[Event]:
        within = [""]
        while not self._stop.is_set():
            if within:
                try:
                    yield from iterate(self._look(within), self._core.backend)
                    self._worked()
                except BackendUnavailable as error:
                    self._failed(error)
            within = self._wait()

    def _wait(self) -> list[str]:
        if self._listening is None:
            self._stop.wait(self._every)
            if not self._stop.is_set():
                self._listening = self._changes()
            return [""]
        within = self._listening.wait(self._every)
        if within is None:
            self._listening = self._changes()
        return self._due(within)

    def close(self) -> None:
        """End it at once: whoever waits for an event is told that there are no more. `token` stays."""
        self._stop.set()
        if self._listening is not None:
            self._listening.close()

    def __enter__(self) -> Watch:
        try:
            self._begin()
        except ArtifactError as error:
            self.close()
            self._told(error)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncWatch(_Watching):
    """As `Watch`, an asynchronous iterator. A task that is cancelled while it waits leaves nothing behind, and may go on."""

    _running: AsyncIterator[Event] | None = None
    _feed: Feed | None = None
    _woken: asyncio.Event | None = None

    def __aiter__(self) -> AsyncWatch:
        return self

    async def __anext__(self) -> Event:
        """As `Watch.__next__`."""
        if self._stop.is_set():
            raise StopAsyncIteration
        try:
            await self._begin()
            if self._running is None:
                self._running = self._events()
            return await anext(self._running)
        except BaseException as error:
            self._running = None
            await self._unlisten()
            if isinstance(error, ArtifactError):
                self._told(error)
            raise

    async def _begin(self) -> None:
        if self._woken is None:
            self._woken = asyncio.Event()
        if self._feed is None:
            await self._listen()
        if not self._begun:
            async for _ in aiterate(self._silently(), self._core.backend):
                pass
            if not self._stop.is_set():
                self._worked()

    async def _listen(self) -> None:
        assert self._woken is not None
        if self._local is not None and (changes := await in_thread(self._changes)) is not None:
            self._feed = Feed(changes, asyncio.get_running_loop(), self._woken.set)

    async def _unlisten(self) -> None:
        feed, self._feed = self._feed, None
        if feed is not None:
            await in_thread(feed.close)

    async def _events(self) -> AsyncIterator[Event]:
        within = [""]
        while not self._stop.is_set():
            if within:
                try:
                    async for event in aiterate(self._look(within), self._core.backend):
                        yield event
                    self._worked()
                except BackendUnavailable as error:
                    self._failed(error)
            within = await self._wait()

    async def _wait(self) -> list[str]:
        assert self._woken is not None
        try:
            await asyncio.wait_for(self._woken.wait(), self._every)
        except TimeoutError:
            pass
        if self._stop.is_set():
            return []
        self._woken.clear()
        if self._feed is None:
            await self._listen()
            return [""]
        within = self._feed.taken()
        if within is None:
            await self._unlisten()
            await self._listen()
        return self._due(within)

    async def close(self) -> None:
        """As `Watch.close`."""
        self._stop.set()
        if self._woken is not None:
            self._woken.set()
        await self._unlisten()

    async def __aenter__(self) -> AsyncWatch:
        try:
            await self._begin()
        except BaseException as error:
            await self.close()
            if isinstance(error, ArtifactError):
                self._told(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
