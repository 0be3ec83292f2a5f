"""Collection beside savers, deleters and readers, under every interleaving, crash, lost answer and late write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from artifactfs.protocol import fence as fence_module
from artifactfs.protocol import publish as publish_module
from artifactfs.testing.simulated_processes import Process
from artifactfs.testing.simulator import Violation

from .simulations.faults import Fault, planted
from .simulations.processes import deleter, namer, saver, simulator, streamer
from .simulations.scenarios import PLAIN, Way
from .simulations.upkeep import FAULTS, beside, beside_two, collector, more_starts, seen

STARTS = more_starts()


@contextmanager
def parts(way: Way) -> Iterator[None]:
    """Where a completion overwrites, what is longer than five bytes is uploaded in parts."""
    with pytest.MonkeyPatch.context() as patch:
        if not way.atomic:
            patch.setattr(fence_module, "WHOLE_LIMIT", 5)
            patch.setattr(publish_module, "WHOLE_LIMIT", 5)
        yield


def explore(start: str, scenarios: Iterable[Sequence[Process]], way: Way = PLAIN, *, faults: int, more: int = 3) -> str:
    contents = STARTS[start]
    began, count, states = time.perf_counter(), 0, 0
    with parts(way):
        runner = simulator(contents, more, **way.store)
        for processes in scenarios:
            found = runner.explore(processes, contents, faults=faults)
            assert found.exhausted
            count, states = count + 1, states + found.states
    return f"{start}: {count} scenarios, {states} states, {time.perf_counter() - began:.1f} s"


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def show(text: str) -> None:
        with capsys.disabled():
            print(f"\n    {text}", end="")

    return show


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_that_is_planted_into_collection_is_found(fault: Fault) -> None:
    contents = STARTS[fault.start]
    simulator(contents).explore([make() for make in fault.processes], contents, faults=fault.faults)
    with ExitStack() as stack:
        for function in dict.fromkeys(function for function, _, _ in fault.changes):
            changes = [(old, new) for one, old, new in fault.changes if one is function]
            stack.enter_context(planted(function, *changes))
        with pytest.raises(Violation, match="BROKEN"):
            simulator(contents).explore([make() for make in fault.processes], contents, faults=fault.faults)


@pytest.mark.parametrize("start", STARTS)
def test_what_is_collected_beside_anything_else(start: str, say: Callable[[str], None]) -> None:
    say(explore(start, beside(STARTS[start]), faults=1))


def test_streams_are_left_alone_where_a_completion_overwrites() -> None:
    way = Way(atomic=False)
    contents = STARTS["empty"]

    def scenario(**settings: bool) -> list[Process]:
        return [seen(streamer("A", **way.calls)), collector(**(way.calls | settings))]

    explore("empty", [scenario()], way, faults=1)
    with parts(way), pytest.raises(Violation, match="BROKEN"):
        simulator(contents, **way.store).explore(scenario(streams=True), contents)


SPECIAL: dict[str, tuple[str, int, Callable[[], list[Process]]]] = {
    "two collectors and a stream": ("empty", 0, lambda: [seen(streamer("A")), collector("gc 1"), collector("gc 2")]),
    "a delete, a lost answer, and a late one": ("one", 1, lambda: [saver("A", memory=1), deleter(0), collector()]),
    "an old upload, and a new one": (
        "upload left",
        1,
        lambda: [seen(streamer("A")), collector(patient=True, stale=[1])],
    ),
    "marks": ("mark left", 0, lambda: [deleter(1), namer(), collector()]),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.nightly] * name.startswith("two")) for name in SPECIAL]
)
def test_a_special_case_of_collection(name: str, say: Callable[[str], None]) -> None:
    start, faults, make = SPECIAL[name]
    say(explore(start, [make()], faults=faults))


@pytest.mark.nightly
@pytest.mark.timeout(36000)
@pytest.mark.parametrize("start", STARTS)
def test_what_is_collected_beside_anything_else_with_faults(start: str, say: Callable[[str], None]) -> None:
    say(explore(start, beside(STARTS[start]), faults=2))


WAYS = {
    "pages of two": Way(page=2),
    "no conditional rewrite": Way(conditional=False),
    "completion that overwrites": Way(atomic=False),
    "failures": Way(failing=True),
}


@pytest.mark.nightly
@pytest.mark.timeout(36000)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("start", STARTS)
def test_what_is_collected_on_other_kinds_of_store(start: str, way: str, say: Callable[[str], None]) -> None:
    say(explore(start, beside(STARTS[start], WAYS[way]), WAYS[way], faults=1))


@pytest.mark.nightly
@pytest.mark.timeout(36000)
@pytest.mark.parametrize("start", ["empty", "one", "newest deleted"])
def test_what_is_collected_beside_two_writers(start: str, say: Callable[[str], None]) -> None:
    say(explore(start, beside_two(STARTS[start]), faults=0))
