"""Reading a version: what is there, what was taken away, and what only looks like a version.

A version exists if its payload exists, is no fence, and its record is no tombstone. Payload and record are two objects,
so a record that was read before its payload may be old: where the two do not fit, the record is read once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from artifactfs.backends.base import Got, Stat
from artifactfs.custody import DataKey, unauthenticated
from artifactfs.errors import IntegrityError, KeyUnavailable, PayloadTooLarge, UnsupportedFormat
from artifactfs.layout import ArtifactId
from artifactfs.mime import guess
from artifactfs.pointers import MAX_URI
from artifactfs.protocol.listing import View, look, look_all
from artifactfs.protocol.ops import Get, StatOf, Steps, together
from artifactfs.protocol.sealing import authenticated
from artifactfs.records import (
    FENCE_SIZE,
    Blob,
    Record,
    Removed,
    Tombstone,
    decode,
    fits,
    fits_size,
    is_fence,
    synthesised,
    unknown_removal,
)

LEAST_READ = MAX_URI + 2
"""Bytes that are read whatever the limit: what is no content, a fence or a pointer's payload, has no more."""

AT_ONCE = 16
"""How many records are read at the same time where many are needed."""


class Found(msgspec.Struct, frozen=True):
    """A version that exists: its record, the stored record as it was read (if there is one), and the payload if read.

    The payload is as it is stored; `key` opens it where it is sealed.
    """

    number: int
    record: Record
    got: Got | None
    data: bytes | None = None
    key: DataKey | None = None

    @property
    def raw(self) -> bytes:
        """The stored record, authentication and all."""
        return self.got.data if self.got else b""

    @property
    def tag(self) -> str:
        """The tag of the stored record; "" where there is none."""
        return self.got.tag if self.got else ""


Gone: TypeAlias = Literal["deleted", "vanished", "fence"]
"""Why a number is no version: it was deleted, has no payload, or was fenced."""


def fetch(
    artifact: ArtifactId, number: int, *, whole: bool = False, limit: int | None = None, strict: bool = True
) -> Steps[Found | Gone]:
    """Version *number* of the artifact, if it exists; with its payload (content of at most *limit* bytes) where *whole*.

    Two requests at the same time; more only where the two do not fit. Without *whole* a payload is known by its size.
    Unless *strict*, a version that is damaged is a version all the same, so that it can be listed and deleted.

    Raises:
        IntegrityError: the payload is not the one that its record describes, or the record is not what was saved.
        KeyUnavailable: the record is authenticated by a key that is not to be had.
        BackendUnavailable: it names a store that is not registered.
        PayloadTooLarge: the content has more bytes than *limit*.
    """
    reach = None if limit is None else max(artifact.custody.stored_size(limit) + 1, LEAST_READ)
    look_at = Get(artifact.payload(number), 0, reach) if whole else None
    of_payload = look_at or StatOf(artifact.payload(number))
    got: Got | None
    payload: Got | Stat | None
    got, payload = yield (Get(artifact.record(number)), of_payload)
    if payload is not None and not whole and payload.size == FENCE_SIZE:
        of_payload = Get(artifact.payload(number))
        (payload,) = yield (of_payload,)
    record, key = yield from _decoded(artifact, number, got, strict)
    if isinstance(record, Tombstone):
        return _ended(record)
    if payload is None:
        return "vanished"
    _check_limit(artifact, number, record, payload, limit if whole else None)
    if not _matches(record, payload):
        (got,) = yield (Get(artifact.record(number)),)
        record, key = yield from _decoded(artifact, number, got, strict)
        if isinstance(record, Tombstone):
            return _ended(record)
        if record is None:
            (payload,) = yield (of_payload,)
            if payload is None:
                return "vanished"
            record = synthesised(artifact.name, number, guess(artifact.name), payload.size, payload.modified)
        if not _matches(record, payload) or (got is None and _is_fence(payload)):
            if _is_fence(payload):
                return "fence"
            if strict:
                raise IntegrityError(
                    f"the payload of version {number} of {artifact.label!r} does not match its record: "
                    "it was altered or cut off after it was saved; other versions are not affected",
                    artifact=artifact.label,
                )
        if got is None and strict and not artifact.custody.takes_plain:
            raise unauthenticated(artifact, f"version {number}")
    assert record is not None
    data = payload.data if whole and isinstance(payload, Got) else None
    return Found(number, record, got, data, key)


def confirm(artifact: ArtifactId, number: int, listed_size: int, *, strict: bool = False) -> Steps[Found | Gone]:
    """As `fetch` without the payload, where a listing has just shown it with *listed_size* bytes: mostly one request."""
    if listed_size != FENCE_SIZE:
        got: Got | None
        (got,) = yield (Get(artifact.record(number)),)
        record, key = yield from _decoded(artifact, number, got, strict)
        if isinstance(record, Tombstone):
            return _ended(record)
        if got is not None and record is not None and fits_size(record, listed_size):
            return Found(number, record, got, key=key)
    return (yield from fetch(artifact, number, strict=strict))


def newest(
    artifact: ArtifactId,
    *,
    whole: bool = False,
    limit: int | None = None,
    strict: bool = False,
    view: View | None = None,
) -> Steps[tuple[Found | None, View]]:
    """The version with the highest number that exists, a removal included, and the view that showed it.

    Where a version turns out to have been deleted since it was listed, an older one (or none) is an answer only if
    another listing shows the same keys: else the artifact never was in that state. A fresh *view* saves the first one.
    *whole*, *limit* and *strict* are as for `fetch`.
    """
    lister: Callable[[ArtifactId], Steps[View]] = look
    if view is None:
        view = yield from lister(artifact)
    while True:
        found, doubtful = yield from _scan(artifact, view, whole, limit, strict)
        if found is None and view.floor > 0:
            lister = look_all
            view = yield from lister(artifact)
            continue
        # Pages of a whole listing may be torn: a version that came behind the first, and an older one onto the second.
        if not doubtful and lister is look:
            return found, view
        again = yield from lister(artifact)
        if again.same_keys(view):
            return found, view
        view = again


