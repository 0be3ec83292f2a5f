"""SHA-256 of what goes past, worked out in a thread beside whoever sends it on."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from artifactfs.codecs.base import Bytes

BESIDE = 256 * 1024
"""Bytes of a piece that is worth a thread: to hand one over takes about as long as to hash 30 KiB."""

BEHIND = 2
"""Pieces that may be waiting: whoever gives them must leave the last so many as they are."""


class RunningDigest:
    """SHA-256 of the pieces that it was given, in their order; at most `BEHIND` of them are held.

    No thread is there before the first long piece, nor after `close`.
    """

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._thread: ThreadPoolExecutor | None = None
        self._alone = False
        self._waiting: deque[Future[None]] = deque()

    def update(self, piece: Bytes) -> None:
        """Take *piece*, which must not change before the second call after this one."""
        if self._thread is None:
            if self._alone or len(piece) < BESIDE:
                self._sha256.update(piece)
                return
            self._thread = ThreadPoolExecutor(1, "artifactfs-digest")
        if len(self._waiting) == BEHIND:
            self._waiting.popleft().result()
        try:
            self._waiting.append(self._thread.submit(self._sha256.update, piece))
        except RuntimeError:  # no thread is to be had, as while the interpreter ends
            self._catch_up()
            # Never this executor again: the piece may be in its queue, and a thread that it gets later would take it too.
            self._thread, self._alone = None, True
            self._sha256.update(piece)

    def hexdigest(self) -> str:
        self._catch_up()
        return self._sha256.hexdigest()

    def close(self) -> None:
        """End the thread, and wait for nothing."""
        if self._thread is not None:
            self._thread.shutdown(wait=False)

    def _catch_up(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()
