"""Rotation: every data key is wrapped anew, no payload is touched, and nobody who saves or deletes meanwhile is hurt."""

from __future__ import annotations

import asyncio
import base64
import json
import multiprocessing
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest

import artifactfs.custody as custody_module
from artifactfs import ArtifactNotFound, ArtifactStore, AsyncArtifactStore, Rotated, VersionNotFound
from artifactfs.backends.base import Abilities, Entry, Got, Page, Written
from artifactfs.codecs.plain import Plain
from artifactfs.custody import Custody, DataKey, Seal, wrapped_of
from artifactfs.drivers import call
from artifactfs.errors import (
    AccessDenied,
    ArtifactError,
    BackendUnavailable,
    InvalidConfig,
    KeyUnavailable,
    UnsafeBackend,
)
from artifactfs.keys.base import Identity
from artifactfs.keys.keyring import Keyring, new_key
from artifactfs.layout import ScopeId
from artifactfs.protocol import rotate as rotate_module
from artifactfs.protocol import sealing as sealing_module
from artifactfs.protocol.ops import Put, Steps
from artifactfs.records import Blob, Pointer, Removed, decode
from artifactfs.store import Scope
from artifactfs.testing.counting import Counting
from artifactfs.testing.simulated_processes import Process
from artifactfs.testing.simulated_store import Contents
from artifactfs.testing.simulator import Violation

from .servers import Server
from .simulations import processes as simulated
from .simulations.properties import Role, view


def key(number: int) -> str:
    return f"v{number}:{base64.urlsafe_b64encode(bytes([number]) * 32).decode().rstrip('=')}"


BOTH = f"{key(1)},{key(2)}"
LONG = bytes(range(256)) * 4 * 9 * 1024  # 9 MiB, so that it is streamed


def opened(where: str, keys: str = BOTH, active: str | None = "v1", **options: Any) -> ArtifactStore:
    return ArtifactStore(where, keys=keys, active_key_id=active, **options)


@pytest.fixture
def where() -> str:
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture(params=["memory", "local"])
def anywhere(request: pytest.FixtureRequest, where: str, tmp_path: Path) -> str:
    return where if request.param == "memory" else str(tmp_path)


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


def put(store: ArtifactStore, name: str, data: bytes) -> None:
    call(store.backend, lambda: store.backend.put(name, data, "application/json"))


def key_ids(store: ArtifactStore) -> list[str]:
    """The ids of the keys in all records."""
    return sorted(
        json.loads(got.data)["encryption"]["key_id"]
        for name, got in objects(store).items()
        if name.endswith(".metadata")
    )


def fill(store: ArtifactStore) -> int:
    """Every kind of record, in two scopes; how many there are."""
    scope = store.scope("shop", "alice", "s1")
    scope.save("notes.txt", b"first", metadata={"by": "alice", "n": [1.0, 1e300, "ü"]})
    scope.save("notes.txt", b"second")
    scope.save("long.bin", iter([LONG]))
    scope.point("paper.pdf", "https://example.org/paper.pdf")
    scope.save("removed", b"was here")
    scope.remove("removed")
    scope.save("deleted", b"one")
    scope.save("deleted", b"two")
    scope.delete("deleted", 0)
    scope.save("user:shared/x", b"shared")
    return 9


def check_filled(store: ArtifactStore) -> None:
    scope = store.scope("shop", "alice", "s1")
    assert scope.load("notes.txt", 0).data == b"first"
    assert scope.load("notes.txt").data == b"second"
    assert scope.load("notes.txt", 0).record.metadata == {"by": "alice", "n": [1.0, 1e300, "ü"]}
    assert scope.load("long.bin").data == LONG
    pointer = scope.stat("paper.pdf")
    assert isinstance(pointer, Pointer) and pointer.uri == "https://example.org/paper.pdf"
    assert scope.load("removed", 0).data == b"was here"
    with pytest.raises(ArtifactNotFound, match="was removed at version 1"):
        scope.load("removed")
    assert scope.versions("deleted") == [1]
    with pytest.raises(VersionNotFound):
        scope.load("deleted", 0)
    assert scope.load("user:shared/x").data == b"shared"
    assert list(scope.names()) == ["deleted", "long.bin", "notes.txt", "paper.pdf", "user:shared/x"]


