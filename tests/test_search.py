"""Searching: over an inventory, by a scan and in a model of a few lines the same versions are found."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifactfs import (
    ArtifactStore,
    AsyncArtifactStore,
    Hit,
    InvalidMetadata,
    InvalidName,
    InvalidRef,
    Pointer,
)
from artifactfs.inventory import refresh
from artifactfs.inventory.table import Table
from artifactfs.keys.keyring import new_key
from artifactfs.search import indexed as over_inventory
from artifactfs.search import query as queries

_fresh = count()


def new_store(**options: Any) -> ArtifactStore:
    return ArtifactStore(f"memory://search-{next(_fresh)}", **options)


def scanned(store: ArtifactStore, **asked: Any) -> list[Hit]:
    """What a scan finds: a store that may not bring its inventory up to date scans for a fresh answer."""
    hits = ArtifactStore(store.url, read_only=True).search(**asked, fresh=True)
    assert "read_only" in hits.hint
    return list(hits)


def indexed(store: ArtifactStore, **asked: Any) -> list[Hit]:
    """What the inventory tells."""
    hits = store.search(**asked)
    assert hits.hint == ""
    return list(hits)


# --- the model --------------------------------------------------------------------------------------------------------


class Model:
    """A store, and beside it a plain list of what was saved there."""

    def __init__(self, store: ArtifactStore) -> None:
        self.store = store
        self.saved: dict[tuple[str, str, str | None, str], list[dict[str, Any]]] = {}

    def save(self, place: tuple[str, str, str | None, str], metadata: dict[str, Any], pointer: bool, size: int) -> None:
        scope = self.store.scope(*place[:3])
        if pointer:
            record: Any = scope.point(place[3], "https://example.org/x", metadata=metadata)
        else:
            record = scope.save(place[3], b"x" * size, metadata=metadata)
        version = {
            "kind": "pointer" if pointer else "blob",
            "size_bytes": None if pointer else size,
            "mime_type": record.mime_type,
            "timestamp": record.timestamp,
            "metadata": metadata,
            "tags": set(),
            "there": True,
        }
        self.saved.setdefault(place, []).append(version)

    def remove(self, place: tuple[str, str, str | None, str]) -> None:
        versions = self.saved.get(place, [])
        left = [version for version in versions if version["there"]]
        if left and left[-1]["kind"] != "removed":
            self.store.scope(*place[:3]).remove(place[3])
            versions.append({"kind": "removed", "there": True, "tags": set()})

    def delete(self, place: tuple[str, str, str | None, str], number: int) -> None:
        versions = self.saved.get(place, [])
        if versions and versions[number % len(versions)]["there"]:
            self.store.scope(*place[:3]).delete(place[3], number % len(versions))
            versions[number % len(versions)]["there"] = False

    def tag(self, place: tuple[str, str, str | None, str], number: int, tag: str) -> None:
        versions = self.saved.get(place, [])
        if versions and (one := versions[number % len(versions)])["there"] and one["kind"] != "removed":
            self.store.scope(*place[:3]).tag(place[3], tag, number % len(versions))
            for version in versions:
                version["tags"].discard(tag)
            one["tags"].add(tag)

    def find(self, **asked: Any) -> set[tuple[Any, ...]]:
        """App, user, session, name, number and whether it is the newest, of each version that is asked for."""
        found = set()
        for (app, user, session, name), versions in self.saved.items():
            numbers = [number for number, version in enumerate(versions) if version["there"]]
            for number in numbers:
                one, newest = versions[number], number == numbers[-1]
                place = {"app": app, "user": user, "session": session}
                if one["kind"] == "removed" or not (newest or asked.get("all_versions") or "tag" in asked):
                    continue
                if any(key in asked and asked[key] != value for key, value in place.items()):
                    continue
                if "tag" in asked and asked["tag"] not in one["tags"]:
                    continue
                if "name" in asked and not fnmatch.fnmatchcase(name, asked["name"]):
                    continue
                if "mime_type" in asked and not fnmatch.fnmatchcase(one["mime_type"], asked["mime_type"].lower()):
                    continue
                if "since" in asked and one["timestamp"] < asked["since"]:
                    continue
                if "until" in asked and one["timestamp"] >= asked["until"]:
                    continue
                size = one["size_bytes"]
                if "min_size" in asked and (size is None or size < asked["min_size"]):
                    continue
                if "max_size" in asked and (size is None or size > asked["max_size"]):
                    continue
                if "metadata" in asked and not contains(one["metadata"], asked["metadata"]):
                    continue
                found.add((app, user, session, name, number, newest))
        return found

    def check(self, **asked: Any) -> None:
        """The inventory, a scan and the model tell the same, the first two in the same order and word for word."""
        by_inventory = indexed(self.store, **asked)
        assert by_inventory == scanned(self.store, **asked)
        told = [(hit.app, hit.user, hit.session, hit.name, hit.version, hit.newest) for hit in by_inventory]
        assert len(told) == len(set(told))
        assert set(told) == self.find(**asked)
        for hit in by_inventory:
            one = self.saved[hit.app, hit.user, hit.session, hit.name][hit.version]
            assert (hit.kind, hit.size_bytes, hit.metadata) == (one["kind"], one["size_bytes"], one["metadata"])
            assert (hit.timestamp, hit.mime_type, set(hit.tags)) == (one["timestamp"], one["mime_type"], one["tags"])


def contains(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(key in value and contains(value[key], wanted[key]) for key in wanted)
    return as_text(value) == as_text(wanted)


def as_text(value: Any) -> str:
    """A text that equal JSON values have in common: whole numbers are written as such, keys are sorted."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{as_text(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(as_text, value)) + "]"
    if isinstance(value, float) and value.is_integer():
        return repr(int(value))
    return repr(value)


