"""A watch tells every new version and every deletion once, in order within a name, across restarts."""

from __future__ import annotations

import asyncio
import collections
import gc
import json
import pickle
import re
import subprocess
import sys
import threading
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from artifactfs import (
    AccessDenied,
    ArtifactStore,
    AsyncArtifactStore,
    BackendUnavailable,
    Blob,
    Event,
    InvalidConfig,
    InvalidRef,
    Scope,
)
from artifactfs.backends.local import LocalBackend
from artifactfs.backends.memory import MemoryBackend
from artifactfs.drivers import call, iterate
from artifactfs.keys.keyring import new_key
from artifactfs.records import encode, fence_payload
from artifactfs.testing.counting import Counting, store_over
from artifactfs.watch import local, looking
from artifactfs.watch.looking import Lookout
from artifactfs.watch.state import State, each, flipped, highest, holds, runs_of
from artifactfs.watch.walking import Place

from .servers import Server
from .watch_workers import opened
from .watched_world import NAMES, World

SOON = 0.01
LATER = 3600.0

ROOT = Path(__file__).resolve().parent.parent

names = st.sampled_from(NAMES)
times = st.integers(1, 12)


# --- every interleaving -----------------------------------------------------------------------------------------------


class WatchMachine(RuleBasedStateMachine):
    """Savers, deleters, fences and compaction beside a watcher that is killed and resumed, an operation at a time."""

    page = 5

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.page)

    @rule(name=names)
    def save(self, name: str) -> None:
        self.world.save(name)

    @rule(name=names, data=st.sampled_from([b"", b"x", b"artifactfs fence0123456789abcdef"]))
    def save_at_once(self, name: str, data: bytes) -> None:
        self.world.do(self.world.save(name, data))

    @rule(name=names)
    def remove(self, name: str) -> None:
        self.world.remove(name)

    @rule(name=names, number=st.integers(0, 6))
    def delete(self, name: str, number: int) -> None:
        self.world.delete(name, number)

    @rule(name=names)
    def delete_all(self, name: str) -> None:
        self.world.delete(name)

    @rule(name=names)
    def fence(self, name: str) -> None:
        self.world.fence(name)

    @rule(name=names)
    def compact(self, name: str) -> None:
        self.world.compact(name)

    @rule(which=st.integers(0, 5), count=times)
    def go_on(self, which: int, count: int) -> None:
        for _ in range(count):
            if self.world.flights:
                self.world.step(self.world.flights[which % len(self.world.flights)])

    @rule(brief=st.booleans(), count=times)
    def look(self, brief: bool, count: int) -> None:
        self.world.look(brief=brief)
        for _ in range(count):
            self.world.look_further()

    @rule()
    def look_whole(self) -> None:
        self.world.look_whole()

    @rule()
    def kill(self) -> None:
        self.world.kill()

    def teardown(self) -> None:
        self.world.come_to_rest()
        self.world.check()


class OnePage(WatchMachine):
    page = 1000


class ManyVersions(WatchMachine):
    """An artifact of so many versions that a brief look goes past most of them."""

    page = 50

    def __init__(self) -> None:
        super().__init__()
        self.world.fill("a", 205)


TestManyPages = WatchMachine.TestCase
TestOnePage = OnePage.TestCase
TestManyVersions = ManyVersions.TestCase
_usual = settings()
for _case, _part in ((TestManyPages, 2), (TestOnePage, 2), (TestManyVersions, 10)):
    _case.settings = settings(
        max_examples=_usual.max_examples // _part, stateful_step_count=min(_usual.stateful_step_count, 60)
    )
del _case


def _is_caught(why: str) -> None:
    seen = settings(
        derandomize=True,
        database=None,
        max_examples=500,
        stateful_step_count=40,
        phases=[Phase.generate],
        deadline=None,
    )
    with pytest.raises(AssertionError, match=why):
        run_state_machine_as_test(WatchMachine, settings=seen)


def test_a_watcher_that_forgets_what_has_ended_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    end = State.end
    monkeypatch.setattr(
        State, "end", lambda self, artifact, number, remains=True: end(self, artifact, number, remains=False)
    )
    _is_caught("no end|told twice")


