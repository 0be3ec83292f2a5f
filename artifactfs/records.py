"""What is stored beside each payload: a record, one JSON object, of four kinds (docs/spec.md, "Records").

Decoding ignores fields that it does not know; a `format` that it does not know is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from artifactfs.errors import IntegrityError, InvalidMetadata, InvalidRef, UnsupportedFormat
from artifactfs.pointers import check_uri

FORMAT = 1
MAX_METADATA = 64 * 1024
"""Bytes of JSON: the most that a caller's metadata may take."""

MAX_DEPTH = 100
"""Levels of lists and objects in a caller's metadata: any reader can decode that."""

CONTENT_TYPE = "application/json"
POINTER_TYPE = "text/uri-list"

PUBLIC_SCHEMES = ("https", "http", "ipfs")
"""Of URIs that a client can open. Those of other schemes are places in somebody's storage, and are not shown."""

FENCE_MAGIC = b"artifactfs fence"
FENCE_SIZE = 32
"""Bytes: 16 of magic and 16 random ones."""


class Encryption(msgspec.Struct, frozen=True, kw_only=True):
    """How the data key of a record is wrapped, and what seals the payload (nothing seals that of a pointer)."""

    key_id: str
    wrapped_key: str
    cipher: str | UnsetType = UNSET


class _Common(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    format: int = FORMAT
    filename: str
    mime_type: str
    version: int
    size_bytes: int | None
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    write_id: str
    metadata: dict[str, Any] = {}
    encryption: Encryption | UnsetType = UNSET
    provider: str | UnsetType = UNSET

    def public(self, *, digest: bool = False) -> dict[str, Any]:
        """What a client may be shown of the record: plain JSON values, and never more than the fields named here.

        Those are ``kind``, ``filename``, ``mime_type``, ``version``, ``size_bytes``, ``timestamp`` (RFC 3339, UTC, with
        ``Z``), a copy of the ``metadata``, and of a pointer the ``uri`` where a client can open it: one of https, http
        or ipfs without a password. Where things are stored, how they are sealed and by which save is not among them.

        >>> shown = scope.stat("notes.txt").public()
        >>> shown["kind"], shown["filename"], shown["version"], shown["size_bytes"]
        ('blob', 'notes.txt', 1, 6)

        Args:
            digest: with ``sha256`` where the record has that of the content: a sealed version has none, and a pointer the
                one that is expected.
        """
        at = self.timestamp if self.timestamp.tzinfo else self.timestamp.replace(tzinfo=UTC)
        shown = {
            "kind": self.__struct_config__.tag,
            "filename": self.filename,
            "mime_type": self.mime_type,
            "version": self.version,
            "size_bytes": self.size_bytes,
            "timestamp": msgspec.to_builtins(at.astimezone(UTC)),
            "metadata": msgspec.to_builtins(self.metadata),
        }
        if isinstance(self, Pointer) and _opens(self.uri):
            shown["uri"] = self.uri
        content = _content_digest(self)
        if digest and content is not None:
            shown["sha256"] = content
        return shown


def _opens(uri: str) -> bool:
    """Whether a client can open *uri* without being given more."""
    try:
        return check_uri(uri, PUBLIC_SCHEMES) == uri
    except InvalidRef:
        return False


def _content_digest(record: _Common) -> str | None:
    """The SHA-256 of the content; a sealed payload's digest is none."""
    if isinstance(record, Blob) and not record.encryption:
        return record.sha256
    return record.expected_sha256 if isinstance(record, Pointer) else None


class Blob(_Common, frozen=True, kw_only=True, tag="blob"):
    """A version that holds bytes. `size_bytes` is the content's; `sha256`, `stored_bytes` are the stored payload's.

    While a stream is being uploaded its record is *unfinished*: the three are None. A payload that another program
    wrote has no record; the one made up for it has no digest and an empty `write_id`.
    """

    sha256: str | None
    stored_bytes: int | None


class Pointer(_Common, frozen=True, kw_only=True, tag="pointer"):
    """A version that names where the content is. Its payload is the URI as a ``text/uri-list``."""

    uri: str
    expected_sha256: str | None = None
    expected_size: int | None = None


class Removed(_Common, frozen=True, kw_only=True, tag="removed"):
    """The artifact was removed here: older versions stay readable by number. Its payload is empty."""


Reason: TypeAlias = Literal["deleted", "fenced"]


class Tombstone(_Common, frozen=True, kw_only=True, tag="tombstone"):
    """What is left of a number whose bytes are gone (`deleted`) or never came (`fenced`).

    `write_id` is that of the save it ended.
    """

    reason: Reason


Record: TypeAlias = Blob | Pointer | Removed | Tombstone


class TagRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="tag"):
    """What is stored of a tag: the version that it names. `write_id` is that of the call that set it."""

    format: int = FORMAT
    filename: str
    tag: str
    version: Annotated[int, msgspec.Meta(ge=0)]
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    write_id: str
    encryption: Encryption | UnsetType = UNSET


