"""Running steps on the loop where their backend lives, for callers who are elsewhere.

A hop to another thread and back takes as long as many a small answer, so steps stay there from one batch to the next. They
come back when they have ended, or with answers that take a while to look at: all requests of the process share that loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from artifactfs.backends.base import Backend, Got, Stat, Written
from artifactfs.protocol.ops import Batch, Op, Steps

T = TypeVar("T")

IN_FLIGHT = 64
"""Operations of one batch that are sent at the same time."""

LIGHT = 64 * 1024
"""Bytes of objects that are looked at on the loop: at most some hundred microseconds of hashing."""


async def all_of(batch: Batch, backend: Backend) -> tuple[Any, ...]:
    """Every operation is let end before an error is raised: none goes on unseen behind its caller's back."""
    if len(batch) == 1:
        return (await one_of(batch[0], backend),)
    answers: list[Any] = []
    for start in range(0, len(batch), IN_FLIGHT):
        some = batch[start : start + IN_FLIGHT]
        answers += await asyncio.gather(*(one_of(op, backend) for op in some), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return tuple(answers)


def one_of(op: Any, backend: Backend) -> Coroutine[Any, Any, Any]:
    assert isinstance(op, Op)
    return op.perform(backend)


class Visit(Generic[T]):
    """Steps, and how far they have come. They are on one thread at a time: their caller's, or the loop's.

    `stop` is what interrupted or cancelled the caller. It is thrown into the steps where the answers of the batch under
    way would have gone: whoever is stopped waits for that batch, and for what the steps do to clean up. Where the steps
    ended first, it is raised instead of their result. That happens once: steps that were `stopped` have all answered that
    they ask for, however often the caller is cancelled meanwhile.
    """

    def __init__(self, steps: Steps[T], backend: Backend) -> None:
        self.steps, self.backend = steps, backend
        self.batch: Batch = ()
        self.answers: tuple[Any, ...] | None = None
        self.error: BaseException | None = None
        self.stop: BaseException | None = None
        self.stopped = False
        self.result: tuple[T] | None = None
        self.ended = False
        self.under_way: asyncio.Task[None] | None = None

    def advance(self) -> None:
        """Give the steps what answers their batch, and take the next batch, or their end."""
        answers, error = self.answers, self.error
        # Set by the caller's thread, perhaps at this moment: so it is never taken unseen.
        if self.stop is not None and not self.stopped:
            error, self.stop, self.stopped = self.stop, None, True
        self.answers = self.error = None
        try:
            self.batch = self.steps.send(answers) if error is None else self.steps.throw(error)
        except StopIteration as stop:
            self.ended, self.result = True, (stop.value,)
        except BaseException as raised:  # noqa: BLE001  (it is raised where the caller is)
            self.ended, self.error = True, raised

    async def go_on(self) -> None:
        """Answer what the steps ask for, to their end or to answers that are better looked at elsewhere."""
        while not self.ended:
            if self.stop is None or self.stopped:
                try:
                    self.answers = await _answered(self.batch, self.backend)
                except BaseException as error:  # noqa: BLE001  (a generator cleans up after anything)
                    self.error = error
                if (self.stop is None or self.stopped) and self.error is None and not _is_light(self.answers):
                    return
            self.advance()

    def begin(self, home: asyncio.AbstractEventLoop, back: Callable[[object], object]) -> None:
        """Go on at *home*, whose thread this is; *back* is called there when the steps are to come back."""
        self.under_way = home.create_task(self.go_on())
        self.under_way.add_done_callback(back)

    def outcome(self) -> T:
        """The result of steps that have ended."""
        error = self.error if self.stop is None else self.stop
        if error is None:
            assert self.result is not None
            return self.result[0]
        self.error = self.stop = None
        try:
            raise error
        finally:
            del error  # whose traceback holds this frame


async def _answered(batch: Batch, backend: Backend) -> tuple[Any, ...]:
    # Nothing but operations, or a `Rewind`: without a source nothing can be had again.
    return await all_of(batch, backend) if isinstance(batch[0], Op) else (False,)


def _is_light(answers: tuple[Any, ...] | None) -> bool:
    bytes_read = 0
    for answer in answers or ():
        if isinstance(answer, Got):
            bytes_read += len(answer.data)
        elif not (answer is None or isinstance(answer, (Written, Stat))):
            return False
    return bytes_read <= LIGHT


def visit(steps: Steps[T], backend: Backend, home: asyncio.AbstractEventLoop) -> T:
    """Run *steps*, at *home* where that helps, and wait for their end.

    An interrupt is raised when the batch under way has ended and the steps have cleaned up; a second one at once.
    """
    going = Visit(steps, backend)
    going.advance()
    while not going.ended:
        back: concurrent.futures.Future[object] = concurrent.futures.Future()
        try:
            home.call_soon_threadsafe(_set_out, going, home, back)
            back.result()
        except BaseException as error:  # noqa: BLE001  (handed on)
            going.stop = error
            if not back.done():
                home.call_soon_threadsafe(_set_out, going, home, back)  # it may have come before they were sent there
                concurrent.futures.wait([back])
        if not going.ended:
            going.advance()
    return going.outcome()


def _set_out(going: Visit[Any], home: asyncio.AbstractEventLoop, back: concurrent.futures.Future[object]) -> None:
    """Let the steps go on, once, and answer *back* when they come back."""
    if not (back.running() or back.done()):
        back.set_running_or_notify_cancel()
        going.begin(home, back.set_result)


async def avisit(steps: Steps[T], backend: Backend, home: asyncio.AbstractEventLoop) -> T:
    """As `visit`, from an event loop, which may be *home*. However often the caller is cancelled, it waits."""
    going = Visit(steps, backend)
    going.advance()
    while not going.ended:
        await _stay(going, home, asyncio.get_running_loop())
        if not going.ended:
            going.advance()
    return going.outcome()


async def _stay(going: Visit[Any], home: asyncio.AbstractEventLoop, here: asyncio.AbstractEventLoop) -> None:
    arrived = False
    waiter = here.create_future()

    def arrive(_: object = None) -> None:
        nonlocal arrived
        arrived = True
        if not waiter.done():
            waiter.set_result(None)

    def come_back(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the caller's loop was closed meanwhile
            here.call_soon_threadsafe(arrive)

    if home is here:
        going.begin(home, arrive)
    else:
        home.call_soon_threadsafe(going.begin, home, come_back)
    while not arrived:
        try:
            await waiter
        except asyncio.CancelledError as error:
            if going.stop is None:
                going.stop = error
            waiter = here.create_future()
        except GeneratorExit as error:  # the caller is gone, with its loop: nobody is there to go on for
            going.stop = error
            raise
