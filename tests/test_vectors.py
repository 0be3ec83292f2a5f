"""docs/vectors is what a second reading of the document makes, and what the library reads and writes."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given, settings
from hypothesis import strategies as st

from artifactfs import ArtifactStore, records
from artifactfs.codecs.base import decode_whole, encode_whole
from artifactfs.codecs.plain import Plain
from artifactfs.codecs.sealed import Sealed
from artifactfs.custody import DataKey, Seal
from artifactfs.keys.base import Identity, length_prefixed
from artifactfs.keys.keyring import Keyring
from artifactfs.layout import ScopeId

from . import make_vectors
from . import second_reading as second


def _vectors(name: str) -> Any:
    return json.loads((make_vectors.VECTORS / name).read_text(encoding="utf-8"))


PAYLOADS, WRAPPED, RECORDS, TAGS = map(_vectors, ("payloads.json", "wrapped_keys.json", "records.json", "tags.json"))
by_size = pytest.mark.parametrize("vector", PAYLOADS["sealed"], ids=lambda vector: str(vector["size"]))
by_kind = pytest.mark.parametrize("vector", RECORDS["sealed"], ids=lambda vector: json.loads(vector["record"])["kind"])


def test_the_files_are_what_the_second_reading_makes() -> None:
    made = make_vectors.files()
    assert {path.name for path in make_vectors.VECTORS.iterdir()} == set(made)
    for name, text in made.items():
        assert (make_vectors.VECTORS / name).read_text(encoding="utf-8") == text, "run python -m tests.make_vectors"


def test_the_second_reading_shares_no_code_with_the_library() -> None:
    for module in (second, make_vectors):
        assert module.__file__ is not None
        with open(module.__file__, encoding="utf-8") as file:
            assert "import artifactfs" not in (text := file.read()) and "from artifactfs" not in text


@pytest.mark.parametrize("length", [1, 32, 64, 65, 76, 200])
def test_keys_are_expanded_as_rfc_5869_says(length: int) -> None:
    assert second.hkdf_expand(b"k" * 32, b"info", length) == HKDFExpand(SHA512(), length, b"info").derive(b"k" * 32)


# payloads


@by_size
def test_a_sealed_payload_is_sealed_and_opened_as_its_vector_says(vector: dict[str, Any]) -> None:
    content, salt = make_vectors.content(vector["size"]), bytes.fromhex(vector["salt"])
    codec = Sealed(bytes.fromhex(vector["data_key"]), bytes.fromhex(PAYLOADS["context"]))
    stored = codec._encoder(salt).finish(content)
    assert stored[:56].hex() == vector["head"] == vector["salt"] + vector["commitment"]
    assert codec.stored_size(len(content)) == len(stored) == vector["stored_bytes"]
    assert hashlib.sha256(stored).hexdigest() == vector["sha256"]
    assert base64.b64decode(vector.get("stored_base64", "")) in (b"", stored)
    at = 56
    for chunk in vector["chunks"]:
        sealed, at = stored[at : at + chunk["bytes"]], at + chunk["bytes"]
        assert sealed[:-16].startswith(bytes.fromhex(chunk["begins"]))
        assert sealed[-16:].hex() == chunk["tag"]
    assert at == len(stored)
    assert decode_whole(codec, stored) == content


@pytest.mark.parametrize("vector", PAYLOADS["plain"], ids=lambda vector: str(vector["size"]))
def test_a_plain_payload_is_its_content(vector: dict[str, Any]) -> None:
    stored = encode_whole(Plain(), make_vectors.content(vector["size"]))
    assert (len(stored), hashlib.sha256(stored).hexdigest()) == (vector["stored_bytes"], vector["sha256"])


@settings(max_examples=40, deadline=None)
@given(
    key=st.binary(min_size=32, max_size=32),
    salt=st.binary(min_size=24, max_size=24),
    context=st.binary(max_size=60),
    size=st.integers(0, 200) | st.integers(16_380, 16_390) | st.integers(32_766, 50_000),
    cut=st.integers(1, 40_000),
)
def test_both_readings_seal_to_the_same_bytes(key: bytes, salt: bytes, context: bytes, size: int, cut: int) -> None:
    content = make_vectors.content(size)
    encoder = Sealed(key, context)._encoder(salt)
    stored = b"".join([encoder.update(content[at : at + cut]) for at in range(0, size, cut)]) + encoder.finish()
    assert stored == second.seal(key, context, salt, content)


@pytest.mark.parametrize("size", make_vectors.SIZES)
def test_each_reading_opens_what_the_other_sealed(size: int) -> None:
    codec, content = Sealed(bytes(32), b"context"), make_vectors.content(size)
    assert second.unseal(bytes(32), b"context", encode_whole(codec, content)) == content
    assert decode_whole(codec, second.seal(bytes(32), b"context", bytes(24), content)) == content


def test_both_readings_count_more_chunks_than_one_byte_can() -> None:
    content = bytes(257 * 16_384 + 5)
    stored = second.seal(bytes(32), b"context", bytes(24), content)
    codec = Sealed(bytes(32), b"context")
    assert codec._encoder(bytes(24)).finish(content) == stored
    at, to = codec.span(len(content) - 20_000, len(content), len(content))
    opened = codec.decoder(stored[:56], len(content)).open(len(content) - 20_000, len(content), stored[at:to])
    assert opened == bytes(20_000)


def test_the_second_reading_refuses_what_was_altered() -> None:
    stored = second.seal(bytes(32), b"context", bytes(24), bytes(20_000))
    for wrong in (stored[:-1], stored[: 56 + 16_400], stored + b"\0", stored[:60] + b"\0" + stored[61:]):
        with pytest.raises((ValueError, InvalidTag)):
            second.unseal(bytes(32), b"context", wrong)
    with pytest.raises(ValueError, match="not sealed by this key"):
        second.unseal(bytes(32), b"other", stored)


# identities and wrapped keys

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.tuples(texts, texts, texts, texts, texts))
def test_both_readings_encode_an_identity_alike(fields: tuple[str, str, str, str, str]) -> None:
    assert Identity(*fields).encode() == second.identity_bytes(second.Identity(*fields))


@pytest.mark.parametrize("vector", WRAPPED["wrapped"], ids=lambda vector: vector["identity"]["name"])
def test_a_wrapped_key_is_unwrapped_as_its_vector_says(vector: dict[str, Any]) -> None:
    identity = Identity(**vector["identity"])
    assert identity.encode().hex() == vector["associated_data"]
    ring = Keyring({key_id: second.from_text(text) for key_id, text in WRAPPED["keys"].items()})
    wrapped = second.from_text(vector["wrapped_key"])
    assert ring.unwrap(vector["key_id"], wrapped, identity).hex() == vector["data_key"]


@pytest.mark.parametrize("vector", WRAPPED["wrapped"], ids=lambda vector: vector["identity"]["name"])
def test_the_second_reading_unwraps_what_the_library_wrapped(vector: dict[str, Any]) -> None:
    key_id, secret = vector["key_id"], second.from_text(WRAPPED["keys"][vector["key_id"]])
    data_key = bytes.fromhex(vector["data_key"])
    wrapped = Keyring({key_id: secret}).wrap(key_id, data_key, Identity(**vector["identity"]))
    assert second.unwrap(secret, wrapped, second.Identity(**vector["identity"])) == data_key


# records


@by_kind
def test_an_authenticated_record_is_as_its_vector_says(vector: dict[str, Any]) -> None:
    stored, key = vector["record"].encode(), bytes.fromhex(vector["data_key"])
    record, identity = records.decode(stored), second.Identity(**vector["identity"])
    assert isinstance(record.encryption, records.Encryption)
    assert (
        second.unwrap(
            second.from_text(RECORDS["keys"][record.encryption.key_id]),
            second.from_text(record.encryption.wrapped_key),
            identity,
        )
        == key
    )
    assert second.is_authentic(key, identity, record.version, stored)
    place = length_prefixed("1", *Identity(**vector["identity"])[:4], str(record.version))
    assert place.hex() == vector["place"]
    assert records.encode(record)[:-1] == stored[: stored.index(b',"mac"')].rstrip(b" ")


@by_kind
def test_an_authenticated_record_belongs_to_its_place_alone(vector: dict[str, Any]) -> None:
    stored, key = vector["record"].encode(), bytes.fromhex(vector["data_key"])
    identity, number = second.Identity(**vector["identity"]), json.loads(stored)["version"]
    assert not second.is_authentic(key, identity, number + 1, stored)
    assert not second.is_authentic(key, identity._replace(user="bob"), number, stored)
    assert not second.is_authentic(bytes(32), identity, number, stored)
    assert not any(second.is_authentic(key, identity, number, altered) for altered in _altered(stored))


def _altered(stored: bytes) -> list[bytes]:
    return [stored[:at] + bytes([stored[at] ^ 1]) + stored[at + 1 :] for at in range(len(stored))]


@pytest.mark.parametrize("sort", ["sealed", "plain"])
def test_payloads_fit_the_records_of_the_vectors(sort: str) -> None:
    for vector in RECORDS[sort]:
        record = records.decode(vector["record"].encode())
        if vector["payload_base64"] is None:
            assert isinstance(record, records.Tombstone)
            continue
        payload = base64.b64decode(vector["payload_base64"])
        assert records.fits(record, payload)
        if sort == "sealed" and isinstance(record, records.Blob):
            codec = Sealed(bytes.fromhex(vector["data_key"]), Identity(**vector["identity"]).encode())
            assert decode_whole(codec, payload) == b"day,sold\n1,7\n"


@by_kind
def test_an_authenticated_record_is_written_as_its_vector_says(vector: dict[str, Any]) -> None:
    stored, whose = vector["record"].encode(), Identity(**vector["identity"])
    record = records.decode(stored)
    assert isinstance(record.encryption, records.Encryption)
    artifact = ScopeId(whose.app, whose.user, whose.session or None).artifact(whose.name)
    assert artifact.record(record.version) == vector["key"]
    key = DataKey(bytes.fromhex(vector["data_key"]))
    seal = Seal(key, whose, record.encryption.key_id, second.from_text(record.encryption.wrapped_key))
    assert seal.stamp(artifact, record, records.encode(record)) == stored


@pytest.mark.parametrize("vector", RECORDS["plain"], ids=lambda vector: json.loads(vector["record"])["kind"])
def test_a_plain_record_is_written_as_its_vector_says(vector: dict[str, Any]) -> None:
    assert records.encode(records.decode(vector["record"].encode())) == vector["record"].encode()


# tags


@pytest.mark.parametrize("vector", TAGS["sealed"], ids=lambda vector: json.loads(vector["record"])["tag"])
def test_an_authenticated_tag_is_written_as_its_vector_says_and_belongs_to_its_place_alone(
    vector: dict[str, Any],
) -> None:
    stored, whose = vector["record"].encode(), Identity(**vector["identity"])
    record = records.decode_tag(stored, vector["key"])
    assert isinstance(record.encryption, records.Encryption)
    artifact = ScopeId(whose.app, whose.user, whose.session or None).artifact(whose.name)
    assert artifact.tag(record.tag) == vector["key"]
    assert length_prefixed("1", *whose[:4], f"@{record.tag}").hex() == vector["place"]
    key = bytes.fromhex(vector["data_key"])
    seal = Seal(DataKey(key), whose, record.encryption.key_id, second.from_text(record.encryption.wrapped_key))
    assert seal.stamp_tag(artifact, record, records.encode(record)) == stored
    identity = second.Identity(**vector["identity"])
    assert second.is_authentic(key, identity, f"@{record.tag}", stored)
    for place in ("@other", record.version):
        assert not second.is_authentic(key, identity, place, stored)


def test_a_plain_tag_is_written_as_its_vector_says() -> None:
    (vector,) = TAGS["plain"]
    assert records.encode(records.decode_tag(vector["record"].encode(), "")) == vector["record"].encode()


@pytest.mark.parametrize("sort", ["sealed", "plain"])
def test_a_store_reads_tags_that_the_second_reading_wrote(tmp_path: Path, ring: Keyring, sort: str) -> None:
    for vector in TAGS[sort]:
        path = tmp_path / vector["key"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(vector["record"].encode())
    options: dict[str, Any] = {"keys": ring, "active_key_id": "v1"} if sort == "sealed" else {}
    with ArtifactStore(tmp_path, **options) as store:
        scope = store.scope("shop", "alice", "s1")
        assert scope.tags("report.csv") == {"prod": 3}
        assert scope.tags("user:reports/q1.csv") == ({"q1-ok": 12} if sort == "sealed" else {})


# a store


@pytest.fixture
def ring() -> Keyring:
    return Keyring({key_id: second.from_text(text) for key_id, text in RECORDS["keys"].items()})


@pytest.mark.parametrize("sort", ["sealed", "plain"])
def test_a_store_reads_what_the_second_reading_wrote(tmp_path: Path, ring: Keyring, sort: str) -> None:
    for vector in RECORDS[sort]:
        path = tmp_path / vector["key"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(vector["record"].encode())
        if vector["payload_base64"] is not None:
            path.with_name(path.name.removesuffix(".metadata")).write_bytes(base64.b64decode(vector["payload_base64"]))
    options: dict[str, Any] = {"keys": ring, "active_key_id": "v1"} if sort == "sealed" else {}
    with ArtifactStore(tmp_path, **options) as store:
        scope = store.scope("shop", "alice", "s1")
        assert scope.load("report.csv", version=0).data == b"day,sold\n1,7\n"
        assert [record.version for record in scope.history("report.csv")] == [3, 0]
        pointer = scope.stat("user:reports/q1.csv")
        assert isinstance(pointer, records.Pointer)
        assert (pointer.version, pointer.uri) == (12, "https://example.org/paper.pdf")
        assert scope.versions("report.csv") == [0]


def test_the_second_reading_reads_what_a_store_wrote(tmp_path: Path, ring: Keyring) -> None:
    contents = [make_vectors.content(size) for size in (0, 13, 32_768, 100_000)]
    with ArtifactStore(tmp_path, keys=ring, active_key_id="2026-11") as store:
        scope = store.scope("shop", "alice", "s1")
        for content in contents:
            scope.save("report.csv", content)
        scope.delete("report.csv", version=1)
    folder, wrapping = tmp_path / "shop/alice/s1/report.csv", second.from_text(RECORDS["keys"]["2026-11"])
    for number, content in enumerate(contents):
        stored = (folder / f"{number}.metadata").read_bytes()
        record = json.loads(stored)
        identity = second.Identity("shop", "alice", "s1", "report.csv", record["write_id"])
        key = second.unwrap(wrapping, second.from_text(record["encryption"]["wrapped_key"]), identity)
        assert second.is_authentic(key, identity, number, stored)
        least = second.longest_tombstone("report.csv", number) + make_vectors.LEAST_BEYOND_TOMBSTONE
        if number == 1:
            assert (record["kind"], record["encryption"]["key_id"]) == ("tombstone", "2026-11")
            assert len(stored) < least
            continue
        assert len(stored) >= least
        payload = (folder / str(number)).read_bytes()
        assert (record["stored_bytes"], record["sha256"]) == (len(payload), hashlib.sha256(payload).hexdigest())
        assert second.unseal(key, second.identity_bytes(identity), payload) == content
