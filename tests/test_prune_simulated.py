"""Pruning beside savers, deleters and readers, under every interleaving, crash, lost answer and late write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

import pytest

from artifactfs.testing.simulated_processes import Process
from artifactfs.testing.simulator import Violation

from .simulations.faults import planted
from .simulations.pruning import FAULTS, RULES, beside, beside_two, prune_starts, simulator
from .simulations.scenarios import PLAIN, Way

STARTS = prune_starts()


def explore(rule: str, start: str, scenarios: Iterable[Sequence[Process]], way: Way = PLAIN, *, faults: int) -> str:
    contents = STARTS[start]
    began, count, states = time.perf_counter(), 0, 0
    runner = simulator(rule, contents, **way.store)
    for processes in scenarios:
        found = runner.explore(processes, contents, faults=faults)
        assert found.exhausted
        count, states = count + 1, states + found.states
    return f"{rule}, {start}: {count} scenarios, {states} states, {time.perf_counter() - began:.1f} s"


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def show(text: str) -> None:
        with capsys.disabled():
            print(f"\n    {text}", end="")

    return show


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_is_planted_into_pruning_is_found(name: str) -> None:
    rule, fault = FAULTS[name]
    contents = STARTS[fault.start]
    simulator(rule, contents).explore([make() for make in fault.processes], contents, faults=fault.faults)
    with ExitStack() as stack:
        for function in dict.fromkeys(function for function, _, _ in fault.changes):
            stack.enter_context(planted(function, *((old, new) for one, old, new in fault.changes if one is function)))
        with pytest.raises(Violation, match="BROKEN"):
            simulator(rule, contents).explore([make() for make in fault.processes], contents, faults=fault.faults)


# Each of these takes from five seconds to more than a minute.
LONG = {("a day", "removed, back"), *((rule, "twice removed") for rule in RULES)}

# With a fault these are tens of millions of states.
LONGEST = {("until it is removed", "twice removed"), ("a day", "twice removed")}

CASES = [
    pytest.param(rule, start, marks=[pytest.mark.nightly] * ((rule, start) in LONG), id=f"{rule}, from {start}")
    for rule in RULES
    for start in STARTS
]


@pytest.mark.parametrize(("rule", "start"), CASES)
def test_what_is_pruned_beside_anything_else(rule: str, start: str, say: Callable[[str], None]) -> None:
    say(explore(rule, start, beside(rule, STARTS[start]), faults=0))


@pytest.mark.nightly
@pytest.mark.timeout(36000)
@pytest.mark.parametrize(("rule", "start"), [case for case in CASES if case.values not in LONGEST])
def test_what_is_pruned_beside_anything_else_with_a_fault(rule: str, start: str, say: Callable[[str], None]) -> None:
    say(explore(rule, start, beside(rule, STARTS[start]), faults=1))


@pytest.mark.nightly
@pytest.mark.timeout(36000)
@pytest.mark.parametrize(("rule", "start"), [case for case in CASES if case.values not in LONG])
def test_what_is_pruned_beside_a_slow_saver_and_another(rule: str, start: str, say: Callable[[str], None]) -> None:
    say(explore(rule, start, beside_two(rule, STARTS[start]), faults=0))


WAYS = {
    "pages of two": Way(page=2),
    "no conditional rewrite": Way(conditional=False),
    "failures": Way(failing=True),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_pruned_on_other_kinds_of_store(way: str, say: Callable[[str], None]) -> None:
    say(explore("the last", "two", beside("the last", STARTS["two"], WAYS[way]), WAYS[way], faults=1))
