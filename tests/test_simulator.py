"""The protocol under every interleaving, crash, lost answer and late write; and the simulator that says so.

Each exploration prints what it saw. The quick ones are part of every run; those marked `deep` go through everything,
and what is marked `nightly` does so for longer starts, or goes on for as long as it is given.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from artifactfs.protocol import fence as fence_module
from artifactfs.protocol import publish as publish_module
from artifactfs.protocol.ops import Create, Get, Put, Steps
from artifactfs.testing import simulated_processes
from artifactfs.testing.frames import Unknown
from artifactfs.testing.simulated_processes import Broken, Process
from artifactfs.testing.simulated_store import Contents
from artifactfs.testing.simulator import Seen, Simulator, Violation

from .simulations.faults import FAULTS, Fault, planted
from .simulations.naive import all_ends, all_ends_of
from .simulations.processes import (
    NOW,
    deleter,
    fencer,
    known_reader,
    namer,
    newest_reader,
    remover,
    restorer,
    saver,
    simulator,
    starts,
    streamer,
)
from .simulations.scenarios import PLAIN, Way, pairs, singles, triples

STARTS = starts()

SECONDS = float(os.environ.get("ARTIFACTFS_SIM_SECONDS", "15"))
"""How long three writers are explored; two writers, another process and a fault half as long."""


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Shows a line although the test passes."""

    def show(text: str) -> None:
        with capsys.disabled():
            print(f"\n    {text}", end="")

    return show


class Total:
    """What several explorations saw."""

    def __init__(self) -> None:
        self.count = self.states = self.transitions = self.cut = self.unfinished = self.unreached = 0
        self.began = time.perf_counter()

    def add(self, seen: Seen) -> None:
        self.count += 1
        self.states += seen.states
        self.transitions += seen.transitions
        self.cut += seen.cut
        self.unfinished += not seen.exhausted

    def __str__(self) -> str:
        open_ends = f", {self.unfinished} NOT exhausted, {self.unreached} not reached"
        return (
            f"{self.count} scenarios, {self.states} states, {self.transitions} transitions, {self.cut} cut off, "
            f"{time.perf_counter() - self.began:.0f} s{open_ends if self.unfinished or self.unreached else ', exhausted'}"
        )


def explore_all(
    start: str,
    scenarios: Iterable[Sequence[Process]],
    way: Way = PLAIN,
    *,
    faults: int,
    more: int = 3,
    seconds: float | None = None,
) -> Total:
    """Explore all of them, one after the other, or as far as *seconds* reach."""
    contents = STARTS[start]
    total = Total()
    with ExitStack() as stack:
        if not way.atomic:
            # What is longer than this is uploaded in parts, and only then a completion overwrites.
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(fence_module, "WHOLE_LIMIT", 5)
            patch.setattr(publish_module, "WHOLE_LIMIT", 5)
        runner = simulator(contents, more, **way.store)
        for processes in scenarios:
            left = None if seconds is None else seconds - (time.perf_counter() - total.began)
            if left is not None and left <= 0:
                total.unreached += 1
            else:
                total.add(runner.explore(processes, contents, faults=faults, seconds=left))
    return total


# The engine


def _toy_saver(name: str, *, atomic: bool) -> Process:
    """Claims the first free number, and publishes under it."""

    def steps() -> Steps[int]:
        data = name.encode()
        number = 0
        while True:
            if atomic:
                (written,) = yield (Create(f"claim{number}", data, ""),)
                won = written.done
            else:
                (there,) = yield (Get(f"claim{number}"),)
                won = there is None
                if won:
                    yield (Put(f"claim{number}", data, ""),)
            if not won:
                (there,) = yield (Get(f"claim{number}"),)
                won = there is not None and there.data == data
            if won:
                yield (Create(f"payload{number}", data, ""),)
                return number
            number += 1

    return Process(name, steps)


class _NoNumberTwice:
    def view(self, contents: Contents) -> Any:
        return ()

    def audit(self, view: Any, alone: Any) -> None: ...

    def enough(self, view: Any) -> bool:
        return False

    def start(self, contents: Contents) -> Any:
        return ()

    def step(self, seen: Any, process: Process, began: bool, before: Any, after: Any, ended: Any) -> Any:
        if ended is None:
            return seen
        if ended[0] in seen:
            raise Broken(f"{ended[0]} was given twice")
        return tuple(sorted((*seen, ended[0])))


def test_a_race_is_found_and_its_schedule_can_be_replayed() -> None:
    processes = [_toy_saver(name, atomic=False) for name in "AB"]
    with pytest.raises(Violation, match="0 was given twice") as caught:
        Simulator(_NoNumberTwice()).explore(processes, {})
    text = Simulator(_NoNumberTwice()).replay(processes, {}, caught.value.schedule)
    assert text == caught.value.trace
    assert text.splitlines()[-1] == "    BROKEN: 0 was given twice"
    assert "A            Put claim0 = b'A' -> done" in text


