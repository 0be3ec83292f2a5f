"""What is asked for in a search, and what is found."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from artifactfs.custody import Custody
from artifactfs.errors import InvalidName, InvalidRef
from artifactfs.layout import ArtifactId
from artifactfs.names import check, encode
from artifactfs.protocol.ops import Emit, Lazy
from artifactfs.records import check_metadata
from artifactfs.refs import check_tag

_ALWAYS = re.compile("")


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A version that was found.

    Attributes:
        app: of whom it is, with `user` and `session`; the user as they were named in the search, else as the store calls
            them (with a ``scope_secret`` that is a digest).
        session: None for what all sessions of the user share.
        name: without ``user:``.
        version: its number.
        kind: ``blob`` or ``pointer``.
        size_bytes: of the content; None where that is not known.
        timestamp: when it was saved, UTC.
        sha256: of the content; None where it is sealed, or not known.
        tags: that name this version, sorted.
        newest: whether it is the artifact's newest version.
    """

    app: str
    user: str
    session: str | None
    name: str
    version: int
    kind: str
    mime_type: str
    size_bytes: int | None
    timestamp: datetime
    metadata: dict[str, Any]
    sha256: str | None
    tags: tuple[str, ...]
    newest: bool


class Hits(Iterator[Hit]):
    """What a search has found, read as it is asked for: by app, user, session and name as they are stored, newest first.

    Attributes:
        as_of: the time, by the store's clock, that the answer is true for.
        hint: why there was no inventory to search, and what to do about it; empty where there was one.
    """

    def __init__(self, as_of: datetime, hint: str, hits: Iterator[Hit]) -> None:
        self.as_of, self.hint, self._hits = as_of, hint, hits

    def __next__(self) -> Hit:
        return next(self._hits)


class AsyncHits(AsyncIterator[Hit]):
    """As `Hits`, iterated with ``async for``."""

    def __init__(self, as_of: datetime, hint: str, hits: AsyncIterator[Hit]) -> None:
        self.as_of, self.hint, self._hits = as_of, hint, hits

    async def __anext__(self) -> Hit:
        return await anext(self._hits)