class _Peek(msgspec.Struct):
    format: int = 0
    kind: str = ""


_decoder = msgspec.json.Decoder(Record)
_tag_decoder = msgspec.json.Decoder(TagRecord)
_peek = msgspec.json.Decoder(_Peek)
_encoder = msgspec.json.Encoder()
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def encode(record: Record | TagRecord) -> bytes:
    return _encoder.encode(record)


def decode(data: bytes, key: str = "") -> Record:
    """The record in *data*; *key* is named in errors.

    Raises:
        UnsupportedFormat: a format or kind that this version of the library does not know.
        IntegrityError: not a record at all.
    """
    try:
        record: Record = _decoder.decode(data)
        if record.format == FORMAT:
            return record
        found: int | str = record.format
    except _UNREADABLE as error:
        try:
            seen = _peek.decode(data)
        except _UNREADABLE:
            raise _garbled(key, error) from error
        if seen.format == FORMAT and seen.kind in {"blob", "pointer", "removed", "tombstone"}:
            raise _garbled(key, error) from error
        found = seen.format if seen.format != FORMAT else seen.kind
    raise UnsupportedFormat(
        f"the record {key!r} is of format or kind {found!r}, which this version of artifactfs does not know; "
        "upgrade artifactfs to read it"
    )


def decode_tag(data: bytes, key: str) -> TagRecord:
    """The tag in *data*; *key* is named in errors.

    Raises:
        UnsupportedFormat: a format that this version of the library does not know.
        IntegrityError: not a tag at all.
    """
    try:
        record = _tag_decoder.decode(data)
        found = record.format
    except _UNREADABLE as error:
        try:
            found = _peek.decode(data).format
        except _UNREADABLE:
            found = 0
        if found in (0, FORMAT):
            raise IntegrityError(
                f"the tag {key!r} does not decode ({error}): it was altered or cut off; set it again, or take it away"
            ) from error
    if found != FORMAT:
        raise UnsupportedFormat(
            f"the tag {key!r} is of format {found!r}, which this version of artifactfs does not know; upgrade artifactfs"
        )
    return record


def _garbled(key: str, error: Exception) -> IntegrityError:
    return IntegrityError(
        f"the record {key!r} does not decode ({error}): it was altered or cut off; other versions are not affected, and "
        "deleting this one clears it away"
    )


def new_write_id() -> str:
    """32 hex digits that no other save has."""
    return os.urandom(16).hex()


def fence_payload() -> bytes:
    return FENCE_MAGIC + secrets.token_bytes(FENCE_SIZE - len(FENCE_MAGIC))


def is_fence(data: bytes) -> bool:
    """Whether *data* has a fence's form; a user's payload may have it too, and then fits its record."""
    return len(data) == FENCE_SIZE and data.startswith(FENCE_MAGIC)


def pointer_payload(uri: str) -> bytes:
    return uri.encode() + b"\r\n"


def is_unfinished(record: Record) -> bool:
    return isinstance(record, Blob) and record.stored_bytes is None


def payload_size(record: Record) -> int:
    """Bytes of the payload that *record* describes; -1 where it describes none (a tombstone, an unfinished stream)."""
    match record:
        case Blob():
            return -1 if record.stored_bytes is None else record.stored_bytes
        case Pointer():
            return len(pointer_payload(record.uri))
        case Removed():
            return 0
        case Tombstone():
            return -1


