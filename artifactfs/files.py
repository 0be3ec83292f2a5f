"""Versions as files: a seekable reader that is pinned to one version, and a writer that makes one when it is closed."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

from artifactfs.backends.base import WHOLE_LIMIT, Backend, Upload
from artifactfs.codecs.base import Bytes
from artifactfs.content import Readable
from artifactfs.drivers import drop, perform
from artifactfs.fetching import Fetching, read_ahead
from artifactfs.mime import HEAD_BYTES
from artifactfs.passing import Passing
from artifactfs.protocol.ops import Begin, Pull, Rewind, Steps
from artifactfs.read_ahead import LEAST
from artifactfs.records import Blob

BUFFER = 1024 * 1024
"""Bytes that a writer gathers before it hands them to an upload."""


class _Raw(io.RawIOBase):
    """What a reader's buffer is filled from.

    The buffer asks in whole buffers, and hides how much of the last one was used. So the reader leaves here what it is
    asked for: `asked` is the length of a short read that is to come, or 0; `reach` is where the read that is under way
    ends: they only decide what is fetched, never what is given. `end` is where `readall` ends.
    """

    def __init__(self, content: Readable) -> None:
        self.fetching = Fetching(content)
        self.source: Callable[[int, int, int], bytes] = self.fetching.fetch
        self.ahead = read_ahead(content)
        self.asked = self.reach = self.end = 0
        self._position = 0

    def fetch(self, start: int, end: int) -> bytes:
        return self.source(start, end, self.ahead.so_far)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.ahead.size}.get(whence)
        if base is None:
            raise ValueError(f"whence must be 0, 1 or 2, not {whence}")
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}, before the beginning")
        self._position = base + offset
        self.asked = self.reach = 0
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Short where the rest is not held: the buffer asks again, and nothing needs to be joined."""
        start = self._position
        if self.asked:
            # Too long by what the buffer held still. Then this place is not new, and more is fetched anyway.
            self.reach, self.asked = start + self.asked, 0
        elif self.reach <= start:
            self.reach = start + len(buffer)
        gap = self.ahead.missing(start, self.reach)
        count = self.ahead.give(start, buffer)
        if gap is not None and not count:
            self.ahead.keep(gap[0], self.fetch(*gap))
            count = self.ahead.give(start, buffer)
        self._position = start + count  # no call behind this: `tell` takes no lock
        return count

    def readall(self) -> bytes:
        """All up to `end`."""
        start = self._position
        data = self.ahead.read(start, self.end, self.fetch)
        self._position = start + len(data)
        return data

    def close(self) -> None:
        self.ahead.drop()
        self.fetching.drop()
        super().close()


class ArtifactReader(io.BufferedReader):
    """One version as a seekable binary file. What it reads is always of that version, whatever is saved meanwhile.

    A read at a new place asks the store for exactly its bytes, by one request; reading on fetches ahead
    (`artifactfs.read_ahead`, `artifactfs.fetching`). Threads that `read` and `readinto` may share it: each is whole.

    Attributes:
        record: the version's record.
    """

    def __init__(self, content: Readable) -> None:
        self._raw = _Raw(content)
        super().__init__(self._raw, LEAST)
        # The buffer's own lock guards the raw file; this one what is done in more than one step.
        self._turn = threading.RLock()
        self.record = content.record

    @property
    def name(self) -> str:
        """The artifact's name."""
        return self.record.filename

    def read(self, size: int | None = -1, /) -> bytes:
        with self._turn:
            if size is not None and 0 <= size < LEAST:
                self._raw.asked = size
                return _read(self, size)
            # A long read is "all", up to its end: so it comes without a copy.
            if size is None or size < 0:
                return self._read_to(self._raw.ahead.size)
            data = self._read_to(self.tell() + size)
            # Less at the end of the file; or where a thread read lines meanwhile, which takes no turn.
            return data if len(data) == size else data + _read(self, size - len(data))

    def _read_to(self, end: int) -> bytes:
        self._raw.end = end
        data = _read(self)
        self.tell()  # reading "all" leaves the buffer with the old place, from which a seek within it would count
        return data

    def readinto(self, buffer: Any, /) -> int:
        """Fill *buffer*, less only at the end; returns how many bytes that were."""
        size = memoryview(buffer).nbytes
        with self._turn:
            self._raw.asked = size if size <= LEAST else 0  # the buffer passes a longer one on
            return super().readinto(buffer)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        with self._turn:
            return super().seek(offset, whence)


_read = io.BufferedReader.read


