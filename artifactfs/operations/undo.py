"""A whole scope back to how it was at a time: what has to be done, and doing it.

Nothing is overwritten: what comes back is a new version, what goes is a removal, and the versions in between stay. Each
step builds on the version that the plan saw (compare-and-set): what was saved since is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from typing import Literal, TypeAlias

import msgspec

from artifactfs.backends.base import Entry, Got, Page
from artifactfs.errors import (
    ArtifactError,
    ArtifactNotFound,
    BackendError,
    Conflict,
    IntegrityError,
    InvalidRef,
    KeyUnavailable,
    UnsupportedFormat,
    VersionNotFound,
)
from artifactfs.layout import USER_PREFIX, ArtifactId, ScopeId
from artifactfs.names import decode as decode_name
from artifactfs.names import is_segment
from artifactfs.operations.core import Core
from artifactfs.operations.history import Pieces, restore
from artifactfs.protocol.apart import side_by_side
from artifactfs.protocol.env import Env
from artifactfs.protocol.listing import View
from artifactfs.protocol.ops import Get, List, Steps
from artifactfs.protocol.read import AT_ONCE, Found, at_time, fetch, newest, surely_a_version
from artifactfs.protocol.save import remove
from artifactfs.records import Blob, Pointer, Removed, Tombstone, decode

WRITTEN_AT_ONCE = 8
"""Artifacts that are brought back at the same time: of each at most 8 MiB are held."""

Action: TypeAlias = Literal["restore", "remove", "lost", "unreadable"]
Outcome: TypeAlias = Literal["planned", "done", "changed", "busy", "lost", "failed"]


class UndoStep(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done, or was done, with one artifact to bring it back to how it was.

    Attributes:
        name: the artifact.
        action: ``restore``: the content of `version` becomes a new version. ``remove``: it was not there then.
            ``lost``: what was there then may have been deleted for good, and else nothing is to do. ``unreadable``: a
            record of it is damaged, or its key is not to be had, so that nobody can tell what was there.
        version: the version that is restored.
        expect: the newest version when this was planned: nothing is done unless it still is.
        size_bytes: of the content that is restored; None where that is not known.
        lost: numbers that were deleted for good since that time, and may have been what was there then.
        outcome: ``planned`` until it is tried; then ``done``, ``changed`` (somebody saved or removed it since the plan),
            ``busy`` (somebody is saving it), ``lost`` or ``failed``. Only what is done has changed anything.
        result: the number of the new version or of the removal.
        error: why it failed.
    """

    name: str
    action: Action
    version: int | None = None
    expect: int | None = None
    size_bytes: int | None = None
    lost: tuple[int, ...] = ()
    outcome: Outcome = "planned"
    result: int | None = None
    error: str | None = None

    def __str__(self) -> str:
        name = self.name if self.name.isprintable() else ascii(self.name)[1:-1]
        match self.action:
            case "restore":
                text = f"restore {name}@{self.version}, which is @{self.expect} now"
            case "remove":
                text = f"remove {name}@{self.expect}, which was not there then"
            case "lost":
                text = f"leave {name} as it is"
            case "unreadable":
                text = f"cannot tell what {name} was"
        if self.lost:
            numbers = ", ".join(f"@{number}" for number in self.lost)
            text += f" (deleted for good since, and perhaps what was there then: {numbers})"
        if self.outcome in ("planned", "lost"):
            return text
        now = "" if self.result is None else f", now @{self.result}"
        return f"{text}: {self.outcome}{now}" + (f", {self.error}" if self.error else "")


class Undo(msgspec.Struct, frozen=True, kw_only=True):
    """The plan to bring a scope back to how it was at a time, or what became of it.

    ``str()`` of it is made for people; `msgspec.to_builtins` gives JSON values, and `msgspec.convert` takes them back.

    Attributes:
        scope: ``app/user/session``.
        at: the time.
        steps: one for each artifact that is not as it was, sorted by name.
        unchanged: how many artifacts are as they were.
    """

    scope: str
    at: datetime
    steps: tuple[UndoStep, ...]
    unchanged: int

    @property
    def complete(self) -> bool:
        """Whether everything is as it was then: nothing is left to do, and nothing was lost."""
        return all(step.outcome == "done" and not step.lost for step in self.steps)

    def __str__(self) -> str:
        lines = [f"{self.scope} as of {self.at.isoformat()}: {len(self.steps)} to change, {self.unchanged} unchanged"]
        return "\n".join([*lines, *map(str, self.steps)])


