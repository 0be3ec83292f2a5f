"""Every interleaving of some processes that run the protocol against one store, with every fault at every step.

A process is a protocol generator; the store is a model (`artifactfs.testing.simulated_store`). Explored are all orders
in which the operations of the processes, also those of one batch, can take effect, and

crash
    at every step, at no cost: to everybody else a crashed process is one that is not heard of any more, and whatever is
    checked is checked in every state, as though all processes had stopped there.
lost answer, late write
    a write is sent again by the driver, and the copy that was sent first takes effect at any time, also after the
    process has ended, or never. A write that must not be sent twice fails instead. One unit of `faults` each.
failure
    (where `failing` says so) a write is given up, though it may take effect at any time, or never, and the process gets
    `BackendUnavailable`; or a read fails. One unit of `faults` each.

How states are saved, none of which hides a wrong state or answer:

- Generators that would go on alike are one (`artifactfs.testing.frames`).
- What needs no store (clocks, pieces of a stream) happens at once.
- An operation that changes nothing now (a read, a create that is refused) commutes with everything that does not change
  its own answer. So it is performed only right after it was issued, or right after its answer changed; any other
  schedule gives the same answers as the one in which it came earlier. A process then answers earlier, never later, and
  whoever checks answers against what was true since the process began is only stricter. Its first operation is
  performed at every time, so that it begins as late as it can.
- For the same reason a fault befalls an operation right when it is issued; its effect comes at any time after.
- A late write that would change nothing now need not land now.
"""

from __future__ import annotations

import gc
import random
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from artifactfs.testing.simulated_processes import MASK, SHIFT, Broken, Node, Place, Process, Program, Run
from artifactfs.testing.simulated_store import Contents, Failure, ModelStore, Sent
from artifactfs.testing.simulated_words import brief, describe, short

State: TypeAlias = tuple[int, ...]
"""Numbers of: the store's state, the late writes, faults left, what the observer saw, then of each process."""

Action: TypeAlias = tuple[str, int, int]
"""What happens: its kind, the process, and which operation of its batch (or which late write)."""


class Observer(Protocol):
    """What must hold. All values that it makes are compared, so that equal ones are explored once.

    `Broken` is raised where something does not hold.
    """

    def view(self, contents: Contents) -> Hashable:
        """What matters of a state of the store."""
        ...

    def audit(self, view: Any, alone: Callable[[Process], Hashable]) -> None:
        """Check a state of the store: *alone* tells what a process would return if it alone ran from here."""
        ...

    def enough(self, view: Any) -> bool:
        """Whether nothing that follows such a state is to be explored: what would go on for ever ends there."""
        ...

    def start(self, contents: Contents) -> Hashable:
        """What it knows before anything happened."""
        ...

    def step(self, seen: Any, process: Process, began: bool, before: Any, after: Any, ended: Any) -> Hashable:
        """What it knows after *process* did something that led from one view to the next.

        *began*: it was its first step. *ended*: its outcome in a tuple, if it was its last.
        """
        ...


class Violation(AssertionError):
    """A promise that was broken, with the shortest schedule found that breaks it, as a person reads it.

    `schedule` can be given to `Simulator.replay`.
    """

    def __init__(self, why: str, schedule: Sequence[Action], trace: str) -> None:
        super().__init__(f"{why}\n{trace}\nschedule = {list(schedule)!r}")
        self.why, self.schedule, self.trace = why, tuple(schedule), trace


@dataclass
class Seen:
    """What an exploration saw. `exhausted`: everything there is, within the budget of faults.

    `ended` counts the states in which nothing can happen any more, `cut` those that the observer had enough of.
    """

    states: int = 0
    transitions: int = 0
    stores: int = 0
    seconds: float = 0.0
    exhausted: bool = True
    ended: int = 0
    cut: int = 0

    def __str__(self) -> str:
        rate = self.transitions / self.seconds if self.seconds else 0
        return (
            f"{self.states} states, {self.transitions} transitions, {self.stores} states of the store, {self.ended} ends"
            f"{f', {self.cut} cut off' if self.cut else ''}, "
            f"{self.seconds:.1f} s ({rate:.0f}/s), {'exhausted' if self.exhausted else 'NOT exhausted'}"
        )


