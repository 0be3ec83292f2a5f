"""Sealing and opening by themselves, against AES-GCM alone and SHA-256 alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from artifactfs.codecs.sealed import CHUNK, TAG, Sealed

from ..bench import Bench
from ..harness import Side
from ..streaming import MIB
from .common import repeated

PIECES = 8
"""How many pieces of a MiB one call seals or opens."""


def sealing(bench: Bench) -> None:
    """Streams of 8 MiB, given and taken MiB by MiB."""
    piece = memoryview(os.urandom(MIB))
    codec = Sealed(os.urandom(32), b"whose it is")

    def seal() -> list[bytes]:
        encoder = codec.encoder()
        return [*(encoder.update(piece) for _ in range(PIECES)), encoder.finish()]

    stored = memoryview(b"".join(seal()))
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
    cipher = AESGCM(os.urandom(32))
    nonces = [number.to_bytes(12, "big") for number in range(PIECES * MIB // CHUNK)]
    room = memoryview(bytearray(MIB + MIB // CHUNK * TAG))
    plain = [piece[at : at + CHUNK] for at in range(0, MIB, CHUNK)] * PIECES
    there = [room[at : at + CHUNK + TAG] for at in range(0, len(room), CHUNK + TAG)] * PIECES
    sealed = [cipher.encrypt(nonce, chunk, None) for nonce, chunk in zip(nonces, plain, strict=True)] if opening else []

    def seal() -> None:
        for nonce, chunk, to in zip(nonces, plain, there, strict=True):
            cipher.encrypt_into(nonce, chunk, None, to)

    def unseal() -> None:
        for nonce, chunk, to in zip(nonces, sealed, there, strict=True):
            cipher.decrypt_into(nonce, chunk, None, to[:CHUNK])

    return unseal if opening else seal
