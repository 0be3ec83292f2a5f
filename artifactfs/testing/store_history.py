"""Promises of going back: what differs, an old version as a new one, and a scope as it was at a time."""

from __future__ import annotations

from typing import Any

import pytest

from artifactfs.errors import ArtifactNotFound, Conflict, IntegrityError, InvalidRef, VersionNotFound
from artifactfs.records import Blob, Pointer
from artifactfs.store import ArtifactStore, Scope
from artifactfs.testing.store_base import LONG, Raw, StoreTests, numbers


def shown(scope: Scope) -> dict[str, tuple[Any, ...]]:
    """What a scope holds, as far as its user can tell."""
    return {
        name: (type(record), record.mime_type, record.metadata, _content(scope, name, record))
        for name, record in scope.records(shared=False)
    }


def _content(scope: Scope, name: str, record: Blob | Pointer) -> Any:
    return record.uri if isinstance(record, Pointer) else scope.load(name, record.version).data


class History(StoreTests):
    """What `diff`, `restore`, `restore_all` and a removal that expects a version promise."""

    def test_two_texts_differ_line_by_line(self, scope: Scope) -> None:
        scope.save("x.txt", b"one\ntwo\n", metadata={"by": "a"})
        scope.save("x.txt", b"one\n2\n", mime_type="text/markdown", metadata={"by": "b"})
        diff = scope.diff("x.txt", 0)
        assert (diff.kind, diff.same, diff.cut) == ("text", False, ())
        assert diff.text == "--- x.txt@0\n+++ x.txt@1\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"
        told = {change.field: (change.before, change.after) for change in diff.changes}
        assert told["mime_type"] == ("text/plain", "text/markdown")
        assert told["metadata.by"] == ("a", "b")
        assert scope.diff("x.txt", 1, 1).same is True

    def test_what_is_long_is_compared_as_far_as_it_is_read(self, scope: Scope) -> None:
        scope.save("x", LONG)
        scope.save("x", LONG + b"more")
        diff = scope.diff("x", 0, -1)
        assert (diff.kind, diff.same) == ("binary", False)

    def test_what_is_not_there_does_not_differ(self, scope: Scope) -> None:
        with pytest.raises(ArtifactNotFound):
            scope.diff("x", 0)
        scope.save("x", b"0")
        with pytest.raises(VersionNotFound):
            scope.diff("x", 0, 1)

    @pytest.mark.parametrize("data", [b"", b"first", LONG], ids=["empty", "short", "long"])
    def test_an_old_version_becomes_the_newest_with_its_type_and_metadata(self, scope: Scope, data: bytes) -> None:
        scope.save("x", data, mime_type="text/x-first", metadata={"of": "the first"})
        scope.save("x", b"second")
        restored = scope.restore("x", 0)
        loaded = scope.load("x")
        assert loaded.record == restored
        assert (loaded.data, restored.mime_type, restored.metadata) == (data, "text/x-first", {"of": "the first"})
        assert numbers(list(scope.history("x"))) == [restored.version, 1, 0]
        assert scope.verify("x").ok

    def test_a_removed_artifact_comes_back_as_it_was(self, scope: Scope) -> None:
        scope.save("x", b"0")
        scope.save("x", b"1", metadata={"of": 1})
        scope.remove("x")
        restored = scope.restore("x")
        assert (scope.load("x").data, restored.metadata) == (b"1", {"of": 1})
        assert scope.versions("x") == [0, 1, restored.version]
        with pytest.raises(Conflict, match="is there, at version"):
            scope.restore("x")

    def test_nothing_comes_back_of_what_was_never_saved_or_deleted_for_good(self, scope: Scope) -> None:
        with pytest.raises(ArtifactNotFound):
            scope.restore("x")
        scope.save("x", b"0")
        scope.delete("x")
        with pytest.raises(ArtifactNotFound):
            scope.restore("x")
        with pytest.raises(ArtifactNotFound):
            scope.restore("x", 0)

    def test_a_restore_may_expect_a_version(self, scope: Scope) -> None:
        for data in (b"0", b"1"):
            scope.save("x", data)
        with pytest.raises(Conflict):
            scope.restore("x", 0, expect=0)
        assert scope.versions("x") == [0, 1]
        restored = scope.restore("x", 0, expect=1)
        assert scope.load("x").data == b"0"
        with pytest.raises(Conflict):
            scope.restore("x", 0, expect="absent")
        assert scope.stat("x").version == restored.version

    def test_a_pointer_becomes_a_pointer(self, scope: Scope) -> None:
        uri, digest = "https://example.com/a.pdf", "0" * 64
        scope.point("x", uri, size_bytes=7, expected_sha256=digest, metadata={"of": "it"})
        scope.save("x", b"bytes")
        assert scope.diff("x", 0).kind == "pointer"
        restored = scope.restore("x", 0)
        assert isinstance(restored, Pointer)
        assert (restored.uri, restored.expected_sha256, restored.expected_size) == (uri, digest, 7)
        assert restored == scope.stat("x")

    @pytest.mark.parametrize("data", [b"genuine", LONG], ids=["short", "long"])
    def test_what_was_altered_is_never_restored(self, scope: Scope, data: bytes) -> None:
        scope.save("x", data)
        scope.save("x", b"second")
        raw = Raw(scope, "x")
        stored = bytearray(raw.get("0") or b"")
        stored[-1] ^= 1
        raw.put("0", bytes(stored))
        with pytest.raises(IntegrityError):
            scope.restore("x", 0)
        assert scope.load("x").data == b"second"
        assert scope.versions("x") == [0, 1]
        assert scope.save("x", b"third", expect=1).version > 1, "the claim was given up"

    def test_a_removal_may_expect_a_version(self, scope: Scope) -> None:
        scope.save("x", b"0")
        scope.save("x", b"1")
        with pytest.raises(Conflict, match="expected to be at version 0, but version 1 is there"):
            scope.remove("x", expect=0)
        assert scope.load("x").data == b"1"
        removal = scope.remove("x", expect=1)
        with pytest.raises(ArtifactNotFound):
            scope.remove("x", expect=removal.version)
        assert list(scope.names()) == []
        wrong: Any
        for wrong in (-1, "absent", True, 1.0):
            with pytest.raises(InvalidRef):
                scope.remove("x", expect=wrong)

    def test_a_scope_becomes_what_it_was(self, store: ArtifactStore, scope: Scope) -> None:
        scope.save("kept", b"kept")
        scope.save("changed", b"first", metadata={"is": "first"})
        scope.save("long", LONG)
        scope.save("removed/since", b"removed")
        scope.save("removed before", b"")
        scope.remove("removed before")
        scope.save("user:shared", b"of the user")
        at = scope.point("pointer", "https://example.com/first").timestamp
        before = shown(scope)
        for name in ("changed", "long", "removed before", "new", "user:shared", "new and removed"):
            scope.save(name, b"second")
        scope.point("pointer", "https://example.com/second")
        for name in ("removed/since", "new and removed"):
            scope.remove(name)
        store.scope(scope.id.app, "alice", "s2").save("new", b"of another session")
        planned = scope.restore_all(at, dry_run=True)
        assert {(step.action, step.name) for step in planned.steps} == {
            ("restore", "changed"),
            ("restore", "long"),
            ("restore", "pointer"),
            ("restore", "removed/since"),
            ("remove", "new"),
            ("remove", "removed before"),
        }
        assert planned.unchanged == 1
        assert scope.load("changed").data == b"second", "a dry run does nothing"
        done = scope.restore_all(at)
        assert done.complete
        assert [(step.name, step.action) for step in done.steps] == [(step.name, step.action) for step in planned.steps]
        assert shown(scope) == before
        assert scope.load("user:shared").data == b"second"
        assert store.scope(scope.id.app, "alice", "s2").load("new").data == b"of another session"
        again = scope.restore_all(at)
        assert (again.steps, again.unchanged) == ((), 5)
        assert scope.load("changed", 1).data == b"second", "what was in between stays"

    def test_a_plan_leaves_alone_what_changed_since_it_was_shown(self, scope: Scope) -> None:
        for name in ("a", "b", "c", "d"):
            at = scope.save(name, b"first").timestamp
        for name in ("a", "b", "c", "new", "newer"):
            scope.save(name, b"second")
        plan = scope.restore_all(at, dry_run=True)
        scope.save("b", b"meanwhile")
        scope.remove("c")
        scope.save("newer", b"meanwhile")
        scope.save("d", b"meanwhile")
        done = scope.restore_all(plan=plan)
        assert {step.name: step.outcome for step in done.steps} == {
            "a": "done",
            "b": "changed",
            "c": "changed",
            "new": "done",
            "newer": "changed",
        }
        assert not done.complete
        assert {name: scope.load(name).data for name in scope.names()} == {
            "a": b"first",
            "b": b"meanwhile",
            "newer": b"meanwhile",
            "d": b"meanwhile",
        }

    def test_what_was_deleted_for_good_is_told_of(self, scope: Scope) -> None:
        scope.save("gone", b"0")
        scope.save("partly gone", b"0")
        at = scope.save("partly gone", b"1").timestamp
        scope.delete("gone")
        scope.delete("partly gone", 1)
        done = scope.restore_all(at)
        assert [(step.name, step.action, step.lost, step.outcome) for step in done.steps] == [
            ("gone", "lost", (0,), "lost"),
            ("partly gone", "lost", (1,), "lost"),
        ]
        assert not done.complete
        assert list(scope.names()) == ["partly gone"]
