"""Publishing: the create-only write of the payload, from which on a version is there, whole, for every reader.

Any "exists" may be our own earlier attempt, and any attempt whose answer was lost may still land. So the answer is
looked into, and an attempt that follows another one looks whether the version was deleted in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from artifactfs.backends.base import WHOLE_LIMIT, Got, Stat, Upload, Written
from artifactfs.errors import ArtifactError, BackendError, BackendUnavailable, ForeignPayload
from artifactfs.layout import ArtifactId
from artifactfs.protocol.claim import Claim, abandon
from artifactfs.protocol.env import Env
from artifactfs.protocol.ops import Commit, Create, Delete, Get, StatOf, Steps
from artifactfs.records import FENCE_SIZE, Tombstone, decode, is_fence

ROUNDS = 20
"""How often a publish that meets now something and now nothing is tried: others would have to come and go as often."""


@dataclass(slots=True)
class Attempt:
    """Whether a version may be there already: where surely none is, a save that fails gives its claim up."""

    may_be_there: bool = False
    interrupted: bool = False

    def send(self, op: Create | Commit) -> Steps[Written]:
        """Perform *op*, and note what is known of it afterwards."""
        try:
            written: Written
            (written,) = yield (op,)
        except ArtifactError as error:
            self.may_be_there = self.may_be_there or getattr(error, "landed", False)
            raise
        except BaseException:
            self.interrupted = True
            raise
        self.may_be_there = True
        return written


def publish(
    env: Env, artifact: ArtifactId, claim: Claim, data: bytes, content_type: str, attempt: Attempt
) -> Steps[bool]:
    """Publish *data* under the claimed number. False where the claim was fenced: save again under a higher one.

    Raises:
        ForeignPayload: something that this library did not write stands there.
        BackendUnavailable: it is more than a day since the claim, or the store did not answer; ``landed`` says
            whether the version may be there all the same.
    """

    def send() -> Steps[Written]:
        check_age(env, artifact, claim)
        return (yield from attempt.send(Create(artifact.payload(claim.number), data, content_type)))

    def is_ours(size: int) -> Steps[bool | None]:
        if size != len(data):
            return False
        got: Got | None
        (got,) = yield (Get(artifact.payload(claim.number)),)
        return None if got is None else got.data == data

    return (yield from _until_settled(artifact, claim, send, is_ours, resend=True))


def publish_upload(
    env: Env, artifact: ArtifactId, claim: Claim, upload: Upload, size: int, sha256: str, attempt: Attempt
) -> Steps[bool]:
    """As `publish`, by completing *upload*, which holds *size* bytes of that digest."""

    def send() -> Steps[Written]:
        check_age(env, artifact, claim)
        return (yield from attempt.send(Commit(upload)))

    def is_ours(found: int) -> Steps[bool | None]:
        if found != size:
            return False
        digest = yield from _digest(artifact.payload(claim.number), size)
        return None if digest is None else digest == sha256

    return (yield from _until_settled(artifact, claim, send, is_ours, resend=False))


def give_up(env: Env, artifact: ArtifactId, claim: Claim, attempt: Attempt) -> Steps[None]:
    """End *claim* after a failure, unless its version may be there: nobody is to take it for a save in progress."""
    if attempt.may_be_there:
        return
    if attempt.interrupted:  # the write itself had ended by then
        try:
            there: Stat | None
            (there,) = yield (StatOf(artifact.payload(claim.number)),)
        except ArtifactError:
            return
        if there is not None:
            return
    yield from abandon(env, artifact, claim)


def check_age(env: Env, artifact: ArtifactId, claim: Claim) -> None:
    """A claim that slept for a day must not publish: what ended it may have been compacted away."""
    age = claim.began.age(env)
    if age > env.give_up:
        raise BackendUnavailable(
            f"the save of {artifact.label!r} took {age / 3600:.0f} hours between claim and publication, more than the "
            f"{env.give_up / 3600:.0f} that are allowed; nothing was saved: save again",
            artifact=artifact.label,
        )


def _until_settled(
    artifact: ArtifactId,
    claim: Claim,
    send: Callable[[], Steps[Written]],
    is_ours: Callable[[int], Steps[bool | None]],
    *,
    resend: bool,
) -> Steps[bool]:
    """Send until the outcome is known: True where our bytes are, or were, the version; False where a fence is there.

    Where the payload has gone again (*is_ours* says None if it goes while it is looked at) it is sent once more if
    *resend*; an upload cannot be, so its record has the answer.
    """
    sent = 0
    for _ in range(ROUNDS):
        written = yield from send()
        sent += written.tries
        if written.done:
            return sent == 1 or not _was_fenced((yield from sweep(artifact, claim.number)))
        there: Stat | None
        (there,) = yield (StatOf(artifact.payload(claim.number)),)
        ours = None if there is None else (yield from is_ours(there.size))
        if ours is None:
            if resend:
                continue
            return (yield from _what_became(artifact, claim))
        if ours:
            return not _was_fenced((yield from sweep(artifact, claim.number)))
        state = yield from _look_at_other(artifact, claim)
        if state is not None:
            return state
    raise BackendError(
        f"the store says that {artifact.payload(claim.number)!r} exists, and that nothing is there; nothing was saved: look "
        "what stands in its place",
        artifact=artifact.label,
    )


def _what_became(artifact: ArtifactId, claim: Claim) -> Steps[bool]:
    """The outcome of a completed upload whose payload is not there any more."""
    got: Got | None
    (got,) = yield (Get(artifact.record(claim.number)),)
    record = None if got is None else decode(got.data)
    if isinstance(record, Tombstone):
        return record.reason == "deleted"
    raise BackendUnavailable(
        f"the upload of version {claim.number} of {artifact.label!r} is gone from the store, and so is what it may have "
        "published; whether it was saved is not known: look at its versions, then save again",
        artifact=artifact.label,
        landed=True,
    )


def _look_at_other(artifact: ArtifactId, claim: Claim) -> Steps[bool | None]:
    """What it means that bytes other than ours are there; None where they have gone again."""
    payload: Got | None
    got: Got | None
    (payload,) = yield (Get(artifact.payload(claim.number), 0, FENCE_SIZE + 1),)
    if payload is None:
        return None
    if is_fence(payload.data):
        (got,) = yield (Get(artifact.record(claim.number)),)
        record = None if got is None else decode(got.data)
        return isinstance(record, Tombstone) and record.reason == "deleted" and record.write_id == claim.record.write_id
    raise ForeignPayload(
        f"{artifact.payload(claim.number)!r} was claimed, but holds bytes of somebody else: another program "
        "writes into the store while savers run, or the store's creates are not atomic (see ArtifactStore.probe); nothing "
        "was saved: find out which before you save again",
        artifact=artifact.label,
    )


def sweep(artifact: ArtifactId, number: int) -> Steps[Tombstone | None]:
    """If a tombstone has come meanwhile, remove the payload that an attempt of ours may have put back below it.

    The version is published by now, so a store that fails here does not make the save fail.
    """
    try:
        got: Got | None
        (got,) = yield (Get(artifact.record(number)),)
        record = None if got is None else decode(got.data)
        if not isinstance(record, Tombstone):
            return None
        yield (Delete((artifact.payload(number),)),)
    except BackendError:
        return None
    return record


def _was_fenced(stone: Tombstone | None) -> bool:
    return stone is not None and stone.reason == "fenced"


def _digest(key: str, size: int) -> Steps[str | None]:
    """The SHA-256 of an object, read in pieces; None where it goes meanwhile."""
    digest = hashlib.sha256()
    for start in range(0, size, WHOLE_LIMIT):
        got: Got | None
        (got,) = yield (Get(key, start, start + WHOLE_LIMIT),)
        if got is None:
            return None
        digest.update(got.data)
    return digest.hexdigest()
