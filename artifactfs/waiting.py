"""Waiting: for what was begun, so that no write goes on behind the back of whoever was cancelled; and for one's turn."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")

KEPT_LOCKS = 1000
"""Names whose locks are kept; beyond that all are made anew."""


async def to_its_end(future: asyncio.Future[T]) -> T:
    """Await *future*; a cancellation of the caller, however often it comes, is raised when *future* has ended."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not future.cancelled():
            future.exception()  # so that nobody is told that it was never looked at
        raise cancelled
    return future.result()


async def in_thread(function: Callable[[], T]) -> T:
    """Run *function* in a worker thread, and wait for its end even when cancelled."""
    return await to_its_end(asyncio.get_running_loop().run_in_executor(None, function))


def result_of(future: concurrent.futures.Future[T]) -> T:
    """The result of *future*; an interrupt is raised when it has ended, a second one at once."""
    try:
        return future.result()
    except BaseException:
        if not future.done():
            concurrent.futures.wait([future])
        raise


class Turns:
    """One at a time for each key, among the threads or the tasks of one process.

    Not for correctness: savers of one name within a process would only take numbers from each other, which costs requests
    that grow with their square. No fork inherits a lock. So many threads' locks are kept, for to make one takes longer than
    to find it; a task's lives as long as somebody waits for it, since it belongs to a loop.
    """

    def __init__(self) -> None:
        self._locks: dict[tuple[int, str], threading.RLock] = {}
        self._tasks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    def for_thread(self, key: str) -> threading.RLock:
        """Reentrant: a signal handler may save what the thread that it interrupts is saving."""
        place = (_forks, key)
        lock = self._locks.get(place)
        if lock is None:
            if len(self._locks) >= KEPT_LOCKS:
                self._locks.clear()
            lock = self._locks.setdefault(place, threading.RLock())
        return lock

    def for_task(self, key: str) -> asyncio.Lock:
        return self._tasks.setdefault((id(asyncio.get_running_loop()), key), asyncio.Lock())


_forks = 0


def _forked() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
