"""What a client may be shown of a record, and what never."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from artifactfs import ArtifactStore
from artifactfs.keys.keyring import new_key
from artifactfs.records import Blob, Encryption, Pointer, Record, Removed, Tombstone, decode, encode

KINDS: tuple[type[Record], ...] = (Blob, Pointer, Removed, Tombstone)
SHOWN = {"filename", "mime_type", "version", "size_bytes", "timestamp", "metadata"}
ALWAYS = {*SHOWN, "kind"}
HIDDEN = {
    "format",
    "write_id",
    "encryption",
    "provider",
    "sha256",
    "stored_bytes",
    "uri",
    "expected_sha256",
    "expected_size",
    "reason",
}
"""Fields that are not shown as they are; digests and URIs are sometimes, as the tests below say."""

AT = datetime(2026, 11, 20, 19, 3, 17, 250000, UTC)
FIRST = hashlib.sha256(b"first").hexdigest()

# Texts that no shown field can hold by chance: what is hidden is drawn from another alphabet than what is shown.
shown_text = st.text("abcdefghijklm 0123456789é", max_size=12)
hidden_text = st.text("NOPQRSTUVWXYZ", min_size=8, max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | shown_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(shown_text, inner, max_size=3),
    max_leaves=8,
)
moments = st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1), timezones=st.just(UTC))


@st.composite
def records(draw: st.DrawFn) -> tuple[Record, set[str]]:
    """A record of any kind, and the texts in it that nobody may see."""
    hidden = [draw(hidden_text) for _ in range(7)]
    common: dict[str, Any] = {
        "filename": draw(shown_text),
        "mime_type": draw(shown_text),
        "version": draw(st.integers(0, 10**6)),
        "size_bytes": draw(st.none() | st.integers(0, 10**6)),
        "timestamp": draw(moments),
        "metadata": draw(st.dictionaries(shown_text, values, max_size=3)),
        "write_id": hidden[0],
        "provider": draw(st.sampled_from([UNSET, hidden[1]])),
        "encryption": draw(
            st.sampled_from([UNSET, Encryption(key_id=hidden[2], wrapped_key=hidden[3], cipher=hidden[4])])
        ),
    }
    match draw(st.sampled_from(KINDS)).__name__:
        case "Blob":
            sealed = common["encryption"] is not UNSET
            return Blob(sha256=hidden[5] if sealed else None, stored_bytes=77_777_777_777, **common), set(hidden)
        case "Pointer":
            scheme = draw(st.sampled_from(["s3", "gs", "file", "S3", "memory", "javascript", "data"]))
            return Pointer(uri=f"{scheme}://{hidden[5]}/{hidden[6]}", expected_size=77_777_777_777, **common), set(
                hidden
            )
        case "Removed":
            return Removed(**common), set(hidden)
        case _:
            return Tombstone(reason="deleted", **common), set(hidden)


def blob(**changed: Any) -> Blob:
    fields: dict[str, Any] = {
        "filename": "notes.txt",
        "mime_type": "text/plain",
        "version": 3,
        "size_bytes": 5,
        "timestamp": AT,
        "write_id": "0" * 32,
        "metadata": {"by": "alice"},
        "sha256": FIRST,
        "stored_bytes": 5,
    }
    return Blob(**{**fields, **changed})


def pointer(uri: str, **changed: Any) -> Pointer:
    common: dict[str, Any] = {"filename": "a", "mime_type": "a/b", "version": 0, "size_bytes": None, "timestamp": AT}
    return Pointer(uri=uri, write_id="", **common, **changed)


def test_a_client_is_shown_exactly_this() -> None:
    assert blob().public() == {
        "kind": "blob",
        "filename": "notes.txt",
        "mime_type": "text/plain",
        "version": 3,
        "size_bytes": 5,
        "timestamp": "2026-11-20T19:03:17.250000Z",
        "metadata": {"by": "alice"},
    }


@given(records(), st.booleans())
def test_nothing_that_is_hidden_is_in_what_a_client_is_shown(drawn: tuple[Record, set[str]], digest: bool) -> None:
    record, hidden = drawn
    shown = record.public(digest=digest)
    text = json.dumps(shown, allow_nan=False)
    assert shown.keys() == ALWAYS
    assert [secret for secret in hidden if secret in text] == []
    assert "77777777777" not in text
    assert json.loads(text) == shown
    assert any(secret in encode(record).decode() for secret in hidden)  # a method that shows all would be seen here


@given(records())
def test_what_is_shown_is_what_the_record_says(drawn: tuple[Record, set[str]]) -> None:
    record, _ = drawn
    shown = record.public()
    assert shown.pop("kind") == json.loads(encode(record))["kind"]
    assert datetime.fromisoformat(shown["timestamp"]) == record.timestamp and shown.pop("timestamp").endswith("Z")
    assert shown == {name: getattr(record, name) for name in SHOWN - {"timestamp"}}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_of_a_record_is_either_shown_or_hidden_on_purpose(kind: type[Record]) -> None:
    """Who adds a field to records decides here, and in `public`, whether a client sees it: by default it does not."""
    assert set(kind.__struct_fields__) <= SHOWN | HIDDEN
    assert not SHOWN & HIDDEN
    assert kind.public is Blob.public


def test_a_field_that_is_new_is_not_shown() -> None:
    class Newer(Blob, frozen=True, kw_only=True, tag="newer"):
        secret: str

    newer = Newer(secret="hush", **{name: getattr(blob(), name) for name in Blob.__struct_fields__})
    assert newer.public(digest=True).keys() == {*ALWAYS, "sha256"}


def test_fields_that_nobody_knows_are_not_shown() -> None:
    stored = encode(blob())[:-1] + b',"owner":"hush"}'
    assert "hush" not in json.dumps(decode(stored).public(digest=True))


def test_a_digest_is_shown_where_it_is_asked_for_and_is_that_of_the_content() -> None:
    assert "sha256" not in blob().public()
    assert blob().public(digest=True)["sha256"] == FIRST
    assert pointer("https://example.org/a", expected_sha256=FIRST).public(digest=True)["sha256"] == FIRST
    sealed = Encryption(key_id="v1", wrapped_key="AAAA", cipher="cobblestone-256")
    for without in (blob(encryption=sealed), blob(sha256=None), pointer("https://example.org/a")):
        assert "sha256" not in without.public(digest=True)


def test_the_digest_of_what_a_pointer_expects_is_shown_also_where_its_record_is_authenticated() -> None:
    named = pointer("s3://b/k", expected_sha256=FIRST, encryption=Encryption(key_id="v1", wrapped_key="AAAA"))
    assert named.public(digest=True)["sha256"] == FIRST


@pytest.mark.parametrize(
    "uri", ["https://example.org/a?b=c#d", "http://example.org/a", "ipfs://bafy/a", "HTTPS://EXAMPLE.ORG/a"]
)
def test_a_uri_that_a_client_can_open_is_shown(uri: str) -> None:
    assert pointer(uri).public()["uri"] == uri


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/key",
        "gs://bucket/key",
        "file:///etc/passwd",
        "memory://a",
        "javascript:alert(1)",
        "data:text/html,hush",
        "https://me:hush@example.org/a",
        "https:// example.org/a",
        "https:",
        "https://example.org/\r\nhush",
        "example.org/a",
        "",
    ],
)
def test_any_other_uri_is_not(uri: str) -> None:
    assert "uri" not in pointer(uri).public(digest=True)


def test_times_are_told_in_utc() -> None:
    in_berlin = AT.astimezone(timezone(timedelta(hours=1)))
    assert blob(timestamp=in_berlin).public()["timestamp"] == "2026-11-20T19:03:17.250000Z"
    assert blob(timestamp=AT.replace(tzinfo=None)).public()["timestamp"] == "2026-11-20T19:03:17.250000Z"


def test_changing_what_was_shown_does_not_change_the_record() -> None:
    record = blob(metadata={"tags": ["a"], "deep": {"b": [1]}})
    shown = record.public()
    shown["metadata"]["tags"].append("b")
    shown["metadata"]["deep"]["b"][0] = 2
    shown["metadata"]["c"] = 3
    assert record.metadata == {"tags": ["a"], "deep": {"b": [1]}}


def test_a_saved_version_is_shown_alike_whether_it_is_sealed_or_not() -> None:
    shown: list[dict[str, Any]] = []
    for keys in (None, new_key("hush")):
        with ArtifactStore("memory://shown", keys=keys, scope_secret="hush" * 16 if keys else None) as store:
            scope = store.scope("shop", "alice", f"s{len(shown)}")
            record = scope.save("notes.txt", b"first", metadata={"by": "alice"})
            shown.append({**record.public(), "timestamp": None})
            assert "hush" not in json.dumps(record.public(digest=True))
            assert scope.remove("notes.txt").public()["kind"] == "removed"
    assert shown[0] == shown[1]