def _published_while_pages_are_listed() -> World:
    """Two versions whose claims are on two pages are published after the first page was listed, and before the second."""
    world = World(page=9)
    world.do(*(world.save("a") for _ in range(4)))
    world.look_whole()
    late, later = world.save("a"), world.save("a")
    for flight in (late, later):
        while not any(key.endswith(f"/{4 + (flight is later)}.metadata") for key in world.backend._root.objects):
            world.step(flight)
    world.look()
    world.look_further()
    world.do(late, later)
    world.come_to_rest()
    return world


def test_what_two_pages_share_is_told_in_the_order_in_which_it_was_published() -> None:
    world = _published_while_pages_are_listed()
    assert [event.version for event in world.told] == [0, 1, 2, 3, 4, 5]
    world.check()


def test_a_watcher_that_does_not_look_again_at_what_two_pages_share_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def once(self: Any, leads: Any, where_to: Any) -> Any:
        return leads
        yield

    monkeypatch.setattr(looking.Lookout, "_again", once)
    with pytest.raises(AssertionError, match="in another order"):
        _published_while_pages_are_listed().check()


# --- killed and resumed -----------------------------------------------------------------------------------------------


def _process(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.watch_workers", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def _each_version_is_told_once(url: str, options: dict[str, Any], saves: int) -> dict[str, int]:
    """4 savers, and a watcher that is killed three times while they save. Each line that it told is kept, torn ones not."""
    place = url, json.dumps(options)
    savers = [_process("save", *place, str(who), str(saves // 4)) for who in range(4)]
    told: list[tuple[str, str, int]] = []
    since = "start"
    for kill in range(3):
        with _process("watch", *place, since) as watcher:
            assert watcher.stdout is not None
            lines = [watcher.stdout.readline() for _ in range(saves // 8)]
            watcher.kill()
            lines += watcher.stdout.readlines()
        whole = [json.loads(line) for line in lines if line.endswith("\n")]
        assert len(whole) >= saves // 8, kill
        since = whole[-1][3]
        told += [(kind, name, version) for kind, name, version, _ in whole]
    running = sum(saver.poll() is None for saver in savers)
    saved = [tuple(json.loads(line)) for saver in savers for line in saver.communicate()[0].splitlines()]
    assert all(saver.returncode == 0 for saver in savers)
    scope = opened(*place)
    last = scope.save("the last", b"")
    with scope.watch(since, every=0.05) as events:
        for event in events:
            if event.name == "the last":
                break
            told.append((event.kind, event.name, event.version))
    assert last.version == 0
    assert len(told) == len(set(told))
    deleted = {one[1:] for one in saved if one[0] == "deleted"}
    assert set(told) <= set(saved)
    assert {one for one in saved if one[0] == "deleted" or one[1:] not in deleted} <= set(told)
    assert sum(one[0] == "published" for one in saved) == saves
    return {"saved": saves, "deleted": len(deleted), "told": len(told), "savers running at the last kill": running}


def test_each_version_is_told_once_by_a_watcher_that_is_killed_and_resumed_three_times(tmp_path: Path) -> None:
    _each_version_is_told_once(str(tmp_path / "store"), {"durability": "none"}, 160)


@pytest.mark.nightly
def test_each_of_a_thousand_versions_is_told_once_on_a_disk(tmp_path: Path) -> None:
    print(_each_version_is_told_once(str(tmp_path / "store"), {}, 1000))


@pytest.mark.nightly
@pytest.mark.server("minio")
def test_each_of_a_thousand_versions_is_told_once_on_minio(minio: Server) -> None:
    options = {"endpoint_url": minio.url, "key": minio.key, "secret": minio.secret}
    print(_each_version_is_told_once(minio.bucket(), options, 1000))


# --- what is told -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "disk"])
def scope(request: pytest.FixtureRequest, tmp_path: Path) -> Scope:
    """A scope that nothing was saved in."""
    url = str(tmp_path / "store") if request.param == "disk" else f"memory://{uuid.uuid4().hex}"
    return ArtifactStore(url).scope("shop", "alice", "s1")


def told(scope: Any, since: str | None, count: int) -> list[tuple[str, str, int]]:
    """The next events, so many."""
    with scope.watch(since, every=SOON) as events:
        return [brief(next(events)) for _ in range(count)]


def brief(event: Event) -> tuple[str, str, int]:
    return event.kind, event.name, event.version


def test_a_watch_begins_now_and_tells_what_comes(scope: Scope) -> None:
    scope.save("old", b"0")
    scope.remove("old")
    scope.save("deleted", b"0")
    scope.delete("deleted")
    with scope.watch(every=SOON) as events:
        saved = scope.save("new", b"1", metadata={"by": "a test"})
        event = next(events)
        assert brief(event) == ("published", "new", 0)
        assert (event.app, event.user, event.session, event.record) == ("shop", "alice", "s1", saved)
        assert event.at is not None and abs((event.at - saved.timestamp).total_seconds()) < 60
        pointer = scope.point("new", "https://example.com/a")
        assert next(events).record == pointer
        scope.remove("new")
        event = next(events)
        assert brief(event) == ("removed", "new", 2) and event.record is not None and event.record.size_bytes == 0
        scope.delete("new", 0)
        event = next(events)
        assert brief(event) == ("deleted", "new", 0) and event.record is None and event.at is not None
        scope.save("old", b"2")
        assert brief(next(events)) == ("published", "old", 2)


def test_a_watch_from_the_start_tells_everything(scope: Scope) -> None:
    for name in ("d", "a", "b", "c"):
        scope.save(name, b"bytes")
    scope.delete("d", 0)
    expected = [("published", "a", 0), ("published", "b", 0), ("published", "c", 0), ("deleted", "d", 0)]
    assert told(scope, "start", 4) == expected


def test_what_a_look_finds_is_told_by_store_time_across_names() -> None:
    world = World()
    for name in ("c", "a", "c", "a.b"):
        world.do(world.save(name))
    world.do(world.delete("a"), world.save("a"))
    seen = [brief(event) for event in world.look_whole()]
    assert seen == [
        ("published", "c", 0), ("published", "c", 1), ("published", "a.b", 0), ("deleted", "a", 0), ("published", "a", 1)
    ]  # fmt: skip


def test_a_token_goes_on_behind_the_event_that_it_was_taken_after(scope: Scope) -> None:
    for _ in range(5):
        scope.save("a", b"bytes")
    with scope.watch("start", every=SOON) as events:
        assert [next(events).version for _ in range(3)] == [0, 1, 2]
        token = events.token
    assert token is not None and re.fullmatch(r"[A-Za-z0-9_-]+", token)
    assert told(scope, token, 2) == [("published", "a", 3), ("published", "a", 4)]
    assert told(pickle.loads(pickle.dumps(scope.store)).scope("shop", "alice", "s1"), token, 1) == [
        ("published", "a", 3)
    ] or (scope.store.url.startswith("memory"))


def test_a_version_that_is_published_late_is_told_late_and_not_left_out() -> None:
    world = World(page=1000)
    late, early = world.save("a"), world.save("a")
    while not any(key.endswith("/0.metadata") for key in world.backend._root.objects):
        world.step(late)
    world.do(early)
    assert [event.version for event in world.look_whole()] == [1]
    world.kill()
    assert world.look_whole() == []
    world.do(late)
    assert [event.version for event in world.look_whole()] == [0]
    world.check()


def test_versions_are_told_by_the_time_of_their_publication_within_a_look() -> None:
    world = World(page=1000)
    late, early = world.save("a"), world.save("a")
    while not any(key.endswith("/0.metadata") for key in world.backend._root.objects):
        world.step(late)
    world.do(early, late)
    assert [event.version for event in world.look_whole()] == [1, 0]


def test_what_was_published_and_deleted_between_two_looks_is_told_as_deleted_alone() -> None:
    world = World()
    world.do(world.save("a"), world.save("a"))
    world.do(world.delete("a", 1))
    assert [brief(event) for event in world.look_whole()] == [("published", "a", 0), ("deleted", "a", 1)]
    world.do(world.save("a"))
    world.do(world.delete("a", 2))
    world.do(world.save("a"))
    world.compact("a")
    assert [brief(event) for event in world.look_whole()] == [("published", "a", 3)]
    assert world.look_whole() == []


def test_more_than_is_held_at_once_is_told_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "HELD", 4)
    world = World(page=3)
    for turn in range(20):
        world.do(world.save(NAMES[turn % 3]))
    seen = world.look_whole()
    assert len(seen) == 20
    world.check()
    world.do(world.delete("a"), world.delete("c"))
    assert len(world.look_whole()) == 13
    world.check()


def test_fences_and_claims_are_no_events() -> None:
    world = World()
    flight = world.save("a")
    for _ in range(2):
        world.step(flight)
    assert world.look_whole() == []
    world.do(world.fence("a"))
    assert world.look_whole() == []
    world.do(flight)
    assert [brief(event) for event in world.look_whole()] == [("published", "a", 1)]


def test_what_is_erased_is_told_as_deleted_and_what_is_saved_after_as_new(scope: Scope) -> None:
    for _ in range(3):
        scope.save("a", b"bytes")
    scope.save("b", b"bytes")
    with scope.watch(every=SOON) as events:
        scope.store.erase("shop", "alice", "s1", "a")
        scope.save("a", b"other bytes")
        scope.save("b", b"bytes")
        seen = [brief(next(events)) for _ in range(5)]
        assert sorted(seen) == [
            ("deleted", "a", 0), ("deleted", "a", 1), ("deleted", "a", 2), ("published", "a", 0), ("published", "b", 1)
        ]  # fmt: skip
        scope.store.erase("shop", "alice", "s1")
        assert sorted(brief(next(events)) for _ in range(3)) == [
            ("deleted", "a", 0),
            ("deleted", "b", 0),
            ("deleted", "b", 1),
        ]
        assert State.decode(str(events.token), "shop/alice/s1/", "").live == {}


def test_a_newest_version_that_is_taken_away_by_hand_is_deleted_and_no_other(tmp_path: Path) -> None:
    scope = ArtifactStore(tmp_path).scope("shop", "alice", "s1")
    for _ in range(3):
        scope.save("a", b"bytes")
    with scope.watch(every=SOON) as events:
        for path in (tmp_path / "shop/alice/s1/a").glob("2*"):
            path.unlink()
        assert brief(next(events)) == ("deleted", "a", 2)
        scope.save("b", b"")
        assert brief(next(events)) == ("published", "b", 0)


def test_a_session_is_watched_without_what_sessions_share_and_a_store_with_it(scope: Scope) -> None:
    store = scope.store
    with scope.watch(every=SOON) as events, store.watch(every=SOON) as all_events:
        scope.save("user:logo", b"shared")
        scope.save("report", b"own")
        scope.tag("report", "prod", 0)
        store.scope("other", "bob", "user").save("x", b"in a session that is called user")
        assert brief(next(events)) == ("published", "report", 0)
        seen = [next(all_events) for _ in range(3)]
    assert sorted((event.app, event.user, event.session or "", event.name) for event in seen) == [
        ("other", "bob", "user", "x"),
        ("shop", "alice", "", "logo"),
        ("shop", "alice", "s1", "report"),
    ]
    assert told(store.scope("shop", "alice"), "start", 1) == [("published", "logo", 0)]


def test_users_that_a_store_hides_are_told_as_it_calls_them() -> None:
    store = ArtifactStore(f"memory://{uuid.uuid4().hex}", scope_secret="sixteen or more bytes")
    scope = store.scope("shop", "alice", "s1")
    scope.save("a", b"")
    with scope.watch("start") as events:
        assert next(events).user == "alice"
    with store.watch("start") as events:
        assert re.fullmatch("[0-9a-f]{32}", next(events).user)


# --- what cannot be read ----------------------------------------------------------------------------------------------


def test_without_keys_sealed_versions_are_told_without_their_records() -> None:
    url = f"memory://{uuid.uuid4().hex}"
    scope = ArtifactStore(url, keys=new_key("v1")).scope("shop", "alice", "s1")
    other = ArtifactStore(url, read_only=True).scope("shop", "alice", "s1")
    with scope.watch(every=SOON) as with_keys, other.watch(every=SOON) as without:
        saved = scope.save("a", b"secret")
        removed = scope.remove("a")
        assert [next(with_keys).record for _ in range(2)] == [saved, removed]
        seen = [next(without) for _ in range(2)]
        assert [*map(brief, seen)] == [("published", "a", 0), ("removed", "a", 1)]
        assert [one.record for one in seen] == [None, None]
        scope.delete("a", 0)
        assert brief(next(without)) == ("deleted", "a", 0)


def test_a_version_that_was_deleted_before_it_was_seen_is_told_without_keys() -> None:
    url = f"memory://{uuid.uuid4().hex}"
    scope = ArtifactStore(url, keys=new_key("v1")).scope("shop", "alice", "s1")
    scope.save("a", b"secret")
    scope.delete("a")
    assert told(ArtifactStore(url).scope("shop", "alice", "s1"), "start", 1) == [("deleted", "a", 0)]


def test_a_fence_over_a_claim_that_cannot_be_read_is_not_taken_for_a_version() -> None:
    url = f"memory://{uuid.uuid4().hex}"
    scope = ArtifactStore(url, keys=new_key("v1")).scope("shop", "alice", "s1")
    artifact, backend = scope.id.artifact("a"), MemoryBackend(url)
    scope.save("a", b"secret")
    scope.save("a", b"secret")
    call(backend, partial(backend.put, artifact.payload(0), fence_payload(), ""))
    assert told(ArtifactStore(url).scope("shop", "alice", "s1"), "start", 1) == [("published", "a", 1)]


def test_a_damaged_record_is_told_without_and_what_follows_with(tmp_path: Path) -> None:
    scope = ArtifactStore(tmp_path).scope("shop", "alice", "s1")
    for _ in range(2):
        scope.save("a", b"bytes")
    (tmp_path / "shop/alice/s1/a/0.metadata").write_bytes(b"{")
    (tmp_path / "shop/alice/s1/a/2").write_bytes(b"of another program")
    (tmp_path / "shop/alice/s1/a/not a number").write_bytes(b"")
    (tmp_path / "shop/alice/s1/%7A/").mkdir()
    (tmp_path / "shop/alice/s1/%7A/0").write_bytes(b"no spelling of a name")
    with scope.watch("start", every=SOON) as events:
        first, second, third = (next(events) for _ in range(3))
    assert sorted(map(brief, (first, second, third))) == [("published", "a", number) for number in range(3)]
    records = {event.version: event.record for event in (first, second, third)}
    assert records[0] is None and isinstance(records[1], Blob)
    assert isinstance(records[2], Blob) and records[2].size_bytes == 18


# --- tokens -----------------------------------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 30)), st.integers(0, 30))
def test_runs_are_a_set_of_numbers(numbers: set[int], number: int) -> None:
    runs = runs_of(sorted(numbers))
    assert list(each(runs)) == sorted(numbers)
    assert holds(runs, number) == (number in numbers)
    assert highest(runs) == max(numbers, default=-1)
    assert flipped(runs, number) == runs_of(sorted(numbers ^ {number}))


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=5), st.tuples(st.sets(st.integers(0, 99)), st.sets(st.integers(0, 99)))
    )
)
def test_a_token_holds_the_state(told: dict[str, tuple[set[int], set[int]]]) -> None:
    state = State("a/u/s/")
    for name, (live, ended) in told.items():
        for number in live:
            state.publish(name, number)
        for number in ended:
            state.end(name, number)
    state.clock = 12.5
    again = State.decode(state.encode(), "a/u/s/", "")
    assert (again.live, again.ended, again.clock) == (state.live, state.ended, 12.5)


@pytest.mark.parametrize("token", ["", "w1", "w1AAAA", "w2eJx", "now", "w1é", 7, "w1" + "A" * 1000])
def test_what_is_no_token_is_refused(token: Any) -> None:
    with pytest.raises(InvalidRef, match="token"):
        ArtifactStore("memory://tokens").scope("shop", "alice", "s1").watch(token)


def test_a_token_that_was_cut_off_or_is_of_another_scope_is_refused(scope: Scope) -> None:
    scope.save("a", b"")
    with scope.watch() as events:
        token = str(events.token)
    for end in range(2, len(token)):
        with pytest.raises(InvalidRef, match="token"):
            scope.watch(token[:end])
    with pytest.raises(InvalidRef, match="of something else than shop/alice/s2"):
        scope.store.scope("shop", "alice", "s2").watch(token)
    with pytest.raises(InvalidRef, match="of something else"):
        scope.store.watch(token)
    assert scope.watch(token).token is not None


def test_a_token_grows_with_names_and_gaps_and_not_with_versions() -> None:
    state = State("a/u/s/")
    for name in range(1000):
        state.live[f"report-{name:04}.csv"] = (0, 100)
    size = len(state.encode())
    assert size < 20 * 1000
    for name in state.live:
        state.live[name] = (0, 100_000)
    assert abs(len(state.encode()) - size) < size // 10


@pytest.mark.parametrize("every", [0, -1, True, "5", float("nan"), float("inf"), None])
def test_an_interval_that_is_none_is_refused(every: Any) -> None:
    with pytest.raises(InvalidConfig, match="seconds between two looks"):
        ArtifactStore("memory://every").watch(every=every)


# --- what it costs ----------------------------------------------------------------------------------------------------


class Counted:
    """A scope in memory that is full of versions, and looks whose requests are counted."""

    def __init__(self, versions: dict[str, int]) -> None:
        memory = MemoryBackend(f"memory://{uuid.uuid4().hex}")
        self.scope = ArtifactStore(memory.url).scope("shop", "alice", "s1")
        for name, count in versions.items():
            record = self.scope.save(name, b"bytes")
            for number in range(1, count):
                artifact = self.scope.id.artifact(name)
                data = encode(msgspec.structs.replace(record, version=number))
                call(memory, partial(memory.create, artifact.record(number), data, ""))
                call(memory, partial(memory.create, artifact.payload(number), b"bytes", ""))
        self.backend = Counting(memory)
        self.lookout = Lookout(Place.of_scope(self.scope.id), State(self.scope.id.folder), instant=True)

    def look(self, **how: Any) -> tuple[list[Event], dict[str, int]]:
        """What is told, and how many requests of each kind that took."""
        self.backend.taken()
        events = list(iterate(self.lookout.look(**how), self.backend))
        return events, dict(collections.Counter(call.method for call in self.backend.taken()))


def test_a_look_takes_one_listing_for_a_thousand_keys_and_one_read_for_each_event() -> None:
    counted = Counted({"a": 1100, "b": 3, "c": 400})  # 3,006 keys
    assert counted.look(silent=True) == ([], {"list": 4})
    assert counted.look() == ([], {"list": 4})
    counted.scope.save("b", b"more bytes")
    counted.scope.save("d", b"more bytes")
    counted.scope.delete("c", 7)
    events, requests = counted.look()
    assert sorted(map(brief, events)) == [("deleted", "c", 7), ("published", "b", 3), ("published", "d", 0)]
    assert requests == {"list": 4, "get": 3, "stat": 1}


def test_a_brief_look_goes_past_what_is_known_of_artifacts_of_many_versions() -> None:
    counted = Counted({"a": 5000, "b": 3, "c": 12_000})  # 34,006 keys
    assert counted.look(silent=True) == ([], {"list": 35})
    assert counted.look(brief=True) == ([], {"list": 5})
    counted.scope.save("a", b"more bytes")
    counted.scope.save("c", b"more bytes")
    counted.scope.delete("c", 7)
    events, requests = counted.look(brief=True)
    assert [brief(event) for event in events] == [("published", "a", 5000), ("published", "c", 12_000)]
    assert requests == {"list": 9, "get": 2}
    events, _ = counted.look()
    assert [brief(event) for event in events] == [("deleted", "c", 7)]


def test_a_brief_look_finds_what_is_published_late_and_what_has_one_more_digit() -> None:
    world = World(page=150)
    for _ in range(97):
        world.do(world.save("a"))
    world.look_whole()
    late = world.save("a")
    while not any(key.endswith("/97.metadata") for key in world.backend._root.objects):
        world.step(late)
    for number in range(98, 120):
        world.do(world.save("a"))
        assert [event.version for event in world.look_whole(brief=True)] == [number]
    world.do(late)
    assert [event.version for event in world.look_whole(brief=True)] == [97]


def test_tombstones_that_are_known_are_not_read_again() -> None:
    counted = Counted({"a": 30})
    for number in range(20):
        counted.scope.delete("a", number)
    counted.scope.remove("a")
    events, _ = counted.look()
    assert len(events) == 31
    counted.scope.save("b", b"")
    counted.backend.inner._root.clock += 10  # as though later
    counted.scope.save("b", b"")
    counted.look()
    counted.look()
    assert counted.look() == ([], {"list": 1})


# --- a store that does not answer -------------------------------------------------------------------------------------


class Failing(Counting):
    """Its next so many listings fail."""

    error: type[Exception] = BackendUnavailable
    failures = 0

    async def list(self, *args: Any, **kwargs: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise self.error("no answer")
        return await self.inner.list(*args, **kwargs)


@pytest.fixture
def failing() -> Failing:
    return Failing(MemoryBackend(f"memory://{uuid.uuid4().hex}"))


def test_a_store_that_does_not_answer_at_the_beginning_is_an_error(failing: Failing) -> None:
    store = store_over(failing, ArtifactStore)
    for since in (None, "start"):
        failing.failures = 1
        with pytest.raises(BackendUnavailable, match="no answer") as raised, store.watch(since) as events:
            next(events)
        assert raised.value.store == failing.url


def test_a_store_that_does_not_answer_later_is_waited_for(failing: Failing, caplog: pytest.LogCaptureFixture) -> None:
    scope = store_over(failing, ArtifactStore).scope("shop", "alice", "s1")
    with scope.watch(every=SOON) as events:
        for number in range(2):
            scope.save("a", b"bytes")
            assert next(events).version == number
        scope.save("a", b"bytes")
        failing.failures = 5
        assert next(events).version == 2
        scope.save("a", b"bytes")
        assert next(events).version == 3
    assert failing.failures == 0
    messages = [record.message for record in caplog.records]
    assert [message.partition(",")[0].removeprefix(failing.url + " ") for message in messages] == [
        "does not answer",
        "answers again",
    ]


def test_what_is_forbidden_ends_a_watch_which_may_be_asked_again(failing: Failing) -> None:
    failing.error = AccessDenied
    scope = store_over(failing, ArtifactStore).scope("shop", "alice", "s1")
    with scope.watch(every=SOON) as events:
        scope.save("a", b"bytes")
        failing.failures = 1
        with pytest.raises(AccessDenied):
            next(events)
        assert next(events).version == 0


# --- ending -----------------------------------------------------------------------------------------------------------


def test_a_watch_that_is_closed_by_another_thread_ends_at_once_and_leaves_no_thread(scope: Scope) -> None:
    scope.save("a", b"")
    before = set(threading.enumerate())
    waiting = threading.Event()

    class Telling(Counting):
        async def list(self, *args: Any, **kwargs: Any) -> Any:
            waiting.set()
            return await self.inner.list(*args, **kwargs)

    scope._core.backend = Telling(scope._core.backend)
    events = scope.watch(every=LATER)
    rest: list[Event] = []
    thread = threading.Thread(target=lambda: rest.extend(events))
    thread.start()
    assert waiting.wait(60)
    events.close()
    thread.join(60)
    assert not thread.is_alive() and rest == []
    assert list(events) == []
    assert set(threading.enumerate()) == before


async def _consume(scope: Any, seen: list[Event], told: asyncio.Event) -> None:
    async with scope.watch(every=LATER if local.folder_of(scope._core.backend.url) else SOON) as events:
        told.set()
        async for event in events:
            seen.append(event)
            told.set()


def test_an_async_watch_tells_and_ends_when_its_task_is_cancelled(scope: Scope) -> None:
    scope.save("a", b"")

    async def main() -> list[Event]:
        ours = AsyncArtifactStore(scope.store.url).scope("shop", "alice", "s1")
        seen: list[Event] = []
        told = asyncio.Event()
        task = asyncio.create_task(_consume(ours, seen, told))
        await told.wait()
        told.clear()
        await ours.save("a", b"more")
        await told.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not [thread for thread in threading.enumerate() if thread.name == "artifactfs-watch"]
        assert len(asyncio.all_tasks()) == 1
        return seen

    assert [event.version for event in asyncio.run(main())] == [1]


def test_an_async_watch_goes_on_after_its_task_gave_up_waiting_and_ends_when_closed(scope: Scope) -> None:
    async def main() -> None:
        ours = AsyncArtifactStore(scope.store.url).scope("shop", "alice", "s1")
        events = ours.watch("start", every=SOON)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(events), 0.05)
        await ours.save("a", b"bytes")
        assert (await anext(events)).version == 0
        again = asyncio.create_task(anext(events))
        await asyncio.sleep(0)
        await events.close()
        with pytest.raises(StopAsyncIteration):
            await again
        assert [event async for event in events] == []
        assert told(scope, events.token, 0) == []

    asyncio.run(main())


def test_an_async_watch_that_nobody_closes_leaves_no_thread(tmp_path: Path) -> None:
    async def main() -> threading.Thread:
        scope = AsyncArtifactStore(tmp_path).scope("shop", "alice", "s1")
        await scope.save("a", b"bytes")
        async for event in scope.watch("start", every=LATER):
            assert event.version == 0
            break
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "artifactfs-watch")
        return thread

    thread = asyncio.run(main())
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()


# --- local disks ------------------------------------------------------------------------------------------------------


def test_on_a_disk_nothing_is_listed_until_the_system_tells_of_a_change(tmp_path: Path) -> None:
    backend = Counting(LocalBackend(tmp_path))
    scope = store_over(backend, ArtifactStore).scope("shop", "alice", "s1")
    ours = ArtifactStore(tmp_path).scope("shop", "alice", "s1")
    for name in ("a", "b/c"):
        ours.save(name, b"bytes")
    with scope.watch(every=LATER) as events:
        assert [call.key for call in backend.taken() if call.method == "list"] == [scope.id.folder]
        ours.save("b/c", b"more")
        ours.save("new", b"bytes")
        assert sorted(brief(next(events)) for _ in range(2)) == [("published", "b/c", 1), ("published", "new", 0)]
        backend.taken()
        ours.delete("a", 0)
        assert brief(next(events)) == ("deleted", "a", 0)
        listed = {call.key for call in backend.taken() if call.method == "list"}
        assert f"{scope.id.folder}a/" in listed and scope.id.folder not in listed


def test_on_a_disk_a_folder_may_come_and_go(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "store")
    scope = store.scope("shop", "alice", "s1")
    with scope.watch(every=0.1) as events:
        for _ in range(2):
            scope.save("a", b"")
            assert brief(next(events)) == ("published", "a", 0)
            store.erase("shop", "alice")
            assert brief(next(events)) == ("deleted", "a", 0)


def test_without_watchfiles_a_disk_is_polled_and_a_hint_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    scope = ArtifactStore(tmp_path).scope("shop", "alice", "s1")
    scope.save("a", b"")
    with scope.watch(every=SOON) as events:
        for number in (1, 2):
            scope.save("a", b"")
            assert next(events).version == number
    assert [record.message for record in caplog.records if "install artifactfs[watch]" in record.message] == [
        f"{tmp_path} is polled every 0.01 s: install artifactfs[watch] to be told at once"
    ]
