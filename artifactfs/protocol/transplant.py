"""Copying one number from a store to another as it is: what it is at the source, and what is to be done for it.

No key is needed: a payload is held against the digest of its stored bytes, and a record is copied byte for byte. Record
first, payload last, as a save does it, so that no reader meets a half version at the destination; and both by a create,
so that nothing there is ever overwritten.
"""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple, TypeAlias

from artifactfs.backends.base import WHOLE_LIMIT, Got, Stat
from artifactfs.errors import IntegrityError, UnsupportedFormat
from artifactfs.layout import ArtifactId
from artifactfs.mime import guess
from artifactfs.protocol.marks import EMPTY_TYPE
from artifactfs.protocol.ops import Create, Get, StatOf, Steps
from artifactfs.protocol.save import SEALED_TYPE
from artifactfs.records import (
    CONTENT_TYPE,
    FENCE_SIZE,
    POINTER_TYPE,
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

Trouble: TypeAlias = Literal["in_progress", "damaged", "left_out", "conflicts"]

REWRITTEN = "it is there, and one of the two records was rewritten since: rotate both stores to the same key"
"""What is told of records of one save that differ: nobody can tell from them which key is the newer one."""


class Told(NamedTuple):
    """Why a number is not copied, and what kind of trouble that is."""

    trouble: Trouble
    why: str


class Whole(NamedTuple):
    """A number of the source as it is to be at the destination.

    `raw` is the stored record, empty where a payload has none. `size` and `digest` are those of the payload, -1 and None
    where there is none to copy; `data` is the payload itself if it was asked for and is short.
    """

    number: int
    raw: bytes
    record: Record | None
    size: int
    digest: str | None
    data: bytes | None
    content_type: str


def look_at(artifact: ArtifactId, number: int, listed: int | None, *, payload: bool) -> Steps[Whole | Told | None]:
    """What *number* is, of whose payload a listing has just shown *listed* bytes; None where it has gone since.

    With *payload* a short one is read, and held against its digest. Damage counts only where a second look sees the very
    same: a record that was read before its payload may be old.
    """
    size, data = listed, None
    got: Got | None
    there: Got | Stat | None
    if payload and listed is not None and listed <= WHOLE_LIMIT:
        got, there = yield (Get(artifact.record(number)), Get(artifact.payload(number)))
        size, data = None if there is None else there.size, there.data if isinstance(there, Got) else None
    else:
        (got,) = yield (Get(artifact.record(number)),)
    before: tuple[object, ...] = ()
    while True:
        found = _judge(artifact, number, got, size, data)
        if not isinstance(found, Told) or found.trouble == "left_out" or listed is None:
            return found
        if before == (got, size, data):
            return found
        before = got, size, data
        short = listed <= WHOLE_LIMIT
        got, there = yield (
            Get(artifact.record(number)),
            Get(artifact.payload(number)) if short else StatOf(artifact.payload(number)),
        )
        size = None if there is None else there.size
        data = there.data if isinstance(there, Got) else None


def _judge(
    artifact: ArtifactId, number: int, got: Got | None, size: int | None, data: bytes | None
) -> Whole | Told | None:
    fence = data is not None and is_fence(data)
    if got is None:
        if size is None:
            return None
        if fence:
            return Told("left_out", "a fence without a record, which no program of this format leaves")
        return Whole(number, b"", None, size, _sha256(data), data, guess(artifact.name))
    try:
        record = decode(got.data, artifact.record(number))
    except IntegrityError as error:
        return Told("damaged", str(error))
    except UnsupportedFormat as error:
        return Told("left_out", str(error))
    if (record.version, record.filename) != (number, artifact.name):
        return Told("damaged", f"the record says that it is of version {record.version} of {record.filename!r}")
    if isinstance(record, Tombstone):
        if record.reason == "fenced" and size == FENCE_SIZE:
            return Whole(number, got.data, record, size, _sha256(data), data, EMPTY_TYPE)
        return Whole(number, got.data, record, -1, None, None, EMPTY_TYPE)
    if size is None:
        return Told("in_progress", "it is claimed and not published: a save in progress, or one that has crashed")
    if fence and data is not None and not fits(record, data):
        return Told("in_progress", "its claim is being ended at this moment, or whoever did that has crashed")
    digest = payload_digest(record)
    if digest is None:
        return Told("damaged", "there is a payload, and the record that should tell its digest tells none")
    if payload_size(record) != size:
        return Told("damaged", f"the payload has {size} bytes; {payload_size(record)} were saved")
    if data is not None and _sha256(data) != digest:
        return Told("damaged", "the payload's bytes are not those that were saved: their digest is another one")
    return Whole(number, got.data, record, size, digest, data, _content_type(record))


def payload_digest(record: Record) -> str | None:
    """SHA-256 of the stored payload of a version; None where the record tells none."""
    if isinstance(record, Blob):
        return None if is_unfinished(record) else record.sha256
    return _sha256(pointer_payload(record.uri) if isinstance(record, Pointer) else b"")


def _sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()


def _content_type(record: Record) -> str:
    """As the save of that version has told the store."""
    if isinstance(record, Blob):
        return SEALED_TYPE if record.encryption else record.mime_type
    return POINTER_TYPE if isinstance(record, Pointer) else EMPTY_TYPE


Plan: TypeAlias = Literal["copy", "publish", "already", "compare", "bury", "sweep"]
"""What is to be done for a number.

copy
    Nothing is there: create the record, then the payload.
publish
    Only the record is there, the very one: an earlier run was killed between the two.
already
    It is there: the very record, and a payload of the size that it tells.
compare
    Two payloads of the same size, and no record tells whether they are the same.
bury
    It was deleted for good at the source, and the destination still has it.
sweep
    It was deleted in both, and the destination still has its bytes.
"""


def plan(artifact: ArtifactId, whole: Whole, got: Got | None, size: int | None) -> Plan | Told:
    """What is to be done at a destination that has the record *got* and a payload of *size* bytes under that number."""
    if got is None:
        if size is None:
            return "copy"
        stone = whole.record
        if isinstance(stone, Tombstone):
            if stone.reason == "deleted" and not stone.write_id:
                return "bury"
            return Told("conflicts", "the number has ended at the source, and the destination has a payload there")
        if whole.raw or size != whole.size:
            return Told("conflicts", "the destination has a payload there that another program wrote")
        return "compare"
    if got.data == whole.raw:
        if size == whole.size or (size is None and whole.size < 0):
            return "already"
        if size is None:
            return "publish"
        if isinstance(whole.record, Tombstone):
            return "sweep" if whole.record.reason == "deleted" else "already"
        return Told("conflicts", f"the payload at the destination has {size} bytes, and not {whole.size}")
    return _other_record(artifact, whole, got, size)


def _other_record(artifact: ArtifactId, whole: Whole, got: Got, size: int | None) -> Plan | Told:
    here, there = whole.record, decoded(artifact, whole.number, got)
    of_one_save = here is not None and there is not None and here.write_id == there.write_id
    if isinstance(there, Tombstone):
        if of_one_save and isinstance(here, Tombstone) and here.reason == there.reason:
            return "already"
        foreign = here is None and not there.write_id
        if there.reason == "deleted" and (of_one_save or foreign):
            return Told("left_out", "it was deleted for good at the destination, and stays so")
        if there.reason == "fenced" and of_one_save:
            return Told(
                "conflicts",
                "an earlier migration was killed before it published this, and the claim that it left was ended at the "
                "destination: erase the artifact there and migrate again",
            )
        return Told("conflicts", "the destination has given that number to another save, which has ended")
    if of_one_save and isinstance(here, Tombstone) and here.reason == "deleted":
        return "bury"
    if of_one_save and not isinstance(here, Tombstone) and size == whole.size:
        return Told("left_out", REWRITTEN)
    return Told("conflicts", "the destination has another version, or another save in progress, under that number")


def decoded(artifact: ArtifactId, number: int, got: Got) -> Record | None:
    """The record that was read as *got*; None where it is none that this release knows."""
    try:
        return decode(got.data, artifact.record(number))
    except (IntegrityError, UnsupportedFormat):
        return None


def create_record(artifact: ArtifactId, whole: Whole) -> Steps[bool]:
    """Create the record; False where another one is there. "Exists" may be the answer to our own first attempt."""
    key = artifact.record(whole.number)
    (written,) = yield (Create(key, whole.raw, CONTENT_TYPE),)
    if written.done:
        return True
    got: Got | None
    (got,) = yield (Get(key),)
    return got is not None and got.data == whole.raw
