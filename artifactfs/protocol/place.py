"""Placing: a version that was made elsewhere comes in under the number, and with the time, that it had there.

It is claimed and published as a save is, but the number is given: one that something else has is left to it. Whoever
places the same version again, after a crash or at the same time, writes the same bytes, for the save's identity is made
of the number and the payload is sealed repeatably; so a claim that was left behind is gone on with (docs/spec.md,
"Place").
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from artifactfs.backends.base import Got, Written
from artifactfs.custody import Seal, wrapped_of
from artifactfs.errors import IntegrityError, KeyUnavailable, UnsupportedFormat
from artifactfs.keys.base import length_prefixed
from artifactfs.layout import ArtifactId
from artifactfs.protocol.claim import Claim, Draft, Seen, ended, stored_form
from artifactfs.protocol.env import Clocked, Env
from artifactfs.protocol.listing import View
from artifactfs.protocol.marks import EMPTY_TYPE, mark_hidden
from artifactfs.protocol.ops import Create, Get, Pull, Rewind, Steps
from artifactfs.protocol.publish import Attempt, publish, publish_upload, sweep
from artifactfs.protocol.read import AT_ONCE
from artifactfs.protocol.save import SEALED_TYPE, tidy
from artifactfs.protocol.sealing import authenticated, begin
from artifactfs.protocol.stream import Sending
from artifactfs.records import CONTENT_TYPE, POINTER_TYPE, Record, Tombstone, decode, pointer_payload

Outcome: TypeAlias = Literal["placed", "taken", "ended"]
"""What became of a placing: the version is there; something else has the number; the number was ended."""

Standing: TypeAlias = Literal["free", "there", "begun", "changed", "taken", "ended"]
"""How a number stands: above the top; holds the very version; only claimed for it; holds one that was placed under it
with another size or time; is something else's; was ended."""

CHANGED = "what was to come in changed while it was read, and did not"


@dataclass(frozen=True, slots=True)
class Coming:
    """A version that is to be placed.

    `size` (bytes) and `sha256` are of its content, which is `data`, or is pulled where that is None. Or it is a removal,
    or points to a `uri`; then it has no content.
    """

    number: int
    at: datetime
    mime_type: str
    metadata: Mapping[str, Any]
    size: int = 0
    sha256: str = ""
    data: bytes | None = field(default=None, repr=False)
    removal: bool = False
    uri: str | None = None


def origin(artifact: ArtifactId, number: int) -> str:
    """The `write_id` of what is placed under *number*: the same one for everybody who does."""
    scope = artifact.scope
    place = length_prefixed(
        "artifactfs place", scope.app, scope.stored_user, scope.session or "", artifact.name, str(number)
    )
    return hashlib.sha256(place).hexdigest()[:32]


def standings(
    artifact: ArtifactId, view: View, wanted: Sequence[tuple[int, datetime | None, int | None]]
) -> Steps[dict[int, Standing]]:
    """How each number stands in *view*, which shows all keys, for a version of that time and size.

    No content is read: a time or size that is None is not compared.
    """
    found: dict[int, Standing] = {}
    met = []
    for number, at, size in wanted:
        if number > view.top:
            found[number] = "free"
        elif number not in view.records:
            found[number] = "taken" if number in view.payloads else "ended"
        else:
            met.append((number, at, size))
    for start in range(0, len(met), AT_ONCE):
        some = met[start : start + AT_ONCE]
        answers: tuple[Got | None, ...] = yield tuple(Get(artifact.record(number)) for number, _, _ in some)
        for (number, at, size), got in zip(some, answers, strict=True):
            found[number] = _standing(artifact, number, got, number in view.payloads, at, size)
    return found


def _standing(
    artifact: ArtifactId, number: int, got: Got | None, published: bool, at: datetime | None, size: int | None
) -> Standing:
    if got is None:
        return "ended"
    try:
        record = decode(got.data)
    except (IntegrityError, UnsupportedFormat):
        return "taken"
    if isinstance(record, Tombstone):
        return "ended"
    if record.write_id != origin(artifact, number):
        return "taken"
    if not published:
        return "begun"
    same = at in (None, record.timestamp) and size in (None, record.size_bytes)
    return "there" if same else "changed"


def fill(env: Env, artifact: ArtifactId, numbers: range, *, first: bool) -> Steps[None]:
    """End *numbers*, which follow the top and were never given, so that the one above them may be claimed.

    Each becomes a tombstone, in order, and is skipped where somebody has it by now. *first*: the artifact has no version
    yet, so that a mark has to tell that the name is not to be shown.
    """
    if first and numbers:
        yield from mark_hidden(artifact, numbers[0])
    for number in numbers:
        write_id = origin(artifact, number)
        seal = yield from begin(artifact, write_id)
        stone = ended(artifact, number, write_id, "fenced", env.stamp(), seal)
        yield (Create(artifact.record(number), stored_form(artifact, stone, seal), CONTENT_TYPE),)


