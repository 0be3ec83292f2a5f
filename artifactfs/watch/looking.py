"""Looking what is new: from listings to events.

A listing tells of which numbers something may have to be told; what that is, the record tells, which is read before
anything is. So a listing that misleads makes an event late, never wrong: an event is told when it is certain, and is
noted in the `State` in the same moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Literal, TypeAlias

from artifactfs.backends.base import Got, Stat
from artifactfs.errors import IntegrityError, UnsupportedFormat
from artifactfs.layout import ArtifactId
from artifactfs.protocol.ops import Emit, Get, Lazy, StatOf, Steps, together
from artifactfs.protocol.read import AT_ONCE, Found, confirm, surely_a_version
from artifactfs.records import FENCE_SIZE, Blob, Pointer, Removed, Tombstone, decode, is_fence
from artifactfs.watch.events import Event, Kind
from artifactfs.watch.state import State, each, holds, runs_of
from artifactfs.watch.walking import MOST_LOW, Place, Sight, Tail, walk

HELD = 50_000
"""Numbers of which something may be to tell that are held before they are told of: events are in order among so many."""

SURE_AFTER = 2.0
"""Seconds of store time after which a record of the same size and time is taken for the one that was read."""

LAST = float("inf")

What: TypeAlias = Literal["payload", "claim", "doubt", "gone", "erased"]
"""Why a number is looked at: a payload of which nothing was told; a record without one, of which nothing was; a live
version whose record may be a tombstone; one whose payload is gone; one that was erased, and whose number was given again."""


@dataclass(slots=True)
class Lead:
    """A number of which something may be to tell. `time` is what the listing tells of when that happened."""

    time: float
    path: str
    number: int
    artifact: ArtifactId = field(repr=False)
    what: What
    size: int = 0
    record: tuple[int, float] | None = None
    torn: bool = False
    top: int = -1

    @property
    def order(self) -> tuple[float, str, int]:
        return self.time, self.path, self.number


Verdict: TypeAlias = tuple[Kind | Literal["ended"], Blob | Pointer | Removed | None, float, bool] | None
"""What became of a number, the record, the time, and whether something of it is still stored. None: nothing to tell yet."""


class Lookout:
    """Looks what is new at one place, again and again. What it has told is in `state`; all else it can do without.

    *instant*: what one page of a listing shows was there at one instant. *stopped* is asked before each request.
    """

    def __init__(
        self, place: Place, state: State, *, instant: bool, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self.place, self.state, self.instant, self.stopped = place, state, instant, stopped
        self._known = self._clock = state.clock
        self._tails: dict[str, Tail] = {}
        self._read: dict[tuple[str, int], tuple[int, float]] = {}

    def look(self, within: Iterable[str] = ("",), *, brief: bool = False, silent: bool = False) -> Lazy[Event]:
        """Emit what is new below *within*. *silent*: take it for known instead.

        In the order in which it happened: by store time, then by path, then by number; what is not dated comes last.
        """
        leads: list[Lead] = []
        within = list(within)
        self._known = self.state.clock
        where_to = self._tail if brief else _everything
        for folder in within:
            met: set[str] = set()
            take = partial(self._meet, leads, met, silent)
            position: str | None = ""
            while position is not None:
                position = yield from walk(
                    self.place, folder, position, take, lambda: self.stopped() or len(leads) >= HELD, where_to
                )
                if self.stopped():
                    return
                if position is None:
                    known = self.state.live.keys() | self.state.ended.keys()
                    for path in sorted(path for path in known - met if path.startswith(folder)):
                        self._compare(leads, Sight(path), silent)
                if position is not None or len(leads) >= HELD:
                    yield from self._settle(leads, where_to, silent)
                    leads.clear()
        yield from self._settle(leads, where_to, silent)
        if within == [""] and not brief:
            self.state.clock = self._clock

    def _tail(self, sight: Sight) -> Tail | None:
        tail = self._tails.get(sight.path)
        if tail is None:
            return None
        tail.lows = {number for number in tail.lows if not self.state.settled(sight.path, number)}
        return tail if len(tail.lows) <= MOST_LOW else None

    def _meet(self, leads: list[Lead], met: set[str], silent: bool, sight: Sight) -> None:
        met.add(sight.path)
        self._compare(leads, sight, silent)

    # from listings to leads

    def _compare(self, leads: list[Lead], sight: Sight, silent: bool = False) -> None:
        """Add to *leads* what *sight* shows that is not told of in the state."""
        state, path, view = self.state, sight.path, sight.view
        artifact = self.place.artifact(path)
        if artifact is None:
            return
        self._clock = max(self._clock, view.newest_time)
        before = state.top(path)
        if sight.whole and view.top < before:  # a top's key never goes: the artifact was erased, and perhaps begun anew
            anew = {number for number, time in view.stored.items() if time > self._known}
            again = [number for number in each(state.live.get(path, ())) if number in anew]
            if again:
                leads += [Lead(LAST, path, number, artifact, "erased", top=before) for number in again]
            else:
                stale = {number for number, (_, time) in view.records.items() if time > self._known} | anew
                state.forget_ended(path, (view.payloads.keys() | view.records.keys()) - stale)
        numbers = view.payloads.keys() | view.records.keys()
        self._remember(sight, before, numbers)
        if silent:
            sure = sorted(number for number in view.payloads if surely_a_version(artifact, view, number))
            if sure:
                state.live[path] = runs_of(sure)
        live, ended = state.live.get(path, ()), state.ended.get(path, ())
        for number in numbers:
            if holds(ended, number):
                continue
            record = view.records.get(number)
            is_live = holds(live, number)
            lead: Lead | None = None
            if number in view.payloads:
                if not is_live:
                    size, time = view.payloads[number], view.stored[number]
                    lead = Lead(time, path, number, artifact, "payload", size, record)
                    lead.torn = sight.torn or not self.instant
                elif record is not None and artifact.custody.may_be_tombstone(artifact, number, record[0]):
                    lead = Lead(record[1], path, number, artifact, "doubt", record=record)
            elif is_live:
                if sight.whole:
                    lead = Lead(LAST if record is None else record[1], path, number, artifact, "gone", record=record)
            elif record is not None:
                lead = Lead(record[1], path, number, artifact, "claim", record=record)
            if lead is not None and (lead.what not in ("doubt", "claim") or self._read.get((path, number)) != record):
                leads.append(lead)
        if sight.whole:
            leads += [Lead(LAST, path, number, artifact, "gone") for number in each(live) if number not in numbers]
            if view.top >= before:
                state.forget_ended(path, numbers)

    def _remember(self, sight: Sight, before: int, numbers: Set[int]) -> None:
        """Keep what a brief walk has to look at in an artifact that does not fit on a page."""
        if not sight.whole:
            tail = self._tails[sight.path]
        elif sight.torn:
            tail = self._tails[sight.path] = Tail(before, set())
        else:
            self._tails.pop(sight.path, None)
            return
        top = max(sight.view.top, tail.top)
        absent = top - tail.top - sum(number > tail.top for number in numbers)
        if absent > MOST_LOW:
            del self._tails[sight.path]
            return
        tail.lows |= {number for number in numbers if not self.state.settled(sight.path, number)}
        if absent:
            tail.lows |= {number for number in range(tail.top + 1, top) if number not in numbers}
        tail.top = top

    # from leads to events

    def _settle(self, leads: list[Lead], where_to: Callable[[Sight], Tail | None], silent: bool) -> Lazy[Event]:
        """Find out what became of the numbers of *leads*, and emit it unless *silent*."""
        if not silent and any(lead.torn for lead in leads):
            leads = yield from self._again(leads, where_to)
        ordered = sorted(leads, key=lambda lead: lead.order)
        for start in range(0, len(ordered), AT_ONCE):
            if self.stopped():
                return
            some = ordered[start : start + AT_ONCE]
            for lead, verdict in zip(some, (yield from together(*map(self._judge, some))), strict=True):
                event = self._note(lead, verdict)
                if event is not None and not silent:
                    yield (Emit(event),)

    def _again(self, leads: list[Lead], where_to: Callable[[Sight], Tail | None]) -> Steps[list[Lead]]:
        """*leads* with those of torn sights after a second look: all that was published before what was seen at first.

        One page may have been listed before a version was published on it, and another after a later one was published
        there. What the second look shows and is not older than all that the first one showed is left for the next time.
        """
        torn = sorted({lead.path for lead in leads if lead.torn})
        again: list[Lead] = []
        for start in range(0, len(torn), AT_ONCE):
            walks = [
                walk(self.place, f"{path}/", "", partial(self._compare, again), lambda: False, where_to)
                for path in torn[start : start + AT_ONCE]
            ]
            yield from together(*walks)
        first: dict[str, dict[int, float]] = {path: {} for path in torn}
        for lead in leads:
            if lead.torn:
                first[lead.path][lead.number] = lead.time
        until = {path: max(times.values()) for path, times in first.items()}
        kept = [
            lead for lead in again if not lead.torn or lead.time <= until[lead.path] or lead.number in first[lead.path]
        ]
        return [lead for lead in leads if lead.path not in first] + kept

    def _judge(self, lead: Lead) -> Steps[Verdict]:
        """What became of the number of *lead*. Whether a version was taken away is believed without a key, as in reading."""
        artifact, number = lead.artifact, lead.number
        if lead.what == "payload":
            return (yield from self._published(lead))
        got: Got | None
        there: Stat | None = None
        if lead.what == "erased":
            got, there = yield (Get(artifact.record(lead.top)), StatOf(artifact.payload(lead.top)))
            return ("deleted", None, LAST, False) if got is None and there is None else None
        if lead.what == "gone":
            got, there = yield (Get(artifact.record(number)), StatOf(artifact.payload(number)))
        else:
            (got,) = yield (Get(artifact.record(number)),)
        stone = _tombstone(got)
        if stone is not None:
            assert got is not None
            if stone.reason == "fenced" and lead.what == "claim":
                return "ended", None, LAST, True
            at = got.modified if lead.record is None else max(got.modified, lead.record[1])  # a listing may be finer
            return "deleted", None, at, True
        if lead.what == "gone" and there is None:
            return "deleted", None, LAST, got is not None
        if lead.record is not None and self._clock - lead.record[1] > SURE_AFTER:
            self._read[lead.path, number] = lead.record
        return None

    def _published(self, lead: Lead) -> Steps[Verdict]:
        artifact, number = lead.artifact, lead.number
        seen = yield from confirm(artifact, number, lead.size)
        if seen == "fence":
            return "ended", None, lead.time, True
        if seen == "deleted":
            return "deleted", None, LAST if lead.record is None else lead.record[1], True
        if not isinstance(seen, Found):
            return None
        record = seen.record
        assert not isinstance(record, Tombstone)
        unread = not record.write_id and (bool(seen.raw) or not artifact.custody.takes_plain)
        if unread and lead.size == FENCE_SIZE:  # a fence over a claim that cannot be read here looks like a version
            got: Got | None
            (got,) = yield (Get(artifact.payload(number)),)
            if got is None or is_fence(got.data):
                return None
        return "removed" if isinstance(record, Removed) else "published", None if unread else record, lead.time, True

    def _note(self, lead: Lead, verdict: Verdict) -> Event | None:
        """Keep in the state what is told now."""
        if verdict is None:
            return None
        kind, record, at, remains = verdict
        self._read.pop((lead.path, lead.number), None)
        if kind in ("published", "removed"):
            self.state.publish(lead.path, lead.number)
        else:
            self.state.end(lead.path, lead.number, remains=remains)
        if kind == "ended":
            return None
        scope = lead.artifact.scope
        return Event(
            kind=kind,
            app=scope.app,
            user=scope.user,
            session=scope.session,
            name=lead.artifact.name,
            version=lead.number,
            record=record,
            at=None if at == LAST else datetime.fromtimestamp(at, UTC),
        )


def _everything(sight: Sight) -> None:
    """A walk that is not brief passes nothing over."""


def _tombstone(got: Got | None) -> Tombstone | None:
    if got is None:
        return None
    try:
        record = decode(got.data)
    except (IntegrityError, UnsupportedFormat):
        return None
    return record if isinstance(record, Tombstone) else None
