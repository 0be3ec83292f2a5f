"""Running protocol generators against a backend, from ordinary code and from an event loop.

The operations of a batch are independent: on a network they are sent at once, on a disk or in memory one after the other,
which is faster there. Where a backend's coroutines may run is its own say (`Backend.placement`).
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from artifactfs.backends.base import SUSPENDING, Backend, Upload
from artifactfs.codecs.base import Bytes
from artifactfs.protocol.ops import Batch, Emit, Lazy, Op, Pull, Rewind, Steps
from artifactfs.visiting import all_of, avisit, one_of, visit
from artifactfs.waiting import in_thread, result_of, to_its_end

T = TypeVar("T")

TURN = 0.05
"""Seconds for which steps have a worker thread, of which there are few, before others that wait for one get it."""


class Source(Protocol):
    """The stream that is being saved, for ordinary code."""

    def pull(self) -> Bytes:
        """The next piece, or ``b""`` at the end."""
        ...

    def rewind(self) -> bool:
        """Go back to the beginning; False where that is not possible."""
        ...


class AsyncSource(Protocol):
    """The stream that is being saved, for code on an event loop."""

    async def pull(self) -> Bytes: ...

    async def rewind(self) -> bool: ...


def run(steps: Steps[T], backend: Backend, source: Source | None = None) -> T:
    """Run *steps* to their end and return their result. Blocks; not for the event loop's own thread."""
    if source is None and backend.placement not in SUSPENDING:
        return _finish(_here(steps, backend))
    if source is None:
        return visit(steps, backend, home_from_outside())
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
        return call(backend, lambda: all_of(batch, backend))
    return _finish(_in_turn(batch, backend))


def call(backend: Backend, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run one coroutine of *backend* where it belongs, and wait for its end, also when interrupted."""
    if backend.placement not in SUSPENDING:
        return _finish(make())
    home = home_from_outside()
    return result_of(asyncio.run_coroutine_threadsafe(make(), home))


def home_from_outside() -> asyncio.AbstractEventLoop:
    """`get_home_loop`, for whoever waits for it: on its own thread that would be for ever."""
    home = get_home_loop()
    if asyncio._get_running_loop() is home:
        raise RuntimeError(
            "a store was called from fsspec's own event loop, which it needs: use AsyncArtifactStore there"
        )
    return home


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


async def _here(steps: Steps[T], backend: Backend) -> T:
    """`run`, where no operation suspends: one coroutine for all of them costs less than one for each."""
    answers: tuple[Any, ...] | None = None
    error: BaseException | None = None
    while True:
        try:
            batch = steps.send(answers) if error is None else steps.throw(error)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        try:
            here = isinstance(batch[0], Op)
            answers = await _in_turn(batch, backend) if here else perform(batch, backend, None)
            error = None
        except BaseException as raised:  # noqa: BLE001  (as in `_answer`)
            answers, error = None, raised


async def _in_turn(batch: Batch, backend: Backend) -> tuple[Any, ...]:
    if len(batch) == 1:
        return (await one_of(batch[0], backend),)
    return tuple([await one_of(op, backend) for op in batch])


async def arun(steps: Steps[T], backend: Backend, source: AsyncSource | None = None) -> T:
    """As `run`, from an event loop, which is never blocked."""
    if source is None and backend.placement == "inline":
        return await _here(steps, backend)
    if source is None and backend.placement == "thread":
        return await _in_threads(steps, backend)
    if source is None:
        home = asyncio.get_running_loop() if backend.placement == "any" else get_home_loop()
        return await avisit(steps, backend, home)
    return await _pulling(steps, backend, source, None)


async def _pulling(steps: Steps[T], backend: Backend, source: AsyncSource | None, error: BaseException | None) -> T:
    """`arun` with a source, from *error* on. Steps that were cancelled clean up to the end, however often they are."""
    answers: tuple[Any, ...] | None = None
    while True:
        try:
            batch = steps.send(answers) if error is None else steps.throw(error)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        answers, error = await _aanswer(batch, backend, source)
        if isinstance(error, asyncio.CancelledError):
            return await to_its_end(asyncio.ensure_future(_pulling(steps, backend, source, error)))


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
        return await acall(backend, lambda: all_of(batch, backend))
    if backend.placement == "inline":
        return perform(batch, backend, None)
    return await in_thread(lambda: perform(batch, backend, None))


class _Turns(Generic[T]):
    """Steps that worker threads run, many operations to a hop, which takes longer than most operations do.

    `stop` is what cancelled the caller. It is thrown into the steps where the answers of the batch under way would have
    gone, once: whoever is cancelled, however often, waits for that batch, and for what the steps do to clean up.
    """

    def __init__(self, steps: Steps[T], backend: Backend) -> None:
        self.steps, self.backend = steps, backend
        self.answers: tuple[Any, ...] | None = None
        self.error: BaseException | None = None
        self.stop: BaseException | None = None
        self.stopped = False
        self.result: tuple[T] | None = None

    def take(self) -> None:
        """Run the steps to their end, or for a while, so that what waits for a thread gets one."""
        end = time.monotonic() + TURN
        while True:
            error = self.error
            # Set by the caller's thread, perhaps at this moment: so it is never taken unseen.
            if self.stop is not None and not self.stopped:
                error, self.stop, self.stopped = self.stop, None, True
            try:
                batch = self.steps.send(self.answers) if error is None else self.steps.throw(error)
            except StopIteration as stop:
                self.result = (stop.value,)
                return
            self.answers, self.error = _answer(batch, self.backend, None)
            if time.monotonic() > end:
                return


async def _in_threads(steps: Steps[T], backend: Backend) -> T:
    """`run` in worker threads, which see the caller's context variables."""
    turns = _Turns(steps, backend)
    take = partial(contextvars.copy_context().run, turns.take)
    while turns.result is None:
        turn = asyncio.get_running_loop().run_in_executor(None, take)
        while not turn.done():
            try:
                await asyncio.wait([turn])
            except asyncio.CancelledError as error:
                turns.stop = error
            except GeneratorExit as error:  # the caller is gone, with its loop: nobody is there to go on for
                turns.stop = error
                turn.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody else will look
                raise
        if turn.exception() is not None or turns.result is not None:
            if turns.stop is not None:
                raise turns.stop
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
