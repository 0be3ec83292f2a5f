"""The digest of a stream is worked out in a thread, and is right also where no thread is to be had."""

from __future__ import annotations

import hashlib
import threading

import pytest

from artifactfs.hashing import BESIDE, RunningDigest

PIECES = [bytes([number]) * (BESIDE + number) for number in range(6)]


def _digest() -> str:
    digest = RunningDigest()
    for piece in PIECES:
        digest.update(piece)
    told = digest.hexdigest()
    digest.close()
    return told


def test_long_and_short_pieces_are_hashed_in_their_order() -> None:
    digest = RunningDigest()
    for piece in (b"short", *PIECES, b"again"):
        digest.update(piece)
    assert digest.hexdigest() == hashlib.sha256(b"short" + b"".join(PIECES) + b"again").hexdigest()
    digest.close()


@pytest.mark.parametrize("refused", [1, 1000])
def test_no_piece_is_hashed_twice_where_a_thread_is_refused_for_a_while(
    monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    start, tries = threading.Thread.start, iter(range(refused))

    def refusing(thread: threading.Thread) -> None:
        if next(tries, None) is not None:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refusing)
    assert _digest() == hashlib.sha256(b"".join(PIECES)).hexdigest()
