"""Verifying all of a store: every damage is named, by threads, processes and a cluster alike, and a killed run goes on."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import tracemalloc
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from artifactfs import ArtifactStore, BackendUnavailable, InvalidConfig, VerifyReport, verifying
from artifactfs.async_store import awaited_store
from artifactfs.backends.memory import MemoryBackend
from artifactfs.bulk import Executor
from artifactfs.drivers import call
from artifactfs.keys.keyring import new_key
from artifactfs.protocol.env import CLAIM_TTL
from artifactfs.protocol.verify import PIECE
from artifactfs.records import fence_payload
from artifactfs.store import Scope
from artifactfs.testing.counting import Counting, store_over
from artifactfs.testing.store_base import Raw

from .clusters import a_cluster
from .servers import Server
from .test_gc import Later

ROOT = Path(__file__).resolve().parent.parent
KEYS = new_key("v1")


def opened(where: str | Path, **options: Any) -> ArtifactStore:
    return ArtifactStore(where, durability="none", **options)


@pytest.fixture(
    params=[
        "memory plain",
        "disk sealed",
        pytest.param("memory sealed", marks=pytest.mark.nightly),
        pytest.param("disk plain", marks=pytest.mark.nightly),
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArtifactStore]:
    place, _, protection = request.param.partition(" ")
    url = f"memory://{uuid.uuid4().hex}" if place == "memory" else str(tmp_path / "store")
    with opened(url, keys=KEYS if protection == "sealed" else None) as store:
        yield store


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "SHARD", 7)


def fill(store: ArtifactStore, artifacts: int = 12, versions: int = 3) -> int:
    """Some artifacts in some scopes; how many versions."""
    for number in range(artifacts):
        scope = store.scope("shop", f"user {number % 3}", None if number % 5 == 4 else f"s{number % 4}")
        for version in range(versions):
            scope.save(f"n/{number}", f"{number} {version}".encode() * 40)
    return artifacts * versions


def damage(store: ArtifactStore) -> dict[str, str]:
    """Every kind of damage among what is whole; what each is found to be."""
    scope = store.scope("shop", "alice", "s1")
    for name in ("altered", "cut", "lost payload", "lost record", "moved", "later", "deleted", "fenced", "removed"):
        for version in range(2):
            scope.save(name, f"{name} {version}")
    store.scope("shop", "alice").save("x@1", b"shared")
    Raw(scope, "altered").put("0", b"ALTERED 0"[: len(Raw(scope, "altered").get("0") or b"")].ljust(999, b"x"))
    Raw(scope, "cut").put("1", b"cu")
    Raw(scope, "lost payload").delete("0")
    Raw(scope, "lost record").delete("1.metadata")
    Raw(scope, "moved").put("0.metadata", Raw(scope, "moved").get("1.metadata") or b"")
    Raw(scope, "later").put(
        "0.metadata", (Raw(scope, "later").get("0.metadata") or b"").replace(b'"format":1', b'"format":9')
    )
    Raw(store.scope("shop", "alice"), "x@1").put("0", b"SHARED")
    scope.delete("deleted", 0)
    Raw(scope, "fenced").put("7", fence_payload())
    scope.remove("removed")
    found = "artifact://shop/alice/s1/"
    return {
        f"{found}altered@0": "altered",
        f"{found}cut@1": "truncated",
        f"{found}lost payload@0": "missing payload",
        f"{found}lost record@1": "missing record",
        f"{found}moved@0": "altered",
        f"{found}later@0": "unknown format",
        "artifact://shop/alice/user/x%401@0": "altered" if store._core.custody.keys is None else "truncated",
    }


def later(store: ArtifactStore, seconds: float = CLAIM_TTL + 60) -> ArtifactStore:
    store._core.backend = Later(store._core.backend, seconds)  # type: ignore[assignment]
    return store


def refs(report: VerifyReport) -> dict[str, str]:
    return {one.ref: one.state for one in report.damaged}


# --- what is found ----------------------------------------------------------------------------------------------------


def test_all_that_was_saved_is_whole_and_all_of_it_was_read(store: ArtifactStore) -> None:
    count = fill(store)
    report = store.verify_all()
    assert (report.ok, report.versions, report.counts) == (True, count, {"whole": count})
    read = sum(len(Raw(scope, name).get(str(number)) or b"") for scope, name, number in every(store))
    assert report.bytes_checked == read


def every(store: ArtifactStore) -> Iterator[tuple[Scope, str, int]]:
    for user in store.users("shop"):
        for session in [*store.sessions("shop", user), None]:
            scope = store.scope("shop", user, session)
            for name in scope.names():
                if session is None or not name.startswith("user:"):
                    for number in scope.versions(name):
                        yield scope, name, number


def test_every_damage_is_named_and_nothing_else_is(store: ArtifactStore) -> None:
    count, damaged = fill(store), damage(store)
    report = later(store).verify_all()
    assert refs(report) == damaged
    assert not report.ok and report.damaged_more == 0 and report.keys_lacking == {}
    # Each of nine artifacts has two versions, of which one was deleted; one was removed besides.
    assert report.versions == count + 9 * 2 - 1 + 1 + 1
    assert report.counts["whole"] == report.versions - len(damaged)
    assert all(one.detail for one in report.damaged)


def test_a_scope_is_verified_by_itself(store: ArtifactStore) -> None:
    fill(store)
    damaged = damage(store)
    later(store)
    session = store.scope("shop", "alice", "s1").verify_all()
    assert refs(session) == {ref: state for ref, state in damaged.items() if "/s1/" in ref}
    assert list(refs(store.scope("shop", "alice").verify_all())) == ["artifact://shop/alice/user/x%401@0"]
    assert store.scope("shop", "nobody").verify_all() == VerifyReport()


def test_a_save_that_is_under_way_is_no_damage_and_one_that_was_never_published_is(store: ArtifactStore) -> None:
    scope = store.scope("shop", "alice", "s1")
    scope.save("a", b"1")
    Raw(scope, "a").delete("0")
    assert (store.verify_all().ok, store.verify_all().counts) == (True, {"in progress": 1})
    report = later(store).verify_all()
    assert (report.ok, refs(report)) == (False, {"artifact://shop/alice/s1/a@0": "missing payload"})


def test_versions_that_cannot_be_opened_for_want_of_a_key_are_told_by_key(tmp_path: Path) -> None:
    two = new_key("v2")
    opened(tmp_path, keys=KEYS).scope("shop", "alice", "s1").save("a", b"1")
    both = opened(tmp_path, keys=f"{KEYS},{two}", active_key_id="v2").scope("shop", "alice", "s1")
    both.save("a", b"2")
    both.save("a", b"3")
    assert opened(tmp_path, keys=two).verify_all().keys_lacking == {"v1": 1}
    report = opened(tmp_path, keys="none").verify_all()
    assert (report.counts, report.keys_lacking) == ({"key unavailable": 3}, {"v1": 1, "v2": 2})
    assert (report.ok, report.damaged) == (False, ())
    assert report.bytes_checked > 0
    Raw(both, "a").put("1", b"altered")
    assert refs(opened(tmp_path, keys="none").verify_all()) == {"artifact://shop/alice/s1/a@1": "truncated"}


def test_versions_of_a_store_that_is_not_read_through_are_counted_apart(tmp_path: Path) -> None:
    opened(tmp_path, provider="old").scope("shop", "alice", "s1").save("a", b"1")
    other = opened(tmp_path)
    other.scope("shop", "alice", "s1").save("a", b"2")
    assert other.verify_all().counts == {"elsewhere": 1, "whole": 1}


def test_more_damage_than_is_told_is_counted(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "MOST_TOLD", 3)
    damage(store)
    report = later(store).verify_all()
    assert (len(report.damaged), report.damaged_more) == (3, 4)


def test_what_belongs_to_no_version_is_passed_over(store: ArtifactStore) -> None:
    scope = store.scope("shop", "alice", "s1")
    scope.save("a", b"1")
    scope.tag("a", "prod")
    scope.remove("a")
    for key in ("README", "shop/alice/notes", "shop/alice/s1/a/other", "shop/alice/s1/b%41/0"):
        call(store.backend, lambda key=key: store.backend.put(key, b"", "text/plain"))  # type: ignore[misc]
    assert store.verify_all().counts == {"whole": 2}


def test_pages_of_any_size_tell_the_same() -> None:
    store = opened(f"memory://{uuid.uuid4().hex}")
    fill(store)
    damage(store)
    report = store.verify_all()
    for size in (1, 2, 3, 7):
        assert store_over(MemoryBackend(store.url, page_size=size), ArtifactStore).verify_all() == report


# --- who works --------------------------------------------------------------------------------------------------------


def check_alike(store: ArtifactStore, executor: Executor) -> None:
    fill(store)
    damage(store)
    report = store.verify_all()
    assert report.counts["in progress"] == 1 and len(report.damaged) == 6
    assert store.verify_all(executor=executor) == report
    assert asyncio.run(awaited_store(store).verify_all(executor=executor)) == report
    scope = store.scope("shop", "alice", "s1")
    assert scope.verify_all(executor=executor) == scope.verify_all()


def test_threads_of_another_pool_find_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        check_alike(opened(tmp_path), pool)


def test_threads_of_another_pool_need_no_keys_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARTIFACTFS_KEYS", raising=False)
    store = ArtifactStore("memory://threads-with-keys", keys=KEYS)
    store.scope("shop", "alice").save("x", b"")
    with ThreadPoolExecutor(2) as pool:
        assert store.verify_all(executor=pool).counts == {"whole": 1}
        assert asyncio.run(awaited_store(store).verify_all(executor=pool)).counts == {"whole": 1}


def test_processes_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTFS_KEYS", KEYS)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        check_alike(opened(tmp_path), pool)


@pytest.mark.nightly
def test_a_cluster_finds_the_same(tmp_path: Path) -> None:
    with a_cluster() as client:
        check_alike(opened(tmp_path), client.get_executor())


def test_both_kinds_of_store_find_the_same(store: ArtifactStore) -> None:
    fill(store)
    damage(store)
    report = store.verify_all()
    other = awaited_store(store)
    seen: list[VerifyReport] = []
    assert asyncio.run(other.verify_all(progress=seen.append)) == report == seen[-1]
    assert (
        asyncio.run(other.scope("shop", "alice", "s1").verify_all()) == store.scope("shop", "alice", "s1").verify_all()
    )


def test_a_task_that_is_cancelled_ends(store: ArtifactStore) -> None:
    count = fill(store, 60)

    async def cancelled() -> int:
        seen: list[VerifyReport] = []
        task = asyncio.ensure_future(awaited_store(store).verify_all(progress=seen.append))
        while not seen:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return seen[-1].versions

    assert 0 < asyncio.run(cancelled()) < count


def test_progress_is_told_shard_by_shard(store: ArtifactStore) -> None:
    count = fill(store)
    seen: list[int] = []
    store.verify_all(progress=lambda report: seen.append(report.versions))
    assert seen == [*range(7, count, 7), count]


# --- a run that is cut off --------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from artifactfs import ArtifactStore, verifying

verifying.SHARD = 7

def progress(report):
    if report.versions >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

ArtifactStore(sys.argv[1]).verify_all(checkpoint=sys.argv[2], progress=progress)
"""


