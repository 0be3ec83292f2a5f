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
from collections.abc import Sequence
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

PIECE = 80
"""Chunks that an encoder keeps memory for: a piece of a stream, 1 MiB and a little more."""

LENT = 3
"""Such pieces that an encoder lends in turn."""

RANGE = 260
"""Chunks that a decoder keeps memory for: what a reader fetches at a time, 4 MiB and a little more."""

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


class _Buffer:
    """Memory that is used again and again, for some chunks, each of which has its place in it.

    Fresh memory for each MiB costs as much as sealing it: the system has to clear it, and it is in no cache.
    """

    __slots__ = ("memory", "places")

    def __init__(self, count: int, chunk: int) -> None:
        self.memory = memoryview(bytearray(count * chunk))
        self.places = [self.memory[at : at + chunk] for at in range(0, count * chunk, chunk)]


class _Encoder:
    """Holds less than one chunk of content between calls: a full one is never the last, so it is sealed at once."""

    def __init__(self, cipher: AESGCM, base_nonce: int, head: bytes) -> None:
        self._cipher = cipher
        self._base_nonce = base_nonce
        self._head = head
        self._next = 0
        self._rest = bytearray()
        self._finished = False
        self._buffers: list[_Buffer] = []

    def update(self, data: Bytes) -> bytes:
        return self._seal(data, last=False)

    def lend(self, data: Bytes) -> Bytes:
        view = memoryview(data).cast("B")
        full = (len(self._rest) + len(view)) // CHUNK
        if self._finished or self._head or full > PIECE:
            return self._seal(view, last=False)
        buffer = self._buffers.pop(0) if len(self._buffers) == LENT else _Buffer(PIECE, _SEALED_CHUNK)
        self._buffers.append(buffer)
        self._seal_full(view, full, buffer.places)
        return buffer.memory[: full * _SEALED_CHUNK]

    def finish(self, data: Bytes = b"") -> bytes:
        sealed = self._seal(data, last=True)
        self._finished = True
        return sealed

    def _seal(self, data: Bytes, *, last: bool) -> bytes:
        if self._finished:  # going on would use a nonce twice
            raise ValueError("this encoder has finished")
        view = memoryview(data).cast("B")
        full, left = divmod(len(self._rest) + len(view), CHUNK)
        begin = len(self._head)
        end = begin + full * _SEALED_CHUNK
        sealed = io.BytesIO(bytes(end + (left + TAG if last else 0)))  # gives out what it holds without a copy
        with sealed.getbuffer() as out:
            out[:begin] = self._head
            self._seal_full(view, full, [out[at : at + _SEALED_CHUNK] for at in range(begin, end, _SEALED_CHUNK)])
            if last:
                self._cipher.encrypt_into(self._nonce(self._next), self._rest, None, out[end:])
        self._head = b""
        return sealed.getvalue()

    def _seal_full(self, view: memoryview, full: int, places: Sequence[memoryview]) -> None:
        """Seal the next *full* chunks, of the rest and of *view*, each into its place."""
        rest, seal, base, first, at = self._rest, self._cipher.encrypt_into, self._base_nonce, self._next, 0
        self._next = stop = first + full
        place = iter(places)
        if rest and full:
            at = CHUNK - len(rest)
            rest += view[:at]
            seal(self._nonce(first), rest, None, next(place))
            rest.clear()
            first += 1
        for number, out in zip(range(first, stop), place, strict=False):
            seal((base ^ number).to_bytes(_NONCE, "big"), view[at : at + CHUNK], None, out)
            at += CHUNK
        rest += view[at:]

    def _nonce(self, number: int) -> bytes:
        return (self._base_nonce ^ number).to_bytes(_NONCE, "big")


class _Decoder:
    """Opens any chunks, in any order: each is bound to its place by its nonce, and to the payload by the key."""

    def __init__(self, cipher: AESGCM, base_nonce: int, size: int) -> None:
        self._cipher = cipher
        self._base_nonce = base_nonce
        self._size = size
        self._buffers: list[_Buffer] = []  # at most one, that no thread is using

    def open(self, start: int, end: int, stored: Bytes) -> bytes:
        chunks = _covering(start, end, self._size)
        at, to = _span(chunks, self._size)
        view = memoryview(stored).cast("B")
        if len(view) != to - at:
            raise IntegrityError(
                f"the store gave {len(view)} bytes of a sealed payload where {to - at} are needed, from byte {at} on: it "
                "was cut off, or the connection broke; read it again"
            )
        first = chunks.start * CHUNK
        if len(chunks) <= RANGE:
            try:
                buffer = self._buffers.pop()
            except IndexError:  # it is in use; to look first would let two threads take the same one
                buffer = _Buffer(len(chunks), CHUNK)
            if len(buffer.places) < len(chunks):
                buffer = _Buffer(len(chunks), CHUNK)
            self._open(chunks, view, at, buffer.memory, buffer.places)
            content = bytes(buffer.memory[start - first : end - first])
            self._buffers = [buffer]
            return content
        whole = io.BytesIO(bytes(len(view) - TAG * len(chunks)))
        with whole.getbuffer() as out:
            self._open(chunks, view, at, out, [out[given : given + CHUNK] for given in range(0, len(out) + 1, CHUNK)])
        return whole.getvalue()[start - first : end - first]

    def _open(self, chunks: range, view: memoryview, at: int, out: memoryview, places: Sequence[memoryview]) -> None:
        """Open what *view* holds, which is stored from *at* on, each chunk into its place in *out*."""
        unseal, base, taken = self._cipher.decrypt_into, self._base_nonce, 0
        for number, place in zip(chunks, places, strict=False):
            sealed = view[taken : taken + _SEALED_CHUNK]
            if len(sealed) < _SEALED_CHUNK:
                place = place[: len(sealed) - TAG]
            try:
                unseal((base ^ number).to_bytes(_NONCE, "big"), sealed, None, place)
            except InvalidTag as error:
                out[:] = bytes(len(out))  # a traceback keeps this frame, and what was not checked in it
                raise IntegrityError(
                    f"the sealed payload was altered in the bytes from {at + taken} to {at + taken + len(sealed)}; "
                    "load another version, or put the payload back from a copy"
                ) from error
            taken += _SEALED_CHUNK
