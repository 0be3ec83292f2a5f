"""A store with keys gives out what was saved, or says that it was altered; who lacks the keys is told so."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import random
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import pytest

from artifactfs import ArtifactStore, AsyncArtifactStore
from artifactfs.backends.base import WHOLE_LIMIT
from artifactfs.drivers import perform
from artifactfs.errors import (
    AccessDenied,
    ArtifactNotFound,
    BackendUnavailable,
    IntegrityError,
    InvalidConfig,
    KeyUnavailable,
    PointerNotManaged,
    UnsupportedFormat,
    VersionNotFound,
)
from artifactfs.keys.base import Identity
from artifactfs.keys.keyring import Keyring
from artifactfs.protocol.env import Env
from artifactfs.protocol.ops import Get, Put
from artifactfs.store import Scope
from artifactfs.testing.counting import Counting
from artifactfs.testing.store_base import Raw, keys_below, numbers

from .proxy import Request, in_front_of
from .servers import Server
from .test_streams import GROWTH, Zeros, _peak

RAW_KEY = bytes(range(32))
KEYS = "v1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
OTHER = "v1:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
SECOND = "v2:AgECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
SECRET = "a secret that only this test knows"

HEAD, CHUNK, SEALED_CHUNK = 56, 16_384, 16_400
CONTENT = random.Random(5).randbytes(40_000)
LONGER = random.Random(6).randbytes(100_000)
"""Of seven chunks; a reader fetches no more of it than it is asked for."""


@pytest.fixture
def url() -> str:
    return f"memory://sealing-{uuid.uuid4().hex}"


@pytest.fixture
def store(url: str) -> ArtifactStore:
    return ArtifactStore(url, keys=KEYS)


@pytest.fixture
def scope(store: ArtifactStore) -> Scope:
    return store.scope("shop", "alice", "s1")


def session(url: str, **settings: Any) -> Scope:
    return ArtifactStore(url, **settings).scope("shop", "alice", "s1")


def put(store: ArtifactStore, key: str, data: bytes) -> None:
    perform((Put(key, data, "application/octet-stream"),), store.backend, None)


def stored(scope: Scope, name: str, entry: str) -> bytes:
    data = Raw(scope, name).get(entry)
    assert data is not None
    return data


def flipped(data: bytes, bit: int) -> bytes:
    altered = bytearray(data)
    altered[bit // 8] ^= 1 << bit % 8
    return bytes(altered)


def read_on(scope: Scope, name: str, version: int = 0, piece: int = 1024) -> tuple[bytes, IntegrityError | None]:
    """What a reader is given before it meets an error, and that error."""
    given = b""
    try:
        with scope.open(name, version=version) as file:
            while data := file.read(piece):
                given += data
    except IntegrityError as error:
        return given, error
    return given, None


READS: dict[str, Callable[[Scope, str], object]] = {
    "load": lambda scope, name: scope.load(name, 0),
    "load the newest": lambda scope, name: scope.load(name),
    "stat": lambda scope, name: scope.stat(name, 0),
    "open": lambda scope, name: scope.open(name, version=0).read(10),
}


# records: every bit of them


def _places(record: bytes, *fields: bytes) -> set[int]:
    """The bytes of *fields*, each with its name."""
    found: set[int] = set()
    for field in fields:
        at = record.index(field)
        found |= set(range(at, at + len(field)))
    return found


@pytest.mark.parametrize("accept_plain", [False, True])
def test_no_bit_of_a_record_can_be_flipped_unseen(url: str, accept_plain: bool) -> None:
    scope = session(url, keys=KEYS, accept_plain=accept_plain)
    scope.save("x.csv", b"genuine", metadata={"by": "alice", "n": [1, None]})
    raw, record = Raw(scope, "x.csv"), stored(scope, "x.csv", "0.metadata")
    of_key = _places(record, b'"key_id":"v1"')
    of_format = _places(record, b'"kind":"blob"', b'"format":1', b'"cipher":"cobblestone-256"')
    seen: set[type[Exception]] = set()
    for bit in range(len(record) * 8):
        raw.put("0.metadata", flipped(record, bit))
        for name, read in READS.items():
            with pytest.raises((IntegrityError, KeyUnavailable, UnsupportedFormat)) as refused:
                read(scope, "x.csv")
            kind = type(refused.value)
            seen.add(kind)
            assert kind is IntegrityError or bit // 8 in (of_key if kind is KeyUnavailable else of_format), (bit, name)
    assert seen == {IntegrityError, KeyUnavailable, UnsupportedFormat}
    raw.put("0.metadata", record)
    assert scope.load("x.csv").data == b"genuine"


def test_listings_show_nothing_that_an_altered_record_says(scope: Scope) -> None:
    scope.save("x.csv", b"genuine", mime_type="text/x-own", metadata={"by": "alice"})
    raw, record = Raw(scope, "x.csv"), stored(scope, "x.csv", "0.metadata")
    of_format = _places(record, b'"kind":"blob"', b'"format":1')
    for bit in range(3, len(record) * 8, 4):
        if bit // 8 in of_format:
            continue
        raw.put("0.metadata", flipped(record, bit))
        assert list(scope.names()) == ["x.csv"]
        for shown in (*scope.history("x.csv"), *dict(scope.records()).values()):
            assert (shown.version, shown.mime_type, shown.metadata, shown.write_id) == (0, "text/csv", {}, "")


def test_no_bit_of_a_pointers_record_can_be_flipped_unseen(scope: Scope) -> None:
    scope.point("doc", "https://example.org/paper.pdf", size_bytes=7)
    raw, record = Raw(scope, "doc"), stored(scope, "doc", "0.metadata")
    of_key = _places(record, b'"key_id":"v1"')
    of_format = _places(record, b'"kind":"pointer"', b'"format":1')
    for bit in range(len(record) * 8):
        raw.put("0.metadata", flipped(record, bit))
        for read in READS.values():
            with pytest.raises((IntegrityError, KeyUnavailable, UnsupportedFormat)) as refused:
                read(scope, "doc")
            kind = type(refused.value)
            assert kind is IntegrityError or bit // 8 in (of_key if kind is KeyUnavailable else of_format), bit
    raw.put("0.metadata", record)
    with pytest.raises(PointerNotManaged):
        scope.load("doc")


def test_no_bit_of_a_removal_or_a_tombstone_can_be_flipped_to_bring_anything_back(scope: Scope) -> None:
    scope.save("x", b"first")
    scope.remove("x")
    scope.save("y", b"first")
    payload = stored(scope, "y", "0")
    scope.delete("y")
    for name, entry, number in (("x", "1.metadata", 1), ("y", "0.metadata", 0)):
        raw, record = Raw(scope, name), stored(scope, name, entry)
        if name == "y":
            raw.put("0", payload)
        for bit in range(len(record) * 8):
            raw.put(entry, flipped(record, bit))
            for version in (number, None):
                with pytest.raises((IntegrityError, KeyUnavailable, UnsupportedFormat, FileNotFoundError)):
                    scope.load(name, version)
        raw.put(entry, record)
    with pytest.raises(ArtifactNotFound, match="was removed at version 1"):
        scope.load("x")
    with pytest.raises(ArtifactNotFound):
        scope.load("y")


# payloads: bits, lengths, and the order of chunks


def _content_at(place: int, size: int) -> tuple[int, int]:
    """The range of content that needs the stored byte at *place*: one byte of the chunk that it lies in."""
    if place < HEAD:
        return 0, 1
    chunk, within = divmod(place - HEAD, SEALED_CHUNK)
    last = min(size, (chunk + 1) * CHUNK) - 1
    start = min(chunk * CHUNK + within, last)
    return start, start + 1


def test_no_bit_of_a_payload_can_be_flipped_unseen_by_who_reads_ranges_or_streams(url: str, scope: Scope) -> None:
    """One bit in every 16th byte: the suite of codecs flips each."""
    fs = fsspec.filesystem("artifact", root=url, keys=KEYS, skip_instance_cache=True)
    scope.save("x", CONTENT)
    raw, payload = Raw(scope, "x"), stored(scope, "x", "0")
    assert len(payload) == HEAD + 40_000 + 3 * 16
    places = {*range(0, len(payload), 16), *range(HEAD), *range(len(payload) - 16, len(payload))}
    for turn, place in enumerate(sorted(places)):
        raw.put("0", flipped(payload, place * 8 + turn % 8))
        start, end = _content_at(place, len(CONTENT))
        with scope.open("x", version=0) as file:
            file.seek(start)
            with pytest.raises(IntegrityError):
                file.read(end - start)
        given, error = read_on(scope, "x")
        assert error is not None
        assert CONTENT.startswith(given) and len(given) <= (start // CHUNK) * CHUNK, place
        whole: list[Callable[[], object]] = [
            lambda: scope.load("x", 0),
            lambda: scope.open("x").read(),
            lambda: fs.cat_ranges(["shop/alice/s1/x@0"], [start], [end], on_error="raise"),  # noqa: B023
        ]
        for read in whole:
            with pytest.raises(IntegrityError):
                read()


def test_what_lies_beside_an_altered_chunk_is_still_read(scope: Scope) -> None:
    scope.save("x", LONGER)
    Raw(scope, "x").put("0", flipped(stored(scope, "x", "0"), (HEAD + 5 * SEALED_CHUNK + 5) * 8))
    for start, end in ((0, 5 * CHUNK), (100, 200), (6 * CHUNK, 100_000), (99_999, 100_000)):
        with scope.open("x", version=0) as file:
            file.seek(start)
            assert file.read(end - start) == LONGER[start:end]
    for start, end in ((5 * CHUNK, 5 * CHUNK + 1), (5 * CHUNK - 1, 5 * CHUNK + 1), (6 * CHUNK - 1, 6 * CHUNK)):
        with scope.open("x", version=0) as file:
            file.seek(start)
            with pytest.raises(IntegrityError, match="was altered in the bytes from 82056 to 98456"):
                file.read(end - start)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_the_last_chunk_is_checked_though_it_be_empty(scope: Scope, size: int) -> None:
    scope.save("x", CONTENT[:size])
    raw, payload = Raw(scope, "x"), stored(scope, "x", "0")
    for place in range(len(payload) - 16, len(payload)):
        raw.put("0", flipped(payload, place * 8 + place % 8))
        with pytest.raises(IntegrityError):
            scope.load("x")
        given, error = read_on(scope, "x")
        assert CONTENT.startswith(given) and len(given) <= size // CHUNK * CHUNK
        assert error is not None or size == 0, "of no bytes there is nothing to be altered: the record says so"


def _cuts(size: int) -> Iterator[int]:
    """Lengths to cut to: all about the head, the chunks and the end, and some in between."""
    edges = [0, HEAD, *(HEAD + number * SEALED_CHUNK for number in range(1, size // SEALED_CHUNK + 1)), size]
    about = {edge + off for edge in edges for off in range(-18, 19)}
    yield from sorted({cut for cut in about | set(range(0, size, 499)) if 0 <= cut < size})


def test_a_payload_that_was_cut_off_anywhere_is_never_taken_for_whole(scope: Scope) -> None:
    scope.save("x", CONTENT)
    raw, payload = Raw(scope, "x"), stored(scope, "x", "0")
    for cut in _cuts(len(payload)):
        raw.put("0", payload[:cut])
        _refused_everywhere(scope)


def test_a_payload_that_is_cut_off_after_it_was_opened_gives_its_beginning_alone(scope: Scope) -> None:
    scope.save("x", LONGER)
    raw, payload = Raw(scope, "x"), stored(scope, "x", "0")
    for cut in _cuts(len(payload)):
        raw.put("0", payload)
        with scope.open("x", version=0) as file:
            assert file.read(10) == LONGER[:10]
            raw.put("0", payload[:cut])
            file.seek(CHUNK + 1)
            with pytest.raises(IntegrityError, match="does not match its record"):
                file.read()


@pytest.mark.parametrize("more", [b"\0", bytes(16), CONTENT[:SEALED_CHUNK]], ids=["a byte", "a tag", "a chunk"])
def test_a_payload_that_was_added_to_is_refused(scope: Scope, more: bytes) -> None:
    scope.save("x", CONTENT)
    raw, payload = Raw(scope, "x"), stored(scope, "x", "0")
    for longer in (payload + more, payload[:HEAD] + more + payload[HEAD:], payload + payload[HEAD:]):
        raw.put("0", longer)
        _refused_everywhere(scope)


def _refused_everywhere(scope: Scope) -> None:
    for read in READS.values():
        with pytest.raises(IntegrityError, match="does not match its record"):
            read(scope, "x")


def test_no_two_chunks_can_be_swapped_or_doubled(scope: Scope) -> None:
    scope.save("x", LONGER)
    raw, payload = Raw(scope, "x"), stored(scope, "x", "0")
    chunks = [payload[at : at + SEALED_CHUNK] for at in range(HEAD, len(payload), SEALED_CHUNK)]
    assert len(chunks) == 7
    for one, other in itertools.permutations(range(len(chunks)), 2):
        swapped, doubled = list(chunks), list(chunks)
        swapped[one], swapped[other] = chunks[other], chunks[one]
        doubled[one] = chunks[other]
        for mixed in (swapped, doubled):
            raw.put("0", payload[:HEAD] + b"".join(mixed))
            with pytest.raises(IntegrityError):
                scope.load("x", 0)
            given, error = read_on(scope, "x", piece=5000)
            assert error is not None and LONGER.startswith(given)
            assert len(given) <= min(one, other if mixed is swapped else one) * CHUNK


# moves: what is genuine elsewhere


class Place(NamedTuple):
    app: str
    user: str
    session: str | None
    name: str
    number: int


HOME = Place("shop", "alice", "s1", "x", 0)


@pytest.mark.parametrize("accept_plain", [False, True])
@pytest.mark.parametrize(
    "to",
    [
        HOME._replace(app="other"),
        HOME._replace(user="bob"),
        HOME._replace(session="s2"),
        HOME._replace(session=None),
        HOME._replace(session="user"),
        HOME._replace(name="y"),
        HOME._replace(number=1),
        HOME._replace(number=7),
        Place("shop", "alice", "s1/x", "0", 0),
    ],
    ids=["app", "user", "session", "user scope", "session called user", "name", "number", "far number", "all"],
)
def test_a_version_that_is_copied_elsewhere_does_not_open_there(url: str, to: Place, accept_plain: bool) -> None:
    store = ArtifactStore(url, keys=KEYS, accept_plain=accept_plain)
    home = store.scope(*HOME[:3])
    home.save("x", CONTENT)
    there = store.scope(to.app, to.user, to.session)
    for entry in ("", ".metadata"):
        put(store, there.id.artifact(to.name).folder + f"{to.number}{entry}", stored(home, "x", f"0{entry}"))
    for read in (there.load, there.stat, lambda name, number: there.open(name, version=number)):
        with pytest.raises(IntegrityError):
            read(to.name, to.number)
    assert home.load("x", 0).data == CONTENT


def test_versions_of_one_artifact_cannot_take_each_others_place(scope: Scope) -> None:
    for data in (b"first", b"other"):
        scope.save("x", data)
    raw = Raw(scope, "x")
    payloads = [stored(scope, "x", entry) for entry in ("0", "1")]
    records = [stored(scope, "x", entry) for entry in ("0.metadata", "1.metadata")]
    mixtures = {
        "payload of another version": (records[1], payloads[0]),
        "record of another version": (records[0], payloads[1]),
        "both of another version": (records[0], payloads[0]),
        "write_id of another version": (_with(records[1], write_id=json.loads(records[0])["write_id"]), payloads[1]),
        "number of another version": (_with(records[0], version=1), payloads[0]),
        "key of another version": (_with(records[1], encryption=json.loads(records[0])["encryption"]), payloads[0]),
    }
    for what, (record, payload) in mixtures.items():
        raw.put("1.metadata", record)
        raw.put("1", payload)
        for read in (scope.load, lambda name, number: scope.open(name, version=number).read()):
            with pytest.raises(IntegrityError):
                pytest.fail(f"{what} was given: {read('x', 1)!r}")
    assert scope.load("x", 0).data == b"first"


def _with(record: bytes, **changed: Any) -> bytes:
    """*record* with some of its fields changed, spelled as the library spells it, its ``mac`` as it was."""
    head, mac = record.rsplit(b',"mac":"', 1)
    fields = json.loads(head + b"}")
    fields.update(changed)
    fields = {name: value for name, value in fields.items() if value is not None}
    return json.dumps(fields, separators=(",", ":")).encode()[:-1].ljust(len(head)) + b',"mac":"' + mac


# what a store with keys believes


def _stripped(record: bytes, *, mac: bool, encryption: bool) -> bytes:
    """*record* without its ``mac``, its ``encryption``, or both."""
    altered = _with(record, encryption=None) if encryption else record
    return altered.rsplit(b',"mac":"', 1)[0] + b"}" if mac else altered


@pytest.mark.parametrize("accept_plain", [False, True])
@pytest.mark.parametrize(("mac", "encryption"), [(True, False), (False, True)])
def test_what_authenticates_a_record_cannot_be_taken_away_in_part(
    url: str, mac: bool, encryption: bool, accept_plain: bool
) -> None:
    scope = session(url, keys=KEYS, accept_plain=accept_plain)
    scope.save("x", b"genuine")
    stripped = _stripped(stored(scope, "x", "0.metadata"), mac=mac, encryption=encryption)
    Raw(scope, "x").put("0.metadata", stripped)
    for reader in (scope, session(url)):
        for read in READS.values():
            with pytest.raises(IntegrityError, match="what authenticates it was taken away"):
                read(reader, "x")


def test_a_sealed_version_cannot_be_turned_into_a_plain_one(url: str, scope: Scope) -> None:
    scope.save("x", b"genuine")
    sealed = stored(scope, "x", "0.metadata")
    forger = session(f"memory://forger-{uuid.uuid4().hex}")
    forger.save("x", b"forged!")
    for record, payload in (
        (_stripped(sealed, mac=True, encryption=True), stored(scope, "x", "0")),
        (stored(forger, "x", "0.metadata"), b"forged!"),
    ):
        Raw(scope, "x").put("0.metadata", record)
        Raw(scope, "x").put("0", payload)
        for read in READS.values():
            with pytest.raises(IntegrityError, match=r"authenticated by no key.*accept_plain=True"):
                read(scope, "x")
    Raw(scope, "x").delete("0.metadata")
    for read in READS.values():
        with pytest.raises(IntegrityError, match="authenticated by no key"):
            read(scope, "x")


def test_accept_plain_gives_up_to_notice_that_a_sealed_version_became_a_plain_one(url: str, scope: Scope) -> None:
    """As docs/spec.md says: who opens a store so believes plain records."""
    scope.save("x", b"genuine")
    forger = session(f"memory://forger-{uuid.uuid4().hex}")
    forger.save("x", b"forged!")
    for entry in ("0", "0.metadata"):
        Raw(scope, "x").put(entry, stored(forger, "x", entry))
    assert session(url, keys=KEYS, accept_plain=True).load("x").data == b"forged!"
    with pytest.raises(IntegrityError):
        scope.load("x")


def test_an_older_genuine_state_of_the_same_version_is_not_told_from_the_newest(scope: Scope) -> None:
    """A limit of the attack model (docs/spec.md): who writes to the bucket can undo a delete with what they kept."""
    scope.save("x", b"genuine")
    kept = {entry: stored(scope, "x", entry) for entry in ("0", "0.metadata")}
    scope.delete("x")
    with pytest.raises(ArtifactNotFound):
        scope.load("x")
    for entry, data in kept.items():
        Raw(scope, "x").put(entry, data)
    assert scope.load("x").data == b"genuine"


def test_the_claim_of_a_stream_put_back_in_place_of_its_record_makes_no_version_of_other_bytes(scope: Scope) -> None:
    with scope.open("x", "wb") as file:
        file.write(bytes(WHOLE_LIMIT + 1_100_000))
        claim = stored(scope, "x", "0.metadata")
        file.write(b"the end")
    assert stored(scope, "x", "0.metadata") != claim
    Raw(scope, "x").put("0.metadata", claim)
    for read in READS.values():
        with pytest.raises(IntegrityError, match="does not match its record"):
            read(scope, "x")


# switching sealing on


def test_sealing_is_switched_on_for_a_store_that_has_plain_data(url: str) -> None:
    before = session(url)
    before.save("x", b"plain")
    before.save("x", CONTENT)
    before.save("gone", b"plain")
    before.remove("gone")
    Raw(before, "theirs.csv").put("0", b"a,b\n")

    both, strict = session(url, keys=KEYS, accept_plain=True), session(url, keys=KEYS)
    assert (both.load("x", 0).data, both.load("x").data) == (b"plain", CONTENT)
    assert both.open("x", version=1).read() == CONTENT
    assert both.load("theirs.csv").data == b"a,b\n"
    assert both.save("x", b"secret").version == 2
    assert (both.load("x", 0).data, both.load("x").data) == (b"plain", b"secret")
    assert b"secret" not in stored(both, "x", "2")
    assert list(both.names()) == ["theirs.csv", "x"]
    with pytest.raises(ArtifactNotFound, match="was removed"):
        both.load("gone")

    assert strict.load("x").data == b"secret"
    for name, version in (("x", 0), ("x", 1), ("theirs.csv", 0), ("gone", 0), ("gone", None)):
        with pytest.raises(IntegrityError, match="accept_plain=True"):
            strict.load(name, version)
    assert strict.versions("x") == [0, 1, 2]

    assert (before.load("x", 0).data, before.load("x", 1).data) == (b"plain", CONTENT)
    with pytest.raises(KeyUnavailable, match=r"set ARTIFACTFS_KEYS") as told:
        before.load("x")
    assert told.value.key_id == "v1"
    assert before.save("x", b"after all").version == 3


def test_a_plain_version_may_be_deleted_and_followed_where_there_are_keys(url: str) -> None:
    before, sealed = session(url), session(url, keys=KEYS, accept_plain=True)
    before.save("x", b"plain")
    assert sealed.save("x", b"sealed", expect=0).version == 1
    sealed.delete("x", 0)
    assert (sealed.versions("x"), before.versions("x")) == ([1], [1])
    with pytest.raises(VersionNotFound):
        sealed.load("x", 0)
    with pytest.raises(KeyUnavailable):  # that it was deleted is told by a record that has to be checked
        before.load("x", 0)
    sealed.remove("x")
    with pytest.raises(ArtifactNotFound):
        sealed.load("x")
    assert list(sealed.names()) == list(before.names()) == []


# keys that are not the right ones


def test_who_has_no_keys_lists_deletes_and_saves_but_reads_nothing(url: str, scope: Scope) -> None:
    for data in (b"first", CONTENT):
        scope.save("x", data, metadata={"secret": "no more"})
    scope.save("removed", b"0")
    scope.remove("removed")
    scope.save("deleted", b"0")
    scope.delete("deleted")
    without = session(url)
    for read in READS.values():
        with pytest.raises(
            KeyUnavailable, match=r"sealed with the key 'v1'.*give keys=, or set ARTIFACTFS_KEYS"
        ) as told:
            read(without, "x")
        assert told.value.key_id == "v1" and told.value.artifact == "shop/alice/s1/x"
    assert list(without.names()) == ["x"]
    assert without.versions("x") == [0, 1]
    assert numbers(list(without.history("x"))) == [1, 0]
    assert without.versions("deleted") == without.versions("removed")[1:] == []
    assert without.save("x", b"plain").version == 2
    without.delete("x", 2)
    without.delete("x", 0)
    assert scope.versions("x") == [1]


@pytest.mark.parametrize(
    ("keys", "kind", "why"),
    [
        (OTHER, IntegrityError, "is another key now than the one that it was wrapped by"),
        (SECOND, KeyUnavailable, "no key 'v1' is configured here"),
    ],
    ids=["another key of that id", "no key of that id"],
)
def test_a_wrong_or_a_missing_key_opens_nothing(
    url: str, scope: Scope, keys: str, kind: type[Exception], why: str
) -> None:
    scope.save("x", CONTENT)
    scope.point("p", "https://example.org/")
    wrong = session(url, keys=keys)
    for name in ("x", "p"):
        for read in READS.values():
            with pytest.raises(kind, match=why):
                read(wrong, name)
    assert list(wrong.names()) == ["p", "x"]
    assert wrong.save("x", b"their own").version == 1
    assert wrong.load("x").data == b"their own"
    assert scope.load("x", 0).data == CONTENT


def test_several_keys_open_what_any_of_them_wrapped(url: str, scope: Scope) -> None:
    scope.save("x", b"by v1")
    both = session(url, keys=f"{KEYS},{SECOND}", active_key_id="v2")
    both.save("x", b"by v2")
    assert [both.load("x", number).data for number in (0, 1)] == [b"by v1", b"by v2"]
    assert [json.loads(stored(both, "x", f"{number}.metadata"))["encryption"]["key_id"] for number in (0, 1)] == [
        "v1",
        "v2",
    ]
    with pytest.raises(KeyUnavailable, match="no key 'v2'") as told:
        scope.load("x")
    assert told.value.key_id == "v2"
    assert scope.load("x", 0).data == b"by v1"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"keys": KEYS[:-1]}, "31 bytes, and 32 are needed"),
        ({"keys": KEYS[:-1] + "+"}, "standard base64"),
        ({"keys": "v1:" + base64.urlsafe_b64encode(bytes(range(16))).decode()}, "16 bytes, and 32 are needed"),
        ({"keys": KEYS, "active_key_id": "v2"}, "active_key_id is 'v2', and the keys are v1"),
        ({"keys": f"{KEYS},{SECOND}"}, "which of the keys v1, v2 is active is not said"),
        ({"active_key_id": "v1"}, "no keys are given"),
        ({"keys": ""}, "keys"),
        ({"keys": 7}, "keys is text"),
    ],
)
def test_keys_that_cannot_be_used_open_no_store(url: str, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidConfig, match=why):
        ArtifactStore(url, **settings)


class Remote:
    """Keys that are kept elsewhere, and sometimes do not answer."""

    def __init__(self) -> None:
        self.ring = Keyring({"k": RAW_KEY})
        self.wrapped: list[Identity] = []
        self.unwrapped: list[Identity] = []
        self.down = False

    def wrap(self, key_id: str, data_key: bytes, identity: Identity) -> bytes:
        self._answer()
        self.wrapped.append(identity)
        return self.ring.wrap(key_id, data_key, identity)

    def unwrap(self, key_id: str, wrapped: bytes, identity: Identity) -> bytes:
        self._answer()
        self.unwrapped.append(identity)
        return self.ring.unwrap(key_id, wrapped, identity)

    def _answer(self) -> None:
        if self.down:
            raise BackendUnavailable("the keys are not to be had now; try again")


def test_a_save_whose_key_cannot_be_wrapped_leaves_nothing_behind(url: str) -> None:
    remote = Remote()
    scope = session(url, keys=remote, active_key_id="k")
    remote.down = True

    def written() -> None:
        with scope.open("x", "wb") as file:
            file.write(bytes(WHOLE_LIMIT + 1))

    saves: list[Callable[[], object]] = [
        lambda: scope.save("x", b"data"),
        lambda: scope.save("x", b"data", expect="absent"),
        lambda: scope.save("x", iter([bytes(WHOLE_LIMIT + 1)])),
        lambda: scope.point("x", "https://example.org/"),
        written,
    ]
    for save in saves:
        with pytest.raises(BackendUnavailable, match="not to be had"):
            save()
        assert keys_below(scope.store, "") == []
    remote.down = False
    assert scope.save("x", b"data").version == 0
    before = keys_below(scope.store, "")
    remote.down = True
    for change in (lambda: scope.remove("x"), lambda: scope.delete("x"), lambda: scope.delete("x", 0), *saves[:1]):
        with pytest.raises(BackendUnavailable):
            change()
        left = [key for key in keys_below(scope.store, "") if "@hidden" not in key]
        assert left == before
    remote.down = False
    assert list(scope.names()) == ["x"] and scope.load("x").data == b"data"


def test_unwrapped_keys_are_asked_for_once_in_a_while_and_held_in_bounded_number(url: str) -> None:
    remote = Remote()
    scope = session(url, keys=remote, active_key_id="k")
    for number in range(1002):
        scope.save("x", b"%d" % number)
    assert len(remote.wrapped) == 1002 and remote.unwrapped == []
    for _ in range(3):
        assert scope.load("x", 0).data == b"0"
        scope.stat("x", 0)
        scope.open("x", version=0).read()
    assert len(remote.unwrapped) == 1
    for number in range(1, 1002):
        assert scope.load("x", number).data == b"%d" % number
    assert len(remote.unwrapped) == 1002
    remote.down = True
    assert scope.load("x", 1001).data == b"1001"
    with pytest.raises(BackendUnavailable, match="not to be had"):
        scope.load("x", 0)
    remote.down = False
    assert scope.load("x", 0).data == b"0"


def test_a_key_for_each_user_by_a_function_of_the_identity(url: str) -> None:
    keys = ",".join(f"user-{user}:{base64.urlsafe_b64encode(bytes([n]) + RAW_KEY[1:]).decode()}" for n, user in
                    enumerate(("alice", "bob"), 1))  # fmt: skip
    store = ArtifactStore(url, keys=keys, active_key_id=lambda identity: f"user-{identity.user}")
    for user in ("alice", "bob"):
        record = store.scope("shop", user, "s1").save("x", f"of {user}")
        assert record.encryption and record.encryption.key_id == f"user-{user}"
    shredded = ArtifactStore(url, keys=keys.split(",")[1])
    assert shredded.scope("shop", "bob", "s1").load("x").data == b"of bob"
    with pytest.raises(KeyUnavailable, match="no key 'user-alice'"):
        shredded.scope("shop", "alice", "s1").load("x")
    nobody = store.scope("shop", "carol", "s1")
    with pytest.raises(KeyUnavailable, match="user-carol"):
        nobody.save("x", b"data")
    assert list(nobody.names()) == []


# what it costs


def counted(store: ArtifactStore) -> Counting:
    """From here on the calls of the store below are counted."""
    counting = Counting(store.backend)
    store._core.backend = counting  # type: ignore[assignment]
    return counting


def _asked(counting: Counting) -> list[str]:
    return [call.method for call in counting.taken()]


def test_a_sealed_store_takes_as_many_requests_as_a_plain_one() -> None:
    def told(settings: dict[str, Any]) -> list[tuple[str, list[str]]]:
        scope = session(f"memory://counted-{uuid.uuid4().hex}", **settings)
        below = counted(scope.store)
        other = ArtifactStore(scope.store.url, **settings).scope("shop", "alice", "s1")

        def opened() -> None:
            scope.open("x", version=0).close()

        calls: dict[str, Callable[[], object]] = {
            "save from cold": lambda: scope.save("x", b"first"),
            "save": lambda: scope.save("x", b"second"),
            "save a stream": lambda: scope.save("x", iter([CONTENT, CONTENT])),
            "save if": lambda: scope.save("x", b"next", expect=2),
            "save after another": lambda: other.save("x", b"theirs") and scope.save("x", b"again"),
            "load": lambda: scope.load("x", 0),
            "load the newest": lambda: scope.load("x"),
            "stat": lambda: scope.stat("x", 0),
            "stat the newest": lambda: scope.stat("x"),
            "open": opened,
            "names": lambda: list(scope.names()),
            "versions": lambda: scope.versions("x"),
            "history": lambda: list(scope.history("x")),
            "records": lambda: list(scope.records()),
            "delete": lambda: scope.delete("x", 1),
            "versions after a delete": lambda: scope.versions("x"),
            "remove": lambda: scope.remove("x"),
            "names after a removal": lambda: list(scope.names()),
            "delete all": lambda: scope.delete("x"),
            "compact": scope.store.compact,
        }
        found = []
        for what, call in calls.items():
            call()
            found.append((what, _asked(below)))
        return found

    plain, sealed = told({}), told({"keys": KEYS})
    assert sealed == plain
    costs = dict(sealed)
    assert costs["save"] == ["create", "create"]
    assert costs["load"] == ["get", "get"]
    assert costs["versions"] == ["list"], "no record is read to tell which versions are there"


def test_a_range_costs_its_head_once_and_then_its_bytes(store: ArtifactStore, scope: Scope) -> None:
    scope.save("x", LONGER)
    below = counted(store)
    with scope.open("x", version=0) as file:
        assert sorted(_asked(below)) == ["get", "stat"]
        for place, asked in ((50_000, ["get", "get"]), (90_000, ["get"]), (20_000, ["get"])):
            file.seek(place)
            assert file.read(100) == LONGER[place : place + 100]
            assert _asked(below) == asked
    with scope.open("x", version=0) as file:
        below.taken()
        assert file.read(100) == LONGER[:100]
        assert _asked(below) == ["get"], "the first chunk comes with the head"


def test_versions_are_known_by_the_listing_alone_however_short_their_records_are(
    store: ArtifactStore, scope: Scope
) -> None:
    """A record is longer than any tombstone of that name, so that none has to be read to tell."""
    for _ in range(12):
        scope.save("x", b"")
    scope.point("x", "s3://b/k")
    below = counted(store)
    assert scope.versions("x") == list(range(13))
    assert _asked(below) == ["list"]


# users that nobody is to know


def _hidden(url: str, **settings: Any) -> ArtifactStore:
    return ArtifactStore(url, keys=KEYS, scope_secret=SECRET, **settings)


def test_nothing_in_the_store_names_a_user_where_there_is_a_scope_secret(url: str) -> None:
    store, user = _hidden(url), "alice.wonderland@example.com"
    for session_name in ("s1", "s2", None):
        scope = store.scope("shop", user, session_name)
        scope.save("x", b"data")
        scope.save("x", iter([CONTENT]))
        scope.point("p", "https://example.org/")
        scope.remove("p")
        scope.save("gone", b"data")
        scope.delete("gone")
    keys = keys_below(store, "")
    assert len(keys) > 20
    for key in keys:
        (got,) = perform((Get(key),), store.backend, None)
        for text in ("alice", "wonderland", "example.com"):
            assert text not in key
            assert text.encode() not in got.data
    (folder,) = {key.split("/")[1] for key in keys}
    assert len(folder) == 32 and set(folder) <= set("0123456789abcdef")


def test_who_knows_the_secret_finds_a_users_sessions_and_names(url: str) -> None:
    store = _hidden(url)
    for user, session_name in (("alice", "s1"), ("alice", "s2"), ("bob", "s1"), ("alice", None)):
        scope = store.scope("shop", user, session_name)
        scope.save("x", f"of {user}")
        scope.save("x", f"later of {user}")
        scope.delete("x", 0)
    assert list(store.apps()) == ["shop"]
    with pytest.raises(AccessDenied, match="users of 'shop' cannot be listed: with a scope_secret"):
        list(store.users("shop"))
    assert list(store.sessions("shop", "alice")) == ["s1", "s2"]
    scope = store.scope("shop", "alice", "s1")
    assert list(scope.names()) == ["user:x", "x"]
    assert scope.load("x").data == b"later of alice"
    assert scope.load("user:x").data == b"later of alice"
    assert dict(scope.records())["x"].version == 1
    store._core.env = Env(keep_tombstones=-60.0)
    assert store.compact() == 4
    assert scope.load("x", 1).data == b"later of alice"
    assert store.erase("shop", "alice", "s1", "x") > 0
    assert list(scope.names()) == ["user:x"]
    assert store.erase("shop", "alice") > 0
    assert list(store.sessions("shop", "alice")) == [] and list(scope.names()) == []
    assert store.scope("shop", "bob", "s1").load("x").data == b"later of bob"


@pytest.mark.parametrize("settings", [{}, {"scope_secret": "another secret, as long"}], ids=["none", "another"])
def test_who_does_not_know_the_secret_finds_nothing(url: str, settings: dict[str, Any]) -> None:
    _hidden(url).scope("shop", "alice", "s1").save("x", b"data")
    stranger = ArtifactStore(url, keys=KEYS, **settings)
    scope = stranger.scope("shop", "alice", "s1")
    with pytest.raises(ArtifactNotFound):
        scope.load("x")
    assert list(scope.names()) == list(stranger.sessions("shop", "alice")) == []
    assert stranger.erase("shop", "alice") == 0


def test_apps_with_the_same_user_have_nothing_in_common_in_the_store(url: str) -> None:
    store = _hidden(url)
    for app in ("shop", "shopa"):
        store.scope(app, "alice" if app == "shop" else "lice", "s1").save("x", b"data")
        store.scope(app, "bob", "s1").save("x", b"data")
    assert len({key.split("/")[1] for key in keys_below(store, "")}) == 4


def test_a_filesystem_says_why_it_lists_no_users(url: str) -> None:
    fs = fsspec.filesystem("artifact", root=url, keys=KEYS, scope_secret=SECRET, skip_instance_cache=True)
    fs.pipe_file("artifact://shop/alice/s1/x", b"data")
    assert fs.ls("artifact://", detail=False) == ["shop"]
    for listing in (lambda: fs.ls("artifact://shop"), lambda: fs.find("artifact://shop")):
        with pytest.raises(PermissionError, match="cannot be listed: with a scope_secret"):
            listing()
    assert fs.ls("artifact://shop/alice", detail=False) == ["shop/alice/s1"]
    assert fs.ls("artifact://shop/alice/s1", detail=False) == ["shop/alice/s1/x"]
    assert fs.cat_file("artifact://shop/alice/s1/x") == b"data"


@pytest.mark.parametrize("secret", ["short", "", 7, "x" * 15])
def test_a_scope_secret_that_could_be_guessed_opens_no_store(url: str, secret: Any) -> None:
    with pytest.raises(InvalidConfig, match="scope_secret") as refused:
        ArtifactStore(url, scope_secret=secret)
    assert str(secret) not in str(refused.value) or secret in ("", 7)


# stores that hold no bytes


@pytest.mark.parametrize("settings", [{}, {"keys": KEYS}], ids=["plain", "keys"])
def test_a_store_of_pointers_takes_no_bytes_and_leaves_nothing_of_them(url: str, settings: dict[str, Any]) -> None:
    scope = session(url, mode="pointer_only", **settings)
    fs = fsspec.filesystem("artifact", root=url, mode="pointer_only", skip_instance_cache=True, **settings)

    def through(mode: str) -> Callable[[], object]:
        def written() -> None:
            with fs.open("artifact://shop/alice/s1/x", mode) as file:
                file.write(b"data")

        return written

    writes: list[Callable[[], object]] = [
        lambda: scope.save("x", b"data"),
        lambda: scope.save("x", iter([bytes(WHOLE_LIMIT + 1)])),
        lambda: scope.open("x", "wb"),
        lambda: fs.pipe_file("artifact://shop/alice/s1/x", b"data"),
        through("wb"),
        through("xb"),
        through("ab"),
    ]
    for write in writes:
        with pytest.raises(AccessDenied, match=r"mode='pointer_only'.*scope\.point"):
            write()
        assert keys_below(scope.store, "") == []
    record = scope.point("x", "https://example.org/x.pdf", size_bytes=7)
    assert (record.version, record.size_bytes) == (0, 7)
    with pytest.raises(PointerNotManaged) as pointer:
        scope.load("x")
    assert pointer.value.uri == "https://example.org/x.pdf"
    assert scope.remove("x").version == 1
    scope.delete("x")
    assert list(scope.names()) == []


def test_a_managed_store_holds_bytes_and_pointers(scope: Scope) -> None:
    scope.save("x", b"data")
    assert scope.point("x", "https://example.org/x.pdf").version == 1
    assert scope.save("x", b"more").version == 2
    assert [record.version for record in scope.history("x")] == [2, 1, 0]
    with pytest.raises(PointerNotManaged):
        scope.load("x", 1)
    assert (scope.load("x", 0).data, scope.load("x").data) == (b"data", b"more")
    assert b"example.org" in stored(scope, "x", "1"), "a pointer's URI is not sealed, only authenticated"


# tasks


def test_tasks_seal_and_open_as_threads_do(url: str) -> None:
    async def go() -> None:
        async with (
            AsyncArtifactStore(url, keys=KEYS, scope_secret=SECRET) as store,
            AsyncArtifactStore(url, scope_secret=SECRET) as without,
        ):
            scope, stranger = store.scope("shop", "alice", "s1"), without.scope("shop", "alice", "s1")

            async def pieces() -> AsyncIterator[bytes]:
                for at in range(0, len(LONGER), 7000):
                    yield LONGER[at : at + 7000]

            await asyncio.gather(*(scope.save("x", CONTENT) for _ in range(4)))
            assert (await scope.save("x", pieces())).version == 4
            assert await scope.versions("x") == [0, 1, 2, 3, 4]
            assert (await scope.load("x")).data == LONGER
            async with scope.open("x", version=4) as file:
                file.seek(50_000)
                assert await file.read(100) == LONGER[50_000:50_100]
            async with scope.open("y", "wb") as writer:
                await writer.write(CONTENT)
            assert [name async for name in scope.names()] == ["x", "y"]
            with pytest.raises(KeyUnavailable, match="ARTIFACTFS_KEYS"):
                await stranger.load("x")
            with pytest.raises(AccessDenied):
                [user async for user in store.users("shop")]

    asyncio.run(go())
    scope = session(url, keys=KEYS, scope_secret=SECRET)
    assert scope.load("y").data == CONTENT
    Raw(scope, "y").put("0", flipped(stored(scope, "y", "0"), 1000))

    async def altered() -> None:
        async with AsyncArtifactStore(url, keys=KEYS, scope_secret=SECRET) as store:
            scope = store.scope("shop", "alice", "s1")
            with pytest.raises(IntegrityError):
                await scope.load("y")
            async with scope.open("y") as file:
                with pytest.raises(IntegrityError):
                    await file.read(10)

    asyncio.run(altered())


# memory, and what moves over the wire


def sealed_stream_measured() -> None:
    """Run in a process of its own: save a long stream sealed, read it back in pieces, and print what that took."""
    folder, megabytes, whole = json.loads(sys.argv[1])
    scope = session(folder, keys=KEYS, durability="none")

    def both_ways(megabytes: int) -> None:
        source = Zeros(megabytes)
        stream = iter(source.read, b"")
        record = scope.save("long.bin", b"".join(stream) if whole else stream)
        digest = hashlib.sha256()
        with scope.open("long.bin") as file:
            while piece := file.read(300_000):
                digest.update(piece)
        assert record.size_bytes == megabytes * 2**20 and digest.digest() == source.digest.digest()

    both_ways(9)  # what is imported and opened once is no part of a stream
    before = _peak()
    both_ways(megabytes)
    print(_peak() - before)


def _grown(folder: Path, megabytes: int, *, whole: bool = False) -> int:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from tests.test_sealing import sealed_stream_measured; sealed_stream_measured()",
            json.dumps([str(folder), megabytes, whole]),
        ],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr.decode()
    return int(done.stdout.splitlines()[-1])


def test_a_stream_of_512_megabytes_is_sealed_and_opened_in_little_memory(tmp_path: Path) -> None:
    assert _grown(tmp_path, 512) < GROWTH
    (stored_file,) = tmp_path.glob("shop/alice/s1/long.bin/1")
    with stored_file.open("rb") as file:
        assert len(set(file.read(4096))) > 200, "what is on the disk is not what was saved"


def test_the_measure_of_memory_catches_what_is_sealed_whole(tmp_path: Path) -> None:
    """The control."""
    assert _grown(tmp_path, 64, whole=True) > GROWTH


def test_a_hundred_bytes_of_a_hundred_sealed_megabytes_move_little_more_than_their_chunk(moto: Server) -> None:
    bucket, size = moto.bucket(), 100_000_000
    piece = random.Random(9).randbytes(1_000_000)
    with ArtifactStore(bucket, **moto.storage_options, keys=KEYS) as store:
        store.scope("shop", "alice", "s1").save("x.bin", itertools.repeat(piece, size // len(piece)))
    with (
        in_front_of(moto.url) as front,
        ArtifactStore(bucket, **moto.at(front.url).storage_options, keys=KEYS) as store,
    ):
        scope = store.scope("shop", "alice", "s1")
        for place in (73_456_789, 100, size - 100, 49_999_950):
            with scope.open("x.bin", version=0) as file, front.counted() as seen:
                file.seek(place)
                want = (piece + piece)[place % 1_000_000 :][:100]
                assert file.read(100) == want
            head, *others = sorted((_range(request) for request in seen), key=lambda asked: asked.stop)
            assert len(others) <= 1
            assert head.start == 0 and (not others or len(head) == HEAD)
            assert sum(len(asked) for asked in (head, *others)) <= 65_536, (place, seen)


def _range(request: Request) -> range:
    """The bytes that a read of the payload asked for."""
    assert request.method == "GET" and request.path.endswith("/x.bin/0"), str(request)
    first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
    return range(int(first), int(last) + 1)
