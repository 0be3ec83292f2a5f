"""What a run of the protocol takes from outside: clocks and identities, so that a test can make them its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from artifactfs.records import fence_payload, new_write_id

CLAIM_TTL = 600.0
"""Seconds after which a claim that was not renewed is taken for abandoned. A stream renews its own four times as fast."""

GIVE_UP = 24 * 3600.0
"""Seconds after its claim at which a save no longer publishes."""

KEEP_TOMBSTONES = 7 * 24 * 3600.0
"""Seconds that a tombstone or a fence stays before `compact` may take it: longer than any save can sleep."""

HINT_TTL = 300.0
"""Seconds for which what a store remembers of an artifact's newest number is used."""


@dataclass(frozen=True, slots=True)
class Env:
    """Clocks in seconds, and sources of fresh identities."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    write_id: Callable[[], str] = new_write_id
    fence: Callable[[], bytes] = fence_payload
    claim_ttl: float = CLAIM_TTL
    give_up: float = GIVE_UP
    keep_tombstones: float = KEEP_TOMBSTONES
    conditional: bool = True
    """Whether the store rewrites an object only where it is still the one that was read."""
    fence_streams: bool = True
    """Whether completing an upload is as atomic as a create; where not, a claim whose payload may come by one is left."""

    def stamp(self, floor: float = 0.0) -> datetime:
        """The time to write into a record: our own clock's, or the newest store time seen, if that is later."""
        return datetime.fromtimestamp(max(self.wall(), floor), UTC)


class Clocked(msgspec.Struct, frozen=True, gc=False):
    """An instant by both clocks: a machine that slept, or whose wall clock was set back, is older by one of them."""

    wall: float
    monotonic: float

    @classmethod
    def read(cls, env: Env) -> Clocked:
        return cls(env.wall(), env.monotonic())

    def age(self, env: Env) -> float:
        """Seconds since then, by the clock that shows more."""
        return max(env.wall() - self.wall, env.monotonic() - self.monotonic)
