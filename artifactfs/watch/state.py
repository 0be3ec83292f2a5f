"""What a watch has told so far, and its form as a token.

Of each artifact two sets of numbers are kept: those that are *live*, whose publication was told and whose deletion was
not, and those that have *ended*, of which nothing is left to tell although something of them is still stored. Of any other
number everything is still to be told; so a number that is published late, below others, is new as long as it takes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise
from typing import TypeAlias

import msgspec

from artifactfs.errors import InvalidRef

Runs: TypeAlias = tuple[int, ...]
"""A set of numbers: where a run of them begins, and where it has ended, ascending: ``(0, 3, 5, 6)`` is 0, 1, 2 and 5."""

FORM = "w1"
"""What a token of this form begins with."""

MOST_DECODED = 256 * 1024 * 1024
"""Bytes that a token may unfold to: what twenty million names take."""

_decoder = msgspec.msgpack.Decoder(tuple[bytes, float, dict[str, tuple[list[int], list[int]]]])

HIGHEST = 10**19
"""No number has more digits than this one less one."""


def holds(runs: Runs, number: int) -> bool:
    return bisect_right(runs, number) % 2 == 1


def flipped(runs: Runs, number: int) -> Runs:
    """*runs* with *number* where they have it not, and without it where they do."""
    edges = list(runs)
    for edge in (number, number + 1):
        place = bisect_left(edges, edge)
        if place < len(edges) and edges[place] == edge:
            del edges[place]
        else:
            edges.insert(place, edge)
    return tuple(edges)


def runs_of(numbers: Iterable[int]) -> Runs:
    """The set of *numbers*, which ascend."""
    edges: list[int] = []
    for number in numbers:
        if edges and edges[-1] == number:
            edges[-1] = number + 1
        else:
            edges += (number, number + 1)
    return tuple(edges)


def each(runs: Runs) -> Iterator[int]:
    for start in range(0, len(runs), 2):
        yield from range(runs[start], runs[start + 1])


def highest(runs: Runs) -> int:
    """The highest number, or -1."""
    return runs[-1] - 1 if runs else -1


class State:
    """What was told of everything below *folder*, by artifact: the path of its folder from there.

    `clock` is the newest store time that the last look at everything has seen: what was told then is not younger.
    """

    def __init__(self, folder: str) -> None:
        self.folder, self.clock = folder, 0.0
        self.live: dict[str, Runs] = {}
        self.ended: dict[str, Runs] = {}

    def settled(self, artifact: str, number: int) -> bool:
        return holds(self.live.get(artifact, ()), number) or holds(self.ended.get(artifact, ()), number)

    def top(self, artifact: str) -> int:
        """The highest number of which something was told, or -1."""
        return max(highest(self.live.get(artifact, ())), highest(self.ended.get(artifact, ())))

    def publish(self, artifact: str, number: int) -> None:
        runs = self.live.get(artifact, ())
        if not holds(runs, number):
            self.live[artifact] = flipped(runs, number)

    def end(self, artifact: str, number: int, *, remains: bool = True) -> None:
        """Nothing is to be told of *number* any more. *remains*: something of it is still stored."""
        runs = self.live.get(artifact, ())
        if holds(runs, number):
            self._keep(self.live, artifact, flipped(runs, number))
        runs = self.ended.get(artifact, ())
        if remains and not holds(runs, number):
            self.ended[artifact] = flipped(runs, number)

    def forget_ended(self, artifact: str, stored: Iterable[int]) -> None:
        """Of the numbers that have ended keep those that are *stored*."""
        if runs := self.ended.get(artifact):
            self._keep(self.ended, artifact, runs_of(sorted(number for number in stored if holds(runs, number))))

    @staticmethod
    def _keep(runs_by_artifact: dict[str, Runs], artifact: str, runs: Runs) -> None:
        if runs:
            runs_by_artifact[artifact] = runs
        else:
            runs_by_artifact.pop(artifact, None)

    def encode(self) -> str:
        """The token: its form, then base64url of deflated MessagePack; numbers as steps from one edge to the next."""
        told = {
            artifact: [_steps(self.live.get(artifact, ())), _steps(self.ended.get(artifact, ()))]
            for artifact in sorted(self.live.keys() | self.ended.keys())
        }
        data = zlib.compress(msgspec.msgpack.encode([_digest(self.folder), self.clock, told]), 6)
        return FORM + base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    @classmethod
    def decode(cls, token: str, folder: str, label: str) -> State:
        """The state that *token* holds.

        Raises:
            InvalidRef: it is no token, one of a later release, or one of another scope than *label*.
        """
        if not isinstance(token, str) or not token.startswith(FORM):
            raise InvalidRef(f"since is a token of a watch, 'start' or None, not {token!r:.60}")
        text = token[len(FORM) :]
        try:
            unfolding = zlib.decompressobj()
            data = unfolding.decompress(
                base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True), MOST_DECODED
            )
            if not unfolding.eof:
                raise InvalidRef("the token was cut off: give it whole")
            digest, clock, told = _decoder.decode(data)
            state = cls(folder)
            state.clock = clock
            for artifact, (live, ended) in told.items():
                cls._keep(state.live, artifact, _edges(live))
                cls._keep(state.ended, artifact, _edges(ended))
        except (binascii.Error, ValueError, zlib.error, msgspec.MsgspecError) as error:
            if isinstance(error, InvalidRef):
                raise
            raise InvalidRef("since is no token of a watch: it was altered or cut off") from error
        if digest != _digest(folder):
            raise InvalidRef(f"the token is that of a watch of something else than {label}")
        return state


def _steps(runs: Runs) -> list[int]:
    return [after - before for before, after in pairwise((0, *runs))]


def _edges(steps: list[int]) -> Runs:
    edges = tuple(accumulate(steps))
    if len(edges) % 2 or any(step <= 0 for step in steps[1:]) or (edges and not 0 <= edges[0] <= edges[-1] <= HIGHEST):
        raise ValueError("no set of numbers")
    return edges


def _digest(folder: str) -> bytes:
    return hashlib.sha256(folder.encode()).digest()[:8]
