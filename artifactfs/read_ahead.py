"""How much a reader of ranges fetches: what is asked at a new place, ever more where reading goes on.

A file in an object store is read by requests, each of which costs a round trip, however short; and what nobody uses costs
too. So a read at a new place fetches exactly what it asks, since whoever seeks knows what is where (the footer of a
parquet file, a column of it, an entry of a zip file). A read that goes on where the last one ended is likely to be followed
by more: as much is fetched as was read in sequence so far. A sequence then needs a number of requests that grows with the
logarithm of its length (up to `MOST`), and never moves more than twice the bytes that are used and `LEAST`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LEAST = 64 * 1024
"""Bytes that are fetched at least where reading goes on, and at the beginning; a file of no more is fetched at once."""

MOST = 4 * 1024 * 1024
"""Bytes that are fetched at most, unless a single read asks for more."""


class ReadAhead:
    """What is held of a file of *size* bytes that never changes, and what to fetch for the next read.

    *least* is what every fetch takes at least, in bytes, *most* what is fetched ahead. What is held is the part of
    the last fetch that a later read can want: never more than the longer of the last read, *least* and *most*. All
    places are bytes from the beginning.

    A read is `missing`, then `keep` of what was fetched if anything is, then `take`; `read` is the three of them for code
    that can wait. Nothing is locked: one read after the other.
    """

    def __init__(self, size: int, least: int = 0, most: int = MOST) -> None:
        self.size = size
        self._least, self._most = least, most
        self._held, self._at = b"", 0
        self._last = (-1, 0)
        # Where the present sequence began, and where its first read ended. At first one has begun, by reading nothing.
        self._run = (0, 0)

    def missing(self, start: int, end: int) -> tuple[int, int] | None:
        """The range to fetch so that the bytes ``start <= i < end`` are held, or None where they are.

        It begins where what is held ends, if *start* is within that, and else at *start*. A read that begins inside the
        last one, or directly behind it, goes on with its sequence.
        """
        end = min(end, self.size)
        if start >= end:
            return None
        if not self._last[0] < start <= self._last[1]:
            self._run = (start, end)
        self._last = (start, end)
        held_to = self._at + len(self._held)
        if self._at <= start < held_to:
            if end <= held_to:
                return None
            self._held, self._at, start = self._held[start - self._at :], start, held_to
        else:
            self.drop()
        if self.size <= LEAST:
            return 0, self.size
        begin, first_end = self._run
        ahead = 0 if start < first_end else min(max(start - begin, LEAST), self._most)
        return start, min(max(end, start + ahead, start + self._least), self.size)

    @property
    def so_far(self) -> int:
        """Bytes that were read in sequence before the last read."""
        return self._last[0] - self._run[0]

    def keep(self, at: int, data: bytes) -> None:
        """Hold *data*, which was fetched from *at* on, joined to what of the present read is held already."""
        if self._held and at == self._at + len(self._held):
            self._held += data
        else:
            self._held, self._at = data, at

    def take(self, start: int, end: int) -> bytes:
        """The bytes ``start <= i < end`` of the file (cut at its end), which are held."""
        end = min(end, self.size)
        if start >= end:
            return b""
        data = self._held[start - self._at : end - self._at]
        self._given(end)
        return data

    def give(self, start: int, target: Any) -> int:
        """Copy held bytes from *start* on into the buffer *target*; returns how many they were, perhaps none.

        They may be more than was asked of `missing`: what follows them is then what goes on.
        """
        first = start - self._at
        if not 0 <= first < len(self._held):
            return 0
        view = memoryview(target).cast("B")
        count = min(len(view), len(self._held) - first)
        view[:count] = memoryview(self._held)[first : first + count]
        self._given(start + count)
        return count

    def read(self, start: int, end: int, fetch: Callable[[int, int], bytes]) -> bytes:
        """The bytes ``start <= i < end`` (cut at the end of the file); what is missing comes from one call of *fetch*."""
        gap = self.missing(start, end)
        if gap is not None:
            self.keep(gap[0], fetch(*gap))
        return self.take(start, end)

    def drop(self) -> None:
        """Hold nothing. Reading goes on as before."""
        self._held = b""

    def _given(self, end: int) -> None:
        if end > self._last[1]:
            self._last = (self._last[0], end)
        if len(self._held) > max(self._most, self._least):  # one long read; what it was given is the caller's
            self._held, self._at = self._held[end - self._at :], end