def fits_size(record: Record, size: int) -> bool:
    """Whether a payload of *size* bytes can be the one that *record* describes."""
    return payload_size(record) == size


def fits(record: Record, data: bytes) -> bool:
    """Whether *data* is the payload that *record* describes: its size and its digest."""
    if not fits_size(record, len(data)):
        return False
    if isinstance(record, Blob):
        return record.sha256 is None or hashlib.sha256(data).hexdigest() == record.sha256
    return not isinstance(record, Pointer) or data == pointer_payload(record.uri)


def tombstone(
    filename: str,
    version: int,
    write_id: str,
    reason: Reason,
    at: datetime,
    encryption: Encryption | UnsetType = UNSET,
) -> Tombstone:
    """A tombstone holds its own fields only, so that `longest_tombstone` can tell by size where to look."""
    return Tombstone(
        filename=filename,
        mime_type="",
        version=version,
        size_bytes=0,
        timestamp=at,
        write_id=write_id,
        reason=reason,
        encryption=encryption,
    )


def longest_tombstone(filename: str, version: int) -> int:
    """The most bytes of a tombstone that nothing authenticates: every other record is longer."""
    return _longest_tombstone(filename) + len(str(version))


@lru_cache(maxsize=1000)  # every version of a listing is asked for
def _longest_tombstone(filename: str) -> int:
    """Without its number."""
    return len(encode(tombstone(filename, 0, "0" * 32, "deleted", _LONGEST_TIME))) - 1


_LONGEST_TIME = datetime(2000, 1, 1, 0, 0, 0, 1, tzinfo=UTC)


def synthesised(filename: str, version: int, mime_type: str, size: int, modified: float) -> Blob:
    """A record for a payload that has none, from what the store knows."""
    return Blob(
        filename=filename,
        mime_type=mime_type,
        version=version,
        size_bytes=size,
        timestamp=datetime.fromtimestamp(modified, UTC),
        write_id="",
        sha256=None,
        stored_bytes=size,
    )


def unknown_removal(filename: str, version: int, modified: float) -> Removed:
    """A removal of which nothing is known but that it is one, from what the store knows."""
    return Removed(
        filename=filename,
        mime_type="",
        version=version,
        size_bytes=0,
        timestamp=datetime.fromtimestamp(modified, UTC),
        write_id="",
    )


def check_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """A caller's metadata as it will be read back.

    Raises:
        InvalidMetadata: not a JSON object, holds NaN, infinities or what JSON has no form for, or is over 64 KiB.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidMetadata(f"metadata must be a mapping, not {type(metadata).__name__}")
    plain: dict[str, Any] = _plain(metadata, "metadata")
    try:
        size = len(_encoder.encode(plain))
        json.dumps(plain, ensure_ascii=False).encode()
    except (OverflowError, ValueError, msgspec.MsgspecError) as error:
        raise InvalidMetadata(f"metadata cannot be stored as JSON: {error}") from error
    if size > MAX_METADATA:
        raise InvalidMetadata(
            f"metadata is {size} bytes as JSON; at most {MAX_METADATA} are allowed: save it as an artifact"
        )
    return plain


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """*value* in the types that JSON has, and in no subclass of them."""
    if depth > MAX_DEPTH:
        raise InvalidMetadata(f"metadata is nested deeper than {MAX_DEPTH} levels, or holds itself")
    match value:
        case None | bool():
            return value
        case str():
            return str.__str__(value)
        case int():
            return int(value)
        case float():
            if not math.isfinite(value):
                raise InvalidMetadata(f"{where} is {value}, which JSON cannot hold")
            return float(value)
        case list() | tuple():
            return [_plain(item, f"{where}[{place}]", depth + 1) for place, item in enumerate(value)]
        case Mapping():
            for key in value:
                if not isinstance(key, str):
                    raise InvalidMetadata(f"{where} has the key {key!r:.80}; keys must be text")
            return {str.__str__(key): _plain(item, f"{where}.{key:.40}", depth + 1) for key, item in value.items()}
    raise InvalidMetadata(f"{where} is a {type(value).__name__}, which JSON cannot hold")
