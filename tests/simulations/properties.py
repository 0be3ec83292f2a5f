"""What the protocol promises, as an observer of the simulator.

`view` says in a few lines of its own, from the stored bytes, which versions there are. From there on the history of one
artifact is a sequence of such views, and everything that is answered must have been true at some instant between the
call and the answer: that is what linearisable means, with the writes to the store as the points at which things happen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from artifactfs.testing.simulated_processes import Broken, Process
from artifactfs.testing.simulated_store import Contents

FOLDER = "a/u/s/n/"

Newest = tuple[Any, ...]
"""``("version", number, content)`` or ``("none",)``."""


@dataclass(frozen=True)
class Role:
    """What a process is doing. `content` is what its version holds, `expect` and `number` what it was called with.

    `may_fail`: it may say that it does not know what became of its save. `stale`: the claims that it may end; else any.
    """

    kind: Literal["save", "remove", "newest", "known", "names", "versions", "delete", "delete all", "fence", "other"]
    content: str = ""
    expect: int | Literal["absent"] | None = None
    number: int = -1
    may_fail: bool = False
    stale: frozenset[int] | None = None


class View(NamedTuple):
    """The versions with their contents, the claims with whose they are, the highest number that has a key.

    `fresh`: there is nothing but claims (and fences), so a names listing may show the name.
    """

    versions: tuple[tuple[int, str], ...]
    claims: tuple[tuple[int, str], ...]
    top: int
    fresh: bool

    @property
    def newest(self) -> Newest:
        if not self.versions or is_removal(self.versions[-1][1]):
            return ("none",)
        return ("version", *self.versions[-1])

    def known(self, number: int) -> Newest:
        content = dict(self.versions).get(number)
        return ("none",) if content is None else ("version", number, content)

    @property
    def shown(self) -> set[bool]:
        return {self.newest != ("none",)} | ({True} if self.fresh else set())

    @property
    def loadable(self) -> frozenset[int]:
        return frozenset(number for number, content in self.versions if not is_removal(content))


def content_of(data: bytes, write_id: str, removal: bool = False) -> str:
    return f"{'removal' if removal else data.decode('latin-1')} of {write_id.rstrip('.')}"


def is_removal(content: str) -> bool:
    return content.startswith("removal of ")


def records(contents: Contents) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for key, item in contents.items():
        name = key.removeprefix(FOLDER)
        if name.endswith(".metadata"):
            found[int(name.removesuffix(".metadata"))] = json.loads(item.data)
    return found


def view(contents: Contents) -> View:
    known = records(contents)
    payloads = {
        int(key.removeprefix(FOLDER)): item.data
        for key, item in contents.items()
        if key.startswith(FOLDER) and key.removeprefix(FOLDER).isdecimal()
    }
    versions: dict[int, str] = {}
    for number, data in payloads.items():
        record = known.get(number, {"kind": "none", "write_id": "nobody"})
        fits = record.get("sha256") == hashlib.sha256(data).hexdigest()
        fence = data.startswith(b"artifactfs fence") and len(data) == 32 and not fits
        if record["kind"] != "tombstone" and not fence:
            versions[number] = content_of(data, record["write_id"], record["kind"] == "removed")
    claims = {
        number: record["write_id"].rstrip(".")
        for number, record in known.items()
        if number not in payloads and record["kind"] != "tombstone"
    }
    deleted = any(record.get("reason") == "deleted" for record in known.values())
    return View(
        tuple(sorted(versions.items())),
        tuple(sorted(claims.items())),
        max([-1, *known, *payloads]),
        bool(claims) and not versions and not deleted,
    )


class Running(NamedTuple):
    """What was true at some instant since a process began; `floor` is the highest number ever used before it did."""

    name: str
    role: Role
    floor: int
    first: frozenset[int]
    answers: frozenset[Any]
    always: frozenset[int]


class Seen(NamedTuple):
    """`ever`: each number that was ever a version or fenced, and its content; `gaps`: where no version may appear."""

    ever: tuple[tuple[int, str], ...]
    running: tuple[Running, ...]
    gaps: frozenset[tuple[int, int]]


class Promises:
    """The observer. *auditors* are run alone from every state of the store: a process, and what it must answer.

    Savers that fence each other could go on for ever; no number above *highest* is explored.
    """

    def __init__(
        self, auditors: Callable[[View], Sequence[tuple[Process, Callable[[Any], bool], str]]], highest: int = 5
    ) -> None:
        self.auditors, self.highest = auditors, highest

    def view(self, contents: Contents) -> View:
        return view(contents)

    def audit(self, view: View, alone: Callable[[Process], Hashable]) -> None:
        for process, is_right, wanted in self.auditors(view):
            answer = alone(process)
            if not is_right(answer):
                raise Broken(f"{process.name}, run alone now, answers {answer}; wanted: {wanted}; there: {view}")

    def enough(self, view: View) -> bool:
        return view.top >= self.highest

    def start(self, contents: Contents) -> Seen:
        there = view(contents)
        ended = {n: f"{r['reason']}" for n, r in records(contents).items() if r["kind"] == "tombstone"}
        return Seen(tuple(sorted((ended | dict(there.versions)).items())), (), frozenset())

    def step(self, seen: Seen, process: Process, began: bool, before: View, after: View, ended: Any) -> Seen:
        role: Role = process.role
        running = {one.name: one for one in seen.running}
        ever, gaps = dict(seen.ever), seen.gaps
        if began:
            running[process.name] = Running(
                process.name,
                role,
                max(ever, default=-1) if role.kind in ("save", "remove") else -1,
                frozenset(number for number, _ in before.versions) if role.kind == "delete all" else frozenset(),
                _true_now(role, before),
                before.loadable if role.kind == "versions" else frozenset(),
            )
        if before.versions != after.versions:
            gaps = _changed(ever, gaps, role, running.get(process.name), before, after)
        if before != after or began:
            running = {name: _lived(one, after) for name, one in running.items()}
        if ended is not None:
            _judge(role, ended[0], running.pop(process.name), ever, after)
        return Seen(tuple(sorted(ever.items())), tuple(sorted(running.values())), gaps)


def _true_now(role: Role, now: View) -> frozenset[Any]:
    """What could be answered, or relied on, at this instant."""
    match role.kind:
        case "newest":
            return frozenset({now.newest})
        case "known":
            return frozenset({now.known(role.number)})
        case "names":
            return frozenset(now.shown)
        case "versions":
            return now.loadable
        case "delete":
            return frozenset({now.known(role.number) != ("none",)})
        case "delete all":
            return frozenset({bool(now.versions)})
        case "remove" | "save":
            nothing = {("nothing to remove",)} if role.kind == "remove" and now.newest == ("none",) else set()
            return frozenset(nothing if role.expect is None else nothing | _reliable(role, now))
    return frozenset()


def _reliable(role: Role, now: View) -> set[Any]:
    """What a compare-and-set may build on: ``("follows", number)``, or say: ``("conflict", in progress)``."""
    facts: set[Any] = set()
    bottom = -1 if role.expect == "absent" else role.expect
    assert isinstance(bottom, int)
    me = role.content.rpartition(" of ")[2]
    # A call that could not give its own claim up meets it again.
    if any(number > bottom and (whose != me or role.may_fail) for number, whose in now.claims):
        facts.add(("conflict", True))
    if role.expect == "absent":
        facts |= {("follows", number) for number, content in now.versions if is_removal(content)}
        if now.newest != ("none",):
            facts.add(("conflict", False))
    else:
        if role.expect in dict(now.versions):
            facts.add(("follows", role.expect))
        if not now.versions or now.versions[-1][0] != role.expect:
            facts.add(("conflict", False))
    return facts


def _lived(one: Running, now: View) -> Running:
    more = _true_now(one.role, now)
    always = one.always & more if one.role.kind == "versions" else one.always
    return one._replace(answers=one.answers | more, always=always)


def _changed(
    ever: dict[int, str],
    gaps: frozenset[tuple[int, int]],
    role: Role,
    running: Running | None,
    before: View,
    after: View,
) -> frozenset[tuple[int, int]]:
    """Judge versions that came and went; *ever* is brought up to date, and the gaps are returned."""
    was, now = dict(before.versions), dict(after.versions)
    for number, content in was.items():
        if number in now and now[number] != content:
            raise Broken(f"version {number} was {content!r} and is {now[number]!r} now")
        if number not in now and not (role.kind == "delete all" or (role.kind == "delete" and role.number == number)):
            raise Broken(f"version {number}, {content!r}, is gone, and nobody deleted it")
    for number, content in now.items():
        if number in was:
            continue
        if number in ever:
            raise Broken(f"number {number} was {ever[number]!r} and has come back as {content!r}")
        if content in ever.values():
            raise Broken(f"{content!r} appears a second time, as version {number}")
        if content != role.content:
            raise Broken(f"version {number} is {content!r} but was published by whoever saves {role.content!r}")
        if running is not None and number <= running.floor:
            raise Broken(f"version {number} was saved by a call that began after {running.floor} was there")
        if any(low < number < high for low, high in gaps):
            raise Broken(f"version {number} has come in between a compare-and-set and what it follows")
        if role.expect is not None:
            gaps |= {(_follows(role, number, ever, was, running), number)}
        ever[number] = content
    return gaps


def _follows(role: Role, number: int, ever: dict[int, str], was: dict[int, str], running: Running | None) -> int:
    """What the new version of a compare-and-set directly follows, which must be what was expected."""
    below = max((one for one in was if one < number), default=-1)
    relied = {fact[1] for fact in running.answers if fact[0] == "follows"} if running is not None else None
    if role.expect == "absent":
        if below < 0 or is_removal(was[below]):
            return below
        gone = {n for n, content in ever.items() if below < n < number and is_removal(content) and n not in was}
        if gone and (relied is None or gone & relied):
            return max(gone)
        raise Broken(f"version {number} was expected to be the first, but follows {below}, {was[below]!r}")
    assert isinstance(role.expect, int)
    if number <= role.expect or below > role.expect:
        raise Broken(f"version {number} was expected to follow {role.expect}, but follows {below}")
    if relied is not None and role.expect not in relied:
        raise Broken(f"version {number} follows {role.expect}, which was not there at any time since the call")
    return role.expect


def _judge(role: Role, outcome: Any, running: Running, ever: dict[int, str], now: View) -> None:
    """Judge what a call has answered."""
    wrong = Broken(
        f"answered {outcome}; true meanwhile: {sorted(running.answers, key=str)}; there: {now}; ever: {ever}"
    )
    match role.kind, outcome:
        case (("save" | "remove"), ("saved", number)):
            if ever.get(number) != role.content:
                raise Broken(f"{role.content!r} was acknowledged as {number}, which never was that: {ever}")
        case (("save" | "remove"), ("conflict", in_progress)) if role.expect is not None:
            if ("conflict", in_progress) not in running.answers:
                raise wrong
        case (("newest" | "known"), ("version" | "none", *_)):
            if outcome not in running.answers:
                raise wrong
        case "names", ("names", shown):
            if shown not in running.answers:
                raise wrong
        case "versions", ("versions", *numbers):
            if not running.always <= set(numbers) <= running.answers:
                raise wrong
        case "remove", ("none",):
            if ("nothing to remove",) not in running.answers:
                raise wrong
        case "delete", (("deleted" | "none") as said,):
            if (said == "deleted") not in running.answers or (said == "deleted" and role.number in dict(now.versions)):
                raise wrong
        case "delete all", (("deleted" | "none") as said,):
            left = running.first & {number for number, _ in now.versions}
            if (said == "deleted") not in running.answers or left:
                raise wrong
        case "fence", ("settled", *numbers):
            for number, fenced in numbers:
                if fenced and role.stale is not None and number not in role.stale:
                    raise Broken(f"the claim of {number} was ended, whose saver is running")
                if fenced and number in dict(now.versions):
                    raise Broken(f"number {number} was fenced, but was a version: {ever[number]!r}")
                if fenced:
                    ever.setdefault(number, "fenced")
                elif number not in ever:
                    raise Broken(f"number {number} was said to be published, but never was: {ever}")
        case _, ("unknown",) if role.may_fail:
            pass
        case "other", ("done",):
            pass
        case "other", ("placed", number):
            if ever.get(number) != role.content:
                raise Broken(f"{role.content!r} was said to be version {number}, which never was that: {ever}")
        case _:
            raise wrong


__all__ = ["FOLDER", "Promises", "Role", "View", "content_of", "view"]
