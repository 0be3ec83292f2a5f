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
import json
import random
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from artifactfs.backends.base import Got, Page, Stat, Written
from artifactfs.errors import BackendUnavailable
from artifactfs.protocol.ops import (
    Abort,
    Begin,
    Commit,
    Delete,
    Emit,
    Get,
    List,
    Now,
    Part,
    Pull,
    Rewind,
    StatOf,
    Steps,
)
from artifactfs.testing.frames import Unknown, snapshot
from artifactfs.testing.simulated_store import Completion, Contents, Failure, ModelStore, Sent

State: TypeAlias = tuple[int, ...]
"""Numbers of: the store's state, the late writes, faults left, what the observer saw, then of each process."""

Action: TypeAlias = tuple[str, int, int]
"""What happens: its kind, the process, and which operation of its batch (or which late write)."""

WRITES = ("Create", "Put", "Replace", "Delete", "Completion")


@dataclass(frozen=True, eq=False)
class Process:
    """One operation of the library, run by one process.

    Attributes:
        name: as traces show it.
        steps: a fresh generator; every one must do the same when it gets the same answers.
        outcome: makes a value of what it returned, of what it emitted, or of the error that it raised.
        pieces: what it pulls.
        rewinds: whether it may pull them again from the first.
        role: what an observer needs to know of it.
    """

    name: str
    steps: Callable[[], Steps[Any]]
    outcome: Callable[[Any, Sequence[Any]], Hashable] = lambda result, emitted: result
    pieces: tuple[bytes, ...] = ()
    rewinds: bool = False
    role: Any = None


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


class Broken(Exception):
    """Raised by an observer: what was promised and what was seen."""


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


class _Node:
    """Where a generator stands: the operations that it waits for, or its outcome."""

    __slots__ = ("answers", "begun", "children", "live", "ops", "outcome", "parent", "slots")

    def __init__(self, parent: _Node | None, answers: tuple[Any, ...]) -> None:
        self.parent, self.answers = parent, answers
        self.children: dict[tuple[int, ...], _Node] = {}
        self.live: _Run | None = None
        self.ops: tuple[Sent, ...] = ()
        self.slots: tuple[int, ...] = ()
        self.outcome: tuple[Hashable] | None = None
        self.begun = parent is not None


class _Upload:
    """Handed out for `Begin`; it is the process's own until its completion."""

    def __init__(self, key: str) -> None:
        self.key, self.parts = key, [b""]


class _Run:
    """A generator being run: what it pulled, emitted and uploaded so far."""

    def __init__(self, process: Process, now: float, overwriting: bool) -> None:
        self.process, self.now, self.overwriting = process, now, overwriting
        self.steps = process.steps()
        self.pulled = 0
        self.emitted: list[Any] = []
        self.batch: list[Any] = []
        self.local: list[Any] = []

    def advance(self, answers: tuple[Any, ...] | None) -> tuple[Hashable] | None:
        """Go on with answers to the operations that need the store, to the next ones. The outcome, if it ends."""
        try:
            while True:
                if answers is None:
                    batch = next(self.steps)
                else:
                    merged = self._merge(answers)
                    failure = next((one for one in merged if isinstance(one, Failure)), None)
                    if failure is not None:
                        error = BackendUnavailable("no answer came", landed=failure.landed)
                        batch = self.steps.throw(error)
                    else:
                        batch = self.steps.send(merged)
                self.batch = [self._sent(op) for op in batch]
                self.local = [
                    None if sent is not None else self._answer(op) for op, sent in zip(batch, self.batch, strict=True)
                ]
                if any(one is not None for one in self.batch):
                    return None
                answers = ()
        except StopIteration as stop:
            return (self.process.outcome(stop.value, self.emitted),)
        except Broken:
            raise
        except Exception as error:  # noqa: BLE001  (what it means is for the observer to judge)
            return (self.process.outcome(error, self.emitted),)

    def _merge(self, answers: tuple[Any, ...]) -> tuple[Any, ...]:
        rest = iter(answers)
        return tuple(local if sent is None else next(rest) for sent, local in zip(self.batch, self.local, strict=True))

    def _sent(self, op: Any) -> Sent | None:
        match op:
            case Commit(upload):
                assert isinstance(upload, _Upload)
                return Completion(upload.key, b"".join(upload.parts), self.overwriting)
            case Begin() | Part() | Abort() | Now() | Pull() | Rewind() | Emit():
                return None
        return op  # type: ignore[no-any-return]

    def _answer(self, op: Any) -> Any:
        match op:
            case Begin(key, _):
                return _Upload(key)
            case Part(upload, data):
                assert isinstance(upload, _Upload)
                upload.parts = [b"".join([*upload.parts, data])]
            case Pull():
                self.pulled += 1
                pieces = self.process.pieces
                return pieces[self.pulled - 1] if self.pulled <= len(pieces) else b""
            case Rewind():
                self.pulled = 0
                return self.process.rewinds
            case Emit(item):
                self.emitted.append(item)
            case Now():
                return self.now
        return None

    def snapshot(self) -> Hashable:
        """What it waits for and how it will go on; the operations it has asked for may be remembered nowhere else."""
        local = tuple((one.key, *one.parts) if isinstance(one, _Upload) else repr(one) for one in self.local)
        return snapshot(self.steps), tuple(self.batch), local, self.pulled, tuple(map(repr, self.emitted))


