"""Verifying versions: whatever is done to them behind the store's back is told of, and nothing else is."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from artifactfs import (
    AccessDenied,
    ArtifactNotFound,
    ArtifactStore,
    BackendUnavailable,
    InvalidRef,
    Pointer,
    Removed,
    Scope,
    Verified,
    VersionNotFound,
)
from artifactfs.async_store import awaited_store
from artifactfs.backends.base import Backend, Got
from artifactfs.keys.keyring import new_key
from artifactfs.protocol import verify as verifying
from artifactfs.protocol.verify import PIECE
from artifactfs.records import Blob, encode, fence_payload, pointer_payload
from artifactfs.testing.store_base import LONG, Raw

from .servers import Server

KEYS = new_key("v1")
CHUNK = 16 * 1024
MANY = LONG + LONG + LONG[:PIECE]
"""More than five pieces."""


def opened(kind: str, folder: Path, **options: Any) -> ArtifactStore:
    place, _, protection = kind.partition(" ")
    url = f"memory://{folder.name}" if place == "memory" else str(folder)
    return ArtifactStore(url, **{"keys": KEYS if protection == "sealed" else None, "durability": "none"} | options)


@pytest.fixture(params=["memory plain", "memory sealed", "disk plain", "disk sealed"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def store(kind: str, tmp_path: Path) -> Iterator[ArtifactStore]:
    with opened(kind, tmp_path) as store:
        yield store


@pytest.fixture
def plain(tmp_path: Path) -> ArtifactStore:
    return opened("memory plain", tmp_path)


@pytest.fixture
def sealed(tmp_path: Path) -> ArtifactStore:
    return opened("memory sealed", tmp_path)


def session(store: ArtifactStore) -> Scope:
    return store.scope("shop", "alice", "s1")


def both(store: ArtifactStore, name: str = "a", version: Any = 0) -> Verified:
    """What both kinds of scope tell, which is the same."""
    told = session(store).verify(name, version)
    awaited = asyncio.run(_awaited(store, name, version))
    ages = {"detail": "", "artifact": told.artifact}
    assert {**_fields(told), **ages} == {**_fields(awaited), **ages}
    assert (told.artifact, told.ok) == (f"shop/alice/s1/{name}", told.state == "whole")
    return told


async def _awaited(store: ArtifactStore, name: str, version: Any) -> Verified:
    return await awaited_store(store).scope("shop", "alice", "s1").verify(name, version)


def _fields(told: Verified) -> dict[str, Any]:
    return {name: getattr(told, name) for name in told.__struct_fields__}


def held(raw: Raw, entry: str) -> bytes:
    data = raw.get(entry)
    assert data is not None
    return data


def flip(data: bytes, at: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def edited(record: bytes, **changed: Any) -> bytes:
    """A stored record with other values, all else as it was, its ``mac`` and its padding too."""
    for name, value in changed.items():
        head, colon, rest = record.partition(f'"{name}":'.encode())
        assert colon
        old = json.JSONDecoder().raw_decode(rest.decode())[1]
        record = head + colon + json.dumps(value, separators=(",", ":")).encode() + rest.decode()[old:].encode()
    return record


def put_all(raw: Raw, to: str, of: str) -> None:
    """The version *of* in the place of the version *to*."""
    for end in ("", ".metadata"):
        raw.put(to + end, held(raw, of + end))


# --- whole ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, PIECE - 1, PIECE, PIECE + 1, len(LONG)])
def test_what_was_saved_is_whole_and_all_of_it_was_read(store: ArtifactStore, size: int) -> None:
    record = session(store).save("a", LONG[:size])
    told = both(store)
    assert told.state == "whole", told.detail
    assert (told.version, told.record, told.bytes_checked) == (0, record, record.stored_bytes)
    assert ("authentic" in told.detail) is bool(record.encryption)


def test_a_version_is_named_as_in_load(store: ArtifactStore) -> None:
    scope = session(store)
    before = datetime.now(UTC) - timedelta(days=1)
    for data in (b"first", b"second", b"third"):
        last = scope.save("a", data)
    scope.save("user:a", b"of all sessions")
    assert [both(store, version=one).version for one in (None, "latest", -1, -3, 1, last.timestamp)] == [
        2,
        2,
        2,
        0,
        1,
        2,
    ]
    assert scope.verify("user:a").ok
    with pytest.raises(VersionNotFound, match="had no version at"):
        scope.verify("a", before)
    with pytest.raises(VersionNotFound, match="has no version -4"):
        scope.verify("a", -4)
    with pytest.raises(VersionNotFound, match="has no tag 'newest'"):
        scope.verify("a", "newest")
    with pytest.raises(InvalidRef):
        scope.verify("a", "The newest")


def test_of_a_pointer_all_that_is_stored_is_checked_and_nothing_is_fetched(store: ArtifactStore) -> None:
    uri = "https://artifactfs.invalid/never"
    record = session(store).point("a", uri, size_bytes=7, expected_sha256="0" * 64)
    told = both(store)
    assert (told.state, told.record, told.bytes_checked) == ("whole", record, len(pointer_payload(uri)))
    assert "was not looked at" in told.detail


def test_a_removal_is_a_version_that_is_whole(store: ArtifactStore) -> None:
    session(store).save("a", b"first")
    session(store).remove("a")
    told = both(store, version=None)
    assert (told.state, told.version, type(told.record)) == ("whole", 1, Removed)
    Raw(session(store), "a").put("1", b"x")
    assert both(store, version=1).state == "altered"


def test_a_users_bytes_in_the_form_of_a_fence_are_a_version(plain: ArtifactStore) -> None:
    session(plain).save("a", fence_payload())
    assert both(plain).state == "whole"


# --- damage -----------------------------------------------------------------------------------------------------------

DAMAGE: dict[str, tuple[str, Callable[[Raw], None]]] = {
    "first byte flipped": ("altered", lambda raw: raw.put("0", flip(held(raw, "0"), 0))),
    "byte 40 flipped": ("altered", lambda raw: raw.put("0", flip(held(raw, "0"), 40))),
    "byte 60 flipped": ("altered", lambda raw: raw.put("0", flip(held(raw, "0"), 60))),
    "a byte in the middle flipped": (
        "altered",
        lambda raw: raw.put("0", flip(held(raw, "0"), len(held(raw, "0")) // 2)),
    ),
    "last byte flipped": ("altered", lambda raw: raw.put("0", flip(held(raw, "0"), -1))),
    "other bytes": ("altered", lambda raw: raw.put("0", bytes(len(held(raw, "0"))))),
    "a byte more": ("altered", lambda raw: raw.put("0", held(raw, "0") + b"x")),
    "two parts exchanged": (
        "altered",
        lambda raw: raw.put("0", held(raw, "0")[-100:] + held(raw, "0")[100:-100] + held(raw, "0")[:100]),
    ),
    "cut off by a byte": ("truncated", lambda raw: raw.put("0", held(raw, "0")[:-1])),
    "cut off by a chunk": ("truncated", lambda raw: raw.put("0", held(raw, "0")[: -CHUNK - 16])),
    "emptied": ("truncated", lambda raw: raw.put("0", b"")),
    "payload lost": ("missing payload", lambda raw: raw.delete("0")),
    "record lost": ("missing record", lambda raw: raw.delete("0.metadata")),
    "record cut off": ("altered", lambda raw: raw.put("0.metadata", held(raw, "0.metadata")[:-9])),
    "record emptied": ("altered", lambda raw: raw.put("0.metadata", b"")),
    "record garbled": ("altered", lambda raw: raw.put("0.metadata", bytes(300))),
    "record of a later release": (
        "unknown format",
        lambda raw: raw.put("0.metadata", edited(held(raw, "0.metadata"), format=2)),
    ),
    "another digest in the record": (
        "altered",
        lambda raw: raw.put("0.metadata", edited(held(raw, "0.metadata"), sha256="0" * 64)),
    ),
    "no digest in the record": (
        "altered",
        lambda raw: raw.put("0.metadata", edited(held(raw, "0.metadata"), sha256=None)),
    ),
    "another size in the record": (
        "altered",
        lambda raw: raw.put("0.metadata", edited(held(raw, "0.metadata"), size_bytes=3)),
    ),
    "a record that was never finished": (
        "altered",
        lambda raw: raw.put(
            "0.metadata", edited(held(raw, "0.metadata"), size_bytes=None, sha256=None, stored_bytes=None)
        ),
    ),
    "the record of another version": ("altered", lambda raw: raw.put("0.metadata", held(raw, "1.metadata"))),
    "record and payload of another version": ("altered", lambda raw: put_all(raw, "0", "1")),
}


@pytest.fixture(params=DAMAGE)
def damage(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def damaged(store: ArtifactStore, damage: str, data: bytes) -> None:
    for content in (data, b"x" + data):
        session(store).save("a", content)
    assert both(store).ok
    state, do = DAMAGE[damage]
    do(Raw(session(store), "a"))
    told = both(store)
    assert told.state == state, told.detail
    assert not told.ok and told.detail
    assert both(store, version=1).ok


def test_damage_is_told_of_and_what_is_beside_it_is_whole(store: ArtifactStore, damage: str) -> None:
    damaged(store, damage, LONG[:50_000])


@pytest.mark.parametrize("damage", ["a byte in the middle flipped", "last byte flipped", "cut off by a chunk"])
def test_damage_in_a_payload_of_many_pieces_is_told_of(store: ArtifactStore, damage: str) -> None:
    damaged(store, damage, LONG)


@pytest.mark.parametrize("damage", [name for name, (state, _) in DAMAGE.items() if "flipped" in name])
def test_a_verify_that_trusts_the_size_alone_is_found_out(
    plain: ArtifactStore, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "_read", lambda *_: iter(()))
    with pytest.raises(AssertionError):
        damaged(plain, damage, LONG[:50_000])


def test_a_record_that_is_not_believed_is_not_given(store: ArtifactStore, kind: str) -> None:
    scope, raw = session(store), Raw(session(store), "a")
    record = scope.save("a", b"first")
    raw.put("0", b"other")
    assert both(store).record == record  # its payload is what does not fit
    raw.put("0.metadata", held(raw, "0.metadata")[:-9])
    assert both(store).record is None


def test_a_version_that_was_copied_from_another_name_is_altered(store: ArtifactStore) -> None:
    session(store).save("a", b"first")
    session(store).save("b", b"other")
    for entry in ("0", "0.metadata"):
        Raw(session(store), "a").put(entry, held(Raw(session(store), "b"), entry))
    assert both(store).state == "altered"


POINTERS: dict[str, tuple[str, Callable[[Raw], None]]] = {
    "payload of another pointer": ("altered", lambda raw: raw.put("0", pointer_payload("https://example.com/other"))),
    "payload cut off": ("truncated", lambda raw: raw.put("0", held(raw, "0")[:-3])),
    "payload longer": ("altered", lambda raw: raw.put("0", held(raw, "0") + b"#")),
    "payload lost": ("missing payload", lambda raw: raw.delete("0")),
    "record lost": ("missing record", lambda raw: raw.delete("0.metadata")),
    "record to elsewhere": (
        "altered",
        lambda raw: raw.put("0.metadata", edited(held(raw, "0.metadata"), uri="https://example.net/where")),
    ),
}


@pytest.mark.parametrize("damage", POINTERS)
def test_damage_to_a_pointer_is_told_of(store: ArtifactStore, damage: str) -> None:
    session(store).point("a", "https://example.com/where")
    state, do = POINTERS[damage]
    do(Raw(session(store), "a"))
    assert both(store).state == state


def test_a_pointer_whose_record_and_payload_were_both_exchanged_is_altered_where_there_are_keys(
    sealed: ArtifactStore,
) -> None:
    session(sealed).point("a", "https://example.com/where")
    raw = Raw(session(sealed), "a")
    raw.put("0.metadata", edited(held(raw, "0.metadata"), uri="https://example.net/other"))
    raw.put("0", pointer_payload("https://example.net/other"))
    told = both(sealed)
    assert told.state == "altered" and told.record is None


def test_the_newest_is_the_newest_payload_damaged_or_not(store: ArtifactStore) -> None:
    for data in (b"first", b"second"):
        session(store).save("a", data)
    raw = Raw(session(store), "a")
    whole = held(raw, "1.metadata")
    for data, state in ((edited(whole, format=2), "unknown format"), (whole[:-9], "altered"), (whole, "whole")):
        raw.put("1.metadata", data)
        told = both(store, version=None)
        assert (told.version, told.state) == (1, state)
    raw.put("1", b"x")
    assert both(store, version=None).state == "truncated"
    raw.delete("1")
    assert (both(store, version=None).version, both(store, version=1).state) == (0, "missing payload")


def test_an_artifact_of_which_only_a_record_is_left_is_told_of(store: ArtifactStore) -> None:
    session(store).save("a", b"first")
    Raw(session(store), "a").delete("0")
    assert both(store, version=None).state == "missing payload"


# --- keys -------------------------------------------------------------------------------------------------------------


def resealed(raw: Raw, data: bytes) -> None:
    """Other bytes, and the record made to fit them, as far as one can without the key."""
    raw.put("0", data)
    raw.put("0.metadata", edited(held(raw, "0.metadata"), sha256=hashlib.sha256(data).hexdigest()))


def test_a_flipped_chunk_cannot_be_hidden_by_a_record_that_fits_it(sealed: ArtifactStore) -> None:
    session(sealed).save("a", LONG[:50_000])
    raw = Raw(session(sealed), "a")
    resealed(raw, flip(held(raw, "0"), 30_000))
    told = both(sealed)
    assert told.state == "altered" and "altered, or moved" in told.detail


def test_a_plain_version_in_a_store_with_keys_is_altered_unless_such_are_taken(tmp_path: Path) -> None:
    session(opened("memory plain", tmp_path)).save("a", b"first")
    told = both(opened("memory sealed", tmp_path))
    assert told.state == "altered" and "authenticated by no key" in told.detail and told.record is None
    assert both(opened("memory sealed", tmp_path, accept_plain=True)).state == "whole"


@pytest.mark.parametrize("protection", ["plain", "sealed with another key"])
def test_without_its_key_a_versions_stored_bytes_are_checked_all_the_same(tmp_path: Path, protection: str) -> None:
    store = opened("memory sealed", tmp_path)
    for name in ("a", "flipped", "cut", "lost"):
        record = session(store).save(name, LONG)
    session(store).point("link", "https://example.com/where")
    session(store).save("gone", b"")
    session(store).delete("gone", 0)
    flipped, cut = Raw(session(store), "flipped"), Raw(session(store), "cut")
    flipped.put("0", flip(held(flipped, "0"), 5_000_000))
    cut.put("0", held(cut, "0")[:-1])
    Raw(session(store), "lost").delete("0")
    keyless = opened("memory plain", tmp_path, keys=None if protection == "plain" else new_key("v2"))
    told = both(keyless)
    assert (told.state, told.record, told.bytes_checked) == ("key unavailable", None, record.stored_bytes)
    assert "'v1'" in told.detail and "have the digest" in told.detail
    assert both(keyless, "link").state == "key unavailable"
    states = [both(keyless, name).state for name in ("flipped", "cut", "lost")]
    assert states == ["altered", "truncated", "missing payload"]
    with pytest.raises(VersionNotFound):
        session(keyless).verify("gone", 0)


def test_of_what_is_sealed_in_a_later_way_the_stored_bytes_are_checked(
    sealed: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as later:
        later.setattr("artifactfs.custody.CIPHER", "cobblestone-512")
        record = session(sealed).save("a", LONG[:50_000])
    told = both(sealed)
    assert (told.state, told.record, told.bytes_checked) == ("unknown format", None, record.stored_bytes)
    assert "cobblestone-512" in told.detail and "have the digest" in told.detail
    raw = Raw(session(sealed), "a")
    raw.put("0", flip(held(raw, "0"), -1))
    assert both(sealed).state == "altered"


def test_where_users_are_hidden_their_versions_are_verified_too(tmp_path: Path) -> None:
    with opened("memory sealed", tmp_path, scope_secret="s" * 43) as store:
        session(store).save("a", b"first")
        assert both(store).ok


def test_no_key_is_in_what_is_told(sealed: ArtifactStore) -> None:
    session(sealed).save("a", b"first")
    Raw(session(sealed), "a").put("0", b"other")
    assert KEYS.partition(":")[2] not in repr(both(sealed))


# --- what is no version -----------------------------------------------------------------------------------------------


def test_where_nothing_is_at_all_nothing_is_told(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactNotFound):
        session(store).verify("a")
    with pytest.raises(VersionNotFound, match="no version 7"):
        session(store).verify("a", 7)


def test_a_number_that_was_deleted_or_fenced_is_no_version(store: ArtifactStore) -> None:
    scope, raw = session(store), Raw(session(store), "a")
    for data in (b"first", b"second", b"third"):
        scope.save("a", data)
    scope.delete("a", 0)
    raw.put("1", fence_payload())
    raw.put("7", fence_payload())
    for number in (0, 1, 7):
        with pytest.raises(VersionNotFound):
            both(store, version=number)
    assert both(store, version=None).version == 2


def test_a_forged_tombstone_takes_no_version_away_where_there_are_keys(sealed: ArtifactStore) -> None:
    scope = session(sealed)
    for name in ("a", "b"):
        scope.save(name, b"first")
    scope.delete("b", 0)
    Raw(scope, "a").put("0.metadata", held(Raw(scope, "b"), "0.metadata"))
    assert both(sealed).state == "altered"


# --- while others work ------------------------------------------------------------------------------------------------


class Meddled:
    """Passes everything on to *inner*; `before` and `answer` see each call first and last. Keeps the sizes of reads."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.reads: list[tuple[str, int, int]] = []
        self.before: Callable[[str, str], None] = lambda *_: None
        self.answer: Callable[[str, str, Any], Any] = lambda method, key, answer: answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Got | None:
        self.before("get", key)
        got: Got | None = self.answer("get", key, await self.inner.get(key, start, end))
        if got is not None:
            self.reads.append((key, start, start + len(got.data)))
        return got

    async def stat(self, key: str) -> Any:
        self.before("stat", key)
        return self.answer("stat", key, await self.inner.stat(key))

    async def now(self) -> float:
        now: float = self.answer("now", "", await self.inner.now())
        return now


