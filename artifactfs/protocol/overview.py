"""What a scope holds, with the record of each artifact: from listings of all keys, and one read for each artifact.

A listing of all keys shows which versions an artifact has, so that none has to be listed by itself: one listing for a
thousand keys, then the newest record of each. The scope as it was at a time is told so as well, by bisection.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any

from artifactfs.backends.base import Entry, Page
from artifactfs.layout import ArtifactId, ScopeId
from artifactfs.names import decode
from artifactfs.protocol.listing import View, look, look_all
from artifactfs.protocol.names import Walk, first_of, walks_of
from artifactfs.protocol.ops import Emit, Lazy, List, Steps, together
from artifactfs.protocol.read import AT_ONCE, at_time, newest, surely_a_version
from artifactfs.records import Blob, Pointer

HELD = 50_000
"""Keys of artifacts that have to wait for a name which sorts before theirs; above, that name is looked for by itself."""


def records(
    scope: ScopeId,
    prefix: str = "",
    at: datetime | None = None,
    *,
    shared: bool = True,
    wanted: Callable[[str], bool] = lambda name: True,
) -> Lazy[tuple[str, Blob | Pointer | None]]:
    """Emit each name that `names` emits with the record of its newest version, or of its newest as of *at*.

    One listing for a thousand keys, and one read for each artifact; with *at* as many as bisection takes. Of a name that
    is not *wanted* no record is read unless it takes one to know whether the name is to be shown.

    An artifact that is there throughout is never missed, and each record was the newest at some time since its page was
    asked for. For what the keys of one page show was so at one instant; an artifact that two pages share is looked at
    again where the second could have come too late (`_may_mislead`); and `newest` sees to what is deleted since.
    """
    return _walk(scope, prefix, None, at, shared, wanted, lambda name, record: (name, record))


def names_at(scope: ScopeId, prefix: str, after: str | None, at: datetime, *, shared: bool = True) -> Lazy[str]:
    """Emit the names of the artifacts that were there at a time and can still be loaded as of then."""
    return _walk(scope, prefix, after, at, shared, lambda name: True, lambda name, record: name)


def _walk(
    scope: ScopeId,
    prefix: str,
    after: str | None,
    at: datetime | None,
    shared: bool,
    wanted: Callable[[str], bool],
    shape: Callable[[str, Blob | Pointer | None], Any],
) -> Lazy[Any]:
    walks = walks_of(partial(_KeyWalk, at=at), scope, prefix, after, shared)
    while True:
        some: list[tuple[str, Steps[Blob | Pointer | None] | None]] = []
        keys = 0
        while len(some) < AT_ONCE and keys < HELD and (walk := (yield from first_of(walks))) is not None:
            name, artifact, view = walk.take()
            keys += _size(view)
            if at is None and view is not None and not wanted(name) and _surely_there(artifact, view):
                some.append((name, None))
            else:
                some.append((name, _record(artifact, view, at)))
        if not some:
            return
        found = iter((yield from together(*(read for _, read in some if read is not None))))
        for name, read in some:
            record = None if read is None else next(found)
            if read is None or record is not None:
                yield (Emit(shape(name, record)),)


def _record(artifact: ArtifactId, view: View | None, at: datetime | None) -> Steps[Blob | Pointer | None]:
    """The record that *view* leads to, or a fresh view where it is None; None where nothing is to be shown."""
    if at is None:
        found, _ = yield from newest(artifact, view=view)
    else:
        found = yield from at_time(artifact, at, view)
    return found.record if found is not None and isinstance(found.record, (Blob, Pointer)) else None


def _surely_there(artifact: ArtifactId, view: View) -> bool:
    return bool(view.payloads) and surely_a_version(artifact, view, max(view.payloads))


class _KeyWalk(Walk):
    """A walk along all keys. `views` are those of the artifacts that were passed, None for one to be looked at afresh."""

    def __init__(self, scope: ScopeId, shown: str, prefix: str, floor: str, *, at: datetime | None) -> None:
        super().__init__(scope, shown, prefix, floor)
        self.at = at
        self.position = self.order.position or ""
        self.views: dict[str, View | None] = {}
        self.keys = 0
        self.last = self.position
        self.open: str | None = None  # the folder that the listing is in; its view, None where it is not asked for
        self.view: View | None = None
        self.until = ""  # the last key before that folder
        self.pages = 0

    def take(self) -> tuple[str, ArtifactId, View | None]:
        """The next name, its artifact, and the view of it."""
        segment = self.order.pop()
        view = self.views.pop(segment)
        self.keys -= _size(view)
        name = decode(segment)
        return self.shown + name, ArtifactId(self.scope, name), view

    def fill(self) -> Steps[None]:
        awaited = self.order.awaited
        if self.keys > HELD and awaited is not None and awaited != self.open:
            yield from self._look_for(awaited)
            return
        page: Page
        (page,) = yield (List(self.scope.folder, self.position, deep=True),)
        done: list[str] = []
        folders = 0
        for segment, entries in groupby((entry for entry in page.entries if "/" in entry.name), key=_segment):
            folders += 1
            if segment != self.open:
                done += self._close()
                asked = segment not in self.order.settled and self.fits(segment)
                self.open, self.view, self.until, self.pages = segment, View() if asked else None, self.last, 0
            self.pages += 1
            listed = list(entries)
            self.last = listed[-1].name
            if self.view is not None:
                self.view.add(entry._replace(name=entry.name[len(segment) + 1 :]) for entry in listed)
        position = page.next
        if position is not None and self.open is not None and (self.view is None or (folders == 1 and self.at is None)):
            # Nothing is asked of this folder, or it has so many versions that the newest is found sooner by itself.
            position = self.last = max(position, f"{self.open}0")  # "0" comes next after "/"
            done += self._close(afresh=True)
        if position is None or self.passed(position):
            self.order.add(done + self._close(), None)
            return
        self.position = position
        self.order.add(done, position if self.open is None else self.until)

    def _close(self, *, afresh: bool = False) -> list[str]:
        """The folder ends here: its segment, if it can be one to show. *afresh*: its view is not whole."""
        segment, view = self.open, self.view
        self.open = self.view = None
        if segment is None or view is None:
            return []
        if afresh or (self.pages > 1 and self.at is None and _may_mislead(view)):
            view = None
        elif not view.payloads:
            return []
        self._hold(segment, view)
        return [segment]

    def _look_for(self, segment: str) -> Steps[None]:
        there = False
        if self.fits(segment):
            artifact = ArtifactId(self.scope, decode(segment))
            view = yield from (look(artifact) if self.at is None else look_all(artifact))
            there = view.top >= 0
            if there:
                self._hold(segment, view)
        self.order.settle(segment, there)

    def _hold(self, segment: str, view: View | None) -> None:
        self.views[segment] = view
        self.keys += _size(view)


def _segment(entry: Entry) -> str:
    return entry.name.partition("/")[0]


def _size(view: View | None) -> int:
    return 1 if view is None else 1 + len(view.payloads) + len(view.records)


def _may_mislead(view: View) -> bool:
    """Whether the newest version in a view that two pages brought may never have been the newest while they were listed.

    Then there was a higher one, in the first page's part and published after that was listed, or in the second's and
    deleted before. What was deleted has left a tombstone in the view. And what was published was claimed after the number
    next to the newest, whose claim is in the view; but for one that sorts before the newest because it has more digits.
    """
    return view.top > max(view.payloads, default=-1) or not str(view.top).strip("9")
