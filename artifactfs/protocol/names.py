"""The names in a scope: one listing for a thousand of them, whatever their versions.

A name is shown if its newest version is there and is no removal. Most names need no look for that: only where something
was removed or deleted does a mark, written before, tell a listing to look inside. A name without a mark is shown as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from artifactfs.backends.base import Page
from artifactfs.layout import HIDDEN, USER_PREFIX, ArtifactId, ScopeId
from artifactfs.names import decode, is_segment, shared_prefix, spell
from artifactfs.protocol.listing import View
from artifactfs.protocol.ops import Emit, Lazy, List, Steps, together
from artifactfs.protocol.read import AT_ONCE, newest
from artifactfs.records import Removed

DEEP_FROM = 32
"""So many marked names on one page are looked into by listing all keys once, instead of by a listing each."""

HELD = 100
"""So many names are held back at most for one that is to come before them, before it is looked for."""

_USER_KEY = spell(USER_PREFIX)

W = TypeVar("W", bound="Walk")


def sort_key(name: str) -> str:
    """What names are sorted by: their encoded form, which for plain names is the name."""
    if name.startswith(USER_PREFIX):
        return _USER_KEY + spell(name.removeprefix(USER_PREFIX))
    return spell(name)


def names(scope: ScopeId, prefix: str = "", after: str | None = None, *, shared: bool = True) -> Lazy[str]:
    """Emit the names in *scope* that start with *prefix* and sort after *after*, in the order of `sort_key`.

    A session's include its user's, as ``user:name``, unless *shared* is False; the two are listed at the same time.
    """
    walks = walks_of(_NameWalk, scope, prefix, after, shared)
    while (walk := (yield from first_of(walks))) is not None:
        for segment in walk.before(walks):
            yield (Emit(walk.shown + (decode(segment) if "%" in segment else segment)),)  # it is spelled right: `fits`


def walks_of(
    kind: Callable[[ScopeId, str, str, str], W], scope: ScopeId, prefix: str, after: str | None, shared: bool
) -> list[W]:
    """Walks of *scope*, and where *shared* says so of what its sessions share, for the names that are asked for."""
    floor = "" if after is None else sort_key(after)
    walks = [kind(scope, "", prefix, floor)]
    if shared and scope.session is not None:
        walks.append(kind(scope.user_scope, USER_PREFIX, prefix, floor))
    return walks


def first_of(walks: Sequence[W]) -> Steps[W | None]:
    """The walk whose next name is the first of all, or None at the end. As much is listed as that takes."""
    while starved := [walk for walk in walks if walk.starved]:
        yield from together(*(walk.fill() for walk in starved))
    return min((walk for walk in walks if walk.order.ready), key=lambda walk: walk.next_key, default=None)


def folders(folder: str, what: str, skip: str) -> Lazy[str]:
    """Emit what the folders directly below *folder* stand for (apps, users or sessions), but for the segment *skip*."""
    order = _InOrder()
    while order.position is not None or order.ready:
        if order.ready:
            yield (Emit(decode(order.pop(), what, folder)),)
        elif (beginning := order.sought) is not None:
            order.settle(beginning, (yield from _is_there(folder, beginning)))
        else:
            page: Page
            (page,) = yield (List(folder, order.position or ""),)
            order.add([segment for segment in page.folders if segment != skip], page.next)


class _InOrder:
    """Puts folders that a listing gives in the order of their keys into that of their segments.

    A listing sorts a folder with its ``/``, so ``a.csv/`` comes before ``a/``. A segment is held back while one that it
    starts with may still come; `awaited` is that one where nothing else is ready, so that it can be looked for.
    """

    def __init__(self, position: str | None = "") -> None:
        self.position = position
        self.ready: deque[str] = deque()
        self.settled: set[str] = set()
        self._waiting: list[str] = []
        self._to_come: list[str] = []

    def add(self, segments: Iterable[str], position: str | None) -> None:
        """The listing has given *segments* and come to *position*; None: to its end."""
        self._waiting += [segment for segment in segments if segment not in self.settled]
        self.position = position
        self._release()

    def settle(self, beginning: str, there: bool) -> None:
        """*beginning* was looked for; whatever the listing says of it later is passed over."""
        self.settled.add(beginning)
        if there:
            self._waiting.append(beginning)
        self._release()

    @property
    def awaited(self) -> str | None:
        return _awaited(self._waiting[0], self._to_come) if self._waiting and not self.ready else None

    @property
    def sought(self) -> str | None:
        """`awaited`, where it is worth a request; else the next page is to tell."""
        return self.awaited if len(self._waiting) > HELD else None

    def pop(self) -> str:
        return self.ready.popleft()

    def _release(self) -> None:
        self._waiting.sort()
        self._to_come = self._beginnings()
        held = len(self._waiting)
        if self._to_come:
            places = (place for place in range(held) if _awaited(self._waiting[place], self._to_come))
            held = next(places, held)
        self.ready.extend(self._waiting[:held])
        del self._waiting[:held]

    def _beginnings(self) -> list[str]:
        """Segments that may still come and that one already listed may start with, the shortest first.

        What a listing has given before *position* and has a beginning that comes after it shares that with *position*.
        """
        head = "" if self.position is None else self.position.partition("/")[0]
        return [
            head[:place]
            for place in range(1, len(head))
            if head[place] < "/" and head[:place] not in self.settled and is_segment(head[:place])
        ]


def _awaited(segment: str, beginnings: Sequence[str]) -> str | None:
    """The one of *beginnings* that *segment* starts with and sorts behind, though its key comes first."""
    for beginning in beginnings:
        if segment.startswith(beginning) and segment[len(beginning) :] < "/" and segment != beginning:
            return beginning
    return None


class Walk:
    """One scope's folder, read page by page. *shown* is what its names are shown to start with."""

    def __init__(self, scope: ScopeId, shown: str, prefix: str, floor: str) -> None:
        self.scope, self.shown, self.prefix, self.floor = scope, shown, prefix, floor
        self.own = _USER_KEY if shown else ""
        self.within = shared_prefix(prefix.removeprefix(shown)) if prefix.startswith(shown) else ""
        self.order = _InOrder(self._start())

    def _start(self) -> str | None:
        """Where to begin to list; None where no name can be one of these."""
        if not (self.prefix.startswith(self.shown) or self.shown.startswith(self.prefix)):
            return None
        if not self.shown and self.prefix.startswith(USER_PREFIX):
            return None
        if self.floor.startswith(self.own):
            return max(self.within, self.floor.removeprefix(self.own))
        return None if self.floor > self.own else self.within

    @property
    def starved(self) -> bool:
        return not self.order.ready and self.order.position is not None

    @property
    def next_key(self) -> str:
        return self.own + self.order.ready[0]

    def before(self, walks: Sequence[Walk]) -> Iterator[str]:
        """Take its segments, as many as are ready and come before those of the other *walks*."""
        others = [walk.next_key for walk in walks if walk is not self and walk.order.ready]
        end = min(others, default=None)
        ready = self.order.ready
        while ready and (end is None or self.own + ready[0] < end):
            yield ready.popleft()

    def fill(self) -> Steps[None]:
        """Read one more page, or look for the one name that all others have to wait for."""
        raise NotImplementedError

    def passed(self, position: str) -> bool:
        """Whether no name that is asked for is behind *position*."""
        return position > self.within and not position.startswith(self.within)

    def fits(self, segment: str) -> bool:
        """Whether the segment is that of a name that is asked for. A session's own names never start with ``user:``."""
        if segment.startswith("@") or (not self.shown and segment.startswith(_USER_KEY)):
            return False
        return self.own + segment > self.floor and (self.shown + decode(segment, "name", self.scope.folder)).startswith(
            self.prefix
        )