class Simulator:
    """Explores; keeps what it has worked out, so that scenarios that share processes or states of the store are cheap.

    Args:
        observer: what must hold.
        now: the store's time, which stands still.
        page: the most entries that a page of a listing holds.
        newest: payloads on a page of the newest numbers alone; 0 for a store that gives none.
        overwriting: completing an upload overwrites what is there, as some stores do.
        failing: also operations that fail for good.
    """

    def __init__(
        self,
        observer: Observer,
        *,
        now: float = 0.0,
        page: int = 1000,
        newest: int = 0,
        overwriting: bool = False,
        failing: bool = False,
    ) -> None:
        self.store = ModelStore(now, page, newest)
        self.observer, self.overwriting, self.failing = observer, overwriting, failing
        self._programs: dict[Process, Program] = {}
        self._views: list[int] = []
        self._enough: list[bool] = []
        self._view_of: list[Any] = []
        self._view_ids: dict[Hashable, int] = {}
        self._seen: list[Any] = []
        self._seen_ids: dict[Hashable, int] = {}
        self._steps: dict[tuple[Any, ...], int] = {}
        self._lates: list[tuple[tuple[int, int], ...]] = []
        self._late_ids: dict[Hashable, int] = {}
        self._action: Action = ("start", 0, 0)

    def alone(self, process: Process, contents: Contents) -> tuple[Hashable, Contents]:
        """Run a process with nobody beside it: its outcome, and what is stored afterwards."""
        outcome, state = self._run_alone(process, self.store.state(contents))
        return outcome, self.store.contents[state]

    def explore(
        self,
        processes: Sequence[Process],
        contents: Contents,
        *,
        faults: int = 0,
        seconds: float | None = None,
        most: int | None = None,
    ) -> Seen:
        """Explore every schedule, or as many as *seconds* or *most* states allow.

        Breadth first, so that the schedule in a `Violation` is a shortest one; under a limit, going deep from random
        places (the same ones each time).
        """
        began = time.perf_counter()
        # Millions of tuples that never form a cycle: collecting them would take most of the time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            return self._explore(processes, contents, faults, seconds, most, began)
        finally:
            if collecting:
                gc.enable()

    def _explore(
        self,
        processes: Sequence[Process],
        contents: Contents,
        faults: int,
        seconds: float | None,
        most: int | None,
        began: float,
    ) -> Seen:
        search = _Search(self, processes)
        seen = Seen()
        first = search.first(contents, faults)
        parents: dict[State, State | None] = {first: None}
        limited = seconds is not None or most is not None
        chance = random.Random(0)
        frontier: deque[State] = deque([first])
        stack: list[State] = []
        successors = search.successors
        while frontier or stack:
            if not limited:
                state = frontier.popleft()
            elif stack:
                state = stack.pop()
                if len(stack) > 1 and seen.states % 64 == 0:
                    other = chance.randrange(len(stack))
                    stack[other], state = state, stack[other]
            else:
                state = frontier.popleft()
            seen.states += 1
            if limited and (
                (most is not None and seen.states > most)
                or (seconds is not None and seen.states % 256 == 0 and time.perf_counter() - began > seconds)
            ):
                seen.exhausted = False
                break
            target = stack if limited else frontier
            if self._enough[state[0]]:
                seen.cut += 1
                continue
            count = 0
            try:
                for after in successors(state):
                    count += 1
                    if after not in parents:
                        parents[after] = state
                        target.append(after)
            except Broken as broken:
                last = self._action
                schedule = [*self._schedule(search, parents, state), last]
                trace = self._trace(search, first, schedule)
                raise Violation(str(broken), schedule, trace) from None
            seen.transitions += count
            seen.ended += not count
        seen.stores = len({state[0] for state in parents})
        seen.seconds = time.perf_counter() - began
        return seen

    def replay(self, processes: Sequence[Process], contents: Contents, schedule: Sequence[Action]) -> str:
        """The trace of one schedule; the last line says what was broken, if something was."""
        faults = sum(kind not in ("run", "land") for kind, _, _ in schedule)
        search = _Search(self, processes)
        return self._trace(search, search.first(contents, faults), schedule)

    # what is seen once and kept

    def _enter(self, state: int) -> int:
        """The number of the view of a store's state, which is audited when it is first met."""
        views = self._views
        while len(views) < len(self.store.contents):
            views.append(-1)
            self._enough.append(False)
        number = views[state]
        if number < 0:
            view = self.observer.view(self.store.contents[state])
            number = self._view_ids.setdefault(view, len(self._view_of))
            if number == len(self._view_of):
                self._view_of.append(view)
            self.observer.audit(view, lambda process: self._run_alone(process, state)[0])
            views[state] = number
            self._enough[state] = self.observer.enough(view)
        return number

    def _run_alone(self, process: Process, state: int) -> tuple[Hashable, int]:
        run = Run(process, self.store.now, self.overwriting)
        outcome = run.advance(None)
        while outcome is None:
            answers: list[Any] = []
            for sent in run.batch:
                if sent is not None:
                    op = self.store.op(sent, 1)
                    state, answer = self.store.rows[state].get(op) or self.store.perform(state, op)
                    answers.append(self.store.answers[answer])
            outcome = run.advance(tuple(answers))
        return outcome[0], state

    def program(self, process: Process) -> Program:
        if process not in self._programs:
            self._programs[process] = Program(process, self.store, self.overwriting)
        return self._programs[process]

    def remember(self, seen: Hashable) -> int:
        number = self._seen_ids.setdefault(seen, len(self._seen))
        if number == len(self._seen):
            self._seen.append(seen)
        return number

    def late(self, writes: tuple[tuple[int, int], ...]) -> int:
        number = self._late_ids.setdefault(writes, len(self._lates))
        if number == len(self._lates):
            self._lates.append(writes)
        return number

    def observe(self, seen: int, process: Process, began: bool, before: int, after: int, end: Node | None) -> int:
        """What the observer knows after a step. *before* and *after* are states of the store."""
        views = self._views
        if after >= len(views) or views[after] < 0:
            self._enter(after)
        first, second = views[before], views[after]
        if first == second and not began and end is None:
            return seen
        key = (seen, process, began, first, second, end)
        known = self._steps.get(key)
        if known is None:
            knows = self.observer.step(
                self._seen[seen], process, began, self._view_of[first], self._view_of[second], end and end.outcome
            )
            known = self._steps[key] = self.remember(knows)
        return known

    # traces

    def _schedule(self, search: _Search, parents: dict[State, State | None], state: State) -> list[Action]:
        actions: list[Action] = []
        at, parent = state, parents[state]
        while parent is not None:
            for after in search.successors(parent):
                if after == at:
                    actions.append(self._action)
                    break
            at, parent = parent, parents[parent]
        return actions[::-1]

    def _trace(self, search: _Search, first: State, schedule: Sequence[Action]) -> str:
        store = self.store
        lines = ["at first: " + (", ".join(map(short, sorted(store.contents[first[0]]))) or "nothing is stored")]
        state = first
        for number, action in enumerate(schedule, 1):
            kind, process, index = action
            why = ""
            try:
                after = next((after for after in search.successors(state) if self._action == action), None)
                if after is None:
                    raise LookupError(f"nothing such can happen at step {number}: {action}")
            except Broken as broken:
                after, why = state, str(broken)
            name = search.programs[process].process.name
            place = search.programs[process].places[state[4 + process] >> SHIFT]
            sent: Sent
            if kind == "land":
                sent = store.ops[self._lates[state[1]][index][0]][0]
                lines.append(f"{number:3} {name:12} LATE, takes effect: {describe(sent)}")
            else:
                sent, tries = store.ops[next(op for at, _, op, _ in place.pending if at == index)]
                what = describe(sent)
                if kind == "run":
                    _, answer = store.perform(state[0], store.op(sent, tries))
                    lines.append(f"{number:3} {name:12} {what} -> {brief(store.answers[answer])}")
                else:
                    lines.append(f"{number:3} {name:12} {kind.upper()}: {what}")
            if not why:
                state = after
                end = search.programs[process].places[state[4 + process] >> SHIFT].node.outcome
                if end is not None and kind != "land":
                    lines.append(f"    {name:12} ends: {end[0]!r}")
            else:
                lines.append(f"    BROKEN: {why}")
        return "\n".join(lines)


