"""The drivers: what runs at once, what an error waits for, where a coroutine runs, and what a cancellation leaves."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar, cast

import pytest
from fsspec.asyn import get_loop, sync

from artifactfs.async_files import AsyncArtifactWriter
from artifactfs.backends.base import WHOLE_LIMIT, Backend, Got, Placement, Written
from artifactfs.drivers import AsyncSource, Source, _Turns, aiterate, arun, iterate, run
from artifactfs.errors import BackendUnavailable
from artifactfs.protocol.ops import Emit, Lazy, Op, Pull, Rewind, Steps, together
from artifactfs.visiting import IN_FLIGHT, LIGHT

T = TypeVar("T")


class Place:
    """A backend that is nothing but its placement."""

    def __init__(self, placement: Placement) -> None:
        self.placement = placement


def _place(placement: Placement) -> Backend:
    return cast(Backend, Place(placement))


class Do(Op):
    """An operation that runs a coroutine function."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.work = work

    async def perform(self, backend: Backend) -> Any:
        return await self.work()


def _answering(answer: object) -> Do:
    async def work() -> object:
        return answer

    return Do(work)


def _failing(error: BaseException) -> Do:
    async def work() -> None:
        raise error

    return Do(work)


class Interrupt(BaseException):
    """As an interrupt of the process, but one that an event loop does not end for."""


PLACEMENTS: list[Placement] = ["inline", "thread", "loop"]
Runner = Callable[..., Any]


def _from_a_loop(steps: Steps[Any], backend: Backend, source: Any = None) -> Any:
    return asyncio.run(arun(steps, backend, source))


def _from_fsspecs_loop(steps: Steps[Any], backend: Backend, source: Any = None) -> Any:
    return sync(get_loop(), arun, steps, backend, source)


runners = pytest.mark.parametrize("runner", [run, _from_a_loop, _from_fsspecs_loop])
placements = pytest.mark.parametrize("placement", PLACEMENTS)


@runners
@placements
def test_answers_come_in_the_order_of_their_operations(runner: Runner, placement: Placement) -> None:
    def steps() -> Steps[object]:
        one = yield (_answering("a"),)
        many = yield tuple(_answering(number) for number in range(200))
        return one, many

    assert runner(steps(), _place(placement)) == (("a",), tuple(range(200)))


@runners
@placements
def test_a_generator_that_asks_for_nothing_has_its_result(runner: Runner, placement: Placement) -> None:
    def steps() -> Steps[int]:
        return 7
        yield

    assert runner(steps(), _place(placement)) == 7


@runners
@placements
def test_an_error_is_thrown_into_the_generator_which_may_go_on(runner: Runner, placement: Placement) -> None:
    second = Interrupt("two")

    def steps() -> Steps[object]:
        seen = []
        for error in (BackendUnavailable("one"), second):
            try:
                yield (_failing(error),)
            except BaseException as raised:
                seen.append(raised)
        (answer,) = yield (_answering("after"),)
        return [str(error) for error in seen], answer

    assert runner(steps(), _place(placement)) == (["one", "two"], "after")


@runners
@placements
def test_an_error_that_the_generator_lets_through_reaches_its_caller(runner: Runner, placement: Placement) -> None:
    def steps() -> Steps[None]:
        yield (_answering(None),)
        yield (_failing(Interrupt("let through")),)

    if runner is _from_fsspecs_loop:  # fsspec's own `sync` waits for ever for a coroutine that ends so

        def caught(inner: Steps[None], backend: Backend) -> Any:
            async def main() -> None:
                try:
                    await arun(inner, backend)
                except Interrupt as error:
                    raise RuntimeError from error

            return sync(get_loop(), main)

        with pytest.raises(RuntimeError) as raised:
            caught(steps(), _place(placement))
        assert isinstance(raised.value.__cause__, Interrupt)
    else:
        with pytest.raises(Interrupt, match="let through"):
            runner(steps(), _place(placement))


