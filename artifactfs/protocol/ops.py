"""The operations that the protocol is written in: plain values, each saying which call of a backend it is.

A protocol generator is a `Steps[T]`: it yields batches of operations, gets a tuple of their answers back, and returns a
T. A failed operation is thrown into it as an error of `artifactfs.errors`, once the whole batch has ended.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from artifactfs.backends.base import Backend, Got, Page, Stat, Unfinished, Upload, Written
from artifactfs.codecs.base import Bytes

T = TypeVar("T")


class Op:
    """An operation on the store below.

    Those of this module are structs: a save makes some, and a frozen dataclass takes several times as long to make.
    """

    __slots__ = ()

    def perform(self, backend: Backend) -> Coroutine[Any, Any, Any]:
        """A coroutine of *backend* that does it; nothing is done before it is awaited."""
        raise NotImplementedError


Batch: TypeAlias = tuple["Op | Pull | Rewind | Emit[Any]", ...]
Steps: TypeAlias = Generator[Batch, Any, T]
Lazy: TypeAlias = Generator[tuple["Op | Pull | Rewind | Emit[T]", ...], Any, None]
"""As `Steps`, for a result that is emitted item by item."""


class Create(Op, msgspec.Struct, frozen=True, gc=False):
    key: str
    data: bytes
    content_type: str

    def perform(self, backend: Backend) -> Coroutine[Any, Any, Written]:
        return backend.create(self.key, self.data, self.content_type)


class Put(Op, msgspec.Struct, frozen=True):
    key: str
    data: bytes
    content_type: str
    once: bool = False

    def perform(self, backend: Backend) -> Coroutine[Any, Any, Written]:
        return backend.put(self.key, self.data, self.content_type, once=self.once)


class Replace(Op, msgspec.Struct, frozen=True):
    key: str
    data: bytes
    content_type: str
    tag: str

    def perform(self, backend: Backend) -> Coroutine[Any, Any, Written]:
        return backend.replace(self.key, self.data, self.content_type, self.tag)


class Get(Op, msgspec.Struct, frozen=True, gc=False):
    key: str
    start: int = 0
    end: int | None = None

    def perform(self, backend: Backend) -> Coroutine[Any, Any, Got | None]:
        return backend.get(self.key, self.start, self.end)


class List(Op, msgspec.Struct, frozen=True):
    """With *newest* nothing but a folder is given (`Backend.list`)."""

    folder: str
    after: str = ""
    deep: bool = False
    limit: int = 1000
    newest: bool = False

    def perform(self, backend: Backend) -> Coroutine[Any, Any, Page]:
        if self.newest:
            return backend.list(self.folder, newest=True)
        return backend.list(self.folder, self.after, deep=self.deep, limit=self.limit)


class StatOf(Op, msgspec.Struct, frozen=True):
    key: str

    def perform(self, backend: Backend) -> Coroutine[Any, Any, Stat | None]:
        return backend.stat(self.key)


class Delete(Op, msgspec.Struct, frozen=True):
    keys: tuple[str, ...]

    def perform(self, backend: Backend) -> Coroutine[Any, Any, None]:
        return backend.delete(self.keys)


class Now(Op, msgspec.Struct, frozen=True):
    def perform(self, backend: Backend) -> Coroutine[Any, Any, float]:
        return backend.now()


class Sign(Op, msgspec.Struct, frozen=True):
    key: str
    seconds: int

    def perform(self, backend: Backend) -> Coroutine[Any, Any, str]:
        return backend.sign(self.key, self.seconds)


class ListUnfinished(Op, msgspec.Struct, frozen=True):
    folder: str

    def perform(self, backend: Backend) -> Coroutine[Any, Any, Sequence[Unfinished]]:
        return backend.unfinished(self.folder)


class Discard(Op, msgspec.Struct, frozen=True):
    upload: Unfinished

    def perform(self, backend: Backend) -> Coroutine[Any, Any, None]:
        return backend.discard(self.upload)


class Begin(Op, msgspec.Struct, frozen=True):
    """Begin a streamed create; the answer is the `Upload` that the three below take.

    It is in `begun` as well, for a caller that was interrupted and never saw the answer.
    """

    key: str
    content_type: str
    begun: list[Upload] = msgspec.field(default_factory=list)

    async def perform(self, backend: Backend) -> Upload:
        self.begun.append(await backend.upload(self.key, self.content_type))
        return self.begun[-1]


class Part(Op, msgspec.Struct, frozen=True):
    upload: Upload
    data: Bytes

    def perform(self, backend: Backend) -> Coroutine[Any, Any, None]:
        return self.upload.write(self.data)


class Commit(Op, msgspec.Struct, frozen=True):
    upload: Upload

    def perform(self, backend: Backend) -> Coroutine[Any, Any, Written]:
        return self.upload.commit()


class Abort(Op, msgspec.Struct, frozen=True):
    upload: Upload

    def perform(self, backend: Backend) -> Coroutine[Any, Any, None]:
        return self.upload.abort()


class Pull(msgspec.Struct, frozen=True):
    """Not for the store: the next piece of the stream that is being saved; ``b""`` at its end."""


class Rewind(msgspec.Struct, frozen=True):
    """Not for the store: go back to the beginning of the stream. The answer is False where it cannot be had again."""


class Emit(msgspec.Struct, Generic[T], frozen=True):
    """Not for the store: an item of a lazy result, handed to the caller at once. The answer is None."""

    item: T


def together(*steps: Steps[Any]) -> Steps[tuple[Any, ...]]:
    """Run several generators at once, joining their batches; their results in order.

    None of them may yield `Pull`, `Rewind` or `Emit`. Where one fails, the others are closed and its error is raised.
    """
    results: list[Any] = [None] * len(steps)
    waiting: dict[int, Batch] = {}
    try:
        for place, one in enumerate(steps):
            _advance(one, None, place, waiting, results)
        while waiting:
            places = sorted(waiting)
            batches = [waiting[place] for place in places]
            waiting = {}
            answers = yield tuple(op for batch in batches for op in batch)
            for place, batch in zip(places, batches, strict=True):
                _advance(steps[place], answers[: len(batch)], place, waiting, results)
                answers = answers[len(batch) :]
    finally:
        for one in steps:
            one.close()
    return tuple(results)


def _advance(one: Steps[Any], answers: Any, place: int, waiting: dict[int, Batch], results: list[Any]) -> None:
    try:
        waiting[place] = one.send(answers)
    except StopIteration as stop:
        results[place] = stop.value