@dataclass
class _Search:
    """One exploration: its processes, and what can happen next in a state."""

    simulator: Simulator
    processes: Sequence[Process]
    programs: list[Program] = field(init=False)

    def __post_init__(self) -> None:
        self.programs = [self.simulator.program(process) for process in self.processes]

    def first(self, contents: Contents, faults: int) -> State:
        simulator = self.simulator
        store = simulator.store.state(contents)
        try:
            simulator._enter(store)
        except Broken as broken:
            raise Violation(f"{broken} (before anything happened)", (), "") from None
        seen = simulator.remember(simulator.observer.start(contents))
        return (store, simulator.late(()), faults, seen, *(program.start.full for program in self.programs))

    def successors(self, state: State) -> Iterator[State]:
        """What can happen next; `Simulator._action` says what it was."""
        simulator = self.simulator
        store = simulator.store
        at, late, faults, seen = state[:4]
        row = store.rows[at]
        for process, program in enumerate(self.programs):
            encoded = state[4 + process]
            place = program.places[encoded >> SHIFT]
            mask = encoded & MASK
            begins = place is program.start
            for index, bit, op, _ in place.pending:
                to, answer = row.get(op) or store.perform(at, op)
                if to == at and not mask & bit:
                    continue
                simulator._action = ("run", process, index)
                found = place.next.get((index, answer)) or program.after(place, index, answer)
                node = found.node
                advanced = node is not place.node
                after = list(state)
                after[4 + process] = found.full if advanced or begins else found.number << SHIFT | (mask & ~bit)
                end = node if advanced and node.outcome is not None else None
                if to != at:
                    after[3] = simulator.observe(seen, program.process, begins, at, to, end)
                    self._move(after, at, to, process if advanced else -1)
                elif begins or end is not None:
                    after[3] = simulator.observe(seen, program.process, begins, at, at, end)
                yield tuple(after)
            if faults and mask & 1:
                yield from self._faulty(state, process, program, place, mask, begins)
        if late:
            waiting = simulator._lates[late]
            for index, (op, process) in enumerate(waiting):
                to, _ = row.get(op) or store.perform(at, op)
                if to != at:
                    simulator._action = ("land", process, index)
                    after = list(state)
                    after[1] = simulator.late((*waiting[:index], *waiting[index + 1 :]))
                    after[3] = simulator.observe(seen, self.programs[process].process, False, at, to, None)
                    self._move(after, at, to, -1)
                    yield tuple(after)

    def _move(self, state: list[int], at: int, to: int, advanced: int) -> None:
        """The store has changed: who waits for an answer that is another now may ask again.

        All but the process that has *advanced*: what it waits for was issued after the change.
        """
        state[0] = to
        key = at << SHIFT | to
        for process, program in enumerate(self.programs):
            if process != advanced:
                place = program.places[state[4 + process] >> SHIFT]
                if place is not program.start and place.pending:
                    state[4 + process] = place.moved.get(key) or self._changed(place, at, to, key)

    def _changed(self, place: Place, at: int, to: int, key: int) -> int:
        store = self.simulator.store
        before, after = store.rows[at], store.rows[to]
        mask = 0
        for _, bit, op, _ in place.pending:
            was = before.get(op) or store.perform(at, op)
            now = after.get(op) or store.perform(to, op)
            if was[1] != now[1] or (was[0] == at) != (now[0] == to):
                mask |= bit
        place.moved[key] = code = place.number << SHIFT | mask
        return code

    def _faulty(
        self, state: State, process: int, program: Program, place: Place, mask: int, begins: bool
    ) -> Iterator[State]:
        simulator = self.simulator
        store = simulator.store
        at, late, faults, seen = state[:4]
        for index, _, op, writes in place.pending:
            sent, tries = store.ops[op]
            ways: list[tuple[str, int, bool]] = []
            if writes:
                if getattr(sent, "once", False):
                    ways.append(("lost", store.answer(Failure(landed=True)), True))
                else:
                    ways.append(("sent twice", -(tries + 1), True))
                    if simulator.failing:
                        ways.append(("given up", store.answer(Failure(landed=True)), True))
            elif simulator.failing:
                ways.append(("fails", store.answer(Failure(landed=False)), False))
            for kind, outcome, lands in ways:
                simulator._action = (kind, process, index)
                found = place.next.get((index, outcome)) or program.after(place, index, outcome)
                code = found.full
                if found.node is place.node and not begins:
                    code = found.number << SHIFT | mask
                end = found.node if found.node.outcome is not None else None
                knows = seen
                if begins or end is not None:
                    knows = simulator.observe(seen, program.process, begins, at, at, end)
                pool = late
                if lands:
                    pool = simulator.late(tuple(sorted((*simulator._lates[late], (store.op(sent, 1), process)))))
                yield (at, pool, faults - 1, knows, *state[4 : 4 + process], code, *state[5 + process :])