@runners
def test_operations_of_a_batch_run_at_once_on_a_loop(runner: Runner) -> None:
    running = most = 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1

    def steps() -> Steps[None]:
        yield tuple(Do(work) for _ in range(200))

    runner(steps(), _place("loop"))
    assert most == IN_FLIGHT


@runners
def test_an_error_is_thrown_only_when_the_whole_batch_has_ended(runner: Runner) -> None:
    ended: list[str] = []

    async def slow() -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        ended.append("slow")

    def steps() -> Steps[list[str]]:
        try:
            yield (Do(slow), _failing(BackendUnavailable("broken")), Do(slow))
        except BackendUnavailable:
            return list(ended)
        return []

    assert runner(steps(), _place("loop")) == ["slow", "slow"]


@placements
def test_nothing_of_a_batch_goes_on_after_its_error_was_thrown(placement: Placement) -> None:
    begun, ended = [], []

    async def work() -> None:
        begun.append(1)
        ended.append(1)

    def steps() -> Steps[bool]:
        try:
            yield (Do(work), _failing(BackendUnavailable("broken")), Do(work))
        except BackendUnavailable:
            return len(begun) == len(ended)
        return False

    assert run(steps(), _place(placement))
    before = len(begun)
    assert before == len(ended) == len(begun)


# pieces of a stream


