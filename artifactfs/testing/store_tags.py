"""Promises of tags: what they name, how they are moved, and that they change nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from artifactfs.errors import ArtifactNotFound, BackendUnavailable, Conflict, InvalidRef, VersionNotFound
from artifactfs.store import ArtifactStore, Scope
from artifactfs.testing.store_base import StoreTests, again, keys_below


class Tagging(StoreTests):
    def test_a_tag_stands_for_a_version_wherever_one_is_asked_for(self, scope: Scope) -> None:
        for number in range(3):
            scope.save("x", b"%d" % number, metadata={"n": number})
        assert scope.tag("x", "prod", 1) == 1
        assert scope.tag("x", "newest") == 2
        assert scope.tag("x", "first", -3) == 0
        assert scope.tag("x", "copy", "prod") == 1
        assert scope.tags("x") == {"copy": 1, "first": 0, "newest": 2, "prod": 1}
        assert scope.load("x", "prod").data == b"1"
        assert scope.stat("x", "first").metadata == {"n": 0}
        assert scope.verify("x", "prod").version == 1
        with scope.open("x", "rb", "first") as file:
            assert file.read() == b"0"
        scope.save("x", b"3")
        assert scope.load("x", "newest").data == b"2"
        assert scope.versions("x") == [0, 1, 2, 3]
        assert list(scope.names()) == ["x"]

    def test_a_tag_is_moved_and_taken_away_and_the_versions_stay(self, scope: Scope) -> None:
        scope.save("x", b"0")
        scope.save("x", b"1")
        scope.tag("x", "prod", 0)
        scope.tag("x", "prod", 1)
        assert (scope.load("x", "prod").data, scope.tags("x")) == (b"1", {"prod": 1})
        scope.untag("x", "prod")
        assert (scope.tags("x"), scope.versions("x")) == ({}, [0, 1])
        for ask in (lambda: scope.load("x", "prod"), lambda: scope.untag("x", "prod")):
            with pytest.raises(VersionNotFound, match="no tag 'prod'"):
                ask()

    def test_a_tag_is_moved_only_from_where_it_is_expected(self, scope: Scope) -> None:
        for number in range(3):
            scope.save("x", b"%d" % number)
        scope.tag("x", "prod", 0, expect="absent")
        for expect in ("absent", 1):
            with pytest.raises(Conflict, match="it names version 0"):
                scope.tag("x", "prod", 2, expect=expect)
        with pytest.raises(Conflict, match="no such tag"):
            scope.tag("x", "other", 2, expect=0)
        assert scope.tags("x") == {"prod": 0}
        assert scope.tag("x", "prod", 2, expect=0) == 2

    def test_race_of_moves_from_one_version_has_one_winner(self, scope: Scope) -> None:
        for number in range(9):
            scope.save("x", b"%d" % number)
        scope.tag("x", "prod", 0)

        def move(number: int) -> int | None:
            try:
                return scope.tag("x", "prod", number, expect=0)
            except (Conflict, BackendUnavailable):  # the latter where the store made it ask again, as Ceph may
                return None

        with ThreadPoolExecutor(8) as pool:
            moved = [number for number in pool.map(move, range(1, 9)) if number is not None]
        assert len(moved) == 1
        assert scope.tags("x") == {"prod": moved[0]}

    def test_only_what_can_be_loaded_is_tagged(self, scope: Scope) -> None:
        scope.save("x", b"0")
        scope.remove("x")
        scope.save("x", b"2")
        scope.delete("x", 0)
        for version in (0, 1, 3, -2):
            with pytest.raises(VersionNotFound):
                scope.tag("x", "prod", version)
        with pytest.raises(ArtifactNotFound):
            scope.tag("nothing", "prod")
        assert scope.tags("x") == scope.tags("nothing") == {}

    @pytest.mark.parametrize("tag", ["latest", "Prod", "", "3", "a" * 64, "a_b", "a/b", "-a", "ä"])
    def test_what_is_no_tag_is_refused(self, scope: Scope, tag: str) -> None:
        scope.save("x", b"0")
        for ask in (lambda: scope.tag("x", tag), lambda: scope.untag("x", tag)):
            with pytest.raises(InvalidRef, match="is no tag"):
                ask()
        with pytest.raises(InvalidRef, match="expect must be"):
            scope.tag("x", "prod", expect=True)
        assert scope.tags("x") == {}

    def test_a_tag_of_what_was_deleted_says_so(self, scope: Scope) -> None:
        scope.save("x", b"0")
        scope.save("x", b"1")
        scope.tag("x", "prod", 0)
        scope.delete("x", 0)
        with pytest.raises(VersionNotFound, match="no version 0, which is what its tag 'prod' names"):
            scope.load("x", "prod")
        assert scope.tags("x") == {"prod": 0}

    def test_tags_of_one_artifact_are_its_own(self, store: ArtifactStore, app: str, scope: Scope) -> None:
        for name in ("a", "a/b", "user:a", "@tags", "a@prod"):
            scope.save(name, name.encode())
            scope.save(name, b"newer")
            scope.tag(name, "prod", 0)
        for name in ("a", "a/b", "user:a", "@tags", "a@prod"):
            assert scope.tags(name) == {"prod": 0}
            assert scope.load(name, "prod").data == name.encode()
        assert store.scope(app, "alice").tags("a") == {"prod": 0}
        scope.untag("a", "prod")
        assert scope.tags("a/b") == scope.tags("user:a") == {"prod": 0}

    def test_a_tag_outlives_compaction_and_a_removal_and_goes_with_an_erasure(
        self, store: ArtifactStore, app: str, scope: Scope
    ) -> None:
        for name in ("x", "y"):
            scope.save(name, b"0")
            scope.tag(name, "prod")
        scope.remove("x")
        store.compact()
        with again(store) as other:
            assert other.scope(app, "alice", "s1").load("x", "prod").data == b"0"
        store.erase(app, "alice", "s1", "x")
        assert keys_below(store, f"{app}/alice/s1/@tags/") == [f"{app}/alice/s1/@tags/y/prod"]
