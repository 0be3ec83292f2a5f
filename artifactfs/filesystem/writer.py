"""The files that ``artifact://`` opens for writing: a version when they are closed, and nothing when they are not."""

from __future__ import annotations

import io
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from artifactfs.filesystem.sinks import Sink
from artifactfs.passing import Passing
from artifactfs.records import Record

if TYPE_CHECKING:
    from artifactfs.filesystem import ArtifactFileSystem


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
        self._passing = Passing()
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
        if self._collected:  # a layer that is dropped with this file flushes its rest
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
        if self._collected or self._passing.now():
            self.discard()
            return
        self._passing.forget()
        try:
            if self._autocommit:
                self.commit()
        finally:
            super().close()

    def commit(self) -> None:
        """Publish what was written, once.

        Raises:
            ValueError: the end of a transaction found the file open: what its layers still hold would be missing.
        """
        if self._pending:
            if not self._autocommit and not self.closed:
                self.discard()
                raise ValueError(f"{self.path!r} was not closed before its transaction ended; nothing of it was saved")
            self._sink.close()
            self._pending = False

    def discard(self) -> None:
        """Drop what was written, and close. Harmless once it was published."""
        self._passing.forget()
        super().close()
        if self._pending:
            self._pending = False
            self._sink.discard()

    def drop(self) -> None:
        """As `discard`, for a layer above that will still flush and close."""
        self._collected = True
        self.discard()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.discard()
        self.close()

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

    def drop(self) -> None:
        """Close, and discard what was written."""
        self._target.drop()
        self.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.drop()
        self.close()

    def _dealloc_warn(self, source: object) -> None:
        self._target._dealloc_warn(source)

    def __del__(self) -> None:
        """Nothing: the file it writes to discards itself."""


class Text(io.TextIOWrapper):
    """Text over one of the above. In a ``with`` block an exception discards, also what was not written through yet."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not self.closed:
            assert isinstance(self.buffer, (ArtifactWriter, Compressed))
            self.buffer.drop()
        self.close()


def refuse_mode(mode: str) -> NoReturn:
    raise ValueError(f"mode {mode!r} is not one of rb, wb, xb and ab: a version is written once, from its beginning")