class Passing:
    """A backend that passes everything on to another."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def over(backend: Any, store: ArtifactStore) -> ArtifactStore:
    """*store*, from now on over *backend*."""
    store._core.backend = backend
    return store


# --- what is rewritten, and what is not -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["store", "async store"])
def test_everything_opens_with_the_new_key_alone_afterwards(anywhere: str, kind: str) -> None:
    store = opened(anywhere)
    count = fill(store)
    rotated = store.rotate(to="v2") if kind == "store" else asyncio.run(_rotate_async(anywhere))
    assert rotated == Rotated(to="v2", rewrapped=count) and rotated.complete
    assert set(key_ids(store)) == {"v2"}
    check_filled(opened(anywhere, key(2), None))
    old = opened(anywhere, key(1), None).scope("shop", "alice", "s1")
    with pytest.raises(KeyUnavailable, match="'v2'") as caught:
        old.load("notes.txt", 0)
    assert caught.value.key_id == "v2"
    with pytest.raises(KeyUnavailable):
        old.stat("paper.pdf")
    assert store.rotate(to="v2") == Rotated(to="v2", already=count)


async def _rotate_async(where: str) -> Rotated:
    async with AsyncArtifactStore(where, keys=BOTH, active_key_id="v1") as store:
        session = await store.scope("shop", "alice", "s1").rotate(to="v2")
        shared = await store.rotate(to="v2")
        assert (session.already, shared.already) == (0, session.rewrapped)
        return msgspec.structs.replace(shared, rewrapped=session.rewrapped + shared.rewrapped, already=0)


def test_a_scope_rotates_alone(where: str) -> None:
    store = opened(where)
    fill(store)
    store.scope("shop", "bob", "s1").save("x", b"bob's")
    rotated = store.scope("shop", "alice", "s1").rotate(to="v2")
    assert (rotated.rewrapped, rotated.complete) == (8, True)
    assert key_ids(store) == ["v1", "v1", *["v2"] * 8]
    assert store.scope("shop", "alice").rotate(to="v2").rewrapped == 1


def test_users_behind_a_scope_secret_are_rotated_too(where: str) -> None:
    secret = "a secret of more than 32 characters, to be sure"
    fill(opened(where, scope_secret=secret))
    assert opened(where, scope_secret=secret).rotate(to="v2").complete
    check_filled(opened(where, key(2), None, scope_secret=secret))


def test_no_object_but_records_is_touched(anywhere: str) -> None:
    store = opened(anywhere)
    fill(store)
    before = objects(store)
    store.rotate(to="v2")
    after = objects(store)
    assert before.keys() == after.keys()
    for name in before:
        if name.endswith(".metadata"):
            assert before[name].data != after[name].data
        else:
            assert before[name] == after[name]  # bytes, time and tag


def test_no_payload_is_asked_for_and_each_record_is_read_and_written_once(where: str) -> None:
    store = opened(where)
    count = fill(store)
    counting = Counting(store.backend)
    over(counting, store)
    scope = store.scope("shop", "alice", "s1")
    assert scope.rotate(to="v2").rewrapped == count - 1
    calls = counting.taken()
    assert [call for call in calls if call.method == "list"] == [("list", "shop/alice/s1/")]
    records = [call.key for call in calls if call.method != "list"]
    assert all(key.endswith(".metadata") for key in records)
    assert sorted(call.method for call in calls if call.method != "list") == ["get"] * 8 + ["replace"] * 8
    scope.rotate(to="v2")
    assert {call.method for call in counting.taken()} == {"list", "get"}


def test_a_payload_on_the_page_before_its_record_is_seen(where: str) -> None:
    store = opened(where)
    fill(store)
    for size in (1, 2, 3):
        store._core.backend.page_size = size  # type: ignore[attr-defined]
        counting = Counting(store.backend)
        rotated = over(counting, store).rotate(to=f"v{1 + size % 2}")
        assert rotated.rewrapped == 9 and rotated.complete
        assert {call.method for call in counting.taken()} == {"list", "get", "replace"}
        over(counting.inner, store)


def test_fields_of_later_releases_and_all_others_are_kept_byte_for_byte(where: str) -> None:
    store = opened(where)
    scope = store.scope("shop", "alice", "s1")
    scope.save("x", b"x", metadata={"n": 1.50, "text": "ü"})
    name = scope.id.artifact("x").record(0)
    stored = objects(store)[name].data
    record = decode(stored)
    assert record.encryption
    identity, ring = scope.id.artifact("x").identity(record.write_id), Keyring.parse(BOTH)
    wrapped = wrapped_of(scope.id.artifact("x"), record)
    seal = Seal(DataKey(ring.unwrap("v1", wrapped, identity)), identity, "v1", wrapped)
    fields = msgspec.json.decode(stored, type=dict[str, msgspec.Raw])
    del fields["mac"]
    fields["encryption"] = msgspec.Raw(bytes(fields["encryption"])[:-1] + b',"inner":[1.0, 2]}')
    fields["later"] = msgspec.Raw(b'{"a" : 1e5, "b":123456789012345678901234567890}')
    put(store, name, seal.stamp(scope.id.artifact("x"), record, msgspec.json.encode(fields)))
    before = objects(store)[name].data
    assert scope.load("x").data == b"x"
    for to in ("v2", "v1", "v2"):
        assert scope.rotate(to=to).rewrapped == 1
    after = objects(store)[name].data
    assert len(after) == len(before)
    kept, found = (msgspec.json.decode(data, type=dict[str, msgspec.Raw]) for data in (before, after))
    assert list(kept) == list(found)
    assert {f: bytes(raw) for f, raw in kept.items() if f not in ("encryption", "mac")} == {
        f: bytes(raw) for f, raw in found.items() if f not in ("encryption", "mac")
    }
    assert bytes(found["encryption"]).endswith(b',"inner":[1.0, 2]}')
    assert opened(where, key(2), None).scope("shop", "alice", "s1").load("x").data == b"x"


def test_keys_that_are_kept_elsewhere_are_asked_for_them(where: str) -> None:
    class Elsewhere:
        def __init__(self) -> None:
            self.ring, self.asked = Keyring.parse(BOTH), 0

        def wrap(self, key_id: str, data_key: bytes, identity: Identity) -> bytes:
            self.asked += 1
            return self.ring.wrap(key_id, data_key, identity)

        def unwrap(self, key_id: str, wrapped: bytes, identity: Identity) -> bytes:
            return self.ring.unwrap(key_id, wrapped, identity)

    count = fill(opened(where))
    keeper = Elsewhere()
    store = ArtifactStore(where, keys=keeper, active_key_id="v2")
    assert store.rotate(to="v2").rewrapped == count == keeper.asked
    check_filled(opened(where, key(2), None))
    before = objects(store)
    with pytest.raises(KeyUnavailable, match="'v3'"):
        store.rotate(to="v3")
    assert objects(store) == before


def test_records_in_an_older_store_that_is_read_through_are_rotated_in_front_of_it(where: str) -> None:
    older = opened(where)
    count = fill(older)
    before = objects(older)
    front = f"memory://{uuid.uuid4().hex}"
    assert opened(front, read_through=[where]).rotate(to="v2") == Rotated(to="v2", rewrapped=count)
    assert objects(older) == before
    assert {name.rpartition("/")[2].partition(".")[2] for name in objects(opened(front))} == {"metadata"}
    check_filled(opened(front, key(2), None, read_through=[where]))


# --- crashes, lost answers --------------------------------------------------------------------------------------------


class Crashing(Passing):
    """Fails for good after so many rewrites; the last one takes effect or does not."""

    def __init__(self, inner: Any, after: int, landing: bool) -> None:
        super().__init__(inner)
        self.left, self.landing = after, landing

    async def replace(self, key: str, data: bytes, content_type: str, tag: str) -> Written:
        self.left -= 1
        if self.left >= 0:
            written: Written = await self.inner.replace(key, data, content_type, tag)
            return written
        if self.landing and self.left == -1:
            await self.inner.replace(key, data, content_type, tag)
        raise BackendUnavailable("crashed", landed=self.landing)


@pytest.mark.parametrize("landing", [False, True])
def test_a_rotation_that_was_cut_off_anywhere_goes_on_where_it_was(where: str, landing: bool) -> None:
    store = opened(where)
    count = fill(store)
    plain = store.backend
    for done in range(count):
        old, new = ("v1", "v2") if done % 2 == 0 else ("v2", "v1")
        with pytest.raises(BackendUnavailable, match="crashed"):
            over(Crashing(plain, done, landing), store).rotate(to=new)
        over(plain, store)
        there = key_ids(store)
        assert there == sorted([new] * (done + landing) + [old] * (count - done - landing))
        check_filled(store)
        assert store.rotate(to=new) == Rotated(to=new, rewrapped=count - done - landing, already=done + landing)
        check_filled(opened(where, key(int(new[1])), None))


def test_a_rewrite_whose_answer_was_lost_is_counted_once(where: str) -> None:
    class Deaf(Passing):
        async def replace(self, key: str, data: bytes, content_type: str, tag: str) -> Written:
            await self.inner.replace(key, data, content_type, tag)
            return Written(False, tries=2)

    store = opened(where)
    count = fill(store)
    assert over(Deaf(store.backend), store).rotate(to="v2") == Rotated(to="v2", rewrapped=count)
    check_filled(opened(where, key(2), None))


def test_a_store_that_never_rewrites_ends_a_rotation_with_an_error(where: str) -> None:
    class Stubborn(Passing):
        async def replace(self, *_: Any) -> Written:
            return Written(False)

    store = opened(where)
    fill(store)
    with pytest.raises(ArtifactError, match="was refused 20 times as changed"):
        over(Stubborn(store.backend), store).rotate(to="v2")


# --- beside savers and deletes ----------------------------------------------------------------------------------------


def save_some(where: str, name: str, count: int) -> list[tuple[int, bytes]]:
    scope = opened(where, durability="none").scope("shop", "alice", "s1")
    saved = []
    for number in range(count):
        data = f"{name} {number}".encode()
        saved.append((scope.save("race", data).version, data))
    return saved


def check_raced(where: str, runs: list[list[tuple[int, bytes]]], deleted: set[int]) -> None:
    store = opened(where, durability="none")
    assert store.rotate(to="v2").complete
    scope = opened(where, key(2), None).scope("shop", "alice", "s1")
    saved = [one for run in runs for one in run]
    assert len({number for number, _ in saved}) == len(saved)
    assert scope.versions("race") == sorted(number for number, _ in saved if number not in deleted)
    for number, data in saved:
        if number in deleted:
            with pytest.raises(VersionNotFound):
                scope.load("race", number)
        else:
            assert scope.load("race", number).data == data


def test_beside_threads_that_save_and_delete_nothing_is_lost_and_nothing_comes_back(anywhere: str) -> None:
    runs: list[list[tuple[int, bytes]]] = []
    deleted: list[int] = []

    def save(name: str) -> None:
        runs.append(save_some(anywhere, name, 6))

    def save_and_delete(name: str) -> None:
        scope = opened(anywhere, durability="none").scope("shop", "alice", "s1")
        for number, data in save_some(anywhere, name, 6):
            runs.append([(number, data)])
            scope.delete("race", number)
            deleted.append(number)

    savers = [threading.Thread(target=save, args=(f"saver {n}",)) for n in range(5)]
    savers += [threading.Thread(target=save_and_delete, args=(f"deleter {n}",)) for n in range(3)]
    for thread in savers:
        thread.start()
    store = opened(anywhere, durability="none")
    rounds = 0
    while any(thread.is_alive() for thread in savers):
        rotated = store.rotate(to=f"v{1 + rounds % 2}")
        assert not (rotated.altered or rotated.unavailable or rotated.plain)
        rounds += 1
    for thread in savers:
        thread.join()
    assert len(deleted) == 18 and sum(map(len, runs)) == 48
    check_raced(anywhere, runs, set(deleted))


def test_beside_processes_that_save_nothing_is_lost(tmp_path: Path) -> None:
    store = opened(str(tmp_path), durability="none")
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        runs = [pool.submit(save_some, str(tmp_path), f"saver {n}", 20) for n in range(2)]
        rounds = 0
        while not all(run.done() for run in runs):
            rotated = store.rotate(to=f"v{1 + rounds % 2}")
            assert not (rotated.altered or rotated.unavailable or rotated.plain)
            rounds += 1
        check_raced(str(tmp_path), [run.result() for run in runs], set())


def test_a_stream_under_way_keeps_its_claim_and_is_counted(anywhere: str) -> None:
    store = opened(anywhere)
    scope = store.scope("shop", "alice", "s1")
    scope.save("long.bin", b"short")
    with scope.open("long.bin", "wb", expect=0) as file:
        file.write(LONG)
        rotated = store.rotate(to="v2")
        assert (rotated.rewrapped, rotated.in_progress, rotated.complete) == (1, 1, False)
    assert file.record is not None and file.record.version == 1
    assert scope.load("long.bin").data == LONG
    assert key_ids(store) == ["v1", "v2"]
    assert store.rotate(to="v2") == Rotated(to="v2", rewrapped=1, already=1)
    assert opened(anywhere, key(2), None).scope("shop", "alice", "s1").load("long.bin").data == LONG


def test_a_claim_without_payload_is_left_alone_and_after_more_than_a_day_needs_no_key(where: str) -> None:
    class Tomorrow(Passing):
        async def now(self) -> float:
            now: float = await self.inner.now()
            return now + 25 * 3600

    store = opened(where)
    scope = store.scope("shop", "alice", "s1")
    scope.save("x", b"0")
    artifact = scope.id.artifact("x")
    call(store.backend, lambda: store.backend.delete([artifact.payload(0)]))
    before = objects(store)
    rotated = store.rotate(to="v2")
    assert rotated == Rotated(to="v2", in_progress=1) and not rotated.complete
    rotated = over(Tomorrow(store.backend), store).rotate(to="v2")
    assert rotated == Rotated(to="v2", abandoned=1) and rotated.complete
    assert objects(store) == before


def test_a_version_that_was_published_since_the_listing_is_rotated(where: str) -> None:
    class Behind(Passing):
        """A listing from just before the publication."""

        async def list(self, *args: Any, **kwargs: Any) -> Page:
            page: Page = await self.inner.list(*args, **kwargs)
            return page._replace(entries=tuple(one for one in page.entries if _is_record(one)))

    store = opened(where)
    store.scope("shop", "alice", "s1").save("x", b"0")
    assert over(Behind(store.backend), store).rotate(to="v2") == Rotated(to="v2", rewrapped=1)


def _is_record(entry: Entry) -> bool:
    return entry.name.endswith(".metadata")


# --- what is reported and left alone ----------------------------------------------------------------------------------


def test_altered_records_are_named_and_never_given_a_genuine_mac(where: str) -> None:
    store = opened(where)
    count = fill(store)
    scope = store.scope("shop", "alice", "s1")
    artifact = scope.id.artifact("notes.txt")
    first, second = (objects(store)[artifact.record(number)].data for number in (0, 1))
    altered = {
        artifact.record(0): first.replace(b"text/plain", b"text/xxxxx"),
        artifact.record(1): first,  # moved
        scope.id.artifact("paper.pdf").record(0): b"{",
    }
    plain = json.loads(objects(store)[scope.id.artifact("removed").record(0)].data)
    del plain["encryption"], plain["mac"]
    altered[scope.id.artifact("removed").record(0)] = json.dumps(plain).encode()  # stripped
    for name, data in altered.items():
        put(store, name, data)
    before = objects(store)
    rotated = store.rotate(to="v2")
    assert rotated.altered == (
        "shop/alice/s1/notes.txt@0",
        "shop/alice/s1/notes.txt@1",
        "shop/alice/s1/paper.pdf@0",
        "shop/alice/s1/removed@0",
    )
    assert (rotated.rewrapped, rotated.complete) == (count - 4, False)
    assert {name: objects(store)[name] for name in altered} == {name: before[name] for name in altered}
    put(store, artifact.record(0), first)
    put(store, artifact.record(1), second)
    assert store.rotate(to="v2").rewrapped == 2


def test_of_many_altered_records_the_first_hundred_are_named_and_the_rest_counted(where: str) -> None:
    store = opened(where)
    scope = store.scope("shop", "alice", "s1")
    scope.save("x", b"0")
    for number in range(1, 103):
        put(store, scope.id.artifact("x").record(number), b"{")
    rotated = store.rotate(to="v2")
    assert (len(rotated.altered), rotated.altered_more, rotated.rewrapped) == (100, 2, 1)
    assert "shop/alice/s1/x@1" in repr(rotated)


def test_records_of_keys_that_are_not_there_are_counted_by_key_and_left_alone(where: str) -> None:
    count = fill(opened(where))
    opened(where).scope("shop", "bob", "s1").rotate(to="v2")
    opened(where, BOTH, "v2").scope("shop", "bob", "s1").save("x", b"bob's")
    store = opened(where, f"{key(2)},{key(3)}", "v3")
    before = objects(store)
    rotated = store.rotate(to="v3")
    assert rotated == Rotated(to="v3", rewrapped=1, unavailable={"v1": count}) and not rotated.complete
    changed = {name for name, got in objects(store).items() if got != before[name]}
    assert changed == {"shop/bob/s1/x/0.metadata"}


def test_records_of_a_later_release_are_counted(where: str) -> None:
    store = opened(where)
    scope = store.scope("shop", "alice", "s1")
    scope.save("x", b"0")
    name = scope.id.artifact("x").record(0)
    put(store, name, objects(store)[name].data.replace(b'"format":1', b'"format":2'))
    rotated = store.rotate(to="v2")
    assert rotated == Rotated(to="v2", unsupported=1) and not rotated.complete


def test_plain_records_are_counted_where_they_are_accepted(where: str) -> None:
    ArtifactStore(where).scope("shop", "alice", "s1").save("old", b"plain")
    store = opened(where, accept_plain=True)
    scope = store.scope("shop", "alice", "s1")
    scope.save("new", b"sealed")
    put(store, scope.id.artifact("foreign").payload(0), b"without a record")
    put(store, "shop/alice/s1/not%61name/0.metadata", b"not ours")
    put(store, "shop/alice/s1/deep/er/0.metadata", b"not ours")
    assert store.rotate(to="v2") == Rotated(to="v2", rewrapped=1, plain=1)
    assert store.rotate(to="v2").complete
    assert scope.load("old").data == b"plain"


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_key_that_is_not_there_is_refused_before_anything_is_asked_for(where: str) -> None:
    store = opened(where)
    fill(store)
    counting = Counting(store.backend)
    over(counting, store)
    with pytest.raises(KeyUnavailable, match=r"no key 'v3' is configured here \(there are v1, v2\)") as caught:
        store.rotate(to="v3")
    assert caught.value.key_id == "v3"
    for wrong in ("", "a b", None, 1):
        with pytest.raises(InvalidConfig, match="key"):
            store.scope("shop", "alice", "s1").rotate(to=wrong)  # type: ignore[arg-type]
    assert counting.taken() == []


def test_a_store_without_keys_or_to_be_read_only_is_not_rotated(where: str) -> None:
    with pytest.raises(InvalidConfig, match="opened without any"):
        ArtifactStore(where).rotate(to="v2")
    fill(opened(where))
    with pytest.raises(AccessDenied, match="read_only=True"):
        opened(where, read_only=True).rotate(to="v2")


def test_a_store_that_rewrites_without_condition_is_rotated_only_if_nobody_deletes(where: str) -> None:
    class Unconditional(Passing):
        abilities = Abilities("atomic", "atomic", "ignored")

        async def replace(self, *_: Any) -> Written:
            raise AssertionError("a conditional rewrite was sent to a store that knows none")

    store = opened(where)
    count = fill(store)
    over(Unconditional(store.backend), store)
    store._core.abilities, store._core.env = Unconditional.abilities, None
    before = objects(store)
    for rotate in (store.rotate, store.scope("shop", "alice", "s1").rotate):
        with pytest.raises(UnsafeBackend, match="nobody_deletes=True"):
            rotate(to="v2")
    assert objects(store) == before
    assert store.rotate(to="v2", nobody_deletes=True) == Rotated(to="v2", rewrapped=count)
    check_filled(opened(where, key(2), None))


# --- over a network ---------------------------------------------------------------------------------------------------


def rotate_over(server: Server) -> None:
    store = opened(server.bucket(), **server.storage_options)
    with store:
        scope = store.scope("shop", "alice", "s1")
        for number in range(3):
            scope.save("notes.txt", f"{number}")
        scope.delete("notes.txt", 1)
        scope.point("paper.pdf", "https://example.org/paper.pdf")
        assert store.rotate(to="v2") == Rotated(to="v2", rewrapped=4)
        assert store.rotate(to="v2") == Rotated(to="v2", already=4)
    with opened(store._core.where, key(2), None, **server.storage_options) as again:
        scope = again.scope("shop", "alice", "s1")
        assert [scope.load("notes.txt", number).data for number in (0, 2)] == [b"0", b"2"]
        assert scope.versions("notes.txt") == [0, 2]
        assert scope.stat("paper.pdf").version == 0


def test_records_in_s3_are_rewritten_on_a_condition(moto: Server) -> None:
    rotate_over(moto)


@pytest.mark.server("fake_gcs")
def test_records_in_google_cloud_storage_are_rewritten_on_a_condition(fake_gcs: Server) -> None:
    rotate_over(fake_gcs)


# --- shredding --------------------------------------------------------------------------------------------------------


@pytest.fixture
def shredded(where: str) -> ArtifactStore:
    """A store whose user Bob's key was destroyed; Alice's things are of another one."""
    store = opened(where)
    for user in ("alice", "bob"):
        scope = store.scope("shop", user, "s1")
        scope.save("notes.txt", b"first")
        scope.save("notes.txt", b"second")
        scope.save("removed", b"was here")
        scope.remove("removed")
        scope.save("deleted", b"was here")
        scope.delete("deleted")
        scope.point("paper.pdf", "https://example.org/paper.pdf")
    assert store.scope("shop", "alice", "s1").rotate(to="v2").complete
    return opened(where, key(2), None)


def test_what_a_destroyed_key_wraps_cannot_be_read_any_more(shredded: ArtifactStore) -> None:
    bob, alice = (shredded.scope("shop", user, "s1") for user in ("bob", "alice"))
    attempts: list[Callable[[Scope], object]] = [
        lambda scope: scope.load("notes.txt"),
        lambda scope: scope.load("notes.txt", 0),
        lambda scope: scope.open("notes.txt"),
        lambda scope: scope.stat("notes.txt"),
        lambda scope: scope.stat("paper.pdf"),
    ]
    for attempt in attempts:
        with pytest.raises(KeyUnavailable, match="no key 'v1' is configured here") as caught:
            attempt(bob)
        assert caught.value.key_id == "v1"
    assert alice.load("notes.txt").data == b"second"
    assert shredded.rotate(to="v2").unavailable == {"v1": 6}


def test_listings_tell_what_the_store_knows_of_shredded_versions(shredded: ArtifactStore) -> None:
    bob = shredded.scope("shop", "bob", "s1")
    assert list(bob.names()) == ["notes.txt", "paper.pdf"]
    assert bob.versions("notes.txt") == [0, 1]
    assert bob.versions("removed") == [0]
    assert bob.versions("deleted") == []
    history = list(bob.history("notes.txt"))
    assert [(record.version, record.write_id, record.metadata) for record in history] == [(1, "", {}), (0, "", {})]
    assert [type(record) for record in bob.history("removed")] == [Removed, Blob]
    assert {name: record.version for name, record in bob.records()} == {"notes.txt": 1, "paper.pdf": 0}
    assert list(bob.names(at=datetime.now(UTC))) == ["notes.txt", "paper.pdf"]


def test_under_shredded_names_is_saved_removed_and_deleted_as_ever(shredded: ArtifactStore) -> None:
    bob = shredded.scope("shop", "bob", "s1")
    assert bob.save("notes.txt", b"anew").version == 2
    assert bob.load("notes.txt").data == b"anew"
    assert bob.save("notes.txt", b"once more", expect=2).version == 3
    assert bob.save("removed", b"back", expect="absent").version == 2
    assert bob.save("deleted", b"again").version == 1
    bob.delete("notes.txt", 0)
    assert bob.versions("notes.txt") == [1, 2, 3]
    bob.delete("notes.txt")
    assert bob.versions("notes.txt") == []
    bob.remove("paper.pdf")
    assert list(bob.names()) == ["deleted", "removed"]
    shredded.compact()
    bob.delete("paper.pdf")
    assert shredded.erase("shop", "bob") > 0
    assert list(bob.names()) == []
    assert bob.save("notes.txt", b"from the beginning").version == 0


# --- beside everybody, exhaustively -----------------------------------------------------------------------------------


QUICK = {"empty", "one", "claimed", "all deleted"}


class Transparent:
    """Keys for the simulator, whose processes have to do the same whenever they get the same answers."""

    def wrap(self, key_id: str, data_key: bytes, identity: Identity) -> bytes:
        return f"{key_id} {identity.name} {identity.write_id} ".encode() + data_key

    def unwrap(self, key_id: str, wrapped: bytes, identity: Identity) -> bytes:
        start = f"{key_id} {identity.name} {identity.write_id} ".encode()
        assert wrapped.startswith(start), (wrapped, start)
        return wrapped[len(start) :]


@pytest.fixture
def simulated_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator's calls are of a store whose records are authenticated; payloads are as they are saved."""
    custody = Custody(None, "v1")
    custody.keys = Transparent()
    scope = ScopeId("a", "u", "s", custody)
    monkeypatch.setattr(simulated, "SCOPE", scope)
    monkeypatch.setattr(simulated, "ARTIFACT", scope.artifact("n"))
    monkeypatch.setattr(sealing_module, "fresh_key", lambda: DataKey(b"k" * 32))
    monkeypatch.setattr(custody_module, "sealed", lambda key, identity: Plain())