@pytest.mark.parametrize("faults", [0, 1, 2])
def test_without_the_race_everything_is_explored(faults: int) -> None:
    seen = Simulator(_NoNumberTwice()).explore([_toy_saver(name, atomic=True) for name in "ABC"], {}, faults=faults)
    assert seen.exhausted
    assert seen.states > 400 * 5**faults


def test_a_limited_exploration_says_so() -> None:
    processes = [_toy_saver(name, atomic=True) for name in "ABC"]
    seen = Simulator(_NoNumberTwice()).explore(processes, {}, faults=1, most=100)
    assert not seen.exhausted
    assert "NOT exhausted" in str(seen)


COMPARED: dict[str, tuple[str, int, Callable[[], list[Process]]]] = {
    "two toys, two faults": ("empty", 2, lambda: [_toy_saver(name, atomic=True) for name in "AB"]),
    "three toys": ("empty", 0, lambda: [_toy_saver(name, atomic=True) for name in "ABC"]),
    "racing toys, a fault": ("empty", 1, lambda: [_toy_saver(name, atomic=False) for name in "AB"]),
    "two savers": ("empty", 0, lambda: [saver("A"), saver("B")]),
    "saver and delete, a fault": ("empty", 1, lambda: [saver("A", memory=0), deleter(0)]),
    "saver and fence": ("claimed", 0, lambda: [saver("A"), fencer()]),
    "stream and reader, a fault": ("empty", 1, lambda: [streamer("A"), known_reader(0)]),
    "remove and reader": ("one", 0, lambda: [remover("A"), newest_reader()]),
    "delete without conditional rewrites, a fault": (
        "one",
        1,
        lambda: [saver("A"), deleter(0, conditional=False)],
    ),
    "compare-and-set and delete": ("one", 0, lambda: [saver("A", 0), deleter(0)]),
    "names and delete": ("one", 0, lambda: [namer(), deleter(0)]),
}


@pytest.mark.parametrize("name", COMPARED)
def test_what_is_left_out_would_not_end_otherwise(name: str) -> None:
    """A few lines that leave nothing out, and go through all orders, come to the same outcomes and stores."""
    start, faults, make = COMPARED[name]
    contents = STARTS[start]
    assert all_ends_of(make(), contents, NOW, faults) == all_ends(make(), contents, NOW, faults)


def test_generators_that_are_taken_for_equal_go_on_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = [saver("A"), deleter(0), fencer()]
    merged = all_ends(processes, {}, NOW, 1)

    def never(generator: Any) -> Any:
        raise Unknown

    monkeypatch.setattr(simulated_processes, "snapshot", never)
    assert all_ends(processes, {}, NOW, 1) == merged


# Planted faults


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found(fault: Fault) -> None:
    contents = STARTS[fault.start]
    simulator(contents).explore([make() for make in fault.processes], contents, faults=fault.faults)
    with ExitStack() as stack:
        for function, old, new in fault.changes:
            stack.enter_context(planted(function, (old, new)))
        with pytest.raises(Violation, match="BROKEN") as caught:
            simulator(contents).explore([make() for make in fault.processes], contents, faults=fault.faults)
        again = simulator(contents).replay([make() for make in fault.processes], contents, caught.value.schedule)
    assert again.endswith(f"BROKEN: {caught.value.why}")


# The protocol


@pytest.mark.parametrize("way", [PLAIN, Way(newest=1)], ids=["pages", "its newest numbers alone"])
@pytest.mark.parametrize("start", ["empty", "one", "removed", "newest deleted"])
def test_a_writer_and_another_process_with_a_fault(start: str, way: Way, say: Callable[[str], None]) -> None:
    total = explore_all(start, singles(STARTS[start], way), way, faults=1)
    say(str(total))
    assert not total.unfinished


@pytest.mark.parametrize("start", STARTS)
def test_two_writers(start: str, say: Callable[[str], None]) -> None:
    total = explore_all(start, pairs(STARTS[start], alone=True), faults=0)
    say(str(total))
    assert not total.unfinished


