"""Versions as files for code on an event loop: the reader and the writer of `artifactfs.files`, awaited."""

from __future__ import annotations

import asyncio
import io
import os
import warnings
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

from artifactfs.backends.base import WHOLE_LIMIT, Backend, Upload
from artifactfs.content import Readable
from artifactfs.drivers import aperform, drop
from artifactfs.fetching import AsyncFetching, read_ahead
from artifactfs.files import BUFFER, Discarded
from artifactfs.mime import HEAD_BYTES
from artifactfs.passing import Passing
from artifactfs.protocol.ops import Begin, Pull, Rewind, Steps
from artifactfs.records import Blob
from artifactfs.waiting import to_its_end


class AsyncArtifactReader:
    """One version as a seekable binary file; what it reads is always of that version, whatever is saved meanwhile.

    A read at a new place asks the store for exactly its bytes, by one request; reading on fetches ahead
    (`artifactfs.read_ahead`, `artifactfs.fetching`). Tasks may share it: each read is whole.

    Attributes:
        record: the version's record.
    """

    def __init__(self, content: Readable) -> None:
        self.record = content.record
        self._ahead, self._fetching = read_ahead(content), AsyncFetching(content)
        self._position = 0
        self._turn = asyncio.Lock()

    async def read(self, size: int = -1) -> bytes:
        """At most *size* bytes, fewer only at the end; all that is left where it is negative."""
        async with self._turn:
            start = self._position
            end = self._ahead.size if size < 0 else start + size
            gap = self._ahead.missing(start, end)
            if gap is not None:
                self._ahead.keep(gap[0], await self._fetching.fetch(*gap, self._ahead.so_far))
            data = self._ahead.take(start, end)
            self._position = start + len(data)
            return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position of the next read; not awaited, for it asks nothing of the store."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._ahead.size}.get(whence)
        if base is None:
            raise ValueError(f"whence must be 0, 1 or 2, not {whence}")
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}, before the beginning")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    async def close(self) -> None:
        self._ahead.drop()
        await self._fetching.drop()

    async def __aenter__(self) -> AsyncArtifactReader:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncArtifactWriter:
    """A binary file that becomes a version when it is closed, and nothing at all when it is discarded or forgotten.

    In an ``async with`` block an exception discards; so does a `close` while one is being handled that was not when the
    writer was made.

    Attributes:
        record: the version's record, once closed.
    """

    def __init__(
        self,
        backend: Backend,
        save: Callable[[bytes], Coroutine[Any, Any, Blob]],
        stream: Callable[[bytes], Steps[Blob]],
    ) -> None:
        self._backend, self._save, self._stream = backend, save, stream
        self._held = bytearray()
        self._upload: Upload | None = None
        self._size = 0
        self._steps: Steps[Blob] | None = None
        self._answered: tuple[Any, ...] = ()
        self._passing = Passing()
        self._live = True
        self._process = os.getpid()
        self.record: Blob | None = None

    def tell(self) -> int:
        return self._size

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append *data*: any length."""
        if not self._live:
            raise ValueError("write to a closed artifact")
        view = memoryview(data)
        view = view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())
        for at in range(0, len(view), BUFFER):  # never more is held, however much is written at once
            self._held += view[at : at + BUFFER]
            self._size += len(view[at : at + BUFFER])
            if self._steps is not None:
                if len(self._held) >= BUFFER:
                    await self._go((*self._answered, self._taken()), None)
            elif len(self._held) > WHOLE_LIMIT:
                self._steps = self._stream(bytes(self._held[:HEAD_BYTES]))
                await self._go(None, None)
                begun = memoryview(self._taken())
                for place in range(0, len(begun), BUFFER):
                    await self._go((*self._answered, begun[place : place + BUFFER]), None)
        return len(view)

    def _taken(self) -> bytearray:
        """What was written and not sent yet, which is given away by this."""
        data, self._held = self._held, bytearray()
        return data

    async def close(self) -> None:
        """Publish, unless an exception is on its way or a write has failed; then discard."""
        if self._passing.now():
            await self.discard()
        self._passing.forget()
        if not self._live:
            return
        if self._steps is not None:
            if self._held:
                await self._go((*self._answered, self._taken()), None)
            await self._go((*self._answered, b""), None)
        else:
            self._live = False
            self.record = await self._save(bytes(self._taken()))
        self._live = False

    async def discard(self) -> None:
        """Close without saving: nothing is published, and what was sent is dropped."""
        if not self._live:
            return
        self._live = False
        self._held.clear()
        if self._steps is not None:
            try:
                await to_its_end(asyncio.ensure_future(self._go(None, Discarded())))
            except Discarded:
                pass

    async def _go(self, answers: tuple[Any, ...] | None, error: BaseException | None) -> None:
        """Run the protocol until it wants the next piece, or has ended. One that failed is over.

        One that was cancelled cleans up to the end, however often it is.
        """
        assert self._steps is not None
        while True:
            try:
                batch = self._steps.send(answers) if error is None else self._steps.throw(error)
            except StopIteration as stop:
                self.record = stop.value
                return
            except BaseException:
                self._live = False
                raise
            answers, error = None, None
            try:
                if isinstance(batch[-1], Pull):
                    self._answered = await aperform(batch[:-1], self._backend, None) if len(batch) > 1 else ()
                    return
                if isinstance(batch[0], Rewind):
                    answers = (False,)
                else:
                    answers = await aperform(batch, self._backend, None)
                    if isinstance(batch[0], Begin):
                        self._upload = answers[0]
            except asyncio.CancelledError as cancelled:
                await to_its_end(asyncio.ensure_future(self._go(None, cancelled)))
                return
            except BaseException as raised:  # noqa: BLE001  (the generator cleans up after anything)
                error = raised

    def __del__(self) -> None:
        if not getattr(self, "_live", False):
            return
        self._live = False
        if self._process != os.getpid():  # a forked child's copy
            return
        if self._steps is not None:
            self._steps.close()
        if self._upload is not None:
            drop(self._backend, self._upload)
        warnings.warn("an artifact was written to and not closed; it was discarded", ResourceWarning, stacklevel=2)

    async def __aenter__(self) -> AsyncArtifactWriter:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            await self.discard()
        await self.close()
