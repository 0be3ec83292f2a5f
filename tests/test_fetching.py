"""What is fetched ahead over a network, beside what `tests/test_read_ahead.py` holds of readers as a whole."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from fsspec.asyn import get_loop, sync

from artifactfs.fetching import RANGE, AsyncFetching, Fetching
from artifactfs.read_ahead import MOST

LONG = MOST + 4 * RANGE
"""Bytes that were read in sequence."""


class Far:
    """Content of a store over a network."""

    backend: Any = SimpleNamespace(placement="loop")
    record: Any = None
    size = 100 * RANGE
    flows = False

    async def read(self, start: int, end: int) -> bytes:
        return b"%d-%d " % (start, end)

    async def read_on(self, start: int, end: int) -> bytes:
        raise AssertionError

    async def begin(self, start: int, end: int) -> None:
        raise AssertionError

    def go_on(self, start: int, end: int) -> bytes | None:
        raise AssertionError

    def stop(self) -> None:
        pass


def _told(*ranges: int) -> bytes:
    return b"".join(b"%d-%d " % (number * RANGE, (number + 1) * RANGE) for number in ranges)


def test_what_is_on_its_way_is_not_waited_for_on_the_loop_that_brings_it() -> None:
    fetching = Fetching(Far())
    assert fetching.fetch(0, RANGE, LONG) == _told(0)

    async def there() -> None:
        with pytest.raises(RuntimeError, match="from fsspec's own event loop"):
            fetching.fetch(RANGE, 2 * RANGE, LONG)

    sync(get_loop(), there)
    assert fetching.fetch(RANGE, 2 * RANGE, LONG) == _told(1)
    fetching.drop()


def test_what_was_on_its_way_in_a_loop_that_has_ended_is_fetched_again() -> None:
    fetching = AsyncFetching(Far())
    for number in range(3):
        assert asyncio.run(fetching.fetch(number * RANGE, (number + 1) * RANGE, LONG)) == _told(number)
    asyncio.run(fetching.drop())