def _scan(
    artifact: ArtifactId, view: View, whole: bool, limit: int | None, strict: bool
) -> Steps[tuple[Found | None, bool]]:
    """The newest version in *view*, and whether one above it was met that is deleted or has vanished."""
    doubtful = False
    for number in sorted(view.payloads, reverse=True):
        if number < view.floor:
            break
        if whole:
            seen = yield from fetch(artifact, number, whole=True, limit=limit, strict=strict)
        else:
            seen = yield from confirm(artifact, number, view.payloads[number], strict=strict)
        if isinstance(seen, Found):
            return seen, doubtful
        doubtful = doubtful or needs_second_look(seen)
    return None, doubtful


def needs_second_look(gone: Gone) -> bool:
    """A fenced number never comes alive, so nothing can have been there; a deleted or vanished one was."""
    return gone != "fence"


def existing(artifact: ArtifactId, view: View) -> Steps[list[int]]:
    """The numbers in *view* that are versions, removals left out, ascending. Reads only the records that may tell more."""
    numbers = sorted(view.payloads)
    unsure = [number for number in numbers if not surely_a_version(artifact, view, number)]
    seen = yield from confirm_many(artifact, view, unsure)
    out = {
        number
        for number, one in zip(unsure, seen, strict=True)
        if not isinstance(one, Found) or isinstance(one.record, Removed)
    }
    return [number for number in numbers if number not in out]


def surely_a_version(artifact: ArtifactId, view: View, number: int) -> bool:
    """Whether the sizes in a listing tell that *number* is a version: no removal, no fence, and under no tombstone."""
    if view.payloads[number] in (0, FENCE_SIZE):
        return False
    record = view.records.get(number)
    return record is None or not artifact.custody.may_be_tombstone(artifact, number, record[0])


def confirm_many(artifact: ArtifactId, view: View, numbers: Sequence[int]) -> Steps[list[Found | Gone]]:
    """`confirm` for each of *numbers*, some at a time."""
    seen: list[Found | Gone] = []
    for start in range(0, len(numbers), AT_ONCE):
        some = numbers[start : start + AT_ONCE]
        seen += yield from together(*(confirm(artifact, number, view.payloads[number]) for number in some))
    return seen


def at_time(
    artifact: ArtifactId, moment: datetime, view: View | None = None, *, strict: bool = False
) -> Steps[Found | None]:
    """The newest version that was saved not later than *moment*, a removal included, found by bisection.

    Exact where timestamps do not decrease with the numbers, as savers see to: each stamps at least the newest store time
    that it has seen. A *view* of every key saves the listing; *strict* is as for `fetch`.
    """
    if view is None:
        view = yield from look_all(artifact)
    numbers = sorted(view.payloads)
    best: Found | None = None
    low, high = 0, len(numbers)
    while low < high:
        middle = (low + high) // 2
        seen = yield from confirm(artifact, numbers[middle], view.payloads[numbers[middle]], strict=strict)
        if not isinstance(seen, Found):
            del numbers[middle]
            high -= 1
        elif seen.record.timestamp <= moment:
            best, low = seen, middle + 1
        else:
            high = middle
    return best


def _ended(stone: Tombstone) -> Gone:
    """A number that was fenced never was a version; what stands in its payload's place must stay there."""
    return "fence" if stone.reason == "fenced" else "deleted"


def _decoded(
    artifact: ArtifactId, number: int, got: Got | None, strict: bool
) -> Steps[tuple[Record | None, DataKey | None]]:
    """The record that was read and its data key. Unless *strict*, None where it is damaged or of a later release.

    Where its key is not to be had, it is believed (unless *strict*) that the version was taken away, and nothing else:
    who could forge that could as well delete it.
    """
    if got is None:
        return None, None
    try:
        record, key = yield from authenticated(artifact, number, got.data)
        if strict:
            artifact.custody.check_provider(artifact, record)
        return record, key
    except (IntegrityError, UnsupportedFormat):
        if strict:
            raise
    except KeyUnavailable:
        if strict:
            raise
        record = decode(got.data)
        if isinstance(record, Tombstone):
            return record, None
        if isinstance(record, Removed):
            return unknown_removal(artifact.name, number, got.modified), None
    return None, None


def _matches(record: Record | None, payload: Got | Stat) -> bool:
    if record is None:
        return False
    return fits(record, payload.data) if isinstance(payload, Got) else fits_size(record, payload.size)


def _is_fence(payload: Got | Stat) -> bool:
    return isinstance(payload, Got) and is_fence(payload.data)


def _check_limit(
    artifact: ArtifactId, number: int, record: Record | None, payload: Got | Stat, limit: int | None
) -> None:
    if limit is None or _is_fence(payload) or not (record is None or isinstance(record, Blob)):
        return
    size = payload.size
    if isinstance(record, Blob) and record.size_bytes is not None and fits_size(record, size):
        size = record.size_bytes
    if size > limit:
        raise PayloadTooLarge(
            f"version {number} of {artifact.label!r} has {size} bytes, more than max_bytes={limit}; "
            "open it and read it in pieces, or raise max_bytes",
            artifact=artifact.label,
        )
