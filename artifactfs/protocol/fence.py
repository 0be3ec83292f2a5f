"""Settling a claim that somebody left behind: a fence takes the payload's place, so that it can never be published.

Only claims older than a time to live are fenced, by the store's own clock. A saver that was merely slow finds the fence
where it wanted to publish, and saves again under a higher number.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from artifactfs.backends.base import WHOLE_LIMIT, Got, Written
from artifactfs.layout import ArtifactId
from artifactfs.protocol.claim import bury
from artifactfs.protocol.env import Env
from artifactfs.protocol.marks import EMPTY_TYPE, mark_hidden
from artifactfs.protocol.ops import Create, Get, Now, Steps
from artifactfs.records import FENCE_SIZE, Blob, Record, Tombstone, decode, fits, is_fence


def fence(env: Env, artifact: ArtifactId, number: int, mark: int | None) -> Steps[bool]:
    """End the claim of *number*. False where it turned out to be published: it is a version, and stays one.

    *mark* is the newest number where no payload of the artifact was seen, so that its name can be hidden; else None.
    """
    if mark is not None:
        yield from mark_hidden(artifact, mark)
    written: Written
    (written,) = yield (Create(artifact.payload(number), env.fence(), EMPTY_TYPE),)
    if not written.done and not (yield from _is_fenced(artifact, number)):
        return False
    while True:
        got: Got | None
        (got,) = yield (Get(artifact.record(number)),)
        if (yield from bury(env, artifact, number, got, "fenced")) is not None:
            return True


def _is_fenced(artifact: ArtifactId, number: int) -> Steps[bool]:
    """Whether what stands in the payload's place is a fence, or nothing any more: then its record has the answer."""
    payload: Got | None
    got: Got | None
    (payload,) = yield (Get(artifact.payload(number), 0, FENCE_SIZE + 1),)
    if payload is None:
        (got,) = yield (Get(artifact.record(number)),)
        return got is not None and isinstance(decode(got.data), Tombstone)
    if not is_fence(payload.data):
        return False
    (got,) = yield (Get(artifact.record(number)),)
    return got is None or not fits(decode(got.data), payload.data)


State: TypeAlias = Literal["ended", "live", "published"]


def settle(env: Env, artifact: ArtifactId, number: int, mark: int | None) -> Steps[State]:
    """What became of a number that was listed with a record and no payload.

    ended
        Nobody can publish under it any more; a stale claim is fenced on the way.
    live
        Its save is in progress.
    published
        It has become a version since.
    """
    got: Got | None
    (got,) = yield (Get(artifact.record(number)),)
    if got is None:
        return "ended"
    record = decode(got.data, artifact.record(number))
    if isinstance(record, Tombstone):
        return "ended"
    now: float
    (now,) = yield (Now(),)
    if now - got.modified < env.claim_ttl or (not env.fence_streams and may_come_in_parts(record)):
        return "live"
    return "ended" if (yield from fence(env, artifact, number, mark)) else "published"


def may_come_in_parts(record: Record) -> bool:
    """Whether the claim's payload may be published by completing an upload, rather than by one create."""
    return isinstance(record, Blob) and (record.size_bytes is None or record.size_bytes > WHOLE_LIMIT)
