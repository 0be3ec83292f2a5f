"""Searching a store: what is asked for, what is found, and the two ways to it, which give the same answers.

Over an inventory DuckDB leaves out what cannot be meant, and each row that is left is looked at here, by the same code
that looks at what a scan of the store comes by.
"""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import msgspec

from artifactfs.custody import Custody
from artifactfs.errors import InvalidName, InvalidRef, UnsupportedFormat
from artifactfs.inventory.manifest import read
from artifactfs.inventory.refresh import load, told
from artifactfs.inventory.table import Table, Work, is_installed
from artifactfs.inventory.walk import Places, Seen, Walk
from artifactfs.layout import ArtifactId, ScopeId
from artifactfs.names import check, encode
from artifactfs.protocol.ops import Emit, Lazy, Steps, together
from artifactfs.protocol.read import AT_ONCE, Found, confirm
from artifactfs.protocol.tags import tags_in
from artifactfs.records import Record, Removed, check_metadata
from artifactfs.refs import check_tag

log = logging.getLogger("artifactfs")

WITHOUT_DUCKDB = 'searched without an inventory, for DuckDB is not installed: pip install "artifactfs[search]"'

_BATCH = 1000
_LONGEST = 2000
_ROUNDS = 3
_ALWAYS = re.compile("")
# What a bracket of a glob pattern is to fnmatch: possessive, for a "]" that comes first is one of its characters.
_WILD = re.compile(r"\*|\?|\[!?+\]?+[^\]]*\]")
_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$])")


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


# --- over an inventory ------------------------------------------------------------------------------------------------


def over_inventory(custody: Custody, query: Query) -> Steps[Started | str]:
    """Ask the inventory: a read of its manifest, and one of each file that may tell. Else why that cannot be done."""
    folder = query.folder(custody)
    if not is_installed():
        return WITHOUT_DUCKDB
    for _ in range(_ROUNDS):
        try:
            state = yield from read(custody)
        except UnsupportedFormat as error:
            return str(error)
        manifest = state.manifest
        as_of = None if manifest is None else manifest.as_of
        if manifest is None or as_of is None:
            return state.why
        table: Table
        (table,) = yield (Work(Table),)
        try:
            whole = yield from load(table, [part for part in manifest.base if part.reaches(folder)], manifest.delta)
            if not whole:  # superseded and cleared since, or erased from: then there is another manifest by now
                table.close()
                continue
            sql, values = _sql(query, folder, custody)
            yield (Work(partial(table.run, sql, values)),)
        except BaseException:
            table.close()
            raise
        return Started(as_of, "", _limited(_rows(table, query), query.limit))
    return "files of the inventory are gone or damaged: make it anew with store.inventory()"


def _rows(table: Table, query: Query) -> Lazy[Hit]:
    try:
        while True:
            rows: list[tuple[Any, ...]]
            (rows,) = yield (Work(lambda: table.more(_BATCH)),)
            if not rows:
                return
            for row in rows:
                hit = _hit(query, *row)
                if query.fits(hit):
                    yield (Emit(hit),)
    finally:
        table.close()


