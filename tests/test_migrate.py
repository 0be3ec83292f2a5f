"""Migration: what arrives is what was there, byte for byte, wherever a run is killed; and nothing there is overwritten."""

from __future__ import annotations

import base64
import hashlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import tracemalloc
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import artifactfs.migrate as migrate_module
import artifactfs.transfer as transfer_module
from artifactfs import ArtifactStore, BackendUnavailable, InvalidConfig
from artifactfs.backends.base import WHOLE_LIMIT, Backend, Got, Upload, Written
from artifactfs.drivers import perform
from artifactfs.errors import AccessDenied, ArtifactError, ArtifactNotFound, VersionNotFound
from artifactfs.keys.keyring import new_key
from artifactfs.layout import STORE_FOLDER, ArtifactId, ScopeId, parse_entry
from artifactfs.migrate import Migrated, migrate
from artifactfs.protocol.ops import Create, Delete, Get, List, ListUnfinished, Put
from artifactfs.records import decode, encode, fence_payload, tombstone
from artifactfs.testing.counting import Counting, store_over

from .clusters import a_cluster
from .servers import Server

ROOT = Path(__file__).resolve().parent.parent
KEYS = "v1:" + base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
SECRET = "a secret for the tests"
NOTHING = {"keys": "none", "scope_secret": "none"}
"""What opens a store as whoever migrates it does: without any key."""