# --- what is asked ----------------------------------------------------------------------------------------------------

NAMES = [
    "a.txt",
    "b.txt",
    "[a]*?.csv",
    "reports/q1.csv",
    "Übersicht 100%.md",
    "日本",
    "'; DROP TABLE x; --",
    "a\nb",
    "1",
]
FIELDS = ["a", "b", "a.b", 'q"', "0", "ü"]

names = st.sampled_from(NAMES)
places = st.tuples(
    st.sampled_from(["shop", "it's"]), st.sampled_from(["alice", "bob"]), st.sampled_from(["s1", "user", None]), names
)
leaves = st.none() | st.booleans() | st.sampled_from([0, 1, 1.0, -2.5, 2**53, "x", "", "1", "true", "ü\"'\\", "\x00"])
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=2)
)
metadata = st.dictionaries(st.sampled_from(FIELDS), values, max_size=3)
patterns = (
    st.text(alphabet="ab*?[]!-.tcx/Ü日\n'1", max_size=8)
    | names
    | st.sampled_from(["*", "*.txt", "*/*", "?.txt", "[ab].txt", "[!a].txt", "[[]a]*", "*[?]*", "[]", "[!]", "[]a]*"])
)
actions = st.one_of(
    st.tuples(st.just("save"), places, metadata, st.booleans(), st.integers(0, 3)),
    st.tuples(st.just("save"), places, metadata, st.booleans(), st.integers(0, 3)),
    st.tuples(st.just("remove"), places),
    st.tuples(st.just("delete"), places, st.integers(0, 5)),
    st.tuples(st.just("tag"), places, st.integers(0, 5), st.sampled_from(["prod", "a"])),
    st.tuples(st.just("inventory")),
)
questions = st.fixed_dictionaries(
    {},
    optional={
        "name": patterns,
        "mime_type": st.sampled_from(["text/*", "*", "TEXT/csv", "text/?sv", "x"]),
        "min_size": st.integers(0, 3),
        "max_size": st.integers(0, 3),
        "metadata": metadata,
        "app": st.sampled_from(["shop", "it's", "other"]),
        "user": st.sampled_from(["alice", "bob"]),
        "session": st.sampled_from(["s1", "user"]),
        "tag": st.sampled_from(["prod", "a", "none"]),
        "all_versions": st.booleans(),
    },
)


def take(model: Model, steps: list[tuple[Any, ...]]) -> None:
    for name, *arguments in steps:
        if name == "inventory":
            model.store.inventory()
        else:
            getattr(model, name)(*arguments)
    model.store.inventory()


def compare(steps: list[tuple[Any, ...]], asked: list[dict[str, Any]]) -> None:
    """With files of a few rows, so that a few artifacts make many."""
    model = Model(new_store())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refresh, "PART_WEIGHT", 1000)
        patch.setattr(refresh, "LEAST_DELTA", 700)
        take(model, steps)
    for question in [{"all_versions": True}, *asked]:
        model.check(**question)


