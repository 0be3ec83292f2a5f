"""What upkeep promises: verification of all names what is not whole, collection takes what nobody needs."""

from __future__ import annotations

from artifactfs.store import ArtifactStore, Scope
from artifactfs.testing.store_base import Raw, StoreTests, keys_below


class Upkeep(StoreTests):
    """Verification of everything, and collection."""

    def test_verification_of_all_counts_what_is_whole_and_names_what_is_not(self, scope: Scope) -> None:
        for name in ("a", "b"):
            for version in range(3):
                scope.save(name, f"{name} {version}")
        scope.remove("b")
        report = scope.verify_all()
        assert (report.ok, report.counts) == (True, {"whole": 7})
        Raw(scope, "a").put("1", b"ALTERED")
        Raw(scope, "b").delete("0.metadata")
        report = scope.verify_all()
        assert (report.ok, report.counts["whole"], len(report.damaged)) == (False, 5, 2)
        assert [one.ref.rpartition("/")[2] for one in report.damaged] == ["a@1", "b@0"]

    def test_collection_takes_what_lies_under_a_tombstone_and_leaves_a_save_in_progress(self, scope: Scope) -> None:
        for version in range(3):
            scope.save("a", f"bytes {version}")
        payload = Raw(scope, "a").get("0")
        assert payload is not None
        scope.delete("a", 0)
        Raw(scope, "a").put("0", payload)
        scope.save("b", b"under way")
        Raw(scope, "b").delete("0")
        told = scope.gc(dry_run=True)
        assert [(one.kind, one.version, one.size_bytes) for one in told.collected] == [("payload", 0, len(payload))]
        assert Raw(scope, "a").get("0") == payload
        assert scope.gc().collected == told.collected
        assert scope.gc().collected == ()
        assert Raw(scope, "a").get("0") is None
        assert scope.versions("a") == [1, 2]
        assert Raw(scope, "b").get("0.metadata") is not None

    def test_erasing_tells_before_what_it_takes(self, store: ArtifactStore, scope: Scope, app: str) -> None:
        scope.save("a", b"1")
        scope.save("user:b", b"2")
        scope.remove("a")
        there = len(keys_below(store, f"{app}/"))
        assert store.erase(app, "alice", dry_run=True) == there > 0
        assert store.erase(app, "alice") == there
        assert keys_below(store, f"{app}/") == []