class Pieces:
    """A source of pieces for both drivers."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.left: Iterator[bytes | Exception] = iter(pieces)

    def next(self) -> bytes:
        piece = next(self.left, b"")
        if isinstance(piece, Exception):
            raise piece
        return piece

    def source(self, runner: Runner) -> Source | AsyncSource:
        return self if runner is run else _Awaited(self)

    pull = next

    def rewind(self) -> bool:
        return True


class _Awaited:
    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces

    async def pull(self) -> bytes:
        return self.pieces.next()

    async def rewind(self) -> bool:
        return True


@runners
@placements
def test_pieces_are_pulled_beside_operations(runner: Runner, placement: Placement) -> None:
    def steps() -> Steps[object]:
        (first,) = yield (Pull(),)
        done, second = yield (_answering("sent"), Pull())
        (end,) = yield (Pull(),)
        (again,) = yield (Rewind(),)
        return first, done, second, end, again

    source = Pieces(b"one", b"two").source(runner)
    assert runner(steps(), _place(placement), source) == (b"one", "sent", b"two", b"", True)


@runners
@placements
def test_an_error_of_the_source_is_thrown_when_the_operation_beside_it_has_ended(
    runner: Runner, placement: Placement
) -> None:
    ended: list[str] = []

    async def slow() -> None:
        if placement == "loop":
            for _ in range(50):
                await asyncio.sleep(0)
        ended.append("sent")

    def steps() -> Steps[list[str]]:
        try:
            yield (Do(slow), Pull())
        except RuntimeError as error:
            return [*ended, str(error)]
        return []

    source = Pieces(RuntimeError("the source broke")).source(runner)
    assert runner(steps(), _place(placement), source) == ["sent", "the source broke"]


def test_a_stream_without_a_source_cannot_begin_again() -> None:
    def steps() -> Steps[object]:
        return (yield (Rewind(),))

    assert run(steps(), _place("inline")) == (False,)
    assert _from_a_loop(steps(), _place("inline")) == (False,)


# lazy results


class Counted:
    """Emits numbers, and asks the store before each."""

    def __init__(self) -> None:
        self.asked = 0
        self.closed = False

    def steps(self) -> Lazy[int]:
        try:
            for number in range(5):
                (answer,) = yield (Do(self._ask),)
                assert answer == number + 1
                answered = yield (Emit(number),)
                assert answered == (None,)
        finally:
            self.closed = True

    async def _ask(self) -> int:
        self.asked += 1
        return self.asked


@placements
def test_items_are_asked_for_one_by_one(placement: Placement) -> None:
    counted = Counted()
    items = iterate(counted.steps(), _place(placement))
    assert counted.asked == 0
    assert next(items) == 0
    assert counted.asked == 1
    assert next(items) == 1
    assert counted.asked == 2
    items.close()  # type: ignore[attr-defined]
    assert counted.closed
    assert list(iterate(Counted().steps(), _place(placement))) == [0, 1, 2, 3, 4]


@placements
def test_items_are_asked_for_one_by_one_from_a_loop(placement: Placement) -> None:
    async def main() -> None:
        counted = Counted()
        items: Any = aiterate(counted.steps(), _place(placement))
        assert counted.asked == 0
        assert await anext(items) == 0
        assert counted.asked == 1
        await items.aclose()
        assert counted.closed
        assert [item async for item in aiterate(Counted().steps(), _place(placement))] == [0, 1, 2, 3, 4]

    asyncio.run(main())


# where coroutines run


def test_a_backend_that_blocks_does_not_block_the_loop_that_calls_it() -> None:
    async def main() -> bool:
        loop_ran = threading.Event()

        async def block() -> bool:
            return loop_ran.wait(60)

        def steps() -> Steps[bool]:
            (answer,) = yield (Do(block),)
            return bool(answer)

        asyncio.get_running_loop().call_soon(loop_ran.set)
        return await arun(steps(), _place("thread"))

    assert asyncio.run(main())


@pytest.mark.parametrize("runner", [run, _from_a_loop])
def test_each_placement_runs_where_it_belongs(runner: Runner) -> None:
    async def where() -> tuple[threading.Thread, object]:
        try:
            loop: object = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        return threading.current_thread(), loop

    def steps() -> Steps[Any]:
        (answer,) = yield (Do(where),)
        return answer

    thread, _ = runner(steps(), _place("inline"))
    assert thread is threading.main_thread()
    thread, loop = runner(steps(), _place("thread"))
    assert (thread is threading.main_thread()) == (runner is run)
    assert loop is None
    _, loop = runner(steps(), _place("loop"))
    assert loop is get_loop()


@pytest.mark.parametrize(
    ("runner", "placement"),
    [(run, "inline"), (run, "thread"), (_from_a_loop, "thread"), (_from_fsspecs_loop, "thread")],
)
def test_a_backend_that_suspends_where_it_said_it_never_would_is_told(runner: Runner, placement: Placement) -> None:
    async def suspending() -> None:
        await asyncio.sleep(0)

    def steps() -> Steps[None]:
        yield (Do(suspending),)

    with pytest.raises(RuntimeError, match="its placement should be 'loop'"):
        runner(steps(), _place(placement))


@pytest.mark.parametrize("runner", [run, _from_a_loop])
def test_steps_stay_where_their_backend_lives_until_an_answer_takes_long_to_look_at(runner: Runner) -> None:
    here: list[threading.Thread] = []

    def steps() -> Steps[None]:
        for answer in (Got(b"small", 5, 0.0, ""), Got(bytes(LIGHT + 1), LIGHT + 1, 0.0, ""), Written(True), ()):
            here.append(threading.current_thread())
            yield (_answering(answer),)
        here.append(threading.current_thread())

    runner(steps(), _place("loop"))
    away = here[1]
    main = threading.main_thread()
    assert away is not main
    assert here == [main, away, main, away, main]


# interrupts and cancellation


def _interrupted(go_on: threading.Event, seen: list[str]) -> Steps[None]:
    """Interrupts the main thread from a batch, which ends when *go_on* is set; cleans up afterwards."""

    async def write() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        while not go_on.is_set():
            await asyncio.sleep(0.001)
        seen.append("written")

    async def clean() -> None:
        seen.append("clean")

    try:
        yield (Do(write),)
    except KeyboardInterrupt:
        seen.append("cleaning up")
        yield (Do(clean),)
        raise
    finally:
        seen.append("ended")


def test_an_interrupted_caller_waits_for_what_it_began_and_for_the_cleaning_up(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, seen = threading.Event(), list[str]()
    wait = concurrent.futures.wait

    def waiting(futures: Any) -> Any:
        assert seen == []
        go_on.set()
        return wait(futures)

    monkeypatch.setattr(concurrent.futures, "wait", waiting)
    with pytest.raises(KeyboardInterrupt):
        run(_interrupted(go_on, seen), _place("loop"))
    assert seen == ["written", "cleaning up", "clean", "ended"]


def test_a_second_interrupt_ends_the_waiting_and_the_cleaning_up_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, ended, seen = threading.Event(), threading.Event(), list[str]()

    def waiting(_: Any) -> Any:
        raise KeyboardInterrupt("second")

    def steps() -> Steps[None]:
        try:
            yield from _interrupted(go_on, seen)
        finally:
            ended.set()

    monkeypatch.setattr(concurrent.futures, "wait", waiting)
    with pytest.raises(KeyboardInterrupt, match="second"):
        run(steps(), _place("loop"))
    assert seen == []
    go_on.set()
    assert ended.wait(60)
    assert seen == ["written", "cleaning up", "clean", "ended"]


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("placement", ["thread", "loop"])
def test_a_cancelled_caller_waits_until_what_it_began_has_ended(placement: Placement, times: int) -> None:
    began, go_on = threading.Event(), threading.Event()
    seen: list[str] = []

    async def block() -> None:
        began.set()
        if placement == "thread":
            assert go_on.wait(60)
        else:
            while not go_on.is_set():
                await asyncio.sleep(0.001)
        seen.append("written")

    def steps() -> Steps[None]:
        try:
            yield (Do(block),)
        except asyncio.CancelledError:
            seen.append("cleaning up")
            yield (_answering(None),)
            seen.append("clean")
            raise

    async def main() -> None:
        task = asyncio.create_task(arun(steps(), _place(placement)))
        await asyncio.to_thread(began.wait, 60)
        for _ in range(times):
            task.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        assert seen == []
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == ["written", "cleaning up", "clean"]


class _Stopped(_Turns[T]):
    """Is cancelled by another thread right after it has looked for the first time whether it was."""

    _stop: BaseException | None = None
    _looked = False

    @property
    def stop(self) -> BaseException | None:
        told = self._stop
        if not self._looked:
            self._looked, self._stop = True, asyncio.CancelledError()
        return told

    @stop.setter
    def stop(self, value: BaseException | None) -> None:
        self._stop = value


def test_a_cancellation_is_never_taken_unseen() -> None:
    turns = _Stopped(_three(), _place("thread"))
    with pytest.raises(asyncio.CancelledError):
        turns.take()


class _NoSource:
    async def pull(self) -> bytes:
        raise AssertionError

    async def rewind(self) -> bool:
        raise AssertionError


async def _write(steps: Steps[Any], backend: Backend, source: object) -> None:
    """Run *steps* as those of a file that is written."""

    async def save(_: bytes) -> Any:
        raise AssertionError

    async with AsyncArtifactWriter(backend, save, lambda _: steps) as file:
        await file.write(bytes(WHOLE_LIMIT + 1))


@pytest.mark.parametrize("run_steps", [arun, _write])
@pytest.mark.parametrize("source", [None, _NoSource()], ids=["whole", "stream"])
@pytest.mark.parametrize("placement", ["thread", "loop"])
def test_steps_clean_up_to_the_end_however_often_their_caller_is_cancelled(
    placement: Placement, source: AsyncSource | None, run_steps: Callable[..., Coroutine[Any, Any, None]]
) -> None:
    began, ended = threading.Event(), threading.Event()
    seen: list[str] = []

    async def write() -> None:
        began.set()
        while not ended.is_set():
            if placement == "loop":
                await asyncio.sleep(0.001)

    async def clean() -> None:
        seen.append("clean")

    def steps() -> Steps[None]:
        try:
            yield (Do(write),)
        except asyncio.CancelledError:
            for _ in range(20):
                yield (Do(clean),)
            raise

    async def main() -> None:
        task = asyncio.create_task(run_steps(steps(), _place(placement), source))
        await asyncio.to_thread(began.wait, 60)
        while not task.done():
            task.cancel()
            ended.set()
            await asyncio.sleep(0)
        assert task.cancelled()

    asyncio.run(main())
    assert seen == ["clean"] * 20


@pytest.mark.parametrize("placement", ["thread", "loop"])
def test_steps_of_a_caller_that_is_gone_with_its_loop_begin_nothing_more(placement: Placement) -> None:
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    seen: list[str] = []

    async def block() -> None:
        began.set()
        if placement == "thread":
            assert go_on.wait(60)
        else:
            while not go_on.is_set():
                await asyncio.sleep(0.001)

    async def write() -> None:
        seen.append("written")

    def steps() -> Steps[None]:
        try:
            yield (Do(block),)
            yield (Do(write),)
        finally:
            ended.set()

    async def main() -> None:
        caller = arun(steps(), _place(placement))
        caller.send(None)
        assert await asyncio.to_thread(began.wait, 60)
        caller.close()
        go_on.set()
        assert await asyncio.to_thread(ended.wait, 60)

    asyncio.run(main())
    assert seen == []


_ASKER: contextvars.ContextVar[str] = contextvars.ContextVar("asker")


@runners
@placements
def test_steps_see_the_context_variables_of_their_caller(runner: Runner, placement: Placement) -> None:
    def steps() -> Steps[list[str]]:
        first = _ASKER.get("nobody")
        yield (_answering(None),)
        return [first, _ASKER.get("nobody")]

    def ask() -> object:
        _ASKER.set("alice")
        return runner(steps(), _place(placement))

    assert contextvars.copy_context().run(ask) == ["alice", "alice"]


def _hops(steps: Steps[T], monkeypatch: pytest.MonkeyPatch) -> tuple[T, int]:
    """The result of *steps* that block, and how often they were handed to a thread."""
    hops = 0

    async def main() -> T:
        loop = asyncio.get_running_loop()
        real = loop.run_in_executor

        def hop(*arguments: Any) -> Any:
            nonlocal hops
            hops += 1
            return real(*arguments)

        monkeypatch.setattr(loop, "run_in_executor", hop)
        return await arun(steps, _place("thread"))

    return asyncio.run(main()), hops


def _three() -> Steps[list[object]]:
    one = yield (_answering("a"),)
    two = yield (_answering("b"),)
    return [one, two, (yield (_answering("c"),))]


def test_steps_that_block_share_one_hop_into_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _hops(_three(), monkeypatch) == ([("a",), ("b",), ("c",)], 1)


def test_steps_that_take_long_let_others_have_their_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artifactfs.drivers.TURN", -1.0)
    assert _hops(_three(), monkeypatch) == ([("a",), ("b",), ("c",)], 4)


# several generators at once


def test_generators_run_together_share_their_batches() -> None:
    asked: list[int] = []

    def one(steps: int) -> Steps[int]:
        for _ in range(steps):
            yield (_answering(None),)
        return steps

    def counting(inner: Steps[Any]) -> Steps[Any]:
        answers = None
        while True:
            try:
                batch = inner.send(answers)
            except StopIteration as stop:
                return stop.value
            asked.append(len(batch))
            answers = yield batch

    assert run(counting(together(one(1), one(3), one(0), one(2))), _place("inline")) == (1, 3, 0, 2)
    assert asked == [3, 2, 1]


def test_of_generators_that_run_together_none_is_left_open_by_an_error() -> None:
    closed: list[str] = []

    def one(name: str, *, fails: bool) -> Steps[None]:
        try:
            yield (_answering(None),)
            if fails:
                raise BackendUnavailable("broken")
            yield (_answering(None),)
        finally:
            closed.append(name)

    with pytest.raises(BackendUnavailable):
        run(together(one("a", fails=False), one("b", fails=True), one("c", fails=False)), _place("inline"))
    assert sorted(closed) == ["a", "b", "c"]
