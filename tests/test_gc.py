"""Collection: what crashed savers and interrupted deletes leave goes, what somebody may still need stays, all is told."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from artifactfs import (
    AccessDenied,
    ArtifactNotFound,
    ArtifactStore,
    AsyncArtifactStore,
    Collected,
    Conflict,
    VersionNotFound,
)
from artifactfs.async_store import awaited_store
from artifactfs.backends.base import Abilities, Got, Page
from artifactfs.backends.memory import MemoryBackend
from artifactfs.drivers import call, perform
from artifactfs.keys.keyring import new_key
from artifactfs.protocol.env import CLAIM_TTL, GIVE_UP
from artifactfs.protocol.ops import Commit, Put
from artifactfs.records import FENCE_SIZE, fence_payload
from artifactfs.sources import PieceSource
from artifactfs.store import Scope
from artifactfs.testing.counting import Counting, store_over

from .servers import Server

KEYS = f"{new_key('v1')},{new_key('v2')}"
LONG = bytes(range(256)) * 4 * 9 * 1024
"""9 MiB, so that it is streamed."""

DAY = GIVE_UP + CLAIM_TTL + 60.0


class Later:
    """A backend whose clock is ahead by so many seconds: all that is stored there is as much older."""

    def __init__(self, inner: Any, seconds: float) -> None:
        self.inner, self.seconds = inner, seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def now(self) -> float:
        return float(await self.inner.now()) + self.seconds


def later(store: ArtifactStore, seconds: float) -> ArtifactStore:
    """*store* as it is after so many seconds."""
    core = store._core
    while isinstance(core.backend, Later):
        core.backend = core.backend.inner
    core.backend = Later(core.backend, seconds)  # type: ignore[assignment]
    return store


def opened(where: str | Path, *, sealed: bool, **options: Any) -> ArtifactStore:
    if sealed:
        options |= {"keys": KEYS, "active_key_id": "v1"}
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
    url = f"memory://{uuid.uuid4().hex}" if place == "memory" else str(tmp_path)
    with opened(url, sealed=protection == "sealed") as store:
        yield store


@pytest.fixture
def memory() -> ArtifactStore:
    return ArtifactStore(f"memory://{uuid.uuid4().hex}")


def session(store: ArtifactStore) -> Scope:
    return store.scope("shop", "alice", "s1")


def objects(store: ArtifactStore) -> dict[str, Got]:
    """All that lies in the store below, by key."""
    found: dict[str, Got] = {}
    backend, after = store.backend, ""
    while True:
        page: Page = call(backend, partial(backend.list, "", after, deep=True))
        for entry in page.entries:
            got = call(backend, partial(backend.get, entry.name))
            assert got is not None
            found[entry.name] = got
        if page.next is None:
            return found
        after = page.next


def put(store: ArtifactStore, key: str, data: bytes) -> None:
    call(store.backend, lambda: store.backend.put(key, data, "application/octet-stream"))


def take(store: ArtifactStore, *keys: str) -> None:
    call(store.backend, lambda: store.backend.delete(keys))


def crash(store: ArtifactStore, name: str, scope: Scope | None = None) -> None:
    """Save a stream until its upload is to be completed; nobody hears of its saver again."""
    source = PieceSource(iter([LONG]))
    head, whole = source.head()
    assert not whole
    steps = (scope or session(store))._ops.save(name, head, False, None, None, None)
    batch = next(steps)
    while not any(isinstance(op, Commit) for op in batch):
        batch = steps.send(perform(batch, store.backend, source))
    steps.close()


def uploads(store: ArtifactStore, folder: str = "") -> list[str]:
    return [one.key for one in call(store.backend, lambda: store.backend.unfinished(folder))]


def leave(store: ArtifactStore) -> dict[str, str]:
    """One of each kind of leftover, and what they lie among; the key and kind of each."""
    scope = session(store)
    folder = "shop/alice/s1/"
    for number in range(4):
        scope.save("report.csv", f"version {number}")
    kept = objects(store)
    scope.delete("report.csv", 1)
    put(store, f"{folder}report.csv/1", kept[f"{folder}report.csv/1"].data)
    scope.save("claimed", b"never published")
    take(store, f"{folder}claimed/0")
    scope.save("fenced", b"never published")
    put(store, f"{folder}@hidden/fenced/0", b"")
    put(store, f"{folder}fenced/0", fence_payload())
    scope.save("back", b"first")
    scope.remove("back")
    put(store, f"{folder}@hidden/back/0", b"")
    scope.save("back", b"second")
    put(store, f"{folder}@hidden/back/0", b"")
    put(store, f"{folder}report.csv/!1", b"")
    put(store, f"{folder}report.csv/!3", b"")
    put(store, "@store/probe/0123", b"probed")
    scope.save("fence-like", b"artifactfs fence" + b"of a user.......")
    scope.save("removed", b"was here")
    scope.remove("removed")
    scope.save("user:shared", b"shared")
    crash(store, "video.mp4", store.scope("shop", "bob"))
    (upload,) = uploads(store)
    return {
        "@store/probe/0123": "probe",
        f"{folder}@hidden/back/0": "mark",
        f"{folder}report.csv/!1": "hint",
        f"{folder}report.csv/1": "payload",
        f"{folder}claimed/0.metadata": "claim",
        f"{folder}fenced/0": "fence",
        "shop/bob/user/video.mp4/0.metadata": "claim",
        upload: "temporary file" if store.url.startswith("file") else "upload",
    }


def kinds(found: Collected) -> dict[str, str]:
    return {one.key: one.kind for one in found.collected}


def check_kept(store: ArtifactStore) -> None:
    scope = session(store)
    assert scope.versions("report.csv") == [0, 2, 3]
    assert scope.load("report.csv").data == b"version 3"
    assert scope.load("back").data == b"second"
    assert scope.load("fence-like").data == b"artifactfs fenceof a user......."
    assert scope.load("removed", 0).data == b"was here"
    assert list(scope.names()) == ["back", "fence-like", "report.csv", "user:shared"]
    with pytest.raises(ArtifactNotFound):
        scope.load("claimed")
    assert scope.save("claimed", b"again").version == 1
    assert scope.save("fenced", b"again").version == 1


# --- what goes --------------------------------------------------------------------------------------------------------


def test_all_that_was_left_behind_goes_as_a_dry_run_has_told_and_nothing_else(store: ArtifactStore) -> None:
    left = leave(store)
    later(store, DAY)
    before = objects(store)
    told = store.gc(dry_run=True)
    assert objects(store) == before and uploads(store)
    assert kinds(told) == left
    assert (told.dry_run, told.left) == (True, ())
    done = store.gc()
    assert done == Collected(dry_run=False, collected=told.collected)
    assert uploads(store) == []
    assert done.bytes_freed >= len("version 1") + len("probed")
    assert all(one.why for one in done.collected)
    assert store.gc() == Collected(dry_run=False)
    check_kept(store)


def test_it_says_whose_each_leftover_is(memory: ArtifactStore) -> None:
    leave(memory)
    told = {one.key: one for one in later(memory, DAY).gc(dry_run=True).collected}
    payload = told["shop/alice/s1/report.csv/1"]
    assert (payload.artifact, payload.version, payload.size_bytes) == ("shop/alice/s1/report.csv", 1, len("version 1"))
    assert payload.why == "its version was deleted"
    claim = told["shop/bob/user/video.mp4/0.metadata"]
    assert (claim.artifact, claim.why) == ("shop/bob/user/video.mp4", "its saver was not heard of for 24 hours")
    upload = told["shop/bob/user/video.mp4/0"]
    assert (upload.artifact, upload.version, upload.size_bytes) == ("shop/bob/user/video.mp4", 0, None)


def test_what_is_young_stays(store: ArtifactStore) -> None:
    leave(store)
    later(store, CLAIM_TTL - 60)
    seen = store.gc()
    assert {one.kind for one in seen.collected} == {"mark", "hint", "payload", "fence"}
    assert [one.kind for one in seen.left] == ["temporary file" if store.url.startswith("file") else "upload"]
    assert seen.left[0].why == "it began 9 minutes ago, and may still be completed"
    assert len(uploads(store)) == 1
    assert set(kinds(later(store, CLAIM_TTL + 60).gc()).values()) - {"upload"} == {"claim"}
    check_kept(store)


@pytest.mark.parametrize(("seconds", "goes"), [(CLAIM_TTL - 30, False), (CLAIM_TTL + 1, True)])
def test_a_claim_is_ended_ten_minutes_after_its_record_was_written(
    memory: ArtifactStore, seconds: float, goes: bool
) -> None:
    session(memory).save("a", b"1")
    take(memory, "shop/alice/s1/a/0")
    before = objects(memory)
    assert bool(later(memory, seconds).gc().collected) is goes
    assert (objects(memory) != before) is goes


@pytest.mark.parametrize(("seconds", "goes"), [(GIVE_UP + CLAIM_TTL - 30, False), (GIVE_UP + CLAIM_TTL + 30, True)])
def test_an_upload_goes_when_no_save_can_complete_it_any_more(store: ArtifactStore, seconds: float, goes: bool) -> None:
    call(store.backend, lambda: store.backend.upload("shop/alice/s1/video.mp4/7", "video/mp4"))
    seen = later(store, seconds).gc()
    assert (len(seen.collected), len(seen.left), len(uploads(store))) == ((1, 0, 0) if goes else (0, 1, 1))


def test_an_upload_goes_with_the_number_that_it_is_for(memory: ArtifactStore) -> None:
    crash(memory, "video.mp4")
    later(memory, CLAIM_TTL + 60)
    assert kinds(memory.gc()) == {"shop/alice/s1/video.mp4/0.metadata": "claim", "shop/alice/s1/video.mp4/0": "upload"}
    call(memory.backend, lambda: memory.backend.upload("shop/alice/s1/video.mp4/0", "video/mp4"))
    (one,) = memory.gc().collected
    assert (one.kind, one.why) == ("upload", "its number has ended")


def test_a_temporary_file_is_told_with_its_size(tmp_path: Path) -> None:
    store = opened(tmp_path, sealed=False)
    crash(store, "video.mp4")
    (one,) = (one for one in later(store, DAY).gc().collected if one.kind == "temporary file")
    assert one.size_bytes == len(LONG)
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_scope_that_holds_nothing_but_leftovers_is_seen(store: ArtifactStore) -> None:
    call(store.backend, lambda: store.backend.upload("shop/carol/s9/only/0", "x/y"))
    assert len(later(store, DAY).gc().collected) == 1
    assert uploads(store) == []
    session(store).save("a", b"1")
    take(store, "shop/alice/s1/a/0")
    assert list(kinds(store.gc()).values()) == ["claim"]


def test_a_scope_is_collected_by_itself(store: ArtifactStore) -> None:
    left = leave(store)
    later(store, DAY)
    assert kinds(store.scope("shop", "alice", "s1").gc(dry_run=True)) == {
        key: kind for key, kind in left.items() if key.startswith("shop/alice/s1/")
    }
    assert sorted(kinds(store.scope("shop", "bob").gc()).values()) in (["claim", "temporary file"], ["claim", "upload"])
    assert store.scope("shop", "carol", "s1").gc() == Collected(dry_run=False)
    assert session(store).gc().collected
    check_kept(store)


def test_marks_of_what_is_out_of_view_stay(store: ArtifactStore) -> None:
    scope = session(store)
    for name in ("-early", "late"):  # one sorts before the marks, one after them
        scope.save(name, b"1")
        scope.remove(name)
    scope.save("deleted", b"1")
    scope.delete("deleted")
    before = objects(store)
    assert later(store, DAY).gc() == Collected(dry_run=False)
    assert objects(store) == before
    scope.save("-early", b"2")
    put(store, "shop/alice/s1/@hidden/-early/1", b"")
    assert kinds(store.gc()) == {"shop/alice/s1/@hidden/-early/1": "mark"}


def test_what_another_program_has_put_there_stays(store: ArtifactStore) -> None:
    session(store).save("a", b"1")
    for key in ("README", "shop/notes", "shop/alice/s1/a/other", "shop/alice/s1/a%41/0", "shop/alice/s1/alien/0"):
        put(store, key, b"")
    put(store, "shop/alice/s1/torn/0.metadata", b"{")
    before = objects(store)
    seen = later(store, DAY).gc()
    assert objects(store) == before
    assert (seen.collected, [one.key for one in seen.left]) == ((), ["shop/alice/s1/torn/0.metadata"])
    assert "cannot be read" in seen.left[0].why


def test_the_upload_of_another_program_stays(memory: ArtifactStore) -> None:
    for key in ("backup/.tmp-2026", "shop/alice/s1/a/0.metadata", "shop/alice/s1/a%41/0"):
        call(memory.backend, lambda key=key: memory.backend.upload(key, "application/x-tar"))  # type: ignore[misc]
    seen = later(memory, DAY).gc()
    assert (seen.collected, len(seen.left), len(uploads(memory))) == ((), 3, 3)
    assert {one.why for one in seen.left} == {"no version lies there: it is another program's"}


def test_pages_of_any_size_tell_the_same(memory: ArtifactStore) -> None:
    left = leave(memory)
    for size in (1, 2, 3, 7):
        paged = later(store_over(MemoryBackend(memory.url, page_size=size), ArtifactStore), DAY)
        assert kinds(paged.gc(dry_run=True)) == left
    assert kinds(paged.gc()) == left
    check_kept(memory)


def test_a_number_that_was_collected_is_never_given_again_and_its_saver_saves_under_a_higher_one(
    memory: ArtifactStore,
) -> None:
    scope = session(memory)
    scope.save("a", b"0")
    take(memory, "shop/alice/s1/a/0")
    later(memory, DAY).gc()
    assert objects(memory)["shop/alice/s1/a/0"].size == FENCE_SIZE
    assert scope.save("a", b"1").version == 1


# --- beside running savers --------------------------------------------------------------------------------------------


class Interrupted(io.BytesIO):
    """A file in the middle of which something else happens, once."""

    def __init__(self, data: bytes, meanwhile: Callable[[], object]) -> None:
        super().__init__(data)
        self.meanwhile: Callable[[], object] | None = meanwhile

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 8 * 1024 * 1024 and self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return super().read(size)


def test_a_stream_that_paused_too_long_is_saved_again_when_its_upload_was_collected(store: ArtifactStore) -> None:
    seen: list[Collected] = []
    other = later(opened(store.url, sealed=store._core.custody.keys is not None), DAY)
    record = session(store).save("video.mp4", Interrupted(LONG + LONG, lambda: seen.append(other.gc())))
    assert {one.kind for one in seen[0].collected} >= {"claim"} and len(seen[0].collected) == 2
    assert record.version == 1
    assert session(store).load("video.mp4").data == LONG + LONG
    assert uploads(store) == []


def test_a_stream_that_cannot_be_had_again_says_so_when_its_upload_was_collected(memory: ArtifactStore) -> None:
    def pieces() -> Iterator[bytes]:
        yield LONG
        later(memory, DAY).gc()
        yield LONG

    with pytest.raises(Conflict, match="paused for so long that its number 0 was taken away"):
        session(memory).save("video.mp4", pieces())
    assert session(memory).versions("video.mp4") == []


def test_a_stream_is_left_alone_while_it_runs(store: ArtifactStore) -> None:
    seen: list[Collected] = []
    record = session(store).save("video.mp4", Interrupted(LONG + LONG, lambda: seen.append(store.gc())))
    assert (record.version, seen[0].collected, len(seen[0].left)) == (0, (), 1)


def racy(store: ArtifactStore) -> ArtifactStore:
    """A store that completes uploads over whatever is there."""
    backend = store.backend
    backend.abilities = Abilities("atomic", "racy", "atomic")
    return store_over(backend, ArtifactStore)


def test_claims_of_streams_stay_where_a_completion_overwrites_unless_nobody_writes(memory: ArtifactStore) -> None:
    store = racy(memory)
    crash(store, "video.mp4")
    session(store).save("small", b"1")
    take(store, "shop/alice/s1/small/0")
    later(store, CLAIM_TTL + 60)
    for dry_run in (True, False):
        seen = store.gc(dry_run=dry_run)
        assert kinds(seen) == {"shop/alice/s1/small/0.metadata": "claim"}
        assert [(one.kind, "nobody_writes=True" in one.why) for one in seen.left] == [
            ("upload", False),
            ("claim", True),
        ]
    assert set(kinds(store.gc(nobody_writes=True)).values()) == {"claim", "upload"}


def save_some(where: str, name: str, count: int | None, seconds: float, keys: str) -> list[tuple[str, int, bytes]]:
    """Save for so long; what was acknowledged."""
    store = ArtifactStore(where, durability="none", keys=keys, active_key_id="v2")
    scope, saved = session(store), []
    ends = time.monotonic() + seconds
    number = 0
    while number < count if count is not None else time.monotonic() < ends:
        data = f"{name} {number}".encode() * (1 + number % 7)
        to = "shared" if number % 2 else name
        saved.append((to, scope.save(to, data, expect=None).version, data))
        number += 1
    return saved


def collect_and_rotate(store: ArtifactStore, savers: list[Any]) -> int:
    """Take every claim for stale, all the time, and rotate; how many rounds."""
    rounds = 0
    store.gc()  # opens it
    store._core.env = replace(store._core.env or pytest.fail("not opened"), claim_ttl=0.0)
    while not all(saver.done() for saver in savers):
        store.gc()
        store.rotate(to="v1" if rounds % 2 else "v2")
        rounds += 1
    return rounds


def check_savers(store: ArtifactStore, savers: list[Any]) -> int:
    saved = [one for saver in savers for one in saver.result()]
    assert len({(name, version) for name, version, _ in saved}) == len(saved)
    scope = session(store)
    for name, version, data in saved:
        assert scope.load(name, version).data == data
    assert {(name, number) for name in scope.names() for number in scope.versions(name)} == {one[:2] for one in saved}
    return len(saved)


def test_four_savers_lose_nothing_to_a_collection_that_takes_their_claims_for_stale(tmp_path: Path) -> None:
    store = opened(tmp_path, sealed=True)
    with ThreadPoolExecutor(4) as pool:
        savers = [pool.submit(save_some, str(tmp_path), f"n{number}", 25, 0.0, KEYS) for number in range(4)]
        assert collect_and_rotate(store, savers) > 0
    assert check_savers(store, savers) == 100


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_four_savers_lose_nothing_for_a_minute(tmp_path: Path) -> None:
    store = opened(tmp_path, sealed=True)
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        savers = [pool.submit(save_some, str(tmp_path), f"n{number}", None, 60.0, KEYS) for number in range(4)]
        rounds = collect_and_rotate(store, savers)
    print(rounds, "rounds,", check_savers(store, savers), "saves")


# --- what may not be done, or not be known ----------------------------------------------------------------------------


def test_a_read_only_store_is_not_collected_and_tells_what_would_go(store: ArtifactStore) -> None:
    left = leave(store)
    reader = later(opened(store.url, sealed=store._core.custody.keys is not None, read_only=True), DAY)
    assert kinds(reader.gc(dry_run=True)) == left
    with pytest.raises(AccessDenied, match="read_only"):
        reader.gc()
    with pytest.raises(AccessDenied, match="read_only"):
        reader.scope("shop", "alice", "s1").gc()


def test_a_sealed_store_is_collected_without_keys_as_far_as_that_is_safe(tmp_path: Path) -> None:
    sealed = opened(tmp_path, sealed=True)
    left = leave(sealed)
    keyless = later(ArtifactStore(tmp_path, durability="none", keys="none"), DAY)
    seen = keyless.gc()
    need = {key for key, kind in left.items() if kind in ("claim", "fence")}
    assert {one.key for one in seen.left} == need
    assert all("needs keys" in one.why for one in seen.left)
    assert {one.key for one in seen.collected} >= left.keys() - need - {"shop/alice/s1/report.csv/1"}
    assert {one.key for one in later(sealed, DAY).gc().collected} >= need
    check_kept(sealed)


def test_a_plain_store_is_collected_with_keys(tmp_path: Path) -> None:
    left = leave(opened(tmp_path, sealed=False))
    keyed = opened(tmp_path, sealed=True, accept_plain=True)
    assert kinds(later(keyed, DAY).gc()) == left
    check_kept(keyed)


def test_users_that_a_secret_hides_are_collected_too(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path, durability="none", scope_secret="sixteen or more bytes")
    scope = session(store)
    scope.save("a", b"1")
    take(store, f"{scope.id.folder}a/0")
    later(store, DAY)
    assert len(scope.gc(dry_run=True).collected) == len(store.gc().collected) == 1


def test_both_kinds_of_store_collect_alike(store: ArtifactStore) -> None:
    left = leave(store)

    async def collect() -> Collected:
        other: AsyncArtifactStore = awaited_store(later(store, DAY))
        told = await other.gc(dry_run=True)
        mine = await other.scope("shop", "alice", "s1").gc(dry_run=True)
        assert {one.key for one in mine.collected} < {one.key for one in told.collected}
        return await other.gc()

    assert kinds(asyncio.run(collect())) == left
    check_kept(store)


# --- what it costs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sealed", [False, True])
def test_a_clean_store_costs_one_listing_for_a_thousand_keys_and_one_of_uploads(sealed: bool) -> None:
    where = f"memory://{uuid.uuid4().hex}"
    store = opened(where, sealed=sealed)
    for number in range(510):
        store.scope("shop", f"user{number % 7}", f"s{number % 30}").save(f"n{number}", b"bytes")
    counting = Counting(store.backend)
    store._core.backend = counting  # type: ignore[assignment]
    store.gc()
    methods = [one.method for one in counting.taken()]
    assert sorted(methods) == ["list", "list", "now", "unfinished"]
    store.scope("shop", "user1", "s1").gc()
    assert sorted(one.method for one in counting.taken()) == ["list", "now", "unfinished"]


# --- compact and erase ------------------------------------------------------------------------------------------------


def test_compact_and_erase_tell_how_much_would_go(store: ArtifactStore) -> None:
    scope = session(store)
    for number in range(6):
        scope.save("a", str(number))
    scope.save("user:b", b"1")
    for number in (1, 2):
        scope.delete("a", number)
    later(store, 8 * 24 * 3600)
    before = objects(store)
    assert store.compact(dry_run=True) == 2
    everything = len([key for key in before if key.startswith("shop/alice/")])
    session_alone = len([key for key in before if key.startswith("shop/alice/s1/")])
    assert store.erase("shop", "alice", dry_run=True) == everything
    assert store.erase("shop", "alice", "s1", dry_run=True) == session_alone
    assert store.erase("shop", "alice", "s1", "a", dry_run=True) == session_alone
    assert objects(store) == before
    assert store.compact() == 2
    assert store.compact(dry_run=True) == 0
    assert scope.versions("a") == [0, 3, 4, 5]
    assert store.erase("shop", "alice", "s1", "a") == session_alone - 2
    with pytest.raises(VersionNotFound):
        scope.load("user:b", 7)


def test_what_may_only_be_read_is_not_even_touched(tmp_path: Path) -> None:
    root = tmp_path / "store"
    ArtifactStore(root).scope("shop", "alice", "s1").save("x", "")
    (root / "shop/alice/s1/x/0").unlink()
    os.utime(root, (1e9, 1e9))
    store = ArtifactStore(root, read_only=True)
    store.gc(dry_run=True)
    store.prune({"rules": [{"keep_last": 1}]}, dry_run=True)
    store.compact(dry_run=True)
    assert store.verify_all().counts == {"in progress": 1}
    assert root.stat().st_mtime == 1e9


@pytest.mark.parametrize("folder", [".git/u/s", "shop/%zz/s", "shop/alice/%zz", "shop/alice/s1"])
def test_what_no_name_is_spelled_as_stops_no_upkeep(folder: str) -> None:
    store = ArtifactStore(f"memory://{uuid.uuid4().hex}", keys=f"{new_key('v1')},{new_key('v2')}", active_key_id="v1")
    scope = store.scope("shop", "alice", "s1")
    for _ in range(2):
        scope.save("x", "")
    perform((Put(f"{folder}/.DS_Store/0", b"", "text/plain"),), store.backend, None)
    assert store.rotate(to="v2").rewrapped == 2
    assert store.prune({"rules": [{"keep_last": 1}]}).deleted == 1
    assert store.compact(dry_run=True) == 0
    assert store.gc().collected == () and store.verify_all().ok


def test_compact_passes_a_damaged_record_by(memory: ArtifactStore) -> None:
    scope = session(memory)
    for number in range(4):
        scope.save("a", str(number))
    for number in (0, 1):
        scope.delete("a", number)
    put(memory, "shop/alice/s1/a/0.metadata", b"{")
    assert later(memory, 8 * 24 * 3600).compact() == 1
    assert scope.versions("a") == [2, 3]


def test_only_what_belongs_to_the_key_that_is_asked_for_is_discarded() -> None:
    """Uploads of number 10 stay when the claim of number 1 is ended."""
    store = ArtifactStore(f"memory://{uuid.uuid4().hex}")
    crash(store, "video.mp4")
    assert isinstance(store.backend, MemoryBackend)
    backend = store.backend
    call(backend, lambda: backend.upload("shop/alice/s1/video.mp4/01", "video/mp4"))
    later(store, CLAIM_TTL + 60).gc()
    assert uploads(store) == ["shop/alice/s1/video.mp4/01"]


# --- real servers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.server(name)) for name in ("minio", "ceph")])
def test_an_old_upload_is_aborted_on_a_server_and_a_young_one_is_not(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(name)
    url = server.bucket()
    bucket = url.removeprefix("s3://").partition("/")[0]
    with ArtifactStore(url, **server.storage_options) as store:
        crash(store, "video.mp4")
        session(store).save("report.csv", b"bytes")

        def there() -> int:
            key = "prefix/shop/alice/s1/video.mp4/0"
            return len(server.client().list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads", []))

        assert there() == 1
        young = store.gc()
        assert (young.collected, there()) == ((), 1)
        later(store, DAY)
        assert "upload" in kinds(store.gc(dry_run=True)).values()
        assert there() == 1
        done = store.gc(nobody_writes=True)
        assert (sorted(kinds(done).values()), there()) == (["claim", "upload"], 0)
        assert store.gc() == Collected(dry_run=False)
        assert session(store).load("report.csv").data == b"bytes"
        assert session(store).save("video.mp4", b"again").version == 1


@pytest.mark.server("minio")
def test_a_stream_to_a_server_is_saved_again_when_its_upload_was_collected(minio: Server) -> None:
    url = minio.bucket()
    seen: list[Collected] = []
    with ArtifactStore(url, **minio.storage_options) as store, ArtifactStore(url, **minio.storage_options) as other:
        later(other, DAY)
        record = session(store).save("video.mp4", Interrupted(LONG + LONG + LONG, lambda: seen.append(other.gc())))
        assert set(kinds(seen[0]).values()) == {"claim", "upload"}
        assert record.version == 1
        assert session(store).load("video.mp4").data == LONG + LONG + LONG


@pytest.mark.server("rclone")
def test_a_server_that_has_no_uploads_is_collected_and_erased(rclone: Server) -> None:
    with ArtifactStore(rclone.bucket(), single_writer=True, **rclone.storage_options) as store:
        session(store).save("report.csv", b"bytes")
        assert store.gc() == Collected(dry_run=False)
        assert store.erase("shop", "alice") == 2


@pytest.mark.server("fake_gcs")
def test_the_claim_of_a_crashed_stream_is_ended_where_uploads_cannot_be_listed(fake_gcs: Server) -> None:
    with ArtifactStore(fake_gcs.bucket(), **fake_gcs.storage_options) as store:
        crash(store, "video.mp4")
        assert kinds(later(store, DAY).gc(nobody_writes=True)) == {"shop/alice/s1/video.mp4/0.metadata": "claim"}
        assert session(store).save("video.mp4", b"again").version == 1