def test_a_run_that_was_killed_goes_on_and_tells_the_same(tmp_path: Path) -> None:
    store, checkpoint = opened(tmp_path / "store"), tmp_path / "verify.json"
    fill(store)
    damage(store)
    whole = store.verify_all()
    told: list[bytes] = []
    for at in (14, 28, 42):
        ended = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path / "store"), str(checkpoint), str(at)], cwd=ROOT
        )
        assert ended.returncode == -signal.SIGKILL
        told.append(checkpoint.read_bytes())
    assert len(set(told)) == 3
    counting = Counting(store.backend)
    store._core.backend = counting  # type: ignore[assignment]
    assert store.verify_all(checkpoint=checkpoint) == whole
    assert len([one for one in counting.taken() if one.method == "list"]) == 1
    store._core.backend = counting
    store.verify_all()
    assert len(counting.taken()) > 0
    assert os.listdir(tmp_path) == ["store"]


def test_what_was_verified_before_is_not_read_again(store: ArtifactStore, tmp_path: Path) -> None:
    count = fill(store)
    counting = Counting(store.backend)
    store._core.backend = counting  # type: ignore[assignment]
    checkpoint = tmp_path / "verify.json"

    def stop(report: VerifyReport) -> None:
        if report.versions == 21:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.verify_all(checkpoint=checkpoint, progress=stop)
    counting.taken()
    seen: list[int] = []
    assert (
        store.verify_all(checkpoint=checkpoint, progress=lambda report: seen.append(report.versions)).versions == count
    )
    assert seen[0] == 28
    read = {one.key for one in counting.taken() if one.method == "get" and not one.key.endswith(".metadata")}
    assert len(read) == count - 21
    assert not checkpoint.exists()


