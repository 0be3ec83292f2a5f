"""Saving a stream in bounded memory: its size and digest are known only at its end.

The number is claimed first, with an *unfinished* record that fits no payload; the bytes go up as an upload that nobody
sees; the record is finished, on the condition that nobody ended the claim; and the upload is published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from artifactfs.backends.base import Got, Upload, Written
from artifactfs.codecs.base import Encoder
from artifactfs.codecs.plain import Plain
from artifactfs.errors import ArtifactError, BackendError, BackendUnavailable, Conflict
from artifactfs.hashing import RunningDigest
from artifactfs.layout import ArtifactId
from artifactfs.protocol.claim import Claim, Draft, Memory, finished, rewrite_record, stored_form
from artifactfs.protocol.env import Clocked, Env
from artifactfs.protocol.expect import Expected
from artifactfs.protocol.ops import Abort, Batch, Begin, Get, Part, Pull, Rewind, Steps
from artifactfs.protocol.publish import ROUNDS, Attempt, give_up, publish_upload
from artifactfs.protocol.save import SEALED_TYPE, claim_for, tidy
from artifactfs.protocol.sealing import begin
from artifactfs.records import FENCE_SIZE, Record, Tombstone, decode, is_fence


def save_stream(
    env: Env,
    artifact: ArtifactId,
    *,
    mime_type: str,
    metadata: Mapping[str, Any],
    expect: Expected | None = None,
    memory: Memory | None = None,
) -> Steps[Record]:
    """Save a stream, which `Pull` brings, as the next version and return its record.

    The record is renewed while the stream is long, so that nobody takes the claim for abandoned. Where one was fenced
    all the same, the stream is saved again under a higher number if it can be had again from its beginning.

    Raises:
        Conflict: *expect* was not met, or the claim was fenced and the stream is gone; nothing was saved.
    """
    write_id = env.write_id()
    seal = yield from begin(artifact, write_id)
    draft = Draft(mime_type, metadata, write_id, seal=seal)
    for _ in range(ROUNDS):
        claim = yield from claim_for(env, artifact, draft, expect, memory)
        record = yield from _send(env, artifact, claim, mime_type if seal is None else SEALED_TYPE)
        if record is not None:
            yield from tidy(artifact, claim)
            return record
        (again,) = yield (Rewind(),)
        if not again:
            break
        memory = None
    raise Conflict(
        f"saving {artifact.label!r} paused for so long that its number {claim.number} was taken away; nothing was saved: "
        "save it again",
        artifact=artifact.label,
    )


def _send(env: Env, artifact: ArtifactId, claim: Claim, content_type: str) -> Steps[Record | None]:
    """Upload and publish under *claim*; None where it was fenced. Nothing is left behind where this raises."""
    sending = Sending(env, artifact, claim, content_type)
    attempt = Attempt()
    published = False
    try:
        (sending.upload,) = yield (sending.begin,)
        size, stored, sha256 = yield from sending.all()
        record = finished(claim, size, stored, sha256, env.stamp(claim.seen.floor))
        if (yield from sending.write_record(record)):
            published = yield from publish_upload(env, artifact, claim, sending.upload, stored, sha256, attempt)
    except GeneratorExit:
        raise
    except BaseException as error:
        yield from sending.drop()
        if not attempt.may_be_there and (yield from sending.was_collected(error)):
            return None
        yield from give_up(env, artifact, sending.claim, attempt)
        raise
    if not published:
        yield from sending.drop()
        return None
    return record


class Sending:
    """A stream on its way into the store: its upload, and its claim with the record's latest tag."""

    def __init__(
        self, env: Env, artifact: ArtifactId, claim: Claim, content_type: str, encoder: Encoder | None = None
    ) -> None:
        self.env, self.artifact, self.claim = env, artifact, claim
        self.encoder = encoder or (Plain() if claim.seal is None else claim.seal.codec()).encoder()
        self.begin = Begin(artifact.payload(claim.number), content_type)
        self.upload: Upload | None = None
        self.renewed = claim.began

    def all(self) -> Steps[tuple[int, int, str]]:
        """Send the whole stream; its size, and size and SHA-256 of what is stored.

        The next piece is pulled, and the last ones are hashed, while one is sent.
        """
        digest = RunningDigest()
        try:
            size, stored = yield from self._all(digest)
            return size, stored, digest.hexdigest()
        finally:
            digest.close()

    def _all(self, digest: RunningDigest) -> Steps[tuple[int, int]]:
        assert self.upload is not None
        encoder, size, stored = self.encoder, 0, 0
        piece: bytes
        (piece,) = yield (Pull(),)
        while piece:
            size += len(piece)
            encoded = encoder.lend(piece)  # for as long as the digest may need it
            digest.update(encoded)
            stored += len(encoded)
            batch: Batch = (Part(self.upload, encoded), Pull()) if encoded else (Pull(),)
            (*_, piece) = yield batch
            if self.renewed.age(self.env) > self.env.claim_ttl / 4:
                yield from self.write_record(self.claim.record)
        if last := encoder.finish():
            digest.update(last)
            stored += len(last)
            yield (Part(self.upload, last),)
        return size, stored

    def write_record(self, record: Record) -> Steps[bool]:
        """Rewrite the record of our claim, which also renews it. False where the claim is not ours any more."""
        number = self.claim.number
        data = stored_form(self.artifact, record, self.claim.seal)
        got: Got | None
        try:
            written: Written = yield from rewrite_record(self.env, self.artifact, number, data, self.claim.tag)
        except (ArtifactError, GeneratorExit):
            raise
        except BaseException:  # an interrupt: it may be rewritten, and can be given up only by its latest tag
            (got,) = yield (Get(self.artifact.record(number)),)
            if got is not None and got.data == data:
                self.claim = msgspec.structs.replace(self.claim, tag=got.tag)
            raise
        tag = written.tag
        if not (written.done and tag):
            (got,) = yield (Get(self.artifact.record(number)),)
            if got is None or got.data != data:
                return False
            tag = got.tag
        self.renewed = Clocked.read(self.env)
        self.claim = msgspec.structs.replace(self.claim, tag=tag)
        return True

    def was_collected(self, error: BaseException) -> Steps[bool]:
        """Whether *error* came because the claim was ended, and the upload taken away with it.

        Where nothing rewrites on a condition, our own record may stand over the tombstone; the fence stays.
        """
        if not isinstance(error, BackendError) or isinstance(error, BackendUnavailable):
            return False
        number = self.claim.number
        got: Got | None
        payload: Got | None
        try:
            got, payload = yield (
                Get(self.artifact.record(number)),
                Get(self.artifact.payload(number), 0, FENCE_SIZE + 1),
            )
            ended = got is not None and isinstance(decode(got.data), Tombstone)
        except ArtifactError:
            return False
        return ended or (payload is not None and is_fence(payload.data))

    def drop(self) -> Steps[None]:
        """Leave no parts behind. What fails here is left to whoever collects unfinished uploads."""
        uploads = self.begin.begun if self.upload is None else [self.upload]
        try:
            for upload in uploads:
                yield (Abort(upload),)
        except ArtifactError:
            pass