SPECIAL: dict[str, tuple[str, int, Callable[[], list[Process]]]] = {
    "a payload that looks like a fence": (
        "empty",
        1,
        lambda: [saver("A", data=b"artifactfs fence" + b"of a user......."), fencer(), known_reader(0)],
    ),
    "empty payloads": ("one", 1, lambda: [saver("A", data=b""), remover("B"), newest_reader()]),
    "two savers with one old memory": ("two", 1, lambda: [saver("A", memory=1), saver("B", memory=1)]),
    "a compare-and-set with a memory": ("one", 1, lambda: [saver("A", 0, memory=1), saver("B", 0), deleter(0)]),
    "savers that take the same mark away": (
        "removed",
        1,
        lambda: [saver("A", memory=2, mark=1), remover("B"), namer()],
    ),
    "a removal that expects a version, and a save": ("one", 1, lambda: [remover("A", 0), saver("B"), newest_reader()]),
    "a removal and a save that expect the same": ("one", 1, lambda: [remover("A", 0), saver("B", 0), namer()]),
    "a removal that expects a version, fenced": ("one", 1, lambda: [remover("A", 0), fencer()]),
    "an old version that comes back, and a save": ("two", 1, lambda: [restorer("A", 0, 1, of="s0"), saver("B")]),
    "an old version that comes back, and a removal": (
        "two",
        1,
        lambda: [restorer("A", 0, 1, of="s0"), remover("B", 1), newest_reader()],
    ),
    "a removed version that comes back, and a save": (
        "removed",
        1,
        lambda: [restorer("A", 0, "absent", of="s0"), saver("B", "absent"), namer()],
    ),
    "a mark that is taken away and set": ("removed", 1, lambda: [saver("A", memory=2, mark=1), deleter(1), namer()]),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_a_special_case(name: str, say: Callable[[str], None]) -> None:
    start, faults, make = SPECIAL[name]
    total = explore_all(start, [make()], faults=faults)
    say(str(total))
    assert not total.unfinished


# Everything


# Each of these takes a minute or more.
LONG = (
    "two",
    "claimed",
    "removed",
    "fenced",
    "one, claimed",
    "deleted, payload left",
    "older deleted, payload left",
    "newest deleted",
    "older deleted",
    "removed, deleted",
    "all deleted",
)


@pytest.mark.deep
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "start", [pytest.param(start, marks=[pytest.mark.nightly] * (start in LONG)) for start in STARTS]
)
def test_two_writers_and_another_process(start: str, say: Callable[[str], None]) -> None:
    total = explore_all(start, pairs(STARTS[start]), faults=0)
    say(str(total))
    assert not total.unfinished


@pytest.mark.deep
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("start", STARTS)
def test_two_writers_with_a_fault(start: str, say: Callable[[str], None]) -> None:
    total = explore_all(start, pairs(STARTS[start], alone=True), faults=1)
    say(str(total))
    assert not total.unfinished


WAYS = {
    "pages of two": Way(page=2),
    "its newest numbers alone": Way(newest=1),
    "no conditional rewrite": Way(conditional=False),
    "completion that overwrites": Way(atomic=False),
    "failures": Way(failing=True),
}


@pytest.mark.deep
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[pytest.mark.nightly] * (WAYS[way].newest > 0)) for way in WAYS]
)
@pytest.mark.parametrize(
    "start", [pytest.param(start, marks=[pytest.mark.nightly] * (start in LONG)) for start in STARTS]
)
def test_a_writer_and_another_process_on_other_kinds_of_store(start: str, way: str, say: Callable[[str], None]) -> None:
    total = explore_all(start, singles(STARTS[start], WAYS[way]), WAYS[way], faults=2)
    say(str(total))
    assert not total.unfinished


@pytest.mark.nightly
@pytest.mark.timeout(36000)
@pytest.mark.parametrize("start", STARTS)
def test_a_writer_and_another_process_with_three_faults(start: str, say: Callable[[str], None]) -> None:
    total = explore_all(start, singles(STARTS[start]), faults=3)
    say(str(total))
    assert not total.unfinished


FIRST = ("empty", "one", "claimed", "newest deleted", "all deleted")
"""The stores from which the largest explorations are always complete; from the others as far as time reaches."""


@pytest.mark.deep
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "start", [pytest.param(start, marks=[pytest.mark.nightly] * (start != "empty")) for start in FIRST]
)
def test_two_writers_and_another_process_with_a_fault(start: str, say: Callable[[str], None]) -> None:
    total = explore_all(start, pairs(STARTS[start], eager=False), faults=1)
    say(str(total))
    assert not total.unfinished


@pytest.mark.nightly
@pytest.mark.timeout(36000)
def test_two_writers_and_another_process_as_far_as_time_reaches(say: Callable[[str], None]) -> None:
    ends = time.perf_counter() + SECONDS / 2
    rounds = [(start, False) for start in STARTS if start not in FIRST] + [(start, True) for start in STARTS]
    for start, eager in rounds:
        left = ends - time.perf_counter()
        if left <= 0:
            say(f"NOT reached: {rounds[rounds.index((start, eager)) :]}")
            break
        total = explore_all(start, pairs(STARTS[start], eager=eager), faults=1, seconds=left)
        say(f"from {start!r}: {total}")


@pytest.mark.deep
@pytest.mark.timeout(36000)
def test_three_writers_as_far_as_time_reaches(say: Callable[[str], None]) -> None:
    ends = time.perf_counter() + SECONDS
    rounds = [(faults, start) for faults in (0, 1, 2) for start in STARTS]
    for faults, start in rounds:
        left = ends - time.perf_counter()
        if left <= 0:
            say(f"NOT reached: {rounds[rounds.index((faults, start)) :]}")
            break
        total = explore_all(start, triples(STARTS[start]), faults=faults, seconds=left, more=5)
        say(f"{faults} faults, from {start!r}: {total}")