def make_plan(core: Core, scope: ScopeId, at: datetime) -> Steps[Undo]:
    """What has to be done so that the scope holds what it held at a time.

    One listing for a thousand keys, and a read for each artifact; some more for one that was changed since.
    """
    steps: list[UndoStep] = []
    unchanged = 0
    views = _Views(scope)
    while some := (yield from views.some()):
        for decided in (yield from side_by_side([_decide(core, artifact, view, at) for artifact, view in some])):
            if isinstance(decided, UndoStep):
                steps.append(decided)
            else:
                unchanged += decided
    return Undo(scope=scope.label, at=at, steps=tuple(sorted(steps, key=lambda step: step.name)), unchanged=unchanged)


class _Views:
    """The artifacts of a scope with views of all their keys, page by page; also of those that are hidden or deleted."""

    def __init__(self, scope: ScopeId) -> None:
        self.scope = scope
        self.after: str | None = ""
        self.open: tuple[str, View] | None = None
        self.ready: list[tuple[ArtifactId, View]] = []

    def some(self) -> Steps[list[tuple[ArtifactId, View]]]:
        """The next ones; none at the end."""
        while len(self.ready) < AT_ONCE and self.after is not None:
            page: Page
            (page,) = yield (List(self.scope.folder, self.after, deep=True),)
            for segment, entries in groupby(page.entries, key=lambda entry: entry.name.partition("/")[0]):
                if self.open is None or self.open[0] != segment:
                    self._close()
                    self.open = segment, View()
                self.open[1].add(_within(segment, entries))
            self.after = page.next
        if self.after is None:
            self._close()
        taken, self.ready = self.ready[:AT_ONCE], self.ready[AT_ONCE:]
        return taken

    def _close(self) -> None:
        if self.open is not None:
            segment, view = self.open
            if not segment.startswith("@") and is_segment(segment) and view.top >= 0:
                name = decode_name(segment)
                if not name.startswith(USER_PREFIX):
                    self.ready.append((ArtifactId(self.scope, name), view))
        self.open = None


def _within(segment: str, entries: Iterator[Entry]) -> Iterator[Entry]:
    return (entry._replace(name=entry.name[len(segment) + 1 :]) for entry in entries)


def _decide(core: Core, artifact: ArtifactId, view: View, at: datetime) -> Steps[UndoStep | bool]:
    """The step that brings an artifact back; else whether it is there, and as it was.

    Nothing is guessed of a record that cannot be read: its time would be a wrong one, and what it is, too.
    """
    try:
        now, _ = yield from newest(artifact, view=view, strict=True)
        if now is not None and now.record.timestamp <= at:
            then: Found | None = now
        else:
            then = yield from at_time(artifact, at, view, strict=True)
    except (IntegrityError, KeyUnavailable, UnsupportedFormat) as error:
        return UndoStep(name=artifact.name, action="unreadable", outcome="failed", error=str(error))
    lost = yield from _deleted_since(artifact, view, -1 if then is None else then.number, at)
    here = now is not None and not isinstance(now.record, Removed)
    wanted = then is not None and not isinstance(then.record, Removed)
    if now is None or (not wanted and not here) or (wanted and (yield from _same(core, artifact, then, now))):
        return UndoStep(name=artifact.name, action="lost", lost=lost, outcome="lost") if lost else here
    if then is None or not wanted:
        return UndoStep(name=artifact.name, action="remove", expect=now.number, lost=lost)
    return UndoStep(
        name=artifact.name,
        action="restore",
        version=then.number,
        expect=now.number,
        size_bytes=then.record.size_bytes,
        lost=lost,
    )


def _deleted_since(artifact: ArtifactId, view: View, number: int, at: datetime) -> Steps[tuple[int, ...]]:
    """The versions above *number*, the newest of then that is there, which may have been newer, and are deleted since."""
    later = [
        one
        for one, size in view.payloads.items()
        if one > number and (not size or surely_a_version(artifact, view, one))
    ]
    ended = [
        one
        for one, (size, _) in view.records.items()
        if number < one < min(later, default=view.top + 1)
        and one not in view.payloads
        and artifact.custody.may_be_tombstone(artifact, one, size)
    ]
    found: list[int] = []
    for start in range(0, len(ended), AT_ONCE):
        some = sorted(ended)[start : start + AT_ONCE]
        read: tuple[Got | None, ...]
        read = yield tuple(Get(artifact.record(one)) for one in some)
        found += [
            one for one, got in zip(some, read, strict=True) if got is not None and _is_deleted_since(got.data, at)
        ]
    return tuple(found)


def _is_deleted_since(data: bytes, at: datetime) -> bool:
    try:
        record = decode(data)
    except ArtifactError:
        return False
    return isinstance(record, Tombstone) and record.reason == "deleted" and record.timestamp > at


