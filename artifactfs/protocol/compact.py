"""Clearing away what no process can still need: old tombstones and fences, superseded hints and marks."""

from __future__ import annotations

from artifactfs.backends.base import Got, Page
from artifactfs.errors import IntegrityError, UnsupportedFormat
from artifactfs.layout import HINT_EVERY, ArtifactId
from artifactfs.protocol.env import Env
from artifactfs.protocol.listing import View, look_all
from artifactfs.protocol.ops import Delete, Get, List, Now, Op, Steps, together
from artifactfs.protocol.read import AT_ONCE, newest
from artifactfs.records import Removed, Tombstone, decode


def compact(env: Env, artifact: ArtifactId, *, dry_run: bool = False) -> Steps[int]:
    """Remove what is left of numbers whose bytes are gone since a week; how many numbers were cleared, or would be.

    The newest number's record always stays, so that no number is given twice, and so does every hundredth one, by
    which the newest is found. A payload goes before its record: between the two the number stays taken.
    """
    view = yield from look_all(artifact)
    now: float
    (now,) = yield (Now(),)
    candidates = [
        number
        for number, (size, modified) in sorted(view.records.items())
        if artifact.custody.may_be_tombstone(artifact, number, size)
        and now - modified >= env.keep_tombstones
        and (number in view.payloads or artifact.record(number) in leftovers(artifact, number, view.top))
    ]
    cleared = 0
    for start in range(0, len(candidates), AT_ONCE):
        some = candidates[start : start + AT_ONCE]
        cleared += sum((yield from together(*(_clear(artifact, number, view.top, dry_run) for number in some))))
    if not dry_run:
        yield from _clear_hints_and_marks(artifact, view)
    return cleared


def _clear(artifact: ArtifactId, number: int, top: int, dry_run: bool) -> Steps[bool]:
    got: Got | None
    (got,) = yield (Get(artifact.record(number)),)
    try:
        record = None if got is None else decode(got.data)
    except (IntegrityError, UnsupportedFormat):
        return False
    if not isinstance(record, Tombstone):
        return False
    if number == top and record.reason == "fenced":
        return False
    for key in () if dry_run else leftovers(artifact, number, top):
        yield (Delete((key,)),)
    return True


def leftovers(artifact: ArtifactId, number: int, top: int) -> tuple[str, ...]:
    """The keys of an ended number that may go, in the order in which they may."""
    if number == top or (number and number % HINT_EVERY == 0):
        return (artifact.payload(number),)
    return (artifact.payload(number), artifact.record(number))


def _clear_hints_and_marks(artifact: ArtifactId, view: View) -> Steps[None]:
    """A mark below a version that is shown is not needed, and of hints only the highest is."""
    ops: list[Op] = []
    if len(view.hints) > 1:
        ops.append(Delete(tuple(artifact.hint(number) for number in sorted(view.hints)[:-1])))
    page: Page
    (page,) = yield (List(artifact.hidden_folder),)
    if page.entries:
        found, _ = yield from newest(artifact)
        if found is not None and not isinstance(found.record, Removed):
            old = [int(entry.name) for entry in page.entries if entry.name.isdecimal()]
            ops.append(Delete(tuple(artifact.mark(number) for number in old if number < found.number)))
    if ops:
        yield tuple(ops)
