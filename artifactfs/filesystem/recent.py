"""What was looked at a moment ago, so that opening a file that was just found costs no second look."""

from __future__ import annotations

import threading
import time

from artifactfs.layout import ArtifactId
from artifactfs.records import Blob, Record

FRESH = 10.0
"""Seconds for which a pinned version that was looked at can be opened without another look."""

MOMENT = 1.0
"""Seconds for which ``info`` of a file saves a look to an ``isfile`` that follows it."""

REMEMBERED = 1000
"""Versions whose records are remembered so."""


class Recent:
    """Records of versions that were looked at a short while ago.

    A version's bytes never change, so a pinned one that was just found can be opened without asking again; was it deleted
    meanwhile, reading it says so. And who was just told that a file is there may ask whether it is one: pyarrow does,
    before it opens it.

    Only an erased artifact gives its numbers again: who looked at the old one a short while ago may be told its size and
    digest, and a whole read of the new one then fails its check.
    """

    def __init__(self) -> None:
        self._records: dict[tuple[str, int], tuple[float, Blob]] = {}
        self._told: dict[int, tuple[float, str]] = {}

    def note(self, artifact: ArtifactId, record: Record) -> None:
        if isinstance(record, Blob):
            self._records.pop((artifact.folder, record.version), None)
            self._records[artifact.folder, record.version] = time.monotonic(), record
            if len(self._records) > REMEMBERED:
                self._records.pop(next(iter(tuple(self._records)), ("", 0)), None)

    def tell(self, path: str, thread: int) -> None:
        """That an artifact is at *path* was just told to the thread of that identity."""
        self._told[thread] = time.monotonic(), path

    def just_told(self, path: str) -> bool:
        """Whether that was the last thing told to this thread, a moment ago; it is believed once."""
        moment, told = self._told.pop(threading.get_ident(), (0.0, ""))
        return told == path and time.monotonic() - moment < MOMENT

    def forget(self, *, everywhere: bool = False) -> None:
        """This thread does something else, or *everywhere* something was taken away."""
        if everywhere:
            self._told.clear()
        else:
            self._told.pop(threading.get_ident(), None)

    def find(self, artifact: ArtifactId, number: int) -> Blob | None:
        seen, record = self._records.get((artifact.folder, number), (0.0, None))
        return record if record is not None and time.monotonic() - seen < FRESH else None
