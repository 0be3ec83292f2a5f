"""What may be saved: bytes, text, a file by its path, a file object, or pieces that come one after the other.

Whatever it is becomes a source of pieces. Its beginning is read first: what ends there is saved whole, with a known
digest; only what is longer is streamed.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, BinaryIO, TypeAlias

from artifactfs.backends.base import WHOLE_LIMIT
from artifactfs.codecs.base import Bytes
from artifactfs.errors import InvalidMetadata
from artifactfs.mime import HEAD_BYTES
from artifactfs.waiting import in_thread

PIECE = 1024 * 1024
"""Bytes that a stream is sent in at a time."""

Payload: TypeAlias = "bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryIO | Iterable[bytes]"
AsyncPayload: TypeAlias = "Payload | AsyncIterable[bytes]"

_END = object()


def plain(data: Any) -> bytes | memoryview | None:
    """The bytes of *data* where it holds them: bytes-like, or text as UTF-8; None for what is to be read."""
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        try:
            return data.encode()
        except UnicodeEncodeError as error:
            raise InvalidMetadata(f"text with a lone surrogate has no UTF-8 form: {data[:40]!r}") from error
    if isinstance(data, os.PathLike):
        return None
    try:
        view = memoryview(data)
    except TypeError:
        return None
    return view.cast("B") if view.c_contiguous and view.nbytes else view.tobytes()


class PieceSource:
    """Pieces of *data*, from its beginning again where it has one: bytes, a path, a file that can seek."""

    def __init__(self, data: Any) -> None:
        self._held = plain(data)
        self._open = _opener(data)
        self._pieces: Iterator[bytes] | None = None
        self._unread: deque[Bytes] = deque()

    @property
    def in_memory(self) -> bool:
        """Whether no piece has to be waited for."""
        return self._held is not None

    def head(self) -> tuple[bytes, bool]:
        """All of it and True, if that is at most `WHOLE_LIMIT` bytes; else its first bytes, which `pull` gives again."""
        if self._held is not None and len(self._held) <= WHOLE_LIMIT:
            return bytes(self._held), True
        if self._open.surely_long():
            first = self.pull()
            self._unread.append(first)
            return bytes(first[:HEAD_BYTES]), False
        held = bytearray()
        while len(held) <= WHOLE_LIMIT:
            piece = self.pull()
            if not piece:
                return bytes(held), True
            held += piece
        self._unread.extend(_cut(held))
        return bytes(held[:HEAD_BYTES]), False

    def pull(self) -> Bytes:
        """The next `PIECE` bytes or a little more, of however many pieces; fewer at the end, and then none."""
        if self._unread:
            return self._unread.popleft()
        if self._pieces is None:
            self._pieces = self._open()
        gathered = bytearray()
        for piece in self._pieces:
            data = _checked(piece)
            if not gathered and len(data) >= PIECE:
                return data
            gathered += data
            if len(gathered) >= PIECE:
                break
        return bytes(gathered)

    def rewind(self) -> bool:
        if not getattr(self._open, "again", False):
            return False
        self._pieces = None
        self._unread.clear()
        return True


class AsyncPieceSource:
    """As `PieceSource` for code on an event loop: an asynchronous iterable is awaited, any other read in a thread."""

    def __init__(self, data: Any) -> None:
        self._stream: AsyncIterator[bytes] | None = None
        self._inner: PieceSource | None = None
        self._unread: deque[Bytes] = deque()
        if isinstance(data, AsyncIterable):
            self._stream = aiter(data)
        else:
            self._inner = PieceSource(data)

    async def head(self) -> tuple[bytes, bool]:
        if self._inner is not None:
            return self._inner.head() if self._inner.in_memory else await in_thread(self._inner.head)
        held = bytearray()
        while len(held) <= WHOLE_LIMIT:
            piece = await self.pull()
            if not piece:
                return bytes(held), True
            held += piece
        self._unread.extend(_cut(held))
        return bytes(held[:HEAD_BYTES]), False

    async def pull(self) -> Bytes:
        if self._inner is not None:
            return self._inner.pull() if self._inner.in_memory else await in_thread(self._inner.pull)
        assert self._stream is not None
        if self._unread:
            return self._unread.popleft()
        gathered = bytearray()
        async for piece in self._stream:
            data = _checked(piece)
            if not gathered and len(data) >= PIECE:
                return data
            gathered += data
            if len(gathered) >= PIECE:
                break
        return bytes(gathered)

    async def rewind(self) -> bool:
        return self._inner is not None and self._inner.rewind()


class _Opener:
    """Gives an iterator of pieces; `again` says that a second one starts from the same beginning."""

    def __init__(self, make: Callable[[], Iterator[Any]], *, again: bool, path: os.PathLike[str] | None = None) -> None:
        self.make, self.again, self._path = make, again, path

    def surely_long(self) -> bool:
        """Whether it is a file of more than `WHOLE_LIMIT` bytes: then its beginning need not be held to know that."""
        try:
            return self._path is not None and os.stat(self._path).st_size > WHOLE_LIMIT
        except OSError:
            return False  # opening it says why

    def __call__(self) -> Iterator[Any]:
        return self.make()


def _opener(data: Any) -> _Opener:
    if isinstance(data, AsyncIterable):
        raise TypeError("an asynchronous iterable can be saved only by AsyncArtifactStore")
    held = plain(data)
    if held is not None:
        view = memoryview(held)
        return _Opener(lambda: iter(_cut(view)), again=True)
    if isinstance(data, os.PathLike):
        return _Opener(lambda: _of_path(data), again=True, path=data)
    if hasattr(data, "read"):
        start = data.tell() if hasattr(data, "seekable") and data.seekable() else None
        return _Opener(lambda: _of_file(data, start), again=start is not None)
    if isinstance(data, Iterable) and not isinstance(data, dict):
        return _Opener(lambda: iter(data), again=False)
    raise TypeError(
        f"cannot save a {type(data).__name__}: give bytes, text, an os.PathLike, a binary file or an iterable of bytes"
    )


def _cut(data: bytearray | memoryview) -> list[memoryview]:
    """The pieces of what is held."""
    view = memoryview(data)
    return [view[at : at + PIECE] for at in range(0, len(view), PIECE)]


def _of_path(path: os.PathLike[str]) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(PIECE):
            yield piece


def _of_file(file: BinaryIO, start: int | None) -> Iterator[bytes]:
    if start is not None:
        file.seek(start)
    while piece := file.read(PIECE):
        yield piece
    if piece is None:
        raise BlockingIOError(
            "the file to save has nothing to read yet, and is not at its end: open it in blocking mode"
        )


def _checked(piece: Any) -> bytes:
    if isinstance(piece, bytes):
        return piece
    if isinstance(piece, str):
        raise TypeError("the stream gives text, not bytes: open the file in binary mode, or encode the pieces")
    try:
        return bytes(memoryview(piece))
    except TypeError:
        raise TypeError(f"the stream gives a {type(piece).__name__}, not bytes") from None