def _hit(
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


def _sql(query: Query, folder: str, custody: Custody) -> tuple[str, list[Any]]:
    """The question as SQL, and its values. It leaves out nothing that `Query.fits`, and perhaps not all that does not."""
    of_artifact: list[tuple[str, Any]] = [("starts_with(key, ?)", folder)]
    if query.app is None and query.user is not None:
        of_artifact.append(('"user" = ?', query.user))
    if query.session is not None:
        of_artifact.append(("session = ?", query.session))
    if query.name is not None and len(query.name) <= _LONGEST:
        of_artifact.append(("regexp_full_match(name, ?, 's')", _loose(query.name)))
    wanted: list[tuple[str, Any]] = []
    if query.mime_type is not None and len(query.mime_type) <= _LONGEST:
        wanted.append(("regexp_matches(mime_type, ?, 'si')", "^ *" + _loose(query.mime_type)))
    if query.since is not None:
        wanted.append(("timestamp >= ?", query.since.replace(tzinfo=None)))
    if query.until is not None:
        wanted.append(("timestamp < ?", query.until.replace(tzinfo=None)))
    if query.min_size is not None:
        wanted.append(("size_bytes >= ?", query.min_size))
    if query.max_size is not None:
        wanted.append(("size_bytes <= ?", query.max_size))
    if query.tag is not None:
        wanted.append(("list_contains(tags, ?)", query.tag))
    wanted += [("contains(metadata, ?)", text) for text in _traces(query.metadata)]
    conditions = ["kind IN ('blob', 'pointer')", *(text for text, _ in wanted)] + ([] if query.every else ["newest"])
    sql = f"""
        WITH meant AS (SELECT * FROM known WHERE {" AND ".join(text for text, _ in of_artifact)}),
        versions AS (
            SELECT *, version = max(version) OVER (PARTITION BY artifact) AS newest
            FROM meant WHERE tag IS NULL AND kind <> 'none'
        ),
        tagged AS (
            SELECT artifact, version, list(tag ORDER BY tag) AS tags FROM meant WHERE kind = 'tag' GROUP BY ALL
        )
        SELECT app, "user", session, name, version, kind, mime_type, size_bytes, timestamp, sha256, metadata, tags, newest
        FROM versions LEFT JOIN tagged USING (artifact, version)
        WHERE {" AND ".join(conditions)} ORDER BY artifact, version DESC
    """
    return sql, [value for _, value in (*of_artifact, *wanted)]


def _loose(pattern: str) -> str:
    """A regular expression for all that the glob *pattern* matches, and perhaps more: any character fits a bracket."""
    text, place = "", 0
    for found in _WILD.finditer(pattern):
        text += _SPECIAL.sub(r"\\\1", pattern[place : found.start()]) + (".*" if found[0] == "*" else ".")
        place = found.end()
    return text + _SPECIAL.sub(r"\\\1", pattern[place:])


def _traces(wanted: Mapping[str, Any]) -> Iterator[str]:
    """Texts that compact JSON holds if it holds *wanted*. A number has several spellings, so only its key is one."""
    for key, value in wanted.items():
        text = msgspec.json.encode(key).decode() + ":"
        match value:
            case dict():
                yield text + "{"
                yield from _traces(value)
            case None | bool() | str():
                yield text + msgspec.json.encode(value).decode()
            case _:
                yield text


# --- without one ------------------------------------------------------------------------------------------------------


def scan(custody: Custody, query: Query) -> Lazy[Hit]:
    """Look through the store: a listing of all keys where it may be, and a read of each record that may be asked for."""
    return _limited(_scan(custody, query), query.limit)


def _scan(custody: Custody, query: Query) -> Lazy[Hit]:
    walk, places = Walk(query.folder(custody)), Places(custody)
    tags = _Tags(query)
    rest: list[Seen] = []
    while not walk.ended:
        rest += [one for one in (yield from walk.page()) if not one.is_tag]
        folders = [(folder, list(seen)) for folder, seen in groupby(rest, key=lambda one: one.folder)]
        rest = [] if walk.ended or not folders else folders.pop()[1]
        asked = [(places.artifact(folder), seen) for folder, seen in folders]
        asked = [(artifact, seen) for artifact, seen in asked if query.fits_place(artifact)]
        for start in range(0, len(asked), AT_ONCE):
            some = asked[start : start + AT_ONCE]
            for artifact, _ in some:
                yield from tags.learn(artifact.scope)
            for hits in (yield from together(*(_versions(query, artifact, seen, tags) for artifact, seen in some))):
                for hit in hits:
                    yield (Emit(hit),)


class _Tags:
    """The tags of the scopes that a scan comes through."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._known: dict[str, dict[str, dict[str, int | None]]] = {}

    def learn(self, scope: ScopeId) -> Steps[None]:
        if scope.folder not in self._known:
            wanted = self._query.fits_place
            found = yield from tags_in(scope, lambda name, tag: wanted(ArtifactId(scope, name)))
            while len(self._known) > AT_ONCE:
                del self._known[next(iter(self._known))]
            self._known[scope.folder] = found

    def of(self, artifact: ArtifactId, number: int) -> list[str]:
        found = self._known[artifact.scope.folder].get(artifact.name, {})
        return sorted(tag for tag, named in found.items() if named == number)


def _versions(query: Query, artifact: ArtifactId, seen: Sequence[Seen], tags: _Tags) -> Steps[list[Hit]]:
    """What is asked for of one artifact, newest first."""
    sizes = {int(one.entry): one.size for one in seen}
    numbers = sorted(sizes, reverse=True)
    hits: list[Hit] = []
    newest = True
    step = AT_ONCE if query.every else 1
    for start in range(0, len(numbers), step):
        some = numbers[start : start + step]
        for found in (yield from together(*(confirm(artifact, number, sizes[number]) for number in some))):
            if isinstance(found, Found):
                hit = _of_record(query, artifact, found.record, found.number, tags, newest)
                newest = False
                if not isinstance(found.record, Removed) and query.fits(hit):
                    hits.append(hit)
        if not (query.every or newest):
            break
    return hits


def _of_record(query: Query, artifact: ArtifactId, record: Record, number: int, tags: _Tags, newest: bool) -> Hit:
    scope = artifact.scope
    return _hit(
        query,
        app=scope.app,
        user=scope.stored_user,
        session=scope.session,
        name=artifact.name,
        version=number,
        tags=tags.of(artifact, number),
        newest=newest,
        **told(record),
    )


def _limited(hits: Lazy[Hit], limit: int | None) -> Lazy[Hit]:
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


# --- what is asked for ------------------------------------------------------------------------------------------------


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