def meddled(store: ArtifactStore) -> Meddled:
    store._core.backend = between = Meddled(store._core.backend)
    return between


def test_a_version_that_is_deleted_while_it_is_read_is_not_there(
    store: ArtifactStore, tmp_path: Path, kind: str
) -> None:
    session(store).save("a", LONG)
    other = opened(kind, tmp_path)
    between = meddled(store)

    def delete(method: str, key: str) -> None:
        if len(between.reads) == 2 and key.endswith("/a/0"):
            between.before = lambda *_: None
            session(other).delete("a", 0)

    between.before = delete
    with pytest.raises(VersionNotFound):
        session(store).verify("a", 0)
    assert len(between.reads) > 2


def test_a_payload_that_grows_while_it_is_read_is_altered(store: ArtifactStore) -> None:
    session(store).save("a", LONG)
    raw = Raw(session(store), "a")
    longer = held(raw, "0") + b"x"
    between = meddled(store)

    def grow(method: str, key: str) -> None:
        if len(between.reads) == 2 and key.endswith("/a/0"):
            between.before = lambda *_: None
            raw.put("0", longer)

    between.before = grow
    told = session(store).verify("a", 0)
    assert told.state == "altered" and f"has {len(longer)} bytes" in told.detail


def test_a_save_that_ends_between_two_looks_is_whole(store: ArtifactStore) -> None:
    session(store).save("a", b"first")
    raw = Raw(session(store), "a")
    final, claim = (
        held(raw, "0.metadata"),
        edited(held(raw, "0.metadata"), size_bytes=None, sha256=None, stored_bytes=None),
    )
    if not json.loads(final).get("mac"):
        raw.put("0.metadata", claim)  # only a store without keys believes it
    between = meddled(store)

    def finish(method: str, key: str) -> None:
        if method == "stat":
            between.before = lambda *_: None
            raw.put("0.metadata", final)

    between.before = finish
    assert session(store).verify("a", 0).state == "whole"