class _NameWalk(Walk):
    """A walk along the folders of artifacts, which looks into those that have a mark."""

    def __init__(self, scope: ScopeId, shown: str, prefix: str, floor: str) -> None:
        super().__init__(scope, shown, prefix, floor)
        self.marks: set[str] | None = None

    def fill(self) -> Steps[None]:
        position, awaited = self.order.position, self.order.sought
        assert position is not None
        if awaited is not None:
            there = self.fits(awaited) and (yield from _is_there(self.scope.folder, awaited))
            shown = (yield from visible(self.scope, [awaited], self.marks or set())) if there else []
            self.order.settle(awaited, bool(shown))
            return
        page: Page
        if self.marks is None and position > HIDDEN:
            page, self.marks = yield from together(_page(self.scope, position), marked(self.scope))
        else:
            page = yield from _page(self.scope, position)
        if self.marks is None:
            passed = page.next is None or page.next > HIDDEN
            self.marks = set() if passed and HIDDEN not in page.folders else (yield from marked(self.scope))
        found = yield from visible(self.scope, [one for one in page.folders if self.fits(one)], self.marks)
        self.order.add(found, None if page.next is None or self.passed(page.next) else page.next)


def _is_there(folder: str, segment: str) -> Steps[bool]:
    page: Page
    (page,) = yield (List(f"{folder}{segment}/", limit=1, deep=True),)
    return bool(page.entries)


def _page(scope: ScopeId, position: str) -> Steps[Page]:
    page: Page
    (page,) = yield (List(scope.folder, position),)
    return page


def marked(scope: ScopeId) -> Steps[set[str]]:
    """The segments of the names in *scope* that have a mark."""
    segments: set[str] = set()
    position: str | None = ""
    while position is not None:
        page: Page
        (page,) = yield (List(scope.hidden_folder, position, deep=True),)
        segments |= {entry.name.partition("/")[0] for entry in page.entries}
        position = page.next
    return segments


def visible(scope: ScopeId, segments: Iterable[str], marks: set[str]) -> Steps[list[str]]:
    """Those of *segments*, as one page listed them, whose artifact is to be shown; in their order."""
    listed = list(segments)
    doubted = [segment for segment in listed if segment in marks]
    views: dict[str, View] = {}
    if len(doubted) >= DEEP_FROM:
        views = yield from _views(scope, doubted)
    hidden: set[str] = set()
    for start in range(0, len(doubted), AT_ONCE):
        some = doubted[start : start + AT_ONCE]
        shown = yield from together(*(is_visible(scope, segment, views.get(segment)) for segment in some))
        hidden |= {segment for segment, one in zip(some, shown, strict=True) if not one}
    return [segment for segment in listed if segment not in hidden]


def is_visible(scope: ScopeId, segment: str, view: View | None) -> Steps[bool]:
    """Whether the newest version of a marked name is there and no removal."""
    found, _ = yield from newest(ArtifactId(scope, decode(segment)), view=view)
    return found is not None and not isinstance(found.record, Removed)


def _views(scope: ScopeId, segments: list[str]) -> Steps[dict[str, View]]:
    """Views of several artifacts from one listing of all keys between the first and the last of them."""
    views = {segment: View() for segment in segments}
    last = max(f"{segment}/" for segment in segments)
    position: str | None = min(f"{segment}/" for segment in segments)
    while position is not None and position < last + "\U0010ffff":
        page: Page
        (page,) = yield (List(scope.folder, position, deep=True),)
        for entry in page.entries:
            segment, _, name = entry.name.partition("/")
            if segment in views:
                views[segment].add([entry._replace(name=name)])
        position = page.next
    return views
