"""Waiting for what was begun: whoever is cancelled or interrupted must not leave a write going on behind its back."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


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
