"""All that can happen, without leaving anything out: slow, short, and what the simulator is compared with."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from artifactfs.protocol.ops import Delete
from artifactfs.testing.simulated_processes import WRITES, Process, Run
from artifactfs.testing.simulated_store import Contents, Failure, ModelStore
from artifactfs.testing.simulator import Simulator

Ends = set[tuple[Hashable, Hashable]]
"""Outcomes by process, and what is stored, in every state in which all processes have ended."""


def all_ends(processes: Sequence[Process], contents: Contents, now: float, faults: int) -> Ends:
    """As the simulator finds them."""
    observer = _Recorder(len(processes))
    Simulator(observer, now=now).explore(processes, contents, faults=faults)
    return observer.ends


class _Recorder:
    def __init__(self, count: int) -> None:
        self.count = count
        self.ends: Ends = set()

    def view(self, contents: Contents) -> Hashable:
        return frozenset(contents.items())

    def audit(self, view: Any, alone: Any) -> None: ...

    def enough(self, view: Any) -> bool:
        return False

    def start(self, contents: Contents) -> Hashable:
        return frozenset()

    def step(self, seen: Any, process: Process, began: bool, before: Any, after: Any, ended: Any) -> Hashable:
        if ended is not None:
            seen |= {(process.name, ended[0])}
        if len(seen) == self.count:
            self.ends.add((seen, after))
        return seen  # type: ignore[no-any-return]


def all_ends_of(processes: Sequence[Process], contents: Contents, now: float, faults: int) -> Ends:
    """As they come when everything is tried at every time.

    A state is what is stored, and of each process all answers so far and how far its batch has come: an answer's number,
    or minus how often an operation was sent.
    """
    store = ModelStore(now)
    known: dict[Any, tuple[tuple[Any, ...], Any]] = {}

    def stands(place: int, history: tuple[tuple[int, ...], ...]) -> tuple[tuple[Any, ...], Any]:
        """The operations that a process waits for after such a history, and its outcome if it has ended."""
        if (place, history) not in known:
            run = Run(processes[place], now, False)
            outcome = run.advance(None)
            for done in history:
                answers, rest = [], list(done)
                for op in (op for op in run.batch if op is not None):
                    taken = [store.answers[rest.pop(0)] for _ in range(len(op.keys) if isinstance(op, Delete) else 1)]
                    answers.append(next((one for one in taken if isinstance(one, Failure)), taken[0]))
                outcome = run.advance(tuple(answers))
            ops: list[Any] = []
            for op in (op for op in run.batch if op is not None):
                ops += [Delete((key,)) for key in op.keys] if isinstance(op, Delete) else [op]
            known[place, history] = (() if outcome is not None else tuple(ops)), outcome
        return known[place, history]

    def fresh(place: int, history: tuple[tuple[int, ...], ...]) -> tuple[Any, ...]:
        return history, (-1,) * len(stands(place, history)[0])

    ends: Ends = set()
    first = store.state(contents), tuple(fresh(place, ()) for place in range(len(processes))), (), faults
    seen, waiting = {first}, [first]

    def reach(*state: Any) -> None:
        if state not in seen:
            seen.add(state)
            waiting.append(state)

    def moved(at: Any, place: int, index: int, answer: int) -> Any:
        history, done = at[place]
        done = (*done[:index], answer, *done[index + 1 :])
        new = (history, done) if any(one < 0 for one in done) else fresh(place, (*history, done))
        return (*at[:place], new, *at[place + 1 :])

    while waiting:
        state, at, lates, left = waiting.pop()
        for place, (history, done) in enumerate(at):
            for index, sent in enumerate(done):
                if sent >= 0:
                    continue
                op = stands(place, history)[0][index]
                after, answer = store.perform(state, store.op(op, -sent))
                reach(after, moved(at, place, index, answer), lates, left)
                if left and type(op).__name__ in WRITES:
                    again = store.answer(Failure(True)) if getattr(op, "once", False) else sent - 1
                    later = tuple(sorted((*lates, store.op(op, 1))))
                    reach(state, moved(at, place, index, again), later, left - 1)
        for index, late in enumerate(lates):
            reach(store.perform(state, late)[0], at, (*lates[:index], *lates[index + 1 :]), left)
        outcomes = [stands(place, history)[1] for place, (history, _) in enumerate(at)]
        if all(outcome is not None for outcome in outcomes):
            named = zip((process.name for process in processes), outcomes, strict=True)
            ends.add((frozenset((name, outcome[0]) for name, outcome in named),
                      frozenset(store.contents[state].items())))  # fmt: skip
    return ends
