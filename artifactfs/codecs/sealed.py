"""Sealed content: C2SP chunked-encryption with SHA-512 and AES-256-GCM ("Cobblestone-256"), c2sp.org/chunked-encryption.

    key(32) || base_nonce(12) || commitment(32) = HKDF-Expand(SHA-512, data key, label || 0x00 || salt(24) || context)
    stored = salt || commitment || chunk 0 || chunk 1 || …

Each chunk is AES-256-GCM of 16,384 bytes of content under the nonce ``base_nonce XOR number``, and 16 bytes of tag. The
last one is always shorter, and may be empty: so stored bytes that were cut off between two chunks do not open.
"""

from __future__ import annotations

import hmac
import io
import secrets
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from artifactfs.codecs.base import Bytes
from artifactfs.errors import IntegrityError

CHUNK = 16 * 1024
"""Bytes of content in each chunk but the last."""

TAG = 16
"""Bytes that each chunk takes beyond its content."""

SALT = 24
HEAD = 56
"""Bytes before the first chunk: the salt, and the commitment to the data key and the context."""

_SEALED_CHUNK = CHUNK + TAG
_KEY, _NONCE = 32, 12
_LABEL = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0"
_REPEATABLE = b"artifactfs repeatable salt v1"


def sealed_size(size: int) -> int:
    """What *size* bytes of content take when sealed."""
    return HEAD + size + TAG * (size // CHUNK + 1)


class Sealed:
    """The codec of one sealed version.

    What was altered, cut off, added to, or sealed with another *data_key* or *context*, never opens: not one byte of
    it is given out, but of chunks that are whole themselves. Each encoder draws a fresh salt.

    Args:
        data_key: 32 bytes, random.
        context: whose content it is; any bytes.
    """

    __slots__ = ("_context", "_data_key")
    head_size = HEAD

    def __init__(self, data_key: bytes, context: bytes) -> None:
        if len(data_key) != _KEY:
            raise ValueError(f"a data key has {_KEY} bytes, not {len(data_key)}")
        self._data_key = data_key
        self._context = context

    def __repr__(self) -> str:
        return "Sealed(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Sealed codec holds a data key, so it is neither pickled nor copied")

    def stored_size(self, size: int) -> int:
        return sealed_size(size)

    def content_size(self, stored: int) -> int:
        full, last = divmod(stored - HEAD, _SEALED_CHUNK)
        if full < 0 or last < TAG:
            raise IntegrityError(
                f"no sealed content takes {stored} bytes: the payload was cut off or added to; load another version, "
                "or put the payload back from a copy"
            )
        return full * CHUNK + last - TAG

    def span(self, start: int, end: int, size: int) -> tuple[int, int]:
        return _span(_covering(start, end, size), size)

    def encoder(self) -> _Encoder:
        return self._encoder(secrets.token_bytes(SALT))

    def repeatable(self, digest: bytes) -> _Encoder:
        """An encoder of the one content whose SHA-256 is *digest*, which seals it to the same bytes every time.

        Its salt is made of the digest with the data key: other content has another salt, and nobody learns the digest.
        """
        return self._encoder(hmac.digest(self._data_key, _REPEATABLE + digest, "sha256")[:SALT])

    def decoder(self, head: Bytes, size: int) -> _Decoder:
        view = memoryview(head)
        if len(view) != HEAD:
            raise IntegrityError(f"a sealed payload begins with {HEAD} bytes of head; {len(view)} are there")
        cipher, base_nonce, commitment = self._expand(bytes(view[:SALT]))
        if not hmac.compare_digest(view[SALT:], commitment):
            raise IntegrityError(
                f"the sealed payload is of another artifact or save, or its first {HEAD} bytes were altered; load "
                "another version, or put the payload back from a copy"
            )
        return _Decoder(cipher, base_nonce, size)

    def _encoder(self, salt: bytes) -> _Encoder:
        cipher, base_nonce, commitment = self._expand(salt)
        return _Encoder(cipher, base_nonce, salt + commitment)

    def _expand(self, salt: bytes) -> tuple[AESGCM, int, bytes]:
        """Cipher, base nonce (as a big-endian number) and commitment of the payload with this *salt*."""
        info = _LABEL + salt + self._context
        expanded = HKDFExpand(SHA512(), _KEY + _NONCE + HEAD - SALT, info).derive(self._data_key)
        nonce = int.from_bytes(expanded[_KEY : _KEY + _NONCE], "big")
        return AESGCM(expanded[:_KEY]), nonce, expanded[_KEY + _NONCE :]


