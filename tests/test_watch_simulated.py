"""A watch beside savers and deleters in every interleaving, with lost answers and writes that land late."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import pytest

from artifactfs.protocol.ops import Steps
from artifactfs.records import Removed, Tombstone, decode, fits, is_fence
from artifactfs.testing.simulated_processes import Broken, Process
from artifactfs.testing.simulated_store import Contents, Item
from artifactfs.testing.simulator import Simulator, Violation
from artifactfs.watch.looking import Lookout
from artifactfs.watch.state import State
from artifactfs.watch.walking import Place

from .simulations.processes import NOW, SCOPE, deleter, fencer, remover, saver, starts

STARTS = starts()

Fact = tuple[str, int]
"""What happened, and to which number."""


def watching(token: str, name: str = "watch", looks: int = 2) -> Process:
    """So many looks, each resumed by the token of the one before."""

    def steps() -> Steps[Any]:
        last = token
        for _ in range(looks):
            lookout = Lookout(Place.of_scope(SCOPE), State.decode(last, SCOPE.folder, ""), instant=True)
            yield from lookout.look()
            last = lookout.state.encode()
        return last

    def outcome(result: Any, emitted: Sequence[Any]) -> Hashable:
        if isinstance(result, Exception):
            return ("failed", repr(result))
        return ("watched", result, *((event.kind, event.version) for event in emitted))

    return Process(name, steps, outcome)


FIRST = watching(State(SCOPE.folder).encode())


class Known(NamedTuple):
    """What has happened, and what the watcher that has ended had told by then, with its token."""

    facts: tuple[Fact, ...]
    told: tuple[Fact, ...] = ()
    token: str = ""


def versions(contents: Contents) -> dict[int, str]:
    found = {}
    for key, item in contents.items():
        number = key.rpartition("/")[2]
        if "@" in key or not number.isdigit():
            continue
        record = decode(contents[f"{key}.metadata"].data) if f"{key}.metadata" in contents else None
        fence = is_fence(item.data) and (record is None or not fits(record, item.data))
        if not isinstance(record, Tombstone) and not fence:
            found[int(number)] = "removed" if isinstance(record, Removed) else "published"
    return found


class Truth:
    """Whatever a watcher tells has happened, and once it looks again with nobody beside it, it has told all of it, once."""

    def view(self, contents: Contents) -> Hashable:
        return frozenset(contents.items())

    def audit(self, view: Any, alone: Callable[[Process], Hashable]) -> None: ...

    def enough(self, view: Any) -> bool:
        return False

    def start(self, contents: Contents) -> Hashable:
        stones = [
            int(key.rpartition("/")[2].partition(".")[0])
            for key, item in contents.items()
            if b'"reason":"deleted"' in item.data
        ]
        facts = [(what, number) for number, what in versions(contents).items()]
        return Known((*facts, *(("deleted", number) for number in stones)))

    def step(self, seen: Known, process: Process, began: bool, before: Any, after: Any, ended: Any) -> Hashable:
        then, now = versions(dict(before)), versions(dict(after))
        facts = (
            *seen.facts,
            *((what, number) for number, what in now.items() if number not in then),
            *(("deleted", number) for number in then if number not in now),
        )
        seen = seen._replace(facts=facts)
        if process is FIRST and ended is not None:
            what, token, *told = ended[0]
            if what != "watched":
                raise Broken(f"the watcher failed: {token}")
            seen = seen._replace(told=tuple(told), token=token)
        if seen.token:
            self.check(seen, dict(after))
        return seen

    def check(self, seen: Known, contents: dict[str, Item]) -> None:
        outcome: Any = Simulator(self, now=NOW).alone(watching(seen.token, "rest"), contents)[0]
        told = [*seen.told, *outcome[2:]]
        deleted = {number for what, number in seen.facts if what == "deleted"}
        if len(told) != len(set(told)):
            raise Broken(f"told twice: {told}")
        if not set(told) <= set(seen.facts):
            raise Broken(f"told what never happened: {told}, of {seen.facts}")
        if missing := {one for one in seen.facts if one[0] == "deleted" or one[1] not in deleted} - set(told):
            raise Broken(f"not told: {missing}, but {told}")
        for place, (what, number) in enumerate(told):
            if what == "deleted" and any(other == number for _, other in told[place + 1 :]):
                raise Broken(f"told of after it was deleted: {told}")


def explore(name: str, *others: Process, faults: int = 0, most: int | None = None) -> None:
    contents = STARTS[name]
    seen = Simulator(Truth(), now=NOW).explore([FIRST, *others], contents, faults=faults, most=most)
    print(name, [other.name for other in others], seen)
    assert most is not None or seen.exhausted


@pytest.mark.parametrize("name", ["empty", "one", "one, claimed", "fenced", "removed"])
def test_beside_one_other(name: str) -> None:
    for other in (saver("A"), remover("A"), deleter(0), deleter(1), fencer()):
        explore(name, other)


@pytest.mark.parametrize("name", ["empty", "one"])
def test_beside_one_other_whose_answers_are_lost(name: str) -> None:
    for other in (saver("A"), deleter(0)):
        explore(name, other, faults=1)


def test_beside_two_savers_and_beside_a_fence() -> None:
    explore("empty", saver("A"), saver("B"))
    explore("one, claimed", fencer(), deleter(0))


@pytest.mark.nightly
@pytest.mark.parametrize("name", [*STARTS])
def test_beside_two_others(name: str) -> None:
    others = [saver("A"), remover("R"), deleter(0), deleter(1), fencer()]
    for place, one in enumerate(others):
        for other in others[place:]:
            explore(name, one, saver("B") if other is one else other, most=50_000)
        explore(name, one, faults=1, most=50_000)


def test_a_watcher_that_keeps_only_the_highest_number_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def publish(self: State, artifact: str, number: int) -> None:
        self.live[artifact] = (0, max(number, self.top(artifact)) + 1)

    monkeypatch.setattr(State, "publish", publish)
    with pytest.raises(Violation, match=r"not told|told what never happened|told twice"):
        explore("empty", saver("A"), saver("B"))
