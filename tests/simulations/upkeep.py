"""Collection beside savers whose uploads it sees, as processes of the simulator; and faults planted into it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from artifactfs.custody import NONE
from artifactfs.errors import BackendError
from artifactfs.protocol import gc as gc_module
from artifactfs.protocol.fence import settle
from artifactfs.protocol.gc import Collected
from artifactfs.protocol.ops import Steps
from artifactfs.protocol.stream import Sending
from artifactfs.testing.simulated_processes import Process
from artifactfs.testing.simulated_store import UPLOADS, Contents, Item

from .faults import Fault
from .processes import (
    ARTIFACT,
    LONG_AGO,
    NOW,
    SCOPE,
    _plainly,
    env,
    fencer,
    saver,
    starts,
    streamer,
)
from .properties import Role
from .scenarios import PLAIN, Way, others, pairs, writers


def collector(
    name: str = "gc",
    *,
    patient: bool = False,
    stale: Sequence[int] = (),
    at: float = NOW,
    may_fail: bool = False,
    **settings: Any,
) -> Process:
    """Collects all of the scope. Unless *patient*, every claim counts as stale; else only those of *stale* may."""

    def steps() -> Steps[Any]:
        return gc_module.collect(env(name, at=at, eager=not patient, **settings), NONE, SCOPE.folder)

    def outcome(result: Any, emitted: Sequence[Any]) -> Hashable:
        if not isinstance(result, Collected):
            return _plainly(result, emitted)
        return ("settled", *((one.version, True) for one in result.collected if one.kind in ("claim", "fence")))

    ended = frozenset(stale) if patient else None
    return Process(name, steps, outcome, role=Role("fence", may_fail=may_fail, stale=ended))


def seen(process: Process) -> Process:
    """*process*, whose uploads others can see. Where reads fail, it may not be able to tell why its upload is gone."""

    def outcome(result: Any, emitted: Sequence[Any]) -> Hashable:
        if process.role.may_fail and type(result) is BackendError:
            return ("unknown",)
        return process.outcome(result, emitted)

    return replace(process, uploads=True, outcome=outcome)


def upload(token: str, number: int, started: float) -> Contents:
    return {UPLOADS + token: Item(ARTIFACT.payload(number).encode(), started)}


def more_starts() -> Mapping[str, Contents]:
    """Stores in which something was left behind."""
    plain = starts()
    fenced = plain["fenced"]
    return {
        **{name: plain[name] for name in ("empty", "one", "claimed", "removed", "newest deleted")},
        "deleted, payload left": plain["deleted, payload left"],
        "fence left": {**fenced, ARTIFACT.record(0): plain["claimed"][ARTIFACT.record(0)]},
        "upload left": {**plain["one, claimed"], **upload("old", 1, LONG_AGO)},
        "mark left": {**plain["two"], ARTIFACT.mark(0): Item(b"", LONG_AGO), ARTIFACT.mark(1): Item(b"", LONG_AGO)},
    }


def beside(contents: Contents, way: Way = PLAIN) -> Iterator[tuple[Process, ...]]:
    """A writer, or whatever runs beside one, and a collector that takes every claim for stale."""
    gc = collector(**way.calls)
    for one in [*writers("A", contents, way), *writers("A", contents, way, eager=True), *others(contents, way)]:
        yield seen(one), gc


def beside_two(contents: Contents, way: Way = PLAIN) -> Iterator[tuple[Process, ...]]:
    """Two writers and a collector."""
    gc = collector(**way.calls)
    for one, other in pairs(contents, way, alone=True):
        yield seen(one), seen(other), gc


FAULTS = (
    Fault(
        "gc that ends claims without looking at their age",
        ((settle, "    if now - got.modified < env.claim_ttl or (", "    if ("),
         (gc_module._Collection._claim, " or age < self.env.claim_ttl", ""),
         (gc_module._Collection.entries, "if self.now - entry.modified >= self.env.claim_ttl:", "if True:")),
        "empty",
        (partial(saver, "A"), partial(collector, patient=True)),
    ),
    Fault(
        "gc that discards a running upload",
        ((gc_module._Collection.upload, "    if age > self.grace:\n", "    if True:\n"),),
        "empty",
        (lambda: seen(streamer("A")), partial(collector, patient=True)),
    ),
    Fault(
        "stream that takes a collected upload for a failure",
        ((Sending.was_collected, "    if not isinstance(", "    if True or not isinstance("),),
        "empty",
        (lambda: seen(streamer("A")), collector),
    ),
    Fault(
        "gc that removes what merely has a small record",
        ((gc_module._Collection._ended, "if isinstance(record, Tombstone):\n        if record.reason == \"deleted\":",
          "if record is not None:\n        if True:"),),
        "removed",
        (collector,),
    ),
    Fault(
        "gc that takes a fence away",
        ((gc_module._Collection._ended, 'if record.reason == "deleted":', "if True:"),),
        "empty",
        (partial(saver, "A"), fencer, collector),
    ),
    Fault(
        "gc that takes a mark that is needed",
        ((gc_module._Collection._marks, "if found is None or isinstance(found.record, Removed):", "if found is None:"),
         (gc_module._Collection._marks, "if number < found.number]", "if number <= found.number]"),
         (gc_module._Collection._next, "if marks and min(marks) < self.highest:", "if marks:")),
        "removed",
        (collector,),
    ),
    Fault(
        "gc that finishes a fence that is a version",
        ((gc_module._Collection._ended, " or fits(record, payload.data)", ""),
         (gc_module._Collection._ended, "(yield from fence(self.env, artifact, number, None))",
          "(yield from __import__('artifactfs').protocol.claim.bury(self.env, artifact, number, got, 'fenced'))")),
        "empty",
        (partial(saver, "A", data=b"artifactfs fence" + b"of a user......."), collector),
    ),
)  # fmt: skip
