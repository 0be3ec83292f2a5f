"""A store in memory whose savers, deleters and watcher take effect one operation at a time, and what really happened there.

What happened is seen in the store itself, after each operation, by a few lines that share nothing with the watcher.
"""

from __future__ import annotations

import functools
import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from artifactfs import ArtifactError, Event
from artifactfs.backends.memory import MemoryBackend
from artifactfs.drivers import iterate, perform
from artifactfs.layout import ArtifactId, ScopeId
from artifactfs.protocol.compact import compact
from artifactfs.protocol.delete import delete_all, delete_version
from artifactfs.protocol.env import Env
from artifactfs.protocol.fence import settle
from artifactfs.protocol.listing import look_all
from artifactfs.protocol.ops import Create, Emit, Steps
from artifactfs.protocol.save import remove, save
from artifactfs.records import Removed, Tombstone, decode, encode, fits, is_fence
from artifactfs.watch.looking import Lookout
from artifactfs.watch.state import State
from artifactfs.watch.walking import Place

NAMES = ["a", "a.b", "c"]


known = functools.lru_cache(decode)


class Fact(NamedTuple):
    """That a version was published, or deleted."""

    what: str
    name: str
    number: int


@dataclass
class Flight:
    """A call that is under way: its generator, and the operations that it waits for."""

    steps: Steps[Any]
    batch: tuple[Any, ...] = ()
    answers: tuple[Any, ...] = ()


