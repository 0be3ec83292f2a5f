"""Claiming a number: a create-only write of the small record decides who may publish under it.

A payload is uploaded only under a number that its saver holds, so a conflict costs some hundred bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET

from artifactfs.backends.base import Got, Written
from artifactfs.custody import Seal
from artifactfs.errors import ArtifactError, IntegrityError
from artifactfs.layout import ArtifactId
from artifactfs.protocol.env import Clocked, Env
from artifactfs.protocol.listing import View, look
from artifactfs.protocol.marks import mark_hidden
from artifactfs.protocol.ops import Create, Get, Put, Replace, Steps
from artifactfs.protocol.sealing import begin
from artifactfs.records import (
    CONTENT_TYPE,
    Blob,
    Pointer,
    Reason,
    Record,
    Removed,
    Tombstone,
    decode,
    encode,
    tombstone,
)

CONFLICTS_BEFORE_LISTING = 12
"""Numbers lost in a row after which a saver lists anew, instead of trying the next: its hint was far behind."""


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A version that is to be: all of its record that does not depend on the number.

    `size` is that of the content; `sha256` and `stored` are of the payload as it is stored. `seal` is what the record is
    authenticated by; None in a store without keys. A pointer has a `uri`, and what is expected there.
    """

    mime_type: str
    metadata: Mapping[str, Any]
    write_id: str
    size: int | None = None
    sha256: str | None = None
    stored: int | None = None
    removal: bool = False
    uri: str | None = None
    seal: Seal | None = None

    def record(self, artifact: ArtifactId, number: int, at: datetime) -> Record:
        if self.removal:
            return Removed(size_bytes=0, **self._common(artifact, number, at))
        if self.uri is not None:
            expected: dict[str, Any] = {"expected_sha256": self.sha256, "expected_size": self.size}
            return Pointer(size_bytes=self.size, uri=self.uri, **expected, **self._common(artifact, number, at))
        return Blob(  # what most records are: from a dict of its fields it would take twice as long to make
            filename=artifact.name,
            mime_type=self.mime_type,
            version=number,
            size_bytes=self.size,
            timestamp=at,
            write_id=self.write_id,
            metadata=dict(self.metadata),
            encryption=UNSET if self.seal is None else self.seal.of_payload,
            provider=artifact.custody.provider or UNSET,
            sha256=self.sha256,
            stored_bytes=self.stored,
        )

    def _common(self, artifact: ArtifactId, number: int, at: datetime) -> dict[str, Any]:
        return {
            "filename": artifact.name,
            "mime_type": self.mime_type,
            "version": number,
            "timestamp": at,
            "write_id": self.write_id,
            "metadata": dict(self.metadata),
            "encryption": UNSET if self.seal is None else self.seal.encryption,
            "provider": artifact.custody.provider or UNSET,
        }


class Seen(msgspec.Struct, frozen=True, gc=False):
    """What was known of the artifact when a number was claimed.

    `floor` is the newest store time that was seen; `marks` the numbers of marks that may hide the name, and are not needed
    once a higher number is published; `unhinted` says that the newest number had to be searched for want of a hint.
    `at` is when that was asked for: a save has a day from then on.
    """

    at: Clocked
    floor: float = 0.0
    marks: tuple[int, ...] = ()
    unhinted: bool = False

    @classmethod
    def in_view(cls, at: Clocked, artifact: ArtifactId, view: View) -> Seen:
        """Marks bear the number of the removal, or of the top when the newest version was deleted: sizes tell of both."""
        last, top = max(view.payloads, default=-1), view.top
        marks = {last} if view.payloads.get(last) == 0 else set()
        if top > last and artifact.custody.may_be_tombstone(artifact, top, view.records[top][0]):
            marks.add(top)
        return cls(at, view.newest_time, tuple(marks), view.unhinted)


class Memory(msgspec.Struct, frozen=True, gc=False):
    """What a store remembers of an artifact for a short while: the number to try next, and what else was seen.

    The number before `next` is that of a version, which a compare-and-set may rely on.
    """

    next: int
    seen: Seen


class Claim(msgspec.Struct, frozen=True):
    """A number that is ours to publish under. `tag` is that of the record, `seal` what it is authenticated by."""

    number: int
    record: Record
    tag: str
    began: Clocked
    seen: Seen
    seal: Seal | None = None


