"""Running protocol generators against a backend, from ordinary code and from an event loop.

The operations of a batch are independent: on a network they are sent at once, on a disk or in memory one after the other,
which is faster there. Where a backend's coroutines may run is its own say (`Backend.placement`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Generic, Protocol, TypeVar

from artifactfs.backends.base import SUSPENDING, Backend, Upload
from artifactfs.protocol.ops import Batch, Emit, Lazy, Op, Pull, Rewind, Steps
from artifactfs.waiting import in_thread, result_of, to_its_end

T = TypeVar("T")

IN_FLIGHT = 64
"""Operations of one batch that are sent at the same time."""

TURN = 0.05
"""Seconds for which steps have a worker thread, of which there are few, before others that wait for one get it."""


class Source(Protocol):
    """The stream that is being saved, for ordinary code."""

    def pull(self) -> bytes:
        """The next piece, or ``b""`` at the end."""
        ...

    def rewind(self) -> bool:
        """Go back to the beginning; False where that is not possible."""
        ...


class AsyncSource(Protocol):
    """The stream that is being saved, for code on an event loop."""

    async def pull(self) -> bytes: ...

    async def rewind(self) -> bool: ...


def run(steps: Steps[T], backend: Backend, source: Source | None = None) -> T:
    """Run *steps* to their end and return their result. Blocks; not for the event loop's own thread."""
    answers: tuple[Any, ...] | None = None
    error: BaseException | None = None
    while True:
        try:
            batch = steps.send(answers) if error is None else steps.throw(error)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        answers, error = _answer(batch, backend, source)


def iterate(steps: Lazy[T], backend: Backend) -> Iterator[T]:
    """Run *steps*, yielding what they emit as soon as they do; nothing more is asked of the store than was needed."""
    answers: tuple[Any, ...] | None = None
    error: BaseException | None = None
    try:
        while True:
            try:
                batch = steps.send(answers) if error is None else steps.throw(error)
            except StopIteration:
                return
            if isinstance(batch[0], Emit):
                answers = (None,)
                yield batch[0].item
            else:
                answers, error = _answer(batch, backend, None)
    finally:
        steps.close()


def _answer(
    batch: Batch, backend: Backend, source: Source | None
) -> tuple[tuple[Any, ...] | None, BaseException | None]:
    """The answers to *batch*, or the error to throw: a generator cleans up after anything, an interrupt included."""
    try:
        return perform(batch, backend, source), None
    except BaseException as error:  # noqa: BLE001
        return None, error


def perform(batch: Batch, backend: Backend, source: Source | None) -> tuple[Any, ...]:
    """The answers to *batch*."""
    if source is not None or not isinstance(batch[0], Op):
        if len(batch) == 2 and isinstance(batch[1], Pull) and source is not None:
            return perform(batch[:1], backend, None)[0], source.pull()
        if isinstance(batch[0], Pull):
            assert source is not None
            return (source.pull(),)
        if isinstance(batch[0], Rewind):
            return (source is not None and source.rewind(),)
    if backend.placement in SUSPENDING:
        return call(backend, lambda: _all(batch, backend))
    return tuple([_finish(op.perform(backend)) for op in batch])  # type: ignore[union-attr]


