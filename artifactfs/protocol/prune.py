"""Pruning: deleting for good what a retention policy keeps no longer, beside everybody who saves, removes and deletes.

One listing shows the versions of every artifact with their sizes and the store's times. Mostly that tells already that all
of an artifact is kept. Where something may go, its records are read, then it is decided, and what is to go is deleted some
at a time, oldest first, after one more look each time that what keeps the others is still so (docs/spec.md, "Prune").
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Literal, TypeAlias

import msgspec

from artifactfs.backends.base import Entry, Page
from artifactfs.custody import Custody
from artifactfs.errors import IntegrityError, InvalidConfig, KeyUnavailable, UnsupportedFormat
from artifactfs.layout import ArtifactId, ScopeId, parse_entry
from artifactfs.names import decode as decode_name
from artifactfs.names import is_segment
from artifactfs.protocol.delete import _delete
from artifactfs.protocol.env import Env
from artifactfs.protocol.listing import View, look
from artifactfs.protocol.marks import mark_hidden
from artifactfs.protocol.ops import Delete, List, Now, Steps, together
from artifactfs.protocol.publish import ROUNDS
from artifactfs.protocol.read import AT_ONCE, Found, Gone, confirm, surely_a_version
from artifactfs.protocol.sealing import authenticated
from artifactfs.protocol.tags import UNREADABLE, tags_of
from artifactfs.records import FENCE_SIZE, Removed, fits_size
from artifactfs.retention import Candidate, RetentionPolicy, RetentionRule, decide

Action: TypeAlias = Literal["kept", "deleted", "unjudged"]
"""What a prune does with a version. What is unjudged cannot be told: it is kept."""

SCOPES_AT_ONCE = 4
"""How many scopes are pruned at the same time, each of them some artifacts at a time."""

NOTHING, LEFT = "nothing keeps it", "it was deleted, and its payload was left"
CHANGING = "others keep changing the artifact: prune again"

_Looked: TypeAlias = "tuple[Candidate, Found] | Gone"

RuleOf: TypeAlias = Callable[[str], "tuple[str, RetentionRule] | None"]


class PrunedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a version, or with ``dry_run`` would have.

    Attributes:
        artifact: ``app/user/session/name`` as a person reads it; the user as the store calls them.
        version: its number.
        action: ``kept``, ``deleted``, or ``unjudged``: kept, because it is damaged or its key is not to be had.
        why: the rule, and which of its settings keep the version; or that none does.
        size_bytes: those of its payload as it is stored.
    """

    artifact: str
    version: int
    action: Action
    why: str
    size_bytes: int


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What a prune has done, or with *dry_run* would do.

    Attributes:
        dry_run: nothing was changed.
        now: the store's time that ages were compared with.
        versions: every version of the artifacts that a rule is for, sorted; what no rule is for is not looked at.
    """

    dry_run: bool
    now: datetime
    versions: tuple[PrunedVersion, ...] = ()

    @property
    def deleted(self) -> int:
        """How many versions were deleted."""
        return self._count("deleted")

    @property
    def kept(self) -> int:
        """How many were kept, without those that could not be judged."""
        return self._count("kept")

    @property
    def unjudged(self) -> int:
        """How many could not be judged, and were kept."""
        return self._count("unjudged")

    @property
    def deleted_bytes(self) -> int:
        """Stored bytes of the payloads that were deleted."""
        return sum(one.size_bytes for one in self.versions if one.action == "deleted")

    @property
    def kept_bytes(self) -> int:
        """Stored bytes of those that are left."""
        return sum(one.size_bytes for one in self.versions if one.action != "deleted")

    def _count(self, action: Action) -> int:
        return sum(one.action == action for one in self.versions)


def prune(env: Env | None, policy: RetentionPolicy, scopes: Iterable[ScopeId], where: str) -> Steps[Pruned]:
    """Prune *scopes* of the store at *where* by *policy*; without an *env* say what would be done.

    Raises:
        InvalidConfig: the policy has patterns of users, and the store knows only digests of them.
    """
    now: float
    (now,) = yield (Now(),)
    run = _Run(env, datetime.fromtimestamp(now, UTC))
    chosen = [scope for scope in scopes if policy.concerns(scope.app, _is_user(scope, where), scope.session)]
    for start in range(0, len(chosen), SCOPES_AT_ONCE):
        some = chosen[start : start + SCOPES_AT_ONCE]
        rules = [policy.within(scope.app, _is_user(scope, where), scope.session) for scope in some]
        yield from together(*(run.scope(scope, rule_of) for scope, rule_of in zip(some, rules, strict=True)))
    versions = sorted(run.versions, key=lambda one: (one.artifact, one.version))
    return Pruned(dry_run=env is None, now=run.now, versions=tuple(versions))


def _is_user(scope: ScopeId, where: str) -> Callable[[str], bool]:
    """Whether a pattern of a policy fits the user of *scope*, who may be known by a digest alone."""

    def fits(pattern: str) -> bool:
        custody: Custody = scope.custody
        if not custody.hides_users or scope.stored_user != scope.user:
            return fnmatchcase(scope.user, pattern)
        if pattern == "*":
            return True
        if set(pattern) & set("*?["):
            raise InvalidConfig(
                f"a rule is for users like {pattern!r}, and with a scope_secret the store {where} holds only digests of "
                "them: name each of those users, or prune their scopes by name",
                store=where,
            )
        return custody.user(scope.app, pattern) == scope.stored_user

    return fits


class _Listed(View):
    """All keys of an artifact. `stored` maps a number to the store's time of its payload, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[int, float] = {}

    def add(self, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        super().add(entries)
        for name, _, modified in entries:
            match parse_entry(name):
                case ("payload", number):
                    self.stored[number] = modified

    def at(self, number: int) -> datetime:
        return datetime.fromtimestamp(self.stored[number], UTC)

    def latest(self, number: int) -> datetime:
        """The store's newer time of payload and record: what was stamped before was stamped by then."""
        _, modified = self.records.get(number, (0, 0.0))
        return datetime.fromtimestamp(max(self.stored[number], modified), UTC)


Ruled: TypeAlias = "tuple[ArtifactId, tuple[str, RetentionRule], _Listed]"
"""An artifact, how the rule for it is called, that rule, and the artifact's keys."""


class _Folders:
    """Takes a listing of all keys of a scope page by page, and gives each artifact that a rule is for once it is whole."""

    def __init__(self, scope: ScopeId, rule_of: RuleOf) -> None:
        self._scope, self._rule_of = scope, rule_of
        self._segment = ""
        self._open: Ruled | None = None

    def take(self, page: Page) -> Iterator[Ruled]:
        for segment, entries in groupby(page.entries, key=lambda entry: entry.name.partition("/")[0]):
            if segment != self._segment:
                yield from self.close()
                self._segment = segment
                if is_segment(segment):
                    artifact = ArtifactId(self._scope, decode_name(segment))
                    rule = self._rule_of(artifact.name)
                    self._open = None if rule is None else (artifact, rule, _Listed())
            if self._open is not None:
                cut = len(segment) + 1
                self._open[2].add(entry._replace(name=entry.name[cut:]) for entry in entries)

    def close(self) -> Iterator[Ruled]:
        if self._open is not None:
            yield self._open
        self._open = None

    def after(self, page: Page) -> str | None:
        """Where the listing goes on: behind the folder that it is in, if no rule is for that; "0" comes next after "/"."""
        return max(page.next, f"{self._segment}0") if page.next is not None and self._open is None else page.next


class _Run:
    """A prune of some scopes, and what it has come to so far."""

    def __init__(self, env: Env | None, now: datetime) -> None:
        self.env, self.now = env, now
        self.versions: list[PrunedVersion] = []

    def scope(self, scope: ScopeId, rule_of: RuleOf) -> Steps[None]:
        """Prune a scope while its keys are listed, some artifacts at a time."""
        folders = _Folders(scope, rule_of)
        waiting: list[Steps[None]] = []
        after: str | None = ""
        while after is not None:
            page: Page
            (page,) = yield (List(scope.folder, after, deep=True),)
            waiting += [self.artifact(*found) for found in folders.take(page)]
            after = folders.after(page)
            if after is None:
                waiting += [self.artifact(*found) for found in folders.close()]
            while len(waiting) >= AT_ONCE or (waiting and after is None):
                some, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
                yield from together(*some)

    def artifact(self, artifact: ArtifactId, ruled: tuple[str, RetentionRule], listed: _Listed) -> Steps[None]:
        """Prune an artifact: plan, and carry the plan out; again where others have changed what it stood on."""
        called, rule = ruled
        sizes = dict(listed.payloads)
        gone: dict[int, bool] = {}
        plan = yield from _plan(artifact, rule, self.now, listed)
        for _ in range(ROUNDS):
            if self.env is None or (yield from _carry_out(self.env, artifact, plan, gone)):
                break
            listed = yield from _list(artifact)
            plan = (yield from _plan(artifact, rule, self.now, listed)).for_those_in(sizes)
        if self.env is None:
            gone = {found.number: True for found in plan.going}
        told: dict[int, tuple[Action, str]] = {number: ("deleted", NOTHING) for number, ours in gone.items() if ours}
        told |= dict.fromkeys(plan.left, ("deleted", LEFT))
        for number, reasons in plan.kept.items():
            if number not in gone and number in sizes:
                told[number] = "unjudged" if number in plan.held else "kept", ", ".join(reasons) or CHANGING
        self.versions += [
            PrunedVersion(
                artifact=artifact.label, version=number, action=action, why=f"{called}: {why}", size_bytes=sizes[number]
            )
            for number, (action, why) in told.items()
        ]


# ---- what is to go


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a policy makes of an artifact.

    `kept` says what keeps each of its versions, `held` which of them could not be judged, and `going` are those that nothing
    keeps, the oldest first. Of `left` only the payloads are there: their deletes were cut off. `may_come_back`: a version
    that comes could keep some of those that go, for they are going because the artifact was removed.
    """

    listed: _Listed
    kept: dict[int, tuple[str, ...]]
    held: frozenset[int] = frozenset()
    going: tuple[Found, ...] = ()
    left: tuple[int, ...] = ()
    may_come_back: bool = False

    def for_those_in(self, numbers: Container[int]) -> _Plan:
        """Without deleting any but *numbers*."""
        return replace(self, going=tuple(found for found in self.going if found.number in numbers))


def _plan(artifact: ArtifactId, rule: RetentionRule, now: datetime, listed: _Listed) -> Steps[_Plan]:
    """Decide on all versions that *listed* shows. Nothing is read where that shows already that all are kept."""
    numbers = sorted(listed.payloads)
    expiring = _may_expire(rule, now, listed)
    doubtful = _doubtful(artifact, rule, now, listed, numbers, expiring)
    if not doubtful:
        there = [number for number in numbers if _is_listed_as_version(artifact, listed, number)]
        candidates = [Candidate(number, listed.at(number), None, not listed.payloads[number]) for number in there]
        return _Plan(listed, decide(rule, candidates, now))
    counted = numbers[-max(rule.keep_last or 0, rule.keep_newest) or len(numbers) :]
    some = {*doubtful, *counted, *(number for number in numbers if not surely_a_version(artifact, listed, number))}
    seen = yield from _look_at(artifact, rule, listed, numbers if rule.thins or expiring else sorted(some))
    if not all(_counts(seen.get(number)) for number in counted):
        seen |= yield from _look_at(artifact, rule, listed, [number for number in numbers if number not in seen])
    read: dict[int, tuple[Candidate, Found | None]] = {
        number: (Candidate(number, listed.at(number)), None) for number in numbers if number not in seen
    }
    read |= {number: one for number, one in seen.items() if isinstance(one, tuple)}
    left = tuple(number for number, one in seen.items() if one == "deleted")
    if expiring and _may_be_saved_to(artifact, listed):
        rule = msgspec.structs.replace(rule, expire_removed=None)
    candidates = [read[number][0] for number in sorted(read)]
    kept = decide(rule, candidates, now)
    held = {one.number for one in candidates if one.held}
    if not all(kept.values()):
        tags = yield from _tags(artifact)
        if isinstance(tags, str):
            held |= {number for number, reasons in kept.items() if not reasons}
            kept = {number: reasons or (tags,) for number, reasons in kept.items()}
        else:
            candidates = [one._replace(tags=tags.get(one.number, ())) for one in candidates]
            kept = decide(rule, candidates, now)
    going = [read[number][1] for number, reasons in kept.items() if not reasons]
    comes_back = expiring and any(one.removal for one in candidates)
    return _Plan(listed, kept, frozenset(held), tuple(one for one in going if one is not None), left, comes_back)


def _may_expire(rule: RetentionRule, now: datetime, listed: _Listed) -> bool:
    """Whether the sizes and times in a listing allow that the artifact was removed so long ago that it goes as a whole."""
    span = rule.expire_removed
    return span is not None and any(
        not size and now - listed.at(number) > span for number, size in listed.payloads.items()
    )


def _doubtful(
    artifact: ArtifactId, rule: RetentionRule, now: datetime, listed: _Listed, numbers: list[int], expiring: bool
) -> list[int]:
    """Those of *numbers* that a listing alone does not show to be kept, should they be versions.

    Whatever is none only makes more be kept, and so does a removal, but for one with nothing below it.
    """
    if not numbers or (expiring and not listed.payloads[numbers[-1]]):
        return numbers
    top, kept = numbers[-1], set(numbers if rule.keep_all else ())
    if rule.keep_last is not None:
        kept |= {*numbers[-rule.keep_last :]}
    if rule.keep_within is not None:
        kept |= {number for number in numbers if listed.at(number) >= now - rule.keep_within}
    if rule.keep_newest and listed.payloads[top]:
        kept.add(top)
    if not listed.payloads[numbers[0]] and not rule.keep_all:
        kept.discard(numbers[0])
    return [number for number in numbers if number not in kept or _is_left(artifact, listed, number)]


def _is_left(artifact: ArtifactId, listed: _Listed, number: int) -> bool:
    """Whether sizes tell that what is there was deleted, but for its payload."""
    return listed.payloads[number] != FENCE_SIZE and not _is_listed_as_version(artifact, listed, number)


def _is_listed_as_version(artifact: ArtifactId, listed: _Listed, number: int) -> bool:
    """Whether sizes allow that a number is a version: a record as short as a tombstone's can only be a removal's."""
    if not listed.payloads[number] or number not in listed.records:
        return True
    return not artifact.custody.may_be_tombstone(artifact, number, listed.records[number][0])


def _may_be_saved_to(artifact: ArtifactId, listed: _Listed) -> bool:
    """Whether there is a claim above all versions: a save that is under way, or was, before its saver crashed."""
    newest = max(listed.payloads)
    return any(
        number > newest and not artifact.custody.may_be_tombstone(artifact, number, size)
        for number, (size, _) in listed.records.items()
    )


def _look_at(
    artifact: ArtifactId, rule: RetentionRule, listed: _Listed, numbers: Sequence[int]
) -> Steps[dict[int, _Looked]]:
    """`_look` at each of *numbers*, some at a time."""
    seen: dict[int, _Looked] = {}
    for start in range(0, len(numbers), AT_ONCE):
        some = numbers[start : start + AT_ONCE]
        found = yield from together(*(_look(artifact, rule, listed, number) for number in some))
        seen |= zip(some, found, strict=True)
    return seen


def _counts(looked: _Looked | None) -> bool:
    """Whether it is a version that takes a place among the last, and not damaged."""
    return isinstance(looked, tuple) and not looked[0].held and not looked[0].removal


def _look(artifact: ArtifactId, rule: RetentionRule, listed: _Listed, number: int) -> Steps[_Looked]:
    """What is to be known of a version that was listed; or why it is none.

    Where its key is not to be had, the listing tells when it came, and its record whether it is a removal: who could forge
    that could as well delete it. When it was saved is not believed then.
    """
    found = yield from confirm(artifact, number, listed.payloads[number])
    if not isinstance(found, Found):
        return found
    candidate = Candidate(number, listed.at(number), removal=isinstance(found.record, Removed))
    if not found.raw:
        if artifact.custody.takes_plain:
            return candidate._replace(time=candidate.stored), found
        return candidate._replace(held="nothing authenticates it, for it has no record"), found
    try:
        record, _ = yield from authenticated(artifact, number, found.raw)
    except KeyUnavailable as error:
        if rule.thins and not candidate.removal:
            key_id = error.__dict__.get("key_id")
            candidate = candidate._replace(held=f"when it was saved cannot be told without the key {key_id!r}")
        return candidate, found
    except (IntegrityError, UnsupportedFormat) as error:
        return candidate._replace(held=f"damaged, or of a later release: {error}"), found
    if not fits_size(record, listed.payloads[number]):
        return candidate._replace(held="damaged: its payload does not match its record"), found
    return candidate._replace(time=min(record.timestamp, listed.latest(number))), found


def _tags(artifact: ArtifactId) -> Steps[dict[int, tuple[str, ...]] | str]:
    """The tags of each version that has any; or why they cannot be told."""
    found: dict[int, tuple[str, ...]] = {}
    try:
        tags = yield from tags_of(artifact)
    except UNREADABLE as error:
        return f"a tag might name it: {error}"
    for tag, number in tags.items():
        found[number] = (*found.get(number, ()), tag)
    return found


def _list(artifact: ArtifactId) -> Steps[_Listed]:
    listed = _Listed()
    after: str | None = ""
    while after is not None:
        page: Page
        (page,) = yield (List(artifact.folder, after),)
        listed.add(page.entries)
        after = page.next
    return listed


# ---- and how it goes


def _carry_out(env: Env, artifact: ArtifactId, plan: _Plan, gone: dict[int, bool]) -> Steps[bool]:
    """Delete what is to go; False where the plan is not right any more.

    Removals go when nothing is left that they remove, and the newest version goes last and by itself, so that nothing comes
    into view on the way. *gone* is told of each number whether this has deleted it, or somebody else before.
    """
    newest = max(plan.kept, default=-1)
    older = [found for found in plan.going if found.number != newest]
    removals = [found for found in older if isinstance(found.record, Removed)]
    contents = [found for found in older if found not in removals]
    parts = [some[at : at + AT_ONCE] for some in (contents, removals) for at in range(0, len(some), AT_ONCE)]
    if len(older) < len(plan.going):
        yield from mark_hidden(artifact, plan.listed.top)
        parts.append([plan.going[-1]])
    if plan.left:
        yield (Delete(tuple(artifact.payload(number) for number in plan.left)),)
    for part in parts:
        view, tags = yield from together(look(artifact), _tags(artifact))
        if not still_right(plan, view, tags, gone):
            return False
        ended = yield from together(*(_delete(env, artifact, found.number, found) for found in part))
        gone |= {found.number: ours for found, ours in zip(part, ended, strict=True)}
    return True


def still_right(plan: _Plan, view: View, tags: dict[int, tuple[str, ...]] | str, gone: dict[int, bool]) -> bool:
    """Whether nothing has changed that could keep more than *plan* does.

    What comes behind the newest version keeps nothing else: it only takes the place of older ones in what a rule counts.
    """
    if isinstance(tags, str) or any(found.number in tags for found in plan.going if found.number not in gone):
        return False
    if plan.may_come_back and view.top != plan.listed.top:
        return False
    return all(
        number in view.payloads and view.records.get(number) == plan.listed.records.get(number)
        for number, reasons in plan.kept.items()
        if reasons and number >= view.floor
    )
