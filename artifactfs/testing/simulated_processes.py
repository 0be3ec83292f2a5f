"""A process of the simulator: a protocol generator, every place that it can come to, and how it goes on from there.

A generator cannot be copied. So it is run once for every history of answers, and generators in equal states
(`artifactfs.testing.frames`) are one from there on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from artifactfs.backends.base import Unfinished
from artifactfs.errors import BackendError, BackendUnavailable
from artifactfs.protocol.ops import Abort, Begin, Commit, Delete, Discard, Emit, Now, Part, Pull, Rewind, Steps
from artifactfs.testing.frames import Unknown, snapshot
from artifactfs.testing.simulated_store import Completion, Failure, ModelStore, Opened, Sent

WRITES = ("Create", "Put", "Replace", "Delete", "Completion")


class Broken(Exception):
    """Raised by an observer: what was promised and what was seen."""


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
        uploads: whether others can see its uploads, and take them away.
    """

    name: str
    steps: Callable[[], Steps[Any]]
    outcome: Callable[[Any, Sequence[Any]], Hashable] = lambda result, emitted: result
    pieces: tuple[bytes, ...] = ()
    rewinds: bool = False
    role: Any = None
    uploads: bool = False


class Node:
    """Where a generator stands: the operations that it waits for, or its outcome."""

    __slots__ = ("answers", "children", "live", "ops", "outcome", "parent", "slots")

    def __init__(self, parent: Node | None, answers: tuple[Any, ...]) -> None:
        self.parent, self.answers = parent, answers
        self.children: dict[tuple[int, ...], Node] = {}
        self.live: Run | None = None
        self.ops: tuple[Sent, ...] = ()
        self.slots: tuple[int, ...] = ()
        self.outcome: tuple[Hashable] | None = None


class _Upload:
    """Handed out for `Begin`; it is the process's own until its completion, unless it has a *token*."""

    def __init__(self, key: str, token: str) -> None:
        self.key, self.token, self.parts = key, token, [b""]


class Run:
    """A generator being run: what it pulled, emitted and uploaded so far."""

    def __init__(self, process: Process, now: float, overwriting: bool) -> None:
        self.process, self.now, self.overwriting = process, now, overwriting
        self.steps = process.steps()
        self.pulled = self.begun = 0
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
                    batch = self.steps.send(merged) if failure is None else self.steps.throw(_error(failure))
                self.batch = [self._sent(op) for op in batch]
                self.local = [
                    None if sent is not None and not isinstance(sent, Opened) else self._answer(op, sent)
                    for op, sent in zip(batch, self.batch, strict=True)
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
        merged: list[Any] = []
        for sent, local in zip(self.batch, self.local, strict=True):
            answer = local if sent is None else next(rest)
            merged.append(local if isinstance(sent, Opened) and not isinstance(answer, Failure) else answer)
        return tuple(merged)

    def _sent(self, op: Any) -> Sent | None:
        match op:
            case Commit(upload):
                assert isinstance(upload, _Upload)
                return Completion(upload.key, b"".join(upload.parts), self.overwriting, upload.token)
            case Begin(key, _) if self.process.uploads:
                self.begun += 1
                return Opened(key, f"{self.process.name}-{self.begun}")
            case Abort(upload) if self.process.uploads:
                assert isinstance(upload, _Upload)
                return Discard(Unfinished(upload.key, 0.0, upload.token))
            case Begin() | Part() | Abort() | Now() | Pull() | Rewind() | Emit():
                return None
        return op  # type: ignore[no-any-return]

    def _answer(self, op: Any, sent: Sent | None) -> Any:
        match op:
            case Begin(key, _):
                return _Upload(key, sent.token if isinstance(sent, Opened) else "")
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
        local = tuple((one.key, one.token, *one.parts) if isinstance(one, _Upload) else repr(one) for one in self.local)
        counts = self.pulled, self.begun
        return snapshot(self.steps), tuple(self.batch), local, counts, tuple(map(repr, self.emitted))


def _error(failure: Failure) -> BackendError:
    if failure.gone:
        return BackendError("the upload was ended from outside")
    return BackendUnavailable("no answer came", landed=failure.landed)


class Place:
    """A node, and how far its batch has come. `pending`: (index, bit, number of the operation, whether it writes)."""

    __slots__ = ("done", "full", "moved", "next", "node", "number", "pending")

    def __init__(self, number: int, node: Node, done: tuple[int, ...], pending: tuple[tuple[int, int, int, bool], ...]):
        self.number, self.node, self.done, self.pending = number, node, done, pending
        self.next: dict[tuple[int, int], Place] = {}
        self.moved: dict[int, int] = {}
        mask = 1
        for _, bit, _, _ in pending:
            mask |= bit
        self.full = number << SHIFT | mask


SHIFT = 24
MASK = (1 << SHIFT) - 1
PENDING = -1
"""In a place's `done`: minus how often an operation was sent; an answer's number is not negative."""


class Program:
    """All places that one process can be at."""

    def __init__(self, process: Process, store: ModelStore, overwriting: bool) -> None:
        self.process, self.store, self.overwriting = process, store, overwriting
        self.places: list[Place] = []
        self._index: dict[tuple[Node, tuple[int, ...]], Place] = {}
        self._alike: dict[Hashable, Node] = {}
        self._ends: dict[Hashable, Node] = {}
        self._live: deque[Node] = deque()
        self.root = self._node(None, (), self._fresh())
        self.start = self.place(self.root, (PENDING,) * len(self.root.ops))

    def _fresh(self) -> Run:
        return Run(self.process, self.store.now, self.overwriting)

    def _node(self, parent: Node | None, answers: tuple[Any, ...], run: Run) -> Node:
        node = Node(parent, answers)
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

    def child(self, node: Node, done: tuple[int, ...]) -> Node:
        """Where the generator stands after these answers."""
        child = node.children.get(done)
        if child is None:
            answers: dict[int, Any] = {}
            for slot, answer in zip(node.slots, done, strict=True):
                value = self.store.answers[answer]
                if not isinstance(answers.get(slot), Failure):
                    answers[slot] = value
            run = node.live or self._replayed(node)
            node.live = None
            child = node.children[done] = self._node(node, tuple(answers[slot] for slot in sorted(answers)), run)
        return child

    def _replayed(self, node: Node) -> Run:
        history: list[tuple[Any, ...]] = []
        at: Node = node
        while at.parent is not None:
            history.append(at.answers)
            at = at.parent
        run = self._fresh()
        run.advance(None)
        for answers in reversed(history):
            run.advance(answers)
        return run

    def place(self, node: Node, done: tuple[int, ...]) -> Place:
        place = self._index.get((node, done))
        if place is None:
            store = self.store
            pending = tuple(
                (index, 2 << index, store.op(op, -state), type(op).__name__ in WRITES)
                for index, (op, state) in enumerate(zip(node.ops, done, strict=True))
                if state < 0
            )
            place = self._index[node, done] = Place(len(self.places), node, done, pending)
            self.places.append(place)
            if len(node.ops) + 1 >= SHIFT:
                raise Broken(f"a batch of {len(node.ops)} operations is more than the simulator can hold")
        return place

    def after(self, place: Place, index: int, state: int) -> Place:
        """The place after operation *index* got an answer, or (negative) is sent again."""
        done = (*place.done[:index], state, *place.done[index + 1 :])
        if any(one < 0 for one in done):
            found = self.place(place.node, done)
        else:
            node = self.child(place.node, done)
            found = self.place(node, (PENDING,) * len(node.ops))
        place.next[index, state] = found
        return found