def rotator(name: str = "rotate", to: str = "v2") -> Process:
    def steps() -> Steps[Any]:
        tally = rotate_module.Tally(to)
        yield from rotate_module.rotate(simulated.env(name), simulated.SCOPE, tally)
        result = tally.result()
        return ("error", result) if result.altered or result.unavailable or result.plain else ("done",)

    return Process(name, steps, simulated._plainly, role=Role("other"))


def beside(contents: Contents) -> Iterator[Process]:
    """Who runs beside a rotation."""
    top = max(view(contents).top, 0)
    newest = view(contents).versions
    expect: simulated.Expect = newest[-1][0] if newest else "absent"
    yield simulated.saver("A")
    yield simulated.streamer("B", expect)
    yield simulated.remover("C")
    yield simulated.saver("D", expect)
    yield simulated.deleter(top)
    yield simulated.all_deleter()
    yield simulated.fencer()
    yield simulated.compactor()
    yield rotator("back", "v3")
    yield simulated.known_reader(top)


def explore(contents: Contents, others: Iterable[Sequence[Process]], faults: int) -> None:
    """Every schedule of a rotation and each of *others*."""
    runner, rotation = simulated.simulator(contents), rotator()
    for some in others:
        assert runner.explore([rotation, *some], contents, faults=faults).exhausted