@pytest.fixture
def here() -> ArtifactStore:
    return ArtifactStore(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def there() -> ArtifactStore:
    return ArtifactStore(f"memory://{uuid.uuid4().hex}")


# --- looking behind the store -----------------------------------------------------------------------------------------


def one(backend: Backend, op: Any) -> Any:
    return perform((op,), backend, None)[0]


def keys_of(store: ArtifactStore) -> list[str]:
    """All keys but those of the store's own."""
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = one(store.backend, List("", after, deep=True))
        found += [entry.name for entry in page.entries if not entry.name.startswith(STORE_FOLDER)]
        after = page.next
    return found


def contents(store: ArtifactStore) -> dict[str, bytes]:
    """Every object, with its bytes."""
    keys = keys_of(store)
    found = {}
    for start in range(0, len(keys), 500):
        some = keys[start : start + 500]
        answers = perform(tuple(Get(key) for key in some), store.backend, None)
        found.update({key: got.data for key, got in zip(some, answers, strict=True) if got is not None})
    return found


def alter(store: ArtifactStore, key: str, data: bytes) -> None:
    one(store.backend, Put(key, data, "application/octet-stream"))


def the_artifact(name: str, session: str | None = "s1") -> ArtifactId:
    return ArtifactId(ScopeId("shop", "alice", session), name)


def furnish(store: ArtifactStore, count: int = 12, versions: int = 3, *, many: int = 60, sealed: bool = False) -> None:
    """Artifacts of every kind and in every state that the format knows."""
    for number in range(count):
        scope = store.scope("shop" if number % 4 else "other shop", f"user{number % 3}", f"s{number % 5}")
        name = ("data.bin", "reports/q1.csv", "ünï→日本.txt", "@odd", "con")[number % 5]
        name += str(number) if number > 9 else ""
        for version in range(versions):
            scope.save(name, f"{number} {version} ".encode() * (1 + number % 4), metadata={"n": version})
        match number % 10:
            case 0 | 5:
                scope.tag(name, "prod", versions - 1)
                scope.tag(name, "first", 0)
            case 1:
                scope.remove(name)
            case 2:
                scope.delete(name, 1)
            case 3:
                scope.remove(name)
                scope.save(name, "back again")
            case 4:
                scope.delete(name)
            case 6:
                scope.delete(name, versions - 1)
            case 7:
                scope.point(name, f"https://example.com/{number}", size_bytes=3)
            case 8:
                scope.save(f"user:{name}", "of the user", mime_type="text/x-of-the-user")
                store.scope("shop", "user1", "user").save("in a session that is called user", "1")
            case 9:
                scope.save(name, b"")
    if not sealed:
        odd = store.scope("shop", "alice", "s1")
        for number in range(many):
            odd.save("many", str(number))
        foreign = the_artifact("foreign")
        alter(store, foreign.payload(0), b"by another program")
        fenced = the_artifact("fenced")
        odd.save("fenced", "0")
        at = datetime(2026, 11, 20, tzinfo=UTC)
        alter(store, fenced.record(1), encode(tombstone("fenced", 1, "a" * 32, "fenced", at)))
        alter(store, fenced.payload(1), fence_payload())
        alter(store, fenced.record(2), encode(tombstone("fenced", 2, "b" * 32, "fenced", at)))
        odd.save("looks like a fence", fence_payload())


# --- what arrives -----------------------------------------------------------------------------------------------------


def test_all_that_is_there_arrives_byte_for_byte(here: ArtifactStore, there: ArtifactStore) -> None:
    furnish(here)
    told = migrate(here, there)
    assert told.complete, told
    assert contents(there) == contents(here)
    assert told.copied == sum(1 for key in keys_of(here) if key.endswith(".metadata")) + 1  # and the foreign payload
    scope = there.scope("shop", "alice", "s1")
    assert scope.load("many").data == b"59"
    assert scope.load("looks like a fence").data[:8] == b"artifact"
    assert list(scope.names()) == list(here.scope("shop", "alice", "s1").names())
    assert there.scope("other shop", "user0", "s0").tags("data.bin") == {"prod": 2, "first": 0}


def test_a_second_run_copies_only_what_is_new(here: ArtifactStore, there: ArtifactStore) -> None:
    furnish(here)
    first = migrate(here, there)
    again = migrate(here, there)
    assert (again.copied, again.already, again.deleted, again.tags) == (0, first.copied, 0, 0)
    here.scope("shop", "alice", "s1").save("many", "60")
    here.scope("shop", "alice", "s2").save("new", "1")
    counting = Counting(there.backend)
    told = migrate(here, store_over(counting, ArtifactStore))
    assert (told.copied, told.already) == (2, first.copied)
    assert sorted(call.key for call in counting.calls if call.method in ("create", "put", "replace", "delete")) == [
        "shop/alice/s1/many/60",
        "shop/alice/s1/many/60.metadata",
        "shop/alice/s2/new/0",
        "shop/alice/s2/new/0.metadata",
    ]
    assert contents(there) == contents(here)


def test_a_dry_run_tells_what_would_be_done_and_writes_nothing(here: ArtifactStore, there: ArtifactStore) -> None:
    furnish(here)
    counting = Counting(here.backend)
    plan = migrate(store_over(counting, ArtifactStore), ArtifactStore(there.url, read_only=True), dry_run=True)
    assert keys_of(there) == []
    payloads = [key for key in counting.calls if key.method == "get" and not key.key.endswith(".metadata")]
    assert [call.key for call in payloads if "/@tags/" not in call.key] == []
    told = migrate(here, there)
    assert (plan.copied, plan.copied_bytes, plan.tags) == (told.copied, told.copied_bytes, told.tags)
    assert plan.dry_run and not told.dry_run


def test_sealed_versions_are_copied_without_a_key_and_open_at_the_destination(tmp_path: Path) -> None:
    options: dict[str, Any] = {"keys": KEYS, "scope_secret": SECRET, "durability": "none"}
    sealed = ArtifactStore(tmp_path / "here", **options)
    furnish(sealed, sealed=True)
    here = ArtifactStore(tmp_path / "here", **NOTHING)
    there = ArtifactStore(tmp_path / "there", durability="none", **NOTHING)
    told = migrate(here, there)
    assert told.complete and told.copied > 30, told
    assert contents(there) == contents(here)
    opened = ArtifactStore(tmp_path / "there", **options).scope("shop", "user2", "s2")
    assert opened.load("ünï→日本.txt", 0).data == sealed.scope("shop", "user2", "s2").load("ünï→日本.txt", 0).data
    assert all(opened.verify(name).ok for name in opened.names())


def test_what_the_store_knows_of_itself_stays_where_it_is(here: ArtifactStore, there: ArtifactStore) -> None:
    here.scope("shop", "alice", "s1").save("x", "1")
    alter(here, "@store/seen/0123", b"{}")
    assert migrate(here, there).complete
    assert not any(key.startswith("@") for key in contents(there))
    assert one(there.backend, Get("@store/seen/0123")) is None


def test_a_long_payload_goes_in_pieces_of_bounded_memory(tmp_path: Path) -> None:
    here = ArtifactStore(tmp_path / "here", durability="none")
    there = ArtifactStore(tmp_path / "there", durability="none")
    size = 48 * 1024 * 1024
    here.scope("shop", "alice", "s1").save("long", (random.Random(1).randbytes(1024 * 1024) for _ in range(48)))
    tracemalloc.start()
    try:
        told = migrate(here, there)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (told.copied, told.copied_bytes) == (1, size)
    assert peak < size / 2
    assert there.scope("shop", "alice", "s1").verify("long").ok
    assert one(there.backend, ListUnfinished("")) == []


def test_many_versions_of_many_sizes_are_never_held_all_at_once(here: ArtifactStore, there: ArtifactStore) -> None:
    for number in range(6):
        here.scope("shop", "alice", "s1").save("x", bytes([number]) * (WHOLE_LIMIT // 2))
    seen: list[int] = []

    class Watched(Counting):
        async def create(self, key: str, data: bytes, content_type: str) -> Written:
            if len(data) > 1000:
                seen.append(int(key.rpartition("/")[2]))
            return await self.inner.create(key, data, content_type)

    batches: list[int] = []
    plant = transfer_module.Transfer._plant

    def counted(self: Any, new: Sequence[Any]) -> None:
        batches.append(sum(whole.size for whole, _ in new))
        plant(self, new)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer_module.Transfer, "_plant", counted)
        assert migrate(here, store_over(Watched(there.backend), ArtifactStore)).copied == 6
    assert max(batches) <= WHOLE_LIMIT and seen == sorted(seen)


def test_payloads_keep_their_content_types(here: ArtifactStore, moto: Server) -> None:
    url = moto.bucket()
    there = ArtifactStore(url, **moto.storage_options)
    scope = here.scope("shop", "alice", "s1")
    scope.save("page.html", "<p>")
    scope.save("long.txt", b"x" * (WHOLE_LIMIT + 1))
    scope.point("doc", "https://example.com/x", mime_type="text/csv")
    scope.save("gone.txt", "1")
    scope.remove("gone.txt")
    sealed = ArtifactStore(here.url, keys=KEYS).scope("shop", "alice", "s2")
    sealed.save("page.html", "<p>")
    alter(here, the_artifact("foreign.csv").payload(0), b"1,2")
    assert migrate(here, there).complete
    bucket, _, prefix = url.removeprefix("s3://").partition("/")

    def type_of(key: str) -> str:
        told: str = moto.client().head_object(Bucket=bucket, Key=f"{prefix}/shop/alice/{key}")["ContentType"]
        return told

    assert type_of("s1/page.html/0") == "text/html"
    assert type_of("s1/page.html/0.metadata") == "application/json"
    assert type_of("s1/long.txt/0") == "text/plain"
    assert type_of("s1/doc/0") == "text/uri-list"
    assert type_of("s1/gone.txt/1") == "application/octet-stream"
    assert type_of("s2/page.html/0") == "application/octet-stream"
    assert type_of("s1/foreign.csv/0") == "text/csv"


# --- killed -----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The end of the process, as far as the store can tell."""


WRITES = ("create", "put", "replace", "delete")


class Mortal(Counting):
    """Dies at write number *last*: before it reaches the store, or behind it, when nobody hears the answer."""

    def __init__(self, inner: Backend, last: int, *, landed: bool = False) -> None:
        super().__init__(inner)
        self.last, self.landed, self.writes = last, landed, 0

    async def _write(self, write: Callable[[], Any]) -> Any:
        self.writes += 1
        if self.writes > self.last or (self.writes == self.last and not self.landed):
            raise Killed
        answer = await write()
        if self.writes == self.last:
            raise Killed
        return answer

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if name not in WRITES:
            return value

        async def write(*args: Any, **kwargs: Any) -> Any:
            return await self._write(lambda: value(*args, **kwargs))

        return write

    async def upload(self, key: str, content_type: str) -> MortalUpload:
        return MortalUpload(self, await self.inner.upload(key, content_type))


class MortalUpload:
    def __init__(self, over: Mortal, inner: Upload) -> None:
        self.over, self.inner = over, inner

    async def write(self, data: bytes) -> None:
        await self.inner.write(data)

    async def commit(self) -> Written:
        written: Written = await self.over._write(self.inner.commit)
        return written

    async def abort(self) -> None:
        if self.over.writes < self.over.last:  # the dead abort nothing
            await self.inner.abort()


def small(store: ArtifactStore) -> None:
    """One artifact of each kind of trouble: few writes, so that each can be the last one."""
    scope = store.scope("shop", "alice", "s1")
    scope.save("a", "0")
    scope.save("a", "1")
    scope.delete("a", 0)
    scope.save("b", "0")
    scope.remove("b")
    scope.save("c", "0")
    scope.save("c", "1")
    scope.delete("c", 1)
    scope.tag("c", "prod", 0)
    scope.save("d", b"x" * (WHOLE_LIMIT + 1))
    alter(store, the_artifact("e").payload(0), b"by another program")
    fenced = the_artifact("f")
    alter(store, fenced.record(0), encode(tombstone("f", 0, "a" * 32, "fenced", datetime(2026, 11, 20, tzinfo=UTC))))
    alter(store, fenced.payload(0), fence_payload())


def assert_no_half_version(source: ArtifactStore, destination: ArtifactStore) -> None:
    """What a killed run leaves: objects of the source and no others, and no payload without the record that it has there."""
    wanted, found = contents(source), contents(destination)
    assert found.items() <= wanted.items()
    for key in found:
        if (parsed := parse_entry(key.rpartition("/")[2])) is not None and parsed[0] == "payload":
            record = f"{key}.metadata"
            assert (record in found) == (record in wanted), f"{key} is there without its record"
    for name in source.scope("shop", "alice", "s1").names():
        scope = destination.scope("shop", "alice", "s1")
        for number in scope.versions(name) if name in set(scope.names()) else ():
            assert scope.verify(name, number).state in ("whole", "missing record")
    shown = {name for name in destination.scope("shop", "alice", "s1").names() if is_published(destination, name)}
    assert shown <= {"a", "b", "c", "d", "e"}


def is_published(store: ArtifactStore, name: str) -> bool:
    return bool(store.scope("shop", "alice", "s1").versions(name))


def killed_everywhere(run: Callable[[ArtifactStore, ArtifactStore], object], *, landed: bool) -> int:
    """Kill *run* at each of its writes, and look at what it leaves; then migrate to the end. How often it was killed."""
    source = ArtifactStore(f"memory://{uuid.uuid4().hex}")
    small(source)
    last = 1
    while True:
        there = ArtifactStore(f"memory://{uuid.uuid4().hex}")
        try:
            run(source, store_over(Mortal(there.backend, last, landed=landed), ArtifactStore))
        except Killed:
            assert_no_half_version(source, there)
            told = migrate(source, there)
            assert told.complete, (last, told)
            assert contents(there) == contents(source)
            last += 1
        else:
            assert contents(there) == contents(source)
            return last - 1


@pytest.mark.parametrize("landed", [False, True])
def test_a_run_that_is_killed_at_any_write_leaves_no_half_version_and_is_gone_on_with(landed: bool) -> None:
    assert killed_everywhere(migrate, landed=landed) >= 18


def test_a_copy_that_writes_payloads_first_is_found_by_that() -> None:
    def in_order_of_keys(source: ArtifactStore, destination: ArtifactStore) -> None:
        for key, data in contents(source).items():
            one(destination.backend, Create(key, data, "application/octet-stream"))

    with pytest.raises(AssertionError, match="without its record"):
        killed_everywhere(in_order_of_keys, landed=False)


def test_what_a_killed_run_claimed_is_no_version_and_stands_in_no_savers_way(
    here: ArtifactStore, there: ArtifactStore
) -> None:
    here.scope("shop", "alice", "s1").save("a", "0")
    with pytest.raises(Killed):
        migrate(here, store_over(Mortal(there.backend, 2), ArtifactStore))
    assert keys_of(there) == ["shop/alice/s1/a/0.metadata"]
    scope = there.scope("shop", "alice", "s1")
    assert scope.versions("a") == []
    with pytest.raises(ArtifactNotFound):
        scope.load("a")
    assert migrate(here, there).complete
    assert scope.load("a").data == b"0"


def test_an_interrupted_run_ends_soon_and_leaves_no_upload(tmp_path: Path) -> None:
    """Ctrl-C in a process of its own, in the midst of a long payload."""
    program = """
import os, signal, sys
from artifactfs import ArtifactStore
from artifactfs.backends import local
from artifactfs.migrate import migrate
from artifactfs.protocol.ops import ListUnfinished
from artifactfs.drivers import perform

here, there = (ArtifactStore(where, durability="none") for where in sys.argv[1:])
here.scope("shop", "alice", "s1").save("long", (bytes(1024 * 1024) for _ in range(400)))
write, pieces = local.LocalUpload.write, []

async def counted(self, data):
    pieces.append(len(data))
    if len(pieces) == 3:
        os.kill(os.getpid(), signal.SIGINT)
    await write(self, data)

local.LocalUpload.write = counted
try:
    migrate(here, there)
except KeyboardInterrupt:
    assert perform((ListUnfinished(""),), there.backend, None) == ([],)
    print("interrupted", len(pieces) < 100)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "here"), str(tmp_path / "there")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.stdout == "interrupted True\n", done.stderr


# --- what stands in the way -------------------------------------------------------------------------------------------


def why(told: Sequence[migrate_module.Trouble]) -> dict[str, str]:
    return {trouble.what: trouble.why for trouble in told}


def test_a_number_that_the_destination_has_given_away_is_told_and_left_as_it_is(
    here: ArtifactStore, there: ArtifactStore
) -> None:
    mine, other = here.scope("shop", "alice", "s1"), there.scope("shop", "alice", "s1")
    for number in range(3):
        mine.save("x", f"mine {number}")
    mine.save("y", "1")
    other.save("x", "other0")
    before = contents(there)
    told = migrate(here, there)
    assert why(told.conflicts) == {
        "shop/alice/s1/x@0": "the destination has another version, or another save in progress, under that number"
    }
    assert not told.complete and told.copied == 3
    assert before.items() <= contents(there).items()
    assert other.load("x", 0).data == b"other0" and other.load("x", 2).data == b"mine 2"


def of_same_size(here: ArtifactStore, there: ArtifactStore) -> None:
    """Two versions that no listing tells apart."""
    here.scope("shop", "alice", "s1").save("x", "mine")
    artifact = the_artifact("x")
    record = contents(here)[artifact.record(0)]
    blob = decode(record)
    digest = hashlib.sha256(b"them").hexdigest().encode()
    other = record.replace(blob.write_id.encode(), b"f" * 32).replace(blob.sha256.encode(), digest)  # type: ignore[union-attr]
    assert len(other) == len(record)
    alter(there, artifact.record(0), other)
    alter(there, artifact.payload(0), b"them")


def test_versions_of_the_same_size_are_told_apart(here: ArtifactStore, there: ArtifactStore) -> None:
    of_same_size(here, there)
    told = migrate(here, there)
    assert list(why(told.conflicts)) == ["shop/alice/s1/x@0"] and told.already == 0
    assert there.scope("shop", "alice", "s1").load("x").data == b"them"


def test_whoever_goes_by_sizes_alone_would_miss_that(
    here: ArtifactStore, there: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_same_size(here, there)

    def by_size(artifact: ArtifactId, whole: Any, got: Got | None, size: int | None) -> str:
        return "already" if got is not None and (len(got.data), size) == (len(whole.raw), whole.size) else "copy"

    monkeypatch.setattr(transfer_module, "plan", by_size)
    assert migrate(here, there).complete  # which it is not


def test_a_number_that_is_given_away_while_it_is_copied_is_a_conflict(
    here: ArtifactStore, there: ArtifactStore
) -> None:
    for size in (3, WHOLE_LIMIT + 1):
        here.scope("shop", "alice", "s1").save(f"x{size}", b"m" * size)

    class Raced(Counting):
        async def create(self, key: str, data: bytes, content_type: str) -> Written:
            if key.endswith("/0.metadata"):
                ahead = data.replace(b'"write_id":"', b'"write_id":"f')
                await self.inner.create(key, ahead, content_type)
            return await self.inner.create(key, data, content_type)

    told = migrate(here, store_over(Raced(there.backend), ArtifactStore))
    assert len(told.conflicts) == 2 and told.copied == 0
    assert sorted(contents(there)) == [f"shop/alice/s1/x{size}/0.metadata" for size in (3, WHOLE_LIMIT + 1)]


def test_a_fence_that_comes_while_a_number_is_copied_is_a_conflict(here: ArtifactStore, there: ArtifactStore) -> None:
    here.scope("shop", "alice", "s1").save("x", "mine")

    class Fenced(Counting):
        async def create(self, key: str, data: bytes, content_type: str) -> Written:
            if key.endswith("/0"):
                await self.inner.create(key, fence_payload(), content_type)
            return await self.inner.create(key, data, content_type)

    told = migrate(here, store_over(Fenced(there.backend), ArtifactStore))
    assert list(why(told.conflicts)) == ["shop/alice/s1/x@0"] and told.copied == 0


def test_what_a_disk_turns_over_in_writing_is_not_told_to_be_copied(here: ArtifactStore, there: ArtifactStore) -> None:
    here.scope("shop", "alice", "s1").save("x", "mine")

    class Rotten(Counting):
        async def create(self, key: str, data: bytes, content_type: str) -> Written:
            return await self.inner.create(key, data.replace(b"mine", b"MINE"), content_type)

    told = migrate(here, store_over(Rotten(there.backend), ArtifactStore))
    assert told.copied == 0 and "not what was written" in why(told.conflicts)["shop/alice/s1/x@0"]


def test_claims_are_left_out_until_their_saves_have_ended(here: ArtifactStore, there: ArtifactStore) -> None:
    scope = here.scope("shop", "alice", "s1")
    scope.save("x", "0")

    def slow() -> Iterator[bytes]:
        yield b"x" * (WHOLE_LIMIT + 1)
        assert migrated.setdefault("told", migrate(here, there))
        yield b"y"

    migrated: dict[str, Migrated] = {}
    scope.save("x", slow())
    told = migrated["told"]
    assert list(why(told.in_progress)) == ["shop/alice/s1/x@1"] and told.copied == 1
    assert sorted(contents(there)) == ["shop/alice/s1/x/0", "shop/alice/s1/x/0.metadata"]
    assert migrate(here, there).complete
    assert contents(there) == contents(here)


def test_what_is_damaged_at_the_source_is_told_and_not_copied(here: ArtifactStore, there: ArtifactStore) -> None:
    scope = here.scope("shop", "alice", "s1")
    for number in range(6):
        scope.save("x", f"content {number}")
    scope.save("long", b"x" * (WHOLE_LIMIT + 1))
    artifact = the_artifact("x")
    alter(here, artifact.payload(0), b"CONTENT 0")
    alter(here, artifact.payload(1), b"cut")
    alter(here, artifact.record(2), b"{garbled")
    alter(here, artifact.record(3), contents(here)[artifact.record(4)])
    alter(here, artifact.payload(3), contents(here)[artifact.payload(4)])
    alter(here, artifact.record(5), contents(here)[artifact.record(5)].replace(b'"format":1', b'"format":2'))
    alter(here, the_artifact("long").payload(0), b"y" * (WHOLE_LIMIT + 1))
    told = migrate(here, there)
    assert set(why(told.damaged)) == {*(f"shop/alice/s1/x@{number}" for number in range(4)), "shop/alice/s1/long@0"}
    assert "digest" in why(told.damaged)["shop/alice/s1/x@0"]
    assert "3 bytes; 9 were saved" in why(told.damaged)["shop/alice/s1/x@1"]
    assert list(why(told.left_out)) == ["shop/alice/s1/x@5"]
    assert sorted(contents(there)) == ["shop/alice/s1/x/4", "shop/alice/s1/x/4.metadata"]
    assert one(there.backend, ListUnfinished("")) == []


def test_what_no_name_is_spelled_as_is_told_and_left_out(here: ArtifactStore, there: ArtifactStore) -> None:
    here.scope("shop", "alice", "s1").save("x", "0")
    strange = [
        "readme.txt",
        "shop/alice/s1/%78/0",
        "shop/alice/s1/@future/x/0",
        "shop/alice/s1/x/0.tmp",
        "shop/alice/s1/x/a/b",
        "shop/alice/x",
    ]
    for key in strange:
        alter(here, key, b"?")
    told = migrate(here, there)
    assert list(why(told.left_out)) == sorted(strange)
    assert sorted(contents(there)) == ["shop/alice/s1/x/0", "shop/alice/s1/x/0.metadata"]


def test_names_that_are_too_long_for_the_destination_are_told_and_nothing_else_is_held_up(
    here: ArtifactStore, tmp_path: Path
) -> None:
    scope = here.scope("shop", "alice", "s1")
    scope.save("n" * 300, "1")
    scope.save("short", "1")
    there = ArtifactStore(tmp_path, durability="none")
    plan, told = migrate(here, there, dry_run=True), migrate(here, there)
    assert plan.left_out == told.left_out
    assert list(why(told.left_out)) == [f"shop/alice/s1/{'n' * 300}"]
    assert "path segment" in told.left_out[0].why
    assert list(there.scope("shop", "alice", "s1").names()) == ["short"]


def test_payloads_of_other_programs_are_compared_byte_by_byte(here: ArtifactStore, there: ArtifactStore) -> None:
    artifact = the_artifact("x")
    for number in range(2):
        alter(here, artifact.payload(number), b"same")
    alter(there, artifact.payload(0), b"same")
    alter(there, artifact.payload(1), b"else")
    told = migrate(here, there)
    assert told.already == 1 and list(why(told.conflicts)) == ["shop/alice/s1/x@1"]
    assert contents(there)[artifact.payload(1)] == b"else"


def test_hints_and_marks_that_the_source_has_no_more_go_from_the_copy_too(
    here: ArtifactStore, there: ArtifactStore
) -> None:
    scope = here.scope("shop", "alice", "s1")
    for number in range(60):
        scope.save("x", str(number))
    scope.save("y", "0")
    scope.remove("y")
    assert migrate(here, there).complete
    fresh = ArtifactStore(here.url).scope("shop", "alice", "s1")
    for number in range(100):
        fresh.save("x", str(number))
    fresh.save("y", "1")
    alter(here, the_artifact("x").hint(150), b"")
    one(here.backend, Delete((the_artifact("x").hint(50),)))
    assert migrate(here, there).complete
    assert contents(there) == contents(here)
    assert not any("@hidden" in key for key in keys_of(there))


def test_no_bytes_are_copied_to_a_store_of_pointers(here: ArtifactStore, there: ArtifactStore) -> None:
    scope = here.scope("shop", "alice", "s1")
    scope.save("x", "bytes")
    scope.point("y", "https://example.com")
    told = migrate(here, ArtifactStore(there.url, mode="pointer_only"))
    assert list(why(told.left_out)) == ["shop/alice/s1/x@0"] and told.copied == 1


# --- since then -------------------------------------------------------------------------------------------------------


def test_what_is_deleted_for_good_at_the_source_does_not_stay_alive_in_the_copy(
    here: ArtifactStore, there: ArtifactStore
) -> None:
    mine, copy = here.scope("shop", "alice", "s1"), there.scope("shop", "alice", "s1")
    for name in ("one of three", "the newest", "all"):
        for number in range(3):
            mine.save(name, str(number))
    assert migrate(here, there).copied == 9
    mine.delete("one of three", 1)
    mine.delete("the newest", 2)
    mine.delete("all")
    told = migrate(here, there)
    assert told.complete and (told.deleted, told.copied, told.already) == (5, 0, 4)
    assert contents(there) == contents(here)
    assert copy.versions("one of three") == [0, 2]
    assert list(copy.names()) == ["one of three", "the newest"]
    with pytest.raises(VersionNotFound):
        copy.load("the newest", 2)


@pytest.mark.parametrize("landed", [False, True])
def test_a_deletion_that_is_cut_off_anywhere_is_gone_on_with(landed: bool) -> None:
    last = 1
    while True:
        here, there = (ArtifactStore(f"memory://{uuid.uuid4().hex}") for _ in range(2))
        scope, copy = here.scope("shop", "alice", "s1"), there.scope("shop", "alice", "s1")
        scope.save("x", "0")
        scope.save("saved anew", "0")
        alter(here, the_artifact("y").payload(0), b"by another program")
        migrate(here, there)
        for name in ("x", "y", "saved anew"):
            scope.delete(name)
        ArtifactStore(here.url).scope("shop", "alice", "s1").save("saved anew", "1")  # which takes the mark away
        assert not any("@hidden/saved anew" in key for key in keys_of(here))
        try:
            migrate(here, store_over(Mortal(there.backend, last, landed=landed), ArtifactStore))
        except Killed:
            assert [name for name in copy.names() if not copy.versions(name)] == []
            assert migrate(here, there).complete
            assert contents(there) == contents(here)
            last += 1
        else:
            assert contents(there) == contents(here)
            assert last > 6
            return


def test_what_was_deleted_for_good_and_compacted_since_the_last_run_is_told(
    here: ArtifactStore, there: ArtifactStore
) -> None:
    scope, artifact = here.scope("shop", "alice", "s1"), the_artifact("x")
    for number in range(3):
        scope.save("x", str(number))
    scope.delete("x", 0)
    migrate(here, there)
    one(here.backend, Delete((artifact.record(0),)))  # a tombstone that compact has taken: of both, nothing is alive
    assert migrate(here, there).complete
    one(here.backend, Delete((artifact.payload(1), artifact.record(1))))  # deleted, and a week later compacted
    told = migrate(here, there)
    assert "deleted for good and compacted" in why(told.conflicts)["shop/alice/s1/x@1"]


def test_what_is_deleted_at_the_destination_stays_deleted(here: ArtifactStore, there: ArtifactStore) -> None:
    here.scope("shop", "alice", "s1").save("x", "0")
    alter(here, the_artifact("foreign").payload(0), b"by another program")
    migrate(here, there)
    for name in ("x", "foreign"):
        there.scope("shop", "alice", "s1").delete(name)
    before = contents(there)
    told = migrate(here, there)
    assert all("deleted for good at the destination" in reason for reason in why(told.left_out).values())
    assert len(told.left_out) == 2 and contents(there) == before


def test_a_version_that_is_deleted_at_the_destination_while_it_is_copied_leaves_no_bytes(
    here: ArtifactStore, there: ArtifactStore
) -> None:
    here.scope("shop", "alice", "s1").save("x", "0")

    class Deleting(Counting):
        async def create(self, key: str, data: bytes, content_type: str) -> Written:
            written = await self.inner.create(key, data, content_type)
            if key.endswith("/0"):
                there.scope("shop", "alice", "s1").delete("x", 0)
                await self.inner.create(key, data, content_type)  # a try of ours that lands late
            return written

    told = migrate(here, store_over(Deleting(there.backend), ArtifactStore))
    assert list(why(told.left_out)) == ["shop/alice/s1/x@0"]
    assert the_artifact("x").payload(0) not in contents(there)


def test_a_tag_that_was_moved_at_the_destination_later_stays(here: ArtifactStore, there: ArtifactStore) -> None:
    here.scope("shop", "alice", "s1").save("x", "0")
    here.scope("shop", "alice", "s1").tag("x", "prod")
    over = ArtifactStore(there.url, read_through=[here]).scope("shop", "alice", "s1")
    over.save("x", "1")
    over.tag("x", "prod")
    assert migrate(here, there).complete
    assert over.tags("x") == there.scope("shop", "alice", "s1").tags("x") == {"prod": 1}


def test_a_tag_never_comes_to_name_what_the_destination_has_under_that_number(
    here: ArtifactStore, there: ArtifactStore
) -> None:
    mine, copy = here.scope("shop", "alice", "s1"), there.scope("shop", "alice", "s1")
    mine.save("x", "0")
    mine.tag("x", "prod", 0)
    copy.save("x", "something else")
    told = migrate(here, there)
    assert set(why(told.conflicts)) == {"shop/alice/s1/x@0", "shop/alice/s1/x@prod"} and not told.tags
    assert copy.tags("x") == {}


def test_a_tag_that_was_rotated_at_the_destination_stays_so(tmp_path: Path) -> None:
    keys = f"{new_key('v1')},{new_key('v2')}"
    one, other = (ArtifactStore(tmp_path / name, keys=keys, active_key_id="v1") for name in ("one", "other"))
    one.scope("shop", "alice", "s1").save("x", "0")
    one.scope("shop", "alice", "s1").tag("x", "prod")
    migrate(one, other)
    other.rotate(to="v2")
    assert set(why(migrate(one, other).left_out)) == {"shop/alice/s1/x@0", "shop/alice/s1/x@prod"}
    alone = ArtifactStore(tmp_path / "other", keys=keys.partition(",")[2], active_key_id="v2")
    assert alone.scope("shop", "alice", "s1").load("x", "prod").data == b"0"


def test_a_destination_that_reads_through_to_the_source_is_refused(here: ArtifactStore, there: ArtifactStore) -> None:
    here.scope("shop", "alice", "s1").save("x", "0")
    over = ArtifactStore(there.url, read_through=[here])
    for source in (here, ArtifactStore("memory://" + uuid.uuid4().hex, read_through=[here])):
        with pytest.raises(InvalidConfig, match="open the destination by itself"):
            migrate(source, over)
    assert migrate(over, ArtifactStore("memory://" + uuid.uuid4().hex)).copied == 1  # both, as one


def test_a_tag_that_was_moved_follows_the_source_and_others_are_kept(here: ArtifactStore, there: ArtifactStore) -> None:
    mine, copy = here.scope("shop", "alice", "s1"), there.scope("shop", "alice", "s1")
    for number in range(3):
        mine.save("x", str(number))
    mine.tag("x", "prod", 0)
    migrate(here, there)
    mine.tag("x", "prod", 2)
    mine.tag("x", "new", 1)
    copy.tag("x", "mine", 0)
    assert migrate(here, there).tags == 2
    assert copy.tags("x") == {"prod": 2, "new": 1, "mine": 0}
    assert migrate(here, there).tags == 0


def test_a_store_that_lies_over_the_source_needs_it_no_more_when_all_is_copied(tmp_path: Path) -> None:
    """A move without a stop: savers and deleters use both as one, and the older one is copied to the newer by and by."""
    old = ArtifactStore(tmp_path / "old", durability="none")
    furnish(old, many=20)
    over = ArtifactStore(tmp_path / "new", durability="none", read_through=[tmp_path / "old"])
    scope = over.scope("shop", "alice", "s1")
    scope.save("many", "of the new one")
    scope.delete("many", 3)
    scope.tag("many", "prod", 4)
    scope.remove("looks like a fence")
    expected = {name: scope.versions(name) for name in ("many", "fenced", "foreign")}
    new = ArtifactStore(tmp_path / "new", durability="none")
    told = migrate(old, new)
    assert told.complete, told
    alone = new.scope("shop", "alice", "s1")
    assert {name: alone.versions(name) for name in expected} == expected
    assert list(alone.names()) == list(scope.names())
    assert alone.load("many").data == b"of the new one" and alone.tags("many") == {"prod": 4}
    with pytest.raises(VersionNotFound):
        alone.load("many", 3)
    scope.delete("many", 5)
    assert migrate(old, new).complete
    assert 5 not in alone.versions("many")


def test_a_version_whose_keys_were_rotated_since_is_left_as_it_is_and_told(tmp_path: Path) -> None:
    two = f"{KEYS},v2:" + base64.urlsafe_b64encode(bytes(range(1, 33))).decode().rstrip("=")
    here = ArtifactStore(tmp_path / "here", durability="none", keys=two, active_key_id="v1")
    there = ArtifactStore(tmp_path / "there", durability="none", keys=two, active_key_id="v1")
    here.scope("shop", "alice", "s1").save("x", "0")
    migrate(here, there)
    before = contents(there)
    here.rotate(to="v2")
    told = migrate(here, there)
    assert "rotate both" in why(told.left_out)["shop/alice/s1/x@0"] and contents(there) == before


# --- errors -----------------------------------------------------------------------------------------------------------


def test_stores_that_cannot_be_migrated_are_refused(here: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="one store"):
        migrate(here, ArtifactStore(here.url))
    with pytest.raises(InvalidConfig, match="one lies in the other"):
        migrate(ArtifactStore(tmp_path), ArtifactStore(tmp_path / "copy"))
    with pytest.raises(InvalidConfig, match="scope_secret"):
        migrate(here, ArtifactStore(tmp_path, scope_secret=SECRET))
    plain, sealed = ArtifactStore(tmp_path / "a", keys="none"), tmp_path / "b"
    with pytest.raises(InvalidConfig, match="accept_plain=True"):
        migrate(plain, ArtifactStore(sealed, keys=KEYS))
    assert migrate(plain, ArtifactStore(sealed, keys=KEYS, accept_plain=True)).complete
    with pytest.raises(InvalidConfig, match="takes two stores"):
        migrate("here", "there")  # type: ignore[arg-type]
    with pytest.raises(AccessDenied):
        migrate(here, ArtifactStore(tmp_path, read_only=True))


class Failing(Counting):
    """A store that does not answer where a key says so."""

    def __init__(self, inner: Backend, where: str) -> None:
        super().__init__(inner)
        self.where = where

    async def create(self, key: str, data: bytes, content_type: str) -> Written:
        if self.where in key:
            raise BackendUnavailable("no answer", landed=True)
        return await self.inner.create(key, data, content_type)


def test_what_a_store_did_not_answer_to_is_told_and_the_rest_is_copied(
    here: ArtifactStore, there: ArtifactStore
) -> None:
    for number in range(20):
        here.scope("shop", "alice", f"s{number}").save("x", "0")
    told = migrate(here, store_over(Failing(there.backend, "/s7/"), ArtifactStore))
    assert list(why(told.failed)) == ["shop/alice/s7/x"] and told.copied == 19 and not told.complete
    assert migrate(here, there).copied == 1
    assert contents(there) == contents(here)


def test_a_store_that_never_answers_is_an_error_before_long(here: ArtifactStore, there: ArtifactStore) -> None:
    for number in range(200):
        here.scope("shop", "alice", f"s{number}").save("x", "0")
    failing = Failing(there.backend, "/")
    with pytest.raises(BackendUnavailable):
        migrate(here, store_over(failing, ArtifactStore))
    assert keys_of(there) == []


def test_savers_and_readers_go_on_meanwhile(here: ArtifactStore, there: ArtifactStore) -> None:
    """What is saved while a migration runs is copied by it or by the next one, and no reader of the copy sees a half."""
    furnish(here, 6)
    ended = threading.Event()
    wrong: list[str] = []

    def save() -> None:
        for number in range(60):
            scope = here.scope("shop", "bob", f"s{number % 3}")
            scope.save("x", str(number))
            if number % 10 == 9:
                scope.delete("x", scope.versions("x")[0])

    def read() -> None:
        while not ended.is_set():
            for session in range(3):
                scope = there.scope("shop", "bob", f"s{session}")
                try:
                    scope.load("x")
                    wrong.extend(f"{seen}" for seen in (scope.verify("x"),) if not seen.ok)
                except (ArtifactNotFound, VersionNotFound):
                    pass
                except ArtifactError as error:
                    wrong.append(str(error))

    with ThreadPoolExecutor(4) as pool:
        savers = [pool.submit(save), pool.submit(save)]
        reader = pool.submit(read)
        try:
            while not all(saver.done() for saver in savers):
                told = migrate(here, there)
                assert not (told.conflicts or told.damaged or told.failed), told
            for saver in savers:
                saver.result()
        finally:
            ended.set()
        reader.result()
    assert wrong == []
    assert migrate(here, there).complete
    missing = contents(here).keys() - contents(there).keys()
    assert missing == set()
    assert {key: data for key, data in contents(there).items() if key in contents(here)} == contents(here)


# --- whoever does the work --------------------------------------------------------------------------------------------


def by_threads() -> Executor:
    return ThreadPoolExecutor(2)


def by_processes() -> Executor:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


@contextmanager
def by_a_cluster() -> Iterator[Any]:
    with a_cluster() as client:
        yield client.get_executor()


@pytest.mark.parametrize("workers", [by_threads, by_processes, by_a_cluster])
def test_threads_processes_and_a_cluster_do_the_same(
    workers: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate_module, "SHARD_KEYS", 20)
    here = ArtifactStore(tmp_path / "here", durability="none", keys=KEYS, accept_plain=True)
    there = ArtifactStore(tmp_path / "there", durability="none", keys=KEYS, accept_plain=True)
    furnish(here, 20)
    alter(here, the_artifact("many").payload(7), b"!")
    there.scope("shop", "alice", "s1").save("looks like a fence", "or not")
    alone = ArtifactStore(tmp_path / "alone", durability="none")
    alone.scope("shop", "alice", "s1").save("looks like a fence", "or not")
    expected = migrate(ArtifactStore(tmp_path / "here", keys="none"), alone)
    with workers() as executor:
        told = migrate(here, there, executor=executor)
        assert told == expected
        assert len(told.damaged) == len(told.conflicts) == 1 and told.copied > 100
        again = migrate(here, there, executor=executor)
        assert (again.copied, again.already) == (0, told.copied)
    theirs = contents(there)
    own = the_artifact("looks like a fence")
    for key in (own.payload(0), own.record(0)):
        theirs[key] = contents(alone)[key]
    assert theirs == contents(alone)


def test_how_far_a_run_is_can_be_seen(
    here: ArtifactStore, there: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(here, 10)
    monkeypatch.setattr(migrate_module, "SHARD_KEYS", 10)
    seen: list[Migrated] = []
    told = migrate(here, there, progress=seen.append)
    assert len(seen) > 5 and seen[-1] == told
    assert [so_far.copied for so_far in seen] == sorted(so_far.copied for so_far in seen)


def test_shards_end_between_artifacts_and_leave_none_out(here: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    furnish(here, 30)
    monkeypatch.setattr(migrate_module, "SHARD_KEYS", 7)
    shards = list(migrate_module._shards(here.backend))
    assert len(shards) > 10 and shards[0].start == "" and shards[-1].end is None
    assert [shard.end for shard in shards[:-1]] == [shard.start for shard in shards[1:]]
    there = ArtifactStore(f"memory://{uuid.uuid4().hex}")
    assert migrate(here, there).complete
    assert contents(there) == contents(here)


def test_what_else_lies_at_the_destination_is_not_listed(here: ArtifactStore, there: ArtifactStore) -> None:
    """Two artifacts of the source, far apart in a store that holds much else: its pages between them are not asked for."""
    for user in ("a", "z"):
        here.scope("shop", user, "s1").save("x", "0")
    for number in range(3000):
        alter(there, f"shop/m/s1/{number}/0", b"")
    counting = Counting(there.backend)
    assert migrate(here, store_over(counting, ArtifactStore)).copied == 2
    assert sum(1 for call in counting.calls if call.method == "list") <= 9


# --- from store to store, and killed ----------------------------------------------------------------------------------

KILLED = """
import os, signal, sys, threading
sys.path.insert(0, {root!r})
from artifactfs import ArtifactStore
from artifactfs.migrate import migrate

source, destination = (ArtifactStore(**how) for how in {stores!r})
left = {writes}
turn = threading.Lock()

def mortal(write):
    async def counted(*args, **kwargs):
        global left
        with turn:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return await write(*args, **kwargs)
    return counted

backend = destination.backend
for name in ("create", "put", "replace", "delete"):
    setattr(backend, name, mortal(getattr(backend, name)))
migrate(source, destination)
"""


def killed(source: dict[str, Any], destination: dict[str, Any], writes: int) -> None:
    """Migrate in a process that is killed at its write number *writes*."""
    program = KILLED.format(root=str(ROOT), stores=(source, destination), writes=writes)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ, timeout=600)
    assert done.returncode == -signal.SIGKILL, done.stderr


def round_trip(tmp_path: Path, s3: Server, gcs: Server, fill: Callable[[ArtifactStore], None], kills: int) -> int:
    """Local -> S3 -> GCS -> local, killed *kills* times on the way; how many objects there are."""
    local = {"durability": "none", **NOTHING}
    stores: list[dict[str, Any]] = [
        {"url": str(tmp_path / "first"), **local},
        {"url": s3.bucket(), **s3.storage_options, **NOTHING},
        {"url": gcs.bucket(), **gcs.storage_options, **NOTHING},
        {"url": str(tmp_path / "last"), **local},
    ]
    first = ArtifactStore(**stores[0])
    fill(first)
    wanted = contents(first)
    when = random.Random(1)
    for step, (source, destination) in enumerate(pairwise(stores)):
        left = len(wanted)
        for _ in range(kills // 3 + (step < kills % 3)):
            after = when.randrange(1, max(left // 2, 2))
            killed(source, destination, after)
            left -= after
        with ArtifactStore(**source) as one_store, ArtifactStore(**destination) as other:
            told = migrate(one_store, other)
            assert told.complete, told
            assert contents(other) == wanted
            assert migrate(one_store, other).copied == 0
    for key, data in contents(ArtifactStore(**stores[-1])).items():
        assert data == wanted[key]
    return len(wanted)


def sealed_and_plain(folder: Path, artifacts: int, versions: int) -> Callable[[ArtifactStore], None]:
    def fill(store: ArtifactStore) -> None:
        furnish(store, artifacts // 2, versions, many=min(artifacts, 60))
        sealed = ArtifactStore(folder / "first", durability="none", keys=KEYS, accept_plain=True)
        other = sealed.scope("sealed", "user1", "s1")
        for number in range(artifacts // 2):
            for version in range(versions):
                other.save(f"{number}.bin", bytes([version]) * (number % 2000))
            if number % 9 == 0:
                other.delete(f"{number}.bin", 0)
            if number % 8 == 0:
                other.tag(f"{number}.bin", "prod", 1)
            if number % 7 == 0:
                other.remove(f"{number}.bin")
        other.save("long.bin", os.urandom(WHOLE_LIMIT + 1))

    return fill


@pytest.mark.server("minio")
@pytest.mark.server("fake_gcs")
def test_a_store_comes_back_from_s3_and_gcs_as_it_was_though_the_runs_were_killed(
    tmp_path: Path, minio: Server, fake_gcs: Server
) -> None:
    assert round_trip(tmp_path, minio, fake_gcs, sealed_and_plain(tmp_path, 14, 2), kills=2) > 100


@pytest.mark.nightly
@pytest.mark.server("minio")
@pytest.mark.server("fake_gcs")
def test_a_large_store_comes_back_from_s3_and_gcs_as_it_was_though_the_runs_were_killed(
    tmp_path: Path, minio: Server, fake_gcs: Server
) -> None:
    assert round_trip(tmp_path, minio, fake_gcs, sealed_and_plain(tmp_path, 2000, 5), kills=5) > 20_000