def _covering(start: int, end: int, size: int) -> range:
    """The chunks that ``start <= i < end`` needs; what reaches the end needs the last one, though it be empty."""
    if not 0 <= start <= end <= size:
        raise ValueError(f"there is no range from {start} to {end} in {size} bytes")
    if start == end and size:
        return range(0)
    return range(start // CHUNK, size // CHUNK + 1 if end == size else (end - 1) // CHUNK + 1)


def _span(chunks: range, size: int) -> tuple[int, int]:
    """Where *chunks* lie among the stored bytes of *size* bytes of content."""
    if not chunks:
        return HEAD, HEAD
    return HEAD + chunks.start * _SEALED_CHUNK, min(HEAD + chunks.stop * _SEALED_CHUNK, sealed_size(size))


class _Encoder:
    """Holds less than one chunk of content between calls: a full one is never the last, so it is sealed at once."""

    def __init__(self, cipher: AESGCM, base_nonce: int, head: bytes) -> None:
        self._cipher = cipher
        self._base_nonce = base_nonce
        self._head = head
        self._next = 0
        self._rest = bytearray()
        self._finished = False

    def update(self, data: Bytes) -> bytes:
        return self._seal(data, last=False)

    def finish(self, data: Bytes = b"") -> bytes:
        sealed = self._seal(data, last=True)
        self._finished = True
        return sealed

    def _seal(self, data: Bytes, *, last: bool) -> bytes:
        if self._finished:  # going on would use a nonce twice
            raise ValueError("this encoder has finished")
        view = memoryview(data).cast("B")
        rest = self._rest
        full, left = divmod(len(rest) + len(view), CHUNK)
        size = len(self._head) + full * _SEALED_CHUNK + (left + TAG if last else 0)
        sealed = io.BytesIO(bytes(size))  # gives out as bytes, without a copy, what was written into its buffer
        seal, base, number, stop = self._cipher.encrypt_into, self._base_nonce, self._next, self._next + full
        with sealed.getbuffer() as out:
            at, to = 0, len(self._head)
            out[:to] = self._head
            if rest and full:
                at = CHUNK - len(rest)
                rest += view[:at]
                seal((base ^ number).to_bytes(_NONCE, "big"), rest, None, out[to : to + _SEALED_CHUNK])
                rest.clear()
                number, to = number + 1, to + _SEALED_CHUNK
            for number in range(number, stop):  # noqa: B020
                seal((base ^ number).to_bytes(_NONCE, "big"), view[at : at + CHUNK], None, out[to : to + _SEALED_CHUNK])
                at, to = at + CHUNK, to + _SEALED_CHUNK
            rest += view[at:]
            if last:
                seal((base ^ stop).to_bytes(_NONCE, "big"), rest, None, out[to:])
        self._head, self._next = b"", stop
        return sealed.getvalue()


class _Decoder:
    """Opens any chunks, in any order: each is bound to its place by its nonce, and to the payload by the key."""

    def __init__(self, cipher: AESGCM, base_nonce: int, size: int) -> None:
        self._cipher = cipher
        self._base_nonce = base_nonce
        self._size = size

    def open(self, start: int, end: int, stored: Bytes) -> bytes:
        chunks = _covering(start, end, self._size)
        at, to = _span(chunks, self._size)
        view = memoryview(stored).cast("B")
        if len(view) != to - at:
            raise IntegrityError(
                f"the store gave {len(view)} bytes of a sealed payload where {to - at} are needed, from byte {at} on: it "
                "was cut off, or the connection broke; read it again"
            )
        content = io.BytesIO(bytes(len(view) - TAG * len(chunks)))
        unseal, base = self._cipher.decrypt_into, self._base_nonce
        with content.getbuffer() as out:
            taken = given = 0
            for number in chunks:
                nonce, sealed = (base ^ number).to_bytes(_NONCE, "big"), view[taken : taken + _SEALED_CHUNK]
                try:
                    unseal(nonce, sealed, None, out[given : given + CHUNK])
                except InvalidTag as error:
                    out[:] = bytes(len(out))  # a traceback keeps this frame, and what was not checked in it
                    raise IntegrityError(
                        f"the sealed payload was altered in the bytes from {at + taken} to {at + taken + len(sealed)}; "
                        "load another version, or put the payload back from a copy"
                    ) from error
                taken, given = taken + _SEALED_CHUNK, given + CHUNK
        first = chunks.start * CHUNK
        return content.getvalue()[start - first : end - first]