def test_a_payload_that_comes_after_its_record_was_read_is_whole(store: ArtifactStore) -> None:
    session(store).save("a", b"first")
    between = meddled(store)
    looks: list[str] = []

    def late(method: str, key: str, answer: Any) -> Any:
        looks.append(method)
        return None if looks.count("stat") == 1 and method == "stat" else answer

    between.answer = late
    assert session(store).verify("a", 0).state == "whole"


def test_a_record_without_payload_may_be_a_save_in_progress_for_as_long_as_one_takes(plain: ArtifactStore) -> None:
    session(plain).save("a", b"first")
    Raw(session(plain), "a").delete("0")
    assert "may be a save in progress" in both(plain).detail
    between = meddled(plain)
    between.answer = lambda method, key, answer: answer + 3600 if method == "now" else answer
    told = both(plain)
    assert "the payload was lost" in told.detail and "in progress" not in told.detail
    assert told.state == "missing payload" and isinstance(told.record, Blob)


def test_a_claim_of_a_stream_is_told_as_one_that_was_never_finished(plain: ArtifactStore) -> None:
    record = session(plain).save("a", b"first")
    raw = Raw(session(plain), "b")
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    claim = Blob(**fields | {"filename": "b", "size_bytes": None, "sha256": None, "stored_bytes": None})
    raw.put("0.metadata", encode(claim))
    told = both(plain, "b")
    assert told.state == "missing payload" and "never finished" in told.detail and "in progress" in told.detail