def _same(core: Core, artifact: ArtifactId, then: Found | None, now: Found) -> Steps[bool]:
    """Whether what was there and what is there now cannot be told apart.

    Sealed content is sealed anew by each save, so it is opened and compared where all else is the same.
    """
    assert then is not None
    if then.number == now.number:
        return True
    one, other = then.record, now.record
    if isinstance(one, Pointer) and isinstance(other, Pointer):
        first, second = ((r.uri, r.expected_sha256, r.expected_size, r.mime_type, r.metadata) for r in (one, other))
        return first == second
    if not (isinstance(one, Blob) and isinstance(other, Blob)):
        return False
    if (one.size_bytes, one.mime_type, one.metadata) != (other.size_bytes, other.mime_type, other.metadata):
        return False
    if not (one.encryption or other.encryption or one.sha256 is None or other.sha256 is None):
        return one.sha256 == other.sha256
    try:
        return (
            yield from _same_content(
                *(Pieces(core.backend, artifact, r, f.key) for r, f in ((one, then), (other, now)))
            )
        )
    except ArtifactError:  # whatever it is, it is no reason to take them for equal; restoring it tells more
        return False


def _same_content(one: Pieces, other: Pieces) -> Steps[bool]:
    while (first := one.next()) is not None and (second := other.next()) is not None:
        pieces: tuple[bytes, bytes]
        pieces = yield first, second
        if one.take(pieces[0]) != other.take(pieces[1]):
            return False
    return True


def carry_out(core: Core, env: Env, scope: ScopeId, undo: Undo) -> Steps[Undo]:
    """Do what is planned and not done yet, some at a time; what became of each step.

    Raises:
        BackendError: the store failed for all that were tried at a time; what was done before is done.
    """
    tried = {place: step for place, step in enumerate(undo.steps) if _is_open(step)}
    steps = list(undo.steps)
    places = list(tried)
    for start in range(0, len(places), WRITTEN_AT_ONCE):
        some = places[start : start + WRITTEN_AT_ONCE]
        ended = yield from side_by_side([_carry_out(core, env, scope, tried[place]) for place in some])
        for place, (step, _) in zip(some, ended, strict=True):
            steps[place] = step
        errors = [error for _, error in ended if isinstance(error, BackendError)]
        if len(errors) == len(some):
            raise errors[0]
    return msgspec.structs.replace(undo, steps=tuple(steps))


def _is_open(step: UndoStep) -> bool:
    return step.action in ("restore", "remove") and step.outcome != "done"


def _carry_out(core: Core, env: Env, scope: ScopeId, step: UndoStep) -> Steps[tuple[UndoStep, ArtifactError | None]]:
    """One step, and the error that it met."""
    outcome: Outcome
    try:
        number = yield from _done(core, env, core.room(ArtifactId(scope, step.name)), step)
        return msgspec.structs.replace(step, outcome="done", result=number, error=None), None
    except Conflict as error:
        caught: ArtifactError = error
        outcome = "busy" if error.in_progress else "changed"
    except (ArtifactNotFound, VersionNotFound) as error:
        caught, outcome = error, "changed" if step.action == "remove" else "lost"
    except ArtifactError as error:
        caught, outcome = error, "failed"
    return msgspec.structs.replace(step, outcome=outcome, error=str(caught)), caught


def _done(core: Core, env: Env, artifact: ArtifactId, step: UndoStep) -> Steps[int]:
    if step.action == "remove":
        record = yield from remove(env, artifact, step.expect)
        core.remember(artifact, record)
        return record.version
    assert step.version is not None
    seen = yield from fetch(artifact, step.version)
    if not isinstance(seen, Found) or isinstance(seen.record, Removed):
        raise VersionNotFound(
            f"version {step.version} of {artifact.label!r} was deleted for good since the plan was made",
            artifact=artifact.label,
            version=step.version,
        )
    return (yield from restore(core, env, artifact, seen, step.expect)).version


def check_plan(undo: object, scope: ScopeId) -> Undo:
    """A plan that a caller brings, if it can be carried out in *scope*.

    Raises:
        InvalidRef: it is none, of another scope, or has a step that does not say what it was planned on.
    """
    if not isinstance(undo, Undo):
        raise InvalidRef(f"plan is an Undo, as restore_all(at=…, dry_run=True) gives it, not {undo!r:.80}")
    if undo.scope != scope.label:
        raise InvalidRef(f"the plan is for {undo.scope}, not for {scope.label}")
    for step in undo.steps:
        numbers = {"restore": (step.version, step.expect), "remove": (step.expect,)}.get(step.action, ())
        if any(type(number) is not int or number < 0 for number in numbers):
            raise InvalidRef(f"the plan does not say of {step.name!r} which versions it was made for: plan again")
    return undo
