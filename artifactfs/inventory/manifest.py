"""The one small object by which an inventory is published, and the files that it names (docs/spec.md, "Inventory").

Files are written under fresh names and never changed. The manifest is rewritten on the condition that it is the one that
was read, so a reader finds the old inventory or the new one, whole, and of several writers one wins.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from artifactfs.backends.base import Got, Page, Written
from artifactfs.custody import Custody, DataKey
from artifactfs.errors import IntegrityError, InvalidConfig, KeyUnavailable, UnsupportedFormat
from artifactfs.layout import STORE_FOLDER, ArtifactId, ScopeId
from artifactfs.protocol.env import Env
from artifactfs.protocol.ops import Create, Delete, Get, List, Put, Replace, Steps
from artifactfs.protocol.sealing import begin, data_key
from artifactfs.records import CONTENT_TYPE, Encryption, TagRecord

FOLDER = f"{STORE_FOLDER}inventory/"
KEY = f"{FOLDER}manifest"
FORMAT = 1
PARQUET = "application/vnd.apache.parquet"

KEEP = 3600.0
"""Seconds after its making for which a file that no manifest names stays: whoever made it may be about to name it."""

_MAC_LABEL = b"artifactfs inventory mac v1"
_MAC_FIELD = b',"mac":"'
_MAC_SIZE = len(_MAC_FIELD) + 64 + len(b'"}')


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A Parquet file: its name in the folder, its size in bytes and digest, and the first and last key that it tells of.

    `weight` is about how many bytes its rows take in memory.
    """

    name: str
    size_bytes: int
    sha256: str
    rows: int
    weight: int
    first: str
    last: str

    def reaches(self, folder: str) -> bool:
        """Whether a key below *folder* may be among those of this file. Keys are sorted by code points."""
        return not folder or (self.last >= folder and self.first < f"{folder[:-1]}0")  # "0" comes next after "/"


class Manifest(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="inventory"):
    """What an inventory consists of. `as_of` is None while the first one is being made.

    The rows of `base` are sorted by their keys, and each file has a range of its own. `delta` holds the last word about
    the keys that it names.
    """

    format: int = FORMAT
    as_of: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    write_id: str
    base: tuple[Part, ...] = ()
    delta: Part | None = None
    encryption: Encryption | UnsetType = UNSET

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.base if self.delta is None else (*self.base, self.delta)

    @property
    def weight(self) -> int:
        return sum(part.weight for part in self.base)


class State(NamedTuple):
    """The manifest as it is stored: its tag (None where there is none), and *why* it cannot be used, where that is so."""

    tag: str | None
    manifest: Manifest | None
    why: str = ""


class _Peek(msgspec.Struct):
    format: int = FORMAT