# --- what it costs, and what fails ------------------------------------------------------------------------------------


def test_a_long_payload_is_read_once_in_pieces_and_never_held_whole(store: ArtifactStore) -> None:
    record = session(store).save("a", MANY)
    stored = record.stored_bytes
    assert stored is not None
    between = meddled(store)
    tracemalloc.start()
    try:
        assert session(store).verify("a", 0).bytes_checked == stored
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    payload = [(start, end) for key, start, end in between.reads if key.endswith("/0")]
    assert len(payload) == -(-len(MANY) // PIECE) > 5
    assert [start for start, _ in payload] == [0, *(end for _, end in payload[:-1])] and payload[-1][1] == stored
    assert max(end - start for start, end in payload) <= PIECE + 16 * (PIECE // CHUNK + 1) + 56
    assert peak < 4.5 * PIECE < len(MANY)


def test_reading_stops_at_the_first_piece_that_does_not_open(sealed: ArtifactStore) -> None:
    session(sealed).save("a", MANY)
    raw = Raw(session(sealed), "a")
    raw.put("0", flip(held(raw, "0"), 1000))
    between = meddled(sealed)
    told = session(sealed).verify("a", 0)
    assert told.state == "altered" and told.bytes_checked < 2 * PIECE
    assert "from 56 to" in told.detail
    assert sum(key.endswith("/0") for key, _, _ in between.reads) == 2


def test_a_store_that_fails_is_no_damage(plain: ArtifactStore) -> None:
    session(plain).save("a", LONG)
    between = meddled(plain)
    for error in (BackendUnavailable("no answer"), AccessDenied("not yours")):

        def fail(method: str, key: str, error: Exception = error) -> None:
            if key.endswith("/a/0") and method == "get":
                raise error

        between.before = fail
        with pytest.raises(type(error)):
            both(plain)
    between.before = lambda *_: None
    between.answer = lambda method, key, got: (
        got._replace(data=got.data[:-1]) if method == "get" and key.endswith("/0") else got
    )
    with pytest.raises(BackendUnavailable, match="gave only"):
        both(plain)


@pytest.mark.parametrize("protection", ["plain", "sealed"])
def test_over_a_network_it_is_the_same(moto: Server, protection: str) -> None:
    options: dict[str, Any] = dict(moto.storage_options)
    with ArtifactStore(moto.bucket(), keys=KEYS if protection == "sealed" else None, **options) as store:
        record = session(store).save("a", LONG)
        session(store).save("empty", b"")
        session(store).point("link", "https://example.com/where")
        assert both(store).bytes_checked == record.stored_bytes
        assert both(store, "empty").ok and both(store, "link").ok
        assert isinstance(both(store, "link").record, Pointer)
        raw = Raw(session(store), "a")
        data = held(raw, "0")
        raw.put("0", flip(data, -5))
        assert both(store).state == "altered"
        raw.put("0", data[:-5])
        assert both(store).state == "truncated"
        raw.delete("0")
        assert both(store).state == "missing payload"