@settings(max_examples=5)
@given(st.lists(actions, min_size=5, max_size=25), st.lists(questions, min_size=3, max_size=3))
def test_inventory_scan_and_model_find_the_same(steps: list[tuple[Any, ...]], asked: list[dict[str, Any]]) -> None:
    compare(steps, asked)


@pytest.mark.nightly
@settings(max_examples=1000)
@given(st.lists(actions, max_size=40), st.lists(questions, min_size=3, max_size=3))
def test_inventory_scan_and_model_go_on_finding_the_same(
    steps: list[tuple[Any, ...]], asked: list[dict[str, Any]]
) -> None:
    compare(steps, asked)


def example() -> Model:
    model = Model(new_store())
    place = ("shop", "alice", "s1", "a.txt")
    model.save(place, {"n": 1, "deep": {"er": "x", "list": [1, {"k": True}]}}, False, 3)
    model.save(place, {"n": 1.0, "s": "1"}, False, 2)
    model.save(("shop", "alice", None, "b.txt"), {"n": True, "none": None}, True, 0)
    model.save(("shop", "bob", "s1", "a[1].txt"), {"n": 2, "deep": {}}, False, 0)
    model.save(("shop", "bob", "s1", "gone.txt"), {}, False, 1)
    model.remove(("shop", "bob", "s1", "gone.txt"))
    model.tag(place, 0, "prod")
    model.store.inventory()
    return model


@pytest.fixture(scope="module")
def model() -> Model:
    """The example, which no test changes."""
    return example()


QUESTIONS: list[dict[str, Any]] = [
    {},
    {"all_versions": True},
    {"name": "a*"},
    {"name": "a[[]1].txt"},
    {"name": "[a-b].txt", "all_versions": True},
    {"metadata": {"n": 1}, "all_versions": True},
    {"metadata": {"n": True}},
    {"metadata": {"none": None}},
    {"metadata": {"deep": {}}, "all_versions": True},
    {"metadata": {"deep": {"er": "x"}}, "all_versions": True},
    {"metadata": {"deep": {"list": [1.0, {"k": True}]}}, "all_versions": True},
    {"metadata": {"deep": {"list": [1]}}, "all_versions": True},
    {"min_size": 0},
    {"max_size": 2},
    {"tag": "prod"},
    {"mime_type": "text/*"},
    {"user": "alice"},
    {"app": "shop", "user": "bob", "session": "s1"},
]


@pytest.mark.parametrize("asked", QUESTIONS, ids=str)
def test_each_question_is_answered_alike(model: Model, asked: dict[str, Any]) -> None:
    model.check(**asked)


def _numbers_by_their_spelling(wanted: Any) -> Iterator[str]:
    for key, value in wanted.items():
        yield f"{msgspec.json.encode(key).decode()}:{msgspec.json.encode(value).decode()}"


@pytest.mark.parametrize(
    ("module", "name", "fault"),
    [
        (over_inventory, "_traces", _numbers_by_their_spelling),
        (over_inventory, "_loose", lambda pattern: "[a-z.]*"),
        (queries, "_holds", lambda value, wanted: value.items() >= wanted.items()),
    ],
)
def test_a_search_that_leaves_something_out_is_caught(
    model: Model, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, fault: Any
) -> None:
    monkeypatch.setattr(module, name, fault)
    with pytest.raises(AssertionError):
        for asked in QUESTIONS:
            model.check(**asked)


def test_an_inventory_that_forgets_what_changed_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    model = example()
    model.remove(("shop", "alice", "s1", "a.txt"))
    model.store.inventory()
    model.check()
    know = Table.know
    monkeypatch.setattr(Table, "know", lambda table, base, delta: know(table, base, []))
    with pytest.raises(AssertionError):
        model.check()


# --- times, order, limits ---------------------------------------------------------------------------------------------


def test_times_are_from_and_until(model: Model) -> None:
    times = sorted(hit.timestamp for hit in indexed(model.store, all_versions=True))
    for since in times[::2]:
        model.check(since=since, all_versions=True)
        model.check(until=since)
    model.check(since=times[1], until=times[-1], all_versions=True)
    elsewhere = times[1].astimezone(timezone(timedelta(hours=9)))
    assert indexed(model.store, since=elsewhere) == indexed(model.store, since=times[1])