def call(backend: Backend, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run one coroutine of *backend* where it belongs, and wait for its end, also when interrupted."""
    if backend.placement not in SUSPENDING:
        return _finish(make())
    home = get_home_loop()
    if asyncio._get_running_loop() is home:
        raise RuntimeError(
            "a store was called from fsspec's own event loop, which it needs: use AsyncArtifactStore there"
        )
    return result_of(asyncio.run_coroutine_threadsafe(make(), home))


def get_home_loop() -> asyncio.AbstractEventLoop:
    """The loop on which backends of placement "loop" live, and those of placement "any" for ordinary code."""
    from fsspec.asyn import get_loop

    loop: asyncio.AbstractEventLoop = get_loop()
    return loop


def drop(backend: Backend, upload: Upload) -> None:
    """Abort *upload* without waiting for a network: for a garbage collector, which may run anywhere."""
    if backend.placement in SUSPENDING:
        asyncio.run_coroutine_threadsafe(upload.abort(), get_home_loop())
    else:
        _finish(upload.abort())


def _finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    coroutine.close()
    raise RuntimeError("a backend of placement 'inline' or 'thread' suspended; its placement should be 'loop'")


def _one(op: Any, backend: Backend) -> Coroutine[Any, Any, Any]:
    assert isinstance(op, Op)
    return op.perform(backend)


async def _all(batch: Batch, backend: Backend) -> tuple[Any, ...]:
    """Every operation is let end before an error is raised: none goes on unseen behind its caller's back."""
    if len(batch) == 1:
        return (await _one(batch[0], backend),)
    answers: list[Any] = []
    for start in range(0, len(batch), IN_FLIGHT):
        some = batch[start : start + IN_FLIGHT]
        answers += await asyncio.gather(*(_one(op, backend) for op in some), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return tuple(answers)


async def arun(steps: Steps[T], backend: Backend, source: AsyncSource | None = None) -> T:
    """As `run`, from an event loop, which is never blocked."""
    if source is None and backend.placement == "inline":
        return run(steps, backend)
    if source is None and backend.placement == "thread":
        return await _in_threads(steps, backend)
    answers: tuple[Any, ...] | None = None
    error: BaseException | None = None
    while True:
        try:
            batch = steps.send(answers) if error is None else steps.throw(error)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        answers, error = await _aanswer(batch, backend, source)


async def aiterate(steps: Lazy[T], backend: Backend) -> AsyncIterator[T]:
    """As `iterate`, from an event loop."""
    answers: tuple[Any, ...] | None = None
    error: BaseException | None = None
    try:
        while True:
            try:
                batch = steps.send(answers) if error is None else steps.throw(error)
            except StopIteration:
                return
            if isinstance(batch[0], Emit):
                answers = (None,)
                yield batch[0].item
            else:
                answers, error = await _aanswer(batch, backend, None)
    finally:
        steps.close()


async def _aanswer(
    batch: Batch, backend: Backend, source: AsyncSource | None
) -> tuple[tuple[Any, ...] | None, BaseException | None]:
    try:
        return await aperform(batch, backend, source), None
    except BaseException as error:  # noqa: BLE001
        return None, error


async def aperform(batch: Batch, backend: Backend, source: AsyncSource | None) -> tuple[Any, ...]:
    if len(batch) == 2 and isinstance(batch[1], Pull) and source is not None:
        return await _meanwhile(asyncio.ensure_future(aperform(batch[:1], backend, None)), source)
    if isinstance(batch[0], Pull):
        assert source is not None
        return (await source.pull(),)
    if isinstance(batch[0], Rewind):
        return (source is not None and await source.rewind(),)
    if backend.placement in SUSPENDING:
        return await acall(backend, lambda: _all(batch, backend))
    if backend.placement == "inline":
        return perform(batch, backend, None)
    return await in_thread(lambda: perform(batch, backend, None))


class _Turns(Generic[T]):
    """Steps that worker threads run, many operations to a hop, which takes longer than most operations do.

    `cancelled` is thrown into the steps where the answers of the batch under way would have gone: whoever is cancelled
    waits for that batch, and for what the steps do to clean up.
    """

    def __init__(self, steps: Steps[T], backend: Backend) -> None:
        self.steps, self.backend = steps, backend
        self.answers: tuple[Any, ...] | None = None
        self.error: BaseException | None = None
        self.cancelled: asyncio.CancelledError | None = None
        self.result: tuple[T] | None = None

    def take(self) -> None:
        """Run the steps to their end, or for a while, so that what waits for a thread gets one."""
        end = time.monotonic() + TURN
        while time.monotonic() < end:
            cancelled, self.cancelled = self.cancelled, None
            error = cancelled or self.error
            try:
                batch = self.steps.send(self.answers) if error is None else self.steps.throw(error)
            except StopIteration as stop:
                self.result = (stop.value,)
                return
            self.answers, self.error = _answer(batch, self.backend, None)


async def _in_threads(steps: Steps[T], backend: Backend) -> T:
    """`run` in worker threads."""
    turns = _Turns(steps, backend)
    while turns.result is None:
        turn = asyncio.get_running_loop().run_in_executor(None, turns.take)
        while not turn.done():
            try:
                await asyncio.wait([turn])
            except asyncio.CancelledError as error:
                turns.cancelled = error
        if turn.exception() is not None or turns.result is not None:
            if turns.cancelled is not None:
                raise turns.cancelled
            turn.result()
    return turns.result[0]


async def _meanwhile(part: asyncio.Future[tuple[Any, ...]], source: AsyncSource) -> tuple[Any, ...]:
    """Pull the next piece while *part* is sent; whatever happens to the one, the other is let end."""
    try:
        piece = await source.pull()
    except BaseException:
        try:
            await to_its_end(part)
        except Exception:  # noqa: BLE001  (the source failed first)
            pass
        raise
    return (await to_its_end(part))[0], piece


async def acall(backend: Backend, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """As `call`, from an event loop. A caller that is cancelled waits until what it began has ended."""
    if backend.placement == "inline":
        return await make()
    if backend.placement == "thread":
        return await in_thread(lambda: _finish(make()))
    if backend.placement == "any":
        return await to_its_end(asyncio.ensure_future(make()))
    home = get_home_loop()
    if home is asyncio.get_running_loop():
        return await to_its_end(asyncio.ensure_future(make()))
    return await to_its_end(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(make(), home)))