class World:
    """*page*: entries that a page of a listing of the watcher's holds; what else is done lists a thousand."""

    def __init__(self, page: int = 5) -> None:
        url = f"memory://{uuid.uuid4().hex}"
        self.backend, self.watched = MemoryBackend(url), MemoryBackend(url, page_size=page)
        clock = itertools.count(1)
        self.time: Callable[[], float] = lambda: float(next(clock))
        self.backend._root.time = self.time  # type: ignore[method-assign]
        self.scope = ScopeId("a", "u", "s")
        self.flights: list[Flight] = []
        self.there: dict[tuple[str, int], str] = {}
        self.facts: list[Fact] = []
        self.told: list[Event] = []
        self.token = State(self.scope.folder).encode()
        self.looking: Flight | None = None
        self.kill()

    def artifact(self, name: str) -> ArtifactId:
        return ArtifactId(self.scope, name)

    def env(self, **settings: Any) -> Env:
        return Env(wall=self.time, monotonic=self.time, **settings)

    def fill(self, name: str, count: int) -> None:
        """So many versions, saved long ago, which the watcher knows."""
        self.do(self.save(name))
        artifact = self.artifact(name)
        record = known(self.backend._root.objects[artifact.record(0)].data)
        for number in range(1, count):
            data = encode(msgspec.structs.replace(record, version=number))
            perform(
                (Create(artifact.record(number), data, ""), Create(artifact.payload(number), b"data", "")),
                self.backend,
                None,
            )
        self.observe()
        self.facts.clear()
        for _ in iterate(self.lookout.look(silent=True), self.watched):
            pass
        self.token = self.lookout.state.encode()

    # calls, which take effect when they are stepped

    def save(self, name: str, data: bytes = b"data") -> Flight:
        return self._fly(save(self.env(), self.artifact(name), data, mime_type="text/plain", metadata={}))

    def remove(self, name: str) -> Flight:
        return self._fly(remove(self.env(), self.artifact(name)))

    def delete(self, name: str, number: int | None = None) -> Flight:
        artifact = self.artifact(name)
        return self._fly(
            delete_all(self.env(), artifact) if number is None else delete_version(self.env(), artifact, number)
        )

    def fence(self, name: str) -> Flight:
        """Settle every claim, and take live ones for stale."""

        def steps() -> Steps[Any]:
            artifact = self.artifact(name)
            view = yield from look_all(artifact)
            for number in sorted(view.records.keys() - view.payloads.keys()):
                yield from settle(self.env(claim_ttl=-1.0), artifact, number, None if view.payloads else view.top)

        return self._fly(steps())

    def compact(self, name: str) -> None:
        """Clear every tombstone, when nobody else is under way."""
        while self.flights:
            self.finish(self.flights[0])
        self.finish(self._fly(compact(self.env(keep_tombstones=-1.0), self.artifact(name))))

    def _fly(self, steps: Steps[Any]) -> Flight:
        flight = Flight(steps)
        self.flights.append(flight)
        return flight

    def step(self, flight: Flight) -> None:
        """Let one operation of *flight* take effect."""
        try:
            if len(flight.answers) == len(flight.batch):
                flight.batch, flight.answers = flight.steps.send(flight.answers if flight.batch else None), ()
            flight.answers += perform((flight.batch[len(flight.answers)],), self.backend, None)
            self.observe()
            if len(flight.answers) == len(flight.batch):
                flight.batch, flight.answers = flight.steps.send(flight.answers), ()
        except (StopIteration, ArtifactError):
            self.flights.remove(flight)

    def finish(self, flight: Flight) -> None:
        while flight in self.flights:
            self.step(flight)

    def do(self, *flights: Flight) -> None:
        for flight in flights:
            self.finish(flight)

    # the watcher

    def look(self, *, brief: bool = False) -> None:
        """Begin a look, if none is under way."""
        if self.looking is None:
            self.looking = Flight(self.lookout.look(brief=brief))

    def look_further(self) -> None:
        """Let one operation of the look take effect, or one event be told."""
        flight = self.looking
        if flight is None:
            return
        try:
            if len(flight.answers) == len(flight.batch):
                flight.batch, flight.answers = flight.steps.send(flight.answers if flight.batch else None), ()
            op = flight.batch[len(flight.answers)]
            if isinstance(op, Emit):
                self.told.append(op.item)
                self.token = self.lookout.state.encode()
                flight.answers += (None,)
            else:
                flight.answers += perform((op,), self.watched, None)
        except StopIteration:
            self.looking = None

    def look_whole(self, *, brief: bool = False) -> list[Event]:
        """Look to the end; what was told."""
        before = len(self.told)
        self.look(brief=brief)
        while self.looking is not None:
            self.look_further()
        return self.told[before:]

    def kill(self) -> None:
        """A watcher anew, from the token of the last event that was told."""
        if self.looking is not None:
            self.looking.steps.close()
        self.looking = None
        state = State.decode(self.token, self.scope.folder, "it")
        self.lookout = Lookout(Place.of_scope(self.scope), state, instant=True)

    # what really happened

    def observe(self) -> None:
        objects = self.backend._root.objects
        now: dict[tuple[str, int], str] = {}
        for key, payload in objects.items():
            *_, name, number = key.split("/")
            if not number.isdigit() or "@" in key:
                continue
            record = known(objects[f"{key}.metadata"].data) if f"{key}.metadata" in objects else None
            if isinstance(record, Tombstone):
                continue
            if is_fence(payload.data) and (record is None or not fits(record, payload.data)):
                continue
            now[name, int(number)] = "removed" if isinstance(record, Removed) else "published"
        for (name, number), what in now.items() - self.there.items():
            self.facts.append(Fact(what, name, number))
        self.facts += [Fact("deleted", *version) for version in self.there.keys() - now.keys()]
        self.there = now

    def come_to_rest(self) -> None:
        """Everybody ends, and the watcher looks until nothing is new."""
        while self.flights:
            self.finish(self.flights[0])
        while self.looking is not None:
            self.look_further()
        quiet = looks = 0
        while quiet < 2:
            quiet = 0 if self.look_whole() else quiet + 1
            looks += 1
            assert looks < 50, "there is no end of what is told"

    def check(self) -> None:
        """What was told is what happened: each once, versions of a name in the order in which they were published."""
        told = [Fact(event.kind, event.name, event.version) for event in self.told]
        assert len(told) == len(set(told)), "told twice"
        assert set(told) <= set(self.facts), "told what never happened"
        deleted = {fact[1:] for fact in self.facts if fact.what == "deleted"}
        for fact in self.facts:
            if fact.what == "deleted":
                compacted = self.artifact(fact.name).record(fact.number) not in self.backend._root.objects
                was_told = any(one[1:] == fact[1:] for one in told if one.what != "deleted")
                assert fact in told or (compacted and not was_told), f"{fact} was not told"
            elif fact[1:] not in deleted:
                assert fact in told, f"{fact} was not told"
        for name in NAMES:
            happened = [fact for fact in self.facts if fact.name == name]
            published = [happened.index(one) for one in told if one.name == name and one.what != "deleted"]
            assert published == sorted(published), f"versions of {name} in another order"
        for place, one in enumerate(told):
            if one.what == "deleted":
                assert all(other[1:] != one[1:] for other in told[place + 1 :]), "told of after it was deleted"