def test_every_schedule_with_a_fault_beside_another_process(simulated_keys: None) -> None:
    for contents in simulated.starts().values():
        explore(contents, ([other] for other in beside(contents)), 1)


@pytest.mark.parametrize(
    "start", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.nightly) for name in simulated.starts()]
)
def test_every_schedule_beside_two_other_processes(simulated_keys: None, start: str) -> None:
    contents = simulated.starts()[start]
    explore(contents, combinations(beside(contents), 2), 0)


def test_an_unconditional_rewrite_is_found_to_bring_back_what_was_deleted(
    simulated_keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unconditional(env: Any, artifact: Any, number: int, data: bytes, tag: str) -> Steps[Written]:
        (written,) = yield (Put(artifact.record(number), data, "application/json"),)
        return written  # type: ignore[no-any-return]

    monkeypatch.setattr(rotate_module, "rewrite_record", unconditional)
    with pytest.raises(Violation, match=r"number 0 was .* and has come back"):
        explore(simulated.starts()["one"], [[simulated.deleter(0)]], 0)


def test_a_rewritten_claim_is_found_to_hurt_its_saver(simulated_keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Steps[bool]:
        yield ()
        return False

    monkeypatch.setattr(rotate_module, "_is_claim", never)
    with pytest.raises(Violation, match="conflict"):
        explore(simulated.starts()["one"], [[simulated.streamer("A", 0)]], 0)


# --- a key is shredded ------------------------------------------------------------------------------------------------


class Shredder:
    """A keeper of keys elsewhere, which can destroy them."""

    def __init__(self) -> None:
        self.ring = Keyring.parse(f"{new_key('v1')},{new_key('v2')}")
        self.asked = 0

    def wrap(self, key_id: str, data_key: bytes, identity: Identity) -> bytes:
        return self.ring.wrap(key_id, data_key, identity)

    def unwrap(self, key_id: str, wrapped: bytes, identity: Identity) -> bytes:
        self.asked += 1
        return self.ring.unwrap(key_id, wrapped, identity)

    def shred(self, key_id: str) -> None:
        self.ring.shred(key_id)


@pytest.mark.parametrize("keeper", [Shredder, lambda: f"{new_key('v1')},{new_key('v2')}"], ids=["elsewhere", "text"])
def test_a_shredded_key_takes_what_it_wraps_with_it_at_once_and_nothing_else(keeper: Any) -> None:
    keys = keeper()
    turn = iter(["v1", "v2", "v2"])
    by_turn = ArtifactStore(f"memory://{uuid.uuid4().hex}", keys=keys, active_key_id=lambda identity: next(turn))
    scope = by_turn.scope("shop", "alice", "s1")
    scope.save("x", b"by v1")
    scope.save("x", b"by v2")
    assert scope.load("x", 0).data == b"by v1"  # and its data key is remembered
    by_turn.shred("v1")
    with pytest.raises(KeyUnavailable) as gone:
        scope.load("x", 0)
    assert gone.value.key_id == "v1"
    assert scope.load("x").data == b"by v2" and scope.versions("x") == [0, 1]
    assert scope.save("x", b"more").version == 2
    with pytest.raises(KeyUnavailable):
        by_turn.shred("v1")


def test_what_cannot_be_shredded_is_refused() -> None:
    store = ArtifactStore("memory://shred", keys=f"{new_key('v1')},{new_key('v2')}", active_key_id="v2")
    with pytest.raises(InvalidConfig, match="'v2' is the active one"):
        store.shred("v2")
    with pytest.raises(InvalidConfig, match="this store has no keys"):
        ArtifactStore("memory://shred").shred("v1")
    with pytest.raises(InvalidConfig, match="has no method shred: destroy the key where it is kept"):
        ArtifactStore("memory://shred", keys=Deaf(), active_key_id="v1").shred("v2")


class Deaf:
    def wrap(self, key_id: str, data_key: bytes, identity: Identity) -> bytes:
        raise NotImplementedError

    unwrap = wrap
