"""A prune as a process of the simulator, what it promises to whoever runs beside it, and faults planted into it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from artifactfs.protocol import prune as prune_module
from artifactfs.protocol import prune_plan
from artifactfs.protocol.ops import Steps
from artifactfs.protocol.prune import Pruned
from artifactfs.retention import RetentionPolicy, RetentionRule, _keeping
from artifactfs.testing.simulated_processes import Broken, Process
from artifactfs.testing.simulated_store import Contents
from artifactfs.testing.simulator import Simulator

from .faults import Fault
from .processes import LONG_AGO, NOW, SCOPE, _plainly, after, audits, compactor, deleter, env, remover, saver, starts
from .properties import Promises, Role, Seen, View, is_removal, view
from .scenarios import PLAIN, Way, others, writers

RULES = {
    "the last": RetentionRule(keep_last=1),
    "until it is removed": RetentionRule(keep_last=2, expire_removed=timedelta(days=7)),
    "a day": RetentionRule(keep_within=timedelta(days=1), keep_newest=False),
}
"""What the stores to start from hold is older than any of these durations, and what is saved is younger."""


def pruner(rule: str, name: str = "prune", *, may_fail: bool = False, **settings: Any) -> Process:
    def steps() -> Steps[Any]:
        policy = RetentionPolicy(rules=(RULES[rule],))
        return prune_module.prune(env(name, **settings), policy, [SCOPE], "the store")

    def outcome(result: Any, emitted: Sequence[Any]) -> Hashable:
        return ("done",) if isinstance(result, Pruned) else _plainly(result, emitted)

    return Process(name, steps, outcome, role=Role("other", number=PRUNES, may_fail=may_fail))


PRUNES = -2
"""The number in the role of a prune, which deletes versions of any."""


def not_kept(rule: RetentionRule, now: View, old: frozenset[int]) -> frozenset[int]:
    """The versions that a policy does not keep, in a few lines of its own; *old* are older than any duration in it."""
    contents = [number for number, content in now.versions if not is_removal(content)]
    kept: set[int] = set()
    newest = now.versions[-1][0] if now.versions else -1
    if not (rule.expire_removed and newest in old and newest not in contents):
        kept |= set(contents[-1:] if rule.keep_newest else []) | set(contents[-(rule.keep_last or len(contents) + 1) :])
        if rule.keep_last is None:
            kept &= set(contents[-1:] if rule.keep_newest else []) | (set(contents) - old)
    for number, content in now.versions:
        if is_removal(content) and kept and min(kept) < number:
            kept.add(number)
    return frozenset(number for number, _ in now.versions if number not in kept)


class Known(NamedTuple):
    """What is known to `Promises`; what was there at first; since the first prune began what was there then, and what the
    policy did not keep at some instant since."""

    base: Seen
    old: frozenset[int]
    there: frozenset[int] | None = None
    loose: frozenset[int] = frozenset()


class Keeping(Promises):
    """A prune deletes no version that came since it began, none that its policy kept all the while, and brings nothing
    that was removed back into view."""

    def __init__(self, rule: str, *args: Any) -> None:
        super().__init__(*args)
        self.rule = RULES[rule]

    def start(self, contents: Contents) -> Any:
        return Known(super().start(contents), frozenset(number for number, _ in view(contents).versions))

    def step(self, seen: Any, process: Process, began: bool, before: View, after: View, ended: Any) -> Any:
        base, old, there, loose = seen
        prunes = process.role.number == PRUNES
        if prunes and began and there is None:
            there = frozenset(number for number, _ in before.versions)
        if there is not None:
            loose |= not_kept(self.rule, before, old) | not_kept(self.rule, after, old)
        gone = dict(before.versions).keys() - dict(after.versions).keys()
        if prunes and gone:
            assert there is not None
            for number in gone:
                if number not in there:
                    raise Broken(f"version {number} came after the prune began, and was pruned")
                if number not in loose:
                    raise Broken(f"version {number} was pruned, and was kept by the policy all the time")
                if before.newest == ("none",) != after.newest and before.versions[-1][0] == number:
                    raise Broken(f"the removal {number} was pruned, and {after.newest} came back into view")
                deletes = replace(process, role=Role("delete", number=number))
                base = super().step(base, deletes, began, before, after, None)
            began, before = False, after
        return Known(super().step(base, process, began, before, after, ended), old, there, loose)


def simulator(rule: str, contents: Contents, **settings: Any) -> Simulator:
    return Simulator(Keeping(rule, audits, view(contents).top + 3), now=NOW, **settings)


def prune_starts() -> Mapping[str, Contents]:
    plain = starts()
    removed = plain["removed"]
    return {
        **{name: plain[name] for name in ("one", "two", "removed", "claimed", "newest deleted", "removed, deleted")},
        "older deleted, payload left": plain["older deleted, payload left"],
        "removed, back": after(saver("s2", at=LONG_AGO), contents=removed),
        "twice removed": after(saver("s2", at=LONG_AGO), remover("r3", at=LONG_AGO), contents=removed),
    }


def beside(rule: str, contents: Contents, way: Way = PLAIN) -> Iterator[tuple[Process, ...]]:
    """A prune, and each kind of what may run beside it."""
    prune = pruner(rule, **way.calls)
    several = [*writers("A", contents, way), *writers("A", contents, way, eager=True), *others(contents, way)]
    for one in [*several, pruner(rule, "another", **way.calls), compactor(may_fail=way.failing)]:
        yield one, prune


def beside_two(rule: str, contents: Contents) -> Iterator[tuple[Process, ...]]:
    """A prune, a slow saver of each kind, and somebody else.

    Not a delete of all: where somebody saves and somebody deletes what that has listed, it says that there was nothing.
    """
    for one in writers("A", contents):
        for other in [saver("B"), remover("C"), *others(contents)]:
            if other.role.kind != "delete all":
                yield one, other, pruner(rule)


def _prunes(rule: str) -> Callable[[], Process]:
    return partial(pruner, rule)


FAULTS: dict[str, tuple[str, Fault]] = {
    "one too few is kept": (
        "the last",
        Fault("", ((_keeping, "contents[: rule.keep_last]", "contents[: rule.keep_last - 1]"),
                   (_keeping, "if rule.keep_newest and contents:", "if False:")), "two", (_prunes("the last"),)),
    ),
    "removals go with what they remove": (
        "a day",
        Fault("", ((prune_module._carry_out, "for some in (contents, removals)", "for some in (older,)"),),
              "removed, back", (_prunes("a day"), partial(deleter, 2))),
    ),
    "the newest does not go last": (
        "until it is removed",
        Fault("", ((prune_module._carry_out, "if found.number != newest]", "]"),
                   (prune_module._carry_out, "for some in (contents, removals)", "for some in (removals, contents)"),
                   (prune_module._carry_out, "    if len(older) < len(plan.going):", "    if False:")),
              "removed", (_prunes("until it is removed"),)),
    ),
    "the newest goes without a mark": (
        "a day",
        Fault("", ((prune_module._carry_out, "        yield from mark_hidden(artifact, plan.listed.top)\n", ""),),
              "one", (_prunes("a day"),)),
    ),
    "a claim that was published meanwhile is overlooked": (
        "until it is removed",
        Fault("", ((prune_module.still_right, "(came or view.top", "(view.top"),
                   (prune_module.still_right, "min(came, default=removal) < removal or", ""),),
              "removed, back", (partial(remover, "A"), partial(deleter, 2), _prunes("until it is removed"))),
    ),
    "what was claimed below a removal comes into view": (
        "a day",
        Fault("", ((prune_module.still_right, "min(came, default=removal) < removal", "False"),
                   (prune_plan._is_claim, "not artifact.custody", "False and artifact.custody")),
              "one", (partial(saver, "A"), partial(remover, "C"), _prunes("a day"))),
    ),
    "what comes meanwhile is pruned, too": (
        "the last",
        Fault("", ((prune_module._Run.artifact, ".for_those_in(sizes)", ""),
                   (prune_module.still_right, "    return all(\n",
                    "    return view.payloads.keys() == plan.listed.payloads.keys() and all(\n")),
              "two", (_prunes("the last"), partial(saver, "A"), partial(saver, "B"))),
    ),
}  # fmt: skip
