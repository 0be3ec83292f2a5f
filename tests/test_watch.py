"""A watch tells every new version and every deletion once, in order within a name, across restarts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from artifactfs.watch import looking
from artifactfs.watch.state import Runs, State, each, flipped, highest, holds, runs_of

from .watched_world import NAMES, World

names = st.sampled_from(NAMES)
times = st.integers(1, 12)


# --- every interleaving -----------------------------------------------------------------------------------------------


class WatchMachine(RuleBasedStateMachine):
    """Savers, deleters, fences and compaction beside a watcher that is killed and resumed, an operation at a time."""

    page = 5

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.page)

    @rule(name=names)
    def save(self, name: str) -> None:
        self.world.save(name)

    @rule(name=names, data=st.sampled_from([b"", b"x", b"artifactfs fence0123456789abcdef"]))
    def save_at_once(self, name: str, data: bytes) -> None:
        self.world.do(self.world.save(name, data))

    @rule(name=names)
    def remove(self, name: str) -> None:
        self.world.remove(name)

    @rule(name=names, number=st.integers(0, 6))
    def delete(self, name: str, number: int) -> None:
        self.world.delete(name, number)

    @rule(name=names)
    def delete_all(self, name: str) -> None:
        self.world.delete(name)

    @rule(name=names)
    def fence(self, name: str) -> None:
        self.world.fence(name)

    @rule(name=names)
    def compact(self, name: str) -> None:
        self.world.compact(name)

    @rule(which=st.integers(0, 5), count=times)
    def go_on(self, which: int, count: int) -> None:
        for _ in range(count):
            if self.world.flights:
                self.world.step(self.world.flights[which % len(self.world.flights)])

    @rule(brief=st.booleans(), count=times)
    def look(self, brief: bool, count: int) -> None:
        self.world.look(brief=brief)
        for _ in range(count):
            self.world.look_further()

    @rule()
    def look_whole(self) -> None:
        self.world.look_whole()

    @rule()
    def kill(self) -> None:
        self.world.kill()

    def teardown(self) -> None:
        self.world.come_to_rest()
        self.world.check()


class OnePage(WatchMachine):
    page = 1000


TestManyPages = WatchMachine.TestCase
TestOnePage = OnePage.TestCase
for _case in (TestManyPages, TestOnePage):
    _case.settings = settings(stateful_step_count=max(40, settings().stateful_step_count))
del _case


def _is_caught(why: str) -> None:
    seen = settings(
        derandomize=True,
        database=None,
        max_examples=500,
        stateful_step_count=40,
        phases=[Phase.generate],
        deadline=None,
    )
    with pytest.raises(AssertionError, match=why):
        run_state_machine_as_test(WatchMachine, settings=seen)


def test_a_watcher_that_keeps_only_the_highest_number_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def publish(self: State, artifact: str, number: int) -> None:
        self.live[artifact] = (0, max(number, self.top(artifact)) + 1)

    monkeypatch.setattr(State, "publish", publish)
    _is_caught("was not told|never happened")


def test_a_watcher_that_forgets_what_has_ended_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    end = State.end
    monkeypatch.setattr(
        State, "end", lambda self, artifact, number, remains=True: end(self, artifact, number, remains=False)
    )
    _is_caught("no end|told twice")


def _published_while_pages_are_listed() -> World:
    """Two versions whose claims are on two pages are published after the first page was listed, and before the second."""
    world = World(page=9)
    world.do(*(world.save("a") for _ in range(4)))
    world.look_whole()
    late, later = world.save("a"), world.save("a")
    for flight in (late, later):
        while not any(key.endswith(f"/{4 + (flight is later)}.metadata") for key in world.backend._root.objects):
            world.step(flight)
    world.look()
    world.look_further()
    world.do(late, later)
    world.come_to_rest()
    return world


def test_what_two_pages_share_is_told_in_the_order_in_which_it_was_published() -> None:
    world = _published_while_pages_are_listed()
    assert [event.version for event in world.told] == [0, 1, 2, 3, 4, 5]
    world.check()


def test_a_watcher_that_does_not_look_again_at_what_two_pages_share_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def once(self: Any, leads: Any, where_to: Any) -> Any:
        return leads
        yield

    monkeypatch.setattr(looking.Lookout, "_again", once)
    with pytest.raises(AssertionError, match="in another order"):
        _published_while_pages_are_listed().check()