@pytest.mark.parametrize("limit", [0, 2, 9])
def test_a_limit_gives_the_first(model: Model, limit: int) -> None:
    for asked in ({"all_versions": True}, {"name": "*.txt"}):
        everything = indexed(model.store, **asked)
        assert indexed(model.store, limit=limit, **asked) == everything[:limit]
        assert scanned(model.store, limit=limit, **asked) == everything[:limit]


def test_hits_come_as_they_are_stored_newest_first(model: Model) -> None:
    found = [(hit.user, hit.session, hit.name, hit.version) for hit in indexed(model.store, all_versions=True)]
    assert found == [
        ("alice", "s1", "a.txt", 1),
        ("alice", "s1", "a.txt", 0),
        ("alice", None, "b.txt", 0),
        ("bob", "s1", "a[1].txt", 0),
        ("bob", "s1", "gone.txt", 0),
    ]


def test_types_are_matched_without_parameters_in_any_case() -> None:
    store = new_store()
    store.scope("shop", "alice", "s1").save("a", b"1", mime_type="Text/CSV; charset=utf-8")
    store.inventory()
    for pattern, fits in (("text/csv", True), ("TEXT/*", True), ("*csv", True), ("text/csv;*", False), ("csv", False)):
        assert bool(indexed(store, mime_type=pattern)) == bool(scanned(store, mime_type=pattern)) == fits


def test_a_hit_is_plain_data(model: Model) -> None:
    (hit,) = indexed(model.store, tag="prod")
    shown = msgspec.to_builtins(hit)
    record = model.store.scope("shop", "alice", "s1").stat("a.txt", 0)
    assert shown == {
        "app": "shop",
        "user": "alice",
        "session": "s1",
        "name": "a.txt",
        "version": 0,
        "kind": "blob",
        "mime_type": "text/plain",
        "size_bytes": 3,
        "timestamp": msgspec.to_builtins(record.timestamp),
        "metadata": {"n": 1, "deep": {"er": "x", "list": [1, {"k": True}]}},
        "sha256": record.sha256 if not isinstance(record, Pointer) else None,
        "tags": ("prod",),
        "newest": False,
    }
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(hit)), Hit) == hit


# --- how true an answer is --------------------------------------------------------------------------------------------


def test_an_answer_says_as_of_when_it_is_true_and_a_fresh_one_has_all_that_was_saved_before() -> None:
    store = new_store()
    scope = store.scope("shop", "alice", "s1")
    scope.save("old.txt", b"1")
    scope.save("gone.txt", b"1")
    made = store.inventory()
    saved = scope.save("new.txt", b"2")
    scope.delete("gone.txt")
    stale = store.search()
    assert stale.as_of == made.as_of <= saved.timestamp
    assert [hit.name for hit in stale] == ["gone.txt", "old.txt"]
    fresh = store.search(fresh=True)
    assert fresh.as_of >= saved.timestamp and fresh.hint == ""
    assert [hit.name for hit in fresh] == ["new.txt", "old.txt"]
    assert store.search().as_of == fresh.as_of


def test_what_is_deleted_from_the_middle_is_in_no_fresh_answer_and_an_older_version_is_the_newest_then() -> None:
    store = new_store()
    scope = store.scope("shop", "alice", "s1")
    for text in (b"0", b"01", b"012"):
        scope.save("a.txt", text)
    store.inventory()
    scope.delete("a.txt", 2)
    assert [(hit.version, hit.newest) for hit in store.search(fresh=True)] == [(1, True)]
    scope.delete("a.txt", 0)
    assert [hit.version for hit in store.search(all_versions=True, fresh=True)] == [1]
    scope.delete("a.txt")
    assert list(store.search(all_versions=True, fresh=True)) == []


def test_without_an_inventory_a_scan_answers_and_says_what_would_be_quicker(caplog: pytest.LogCaptureFixture) -> None:
    store = new_store()
    saved = store.scope("shop", "alice", "s1").save("a.txt", b"1")
    with caplog.at_level("INFO", logger="artifactfs"):
        hits = store.search()
    assert "store.inventory()" in hits.hint and hits.hint in caplog.text
    assert hits.as_of >= saved.timestamp
    assert [hit.name for hit in hits] == ["a.txt"]