class _Pushed:
    """A stream protocol whose pieces are pushed in: it runs until it wants a piece, and waits for one there."""

    def __init__(self, steps: Steps[Blob], backend: Backend) -> None:
        self._steps, self._backend = steps, backend
        self._answered: tuple[Any, ...] = ()
        self._upload: Upload | None = None
        self.result: Blob | None = None
        self._go(None, None)

    def push(self, piece: Bytes) -> None:
        """Give away the next piece; ``b""`` ends the stream, and `result` is there then."""
        self._go((*self._answered, piece), None)

    def fail(self, error: BaseException) -> None:
        """Stop: what was sent is dropped."""
        try:
            self._go(None, error)
        except BaseException as raised:
            if raised is not error:
                raise

    def drop(self) -> None:
        """Forget the stream, from a garbage collector: its upload is aborted, its claim left to grow old."""
        self._steps.close()
        if self._upload is not None:
            drop(self._backend, self._upload)

    def _go(self, answers: tuple[Any, ...] | None, error: BaseException | None) -> None:
        while True:
            try:
                batch = self._steps.send(answers) if error is None else self._steps.throw(error)
            except StopIteration as stop:
                self.result = stop.value
                return
            answers, error = None, None
            try:
                if isinstance(batch[-1], Pull):
                    self._answered = perform(batch[:-1], self._backend, None) if len(batch) > 1 else ()
                    return
                answers = (False,) if isinstance(batch[0], Rewind) else perform(batch, self._backend, None)
                if isinstance(batch[0], Begin):
                    self._upload = answers[0]
            except BaseException as raised:  # noqa: BLE001  (the generator cleans up after anything)
                error = raised


class Discarded(Exception):
    """Thrown into a stream whose writer was told to discard it."""


class ArtifactWriter(io.BufferedIOBase):
    """A binary file that becomes a version when it is closed, and nothing at all when it is discarded.

    In a ``with`` block an exception discards. So does a `close` while an exception is being handled that was not when
    the writer was made: libraries often just close what they write to when they fail. A writer that is forgotten, and
    only collected, discards too; but not the copy of it that a forked child has.

    Attributes:
        record: the version's record, once closed.
    """

    def __init__(self, backend: Backend, save: Callable[[bytes], Blob], stream: Callable[[bytes], Steps[Blob]]) -> None:
        """*save* is given the whole of a short content; *stream* the first bytes of a long one, all of which is pushed."""
        self._backend, self._save, self._stream = backend, save, stream
        self._held = bytearray()
        self._size = 0
        self._pushed: _Pushed | None = None
        self._passing = Passing()
        self._live, self._collected = True, False
        self._process = os.getpid()
        self.record: Blob | None = None

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any, /) -> int:
        if self._collected:  # a text layer that is collected with this file flushes its rest
            return memoryview(data).nbytes
        if not self._live:
            raise ValueError("write to a closed artifact")
        view = memoryview(data)
        view = view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())
        for at in range(0, len(view), BUFFER):  # never more is held, however much is written at once
            part = view[at : at + BUFFER]
            self._size += len(part)
            if self._pushed is not None and not self._held and len(part) == BUFFER:
                self._guarded(self._pushed, data if len(view) == BUFFER and isinstance(data, bytes) else bytes(part))
                continue
            self._held += part
            if self._pushed is not None:
                if len(self._held) >= BUFFER:
                    self._guarded(self._pushed, self._taken())
            elif len(self._held) > WHOLE_LIMIT:
                self._begin()
        return len(view)

    def _taken(self) -> bytearray:
        """What was written and not sent yet, which is given away by this."""
        data, self._held = self._held, bytearray()
        return data

    def _begin(self) -> None:
        try:
            self._pushed = _Pushed(self._stream(bytes(self._held[:HEAD_BYTES])), self._backend)
        except BaseException:
            self._live = False
            raise
        view = memoryview(self._taken())
        for at in range(0, len(view), BUFFER):
            self._guarded(self._pushed, view[at : at + BUFFER])

    def _guarded(self, pushed: _Pushed, piece: Bytes) -> None:
        """A stream that failed is over: closing the writer then publishes nothing."""
        try:
            pushed.push(piece)
        except BaseException:
            self._live = False
            raise

    def close(self) -> None:
        """Publish, unless an exception is on its way; then discard."""
        if self._passing.now():
            self.discard()
        self._passing.forget()
        if self._live:
            self._live = False
            if self._pushed is not None:
                if self._held:
                    self._guarded(self._pushed, self._taken())
                self._guarded(self._pushed, b"")
                self.record = self._pushed.result
            else:
                self.record = self._save(bytes(self._taken()))
        super().close()

    def discard(self) -> None:
        """Close without saving: nothing is published, and what was sent is dropped."""
        if self._live:
            self._live = False
            self._held.clear()
            if self._pushed is not None:
                self._pushed.fail(Discarded())
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.discard()
        self.close()

    def _dealloc_warn(self, source: object) -> None:
        """A text layer of the io module that is collected says so before it closes what it wrote to."""
        self._forgotten()

    def _forgotten(self) -> None:
        if self._live:
            self._live, self._collected = False, True
            if self._process != os.getpid():  # a forked child's copy
                return
            self._held.clear()
            if self._pushed is not None:
                self._pushed.drop()
            warnings.warn("an artifact was written to and not closed; it was discarded", ResourceWarning, stacklevel=2)

    def __del__(self) -> None:
        if getattr(self, "_live", False):
            self._forgotten()
