"""Comparisons: several sides that do the same work, measured in turns in the same minutes.

A time alone says little on a machine that others use too. So the sides of a comparison run interleaved, round by round, each
round beginning with another one of them; what counts is the median over rounds of the ratio of two sides in one round.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any, Literal

Role = Literal["floor", "peer", "ours"]


@dataclass(frozen=True)
class Size:
    """How much is run: *rounds* of a comparison, each side about *seconds* in each of them."""

    name: Literal["tiny", "quick", "full"]
    rounds: int
    seconds: float


SIZES = {size.name: size for size in (Size("tiny", 1, 0.0), Size("quick", 5, 0.08), Size("full", 11, 0.2))}


def nothing() -> None: ...


@dataclass
class Side:
    """One of those that are compared. `floor`: the least that the work takes; `peer`: another system; `ours`.

    Args:
        run: do the work so many times; the seconds that it took if it measures them itself (in another process), else
            None, and the seconds that the call took count.
        prepare: once, before anything is measured.
        before: before each round, not measured.
        clean: once, afterwards, whatever happened.
        calls: how many times a round runs it; without it as many as take `Size.seconds`.
        least: the smallest number of times it makes sense to run it, such as the number in flight.
        most: the largest.
    """

    name: str
    role: Role
    run: Callable[[int], float | None]
    prepare: Callable[[], object] = nothing
    before: Callable[[], object] = nothing
    clean: Callable[[], object] = nothing
    calls: int | None = None
    least: int = 1
    most: int = 100_000


@dataclass
class Times:
    """What was measured of a side: seconds per call, one number for each round."""

    name: str
    role: Role
    seconds: list[float] = field(default_factory=list)
    calls: int = 0


@dataclass
class Comparison:
    """What was measured of several sides. *base* is the side that plots draw as 1.

    *group*: the figure and the table where it is shown; *x*: where on the figure's axis, if that has one (a number of
    versions); *note*: what a reader has to know.
    """

    name: str
    title: str
    group: str
    base: str
    sides: list[Times]
    x: float | None = None
    note: str = ""

    def side(self, name: str) -> Times | None:
        return next((one for one in self.sides if one.name == name), None)

    def ratio(self, ours: str, other: str) -> tuple[float, float, float] | None:
        """Median and quartiles of how many times as long *ours* takes as *other*; None if one of them did not run."""
        one, two = self.side(ours), self.side(other)
        return None if one is None or two is None else spread(ratios(one, two))


@dataclass
class Fact:
    """A number that is exact, or that stands for itself: requests, bytes, peak memory, versions kept."""

    name: str
    group: str
    side: str
    what: str
    value: float
    unit: str = ""


def ratios(one: Times, two: Times) -> list[float]:
    """How many times as long *one* takes as *two*, round by round."""
    return [a / b for a, b in zip(one.seconds, two.seconds, strict=True)]


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, lower and upper quartile."""
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else (values[0],) * 3
    return median(values), low, high


def measured(side: Side, calls: int) -> float:
    """Seconds per call."""
    gc.collect()
    begun = time.perf_counter()
    told = side.run(calls)
    return (time.perf_counter() - begun if told is None else told) / calls


def measure(sides: Sequence[Side], size: Size, rounds: int | None = None) -> list[Times]:
    """Run the sides in turns, after a first run of each that is not counted and tells how often a round runs it."""
    found = {side.name: Times(side.name, side.role) for side in sides}
    assert len(found) == len(sides), "two sides of one name"
    started: list[Side] = []
    try:
        for side in sides:
            started.append(side)
            side.prepare()
        gc.collect()
        gc.freeze()  # what is here by now is not looked through again before each measurement
        for side in sides:
            side.before()
            found[side.name].calls = side.calls or _calls(side, size)
        for turn in range(size.rounds if rounds is None else rounds):
            first = turn % len(sides)
            for side in [*sides[first:], *sides[:first]]:
                side.before()
                times = found[side.name]
                times.seconds.append(measured(side, times.calls))
    finally:
        gc.unfreeze()
        for side in reversed(started):
            side.clean()
    return list(found.values())


def _calls(side: Side, size: Size) -> int:
    """How many calls take about as long as a round is to take; the side is warm then."""
    measured(side, side.least)
    if not size.seconds:
        return side.least
    calls = side.least
    while True:
        taken = measured(side, calls) * calls
        if taken >= size.seconds / 4 or calls >= side.most:
            break
        calls = min(calls * 4, side.most)
    wanted = int(calls * size.seconds / taken)
    return max(side.least, min(wanted - wanted % side.least, side.most))


def plain(one: Any) -> Any:
    """A comparison or a fact as JSON holds it."""
    return one.__dict__ | ({"sides": [side.__dict__ for side in one.sides]} if isinstance(one, Comparison) else {})


def comparison(told: dict[str, Any]) -> Comparison:
    """The reverse of `plain`."""
    return Comparison(**{**told, "sides": [Times(**side) for side in told["sides"]]})
