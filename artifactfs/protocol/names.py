"""The names in a scope: one listing for a thousand of them, whatever their versions.

A name is shown if its newest version is there and is no removal. Most names need no look for that: only where something
was removed or deleted does a mark, written before, tell a listing to look inside. A name without a mark is shown as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush

from artifactfs.backends.base import Page
from artifactfs.layout import HIDDEN, USER_PREFIX, ArtifactId, ScopeId
from artifactfs.names import decode, shared_prefix, spell
from artifactfs.protocol.listing import View
from artifactfs.protocol.ops import Emit, Lazy, List, Steps, together
from artifactfs.protocol.read import AT_ONCE, newest
from artifactfs.records import Removed

DEEP_FROM = 32
"""So many marked names on one page are looked into by listing all keys once, instead of by a listing each."""

_USER_KEY = spell(USER_PREFIX)


def sort_key(name: str) -> str:
    """What names are sorted by: their encoded form, which for plain names is the name."""
    if name.startswith(USER_PREFIX):
        return _USER_KEY + spell(name.removeprefix(USER_PREFIX))
    return spell(name)


def names(scope: ScopeId, prefix: str = "", after: str | None = None) -> Lazy[str]:
    """Emit the names in *scope* that start with *prefix* and sort after *after*, in the order of `sort_key`.

    A session's include its user's, as ``user:name``; the two are listed at the same time.
    """
    floor = "" if after is None else sort_key(after)
    walks = [_Walk(scope, "", prefix, floor)]
    if scope.session is not None:
        walks.append(_Walk(scope.user_scope, USER_PREFIX, prefix, floor))
    while True:
        starved = [walk for walk in walks if walk.starved]
        if starved:
            yield from together(*(walk.fill() for walk in starved))
            continue
        ready = [walk for walk in walks if walk.order.ready]
        if not ready:
            return
        yield (Emit(min(ready, key=lambda walk: walk.order.ready[0]).order.pop()),)


def folders(folder: str, what: str, skip: str) -> Lazy[str]:
    """Emit what the folders directly below *folder* stand for (apps, users or sessions), but for the segment *skip*."""
    order = _InOrder()
    position: str | None = ""
    while position is not None:
        page: Page
        (page,) = yield (List(folder, position),)
        for segment in page.folders:
            if segment != skip:
                order.add(segment, decode(segment, what))
        position = page.next
        order.advance(position)
        while order.ready:
            yield (Emit(order.pop()),)


class _InOrder:
    """Puts folders that a listing gives in the order of their keys into that of their segments.

    A listing sorts a folder with its ``/``, so ``a.csv/`` comes before ``a/``. A segment is held back while one that it
    starts with may still come.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[str, str]] = []
        self.ready: list[tuple[str, str]] = []

    def add(self, segment: str, name: str) -> None:
        heappush(self.waiting, (segment, name))

    def advance(self, position: str | None) -> None:
        """The listing has come to *position*; None: to its end."""
        while self.waiting and (position is None or not _may_come(self.waiting[0][0], position)):
            self.ready.append(heappop(self.waiting))

    def pop(self) -> str:
        return self.ready.pop(0)[1]


def _may_come(segment: str, position: str) -> bool:
    """Whether a beginning of *segment* that its key was listed before can still follow after *position*."""
    for place, char in enumerate(segment):
        if place and char < "/":
            return segment[:place] + "/" > position
    return False


class _Walk:
    """One scope's folder, read page by page. *shown* is what its names are shown to start with."""

    def __init__(self, scope: ScopeId, shown: str, prefix: str, floor: str) -> None:
        self.scope, self.shown, self.prefix, self.floor = scope, shown, prefix, floor
        self.order = _InOrder()
        self.marks: set[str] | None = None
        self.within = shared_prefix(prefix.removeprefix(shown)) if prefix.startswith(shown) else ""
        self.position: str | None = self._start()

    def _start(self) -> str | None:
        own = sort_key(self.shown + "x")[:-1]
        if not (self.prefix.startswith(self.shown) or self.shown.startswith(self.prefix)):
            return None
        if self.floor.startswith(own):
            return max(self.within, self.floor.removeprefix(own))
        return None if self.floor > own else self.within

    @property
    def starved(self) -> bool:
        return not self.order.ready and self.position is not None

    def fill(self) -> Steps[None]:
        """Read one more page."""
        assert self.position is not None
        page: Page
        if self.marks is None and self.position > HIDDEN:
            page, self.marks = yield from together(_page(self.scope, self.position), marked(self.scope))
        else:
            page = yield from _page(self.scope, self.position)
        if self.marks is None:
            passed = page.next is None or page.next > HIDDEN
            self.marks = set() if passed and HIDDEN not in page.folders else (yield from marked(self.scope))
        found = [one for one in page.folders if not one.startswith("@") and one.startswith(self.within)]
        for segment in (yield from visible(self.scope, found, self.marks)):
            name = self.shown + decode(segment)
            if name.startswith(self.prefix) and sort_key(name) > self.floor:
                self.order.add(sort_key(name), name)
        self.position = page.next
        if page.next is not None and page.next > self.within and not page.next.startswith(self.within):
            self.position = None
        self.order.advance(None if self.position is None else sort_key(self.shown + "x")[:-1] + self.position)


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