class Failing:
    """A backend of which some object cannot be had."""

    def __init__(self, inner: Any, key: str) -> None:
        self.inner, self.key = inner, key

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Any:
        if key == self.key:
            raise BackendUnavailable("no answer")
        return await self.inner.get(key, start, end)


@pytest.mark.parametrize("awaited", [False, True])
def test_a_store_that_does_not_answer_ends_the_run_which_goes_on_later(
    store: ArtifactStore, tmp_path: Path, awaited: bool
) -> None:
    count = fill(store)
    backend = store.backend
    store._core.backend = Failing(backend, "shop/user 1/s2/n%2F10/1.metadata")  # type: ignore[assignment]
    checkpoint = tmp_path / "verify.json"
    with pytest.raises(BackendUnavailable, match="no answer"):
        if awaited:
            asyncio.run(awaited_store(store).verify_all(checkpoint=checkpoint))
        else:
            store.verify_all(checkpoint=checkpoint)
    assert checkpoint.exists()
    store._core.backend = backend
    seen: list[VerifyReport] = []
    assert store.verify_all(checkpoint=checkpoint, progress=seen.append).counts == {"whole": count}
    assert seen[0].versions > 7


def test_a_checkpoint_of_another_run_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    fill(store)
    checkpoint = tmp_path / "verify.json"
    with pytest.raises(ZeroDivisionError):
        store.verify_all(checkpoint=checkpoint, progress=lambda report: 1 / (21 - report.versions))
    with pytest.raises(InvalidConfig, match="is the checkpoint of another verification, of all in"):
        store.scope("shop", "alice", "s1").verify_all(checkpoint=checkpoint)
    checkpoint.write_bytes(b"notes of mine")
    with pytest.raises(InvalidConfig, match="is no checkpoint"):
        store.verify_all(checkpoint=checkpoint)
    assert checkpoint.read_bytes() == b"notes of mine"


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_what_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "SHARD", 100)
    store = opened(tmp_path)
    scope = store.scope("shop", "alice", "s1")
    for number in range(40):
        scope.save(f"n{number}", bytes([number]) * (3 * PIECE // 4))
    tracemalloc.start()
    assert store.verify_all().bytes_checked == 30 * PIECE
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * PIECE


def test_a_version_costs_three_requests_and_the_listing_one_for_a_thousand_keys() -> None:
    store = opened(f"memory://{uuid.uuid4().hex}")
    scope = store.scope("shop", "alice", "s1")
    for number in range(510):
        scope.save("a", str(number))
    counting = Counting(store.backend)
    store._core.backend = counting  # type: ignore[assignment]
    assert store.verify_all().versions == 510
    methods = [one.method for one in counting.taken()]
    assert {name: methods.count(name) for name in set(methods)} == {"list": 2, "get": 2 * 510, "stat": 510}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.server(name)) for name in ("minio", "fake_gcs")])
def test_a_store_on_a_server_is_verified(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(name)
    with opened(server.bucket(), **server.storage_options) as store:
        count = fill(store, 5, 2)
        scope = store.scope("shop", "alice", "s1")
        scope.save("a", b"1")
        Raw(scope, "a").put("0", b"2")
        report = store.verify_all()
        assert (report.versions, refs(report)) == (count + 1, {"artifact://shop/alice/s1/a@0": "altered"})

        async def verified() -> VerifyReport:
            other = awaited_store(store)
            return await other.verify_all()

        assert asyncio.run(verified()) == report
