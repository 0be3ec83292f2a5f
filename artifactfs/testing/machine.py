"""A store against a model of a few lines, in any order of calls: a Hypothesis state machine.

    class TestMyStore(StoreMachine.TestCase):
        pass

with `StoreMachine.open` overridden to open the store that is to be proved. The model shares no code with the library.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from artifactfs.backends.base import WHOLE_LIMIT
from artifactfs.errors import ArtifactNotFound, Conflict, VersionNotFound
from artifactfs.protocol.env import Env
from artifactfs.store import ArtifactStore, Scope

PLACES = [("shop", "alice", "s1"), ("shop", "alice", "user"), ("shop", "alice", None)]
NAMES = ["a", "a/b", "user:a"]
PAYLOADS = {
    "empty": b"",
    "zero": b"0",
    "one": b"1",
    "text": b"some more",
    "fence": b"artifactfs fence0123456789abcdef",
    "long": bytes(WHOLE_LIMIT + 1),
}

Address = tuple[str, str, str | None, str]


class Version(NamedTuple):
    """What the model knows of a version: its bytes, or None for a removal."""

    data: bytes | None
    at: datetime


class Kept:
    """What the model knows of an artifact: the versions that are there, and the highest number that was given."""

    def __init__(self) -> None:
        self.versions: dict[int, Version] = {}
        self.tags: dict[str, int] = {}
        self.highest = -1
        self.skipped = 0

    @property
    def loadable(self) -> list[int]:
        return sorted(number for number, version in self.versions.items() if version.data is not None)

    @property
    def newest(self) -> int | None:
        return max(self.versions, default=None)

    @property
    def shown(self) -> bool:
        return self.newest is not None and self.versions[self.newest].data is not None


class StoreMachine(RuleBasedStateMachine):
    """Saves, reads, listings, tags, removals and deletions, in any order, with the store opened anew in between."""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[Address, Kept] = {}
        self.where = uuid.uuid4().hex

    def open(self) -> ArtifactStore:
        """The store that is to be proved: empty for a new `where`, and the same one each time that it is asked for."""
        return ArtifactStore(f"memory://{self.where}")

    @initialize()
    def begin(self) -> None:
        self.store = self.open()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()

    def _at(self, place: int, name: str) -> tuple[Scope, str, Kept]:
        """Scope and name as a caller gives them, ``user:`` included, and what the model knows of the artifact."""
        app, user, session = PLACES[place]
        home = None if name.startswith("user:") else session
        address = (app, user, home, name.removeprefix("user:"))
        return self.store.scope(app, user, session), name, self.model.setdefault(address, Kept())

    places = st.integers(0, len(PLACES) - 1)
    names = st.sampled_from(NAMES)
    payloads = st.sampled_from([name for name in PAYLOADS if name != "long"] * 5 + ["long"])

    @rule(place=places, name=names, payload=payloads, streamed=st.booleans())
    def save(self, place: int, name: str, payload: str, streamed: bool) -> None:
        data = PAYLOADS[payload]
        scope, name, kept = self._at(place, name)
        record = scope.save(name, iter([data]) if streamed else data, metadata={"size": len(data)})
        self._given(kept, record, data)

    @rule(place=places, name=names, payload=payloads, offset=st.integers(-2, 1), known=st.booleans())
    def save_if(self, place: int, name: str, payload: str, offset: int, known: bool) -> None:
        scope, name, kept = self._at(place, name)
        wanted = kept.newest if known and kept.newest is not None else max(kept.highest + offset, 0)
        self._expecting(scope, name, kept, PAYLOADS[payload], wanted, wanted == kept.newest)

    @rule(place=places, name=names, payload=payloads)
    def save_if_absent(self, place: int, name: str, payload: str) -> None:
        scope, name, kept = self._at(place, name)
        self._expecting(scope, name, kept, PAYLOADS[payload], "absent", not kept.shown)

    def _expecting(
        self, scope: Scope, name: str, kept: Kept, data: bytes, expect: int | Literal["absent"], fulfilled: bool
    ) -> None:
        if fulfilled:
            self._given(kept, scope.save(name, data, expect=expect), data)
            return
        with pytest.raises(Conflict):
            scope.save(name, data, expect=expect)
        kept.skipped += 1  # a claim that turned out to follow the wrong version ends its number

    @rule(place=places, name=names, payload=payloads, fails=st.booleans())
    def write(self, place: int, name: str, payload: str, fails: bool) -> None:
        data = PAYLOADS[payload]
        scope, name, kept = self._at(place, name)
        file = scope.open(name, "wb")
        file.write(data)
        if fails:
            file.discard()
        else:
            file.close()
            self._given(kept, file.record, data)
        kept.skipped += fails

    def _given(self, kept: Kept, record: Any, data: bytes | None) -> None:
        assert kept.highest < record.version <= kept.highest + 1 + kept.skipped, "a number was given twice, or left out"
        assert record.size_bytes == len(data or b"")
        kept.highest, kept.skipped = record.version, 0
        kept.versions[record.version] = Version(data, record.timestamp)

    @rule(place=places, name=names, back=st.none() | st.integers(-4, -1) | st.integers(0, 5))
    def read(self, place: int, name: str, back: int | None) -> None:
        scope, name, kept = self._at(place, name)
        number = kept.newest if back is None else back if back >= 0 else self._nth(kept, back)
        version = None if number is None else kept.versions.get(number)
        if version is None or version.data is None:
            for gone in (scope.load, scope.stat):
                with pytest.raises((ArtifactNotFound, VersionNotFound)):
                    gone(name, back)
            return
        loaded = scope.load(name, back)
        assert (loaded.data, loaded.record.version) == (version.data, number)
        assert scope.stat(name, back) == loaded.record
        with scope.open(name, version=back) as file:
            file.seek(-min(3, len(version.data)), 2)
            assert file.read() == version.data[-3:]

    @staticmethod
    def _nth(kept: Kept, back: int) -> int | None:
        return kept.loadable[back] if -back <= len(kept.loadable) else None

    @rule(place=places, name=names)
    def look_back(self, place: int, name: str) -> None:
        scope, name, kept = self._at(place, name)
        assert scope.versions(name) == kept.loadable
        history = [(record.version, record.timestamp) for record in scope.history(name)]
        assert history == [(number, kept.versions[number].at) for number in sorted(kept.versions, reverse=True)]

    @rule(place=places, name=names)
    def remove(self, place: int, name: str) -> None:
        scope, name, kept = self._at(place, name)
        if kept.shown:
            self._given(kept, scope.remove(name), None)
        else:
            with pytest.raises(ArtifactNotFound):
                scope.remove(name)

    @rule(place=places, name=names, number=st.none() | st.integers(-2, 6))
    def delete(self, place: int, name: str, number: int | None) -> None:
        scope, name, kept = self._at(place, name)
        if number is None:
            gone = set(kept.versions)
        else:
            one = number if number >= 0 else self._nth(kept, number)
            gone = {one} & kept.versions.keys() if one is not None else set()
        if gone:
            scope.delete(name, number)
        else:
            with pytest.raises((ArtifactNotFound, VersionNotFound)):
                scope.delete(name, number)
        for each in gone:
            del kept.versions[each]

    @rule(place=places, name=names, tag=st.sampled_from(["prod", "test"]), number=st.none() | st.integers(-3, 5))
    def tag(self, place: int, name: str, tag: str, number: int | None) -> None:
        scope, name, kept = self._at(place, name)
        one = kept.newest if number is None else number if number >= 0 else self._nth(kept, number)
        if one in kept.loadable:
            assert scope.tag(name, tag, number) == one
            kept.tags[tag] = one
        else:
            with pytest.raises((ArtifactNotFound, VersionNotFound)):
                scope.tag(name, tag, number)

    @rule(place=places, name=names, tag=st.sampled_from(["prod", "test"]))
    def untag(self, place: int, name: str, tag: str) -> None:
        scope, name, kept = self._at(place, name)
        if kept.tags.pop(tag, None) is not None:
            scope.untag(name, tag)
        else:
            with pytest.raises(VersionNotFound):
                scope.untag(name, tag)

    @rule(place=places, name=names)
    def read_by_tag(self, place: int, name: str) -> None:
        scope, name, kept = self._at(place, name)
        assert scope.tags(name) == kept.tags
        for tag, number in kept.tags.items():
            if number in kept.loadable:
                assert scope.load(name, tag).data == kept.versions[number].data
            else:
                with pytest.raises((ArtifactNotFound, VersionNotFound)):
                    scope.load(name, tag)

    @rule(place=places)
    def list_names(self, place: int) -> None:
        app, user, session = PLACES[place]
        own = {address[3] for address, kept in self.model.items() if kept.shown and address[:3] == (app, user, session)}
        if session is not None:
            own |= {
                f"user:{address[3]}"
                for address, kept in self.model.items()
                if kept.shown and address[:3] == (app, user, None)
            }
        names = list(self.store.scope(app, user, session).names())
        assert len(names) == len(own)
        assert set(names) == own

    @rule()
    def list_scopes(self) -> None:
        """Where something was saved, and perhaps where a save was begun."""
        saved = {address[:3] for address, kept in self.model.items() if kept.highest >= 0}
        begun = saved | {address[:3] for address, kept in self.model.items() if kept.skipped}
        assert {user for _, user, _ in saved} <= set(self.store.users("shop")) <= {user for _, user, _ in begun}
        sessions = set(self.store.sessions("shop", "alice")) | {None}
        assert {one for _, _, one in saved} <= sessions <= {one for _, _, one in begun} | {None}

    @rule(hints=st.booleans())
    def reopen(self, hints: bool) -> None:
        """Another store object, as another process has one; or one that lost all that it remembers."""
        if hints:
            self.store._core.forget_all()
        else:
            self.store.close()
            self.store = self.open()

    @rule()
    def compact(self) -> None:
        self.store._core.env = Env(keep_tombstones=-60.0)
        self.store.compact()
