"""Sealing a second time, written from docs/spec.md alone: plain, slow, whole in memory, and no line of it from the library.

The vectors in docs/vectors are made by this, so that the library is held against the document and not against itself.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV


class Identity(NamedTuple):
    app: str
    user: str
    session: str  # empty for the user scope
    name: str
    write_id: str


def prefixed(*fields: str) -> bytes:
    out = b""
    for field in fields:
        data = field.encode("utf-8")
        out += len(data).to_bytes(4, "big") + data
    return out


def identity_bytes(identity: Identity) -> bytes:
    return prefixed("1", identity.app, identity.user, identity.session, identity.name, identity.write_id)


def place_bytes(identity: Identity, number: int | str) -> bytes:
    """Of a version by its number, of a tag by ``@`` and the tag."""
    return prefixed("1", identity.app, identity.user, identity.session, identity.name, str(number))


def hkdf_expand(prk: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, section 2.3, with SHA-512."""
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha512).digest()
        out, counter = out + block, counter + 1
    return out[:length]


# payloads


class Keys(NamedTuple):
    key: bytes
    base_nonce: bytes
    commitment: bytes


def payload_keys(data_key: bytes, salt: bytes, context: bytes) -> Keys:
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM" + b"\0" + salt + context
    out = hkdf_expand(data_key, info, 32 + 12 + 32)
    return Keys(out[:32], out[32:44], out[44:76])


def chunk_nonce(base_nonce: bytes, k: int) -> bytes:
    counter = k.to_bytes(12, "big")
    return bytes(a ^ b for a, b in zip(base_nonce, counter, strict=True))


def seal(data_key: bytes, context: bytes, salt: bytes, content: bytes) -> bytes:
    keys = payload_keys(data_key, salt, context)
    out = salt + keys.commitment
    for k in range(len(content) // 16_384 + 1):
        encryptor = Cipher(algorithms.AES(keys.key), modes.GCM(chunk_nonce(keys.base_nonce, k))).encryptor()
        out += encryptor.update(content[k * 16_384 : (k + 1) * 16_384]) + encryptor.finalize() + encryptor.tag
    return out


def unseal(data_key: bytes, context: bytes, stored: bytes) -> bytes:
    """Raises ValueError or InvalidTag."""
    keys = payload_keys(data_key, stored[:24], context)
    if stored[24:56] != keys.commitment:
        raise ValueError("not sealed by this key and context")
    content, rest, k = b"", stored[56:], 0
    while True:
        chunk, rest = rest[:16_400], rest[16_400:]
        if len(chunk) < 16:
            raise ValueError("cut off")
        mode = modes.GCM(chunk_nonce(keys.base_nonce, k), chunk[-16:])
        decryptor = Cipher(algorithms.AES(keys.key), mode).decryptor()
        content += decryptor.update(chunk[:-16]) + decryptor.finalize()
        if len(chunk) < 16_400:
            return content
        k += 1


# wrapped keys


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def from_text(data: str) -> bytes:
    return base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))


def wrap(key: bytes, nonce: bytes, data_key: bytes, identity: Identity) -> bytes:
    return nonce + AESGCMSIV(key).encrypt(nonce, data_key, identity_bytes(identity))


def unwrap(key: bytes, wrapped: bytes, identity: Identity) -> bytes:
    return AESGCMSIV(key).decrypt(wrapped[:12], wrapped[12:], identity_bytes(identity))


# records


def mac_key(data_key: bytes) -> bytes:
    return hkdf_expand(data_key, b"artifactfs record mac v1", 32)


def mac(data_key: bytes, identity: Identity, number: int | str, body: bytes) -> str:
    return hmac.new(mac_key(data_key), place_bytes(identity, number) + body, hashlib.sha256).hexdigest()


def compact(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def longest_tombstone(name: str, number: int) -> int:
    fields = {"kind": "tombstone", "format": 1, "filename": name, "mime_type": "", "version": number, "size_bytes": 0}
    fields |= {"timestamp": "2000-01-01T00:00:00.000001Z", "write_id": "0" * 32, "metadata": {}, "reason": "deleted"}
    return len(compact(fields))


def authenticated(data_key: bytes, identity: Identity, fields: dict[str, Any], least: int) -> bytes:
    """The stored record of *fields*, of at least *least* bytes."""
    body = compact(fields)[:-1]
    place = f"@{fields['tag']}" if fields["kind"] == "tag" else fields["version"]
    body += b" " * (least - len(body) - len(b',"mac":""}') - 64)
    return body + b',"mac":"' + mac(data_key, identity, place, body).encode() + b'"}'


def is_authentic(data_key: bytes, identity: Identity, number: int | str, record: bytes) -> bool:
    body, end = record[:-74], record[-74:]
    return end == b',"mac":"' + mac(data_key, identity, number, body).encode() + b'"}'