def place(env: Env, artifact: ArtifactId, coming: Coming, *, marks: tuple[int, ...] = ()) -> Steps[Outcome]:
    """Place *coming*. The number below it was claimed before, or it is 0; *marks* of lower numbers are cleared away.

    Nothing that stands there is overwritten. A failure leaves at most a claim, which the next try goes on with.

    Raises:
        ForeignPayload: the claim is ours, and under it stand other bytes.
        IntegrityError: what was pulled is not what *coming* says.
    """
    claim, data = yield from _claim(env, artifact, coming, Seen(Clocked.read(env), marks=marks))
    if isinstance(claim, str):
        return claim
    if coming.removal:
        yield from mark_hidden(artifact, coming.number)
    if data is None:
        published = yield from _stream(env, artifact, claim, coming)
    else:
        published = yield from publish(env, artifact, claim, data, _content_type(coming, claim.seal), Attempt())
    # Whoever else held the claim may have published before, and somebody have deleted it since.
    if not published or (yield from sweep(artifact, coming.number)) is not None:
        return "ended"
    yield from tidy(artifact, claim)
    return "placed"


def _content_type(coming: Coming, seal: Seal | None) -> str:
    if coming.removal:
        return EMPTY_TYPE
    if coming.uri is not None:
        return POINTER_TYPE
    return coming.mime_type if seal is None else SEALED_TYPE


def _claim(env: Env, artifact: ArtifactId, coming: Coming, seen: Seen) -> Steps[tuple[Claim | Outcome, bytes | None]]:
    """Claim the number, or go on with the claim that an earlier try has left; and the payload, if it is not pulled."""
    number, write_id = coming.number, origin(artifact, coming.number)
    seal = yield from begin(artifact, write_id)
    draft, payload = yield from _draft(coming, write_id, seal)
    record = draft.record(artifact, number, coming.at)
    data = stored_form(artifact, record, seal)
    written: Written
    (written,) = yield (Create(artifact.record(number), data, CONTENT_TYPE),)
    if written.done and written.tag:
        return Claim(number, record, written.tag, seen.at, seen, seal), payload
    got: Got | None
    (got,) = yield (Get(artifact.record(number)),)
    if got is None:
        return "ended", None
    if got.data == data:
        return Claim(number, record, got.tag, seen.at, seen, seal), payload
    try:
        theirs, key = yield from authenticated(artifact, number, got.data)
    except (IntegrityError, KeyUnavailable, UnsupportedFormat):
        return "taken", None
    if isinstance(theirs, Tombstone):
        return "ended", None
    if theirs.write_id != write_id:
        return "taken", None
    if key is None:
        seal = None
    else:
        assert theirs.encryption  # or it would need no key
        wrapped = wrapped_of(artifact, theirs)
        seal = Seal(key, artifact.identity(write_id), theirs.encryption.key_id, wrapped)
    draft, payload = yield from _draft(coming, write_id, seal)
    if not _same_content(theirs, draft.record(artifact, number, coming.at)):
        return "taken", None
    return Claim(number, theirs, got.tag, seen.at, seen, seal), payload


def _draft(coming: Coming, write_id: str, seal: Seal | None) -> Steps[tuple[Draft, bytes | None]]:
    """All that the record does not get from the artifact, and the payload; None for one that is pulled."""
    common: tuple[str, Mapping[str, Any], str] = (coming.mime_type, coming.metadata, write_id)
    if coming.removal:
        return Draft(*common, removal=True, seal=seal), b""
    if coming.uri is not None:
        return Draft(*common, uri=coming.uri, seal=seal), pointer_payload(coming.uri)
    payload, stored, sha256 = coming.data, coming.size, coming.sha256
    if seal is not None:
        encoder = seal.repeatable(coming.sha256)
        if coming.data is not None:
            payload = encoder.finish(coming.data)
            stored, sha256 = len(payload), hashlib.sha256(payload).hexdigest()
        else:
            content, digest, stored = hashlib.sha256(), hashlib.sha256(), 0
            yield (Rewind(),)
            piece: bytes = b"-"
            while piece:
                (piece,) = yield (Pull(),)
                content.update(piece)
                encoded = encoder.update(piece) if piece else encoder.finish()
                digest.update(encoded)
                stored += len(encoded)
            if content.hexdigest() != coming.sha256:
                raise IntegrityError(f"{CHANGED}: version {coming.number}")
            sha256 = digest.hexdigest()
    return Draft(*common, size=coming.size, sha256=sha256, stored=stored, seal=seal), payload


def _same_content(one: Record, other: Record) -> bool:
    fields = ("size_bytes", "sha256", "stored_bytes", "uri")
    return type(one) is type(other) and all(getattr(one, f, None) == getattr(other, f, None) for f in fields)


def _stream(env: Env, artifact: ArtifactId, claim: Claim, coming: Coming) -> Steps[bool]:
    """Upload what is pulled and publish it; the claim is renewed meanwhile."""
    encoder = None if claim.seal is None else claim.seal.repeatable(coming.sha256)
    sending = Sending(env, artifact, claim, _content_type(coming, claim.seal), encoder)
    try:
        yield (Rewind(),)
        (sending.upload,) = yield (sending.begin,)
        size, stored, sha256 = yield from sending.all()
        if (size, sha256) != (claim.record.size_bytes, getattr(claim.record, "sha256", None)):
            raise IntegrityError(f"{CHANGED}: version {claim.number}")
        published = yield from publish_upload(env, artifact, claim, sending.upload, stored, sha256, Attempt())
    except GeneratorExit:
        raise
    except BaseException:
        yield from sending.drop()
        raise
    if not published:
        yield from sending.drop()
    return published
