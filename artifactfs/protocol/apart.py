"""Several generators at once, each for itself: what fails for one fails for that one alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from artifactfs.backends.base import Backend
from artifactfs.protocol.ops import Batch, Op, Steps

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Failed:
    error: Exception


@dataclass(frozen=True, slots=True)
class _Kept(Op):
    """An operation whose failure is an answer, so that it is that of the one who asked."""

    op: Any

    async def perform(self, backend: Backend) -> Any:
        try:
            return await self.op.perform(backend)
        except Exception as error:  # noqa: BLE001  (thrown where it belongs)
            return _Failed(error)


def side_by_side(steps: Sequence[Steps[T]]) -> Steps[list[T]]:
    """Run several generators at once, joining their batches; an operation that fails does so for who asked for it alone.

    None of them may yield `Pull`, `Rewind` or `Emit`. Where this is interrupted each of them may clean up.
    """
    results: dict[int, T] = {}
    waiting: dict[int, Batch] = {}

    def go_on(place: int, answers: tuple[Any, ...] | None, error: BaseException | None = None) -> None:
        error = error or next((one.error for one in answers or () if isinstance(one, _Failed)), None)
        try:
            waiting[place] = steps[place].send(answers) if error is None else steps[place].throw(error)
        except StopIteration as stop:
            results[place] = stop.value

    def ask() -> Steps[None]:
        asked = dict(waiting)
        waiting.clear()
        answers = yield tuple(_Kept(op) for batch in asked.values() for op in batch)
        for place, batch in asked.items():
            go_on(place, answers[: len(batch)])
            answers = answers[len(batch) :]

    try:
        for place in range(len(steps)):
            go_on(place, None)
        while waiting:
            yield from ask()
    except GeneratorExit:
        raise
    except BaseException as error:
        interrupted = [place for place in range(len(steps)) if place not in results]
        waiting.clear()
        for place in interrupted:
            try:
                go_on(place, None, error)
                while waiting:
                    yield from ask()
            except BaseException:  # noqa: BLE001  (told by the first)
                waiting.clear()
        raise
    finally:
        for one in steps:
            one.close()
    return [results[place] for place in range(len(steps))]
