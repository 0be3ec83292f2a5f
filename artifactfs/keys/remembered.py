"""What is remembered for a bounded time, in bounded number: keys that took a request to be had."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, NoReturn, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Held(NamedTuple, Generic[K, V]):
    """What one process holds; `entries` in the order in which they expire."""

    process: int
    lock: threading.Lock
    entries: dict[K, tuple[float, V]]


class Remembered(Generic[K, V]):
    """At most *most* values, none for longer than *seconds* after it was put in.

    The oldest makes room. A value that has expired is never given out, and is let go at the next use of this object,
    whatever it is. Any thread may use it; a forked child begins with nothing, and never waits for its parent's threads.
    Its values are in no repr, and it cannot be pickled.

    >>> keys = Remembered[bytes, bytes](2, 60)
    >>> keys.put(b"wrapped", b"key")
    >>> keys.get(b"wrapped"), keys.get(b"another")
    (b'key', None)
    """

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._held = self._nothing()

    def get(self, key: K) -> V | None:
        """The value that was put in for *key*, or None."""
        held = self._here()
        with held.lock:
            self._expire(held.entries)
            found = held.entries.get(key)
            return None if found is None else found[1]

    def put(self, key: K, value: V) -> None:
        """Remember *value* for *key* from now on, instead of what was there."""
        held = self._here()
        with held.lock:
            self._expire(held.entries)
            held.entries.pop(key, None)
            held.entries[key] = self._clock() + self._seconds, value
            while len(held.entries) > self._most:
                del held.entries[next(iter(held.entries))]

    def clear(self) -> None:
        """Forget everything."""
        self._held = self._nothing()

    def _expire(self, entries: dict[K, tuple[float, V]]) -> None:
        now = self._clock()
        while entries:
            oldest = next(iter(entries))
            if entries[oldest][0] > now:
                return
            del entries[oldest]

    def _nothing(self) -> _Held[K, V]:
        return _Held(os.getpid(), threading.Lock(), {})

    def _here(self) -> _Held[K, V]:
        """What this process holds. Two threads of a new child may each begin anew: one of them forgets, no more."""
        held = self._held
        if held.process != os.getpid():
            held = self._held = self._nothing()
        return held

    def __repr__(self) -> str:
        return f"<Remembered, at most {self._most} for {self._seconds:g} s>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("what is remembered may be keys, and is not pickled")