class Query:
    """What is asked for, checked.

    Raises:
        InvalidName, InvalidRef, InvalidMetadata: something asked for is of the wrong kind.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        mime_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        app: str | None = None,
        user: str | None = None,
        session: str | None = None,
        tag: str | None = None,
        all_versions: bool = False,
        limit: int | None = None,
    ) -> None:
        self.name, self.mime_type = _pattern(name, "name"), _pattern(mime_type, "mime_type")
        self._names = _compiled(self.name)
        self._types = _compiled(None if self.mime_type is None else self.mime_type.lower())
        self.since, self.until = _utc(since, "since"), _utc(until, "until")
        self.min_size, self.max_size = _whole(min_size, "min_size"), _whole(max_size, "max_size")
        self.limit = _whole(limit, "limit")
        self.metadata = check_metadata(metadata)
        self.app = None if app is None else check(app, "app")
        self.user = None if user is None else check(user, "user")
        self.session = None if session is None else check(session, "session")
        self.tag = None if tag is None else check_tag(tag)
        self.every = bool(all_versions) or tag is not None

    def folder(self, custody: Custody) -> str:
        """The longest folder that all that is asked for lies in, from the root.

        Raises:
            InvalidRef: a user is asked for, without an app, where the store holds digests of users.
        """
        if self.app is None:
            if self.user is not None and custody.hides_users:
                raise InvalidRef(
                    "with a scope_secret the store calls a user otherwise in each app: give app= with user="
                )
            return ""
        folder = f"{encode(self.app, 'app')}/"
        if self.user is None:
            return folder
        folder += f"{encode(custody.user(self.app, self.user), 'user')}/"
        return folder if self.session is None else f"{folder}{encode(self.session, 'session')}/"

    def stored_user(self, custody: Custody) -> str | None:
        return self.user if self.user is None or self.app is None else custody.user(self.app, self.user)

    def fits_place(self, artifact: ArtifactId) -> bool:
        """Whether it may be one of this artifact. App and user together are seen to by `folder`."""
        scope = artifact.scope
        return (
            (self.app is None or scope.app == self.app)
            and (self.app is not None or self.user is None or scope.stored_user == self.user)
            and (self.session is None or scope.session == self.session)
            and self._names.match(artifact.name) is not None
        )

    def fits(self, hit: Hit) -> bool:
        """Whether what was found in the right place is asked for."""
        return (
            (self.every or hit.newest)
            and (self.tag is None or self.tag in hit.tags)
            and self._names.match(hit.name) is not None
            and self._types.match(_essence(hit.mime_type)) is not None
            and (self.since is None or hit.timestamp >= self.since)
            and (self.until is None or hit.timestamp < self.until)
            and (self.min_size is None or (hit.size_bytes is not None and hit.size_bytes >= self.min_size))
            and (self.max_size is None or (hit.size_bytes is not None and hit.size_bytes <= self.max_size))
            and _holds(hit.metadata, self.metadata)
        )

    def shown_user(self, stored: str) -> str:
        return stored if self.user is None else self.user


class Started(NamedTuple):
    """A search that is under way."""

    as_of: datetime
    hint: str
    hits: Lazy[Hit]


def hit_of(
    query: Query,
    app: str,
    user: str,
    session: str | None,
    name: str,
    version: int,
    kind: str,
    mime_type: str,
    size_bytes: int | None,
    timestamp: datetime,
    sha256: str | None,
    metadata: str,
    tags: Sequence[str] | None,
    newest: bool,
) -> Hit:
    return Hit(
        app=app,
        user=query.shown_user(user),
        session=session,
        name=name,
        version=version,
        kind=kind,
        mime_type=mime_type,
        size_bytes=size_bytes,
        timestamp=timestamp.replace(tzinfo=UTC),
        metadata=msgspec.json.decode(metadata),
        sha256=sha256,
        tags=tuple(tags or ()),
        newest=newest,
    )


def limited(hits: Lazy[Hit], limit: int | None) -> Lazy[Hit]:
    """The first so many of *hits*."""
    answers: Any = None
    count = 0
    try:
        while limit is None or count < limit:
            try:
                batch = hits.send(answers)
            except StopIteration:
                return
            count += isinstance(batch[0], Emit)
            answers = yield batch
    finally:
        hits.close()


def _holds(value: object, wanted: object) -> bool:
    """Whether JSON *value* is *wanted*, or an object with at least all that *wanted* has, on every level."""
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(key in value and _holds(value[key], one) for key, one in wanted.items())
    return _same(value, wanted)


def _same(one: object, other: object) -> bool:
    """Whether two JSON values are equal: 1 is 1.0, and true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return one == other


def _essence(mime_type: str) -> str:
    """A type without its parameters, in lower case as far as that is ASCII."""
    text = mime_type.partition(";")[0].strip(" ")
    return text.lower() if text.isascii() else text


def _pattern(text: object, what: str) -> str | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise InvalidName(f"{what} is a pattern, which is text, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidName(f"nothing fits the lone surrogate in the pattern {text[:80]!r}") from error
    return text


def _compiled(pattern: str | None) -> re.Pattern[str]:
    return _ALWAYS if pattern is None else re.compile(fnmatch.translate(pattern))


def _utc(moment: object, what: str) -> datetime | None:
    if moment is None:
        return None
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise InvalidRef(f"{what} is an aware datetime, not {moment!r}")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise InvalidRef(f"{what} is {moment}, which is no time in UTC") from error


def _whole(number: object, what: str) -> int | None:
    if number is None:
        return None
    if type(number) is not int or not 0 <= number < 2**63:
        raise InvalidRef(f"{what} is a whole number, not {number!r}")
    return number
