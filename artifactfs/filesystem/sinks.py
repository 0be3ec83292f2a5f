"""Where the bytes of a new version go before there is one: what a writer of ``artifact://`` writes to."""

from __future__ import annotations

import io
import random
import shutil
import tempfile
import time
from collections.abc import Mapping
from typing import IO, Any, Literal, Protocol

from artifactfs.errors import ArtifactNotFound, Conflict, VersionNotFound
from artifactfs.records import Record
from artifactfs.store import Scope

IN_MEMORY = 8 * 1024 * 1024
"""Bytes that are kept in memory; more go to a temporary file."""

APPEND_PATIENCE = 300.0
"""Seconds for which an append is tried again when other savers come between."""

_COPY = 1024 * 1024


class Sink(Protocol):
    """What takes the bytes of a new version: `close` publishes it, `discard` drops it."""

    @property
    def record(self) -> Record | None: ...
    def write(self, data: bytes, /) -> object: ...
    def close(self) -> None: ...
    def discard(self) -> None: ...


class _Kept:
    """Keeps what is written until it is closed: in memory, and in a temporary file what is long."""

    def __init__(
        self,
        scope: Scope,
        name: str,
        mime_type: str | None,
        metadata: Mapping[str, Any] | None,
        expect: Literal["absent"] | None = None,
    ) -> None:
        self._scope, self._name, self._expect = scope, name, expect
        self._mime_type, self._metadata = mime_type, metadata
        self._kept: IO[bytes] = io.BytesIO()
        self.record: Record | None = None

    def write(self, data: bytes) -> None:
        if isinstance(self._kept, io.BytesIO) and self._kept.tell() + len(data) > IN_MEMORY:
            held, self._kept = self._kept, tempfile.TemporaryFile()  # noqa: SIM115  (close and discard close it)
            self._kept.write(held.getbuffer())
        self._kept.write(data)

    def discard(self) -> None:
        self._kept.close()


class Whole(_Kept):
    """Makes a version of all that was written, and claims its number only then: for a transaction."""

    def close(self) -> None:
        with self._kept:
            self._kept.seek(0)
            self.record = self._scope.save(
                self._name,
                self._kept,
                mime_type=self._mime_type,
                metadata=self._metadata,
                expect=self._expect,
            )


class Append(_Kept):
    """Makes the newest version's bytes and then its own, following that version directly.

    Where another save comes between, it starts again from what is newest then: two appenders lose nothing. The MIME
    type and metadata of the version that it follows are kept where none are given.
    """

    def close(self) -> None:
        with self._kept:
            give_up = time.monotonic() + APPEND_PATIENCE
            pause = 0.01
            while True:
                try:
                    self.record = self._follow()
                    return
                except (Conflict, ArtifactNotFound, VersionNotFound):
                    # Followed, removed or deleted meanwhile.
                    if time.monotonic() > give_up:
                        raise
                    time.sleep(random.uniform(0, pause))
                    pause = min(2 * pause, 1.0)

    def _follow(self) -> Record | None:
        try:
            old = self._scope.open(self._name, "rb")
        except ArtifactNotFound:
            return self._write(None)
        with old:
            return self._write(old)

    def _write(self, old: Any) -> Record | None:
        known = old is not None
        self._kept.seek(0)
        with self._scope.open(
            self._name,
            "wb",
            mime_type=old.record.mime_type if known and self._mime_type is None else self._mime_type,
            metadata=old.record.metadata if known and self._metadata is None else self._metadata,
            expect=old.record.version if known else "absent",
        ) as new:
            if known:
                shutil.copyfileobj(old, new, _COPY)
            shutil.copyfileobj(self._kept, new, _COPY)
        record: Record | None = new.record
        return record
