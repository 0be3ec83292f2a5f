"""The operations that the protocol is written in: plain values, each saying which call of a backend it is.

A protocol generator is a `Steps[T]`: it yields batches of operations, gets a tuple of their answers back, and returns a
T. A failed operation is thrown into it as an error of `artifactfs.errors`, once the whole batch has ended.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from artifactfs.backends.base import Backend, Got, Page, Stat, Unfinished, Upload, Written

T = TypeVar("T")


class Op:
    """An operation on the store below."""

    __slots__ = ()

    async def perform(self, backend: Backend) -> Any:
        raise NotImplementedError


Batch: TypeAlias = tuple["Op | Pull | Rewind | Emit[Any]", ...]
Steps: TypeAlias = Generator[Batch, Any, T]
Lazy: TypeAlias = Generator[tuple["Op | Pull | Rewind | Emit[T]", ...], Any, None]
"""As `Steps`, for a result that is emitted item by item."""


@dataclass(frozen=True, slots=True)
class Create(Op):
    key: str
    data: bytes
    content_type: str

    async def perform(self, backend: Backend) -> Written:
        return await backend.create(self.key, self.data, self.content_type)


@dataclass(frozen=True, slots=True)
class Put(Op):
    key: str
    data: bytes
    content_type: str
    once: bool = False

    async def perform(self, backend: Backend) -> Written:
        return await backend.put(self.key, self.data, self.content_type, once=self.once)


@dataclass(frozen=True, slots=True)
class Replace(Op):
    key: str
    data: bytes
    content_type: str
    tag: str

    async def perform(self, backend: Backend) -> Written:
        return await backend.replace(self.key, self.data, self.content_type, self.tag)


@dataclass(frozen=True, slots=True)
class Get(Op):
    key: str
    start: int = 0
    end: int | None = None

    async def perform(self, backend: Backend) -> Got | None:
        return await backend.get(self.key, self.start, self.end)


@dataclass(frozen=True, slots=True)
class List(Op):
    folder: str
    after: str = ""
    deep: bool = False
    limit: int = 1000

    async def perform(self, backend: Backend) -> Page:
        return await backend.list(self.folder, self.after, deep=self.deep, limit=self.limit)


@dataclass(frozen=True, slots=True)
class StatOf(Op):
    key: str

    async def perform(self, backend: Backend) -> Stat | None:
        return await backend.stat(self.key)


@dataclass(frozen=True, slots=True)
class Delete(Op):
    keys: tuple[str, ...]

    async def perform(self, backend: Backend) -> None:
        await backend.delete(self.keys)


@dataclass(frozen=True, slots=True)
class Now(Op):
    async def perform(self, backend: Backend) -> float:
        return await backend.now()


@dataclass(frozen=True, slots=True)
class Sign(Op):
    key: str
    seconds: int

    async def perform(self, backend: Backend) -> str:
        return await backend.sign(self.key, self.seconds)


@dataclass(frozen=True, slots=True)
class ListUnfinished(Op):
    folder: str

    async def perform(self, backend: Backend) -> Sequence[Unfinished]:
        return await backend.unfinished(self.folder)


@dataclass(frozen=True, slots=True)
class Discard(Op):
    upload: Unfinished

    async def perform(self, backend: Backend) -> None:
        await backend.discard(self.upload)


@dataclass(frozen=True, slots=True)
class Begin(Op):
    """Begin a streamed create; the answer is the `Upload` that the three below take.

    It is in `begun` as well, for a caller that was interrupted and never saw the answer.
    """

    key: str
    content_type: str
    begun: list[Upload] = field(default_factory=list, compare=False)

    async def perform(self, backend: Backend) -> Upload:
        self.begun.append(await backend.upload(self.key, self.content_type))
        return self.begun[-1]


@dataclass(frozen=True, slots=True)
class Part(Op):
    upload: Upload
    data: bytes

    async def perform(self, backend: Backend) -> None:
        await self.upload.write(self.data)


@dataclass(frozen=True, slots=True)
class Commit(Op):
    upload: Upload

    async def perform(self, backend: Backend) -> Written:
        return await self.upload.commit()


@dataclass(frozen=True, slots=True)
class Abort(Op):
    upload: Upload

    async def perform(self, backend: Backend) -> None:
        await self.upload.abort()


@dataclass(frozen=True, slots=True)
class Pull:
    """Not for the store: the next piece of the stream that is being saved; ``b""`` at its end."""


@dataclass(frozen=True, slots=True)
class Rewind:
    """Not for the store: go back to the beginning of the stream. The answer is False where it cannot be had again."""


@dataclass(frozen=True, slots=True)
class Emit(Generic[T]):
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
