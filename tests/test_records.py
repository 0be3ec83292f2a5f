"""Records: one JSON object beside each payload."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from artifactfs.errors import IntegrityError, InvalidMetadata, UnsupportedFormat
from artifactfs.records import (
    FENCE_MAGIC,
    FENCE_SIZE,
    Blob,
    Pointer,
    Reason,
    Record,
    Removed,
    Tombstone,
    check_metadata,
    decode,
    encode,
    fence_payload,
    fits,
    is_fence,
    is_unfinished,
    longest_tombstone,
    new_write_id,
    payload_size,
    pointer_payload,
    synthesised,
    tombstone,
)

WRITE_ID = "0123456789abcdef0123456789abcdef"
AT = datetime(2026, 11, 20, 19, 3, 17, 250000, UTC)
FIRST = "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e"  # of b"first"

GOLDEN: list[tuple[Record, bytes]] = [
    (
        Blob(
            filename="notes.txt",
            mime_type="text/plain",
            version=0,
            size_bytes=5,
            timestamp=AT,
            write_id=WRITE_ID,
            metadata={"by": "alice", "tries": 2},
            sha256=FIRST,
            stored_bytes=5,
        ),
        b'{"kind":"blob","format":1,"filename":"notes.txt","mime_type":"text/plain","version":0,"size_bytes":5,'
        b'"timestamp":"2026-11-20T19:03:17.250000Z","write_id":"0123456789abcdef0123456789abcdef",'
        b'"metadata":{"by":"alice","tries":2},'
        b'"sha256":"a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e","stored_bytes":5}',
    ),
    (
        Blob(
            filename="film.mp4",
            mime_type="video/mp4",
            version=12,
            size_bytes=None,
            timestamp=AT.replace(microsecond=0),
            write_id=WRITE_ID,
            sha256=None,
            stored_bytes=None,
        ),
        b'{"kind":"blob","format":1,"filename":"film.mp4","mime_type":"video/mp4","version":12,"size_bytes":null,'
        b'"timestamp":"2026-11-20T19:03:17Z","write_id":"0123456789abcdef0123456789abcdef","metadata":{},'
        b'"sha256":null,"stored_bytes":null}',
    ),
    (
        Pointer(
            filename="doc",
            mime_type="text/html",
            version=1,
            size_bytes=None,
            timestamp=AT,
            write_id=WRITE_ID,
            uri="https://example.org/doc",
            expected_sha256=FIRST,
            expected_size=5,
        ),
        b'{"kind":"pointer","format":1,"filename":"doc","mime_type":"text/html","version":1,"size_bytes":null,'
        b'"timestamp":"2026-11-20T19:03:17.250000Z","write_id":"0123456789abcdef0123456789abcdef","metadata":{},'
        b'"uri":"https://example.org/doc",'
        b'"expected_sha256":"a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e","expected_size":5}',
    ),
    (
        Removed(filename="caf\u00e9", mime_type="text/plain", version=2, size_bytes=0, timestamp=AT, write_id=WRITE_ID),
        b'{"kind":"removed","format":1,"filename":"caf\xc3\xa9","mime_type":"text/plain","version":2,"size_bytes":0,'
        b'"timestamp":"2026-11-20T19:03:17.250000Z","write_id":"0123456789abcdef0123456789abcdef","metadata":{}}',
    ),
    (
        tombstone("notes.txt", 3, WRITE_ID, "fenced", AT),
        b'{"kind":"tombstone","format":1,"filename":"notes.txt","mime_type":"","version":3,"size_bytes":0,'
        b'"timestamp":"2026-11-20T19:03:17.250000Z","write_id":"0123456789abcdef0123456789abcdef","metadata":{},'
        b'"reason":"fenced"}',
    ),
]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
filenames = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60)
numbers = st.integers(0, 12) | st.integers(0, 10**18)
times = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))
write_ids = st.builds(new_write_id)
sizes = st.integers(0, 2**60)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
metadata = st.dictionaries(texts, json_values, max_size=3)
mime_types = st.sampled_from(["a/b", "text/plain", "application/vnd.apache.parquet"])
common = {
    "filename": filenames,
    "mime_type": mime_types,
    "version": numbers,
    "timestamp": times,
    "write_id": write_ids,
    "metadata": metadata,
}
blobs = st.builds(Blob, **common, size_bytes=sizes, sha256=digests, stored_bytes=sizes)
records = (
    blobs
    | st.builds(Blob, **common, size_bytes=st.none(), sha256=st.none(), stored_bytes=st.none())
    | st.builds(Pointer, **common, size_bytes=st.none() | sizes, uri=texts, expected_size=st.none() | sizes)
    | st.builds(Removed, **common, size_bytes=st.just(0))
    | st.builds(tombstone, filenames, numbers, write_ids, st.sampled_from(["deleted", "fenced"]), times)
)


# bytes


@pytest.mark.parametrize(("record", "stored"), GOLDEN, ids=lambda value: type(value).__name__)
def test_a_record_of_each_kind_has_these_bytes(record: Record, stored: bytes) -> None:
    assert encode(record) == stored
    assert decode(stored) == record


@given(records)
def test_a_record_is_read_back_as_it_was_written(record: Record) -> None:
    again = decode(encode(record))
    assert again == record
    assert type(again) is type(record)
    assert json.loads(encode(record))["timestamp"].endswith("Z")


@given(records, st.dictionaries(texts.map("x_".__add__), json_values, max_size=3))
def test_unknown_fields_are_ignored(record: Record, extra: dict[str, Any]) -> None:
    assert decode(json.dumps({**extra, **json.loads(encode(record))}).encode()) == record


def test_absent_metadata_and_format_fields_have_their_defaults() -> None:
    record = decode(GOLDEN[3][1].replace(b',"metadata":{}', b""))
    assert record.metadata == {}


@pytest.mark.parametrize(
    "changed",
    [
        {"format": 2},
        {"format": 2, "kind": "holograph"},
        {"format": 2, "timestamp": 5, "sha256": []},
        {"kind": "holograph"},
        {"format": 0},
    ],
)
def test_a_format_or_kind_of_the_future_is_refused_and_says_to_upgrade(changed: dict[str, Any]) -> None:
    stored = json.dumps({**json.loads(GOLDEN[0][1]), **changed}).encode()
    with pytest.raises(UnsupportedFormat, match=r"'a/b/0\.metadata'.*upgrade artifactfs"):
        decode(stored, "a/b/0.metadata")


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"hello",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        GOLDEN[0][1][:-20],
        GOLDEN[0][1].replace(b'"version":0', b'"version":"0"'),
        GOLDEN[0][1].replace(b'"version":0,', b""),
        GOLDEN[0][1].replace(b"2026-11-20T", b"yesterday T"),
        GOLDEN[4][1].replace(b"fenced", b"bored"),
    ],
)
def test_what_is_no_record_is_an_integrity_error_that_names_its_key(stored: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"'a/b/0\.metadata' does not decode"):
        decode(stored, "a/b/0.metadata")


@given(st.binary(max_size=200))
@example(b"{}")
def test_garbage_is_never_another_kind_of_error(stored: bytes) -> None:
    with pytest.raises((IntegrityError, UnsupportedFormat)):
        decode(stored)


# tombstones are known by their size


@given(filenames, numbers, write_ids | st.just(""), st.sampled_from(["deleted", "fenced"]), times)
@example("x", 0, WRITE_ID, "deleted", AT)
def test_every_tombstone_may_be_one_by_its_size(
    filename: str, number: int, write_id: str, reason: Reason, at: datetime
) -> None:
    stone = encode(tombstone(filename, number, write_id, reason, at))
    assert len(stone) <= longest_tombstone(filename, number)


@given(filenames, numbers, st.sampled_from(["a/b", "text/plain"]), write_ids, times, metadata, sizes, digests)
@example("x", 0, "a/b", WRITE_ID, AT.replace(microsecond=0), {}, 0, FIRST)
def test_no_published_blob_may_be_a_tombstone_by_its_size(
    filename: str,
    number: int,
    mime_type: str,
    write_id: str,
    at: datetime,
    meta: dict[str, Any],
    size: int,
    digest: str,
) -> None:
    blob = Blob(
        filename=filename,
        mime_type=mime_type,
        version=number,
        size_bytes=size,
        timestamp=at,
        write_id=write_id,
        metadata=meta,
        sha256=digest,
        stored_bytes=size,
    )
    assert len(encode(blob)) > longest_tombstone(filename, number)


# payloads


def test_a_payload_fits_its_own_record_only() -> None:
    blob, unfinished, pointer, removed, stone = (record for record, _ in GOLDEN)
    assert fits(blob, b"first")
    assert not fits(blob, b"other")
    assert not fits(blob, b"first!")
    assert not any(fits(unfinished, data) for data in (b"", b"first"))
    assert fits(pointer, b"https://example.org/doc\r\n")
    assert not fits(pointer, b"https://example.net/doc\r\n")
    assert fits(removed, b"")
    assert not fits(removed, b"first")
    assert not any(fits(stone, data) for data in (b"", b"first"))
    assert [payload_size(record) for record in (blob, unfinished, pointer, removed, stone)] == [5, -1, 25, 0, -1]
    assert [is_unfinished(record) for record, _ in GOLDEN] == [False, True, False, False, False]


def test_a_pointer_is_stored_as_a_list_of_uris() -> None:
    assert pointer_payload("https://example.org/doc") == b"https://example.org/doc\r\n"


def test_a_fence_is_magic_and_sixteen_random_bytes() -> None:
    one, other = fence_payload(), fence_payload()
    assert one != other
    assert len(one) == FENCE_SIZE == 32
    assert one[:16] == FENCE_MAGIC == b"artifactfs fence"
    assert is_fence(one)
    assert not is_fence(one[:-1])
    assert not is_fence(one + b"x")
    assert not is_fence(bytes(32))


def test_no_two_write_ids_are_the_same() -> None:
    made = {new_write_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in made)


def test_the_record_of_a_payload_that_has_none_says_what_the_store_knows() -> None:
    record = synthesised("x.csv", 3, "text/csv", 5, 1763665397.25)
    assert (record.version, record.size_bytes, record.stored_bytes, record.mime_type) == (3, 5, 5, "text/csv")
    assert (record.write_id, record.sha256, record.timestamp.timestamp()) == ("", None, 1763665397.25)
    assert fits(record, b"12345")
    assert not fits(record, b"123456")


def test_times_are_stored_in_utc_and_end_with_z() -> None:
    there = datetime(2026, 11, 21, 4, 3, 17, tzinfo=timezone(timedelta(hours=9)))
    stone = tombstone("x", 0, WRITE_ID, "deleted", there)
    assert decode(encode(stone)).timestamp == there
    assert b"T19:03:17Z" in encode(Tombstone(**{**_fields(stone), "timestamp": there.astimezone(UTC)}))


def _fields(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


# metadata


@given(metadata)
def test_metadata_comes_back_as_it_was_given(meta: dict[str, Any]) -> None:
    checked = check_metadata(meta)
    assert checked == meta
    blob = Blob(**{**_fields(GOLDEN[0][0]), "metadata": checked})
    assert decode(encode(blob)).metadata == meta


def test_metadata_may_be_any_mapping_and_hold_tuples() -> None:
    assert check_metadata(None) == {}
    assert check_metadata(MappingProxyType({"a": (1, 2), "b": MappingProxyType({})})) == {"a": [1, 2], "b": {}}


def test_metadata_is_copied() -> None:
    inner: list[int] = [1]
    checked = check_metadata({"a": inner})
    inner.append(2)
    assert checked == {"a": [1]}


def _deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def _endless() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


@pytest.mark.parametrize(
    ("meta", "why"),
    [
        ([1], "must be a mapping, not list"),
        ("text", "must be a mapping, not str"),
        ({1: "x"}, "has the key 1; keys must be text"),
        ({"a": {"b": {None: 1}}}, r"metadata\.a\.b has the key None"),
        ({"a": float("nan")}, r"metadata\.a is nan"),
        ({"a": [1, float("inf")]}, r"metadata\.a\[1\] is inf"),
        ({"a": b"bytes"}, r"metadata\.a is a bytes"),
        ({"a": AT}, r"metadata\.a is a datetime"),
        ({"a": {1, 2}}, r"metadata\.a is a set"),
        ({"a": 1j}, r"metadata\.a is a complex"),
        ({"a": object()}, r"metadata\.a is a object"),
        ({"a": 10**5000}, "cannot be stored as JSON"),
        ({"a": "\ud800"}, "cannot be stored as JSON"),
        ({"\udfff": 1}, "cannot be stored as JSON"),
        ({"a": "x" * 65530}, "65538 bytes as JSON; at most 65536"),
        (_deep(10 * sys.getrecursionlimit()), "nested deeper than 100 levels"),
        (_endless(), "nested deeper than 100 levels"),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_metadata_that_is_no_json_object_of_64_kib_is_refused_and_says_where(meta: Any, why: str) -> None:
    with pytest.raises(InvalidMetadata, match=why):
        check_metadata(meta)


def test_metadata_of_exactly_64_kib_is_taken() -> None:
    meta = {"a": "x" * (65536 - 8)}
    assert len(json.dumps(meta, separators=(",", ":"))) == 65536
    assert check_metadata(meta) == meta


def test_metadata_of_a_hundred_levels_is_taken_and_read_back() -> None:
    meta = _deep(100)
    assert decode(encode(Blob(**{**_fields(GOLDEN[0][0]), "metadata": check_metadata(meta)}))).metadata == meta
    with pytest.raises(InvalidMetadata, match="nested deeper than 100 levels"):
        check_metadata(_deep(102))


@pytest.mark.parametrize(
    "damaged",
    [
        GOLDEN[0][1].replace(b"alice", b"ali\xf4e"),
        GOLDEN[0][1].replace(b'0Z"', b'0"'),
    ],
    ids=["no UTF-8", "a time without a zone"],
)
def test_a_record_that_no_saver_writes_is_damaged(damaged: bytes) -> None:
    with pytest.raises(IntegrityError, match="does not decode"):
        decode(damaged, "a/b/0.metadata")
