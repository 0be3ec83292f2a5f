"""Ranges of one content, fetched when they are asked for, and over a network before that where reading goes on.

One request at a time leaves a network idle between the two: so what a long sequence is going to ask for is on its way
already, at most `FLYING` ranges of it. With them still no more than twice the bytes that are used are moved. Where a store
gives an object in one answer that is taken piece by piece (`artifactfs.backends.base.Flowing`), a sequence becomes that.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

from artifactfs.backends.base import SUSPENDING
from artifactfs.content import Readable
from artifactfs.drivers import acall, call, home_from_outside
from artifactfs.read_ahead import MOST, ReadAhead
from artifactfs.waiting import result_of, to_its_end

FLYING = 2
"""Ranges that are on their way unasked, at most."""

RANGE = 2 * 1024 * 1024
"""Bytes of each. An engine takes up to three times as much for an answer while it comes in."""

NEAR = 1024 * 1024
"""Bytes that are fetched at most where no network is: what the cache of a processor holds is copied soonest."""


LONG = 2 * 1024 * 1024
"""Bytes read in sequence after which more of it is one answer."""


def read_ahead(content: Readable) -> ReadAhead:
    """How much of *content* to fetch at a time."""
    return ReadAhead(content.size, most=MOST if content.backend.placement in SUSPENDING and not content.flows else NEAR)


def _next(content: Readable, flying: int, at: int, so_far: int) -> int:
    """Where a range ends that begins *at* and is worth fetching beside so many others; *at* where none is."""
    if content.backend.placement not in SUSPENDING or flying >= FLYING or so_far < MOST + (1 + flying) * RANGE:
        return at
    return min(at + RANGE, content.size)


class Fetching:
    """For ordinary code; one caller at a time."""

    def __init__(self, content: Readable) -> None:
        self._content = content
        self._flying: deque[tuple[int, int, Future[bytes]]] = deque()
        self._process = os.getpid()

    def fetch(self, start: int, end: int, so_far: int) -> bytes:
        """The bytes ``start <= i < end``, or some more; *so_far* were read in sequence before."""
        content, flying = self._content, self._flying
        if content.flows:
            return self._flow(start, end, so_far)
        if flying and (self._process != os.getpid() or flying[0][0] != start):
            self.drop()
        if flying:
            home_from_outside()  # its own thread would wait for what comes by it
        parts = []
        while flying and start < end:
            _, start, future = flying.popleft()
            parts.append(future)
        at = flying[-1][1] if flying else max(start, end)
        while (to := _next(content, len(flying), at, so_far)) > at:
            self._process = os.getpid()
            flying.append((at, to, asyncio.run_coroutine_threadsafe(_read(content, at, to), home_from_outside())))
            at = to
        data = [result_of(future) for future in parts]
        if start < end:
            data.append(call(content.backend, lambda: content.read(start, end)))
        return data[0] if len(data) == 1 else b"".join(data)

    def _flow(self, start: int, end: int, so_far: int) -> bytes:
        """`fetch`, as part of one answer once so many bytes were read in sequence."""
        content = self._content
        if so_far < LONG:
            content.stop()
        else:
            if not content.under_way:
                call(content.backend, lambda: content.begin(start, end))
            if (data := content.go_on(start, end)) is not None:
                return data
        return call(content.backend, lambda: content.read(start, end))

    def drop(self) -> None:
        """Want nothing of what is on its way."""
        self._content.stop()
        if self._process == os.getpid():  # else it is the parent's
            for _, _, future in self._flying:
                future.cancel()
        self._flying.clear()


class AsyncFetching:
    """For code on an event loop; one caller at a time."""

    def __init__(self, content: Readable) -> None:
        self._content = content
        self._flying: deque[tuple[int, int, asyncio.Task[bytes]]] = deque()

    async def fetch(self, start: int, end: int, so_far: int) -> bytes:
        """As `Fetching.fetch`."""
        content, flying = self._content, self._flying
        if content.flows and so_far >= LONG:
            return await acall(content.backend, lambda: content.read_on(start, end))
        if content.flows:
            content.stop()
            return await self._read(start, end)
        self._forget_ended()
        if flying and flying[0][0] != start:
            await self.drop()
        parts = []
        while flying and start < end:
            _, start, task = flying.popleft()
            parts.append(task)
        at = flying[-1][1] if flying else max(start, end)
        while (to := _next(content, len(flying), at, so_far)) > at:
            task = asyncio.create_task(self._read(at, to))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # perhaps nobody will ask
            flying.append((at, to, task))
            at = to
        data = [await to_its_end(task) for task in parts]
        if start < end:
            data.append(await self._read(start, end))
        return data[0] if len(data) == 1 else b"".join(data)

    async def drop(self) -> None:
        """Want nothing of what is on its way."""
        self._content.stop()
        self._forget_ended()
        tasks = [task for _, _, task in self._flying]
        self._flying.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_ended(self) -> None:
        """A loop that has ended has taken its tasks with it."""
        if self._flying and self._flying[0][2].get_loop() is not asyncio.get_running_loop():
            self._flying.clear()

    async def _read(self, start: int, end: int) -> bytes:
        return await acall(self._content.backend, lambda: self._content.read(start, end))


def _read(content: Readable, start: int, end: int) -> Coroutine[Any, Any, bytes]:
    return content.read(start, end)
