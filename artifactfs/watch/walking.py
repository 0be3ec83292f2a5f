"""Walking along all keys below a folder, artifact by artifact, or past those parts of them that are known.

A walk takes one listing for a thousand keys. A *brief* one goes past the middle of artifacts of many versions: it reads
the beginning of such a folder, where hints and powers of ten are, then goes on at the numbers that something may come of
(`Tail`), and from there to the next folder. It shows what is new, and not what was deleted in the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby

from artifactfs.backends.base import Entry, Page
from artifactfs.custody import Custody
from artifactfs.layout import RECORD, ArtifactId, ScopeId, parse_entry
from artifactfs.names import USER_SCOPE, decode, is_segment
from artifactfs.protocol.listing import View, _just_before, _next_stone
from artifactfs.protocol.ops import List, Steps

MOST_LOW = 1000
"""Numbers below the top that a brief walk looks for, one by one; where there are more the whole folder is read."""


class Place:
    """What is watched: the folder of a scope, or of a whole store, and how deep below it those of artifacts are."""

    def __init__(self, folder: str, depth: int, find: Callable[[list[str]], ArtifactId | None]) -> None:
        self.folder, self.depth, self._find = folder, depth, find

    @classmethod
    def of_scope(cls, scope: ScopeId) -> Place:
        def find(parts: list[str]) -> ArtifactId | None:
            (segment,) = parts
            return ArtifactId(scope, decode(segment)) if _is_name(segment, scope.session) else None

        return cls(scope.folder, 1, find)

    @classmethod
    def of_store(cls, custody: Custody) -> Place:
        def find(parts: list[str]) -> ArtifactId | None:
            app, user, inner, segment = parts
            if not (is_segment(app, "app") and is_segment(user, "user")):
                return None
            if not (inner == USER_SCOPE or is_segment(inner, "session")):
                return None
            session = None if inner == USER_SCOPE else decode(inner, "session")
            if not _is_name(segment, session):
                return None
            scope = ScopeId(decode(app, "app"), decode(user, "user"), session, custody, as_stored=True)
            return ArtifactId(scope, decode(segment))

        return cls("", 4, find)

    def artifact(self, path: str) -> ArtifactId | None:
        """The artifact whose folder is *path*; None where it is none."""
        parts = path.split("/")
        return self._find(parts) if len(parts) == self.depth else None


def _is_name(segment: str, session: str | None) -> bool:
    """Whether *segment* is shown as a name: a session's own never start with ``user:``."""
    return is_segment(segment) and not (session is not None and segment.startswith("user%3A"))


@dataclass(slots=True)
class Tail:
    """What may still come of an artifact of many versions: the numbers above `top`, and `lows` below it."""

    top: int
    lows: set[int]


class Dated(View):
    """A view that also knows when each payload was stored."""

    __slots__ = ("stored",)

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[int, float] = {}

    def add(self, entries: Iterable[Entry]) -> None:
        listed = list(entries)
        super().add(listed)
        for name, _, modified in listed:
            match parse_entry(name):
                case ("payload", number):
                    self.stored[number] = modified


@dataclass(slots=True)
class Sight:
    """What a walk saw of an artifact. `whole`: all its keys. `torn`: on several pages, so not all at one instant."""

    path: str
    view: Dated = field(default_factory=Dated)
    whole: bool = True
    torn: bool = False


def walk(
    place: Place,
    within: str,
    after: str,
    take: Callable[[Sight], None],
    pause: Callable[[], bool],
    where_to: Callable[[Sight], Tail | None],
) -> Steps[str | None]:
    """Give *take* each artifact below *within* (a path with its ``/``, or ``""``) that is behind *after*.

    *where_to* tells what a brief walk reads of an artifact; None for all. *pause* is asked before each request; where it
    says so the answer is where to go on, else None.
    """
    sight: Sight | None = None
    position: str | None = after
    taken = False
    while position is not None:
        if pause() and (taken or sight is None):
            return position if sight is None else f"{sight.path}/"[len(within) :]
        page: Page
        (page,) = yield (List(place.folder + within, position, deep=True),)
        for folder, entries in groupby(page.entries, key=lambda entry: (within + entry.name).rpartition("/")[0]):
            if sight is None or sight.path != folder:
                if sight is not None:
                    take(sight)
                    taken = True
                sight = Sight(folder)
            sight.view.add(entry._replace(name=entry.name.rpartition("/")[2]) for entry in entries)
        position = page.next
        if position is None or sight is None:
            continue
        sight.torn = True  # if more of it follows; else it is looked at twice for nothing
        key = within + position
        further = _behind_system_keys(place, sight.path)
        if further is None and (tail := where_to(sight)) is not None:
            further = _next_of_interest(sight, tail, key.rpartition("/")[2])
            sight.whole = sight.whole and further <= key
        if further is not None and further > key:
            position = further[len(within) :] if further.startswith(within) else None
    if sight is not None:
        take(sight)
    return None


def _behind_system_keys(place: Place, path: str) -> str | None:
    """A text behind all keys of the folder ``@…`` that *path* lies in; None where it lies in none. "0" follows "/"."""
    parts = path.split("/")
    for depth, part in enumerate(parts[: place.depth]):
        if part.startswith("@"):
            return "/".join(parts[: depth + 1]) + "0"
    return None


def _next_of_interest(sight: Sight, tail: Tail, name: str) -> str:
    """Where a listing that has come to *name* in the folder of *sight* goes on: there, further on, or behind the folder."""
    wanted = [_just_before(number) for number in tail.lows if name < f"{number}{RECORD}"]
    digits = len(str(tail.top))
    power = int("1" + "0" * digits)
    numbers = sight.view.payloads.keys() | sight.view.records.keys()
    for first, last in ((tail.top + 1, power - 1), (power, power * 10 - 1)):
        seen = max((number for number in numbers if first <= number <= last), default=first - 1)
        if first > last or (first == power and seen < first and name >= f"{power}{RECORD}"):
            continue
        if name < f"{min(_next_stone(seen), last)}{RECORD}":
            wanted.append(_just_before(max(seen, first - 1) + 1))
    behind = f"{sight.path}0"
    return max(f"{sight.path}/{name}", f"{sight.path}/{min(wanted)}") if wanted else behind