def try_claim(env: Env, artifact: ArtifactId, draft: Draft, number: int, seen: Seen) -> Steps[Claim | None]:
    """Claim *number*, or None where somebody else has it.

    "Exists" may be the answer to our own first attempt, whose answer was lost: what is there tells. A store that does not
    say what tag it gave is asked.
    """
    record = draft.record(artifact, number, env.stamp(seen.floor))
    key, data = artifact.record(number), stored_form(artifact, record, draft.seal)
    written: Written
    got: Got | None
    try:
        (written,) = yield (Create(key, data, CONTENT_TYPE),)
    except (ArtifactError, GeneratorExit):
        raise
    except BaseException:  # an interrupt or a cancellation: the claim may stand, and its answer went unseen
        (got,) = yield (Get(key),)
        if got is not None and _is_ours(got.data, data):
            yield from abandon(env, artifact, Claim(number, record, got.tag, seen.at, seen, draft.seal))
        raise
    if written.done and written.tag:
        return Claim(number, record, written.tag, seen.at, seen, draft.seal)
    (got,) = yield (Get(key),)
    if got is None or not _is_ours(got.data, data):
        return None
    return Claim(number, record, got.tag, seen.at, seen, draft.seal)


def claim_next(env: Env, artifact: ArtifactId, draft: Draft, number: int, seen: Seen) -> Steps[Claim]:
    """Claim *number* or the lowest free one above that is met."""
    lost = 0
    while True:
        claim = yield from try_claim(env, artifact, draft, number, seen)
        if claim is not None:
            return claim
        lost += 1
        number += 1
        if lost % CONFLICTS_BEFORE_LISTING == 0:
            at = Clocked.read(env)
            view = yield from look(artifact)
            number, seen = max(number, view.top + 1), Seen.in_view(at, artifact, view)


def abandon(env: Env, artifact: ArtifactId, claim: Claim) -> Steps[None]:
    """Give up a claim that was surely never published: its number is tombstoned at once, not left to be fenced.

    The name gets a mark first, for it may have no other version to show. What fails here is left as it is: the claim
    grows stale, and is settled by whoever meets it.
    """
    at, seal = env.stamp(claim.seen.floor), claim.seal
    try:
        stone = ended(artifact, claim.number, claim.record.write_id, "fenced", at, seal)
        yield from mark_hidden(artifact, claim.number)
        yield from rewrite_record(env, artifact, claim.number, stored_form(artifact, stone, seal), claim.tag)
    except ArtifactError:
        pass


def bury(env: Env, artifact: ArtifactId, number: int, got: Got | None, reason: Reason) -> Steps[Tombstone | None]:
    """Make the record of *number*, read as *got*, a tombstone. None where it was rewritten since: read it again.

    A tombstone that stands there already is left alone and returned.
    """
    try:
        record = None if got is None else decode(got.data, artifact.record(number))
    except IntegrityError:  # a record that is none can be told apart from a claim by nobody, and ends here
        record = None
    if isinstance(record, Tombstone):
        return record
    write_id = "" if record is None else record.write_id
    seal = yield from begin(artifact, write_id)
    stone = ended(artifact, number, write_id, reason, env.stamp(), seal)
    data = stored_form(artifact, stone, seal)
    if got is None:
        (written,) = yield (Create(artifact.record(number), data, CONTENT_TYPE),)
    else:
        written = yield from rewrite_record(env, artifact, number, data, got.tag)
    return stone if written.done else None


def ended(
    artifact: ArtifactId, number: int, write_id: str, reason: Reason, at: datetime, seal: Seal | None
) -> Tombstone:
    """The tombstone of *number*."""
    return tombstone(artifact.name, number, write_id, reason, at, UNSET if seal is None else seal.encryption)


def stored_form(artifact: ArtifactId, record: Record, seal: Seal | None) -> bytes:
    """What is stored of *record*: authenticated, where the store has keys."""
    return encode(record) if seal is None else seal.stamp(artifact, record, encode(record))


def rewrite_record(env: Env, artifact: ArtifactId, number: int, data: bytes, tag: str) -> Steps[Written]:
    """Store *data* as the record of *number* if it is still the one with *tag*.

    Where the store has no conditional write it is written as it is, once: an answer that is lost is an error then, for
    a second try could undo what somebody else wrote in between.
    """
    key = artifact.record(number)
    written: Written
    if env.conditional:
        (written,) = yield (Replace(key, data, CONTENT_TYPE, tag),)
    else:
        (written,) = yield (Put(key, data, CONTENT_TYPE, once=True),)
    return written


def finished(claim: Claim, size: int, stored: int, sha256: str, at: datetime) -> Record:
    """The record of a stream that has ended: *size* bytes of content, of which *stored* bytes are stored."""
    assert isinstance(claim.record, Blob)
    return msgspec.structs.replace(claim.record, size_bytes=size, stored_bytes=stored, sha256=sha256, timestamp=at)


def _is_ours(data: bytes, sent: bytes) -> bool:
    """Whether the record that is there is the very one that was *sent*: its `write_id` is nobody else's."""
    return data == sent
