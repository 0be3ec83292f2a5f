"""Promises of what is listed and what is taken away: names, history, scopes, removing, deleting, clearing, erasing."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from artifactfs.drivers import perform
from artifactfs.errors import (
    AccessDenied,
    ArtifactNotFound,
    BackendError,
    IntegrityError,
    InvalidName,
    InvalidRef,
    PointerNotManaged,
    VersionNotFound,
)
from artifactfs.protocol.env import Env
from artifactfs.protocol.ops import Delete, Put
from artifactfs.records import Blob, Pointer, Removed, encode, pointer_payload
from artifactfs.store import ArtifactStore, Scope
from artifactfs.testing.store_base import LONG, Raw, StoreTests, again, keys_below, numbers


class Listing(StoreTests):
    # compact: first, while there is little in a store that all tests share

    def test_compact_clears_old_tombstones_and_no_number_is_given_twice(self, store: ArtifactStore, app: str) -> None:
        with again(store) as other:
            other._core.env = Env(keep_tombstones=-3600.0)
            scope = other.scope(app, "alice", "s1")
            for number in range(5):
                scope.save("x", b"%d" % number)
            scope.save("y", b"0")
            for number in (1, 2, 4):
                scope.delete("x", number)
            scope.delete("y")
            other.compact()
            assert scope.versions("x") == [0, 3]
            assert [Raw(scope, "x").get(f"{number}.metadata") for number in (1, 2)] == [None, None]
            assert Raw(scope, "x").get("4.metadata") is not None
            assert list(scope.names()) == ["x"]
        with again(store) as other:
            scope = other.scope(app, "alice", "s1")
            assert (scope.load("x").data, scope.load("x", 0).data) == (b"3", b"0")
            assert scope.save("x", b"5").version == 5
            assert scope.save("y", b"1").version == 1

    def test_compact_leaves_young_tombstones(self, store: ArtifactStore, scope: Scope) -> None:
        for number in range(3):
            scope.save("x", b"%d" % number)
        scope.delete("x", 0)
        before = keys_below(store, scope.id.folder)
        store.compact()
        assert keys_below(store, scope.id.folder) == before

    def test_names_are_sorted_by_their_segments_and_read_lazily(self, scope: Scope) -> None:
        called = ["b", "a/b", "a", "a.csv", "a-b", ".env", "@x", "é", "日本.txt", "Z", "con", "100%", "7.metadata"]
        for name in called:
            scope.save(name, b"x")
        order = [".env", "@x", "con", "100%", "7.metadata", "Z", "a", "a/b", "a-b", "a.csv", "b", "é", "日本.txt"]
        names = scope.names()
        assert isinstance(names, Iterator)
        assert list(names) == order
        assert list(scope.names("a")) == ["a", "a/b", "a-b", "a.csv"]
        assert list(scope.names("a", after="a/b")) == ["a-b", "a.csv"]
        assert list(scope.names(after="b")) == ["é", "日本.txt"]
        assert list(scope.names("nothing")) == []
        assert list(scope.names(after="日本.txt")) == []

    # names with their records, now and as of a time

    def test_records_are_those_of_the_newest_versions_in_the_order_of_names(
        self, store: ArtifactStore, app: str, scope: Scope
    ) -> None:
        for name in ("b", "a/b", "a", "a.csv", "a b", "é", "user:logo", "@x", "gone", "removed", "user:removed"):
            for data in (b"0", b"one", b"2"):
                scope.save(name, data)
        scope.save("a", LONG)
        scope.delete("b", 2)
        scope.delete("gone")
        scope.remove("removed")
        scope.remove("user:removed")
        records = scope.records()
        assert isinstance(records, Iterator)
        found = dict(records)
        assert list(found) == list(scope.names()) == ["@x", "a", "a b", "a/b", "a.csv", "b", "user:logo", "é"]
        assert found == {name: scope.stat(name) for name in found}
        assert (found["a"].version, found["b"].size_bytes) == (3, 3)
        assert [name for name, _ in scope.records("a/")] == ["a/b"]
        assert [name for name, _ in scope.records("a")] == ["a", "a b", "a/b", "a.csv"]
        assert list(scope.records("user:")) == [("user:logo", scope.stat("user:logo"))]
        assert list(scope.records(shared=False)) == [pair for pair in found.items() if pair[0] != "user:logo"]
        assert list(scope.names(shared=False)) == [name for name in found if name != "user:logo"]
        assert list(store.scope(app, "alice").records()) == [("logo", scope.stat("user:logo"))]
        assert list(store.scope(app, "nobody", "s1").records()) == []
        scope.save("removed", b"back")
        assert dict(scope.records("rem"))["removed"].version == 4

    def test_records_as_of_a_time_are_those_that_a_load_as_of_then_gives(self, scope: Scope) -> None:
        called = ["a", "a.csv", "a/b", "user:x"]
        times = [scope.save(name, data).timestamp for data in (b"0", b"1") for name in called]
        times += [scope.remove("a").timestamp, scope.save("a.csv", b"2").timestamp, scope.remove("user:x").timestamp]
        times += [scope.save("a", b"3").timestamp]
        scope.delete("a/b", 0)
        for moment in (times[0] - timedelta(days=1), *times, times[-1] + timedelta(days=1)):
            found = dict(scope.records(at=moment))
            assert list(found) == list(scope.names(at=moment))
            for name in called:
                try:
                    assert scope.load(name, moment).record == found[name]
                except VersionNotFound:
                    assert name not in found
        assert list(scope.names(at=times[0] - timedelta(days=1))) == []
        assert list(scope.names("a", after="a", at=times[-1] + timedelta(days=1))) == ["a/b", "a.csv"]
        assert [name for name, _ in scope.records("a/", at=times[-1])] == ["a/b"]

    def test_records_as_of_a_time_without_a_zone_are_refused(self, scope: Scope) -> None:
        for moment in (datetime(2026, 11, 20), "2026-11-20T19:03:17Z", 3):
            for method in (scope.records, scope.names):
                with pytest.raises(InvalidRef, match="aware datetime"):
                    method(at=moment)  # type: ignore[arg-type]
        with pytest.raises(InvalidName, match="lone surrogate"):
            scope.records("\ud800")

    def test_one_damaged_record_hides_nothing(self, scope: Scope) -> None:
        for name in ("a", "b", "c"):
            scope.save(name, b"before")
            scope.save(name, b"now")
        Raw(scope, "b").put("1.metadata", b"{")
        found = dict(scope.records())
        assert list(found) == ["a", "b", "c"]
        assert found["a"] == scope.stat("a")
        assert (found["b"].version, found["b"].size_bytes, found["b"].write_id) == (1, 3, "")
        assert isinstance(found["b"], Blob) and found["b"].sha256 is None
        assert list(scope.names(at=found["c"].timestamp + timedelta(days=1))) == ["a", "b", "c"]

    # signed URLs

    def test_a_signed_url_brings_one_version_or_the_store_says_that_it_signs_none(self, scope: Scope) -> None:
        scope.save("a/b ü.csv", b"first")
        try:
            url = scope.sign("a/b ü.csv", 0, 60)
        except BackendError:
            return
        scope.save("a/b ü.csv", b"second")
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert answer.read() == b"first"
        with urllib.request.urlopen(scope.sign("a/b ü.csv", seconds=604_800), timeout=30) as answer:
            assert answer.read() == b"second"

    def test_nothing_is_signed_that_is_not_there_or_for_no_time(self, scope: Scope) -> None:
        with pytest.raises(ArtifactNotFound):
            scope.sign("nothing")
        scope.save("x", b"0")
        for version in (7, -2, datetime(2001, 1, 1, tzinfo=UTC)):
            with pytest.raises(VersionNotFound):
                scope.sign("x", version)
        for seconds in (0, -1, 604_801, 1.5, True, "60", None):
            with pytest.raises(InvalidRef, match="1 to 604800 seconds"):
                scope.sign("x", seconds=seconds)  # type: ignore[arg-type]
        uri = "https://example.org/paper.pdf"
        pointer = Pointer(
            filename="x", mime_type="application/pdf", version=1, size_bytes=None, timestamp=datetime.now(UTC),
            write_id="0" * 32, uri=uri,
        )  # fmt: skip
        Raw(scope, "x").put("1.metadata", encode(pointer))
        Raw(scope, "x").put("1", pointer_payload(uri))
        assert dict(scope.records()) == {"x": pointer}
        with pytest.raises(PointerNotManaged, match="holds no bytes but points to"):
            scope.sign("x")

    def test_another_spelling_of_a_name_in_the_store_is_an_error(self, scope: Scope) -> None:
        scope.save("x", b"0")
        backend, key = scope.store.backend, scope.id.folder + "%78/0"
        perform((Put(key, b"theirs", "text/plain"),), backend, None)
        with pytest.raises(IntegrityError, match=r"%78' in the store is not how any name is spelled"):
            list(scope.names())
        with pytest.raises(IntegrityError, match=r"%78' in the store is not how any name is spelled"):
            list(scope.records())
        assert scope.load("x").data == b"0"
        perform((Delete((key,)),), backend, None)
        assert list(scope.names()) == ["x"]

    def test_apps_users_and_sessions_are_listed(self, store: ArtifactStore, app: str) -> None:
        for user, session in (("bob", "s2"), ("alice", "s1"), ("alice", "a/b"), ("alice", "user"), ("bob", None)):
            store.scope(app, user, session).save("x", b"0")
        assert app in list(store.apps())
        assert list(store.users(app)) == ["alice", "bob"]
        assert list(store.sessions(app, "alice")) == ["user", "a/b", "s1"]
        assert list(store.sessions(app, "bob")) == ["s2"]
        assert list(store.users("nobody-saved-here")) == []
        assert list(store.sessions(app, "nobody")) == []
        assert "@store" not in list(store.apps())

    # the scope that all sessions of a user share

    def test_a_users_artifacts_are_seen_and_saved_from_every_session(self, store: ArtifactStore, app: str) -> None:
        one, other = store.scope(app, "alice", "s1"), store.scope(app, "alice", "s2")
        shared, stranger = store.scope(app, "alice"), store.scope(app, "bob", "s1")
        assert one.save("user:logo.png", b"0").filename == "logo.png"
        assert other.save("user:logo.png", b"1").version == 1
        assert shared.save("logo.png", b"2").version == 2
        one.save("notes", b"own")
        for scope in (one, other):
            assert scope.load("user:logo.png").data == b"2"
            assert scope.versions("user:logo.png") == [0, 1, 2]
        assert shared.load("user:logo.png").data == b"2"
        assert list(one.names()) == ["notes", "user:logo.png"]
        assert list(other.names()) == ["user:logo.png"]
        assert list(shared.names()) == ["logo.png"]
        assert list(stranger.names()) == []
        assert list(one.names("user:l")) == ["user:logo.png"]
        assert list(one.names("logo")) == []
        with pytest.raises(ArtifactNotFound):
            one.load("logo.png")
        with pytest.raises(ArtifactNotFound):
            stranger.load("user:logo.png")
        other.remove("user:logo.png")
        assert list(one.names()) == ["notes"]
        other.delete("user:logo.png")
        assert shared.versions("logo.png") == []

    def test_a_session_that_is_called_user_is_not_the_users_scope(self, store: ArtifactStore, app: str) -> None:
        session, shared = store.scope(app, "alice", "user"), store.scope(app, "alice")
        session.save("x", b"session")
        shared.save("x", b"shared")
        assert (session.load("x").data, shared.load("x").data) == (b"session", b"shared")
        assert session.load("user:x").data == b"shared"
        assert list(session.names()) == ["user:x", "x"]
        assert list(shared.names()) == ["x"]
        assert list(store.sessions(app, "alice")) == ["user"]
        assert store.erase(app, "alice", "user") > 0
        assert shared.load("x").data == b"shared"

    def test_scopes_with_like_names_do_not_meet(self, store: ArtifactStore, app: str) -> None:
        pairs = [("a", "b/c"), ("a/b", "c"), ("a%2Fb", "c"), ("A", "b/c"), ("cafe\u0301", "c"), ("caf\u00e9", "c")]
        for user, session in pairs:
            store.scope(app, user, session).save("x", f"{user} {session}")
        for user, session in pairs:
            scope = store.scope(app, user, session)
            assert scope.load("x").data == f"{user} {session}".encode()
            assert scope.versions("x") == [0]

    # history

    def test_history_is_newest_first_with_removals_and_read_lazily(self, scope: Scope) -> None:
        saved = [scope.save("x", b"0"), scope.save("x", b"1"), scope.remove("x"), scope.save("x", b"3")]
        scope.delete("x", 1)
        history = scope.history("x")
        assert isinstance(history, Iterator)
        assert next(history) == saved[3]
        assert list(history) == [saved[2], saved[0]]

    def test_a_long_history_and_list_of_versions_is_whole(self, scope: Scope) -> None:
        for number in range(20):
            scope.save("x", b"%d" % number)
        for number in range(1, 20, 3):
            scope.delete("x", number)
        left = [number for number in range(20) if number % 3 != 1]
        assert scope.versions("x") == left
        assert numbers(list(scope.history("x"))) == left[::-1]
        assert scope.load("x", -2).data == b"17"
        assert scope.load("x", -len(left)).data == b"0"

    # remove

    def test_a_removed_artifact_is_out_of_view_and_its_history_stays(self, scope: Scope) -> None:
        for data in (b"0", b"1"):
            scope.save("x.csv", data)
        removal = scope.remove("x.csv")
        assert isinstance(removal, Removed)
        assert (removal.version, removal.size_bytes) == (2, 0)
        assert list(scope.names()) == []
        reads: list[Callable[..., object]] = [scope.load, scope.stat, scope.open]
        for read in reads:
            with pytest.raises(ArtifactNotFound, match="was removed at version 2; older versions can be loaded"):
                read("x.csv")
            with pytest.raises(VersionNotFound, match="': version 2 is the removal of the artifact, and holds"):
                read("x.csv", version=2)
        assert (scope.load("x.csv", 1).data, scope.load("x.csv", -1).data) == (b"1", b"1")
        assert scope.versions("x.csv") == [0, 1]
        assert [record.version for record in scope.history("x.csv")] == [2, 1, 0]
        with pytest.raises(ArtifactNotFound, match=r"there is no artifact .* to remove"):
            scope.remove("x.csv")

    def test_a_save_brings_a_removed_artifact_back(self, scope: Scope) -> None:
        for turn in range(3):
            record = scope.save("x", b"%d" % turn)
            assert list(scope.names()) == ["x"]
            assert scope.load("x").record == record
            scope.remove("x")
            assert list(scope.names()) == []
        assert scope.versions("x") == [0, 2, 4]
        scope.save("x", LONG)
        assert list(scope.names()) == ["x"]

    def test_deleting_the_removal_undoes_it(self, scope: Scope) -> None:
        scope.save("x", b"0")
        scope.delete("x", scope.remove("x").version)
        assert list(scope.names()) == ["x"]
        assert scope.load("x").data == b"0"

    # delete

    def test_a_deleted_version_is_gone_and_its_number_stays_taken(self, scope: Scope) -> None:
        for data in (b"0", b"1", b"2"):
            scope.save("x", data)
        for number, version, left in ((1, 1, [0, 2]), (2, -1, [0]), (0, 0, [])):
            assert scope.delete("x", version) is None
            assert Raw(scope, "x").get(str(number)) is None
            assert scope.versions("x") == left
            assert numbers(list(scope.history("x"))) == left[::-1]
            with pytest.raises((VersionNotFound, ArtifactNotFound)):
                scope.load("x", number)
            with pytest.raises(VersionNotFound, match=f"no version {number} to delete"):
                scope.delete("x", number)
            assert list(scope.names()) == (["x"] if left else [])
        with again(scope.store) as other:
            assert other.scope(scope.id.app, "alice", "s1").save("x", b"3").version == 3
        assert scope.save("x", b"4").version == 4
        assert list(scope.names()) == ["x"]

    def test_deleting_all_leaves_tombstones_only(self, scope: Scope) -> None:
        for data in (b"0", b"1", LONG):
            scope.save("x", data)
        scope.remove("x")
        scope.delete("x")
        assert (list(scope.names()), scope.versions("x"), list(scope.history("x"))) == ([], [], [])
        assert [Raw(scope, "x").get(str(number)) for number in range(4)] == [None] * 4
        assert all(Raw(scope, "x").get(f"{number}.metadata") for number in range(4))
        for read in (scope.load, scope.stat, scope.delete, scope.remove):
            with pytest.raises(ArtifactNotFound):
                read("x")
        assert scope.save("x", b"4").version == 4

    @pytest.mark.parametrize("version", ["latest", "0", 1.0, True, b"0"])
    def test_delete_takes_a_number_only(self, scope: Scope, version: object) -> None:
        scope.save("x", b"0")
        with pytest.raises(InvalidRef, match="delete takes a version number"):
            scope.delete("x", version)  # type: ignore[arg-type]
        assert scope.versions("x") == [0]

    def test_deleting_what_is_not_there_leaves_no_trace(self, store: ArtifactStore, scope: Scope) -> None:
        for version in (None, 0, 7, -1):
            with pytest.raises(FileNotFoundError):
                scope.delete("nothing", version)
        with pytest.raises(FileNotFoundError):
            scope.remove("nothing")
        assert keys_below(store, scope.id.folder) == []
        assert list(store.users(scope.id.app)) == []

    # erase, read only, probe

    def test_erase_leaves_no_trace_of_an_artifact_a_session_or_a_user(self, store: ArtifactStore, app: str) -> None:
        for session in ("s1", "s2", None):
            scope = store.scope(app, "alice", session)
            for name in ("x", "y"):
                scope.save(name, b"0")
                scope.save(name, b"1")
                scope.delete(name, 0)
                scope.remove(name)
        kept = store.scope(app, "bob", "s1").save("x", b"0")

        assert store.erase(app, "alice", "s1", "x") > 0
        assert not [key for key in keys_below(store, f"{app}/alice/s1/") if "/x/" in key]
        assert store.scope(app, "alice", "s1").versions("y") == [1]
        assert store.erase(app, "alice", "s1") > 0
        assert keys_below(store, f"{app}/alice/s1/") == []
        assert store.erase(app, "alice", name="x") > 0
        assert store.scope(app, "alice").versions("x") == []
        assert store.scope(app, "alice").versions("y") == [1]
        assert store.erase(app, "alice") > 0
        assert keys_below(store, f"{app}/alice/") == []
        assert list(store.users(app)) == ["bob"]
        assert store.erase(app, "alice") == 0
        assert store.scope(app, "alice", "s1").save("x", b"anew").version == 0
        assert store.scope(app, "bob", "s1").stat("x") == kept

    def test_a_read_only_store_reads_and_never_writes(self, store: ArtifactStore, scope: Scope) -> None:
        scope.save("x", b"0")
        before = keys_below(store, "")
        with again(store, read_only=True) as other:
            reader = other.scope(scope.id.app, "alice", "s1")
            assert reader.load("x").data == b"0"
            assert (list(reader.names()), reader.versions("x")) == (["x"], [0])
            assert dict(reader.records()) == {"x": reader.stat("x")}
            attempts: list[Callable[[], object]] = [
                lambda: reader.save("x", b"1"),
                lambda: reader.save("x", LONG),
                lambda: reader.open("x", "wb"),
                lambda: reader.remove("x"),
                lambda: reader.delete("x"),
                lambda: reader.delete("x", 0),
                other.compact,
                other.probe,
                lambda: other.erase(scope.id.app, "alice"),
            ]
            for attempt in attempts:
                with pytest.raises(AccessDenied, match="opened with read_only=True") as denied:
                    attempt()
                assert isinstance(denied.value, PermissionError)
        assert keys_below(store, "") == before

    def test_a_probe_says_whether_creates_are_atomic(self, store: ArtifactStore) -> None:
        assert store.probe().create == ("ignored" if self.single_writer else "atomic")
