"""How a store's abilities are judged: two writers race for a key, and what is there afterwards decides.

One writer sends its head and half of its body and stops; the other begins; after that one's answer, or a second without
one (some servers hold it back), the first goes on. A server that checks when a write begins and not when it ends lets
both succeed, every time. What the answers say and in which order they come does not count, only who succeeded and whose
bytes are there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Literal, NamedTuple

from artifactfs.backends.base import Ability

SETTLE = 0.1
"""Seconds for the first writer's head to reach the server and be looked at, before the second writer begins."""

PATIENCE = 1.0
"""Seconds that the second writer's answer is waited for, before the first writer goes on."""

ROUNDS = 3
"""Races for each judgement: one alone may end well by luck."""


class Paced:
    """A body that stops half-way: call it with the bytes and send what it yields."""

    def __init__(self) -> None:
        self._stopped = asyncio.Event()
        self._go = asyncio.Event()

    async def __call__(self, body: bytes) -> AsyncIterator[bytes]:
        middle = len(body) // 2
        yield body[:middle]
        self._stopped.set()
        await self._go.wait()
        yield body[middle:]

    async def stopped(self) -> None:
        """Until half of the body was handed to the connection."""
        await self._stopped.wait()

    def go_on(self) -> None:
        self._go.set()


async def race(first: Callable[[Paced], Awaitable[bool]], second: Callable[[], Awaitable[bool]]) -> tuple[bool, bool]:
    """Let *second* write whole while *first* is in the middle of its body; who succeeded."""
    paced = Paced()
    slow = asyncio.ensure_future(first(paced))
    half = asyncio.ensure_future(paced.stopped())
    tasks = [slow, half]
    try:
        # A server that refuses at the head answers before there is a body.
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(SETTLE)
        fast = asyncio.ensure_future(second())
        tasks.append(fast)
        await asyncio.wait([fast], timeout=PATIENCE)
        paced.go_on()
        return await slow, await fast
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Race(NamedTuple):
    """How a race ended: who succeeded, what each of the two wrote, and what is there."""

    won: tuple[bool, bool]
    wrote: tuple[bytes, bytes]
    there: bytes | None


def verdict(races: Sequence[Race]) -> Ability:
    """``atomic`` if each race had one winner, whose bytes are there.

    A race that nobody won says nothing; if nobody ever wins, the precondition is as good as refused.
    """
    decided = [race for race in races if any(race.won)]
    if not decided:
        return "refused"
    fair = all(sum(race.won) == 1 and race.there == race.wrote[race.won.index(True)] for race in decided)
    return "atomic" if fair else "racy"


async def judge(
    alone: Callable[[], Awaitable[Literal["kept", "ignored", "refused"]]], contest: Callable[[], Awaitable[Race]]
) -> Ability:
    """What a store does with a precondition: by one writer *alone* first, then by some races at the same time.

    Args:
        alone: writes where the precondition does not hold, with nobody else writing; what came of it.
        contest: runs one race, on a key of its own.
    """
    seen = await alone()
    if seen != "kept":
        return seen
    return verdict(await asyncio.gather(*(contest() for _ in range(ROUNDS))))
