"""The files that ``artifact://`` opens: a reader of one version, and writers that publish one when they are closed."""

from __future__ import annotations

import io
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, NoReturn, Protocol, SupportsIndex

from fsspec.caching import caches

from artifactfs import files
from artifactfs.errors import ArtifactNotFound, Conflict, VersionNotFound
from artifactfs.filesystem.tree import file_info
from artifactfs.layout import ArtifactId
from artifactfs.records import Blob, Record
from artifactfs.refs import Ref

if TYPE_CHECKING:
    from artifactfs.filesystem import ArtifactFileSystem
    from artifactfs.store import Scope

BLOCK = 1024 * 1024
"""Bytes that a cache of fsspec's fetches together, where the caller names no block size."""

APPEND_IN_MEMORY = 8 * 1024 * 1024
"""Bytes of appended data that are kept in memory; more go to a temporary file."""

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


class ArtifactReader(files.ArtifactReader):
    """A version, read by ranges: the one that was there when the file was opened, whatever is saved meanwhile.

    Attributes:
        size: of the version, in bytes.
        details: what `ArtifactFileSystem.info` says of it.
        cache: one of fsspec's, through which all bytes come; fsspec's caching filesystems put their own in its place.
        blocksize: the bytes that a cache of fsspec's fetches together.
    """

    def __init__(
        self,
        fs: ArtifactFileSystem,
        ref: Ref,
        artifact: ArtifactId,
        record: Blob,
        blocksize: int | None,
        cache_type: str,
        cache_options: Mapping[str, Any] | None,
    ) -> None:
        super().__init__(fs.store.backend, artifact, record)
        self.fs, self.path, self.details = fs, ref.path, file_info(ref.path, record)
        self.size: int = self.details["size"]
        self.blocksize = blocksize or BLOCK
        self._fetch_range = self._raw.fetch
        if cache_type not in caches:
            raise ValueError(f"cache_type is {cache_type!r}; fsspec has {', '.join(sorted(map(str, caches)))}")
        self.cache: Any = caches[cache_type](self.blocksize, self._fetch_range, self.size, **(cache_options or {}))
        self._raw.fetch = lambda start, end: self.cache._fetch(start, end)
        self._again = (replace(ref, selector=record.version).path, blocksize, cache_type, cache_options)

    @property
    def mode(self) -> str:
        return "rb"

    @property
    def full_name(self) -> str:
        name: str = self.fs.unstrip_protocol(self.path)
        return name

    @property
    def closed(self) -> bool:
        return super().closed

    @closed.setter
    def closed(self, value: bool) -> None:
        """Nothing: fsspec's block cache says so of a file that it has just closed."""

    def info(self) -> dict[str, Any]:
        return self.details

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return _reopen, (self.fs, *self._again, self.tell())


def _reopen(
    fs: ArtifactFileSystem,
    path: str,
    blocksize: int | None,
    cache_type: str,
    cache_options: dict[str, Any] | None,
    place: int,
) -> ArtifactReader:
    reader: ArtifactReader = fs.open(path, "rb", blocksize, cache_options, cache_type=cache_type)
    reader.seek(place)
    return reader


class ArtifactWriter(io.BufferedIOBase):
    """A new version, once it is closed; nothing at all if an exception is on its way or nobody closes it.

    Libraries that write files often just call `close` while an exception unwinds them. So a close during the handling
    of an exception that was not being handled when the file was opened discards what was written, as `discard` does;
    and what is garbage-collected without having been closed is discarded, with a `ResourceWarning`.

    Attributes:
        record: of the version that was made, after the file was closed; else None.
    """

    def __init__(
        self, fs: ArtifactFileSystem, path: str, mode: str, sink: Sink, *, autocommit: bool, start: int
    ) -> None:
        self._pending = True
        self._collected = False
        self._outer = sys.exception()
        self._sink = sink
        self._autocommit = autocommit
        self._place = start
        self.fs, self.path, self.mode = fs, path, mode

    @property
    def full_name(self) -> str:
        name: str = self.fs.unstrip_protocol(self.path)
        return name

    @property
    def record(self) -> Record | None:
        return None if self._pending else self._sink.record

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def write(self, data: Any) -> int:
        if self._collected:  # a compressor that is collected with this file flushes its rest
            return memoryview(data).nbytes
        if self.closed:
            raise ValueError(f"{self.path!r} is closed")
        # Callers may reuse their buffer; bytes cannot change under the upload.
        piece = data if isinstance(data, bytes) else memoryview(data).tobytes()
        self._sink.write(piece)
        self._place += len(piece)
        return len(piece)

    def close(self) -> None:
        """Publish the version; or discard it, as the class says. In a transaction, `commit` publishes."""
        if self.closed:
            return
        handled = sys.exception()
        if self._collected or (handled is not None and handled is not self._outer):
            self.discard()
            return
        self._outer = None
        try:
            if self._autocommit:
                self.commit()
        finally:
            super().close()

    def commit(self) -> None:
        """Publish what was written, once."""
        if self._pending:
            self._sink.close()
            self._pending = False

    def discard(self) -> None:
        """Drop what was written, and close. Harmless once it was published."""
        self._outer = None
        super().close()
        if self._pending:
            self._pending = False
            self._sink.discard()

    def _dealloc_warn(self, source: object) -> None:
        """Called by a text or buffer layer of the io module that is collected: its `close` follows."""
        if self._pending and not self.closed and not self._collected:
            self._collected = True
            message = f"{self.path!r} was not closed; what was written to it is discarded"
            warnings.warn(message, ResourceWarning, source=self, stacklevel=2)

    def __del__(self) -> None:
        if not getattr(self, "_pending", False):  # published, discarded, or its constructor failed
            return
        try:
            self._dealloc_warn(self)
        finally:
            self.discard()


class Append:
    """A `Sink` that makes the newest version's bytes and then its own, following that version directly.

    Where another save comes between, it starts again from what is newest then: two appenders lose nothing. The MIME
    type and metadata of the version that it follows are kept where none are given.
    """

    def __init__(self, scope: Scope, name: str, mime_type: str | None, metadata: Mapping[str, Any] | None) -> None:
        self._scope, self._name = scope, name
        self._mime_type, self._metadata = mime_type, metadata
        self._kept: IO[bytes] = io.BytesIO()
        self.record: Record | None = None

    def write(self, data: bytes) -> None:
        if isinstance(self._kept, io.BytesIO) and self._kept.tell() + len(data) > APPEND_IN_MEMORY:
            held, self._kept = self._kept, tempfile.TemporaryFile()  # noqa: SIM115  (close and discard close it)
            self._kept.write(held.getbuffer())
        self._kept.write(data)

    def discard(self) -> None:
        self._kept.close()

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


class Compressed(io.BufferedIOBase):
    """A compressor together with the file it writes to: compressors leave that open, and nothing would be published."""

    def __init__(self, compressor: Any, target: ArtifactWriter) -> None:
        self._compressor, self._target = compressor, target

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        size: int = self._compressor.write(data)
        return size

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        try:
            self._compressor.close()
        except BaseException:
            self._target.discard()
            raise
        self._target.close()

    def _dealloc_warn(self, source: object) -> None:
        self._target._dealloc_warn(source)

    def __del__(self) -> None:
        """Nothing: the file it writes to discards itself."""


def refuse_mode(mode: str) -> NoReturn:
    raise ValueError(f"mode {mode!r} is not one of rb, wb, xb and ab: a version is written once, from its beginning")
