"""Makes docs/vectors from the second reading, with fixed keys, salts and nonces: ``python -m tests.make_vectors``."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from . import second_reading as second
from .second_reading import Identity

VECTORS = Path(__file__).resolve().parent.parent / "docs" / "vectors"

LEAST_BEYOND_TOMBSTONE = 631
"""Bytes by which an authenticated record that is no tombstone exceeds the longest plain tombstone, at least."""

SIZES = (0, 1, 16_383, 16_384, 16_385, 100_000)
SHORT = 1000

REPORT = Identity("shop", "alice", "s1", "report.csv", "0123456789abcdef0123456789abcdef")
REMOVED = REPORT._replace(write_id="00000000000000000000000000000003")
DELETED = REPORT._replace(write_id="00000000000000000000000000000004")
SHARED = Identity("shop", "alice", "", "reports/q1.csv", "fedcba9876543210fedcba9876543210")
ACCENTED = Identity("läden", "me@here.example", "日本", "caf\u00e9 \U0001f600.txt", "00112233445566778899aabbccddeeff")
DIGITS = Identity("shop", "9f86d081884c7d659a2feaa0c55ad015", "s1", "report.csv", "ffffffffffffffff0000000000000000")

FOLDERS = {"report.csv": "shop/alice/s1/report.csv", "reports/q1.csv": "shop/alice/user/reports%2Fq1.csv"}
KEYS = {"v1": bytes(range(32)), "2026-11": hashlib.sha256(b"a second key").digest()}


def data_key(turn: int) -> bytes:
    return hashlib.sha256(b"data key %d" % turn).digest()


def salt(turn: int) -> bytes:
    return hashlib.sha256(b"salt %d" % turn).digest()[:24]


def nonce(turn: int) -> bytes:
    return hashlib.sha256(b"nonce %d" % turn).digest()[:12]


def content(size: int) -> bytes:
    return bytes(i * 7 % 251 for i in range(size))


def payloads() -> dict[str, Any]:
    context = second.identity_bytes(REPORT)
    return {
        "content": "byte i of a content is i * 7 % 251",
        "identity": REPORT._asdict(),
        "context": context.hex(),
        "plain": [_stored(content(size), size) for size in SIZES],
        "sealed": [_sealed(turn, context, size) for turn, size in enumerate(SIZES)],
    }


def _stored(stored: bytes, size: int) -> dict[str, Any]:
    facts = {"size": size, "stored_bytes": len(stored), "sha256": hashlib.sha256(stored).hexdigest()}
    return facts | ({"stored_base64": base64.b64encode(stored).decode()} if size < SHORT else {})


def _sealed(turn: int, context: bytes, size: int) -> dict[str, Any]:
    keys = second.payload_keys(data_key(turn), salt(turn), context)
    stored = second.seal(data_key(turn), context, salt(turn), content(size))
    chunks = [stored[at : at + 16_400] for at in range(56, len(stored), 16_400)]
    return {
        "data_key": data_key(turn).hex(),
        "salt": salt(turn).hex(),
        "key": keys.key.hex(),
        "base_nonce": keys.base_nonce.hex(),
        "commitment": keys.commitment.hex(),
        **_stored(stored, size),
        "head": stored[:56].hex(),
        "chunks": [
            {
                "nonce": second.chunk_nonce(keys.base_nonce, k).hex(),
                "bytes": len(chunk),
                "begins": chunk[:-16][:32].hex(),
                "tag": chunk[-16:].hex(),
            }
            for k, chunk in enumerate(chunks)
        ],
    }


def wrapped_keys() -> dict[str, Any]:
    cases = [("v1", REPORT), ("v1", SHARED), ("2026-11", ACCENTED), ("2026-11", DIGITS)]
    return {
        "keys": {key_id: second.text(key) for key_id, key in KEYS.items()},
        "wrapped": [
            {
                "key_id": key_id,
                "identity": identity._asdict(),
                "associated_data": second.identity_bytes(identity).hex(),
                "data_key": data_key(turn).hex(),
                "nonce": nonce(turn).hex(),
                "wrapped_key": second.text(second.wrap(KEYS[key_id], nonce(turn), data_key(turn), identity)),
            }
            for turn, (key_id, identity) in enumerate(cases)
        ],
    }


def records() -> dict[str, Any]:
    return {
        "keys": {key_id: second.text(key) for key_id, key in KEYS.items()},
        "sealed": [_record(turn, *case, sealed=True) for turn, case in enumerate(_versions())],
        "plain": [_record(turn, *case, sealed=False) for turn, case in enumerate(_versions())],
    }


def _versions() -> list[tuple[Identity, int, dict[str, Any], dict[str, Any], bytes | None]]:
    """Whose, number, fields before and behind `encryption`, content (None where there is no payload)."""
    table = b"day,sold\n1,7\n"
    uri = "https://example.org/paper.pdf"
    return [
        (
            REPORT,
            0,
            {"kind": "blob", "mime_type": "text/csv", "size_bytes": len(table), "metadata": {"source": "till 4 – süd"}},
            {},
            table,
        ),
        (
            SHARED,
            12,
            {"kind": "pointer", "mime_type": "application/pdf", "size_bytes": None, "metadata": {}},
            {"uri": uri, "expected_sha256": None, "expected_size": 52_104},
            uri.encode() + b"\r\n",
        ),
        (REMOVED, 3, {"kind": "removed", "mime_type": "text/csv", "size_bytes": 0, "metadata": {}}, {}, b""),
        (
            DELETED,
            4,
            {"kind": "tombstone", "mime_type": "", "size_bytes": 0, "metadata": {}},
            {"reason": "deleted"},
            None,
        ),
    ]


def _record(
    turn: int,
    identity: Identity,
    number: int,
    common: dict[str, Any],
    own: dict[str, Any],
    payload: bytes | None,
    *,
    sealed: bool,
) -> dict[str, Any]:
    kind, key = common["kind"], data_key(turn)
    encryption = {}
    if sealed:
        wrapped = second.text(second.wrap(KEYS["v1"], nonce(turn), key, identity))
        encryption = {"encryption": {"key_id": "v1", "wrapped_key": wrapped}}
    if kind == "blob" and payload is not None:
        if sealed:
            encryption["encryption"]["cipher"] = "cobblestone-256"
            payload = second.seal(key, second.identity_bytes(identity), salt(turn), payload)
        own = {"sha256": hashlib.sha256(payload).hexdigest(), "stored_bytes": len(payload)}
    fields = {
        "kind": kind,
        "format": 1,
        "filename": identity.name,
        "mime_type": common["mime_type"],
        "version": number,
        "size_bytes": common["size_bytes"],
        "timestamp": "2026-11-20T19:03:17.250000Z",
        "write_id": identity.write_id,
        "metadata": common["metadata"],
        **encryption,
        **own,
    }
    facts: dict[str, Any] = {"key": f"{FOLDERS[identity.name]}/{number}.metadata", "identity": identity._asdict()}
    if sealed:
        least = 0
        if kind != "tombstone":
            least = second.longest_tombstone(identity.name, number) + LEAST_BEYOND_TOMBSTONE
        record = second.authenticated(key, identity, fields, least)
        facts["data_key"] = key.hex()
        facts["mac_key"] = second.mac_key(key).hex()
        facts["place"] = second.place_bytes(identity, number).hex()
        facts["mac"] = second.mac(key, identity, number, record[:-74])
    else:
        record = second.compact(fields)
    facts["record"] = record.decode()
    facts["payload_base64"] = None if payload is None else base64.b64encode(payload).decode()
    return facts


def tags() -> dict[str, Any]:
    return {
        "keys": {"v1": second.text(KEYS["v1"])},
        "sealed": [
            _tag(turn, *case, sealed=True) for turn, case in enumerate(((REPORT, "prod", 3), (SHARED, "q1-ok", 12)))
        ],
        "plain": [_tag(0, REPORT, "prod", 3, sealed=False)],
    }


def _tag(turn: int, identity: Identity, tag: str, number: int, *, sealed: bool) -> dict[str, Any]:
    key = data_key(turn)
    wrapped = second.text(second.wrap(KEYS["v1"], nonce(turn), key, identity))
    fields = {
        "kind": "tag",
        "format": 1,
        "filename": identity.name,
        "tag": tag,
        "version": number,
        "timestamp": "2026-11-20T19:03:17.250000Z",
        "write_id": identity.write_id,
        **({"encryption": {"key_id": "v1", "wrapped_key": wrapped}} if sealed else {}),
    }
    folder, _, segment = FOLDERS[identity.name].rpartition("/")
    facts: dict[str, Any] = {"key": f"{folder}/@tags/{segment}/{tag}", "identity": identity._asdict()}
    if sealed:
        facts |= {"data_key": key.hex(), "place": second.place_bytes(identity, f"@{tag}").hex()}
    record = second.authenticated(key, identity, fields, 0) if sealed else second.compact(fields)
    return facts | {"record": record.decode()}


def files() -> dict[str, str]:
    made = {
        "payloads.json": payloads(),
        "wrapped_keys.json": wrapped_keys(),
        "records.json": records(),
        "tags.json": tags(),
    }
    return {name: json.dumps(vectors, indent=2, ensure_ascii=False) + "\n" for name, vectors in made.items()}


if __name__ == "__main__":
    VECTORS.mkdir(exist_ok=True)
    for name, made in files().items():
        (VECTORS / name).write_text(made, encoding="utf-8")
