"""Verifying a version: all of it is read and held against its record, and what was seen is told instead of raised.

The payload is read in pieces, and checked while the next one comes: memory does not grow with it. Record and payload are
two objects that change while savers, deleters and rotations run, so a finding that is not "whole" counts only if both are
still the same objects when they are looked at again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import msgspec

from artifactfs.backends.base import SUSPENDING, Backend, Got, Stat
from artifactfs.codecs.base import Codec, Decoder
from artifactfs.codecs.plain import Plain
from artifactfs.errors import BackendUnavailable, IntegrityError, KeyUnavailable, UnsupportedFormat, VersionNotFound
from artifactfs.layout import ArtifactId
from artifactfs.protocol.env import CLAIM_TTL
from artifactfs.protocol.listing import View, look, look_all
from artifactfs.protocol.ops import Get, Now, Op, StatOf, Steps
from artifactfs.protocol.read import Found, confirm
from artifactfs.protocol.sealing import authenticated
from artifactfs.records import (
    FENCE_SIZE,
    Blob,
    Pointer,
    Record,
    Tombstone,
    decode,
    fits,
    is_fence,
    is_unfinished,
    payload_size,
    pointer_payload,
)
from artifactfs.waiting import in_thread

PIECE = 4 * 1024 * 1024
"""Bytes of content that are read at a time: whole chunks of what is sealed. Two pieces are held at once."""

State: TypeAlias = Literal[
    "whole", "altered", "truncated", "missing payload", "missing record", "key unavailable", "unknown format"
]
"""What a version was found to be.

whole
    Payload and record are what was saved.
altered
    One of them is not, and cannot be believed.
truncated
    The payload is shorter than what was saved.
missing payload
    There is a record and nothing that it describes: a save in progress looks the same, as the detail says.
missing record
    There is a payload that nothing describes: another program wrote it, or its record was lost.
key unavailable
    It is sealed with a key that is not to be had here. What is stored has the size and the digest that were noted.
unknown format
    A later release of this library wrote it.
"""


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What verifying one version has shown.

    Attributes:
        artifact: ``app/user/session/name`` as a person reads it.
        version: its number.
        state: what the version was found to be; ``whole`` if all is well.
        detail: what was seen, for a person.
        record: the record; None where there is none, or it is not to be believed.
        bytes_checked: bytes of the stored payload that were read.
        key_id: the id of the key that is not to be had, where that is so.
    """

    artifact: str
    version: int
    state: State
    detail: str
    record: Record | None = None
    bytes_checked: int = 0
    key_id: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the version is whole."""
        return self.state == "whole"


def verify(artifact: ArtifactId, number: int) -> Steps[Verified]:
    """Read all of version *number*, and tell what it is.

    Raises:
        VersionNotFound: there is neither payload nor record, or the number was deleted or fenced.
    """
    got: Got | None
    payload: Stat | None
    got, payload = yield (Get(artifact.record(number)), StatOf(artifact.payload(number)))
    while True:
        seen = yield from _judge(artifact, number, got, payload)
        if seen is not None and seen.ok:
            return seen
        before = got, payload
        got, payload = yield (Get(artifact.record(number)), StatOf(artifact.payload(number)))
        if (got, payload) == before:
            break
    if seen is None:
        raise VersionNotFound(
            f"artifact {artifact.label!r} has no version {number} to verify", artifact=artifact.label, version=number
        )
    return seen


def newest_number(artifact: ArtifactId) -> Steps[int | None]:
    """The number of the newest version, also of one that a read would refuse; of the newest record where no payload is
    there; None without any.
    """
    top = -1
    for lister in (look, look_all):
        view: View = yield from lister(artifact)
        top = max(top, view.top)
        for number in sorted(view.payloads, reverse=True):
            try:
                seen = yield from confirm(artifact, number, view.payloads[number], strict=True)
            except (IntegrityError, KeyUnavailable, UnsupportedFormat):
                return number
            if isinstance(seen, Found):
                return number
        if not view.floor:
            break
    return top if top >= 0 else None


def _judge(artifact: ArtifactId, number: int, got: Got | None, payload: Stat | None) -> Steps[Verified | None]:
    """What the record that was read as *got* and the *payload* are together; None where they are no version."""
    tell = partial(Verified, artifact=artifact.label, version=number)
    if got is None:
        if payload is None or (yield from _is_fence(artifact, number, payload, None)):
            return None
        return tell(
            state="missing record",
            detail=f"a payload of {payload.size} bytes has no record, so nothing tells whether it is whole: another program "
            "wrote it, or its record was lost",
        )
    refusal: KeyUnavailable | UnsupportedFormat | None = None
    key = None
    try:
        record, key = yield from authenticated(artifact, number, got.data)
        artifact.custody.check_provider(artifact, record)
    except (KeyUnavailable, UnsupportedFormat) as error:
        refusal = error
        try:
            record = decode(got.data)
        except UnsupportedFormat:
            return tell(state="unknown format", detail=str(error))
    except IntegrityError as error:
        return tell(state="altered", detail=str(error) + ("" if payload else "; it has no payload either"))
    if isinstance(record, Tombstone):
        return None
    if (record.version, record.filename) != (number, artifact.name):
        return tell(
            state="altered",
            detail=f"the record says that it is of version {record.version} of {record.filename!r}: it was moved or altered",
        )
    tell = partial(tell, record=None if refusal else record)
    if payload is None:
        return tell(state="missing payload", detail=(yield from _why_missing(record, got)))
    if (yield from _is_fence(artifact, number, payload, record)):
        return None
    stored, digest = payload_size(record), _digest(record)
    if digest is None:
        return tell(state="altered", detail="there is a payload, and the record that should tell its digest tells none")
    if payload.size != stored:
        return tell(
            state="truncated" if payload.size < stored else "altered",
            detail=f"the payload has {payload.size} bytes; {stored} were saved",
        )
    codec: Codec = Plain()
    if isinstance(record, Blob) and refusal is None:
        codec = artifact.custody.codec(artifact, record, key)
    check = _Check(codec, stored)
    try:
        check.size = codec.content_size(stored)
        if isinstance(record, Blob) and refusal is None and check.size != record.size_bytes:
            raise IntegrityError(
                f"the record says {record.size_bytes} bytes of content; what is stored holds {check.size}"
            )
        yield from _read(artifact, number, check, digest)
    except IntegrityError as error:
        return tell(state="altered", detail=str(error), bytes_checked=check.checked)
    tell = partial(tell, bytes_checked=stored)
    if refusal is not None:
        state: State = "key unavailable" if isinstance(refusal, KeyUnavailable) else "unknown format"
        return tell(
            state=state,
            key_id=refusal.key_id if isinstance(refusal, KeyUnavailable) else None,
            detail=f"{refusal}; its {stored} stored bytes have the digest that is noted in its record",
        )
    detail = f"all {stored} stored bytes have the digest of the record"
    if isinstance(record, Pointer):
        detail = "the pointer is the one that was saved; what it points to was not looked at"
    elif codec.head_size:
        detail += ", and every chunk opens"
    return tell(state="whole", detail=detail + (", and the record is authentic" if key is not None else ""))


def _digest(record: Record) -> str | None:
    """SHA-256 of the stored payload; None where the record tells none."""
    if isinstance(record, Blob):
        return None if is_unfinished(record) else record.sha256
    return hashlib.sha256(pointer_payload(record.uri) if isinstance(record, Pointer) else b"").hexdigest()


def _is_fence(artifact: ArtifactId, number: int, payload: Stat, record: Record | None) -> Steps[bool]:
    """Whether the payload is a fence, and not a user's bytes of that form, which fit their record."""
    if payload.size != FENCE_SIZE:
        return False
    raw: Got | None
    (raw,) = yield (Get(artifact.payload(number), 0, FENCE_SIZE),)
    return raw is not None and is_fence(raw.data) and (record is None or not fits(record, raw.data))