def test_without_duckdb_a_scan_answers_and_names_the_extra(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    with_it = indexed(model.store, all_versions=True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for fresh in (False, True):
        hits = model.store.search(all_versions=True, fresh=fresh)
        assert "artifactfs[search]" in hits.hint
        assert list(hits) == with_it


def test_a_store_that_is_only_read_is_searched_by_its_inventory(model: Model) -> None:
    assert indexed(ArtifactStore(model.store.url, read_only=True)) == indexed(model.store)


def test_a_search_that_is_left_alone_leaves_nothing_behind(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    hits = model.store.search(all_versions=True)
    assert any(tmp_path.iterdir())
    next(hits)
    del hits
    model.store.search()
    assert list(tmp_path.iterdir()) == []


# --- keys and secrets -------------------------------------------------------------------------------------------------


def test_with_a_scope_secret_a_user_is_found_by_name_and_shown_as_a_digest_where_not_named() -> None:
    store = new_store(scope_secret="a secret of thirty-two characters")
    store.scope("shop", "alice", "s1").save("a.txt", b"1")
    store.scope("shop", "bob", "s1").save("a.txt", b"1")
    for fresh in (False, True):  # by a scan, over an inventory
        (hit,) = store.search(app="shop", user="alice", fresh=fresh)
        assert hit.user == "alice"
        assert store.scope(hit.app, hit.user, hit.session).load(hit.name, hit.version).data == b"1"
        users = {hit.user for hit in store.search(fresh=fresh)}
        assert len(users) == 2 and all(len(user) == 32 for user in users)
        with pytest.raises(InvalidRef, match="give app="):
            store.search(user="alice", fresh=fresh)


def test_sealed_versions_are_found_without_their_digests() -> None:
    store = new_store(keys=new_key("v1"))
    store.scope("shop", "alice", "s1").save("a.txt", b"secret", metadata={"team": "red"})
    store.inventory()
    (hit,) = indexed(store, metadata={"team": "red"})
    assert (hit.size_bytes, hit.sha256) == (6, None)
    assert [hit] == list(store.search(fresh=True))


# --- what is asked wrongly --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "error", "match"),
    [
        ({"name": 3}, InvalidName, "pattern"),
        ({"name": "\ud800"}, InvalidName, "surrogate"),
        ({"mime_type": b"text/*"}, InvalidName, "pattern"),
        ({"since": datetime(2026, 1, 1)}, InvalidRef, "aware datetime"),
        ({"until": "yesterday"}, InvalidRef, "aware datetime"),
        ({"since": datetime.min.replace(tzinfo=timezone(timedelta(hours=9)))}, InvalidRef, "no time in UTC"),
        ({"min_size": "3"}, InvalidRef, "whole number"),
        ({"max_size": -1}, InvalidRef, "whole number"),
        ({"limit": True}, InvalidRef, "whole number"),
        ({"metadata": {"a": float("nan")}}, InvalidMetadata, "nan"),
        ({"metadata": [1]}, InvalidMetadata, "mapping"),
        ({"app": ""}, InvalidName, "empty"),
        ({"user": 3}, InvalidName, "str"),
        ({"session": ""}, InvalidName, "empty"),
        ({"tag": "Not A Tag"}, InvalidRef, "no tag"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_before_the_store_is_asked(asked: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        new_store().search(**asked)


def test_a_pattern_longer_than_any_name_finds_what_it_fits(model: Model) -> None:
    assert [hit.name for hit in indexed(model.store, name="*" * 5000 + "a.txt")] == ["a.txt"]
    assert indexed(model.store, name="?" * 5000) == []


# --- on an event loop -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_an_asynchronous_store_searches_alike(kind: str, tmp_path: Path) -> None:
    url = f"memory://search-{next(_fresh)}" if kind == "memory" else str(tmp_path)

    async def go() -> tuple[list[Hit], list[Hit], str, str]:
        async with AsyncArtifactStore(url) as store:
            for number in range(150):
                await store.scope("shop", "alice", "s1").save(f"{number}.txt", b"1")
            scan = await store.search()
            by_scan = [hit async for hit in scan]
            made = await store.inventory()
            assert made.read == 150
            over = await store.search()
            assert over.as_of == made.as_of
            return by_scan, [hit async for hit in over], scan.hint, over.hint

    by_scan, over, scan_hint, hint = asyncio.run(go())
    assert by_scan == over == list(ArtifactStore(url).search())
    assert len(over) == 150 and scan_hint and not hint


def test_times_of_hits_are_in_utc(model: Model) -> None:
    assert all(hit.timestamp.tzinfo is UTC for hit in indexed(model.store))
