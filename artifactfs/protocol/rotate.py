"""Rotation of keys: every data key is wrapped anew by another key, and its record alone is rewritten.

Payloads are sealed by data keys, which stay what they are: none is read or written. What is rewritten is conditional, so
that a save or a delete that came meanwhile is never undone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from msgspec import UNSET

from artifactfs.backends.base import Got, Page, Stat, Written
from artifactfs.custody import Custody, check_key_id
from artifactfs.errors import (
    BackendError,
    IntegrityError,
    InvalidConfig,
    KeyUnavailable,
    UnsafeBackend,
    UnsupportedFormat,
)
from artifactfs.keys.base import looks_like_a_key, told_id
from artifactfs.layout import RECORD, TAGS, ArtifactId, ScopeId, parse_entry
from artifactfs.names import decode as decode_name
from artifactfs.names import is_segment
from artifactfs.protocol.claim import rewrite_record
from artifactfs.protocol.env import Env
from artifactfs.protocol.ops import Get, List, Now, Put, Replace, StatOf, Steps, together
from artifactfs.protocol.publish import ROUNDS
from artifactfs.protocol.read import AT_ONCE
from artifactfs.protocol.sealing import data_key, rewrap
from artifactfs.protocol.tags import tag_at
from artifactfs.records import CONTENT_TYPE, Encryption, Record, Tombstone, decode, decode_tag, is_unfinished

MOST_TOLD = 100
"""Altered records that are named; more are counted."""


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """What a rotation has seen and done, in numbers of records.

    Attributes:
        to: the id of the key that wraps data keys now.
        rewrapped: were wrapped by another key, and rewritten.
        already: were wrapped by that key before; nothing else of them is looked at.
        plain: nothing authenticates them, and no key is needed for them.
        in_progress: of saves that have not published yet. They are left alone: run the rotation again later.
        abandoned: of saves that were never published, and never will be: no key is needed for them.
        unsupported: a later release wrote them; it has to rotate them.
        unavailable: for each key that is not to be had, how many records it wraps. They are left alone.
        altered: as ``app/user/session/name@N``, the first hundred that are not what was saved. They are left alone.
        altered_more: how many more there are.
    """

    to: str
    rewrapped: int = 0
    already: int = 0
    plain: int = 0
    in_progress: int = 0
    abandoned: int = 0
    unsupported: int = 0
    unavailable: dict[str, int] = {}
    altered: tuple[str, ...] = ()
    altered_more: int = 0

    @property
    def complete(self) -> bool:
        """Whether nothing that was met needs any key but `to`: the others may then be destroyed.

        For what savers have saved meanwhile that is so if `to` was the active key of each of them before this began.
        """
        return not (self.in_progress or self.unsupported or self.unavailable or self.altered)


@dataclass(slots=True)
class Tally:
    """A `Rotated` that is still being counted."""

    to: str
    counts: dict[str, int] = field(default_factory=dict)
    unavailable: dict[str, int] = field(default_factory=dict)
    altered: list[str] = field(default_factory=list)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def lacks(self, key_id: str) -> None:
        self.unavailable[key_id] = self.unavailable.get(key_id, 0) + 1

    def is_altered(self, label: str) -> None:
        if len(self.altered) < MOST_TOLD:
            self.altered.append(label)
        else:
            self.count("altered_more")

    def result(self) -> Rotated:
        altered = tuple(sorted(self.altered))
        return Rotated(to=self.to, unavailable=dict(self.unavailable), altered=altered, **self.counts)


def check_key(custody: Custody, to: str) -> None:
    """Refuse, before anything is touched, to wrap by a key that is not there.

    Raises:
        InvalidConfig: the store has no keys, or *to* is no id.
        KeyUnavailable: it has others. Who keeps keys elsewhere tells that at the first record, before it is rewritten.
    """
    if custody.keys is None:
        raise InvalidConfig("there are no keys to rotate: the store was opened without any")
    check_key_id(to)
    ids = getattr(custody.keys, "ids", None)
    if isinstance(ids, tuple) and to not in ids:
        raise KeyUnavailable(
            f"no key {told_id(to)} is configured here (there are {', '.join(map(str, ids))}), so nothing can be wrapped by "
            "it: add it to the keys; nothing was changed",
            key_id=None if looks_like_a_key(to) else to,
        )


def check_conditional(env: Env, url: str, nobody_deletes: bool) -> None:
    """Refuse to rewrite records where that could undo a delete.

    Raises:
        UnsafeBackend: the store has no conditional rewrite.
    """
    if not (env.conditional or nobody_deletes):
        raise UnsafeBackend(
            f"{url} does not rewrite on a condition, so a rotation could bring back what is deleted at the same time; "
            "nothing was changed. Say nobody_deletes=True once nobody deletes, compacts or rotates there until it has ended",
            store=url,
        )


def rotate(env: Env, scope: ScopeId, tally: Tally) -> Steps[None]:
    """Wrap the data key of every record in *scope* by the key that *tally* counts for. A page of keys at a time.

    What is wrapped by it already is passed over, so that a rotation that was cut off goes on where it was.
    """
    after: str | None = ""
    payload = ""
    while after is not None:
        page: Page
        (page,) = yield (List(scope.folder, after, deep=True),)
        listed: list[tuple[ArtifactId, int, bool]] = []
        tags: list[tuple[ArtifactId, str]] = []
        for entry in page.entries:
            segment, _, key = entry.name.partition("/")
            if segment == TAGS:
                tags += tag_at(scope, key)
                continue
            match parse_entry(key):
                case ("payload", _):
                    payload = entry.name  # sorts directly before its record, perhaps on the page before
                case ("record", number) if is_segment(segment):
                    artifact = ArtifactId(scope, decode_name(segment))
                    listed.append((artifact, number, entry.name == payload + RECORD))
        for start in range(0, len(listed), AT_ONCE):
            yield from together(*(_rotate(env, *one, tally) for one in listed[start : start + AT_ONCE]))
        for start in range(0, len(tags), AT_ONCE):
            yield from together(*(_rotate_tag(env, *one, tally) for one in tags[start : start + AT_ONCE]))
        after = page.next


def _rotate(env: Env, artifact: ArtifactId, number: int, published: bool, tally: Tally) -> Steps[None]:
    """One record, which is read again where it was rewritten meanwhile. *published*: the listing showed its payload."""
    custody, label = artifact.custody, f"{artifact.label}@{number}"
    sent = False
    for _ in range(ROUNDS):
        got: Got | None
        (got,) = yield (Get(artifact.record(number)),)
        if got is None:
            return
        try:
            record = decode(got.data, artifact.record(number))
            if not custody.needs_key(artifact, record, got.data):
                return tally.count("plain")
            done = record.encryption is not UNSET and record.encryption.key_id == tally.to
            if not done and (yield from _is_claim(artifact, number, record, published)):
                return tally.count("in_progress" if (yield from _may_publish(env, got)) else "abandoned")
            key = yield from data_key(artifact, record)
            custody.check(artifact, number, record, got.data, key)
            if done:
                return tally.count("rewrapped" if sent else "already")  # sent: the answer to that was lost
        except IntegrityError:
            return tally.is_altered(label)
        except UnsupportedFormat:
            return tally.count("unsupported")
        except KeyUnavailable as error:
            return tally.lacks(error.key_id or "")
        seal = yield from rewrap(artifact, record, key, tally.to)
        data = seal.stamp(artifact, record, _with_wrapped(got.data, seal.encryption))
        sent = True
        if (yield from rewrite_record(env, artifact, number, data, got.tag)).done:
            return tally.count("rewrapped")
    raise _refused(artifact, artifact.record(number))


def _rotate_tag(env: Env, artifact: ArtifactId, tag: str, tally: Tally) -> Steps[None]:
    """As `_rotate`, of a tag, which is moved by being written anew."""
    custody, key_of_tag = artifact.custody, artifact.tag(tag)
    sent = False
    for _ in range(ROUNDS):
        got: Got | None
        (got,) = yield (Get(key_of_tag),)
        if got is None:
            return
        try:
            record = decode_tag(got.data, key_of_tag)
            if not custody.needs_key(artifact, record, got.data):
                return tally.count("plain")
            key = yield from data_key(artifact, record)
            custody.check_tag(artifact, tag, got.data, key)
            if record.encryption is not UNSET and record.encryption.key_id == tally.to:
                return tally.count("rewrapped" if sent else "already")
        except IntegrityError:
            return tally.is_altered(f"{artifact.label}@{tag}")
        except UnsupportedFormat:
            return tally.count("unsupported")
        except KeyUnavailable as error:
            return tally.lacks(error.key_id or "")
        seal = yield from rewrap(artifact, record, key, tally.to)
        data = seal.stamp_tag(artifact, record, _with_wrapped(got.data, seal.encryption))
        sent = True
        written: Written
        if env.conditional:
            (written,) = yield (Replace(key_of_tag, data, CONTENT_TYPE, got.tag),)
        else:
            (written,) = yield (Put(key_of_tag, data, CONTENT_TYPE, once=True),)
        if written.done:
            return tally.count("rewrapped")
    raise _refused(artifact, key_of_tag)


def _refused(artifact: ArtifactId, key: str) -> BackendError:
    return BackendError(
        f"the record {key!r} was refused {ROUNDS} times as changed: rotate again; if that does not help, the store does not "
        "keep the tags that it gives",
        artifact=artifact.label,
    )


def _is_claim(artifact: ArtifactId, number: int, record: Record, published: bool) -> Steps[bool]:
    """Whether somebody may still publish under *record*.

    Its saver knows it by its tag and its bytes: a stream that finishes it, or a save that looks whether its own claim
    has landed, would take a claim that was rewritten for one that it has lost.
    """
    if isinstance(record, Tombstone):
        return False
    if published or is_unfinished(record):
        return is_unfinished(record)
    there: Stat | None
    (there,) = yield (StatOf(artifact.payload(number)),)
    return there is None


def _may_publish(env: Env, got: Got) -> Steps[bool]:
    """Whether the saver of a claim may still publish: it gives up by itself; what it sent before that has landed since."""
    now: float
    (now,) = yield (Now(),)
    return now - got.modified <= env.give_up + env.claim_ttl


def _with_wrapped(data: bytes, encryption: Encryption) -> bytes:
    """The stored record *data* without its MAC and with another wrapped key; every other field byte for byte."""
    fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    del fields["mac"]
    inner = msgspec.json.decode(fields["encryption"], type=dict[str, msgspec.Raw])
    inner["key_id"] = msgspec.Raw(msgspec.json.encode(encryption.key_id))
    inner["wrapped_key"] = msgspec.Raw(msgspec.json.encode(encryption.wrapped_key))
    fields["encryption"] = msgspec.Raw(msgspec.json.encode(inner))
    return msgspec.json.encode(fields)
