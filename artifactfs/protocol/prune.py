"""Pruning: deleting for good what a retention policy keeps no longer, beside everybody who saves, removes and deletes.

One listing shows the versions of every artifact with their sizes and the store's times. Mostly that tells already that all
of an artifact is kept. Where something may go, its records are read, then it is decided, and what is to go is deleted some
at a time, oldest first, after one more look each time that what keeps the others is still so (docs/spec.md, "Prune").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Literal, TypeAlias

import msgspec

from artifactfs.backends.base import Page
from artifactfs.custody import Custody
from artifactfs.errors import InvalidConfig
from artifactfs.layout import ArtifactId, ScopeId
from artifactfs.names import decode as decode_name
from artifactfs.names import is_segment
from artifactfs.protocol.delete import end_version
from artifactfs.protocol.env import Env
from artifactfs.protocol.listing import View, look
from artifactfs.protocol.marks import mark_hidden
from artifactfs.protocol.ops import Delete, List, Now, Steps, together
from artifactfs.protocol.prune_plan import Listed, Plan, list_all, make_plan, tags_by_number
from artifactfs.protocol.publish import ROUNDS
from artifactfs.protocol.read import AT_ONCE
from artifactfs.records import Removed
from artifactfs.retention import RetentionPolicy, RetentionRule

Action: TypeAlias = Literal["kept", "deleted", "unjudged"]
"""What a prune does with a version. What is unjudged cannot be told: it is kept."""

SCOPES_AT_ONCE = 4
"""How many scopes are pruned at the same time, each of them some artifacts at a time."""

NOTHING, LEFT = "nothing keeps it", "it was deleted, and its payload was left"
CHANGING = "others keep changing the artifact: prune again"

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


Ruled: TypeAlias = "tuple[ArtifactId, tuple[str, RetentionRule], Listed]"
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
                    self._open = None if rule is None else (artifact, rule, Listed())
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

    def artifact(self, artifact: ArtifactId, ruled: tuple[str, RetentionRule], listed: Listed) -> Steps[None]:
        """Prune an artifact: plan, and carry the plan out; again where others have changed what it stood on."""
        called, rule = ruled
        sizes = dict(listed.payloads)
        gone: dict[int, bool] = {}
        plan = yield from make_plan(artifact, rule, self.now, listed)
        for _ in range(ROUNDS):
            if self.env is None or (yield from _carry_out(self.env, artifact, plan, gone)):
                break
            listed = yield from list_all(artifact)
            plan = (yield from make_plan(artifact, rule, self.now, listed)).for_those_in(sizes)
        if self.env is None:
            gone = {found.number: True for found in plan.going}
        told: dict[int, tuple[Action, str]] = {number: ("deleted", LEFT) for number in plan.left if number in sizes}
        told |= {number: ("deleted", NOTHING) for number, ours in gone.items() if ours}
        for number, reasons in plan.kept.items():
            if number not in gone and number in sizes:
                told[number] = "unjudged" if number in plan.held else "kept", ", ".join(reasons) or CHANGING
        self.versions += [
            PrunedVersion(
                artifact=artifact.label, version=number, action=action, why=f"{called}: {why}", size_bytes=sizes[number]
            )
            for number, (action, why) in told.items()
        ]


def _carry_out(env: Env, artifact: ArtifactId, plan: Plan, gone: dict[int, bool]) -> Steps[bool]:
    """Delete what is to go; False where the plan is not right any more.

    Removals go when nothing is left that they remove, and the newest version goes last and by itself, so that nothing comes
    into view on the way. *gone* is told of each number whether this has deleted it, or somebody else before.
    """
    newest = max(plan.kept, default=-1)
    older = [found for found in plan.going if found.number != newest]
    removals = [found for found in older if isinstance(found.record, Removed)]
    contents = [found for found in older if not isinstance(found.record, Removed)]
    parts = [some[at : at + AT_ONCE] for some in (contents, removals) for at in range(0, len(some), AT_ONCE)]
    if len(older) < len(plan.going):
        yield from mark_hidden(artifact, plan.listed.top)
        parts.append([plan.going[-1]])
    if plan.left:
        yield (Delete(tuple(artifact.payload(number) for number in plan.left)),)
    for part in parts:
        removal = max((found.number for found in part if isinstance(found.record, Removed)), default=-1)
        lister: Steps[View] = look(artifact, newest=False) if removal < 0 else list_all(artifact)
        view, tags = yield from together(lister, tags_by_number(artifact))
        if not still_right(plan, view, tags, gone, removal):
            return False
        ended = yield from together(*(end_version(env, artifact, found.number, found) for found in part))
        gone |= {found.number: ours for found, ours in zip(part, ended, strict=True)}
    return True


def still_right(
    plan: Plan, view: View, tags: dict[int, tuple[str, ...]] | str, gone: dict[int, bool], removal: int
) -> bool:
    """Whether nothing has changed that could keep more than *plan* does.

    What comes behind the newest version keeps nothing else: it only takes the place of older ones in what a rule counts.
    What comes below a *removal* that goes would come into view.
    """
    if isinstance(tags, str) or any(found.number in tags for found in plan.going if found.number not in gone):
        return False
    came = view.payloads.keys() - plan.listed.payloads.keys()
    if min(came, default=removal) < removal or (plan.may_come_back and (came or view.top != plan.listed.top)):
        return False
    return all(
        number in view.payloads and view.records.get(number) == plan.listed.records.get(number)
        for number, reasons in plan.kept.items()
        if reasons and number >= view.floor
    )
