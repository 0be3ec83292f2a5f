"""Saving: claim a number, write the payload under it, and it is published.

A save works on what a `Memory` remembers of the artifact, or lists once. It never uploads a payload under a number that
it does not hold, and never appears as two versions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from artifactfs.codecs.base import encode_whole
from artifactfs.errors import ArtifactError, ArtifactNotFound
from artifactfs.layout import HINT_EVERY, ArtifactId
from artifactfs.protocol.claim import Claim, Draft, Memory, Seen, abandon, claim_next
from artifactfs.protocol.env import Clocked, Env
from artifactfs.protocol.expect import Expected, claim_after
from artifactfs.protocol.listing import look
from artifactfs.protocol.marks import EMPTY_TYPE, mark_hidden
from artifactfs.protocol.ops import Delete, Op, Put, Steps
from artifactfs.protocol.publish import Attempt, give_up, publish
from artifactfs.protocol.read import newest
from artifactfs.protocol.sealing import begin
from artifactfs.records import POINTER_TYPE, Record, Removed, pointer_payload

SEALED_TYPE = "application/octet-stream"
"""Content type of sealed payloads: what they are when they are opened is nobody's business who cannot."""


def save(
    env: Env,
    artifact: ArtifactId,
    data: bytes,
    *,
    mime_type: str,
    metadata: Mapping[str, Any],
    expect: Expected | None = None,
    memory: Memory | None = None,
) -> Steps[Record]:
    """Save *data* as the next version and return its record.

    Two requests with a memory, three without; two more for each number that is lost to another saver.

    Raises:
        Conflict: *expect* was not met; nothing was saved.
    """
    write_id = env.write_id()
    seal = None if artifact.custody.keys is None else (yield from begin(artifact, write_id))
    stored = data if seal is None else encode_whole(seal.codec(), data)
    digest = hashlib.sha256(stored).hexdigest()
    draft = Draft(mime_type, metadata, write_id, len(data), digest, len(stored), seal=seal)
    content_type = mime_type if seal is None else SEALED_TYPE
    return (yield from _save(env, artifact, draft, stored, content_type, expect, memory))


def point(
    env: Env,
    artifact: ArtifactId,
    uri: str,
    *,
    mime_type: str,
    metadata: Mapping[str, Any],
    size: int | None,
    sha256: str | None,
    expect: Expected | None = None,
    memory: Memory | None = None,
) -> Steps[Record]:
    """As `save`, of a pointer to *uri*, where *size* bytes with the digest *sha256* are expected if that is known."""
    write_id = env.write_id()
    seal = yield from begin(artifact, write_id)
    draft = Draft(mime_type, metadata, write_id, size, sha256, uri=uri, seal=seal)
    return (yield from _save(env, artifact, draft, pointer_payload(uri), POINTER_TYPE, expect, memory))


def _save(
    env: Env,
    artifact: ArtifactId,
    draft: Draft,
    data: bytes,
    content_type: str,
    expect: Expected | None,
    memory: Memory | None,
) -> Steps[Record]:
    while True:
        claim = yield from claim_for(env, artifact, draft, expect, memory)
        if (yield from publish_or_abandon(env, artifact, claim, data, content_type)):
            yield from tidy(artifact, claim)
            return claim.record
        memory = None


def publish_or_abandon(env: Env, artifact: ArtifactId, claim: Claim, data: bytes, mime_type: str) -> Steps[bool]:
    """As `publish`; where that fails for sure, the claim is given up, so that nobody takes it for a save in progress."""
    attempt = Attempt()
    try:
        return (yield from publish(env, artifact, claim, data, mime_type, attempt))
    except GeneratorExit:
        raise
    except BaseException:
        yield from give_up(env, artifact, claim, attempt)
        raise


def claim_for(
    env: Env, artifact: ArtifactId, draft: Draft, expect: Expected | None, memory: Memory | None
) -> Steps[Claim]:
    """Claim a number for *draft*: the next one, or the one that directly follows *expect*."""
    if expect is not None:
        return (yield from claim_after(env, artifact, draft, expect, memory))
    if memory is not None:
        return (yield from claim_next(env, artifact, draft, memory.next, memory.seen))
    at = Clocked.read(env)
    view = yield from look(artifact)
    return (yield from claim_next(env, artifact, draft, view.top + 1, Seen.in_view(at, artifact, view)))


def remove(env: Env, artifact: ArtifactId, expect: int | None = None) -> Steps[Record]:
    """Publish a version of kind `removed`: the name disappears from listings, the versions stay readable by number.

    The mark that makes a listing look inside is written before, so that no listing shows the name afterwards. With
    *expect* the removal directly follows that version.

    Raises:
        ArtifactNotFound: there is nothing to remove.
        Conflict: *expect* was not met; nothing was removed.
    """
    at = Clocked.read(env)
    found, view = yield from newest(artifact)
    if found is None or isinstance(found.record, Removed):
        raise ArtifactNotFound(f"there is no artifact {artifact.label!r} to remove", artifact=artifact.label)
    write_id = env.write_id()
    seal = yield from begin(artifact, write_id)
    draft = Draft(found.record.mime_type, {}, write_id, removal=True, seal=seal)
    number, seen = view.top + 1, Seen.in_view(at, artifact, view)
    memory = Memory(number, seen) if found.number == view.top else None
    while True:
        if expect is None:
            claim = yield from claim_next(env, artifact, draft, number, seen)
        else:
            claim = yield from claim_after(env, artifact, draft, expect, memory)
        try:
            yield from mark_hidden(artifact, claim.number)
        except GeneratorExit:
            raise
        except BaseException:
            yield from abandon(env, artifact, claim)
            raise
        if (yield from publish_or_abandon(env, artifact, claim, b"", EMPTY_TYPE)):
            return claim.record
        number, memory = claim.number + 1, None


def tidy(artifact: ArtifactId, claim: Claim) -> Steps[None]:
    """After a publication: now and then a hint, and away with a mark that hid the name. The save succeeds whatever fails.

    A hint that is long superseded goes too. Each of the two has numbers of its own, far from powers of ten, where finding
    the newest takes a listing more: so no save pays for more than one of them.
    """
    number, half, quarter = claim.number, HINT_EVERY // 2, HINT_EVERY // 4
    ops: list[Op] = []
    if claim.seen.unhinted or number % HINT_EVERY == half:
        ops.append(Put(artifact.hint(number), b"", EMPTY_TYPE))
    if number % HINT_EVERY == quarter and number > 2 * HINT_EVERY:
        ops.append(Delete((artifact.hint(number + quarter - 2 * HINT_EVERY),)))
    marks = [artifact.mark(mark) for mark in claim.seen.marks if mark < number]
    if marks:
        ops.append(Delete(tuple(marks)))
    if ops:
        try:
            yield tuple(ops)
        except ArtifactError:
            pass