def _why_missing(record: Record, got: Got) -> Steps[str]:
    now: float
    (now,) = yield (Now(),)
    age = max(now - got.modified, 0.0)
    what = "no payload is there" + (", and the record was never finished" if is_unfinished(record) else "")
    what += f"; the record was written {age:.0f} seconds ago"
    if age < CLAIM_TTL:
        return f"{what}, so this may be a save in progress: verify it again later"
    return (
        f"{what}, longer than a save leaves it alone: the payload was lost, or its save ended before it was published"
    )


@dataclass(frozen=True, slots=True)
class _Do(Op):
    """Work that takes the processor a while: beside the requests, where those suspend."""

    call: Callable[[], None]

    async def perform(self, backend: Backend) -> None:
        if backend.placement in SUSPENDING:
            await in_thread(self.call)
        else:
            self.call()


class _Check:
    """Takes a payload piece by piece: its digest, and every chunk of it where it is sealed.

    `stored` and `size` are the bytes of the payload and of its content; `checked` those that were taken.
    """

    def __init__(self, codec: Codec, stored: int) -> None:
        self.codec, self.stored, self.size = codec, stored, 0
        self.digest, self.checked = hashlib.sha256(), 0
        self._decoder: Decoder | None = None

    def take(self, start: int, end: int, piece: bytes) -> None:
        """*piece* is all that is stored of the content ``start <= i < end``; the first one with what is before it.

        Raises:
            IntegrityError: it does not open.
        """
        self.digest.update(piece)
        self.checked += len(piece)
        chunks = memoryview(piece)
        if self._decoder is None:
            self._decoder = self.codec.decoder(chunks[: self.codec.head_size], self.size)
            chunks = chunks[self.codec.head_size :]
        self._decoder.open(start, end, chunks)


def _read(artifact: ArtifactId, number: int, check: _Check, digest: str) -> Steps[None]:
    """Have all of the payload taken by *check*: each piece while the next one comes.

    Raises:
        IntegrityError: a piece does not open, all of them have another *digest*, or the payload is another one by now.
        BackendUnavailable: an answer was cut off.
    """
    work: tuple[_Do, ...] = ()
    at = 0
    for start in range(0, max(check.size, 1), PIECE):
        end = min(start + PIECE, check.size)
        _, to = check.codec.span(start, end, check.size)
        if at == to:  # nothing is stored of no content
            break
        got: Got | None
        got, *_ = yield (Get(artifact.payload(number), at, to), *work)
        if got is None or got.size != check.stored:
            raise IntegrityError("the payload was taken away or replaced while it was read")
        if len(got.data) != to - at:
            raise BackendUnavailable(
                f"the store gave only {len(got.data)} bytes of those from {at} on of {artifact.label!r}; try again",
                artifact=artifact.label,
            )
        work = (_Do(partial(check.take, start, end, got.data)),)
        at = to
    if work:
        yield work
    if check.digest.hexdigest() != digest:
        raise IntegrityError("the payload's bytes are not those that were saved: their digest is another one")