class _Place:
    """A node, and how far its batch has come. `pending`: (index, bit, number of the operation, whether it writes)."""

    __slots__ = ("done", "full", "moved", "next", "node", "number", "pending")

    def __init__(
        self, number: int, node: _Node, done: tuple[int, ...], pending: tuple[tuple[int, int, int, bool], ...]
    ):
        self.number, self.node, self.done, self.pending = number, node, done, pending
        self.next: dict[tuple[int, int], _Place] = {}
        self.moved: dict[int, int] = {}
        mask = 1
        for _, bit, _, _ in pending:
            mask |= bit
        self.full = number << _SHIFT | mask


_SHIFT = 24
_MASK = (1 << _SHIFT) - 1
_PENDING = -1
"""In a place's `done`: minus how often an operation was sent; an answer's number is not negative."""


class _Program:
    """All places that one process can be at."""

    def __init__(self, simulator: Simulator, process: Process) -> None:
        self.simulator, self.process = simulator, process
        self.places: list[_Place] = []
        self._index: dict[tuple[_Node, tuple[int, ...]], _Place] = {}
        self._alike: dict[Hashable, _Node] = {}
        self._ends: dict[Hashable, _Node] = {}
        self._live: deque[_Node] = deque()
        self.root = self._node(None, (), self._fresh())
        self.start = self.place(self.root, (_PENDING,) * len(self.root.ops))

    def _fresh(self) -> _Run:
        return _Run(self.process, self.simulator.store.now, self.simulator.overwriting)

    def _node(self, parent: _Node | None, answers: tuple[Any, ...], run: _Run) -> _Node:
        node = _Node(parent, answers)
        node.outcome = run.advance(None if parent is None else answers)
        if node.outcome is not None:
            return self._ends.setdefault(node.outcome, node)
        try:
            key = run.snapshot()
        except Unknown:
            key = node
        if parent is not None:
            known = self._alike.setdefault(key, node)
            if known is not node:
                return known
        ops: list[Sent] = []
        slots: list[int] = []
        for slot, sent in enumerate(one for one in run.batch if one is not None):
            # A store removes several objects one by one.
            parts: list[Sent] = [Delete((key,)) for key in sent.keys] if isinstance(sent, Delete) else [sent]
            ops += parts
            slots += [slot] * len(parts)
        node.ops, node.slots, node.live = tuple(ops), tuple(slots), run
        self._live.append(node)
        if len(self._live) > 2000:
            self._live.popleft().live = None
        return node

    def child(self, node: _Node, done: tuple[int, ...]) -> _Node:
        """Where the generator stands after these answers."""
        child = node.children.get(done)
        if child is None:
            answers: dict[int, Any] = {}
            for slot, answer in zip(node.slots, done, strict=True):
                value = self.simulator.store.answers[answer]
                if not isinstance(answers.get(slot), Failure):
                    answers[slot] = value
            run = node.live or self._replayed(node)
            node.live = None
            child = node.children[done] = self._node(node, tuple(answers[slot] for slot in sorted(answers)), run)
        return child

    def _replayed(self, node: _Node) -> _Run:
        history: list[tuple[Any, ...]] = []
        at: _Node = node
        while at.parent is not None:
            history.append(at.answers)
            at = at.parent
        run = self._fresh()
        run.advance(None)
        for answers in reversed(history):
            run.advance(answers)
        return run

    def place(self, node: _Node, done: tuple[int, ...]) -> _Place:
        place = self._index.get((node, done))
        if place is None:
            store = self.simulator.store
            pending = tuple(
                (index, 2 << index, store.op(op, -state), type(op).__name__ in WRITES)
                for index, (op, state) in enumerate(zip(node.ops, done, strict=True))
                if state < 0
            )
            place = self._index[node, done] = _Place(len(self.places), node, done, pending)
            self.places.append(place)
            if len(node.ops) + 1 >= _SHIFT:
                raise Broken(f"a batch of {len(node.ops)} operations is more than the simulator can hold")
        return place

    def after(self, place: _Place, index: int, state: int) -> _Place:
        """The place after operation *index* got an answer, or (negative) is sent again."""
        done = (*place.done[:index], state, *place.done[index + 1 :])
        if any(one < 0 for one in done):
            found = self.place(place.node, done)
        else:
            node = self.child(place.node, done)
            found = self.place(node, (_PENDING,) * len(node.ops))
        place.next[index, state] = found
        return found