def read(custody: Custody) -> Steps[State]:
    """The stored manifest; one that is damaged, or that this store's keys do not vouch for, is not to be used.

    Raises:
        UnsupportedFormat: a later release wrote it.
    """
    got: Got | None
    (got,) = yield (Get(KEY),)
    if got is None:
        return State(None, None, "there is no inventory: make one with store.inventory()")
    try:
        if msgspec.json.decode(got.data, type=_Peek).format != FORMAT:
            raise UnsupportedFormat(
                f"the inventory {KEY!r} was made by a later release of artifactfs: upgrade to use it"
            )
        manifest = msgspec.json.decode(got.data, type=Manifest)
        yield from _check(custody, manifest, got.data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return State(got.tag, None, "the inventory is damaged: make it anew with store.inventory()")
    except (IntegrityError, KeyUnavailable, InvalidConfig) as error:
        why = (
            f"the inventory cannot be trusted here ({error}): make it anew with store.inventory() and this store's keys"
        )
        return State(got.tag, None, why)
    if manifest.as_of is None:
        return State(got.tag, manifest, "the first inventory is not finished: make it with store.inventory()")
    return State(got.tag, manifest)


def write(env: Env, custody: Custody, manifest: Manifest, tag: str | None) -> Steps[bool]:
    """Publish *manifest* in the place of the one with *tag* (None: of none); False where that is not there any more.

    Raises:
        KeyUnavailable, InvalidConfig: what is to authenticate it is not to be had.
    """
    artifact = _place(custody)
    seal = yield from begin(artifact, manifest.write_id)
    if seal is not None:
        manifest = msgspec.structs.replace(manifest, encryption=seal.encryption)
    data = msgspec.json.encode(manifest)
    if seal is not None:
        data = data[:-1] + _MAC_FIELD + _mac(seal.key, data[:-1]) + b'"}'
    written: Written
    if tag is None:
        (written,) = yield (Create(KEY, data, CONTENT_TYPE),)
    elif env.conditional:
        (written,) = yield (Replace(KEY, data, CONTENT_TYPE, tag),)
    else:
        (written,) = yield (Put(KEY, data, CONTENT_TYPE, once=True),)
    if written.done or written.tries == 1:
        return written.done
    got: Got | None
    (got,) = yield (Get(KEY),)
    return got is not None and got.data == data


def new_name() -> str:
    """A name that no file has had."""
    return f"{secrets.token_hex(16)}.parquet"


def put(name: str, data: bytes) -> Steps[None]:
    """Store the bytes of a file under its fresh name."""
    yield (Create(FOLDER + name, data, PARQUET),)


def get(part: Part) -> Steps[bytes | None]:
    """The bytes of a file, whose digest is to be checked; None where it is gone or has another size."""
    got: Got | None
    (got,) = yield (Get(FOLDER + part.name, 0, part.size_bytes),)
    return None if got is None or got.size != part.size_bytes else got.data


def discard(names: Sequence[str]) -> Steps[None]:
    """Remove files that no manifest has named."""
    if names:
        yield (Delete(tuple(FOLDER + name for name in names)),)


def clear(keep: Collection[str], before: float | None = None) -> Steps[None]:
    """Remove the files that are not among *keep*, and with *before* only those from before that store time, in seconds."""
    after: str | None = ""
    while after is not None:
        page: Page
        (page,) = yield (List(FOLDER, after),)
        old = [
            entry.name
            for entry in page.entries
            if FOLDER + entry.name != KEY and entry.name not in keep and (before is None or entry.modified < before)
        ]
        yield from discard(old)
        after = page.next


def _place(custody: Custody) -> ArtifactId:
    """What the manifest's data key is bound to. No artifact's key is in its place: that would be under ``%40store``."""
    return ArtifactId(ScopeId("@store", "inventory", None, custody, as_stored=True), "manifest")


def _check(custody: Custody, manifest: Manifest, data: bytes) -> Steps[None]:
    has_mac = data[-_MAC_SIZE : -_MAC_SIZE + len(_MAC_FIELD)] == _MAC_FIELD and data.endswith(b'"}')
    if not manifest.encryption and not has_mac:
        if not custody.takes_plain:
            raise IntegrityError("no key authenticates it, and this store has keys")
        return
    if not manifest.encryption or not has_mac:
        raise IntegrityError("what authenticates it was taken away")
    if custody.keys is None:
        raise KeyUnavailable("it is authenticated by a key, and this store was opened without keys")
    stand_in = TagRecord(
        filename="manifest",
        tag="inventory",
        version=0,
        timestamp=manifest.as_of or datetime.min,
        write_id=manifest.write_id,
        encryption=manifest.encryption,
    )
    key = yield from data_key(_place(custody), stand_in)
    if not hmac.compare_digest(data[-_MAC_SIZE + len(_MAC_FIELD) : -2], _mac(key, data[:-_MAC_SIZE])):
        raise IntegrityError("it was altered")


def _mac(key: DataKey, body: bytes) -> bytes:
    """HMAC-SHA256 under a key of its own: one block of HKDF-Expand (RFC 5869, section 2.3) with SHA-512."""
    own = hmac.digest(key.secret, _MAC_LABEL + b"\1", "sha512")[:32]
    return hmac.digest(own, body, "sha256").hex().encode()
