"""Stores with keys keep the promises of stores without any: the shipped suites, over sealed data.

What such a store cannot promise, for nothing that this library did not write is believed, is stated instead in
`OfSealed` and `BelievingNobodyElse`: the promises that differ are listed there, and none is left out.
"""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from artifactfs import ArtifactStore, IntegrityError, PointerNotManaged
from artifactfs.custody import Custody
from artifactfs.errors import ArtifactNotFound, BackendError, InvalidRef, UnsupportedFormat, VersionNotFound
from artifactfs.records import Blob, Pointer, encode, pointer_payload
from artifactfs.store import Scope
from artifactfs.testing.machine import StoreMachine
from artifactfs.testing.store import StoreConformance
from artifactfs.testing.store_base import LONG, Raw
from artifactfs.testing.store_saving import KINDS

from .servers import Server

KEYS = "v1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


@pytest.fixture(autouse=True)
def keys_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suites open stores once more by what pickles hold, which is no key."""
    monkeypatch.setenv("ARTIFACTFS_KEYS", KEYS)


class OfSealed(StoreConformance):
    """The suite over a store with keys. What differs, and is stated here:

    - a record's ``sha256`` and ``stored_bytes`` are of the sealed payload, which is longer than its content;
    - a record that was altered is refused though it still decodes: an unknown field is an alteration too;
    - a version whose record is damaged is listed with the size of its sealed payload, since nothing tells its content's.
    """

    @pytest.mark.parametrize("kind", ["bytes", "path", "open file", "generator", "list of pieces"])
    def test_a_long_payload_is_streamed_and_comes_back(self, scope: Scope, kind: str, tmp_path: Path) -> None:
        payload = KINDS[kind](tmp_path, LONG)
        try:
            record = scope.save("long.bin", payload, metadata={"kind": kind})
        finally:
            if isinstance(payload, io.IOBase):
                payload.close()
        stored = Raw(scope, "long.bin").get("0")
        assert stored is not None and LONG[:64] not in stored
        assert (record.size_bytes, record.stored_bytes) == (len(LONG), len(stored))
        assert record.sha256 == hashlib.sha256(stored).hexdigest()
        loaded = scope.load("long.bin")
        assert loaded.data == LONG
        assert loaded.record == record

    def test_a_record_says_what_was_saved(self, scope: Scope) -> None:
        record = scope.save("reports/q1.csv", b"a,b\n1,2\n", metadata={"by": "alice", "n": [1, None, 2.5]})
        stored = Raw(scope, "reports/q1.csv").get("0")
        assert stored is not None
        assert (record.filename, record.mime_type, record.version) == ("reports/q1.csv", "text/csv", 0)
        assert (record.size_bytes, record.stored_bytes) == (8, 8 + 56 + 16) == (8, len(stored))
        assert record.sha256 == hashlib.sha256(stored).hexdigest()
        assert record.metadata == {"by": "alice", "n": [1, None, 2.5]}
        assert record.timestamp.tzinfo is UTC
        assert len(record.write_id) == 32
        assert record.encryption and record.encryption.key_id == "v1"
        assert scope.stat("reports/q1.csv") == record
        assert scope.load("reports/q1.csv").record == record
        assert list(scope.history("reports/q1.csv")) == [record]

    def test_an_altered_record_is_reported(self, scope: Scope) -> None:
        scope.save("x", b"0")
        raw = Raw(scope, "x")
        stored = raw.get("0.metadata")
        assert stored is not None
        for data in (b"", b"{", b"hello", stored[:-1]):
            raw.put("0.metadata", data)
            with pytest.raises(IntegrityError, match=r"0\.metadata' does not decode"):
                scope.load("x", 0)
        raw.put("0.metadata", json.dumps({**json.loads(stored), "format": 2}).encode())
        with pytest.raises(UnsupportedFormat, match="upgrade artifactfs"):
            scope.load("x", 0)
        known = json.loads(stored)
        for altered in (
            stored.replace(b'"metadata":{}', b'"metadata":{"by":"mallory"}'),
            stored.replace(b'"kind":"blob"', b'"kind":"blob","future":true'),
            stored + b" ",
            json.dumps(known).encode(),
            json.dumps(known, separators=(",", ":")).encode(),
        ):
            assert altered != stored
            raw.put("0.metadata", altered)
            for read in (scope.load, scope.stat, lambda name, number: scope.open(name, version=number)):
                with pytest.raises(IntegrityError, match="is not what was saved"):
                    read("x", 0)
        raw.put("0.metadata", stored)
        assert scope.load("x", 0).data == b"0"

    def test_one_damaged_record_hides_nothing(self, scope: Scope) -> None:
        for name in ("a", "b", "c"):
            scope.save(name, b"before")
            scope.save(name, b"now")
        Raw(scope, "b").put("1.metadata", b"{")
        found = dict(scope.records())
        assert list(found) == ["a", "b", "c"]
        assert found["a"] == scope.stat("a")
        assert (found["b"].version, found["b"].size_bytes, found["b"].write_id) == (1, 3 + 56 + 16, "")
        assert isinstance(found["b"], Blob) and found["b"].sha256 is None
        for read in (scope.load, scope.stat, scope.open):
            with pytest.raises(IntegrityError):
                read("b")


class BelievingNobodyElse(OfSealed):
    """As above, where ``accept_plain`` was not given. What differs further:

    - a payload of another program is no content: it is listed, and can be deleted and saved beside, but not read;
    - a pointer, too, has to be one that this library wrote.
    """

    @pytest.mark.parametrize("data", [b"theirs", b"", b"x" * 32], ids=["bytes", "empty", "size of a fence"])
    def test_a_payload_of_another_program_is_a_version_with_a_record_made_up(self, scope: Scope, data: bytes) -> None:
        Raw(scope, "theirs.csv").put("0", data)
        assert list(scope.names()) == ["theirs.csv"]
        assert scope.versions("theirs.csv") == [0]
        for read in (scope.load, scope.stat, scope.open):
            with pytest.raises(IntegrityError, match=r"no key, and this store has keys.*accept_plain=True"):
                read("theirs.csv")
        (record,) = scope.history("theirs.csv")
        assert (record.filename, record.mime_type, record.version) == ("theirs.csv", "text/csv", 0)
        assert (record.size_bytes, record.write_id, record.metadata) == (len(data), "", {})
        assert dict(scope.records()) == {"theirs.csv": record}
        assert scope.save("theirs.csv", b"ours", expect=0).version == 1
        assert scope.load("theirs.csv").data == b"ours"
        scope.delete("theirs.csv", 0)
        assert scope.versions("theirs.csv") == [1]

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
        with pytest.raises(BackendError, match="is sealed"):
            scope.sign("x")
        uri = "https://example.org/paper.pdf"
        pointer = scope.point("x", uri, mime_type="application/pdf")
        assert dict(scope.records()) == {"x": pointer}
        with pytest.raises(PointerNotManaged, match="holds no bytes but points to"):
            scope.sign("x")
        forged = Pointer(
            filename="x", mime_type="application/pdf", version=2, size_bytes=None, timestamp=datetime.now(UTC),
            write_id="0" * 32, uri="https://mallory.example/",
        )  # fmt: skip
        Raw(scope, "x").put("2.metadata", encode(forged))
        Raw(scope, "x").put("2", pointer_payload(forged.uri))
        for read in (scope.sign, scope.load, scope.stat, scope.open):
            with pytest.raises(IntegrityError, match="authenticated by no key"):
                read("x")


class TestMemory(BelievingNobodyElse):
    @pytest.fixture
    def store(self) -> ArtifactStore:
        return ArtifactStore(f"memory://{uuid.uuid4().hex}/prefix", keys=KEYS)


@pytest.mark.nightly  # sealed or not is one thing, and where it lies another
class TestLocal(BelievingNobodyElse):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ArtifactStore:
        return ArtifactStore(tmp_path / "root", durability="none", keys=KEYS)


class TestAcceptingPlain(OfSealed):
    @pytest.fixture
    def store(self) -> ArtifactStore:
        return ArtifactStore(f"memory://{uuid.uuid4().hex}", keys=KEYS, accept_plain=True)


@pytest.fixture(scope="module")
def on_moto(moto: Server) -> Iterator[ArtifactStore]:
    with ArtifactStore(moto.bucket(), **moto.storage_options, keys=KEYS) as store:
        yield store


@pytest.mark.nightly
class TestMoto(BelievingNobodyElse):
    @pytest.fixture
    def store(self, on_moto: ArtifactStore) -> ArtifactStore:
        return on_moto


# any order of calls


class SealedMachine(StoreMachine):
    def open(self) -> ArtifactStore:
        return ArtifactStore(f"memory://{self.where}", keys=KEYS)


TestMachine = SealedMachine.TestCase
TestMachine.settings = settings(max_examples=max(12, settings().max_examples // 10))


# controls: planted faults that the suite must catch


def _is_caught_by(test: str, *args: Any) -> None:
    scope = ArtifactStore(f"memory://{uuid.uuid4().hex}", keys=KEYS).scope("shop", "alice", "s1")
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(TestMemory(), test)(scope, *args)


def test_the_suite_sees_a_store_that_checks_no_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Custody, "check", lambda *_: None)
    _is_caught_by("test_an_altered_record_is_reported")


def test_the_suite_sees_a_store_that_takes_plain_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Custody, "takes_plain", True)
    _is_caught_by("test_a_payload_of_another_program_is_a_version_with_a_record_made_up", b"theirs")


def test_the_suite_sees_a_store_that_seals_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("artifactfs.protocol.save.begin", _nothing)
    monkeypatch.setattr("artifactfs.protocol.stream.begin", _nothing)
    monkeypatch.setattr(Custody, "takes_plain", True)
    _is_caught_by("test_a_record_says_what_was_saved")
    _is_caught_by("test_a_long_payload_is_streamed_and_comes_back", "generator", tmp_path)


def _nothing(*_: object) -> Iterator[Any]:
    return
    yield
