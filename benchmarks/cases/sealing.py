"""Sealing and opening by themselves, against AES-GCM alone and SHA-256 alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from artifactfs.codecs.sealed import CHUNK, TAG, Sealed

from ..bench import Bench
from ..harness import Side
from ..streaming import MIB
from .common import repeated

PIECES = 64
"""How many pieces of a MiB one call seals or opens: a long stream, in which what begins and ends it counts for little."""


def sealing(bench: Bench) -> None:
    """Streams of 64 MiB, given and taken MiB by MiB."""
    piece = memoryview(os.urandom(MIB))
    codec = Sealed(os.urandom(32), b"whose it is")

    def stored_pieces() -> Iterator[bytes]:
        encoder = codec.encoder()
        for _ in range(PIECES):
            yield encoder.update(piece)
        yield encoder.finish()

    def seal() -> None:
        encoder = codec.encoder()
        for _ in range(PIECES):
            encoder.lend(piece)  # as a stream is saved
        encoder.finish()

    stored = memoryview(b"".join(stored_pieces()))
    size = PIECES * MIB
    spans = [codec.span(at, at + MIB, size) for at in range(0, size, MIB)]

    def unseal() -> None:
        decoder = codec.decoder(stored[: codec.head_size], size)
        for at, (begin, end) in zip(range(0, size, MIB), spans, strict=True):
            decoder.open(at, at + MIB, stored[begin:end])

    def digest() -> None:
        made = hashlib.sha256()
        for _ in range(PIECES):
            made.update(piece)

    for what, title, ours, opening in (("seal", "sealing", seal, False), ("open", "opening", unseal, True)):
        bench.compare(
            f"sealing/{what}",
            f"{title} of {PIECES} MiB",
            [
                Side("artifactfs", "ours", repeated(ours)),
                Side("AES-GCM alone, 16 KiB chunks", "floor", repeated(_gcm(piece, opening=opening))),
                Side("SHA-256 alone", "floor", repeated(digest)),
            ],
            group="sealing",
            base="AES-GCM alone, 16 KiB chunks",
        )


def _gcm(piece: memoryview, *, opening: bool) -> Callable[[], None]:
    """The same library's AES-256-GCM over chunks of *piece*, into one buffer that is used again."""
    cipher, step = AESGCM(os.urandom(32)), CHUNK + TAG
    room = memoryview(bytearray(MIB // CHUNK * step))

    def seal() -> None:
        for number in range(PIECES * MIB // CHUNK):
            at = number % (MIB // CHUNK)
            nonce, chunk = number.to_bytes(12, "big"), piece[at * CHUNK : (at + 1) * CHUNK]
            cipher.encrypt_into(nonce, chunk, None, room[at * step : (at + 1) * step])

    if not opening:
        return seal
    seal()
    sealed, plain = memoryview(bytes(room)), memoryview(bytearray(MIB))
    first = (PIECES - 1) * MIB // CHUNK  # of the chunks that were sealed last

    def unseal() -> None:
        for number in range(PIECES * MIB // CHUNK):
            at = number % (MIB // CHUNK)
            nonce, chunk = (first + at).to_bytes(12, "big"), sealed[at * step : (at + 1) * step]
            cipher.decrypt_into(nonce, chunk, None, plain[at * CHUNK : (at + 1) * CHUNK])

    return unseal
