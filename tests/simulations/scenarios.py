"""Which processes run together, from which stores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from typing import Any

from artifactfs.testing.simulated_processes import Process
from artifactfs.testing.simulated_store import Contents

from .processes import (
    Expect,
    all_deleter,
    compactor,
    deleter,
    fencer,
    known_reader,
    lister,
    namer,
    newest_reader,
    remover,
    saver,
    streamer,
)
from .properties import view


@dataclass(frozen=True)
class Way:
    """A store to run on, and how the library is told to use it.

    Attributes:
        page: entries that a page of a listing holds at most.
        newest: payloads on a page of the newest numbers alone; 0 for a store that gives none.
        conditional: it rewrites on a condition.
        atomic: completing an upload creates, and does not overwrite.
        failing: operations may fail for good.
    """

    page: int = 1000
    newest: int = 0
    conditional: bool = True
    atomic: bool = True
    failing: bool = False

    @property
    def store(self) -> dict[str, Any]:
        return {"page": self.page, "newest": self.newest, "overwriting": not self.atomic, "failing": self.failing}

    @property
    def calls(self) -> dict[str, Any]:
        """Where a write is sent once and its answer may be lost, a call may not know what became of it."""
        return {
            "conditional": self.conditional,
            "streams": self.atomic,
            "may_fail": self.failing or not self.conditional,
        }


PLAIN = Way()


def writers(name: str, contents: Contents, way: Way = PLAIN, *, eager: bool = False) -> list[Process]:
    """One of each kind. An *eager* one takes every claim for stale; of the others no claim is stale but the old ones.

    The compare-and-sets expect the newest version there is.
    """
    there = view(contents).versions
    expected: list[Expect] = [there[-1][0] if there else 0, "absent"]
    compare_and_sets = [saver(name, expect, eager=eager, **way.calls) for expect in expected]
    if eager:
        return compare_and_sets
    return [
        saver(name, **way.calls),
        streamer(name, **way.calls),
        remover(name, **way.calls),
        *compare_and_sets,
    ]


def others(contents: Contents, way: Way = PLAIN) -> list[Process]:
    """One of each kind of what runs beside writers, on the newest number and on the next one."""
    top = max(view(contents).top, 0)
    numbers = (top, top + 1)
    fail = way.failing
    found = [
        newest_reader(may_fail=fail),
        namer(may_fail=fail),
        *(known_reader(number, may_fail=fail) for number in numbers),
        *(deleter(number, **way.calls) for number in numbers),
        all_deleter(**way.calls),
        fencer(**way.calls),
    ]
    if any(b"tombstone" in item.data or "@hidden" in key for key, item in contents.items()):
        found.append(compactor(may_fail=fail))
    return found


def singles(contents: Contents, way: Way = PLAIN) -> Iterator[tuple[Process, ...]]:
    """One writer and one other; here also saves and removals that expect any version, and a listing of all versions."""
    numbers = range(view(contents).top + 1)
    beside = [*others(contents, way), lister(may_fail=way.failing)]
    one = [*writers("A", contents, way), *writers("A", contents, way, eager=True)]
    one += [saver("A", number, eager=eager, **way.calls) for number in numbers for eager in (True, False)]
    one += [remover("A", number, eager=eager, **way.calls) for number in numbers for eager in (True, False)]
    yield from product(one, beside)


def pairs(
    contents: Contents, way: Way = PLAIN, *, alone: bool = False, eager: bool = True
) -> Iterator[tuple[Process, ...]]:
    """Two writers, and one other unless they are to be *alone*. At most one of them is eager: two would never end."""
    first, second = writers("A", contents, way), writers("B", contents, way)
    last = writers("B", contents, way, eager=True) if eager else []
    beside = [[]] if alone else [[other] for other in others(contents, way)]
    for place, one in enumerate(first):
        for other, extra in product([*second[place:], *last], beside):
            yield one, other, *extra


def triples(contents: Contents) -> Iterator[tuple[Process, ...]]:
    """Three writers."""
    yield from product_in_order(*(writers(name, contents) for name in "ABC"))


def product_in_order(*kinds: list[Process]) -> Iterator[tuple[Process, ...]]:
    """One of each list, no kind before the one that the list before gave: which of them is which does not matter."""
    for places in combinations_with_replacement(range(len(kinds[0])), len(kinds)):
        yield tuple(kind[place] for kind, place in zip(kinds, places, strict=True))