class Simulator:
    """Explores; keeps what it has worked out, so that scenarios that share processes or states of the store are cheap.

    Args:
        observer: what must hold.
        now: the store's time, which stands still.
        page: the most entries that a page of a listing holds.
        overwriting: completing an upload overwrites what is there, as some stores do.
        failing: also operations that fail for good.
    """

    def __init__(
        self,
        observer: Observer,
        *,
        now: float = 0.0,
        page: int = 1000,
        overwriting: bool = False,
        failing: bool = False,
    ) -> None:
        self.store = ModelStore(now, page)
        self.observer, self.overwriting, self.failing = observer, overwriting, failing
        self._programs: dict[Process, _Program] = {}
        self._views: list[int] = []
        self._enough: list[bool] = []
        self._view_of: list[Any] = []
        self._view_ids: dict[Hashable, int] = {}
        self._seen: list[Any] = []
        self._seen_ids: dict[Hashable, int] = {}
        self._steps: dict[tuple[Any, ...], int] = {}
        self._lates: list[tuple[tuple[int, int], ...]] = []
        self._late_ids: dict[Hashable, int] = {}
        self._alone: dict[tuple[Process, int], Hashable] = {}
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
        gc.disable()
        try:
            return self._explore(processes, contents, faults, seconds, most, began)
        finally:
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
        run = _Run(process, self.store.now, self.overwriting)
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

    def program(self, process: Process) -> _Program:
        if process not in self._programs:
            self._programs[process] = _Program(self, process)
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

    def observe(self, seen: int, process: Process, began: bool, before: int, after: int, end: _Node | None) -> int:
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
        lines = ["at first: " + (", ".join(map(_short, sorted(store.contents[first[0]]))) or "nothing is stored")]
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
            place = search.programs[process].places[state[4 + process] >> _SHIFT]
            sent: Sent
            if kind == "land":
                sent = store.ops[self._lates[state[1]][index][0]][0]
                lines.append(f"{number:3} {name:12} LATE, takes effect: {_describe(sent)}")
            else:
                sent, tries = store.ops[next(op for at, _, op, _ in place.pending if at == index)]
                what = _describe(sent)
                if kind == "run":
                    _, answer = store.perform(state[0], store.op(sent, tries))
                    lines.append(f"{number:3} {name:12} {what} -> {_brief(store.answers[answer])}")
                else:
                    lines.append(f"{number:3} {name:12} {kind.upper()}: {what}")
            if not why:
                state = after
                end = search.programs[process].places[state[4 + process] >> _SHIFT].node.outcome
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
    programs: list[_Program] = field(init=False)

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
            place = program.places[encoded >> _SHIFT]
            mask = encoded & _MASK
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
                after[4 + process] = found.full if advanced or begins else found.number << _SHIFT | (mask & ~bit)
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
        key = at << _SHIFT | to
        for process, program in enumerate(self.programs):
            if process != advanced:
                place = program.places[state[4 + process] >> _SHIFT]
                if place is not program.start and place.pending:
                    state[4 + process] = place.moved.get(key) or self._changed(place, at, to, key)

    def _changed(self, place: _Place, at: int, to: int, key: int) -> int:
        store = self.simulator.store
        before, after = store.rows[at], store.rows[to]
        mask = 0
        for _, bit, op, _ in place.pending:
            was = before.get(op) or store.perform(at, op)
            now = after.get(op) or store.perform(to, op)
            if was[1] != now[1] or (was[0] == at) != (now[0] == to):
                mask |= bit
        place.moved[key] = code = place.number << _SHIFT | mask
        return code

    def _faulty(
        self, state: State, process: int, program: _Program, place: _Place, mask: int, begins: bool
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
                    code = found.number << _SHIFT | mask
                end = found.node if found.node.outcome is not None else None
                knows = seen
                if begins or end is not None:
                    knows = simulator.observe(seen, program.process, begins, at, at, end)
                pool = late
                if lands:
                    pool = simulator.late(tuple(sorted((*simulator._lates[late], (store.op(sent, 1), process)))))
                yield (at, pool, faults - 1, knows, *state[4 : 4 + process], code, *state[5 + process :])


def _short(key: str) -> str:
    return "/".join(key.split("/")[3:]) or key


def _describe(sent: Sent) -> str:
    match sent:
        case Delete(keys):
            return f"Delete {', '.join(map(_short, keys))}"
        case List(folder, after):
            return f"List {_short(folder)}{' after ' + after if after else ''}{' (deep)' if sent.deep else ''}"
        case Get() | StatOf():
            return f"{type(sent).__name__} {_short(sent.key)}"
    return f"{type(sent).__name__} {_short(sent.key)} = {_content(sent.data)}"  # type: ignore[union-attr]


def _content(data: bytes) -> str:
    try:
        record = json.loads(data)
        kind = record["kind"] if record["size_bytes"] is not None else f"{record['kind']} unfinished"
        return f"<{kind} {record['write_id'].rstrip('.')}>"
    except (ValueError, KeyError, TypeError):
        return repr(data) if len(data) < 40 else f"{data[:40]!r}…"


def _brief(answer: Any) -> str:
    match answer:
        case Got(data):
            return _content(data)
        case Page(entries, folders, after):
            names = [f"{entry.name}({entry.size})" for entry in entries] + [name + "/" for name in folders]
            return f"{' '.join(names) or 'nothing'}{'' if after is None else ' …'}"
        case Written(done, tries):
            return f"{'done' if done else 'refused'}{'' if tries == 1 else f' (sent {tries} times)'}"
        case Stat(size):
            return f"{size} bytes"
    return repr(answer)
