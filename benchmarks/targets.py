"""What is to be reached: each target a line of docs/performance.md, met or not, and where it is not met, why.

`Target.reason` is kept by hand and shown only where the target is not met. A target that no result of the run speaks of is
shown as not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from .harness import Comparison, Fact, ratios, spread


@dataclass(frozen=True)
class Found:
    """All comparisons of a run by name, and all facts by name, side and what they tell."""

    comparisons: Mapping[str, Comparison]
    facts: Mapping[tuple[str, str, str], Fact]


Value = tuple[float, float, float]
"""A median and its quartiles; all three the same where a number is exact."""


class Measure(Protocol):
    """How a target's number comes out of what was measured; None where that is not there."""

    def of(self, found: Found) -> Value | None: ...


@dataclass(frozen=True)
class Ratio:
    """How many times as long *ours* takes as *other*; with *speed* how many times as fast it is.

    Several others: round by round the slowest of them.
    """

    comparison: str
    ours: str
    other: str | tuple[str, ...]
    speed: bool = False

    def of(self, found: Found) -> Value | None:
        comparison = found.comparisons.get(self.comparison)
        if comparison is None or (ours := comparison.side(self.ours)) is None:
            return None
        named = (self.other,) if isinstance(self.other, str) else self.other
        others = [side for name in named if (side := comparison.side(name))]
        if len(others) != len(named):
            return None
        each = [min(round_) for round_ in zip(*(ratios(ours, other) for other in others), strict=True)]
        return spread([1 / ratio for ratio in each] if self.speed else each)


@dataclass(frozen=True)
class Difference:
    """By how many seconds a call of *ours* takes longer than one of *other*; times *scale*."""

    comparison: str
    ours: str
    other: str
    scale: float = 1.0

    def of(self, found: Found) -> Value | None:
        comparison = found.comparisons.get(self.comparison)
        if comparison is None:
            return None
        ours, other = comparison.side(self.ours), comparison.side(self.other)
        if ours is None or other is None:
            return None
        return spread([self.scale * (a - b) for a, b in zip(ours.seconds, other.seconds, strict=True)])


@dataclass(frozen=True)
class Exact:
    """A `Fact`, or how many times as large it is as the one named in *over* (name, side, what)."""

    name: str
    what: str
    side: str = "artifactfs"
    over: tuple[str, str, str] | None = None

    def of(self, found: Found) -> Value | None:
        fact = found.facts.get((self.name, self.side, self.what))
        if fact is None:
            return None
        if self.over is None:
            return (fact.value,) * 3
        other = found.facts.get(self.over)
        return None if other is None else (fact.value / other.value,) * 3


@dataclass(frozen=True)
class Target:
    """One target. Of several *measures* the one farthest off counts, and all have to be there.

    *at_least*: the number must not be below *limit*, else not above it. *unit*: behind the number, "x" for ratios.
    """

    id: str
    text: str
    limit: float
    measures: tuple[Measure, ...]
    at_least: bool = False
    unit: str = "x"
    reason: str = ""

    def value(self, found: Found) -> Value | None:
        """What was measured; None where something is missing."""
        values = [value for measure in self.measures if (value := measure.of(found)) is not None]
        if not values or len(values) < len(self.measures):
            return None
        return min(values) if self.at_least else max(values)

    def met(self, value: Value) -> bool:
        """Whether the median is within the limit."""
        return value[0] >= self.limit if self.at_least else value[0] <= self.limit


OURS = "artifactfs"

SMALL = (
    Target(
        "memory-save",
        "memory, save of 1 KB: no slower than ADK's in-memory service",
        1.0,
        (Ratio("memory/save/1 KB", OURS, "ADK in memory"),),
    ),
    Target(
        "memory-load",
        "memory, load of 1 KB: no slower than ADK's in-memory service",
        1.0,
        (Ratio("memory/load/1 KB", OURS, "ADK in memory"),),
    ),
)

TARGETS: tuple[Target, ...] = (*SMALL,)
