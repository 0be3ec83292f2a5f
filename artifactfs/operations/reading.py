"""What can be read in a scope: versions, by number, from the end or by time; names, records and signed URLs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from operator import index
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from artifactfs.codecs.base import Codec, decode_whole
from artifactfs.content import Content
from artifactfs.custody import DataKey
from artifactfs.errors import (
    ArtifactNotFound,
    BackendError,
    IntegrityError,
    InvalidName,
    InvalidRef,
    PointerNotManaged,
    VersionNotFound,
)
from artifactfs.layout import ArtifactId, ScopeId
from artifactfs.operations.core import Core
from artifactfs.pointers import shown
from artifactfs.protocol.listing import View, look, look_all
from artifactfs.protocol.ops import Emit, Get, Lazy, Sign, Steps, together
from artifactfs.protocol.read import AT_ONCE, Found, at_time, confirm_many, existing, fetch, newest, surely_a_version
from artifactfs.protocol.sealing import data_key
from artifactfs.records import Blob, Pointer, Record, Removed, fits_size

if TYPE_CHECKING:
    from artifactfs.diff import Side
    from artifactfs.protocol.verify import Verified

Version: TypeAlias = "int | str | datetime | None"
"""A number, negative from the newest; ``"latest"`` or None: the newest; another word: what that tag names; an aware
datetime: the newest as of then."""

WANTED = "a version is a number, 'latest', a tag or a datetime"

KEPT_NAMES = 100
"""Names of a scope whose keys are kept, once they were found to be storable."""

LONGEST_SIGNATURE = 7 * 24 * 3600
"""Seconds that a signed URL can be good for: no store below signs for longer."""


class Artifact(msgspec.Struct, frozen=True):
    """A version that was loaded whole: its bytes, checked against its record, and the record.

    The record is that of a pointer where the bytes were fetched from where it points to.
    """

    data: bytes
    record: Blob | Pointer


class Reading:
    """The part of `ScopeOperations` that changes nothing."""

    def __init__(self, core: Core, scope: ScopeId) -> None:
        self.core, self.scope = core, scope
        self._artifacts: dict[str, ArtifactId] = {}  # what was checked: a name is mostly used more than once

    def artifact(self, name: str) -> ArtifactId:
        if type(name) is not str:
            return self.core.room(self.scope.artifact(name))
        artifact = self._artifacts.get(name)
        if artifact is None:
            artifact = self.core.room(self.scope.artifact(name))
            if len(self._artifacts) >= KEPT_NAMES:
                self._artifacts.clear()
            self._artifacts[name] = artifact
        return artifact

    def load(self, name: str, version: Version = None) -> Steps[Artifact]:
        """A version with its bytes, which have the size and the digest that its record tells.

        A known number costs two requests at the same time and no listing; the newest, a listing more.

        >>> scope.load("notes.txt").data
        b'second'
        >>> scope.load("notes.txt", version=0).data
        b'first'

        Raises:
            ArtifactNotFound: no such artifact is there, or its newest version is a removal.
            VersionNotFound: it has no such version.
            IntegrityError: the stored bytes do not match their record.
            KeyUnavailable: they are sealed with a key that is not to be had.
            PayloadTooLarge: more bytes than the store's ``max_bytes``.
            PointerNotManaged: the version is a pointer.
        """
        artifact = self.artifact(name)
        found = yield from self._find(artifact, version, whole=True)
        record = blob(found.record, artifact)
        assert found.data is not None
        return Artifact(
            _opened(artifact, record, artifact.custody.codec(artifact, record, found.key), found.data), record
        )

    def content(self, name: str, version: Version = None) -> Steps[Content]:
        """A version to be read by ranges; it is found now.

        Raises:
            ArtifactNotFound, VersionNotFound, KeyUnavailable, PointerNotManaged: as `load`.
        """
        artifact = self.artifact(name)
        found = yield from self._find(artifact, version, whole=False)
        return (yield from self.content_of(artifact, blob(found.record, artifact), found.key))

    def content_of(self, artifact: ArtifactId, record: Blob, key: DataKey | None = None) -> Steps[Content]:
        """As `content`, of a version whose record was found before."""
        if record.encryption and key is None:
            key = yield from data_key(artifact, record)
        codec = artifact.custody.codec(artifact, record, key)
        content = Content(self.core.backend, artifact, record, codec)
        if not content.size and codec.head_size:  # whose reader asks for nothing, and so would check nothing
            (got,) = yield (Get(artifact.payload(record.version)),)
            if got is not None:
                _opened(artifact, record, codec, got.data)
        return content

    def side(self, name: str, version: Version = None) -> Steps[Side]:
        """A version as one side of a comparison: `artifactfs.diff.compare` takes two, which may be of two artifacts.

        At most the first MiB of it is read, of a longer table the last one too.

        >>> from artifactfs.diff import compare
        >>> compare(scope.side("notes.txt", 0), scope.side("notes.txt")).same
        False

        Raises:
            ArtifactNotFound, VersionNotFound, IntegrityError, KeyUnavailable: as `load`.
        """
        from artifactfs.diff import HELD, Side, is_table
        from artifactfs.operations.history import Pieces, Range

        artifact = self.artifact(name)
        found = yield from self._find(artifact, version, whole=False)
        if isinstance(found.record, Pointer):
            return Side(record=found.record)
        record = blob(found.record, artifact)
        pieces = Pieces(self.core.backend, artifact, record, found.key)
        size = pieces.content.size
        if size <= HELD:
            return Side(record=record, head=(yield from pieces.all()))
        (head,) = yield (Range(pieces.content, 0, HELD),)
        if not is_table(head):
            return Side(record=record, head=head)
        (tail,) = yield (Range(pieces.content, size - HELD, size),)
        return Side(record=record, head=head, tail=tail)

    def sides(self, name: str, a: Version, b: Version) -> Steps[tuple[Side, Side]]:
        """Two versions of one artifact, to be compared."""
        before, after = yield from together(self.side(name, a), self.side(name, b))
        return before, after

    def stat(self, name: str, version: Version = None) -> Steps[Blob | Pointer]:
        """The record of a version that is there; its payload's size is checked, its bytes are not read.

        >>> scope.stat("notes.txt").version, scope.stat("notes.txt", version=0).size_bytes
        (1, 5)

        Raises:
            ArtifactNotFound, VersionNotFound: as `load`.
        """
        found = yield from self._find(self.artifact(name), version, whole=False)
        assert isinstance(found.record, (Blob, Pointer))
        return found.record

    def stat_known(self, name: str, version: Version, known: Callable[[int], Blob | None]) -> Steps[Blob | Pointer]:
        """As `stat`, where *known* gives the record of a version by its number, if the caller has it.

        A known version that is asked for by number costs nothing, and is not found missing if it was deleted; the newest
        costs one listing where it is known.
        """
        artifact = self.artifact(name)
        record: Blob | None = None
        view: View | None = None
        if type(version) is int and version >= 0:
            record = known(version)
        elif version is None or version == "latest":
            view = yield from look(artifact)
            top = max(view.payloads, default=-1)
            if top >= 0 and surely_a_version(artifact, view, top):
                record = known(top)
                if record is not None and not fits_size(record, view.payloads[top]):
                    record = None
        if record is not None:
            return record
        found = yield from self._find(artifact, version, whole=False, view=view)
        assert isinstance(found.record, (Blob, Pointer))
        return found.record

    def verify(self, name: str, version: Version = None) -> Steps[Verified]:
        """Read all of a version and tell whether it is what was saved; damage is told of and never raised.

        Size and digest of the stored bytes are checked, every chunk where they are sealed, and where the record is
        authenticated that it is the one of this very version. Read in pieces of 4 MiB, of which two are held. Of a
        pointer what is stored here is checked, and nothing is fetched; a removal is a version too.

        >>> scope.verify("notes.txt").ok, scope.verify("notes.txt", version=0).state
        (True, 'whole')

        Raises:
            ArtifactNotFound, VersionNotFound: nothing at all is there, or it was deleted, perhaps meanwhile.
        """
        from artifactfs.protocol.verify import newest_number, verify

        artifact = self.artifact(name)
        if version is None or version == "latest":
            newest_one = yield from newest_number(artifact)
            if newest_one is None:
                raise ArtifactNotFound(f"there is no artifact {artifact.label!r}", artifact=artifact.label)
            return (yield from verify(artifact, newest_one))
        if isinstance(version, datetime):
            found = yield from at_time(artifact, _aware(version))
            if found is None:
                raise _nothing_at(artifact, version)
            return (yield from verify(artifact, found.number))
        number = yield from self._number(artifact, version)
        return (yield from verify(artifact, number))

    def tags(self, name: str) -> Steps[dict[str, int]]:
        """Each tag of an artifact, sorted, with the number of the version that it names. Empty where there is none.

        A version may have been deleted since; loading it by its tag says so.

        >>> scope.tag("notes.txt", "first", 0)
        0
        >>> scope.tags("notes.txt")
        {'first': 0}

        Raises:
            IntegrityError, KeyUnavailable: one of them is not what was set, or that cannot be told here.
        """
        from artifactfs.protocol.tags import tags_of

        return (yield from tags_of(self.artifact(name)))

    def versions(self, name: str) -> Steps[list[int]]:
        """The numbers that can be loaded, ascending; removals are none. Empty where no such artifact is there.

        >>> scope.versions("notes.txt")
        [0, 1]
        """
        return (yield from self._numbers(self.artifact(name)))

    def history(self, name: str) -> Lazy[Record]:
        """The records of all versions that are there, removals included, newest first, read lazily.

        >>> [record.version for record in scope.history("notes.txt")]
        [1, 0]
        """
        artifact = self.artifact(name)
        view = yield from look_all(artifact)
        numbers = sorted(view.payloads, reverse=True)
        for start in range(0, len(numbers), AT_ONCE):
            for seen in (yield from confirm_many(artifact, view, numbers[start : start + AT_ONCE])):
                if isinstance(seen, Found):
                    yield (Emit(seen.record),)

    def names(
        self, prefix: str = "", after: str | None = None, at: datetime | None = None, *, shared: bool = True
    ) -> Lazy[str]:
        """The names of the artifacts in this scope, sorted by their encoded form, read lazily.

        A session's include its user's, as ``user:name``, unless *shared* is False. With *prefix* only those that start
        so, with *after* only those that sort after it. One listing for a thousand names, whatever their versions. With
        *at* those that `records` tells of, at the same cost.

        >>> list(scope.names())
        ['notes.txt']

        Raises:
            InvalidName: *prefix* or *after* is no text that a name could hold.
            InvalidRef: *at* is no aware datetime.
        """
        _check_texts(prefix, "" if after is None else after)
        if at is None:
            from artifactfs.protocol import names

            return names.names(self.scope, prefix, after, shared=shared)
        from artifactfs.protocol import overview

        return overview.names_at(self.scope, prefix, after, _aware(at), shared=shared)

    def records(
        self, prefix: str = "", at: datetime | None = None, *, shared: bool = True
    ) -> Lazy[tuple[str, Blob | Pointer]]:
        """Each artifact in this scope with the record of its newest version, sorted as `names` sorts, read lazily.

        What was removed or deleted is left out. With *at* the scope as it was then: for each artifact the version that
        ``load(name, version=at)`` gives; what was removed by then is left out, what was removed since is not. A version
        whose record is damaged is told of by what the store knows of its payload, as in `history`.

        One listing for a thousand keys and one read for each artifact, some of them at a time; with *at* one read for
        each halving of its versions. An artifact of more than about 500 versions is looked at by itself.

        >>> [(name, record.version, record.size_bytes) for name, record in scope.records()]
        [('notes.txt', 1, 6)]

        Raises:
            InvalidName: *prefix* is no text that a name could hold.
            InvalidRef: *at* is no aware datetime.
        """
        _check_texts(prefix)
        from artifactfs.protocol import overview

        records: Lazy[Any] = overview.records(self.scope, prefix, None if at is None else _aware(at), shared=shared)
        return records

    def overview(
        self, prefix: str, at: datetime | None, wanted: Callable[[str], bool]
    ) -> Lazy[tuple[str, Blob | Pointer | None]]:
        """As `records` without what sessions share; a record of a name that is not *wanted* is None if not read."""
        _check_texts(prefix)
        from artifactfs.protocol import overview

        return overview.records(self.scope, prefix, None if at is None else _aware(at), shared=False, wanted=wanted)

    def sign(self, name: str, version: Version = None, seconds: int = 3600) -> Steps[str]:
        """A URL by which anyone may GET the bytes of a version for so many seconds, without this library.

        It is that of one version, whatever is saved after; bytes that are deleted are gone for it too.

        Raises:
            ArtifactNotFound, VersionNotFound: as `load`.
            InvalidRef: *seconds* is no whole number from 1 to 604,800 (7 days).
            PointerNotManaged: the version is a pointer, which holds no bytes.
            BackendError: the version is sealed, or the store below signs no URLs: memory and local folders do not.
        """
        artifact = self.artifact(name)
        if type(seconds) is not int or not 1 <= seconds <= LONGEST_SIGNATURE:
            raise InvalidRef(
                f"a URL is signed for 1 to {LONGEST_SIGNATURE} seconds (7 days), as a whole number, not for {seconds!r}",
                artifact=artifact.label,
            )
        found = yield from self._find(artifact, version, whole=False)
        if blob(found.record, artifact).encryption:
            raise BackendError(
                f"version {found.number} of {artifact.label!r} is sealed: whoever had a signed URL could not read it; load "
                "it, and hand the bytes on",
                artifact=artifact.label,
            )
        url: str
        (url,) = yield (Sign(artifact.payload(found.number), seconds),)
        return url

    def _find(self, artifact: ArtifactId, version: Version, *, whole: bool, view: View | None = None) -> Steps[Found]:
        limit = self.core.max_bytes
        if version is None or version == "latest":
            found, _ = yield from newest(artifact, whole=whole, limit=limit, strict=True, view=view)
            if found is None:
                raise ArtifactNotFound(f"there is no artifact {artifact.label!r}", artifact=artifact.label)
            if isinstance(found.record, Removed):
                raise ArtifactNotFound(
                    f"artifact {artifact.label!r} was removed at version {found.number}; "
                    "older versions can be loaded by their number",
                    artifact=artifact.label,
                )
            return found
        if isinstance(version, datetime):
            return (yield from self._at(artifact, version, whole=whole))
        number = yield from self._number(artifact, version)
        seen = yield from fetch(artifact, number, whole=whole, limit=limit)
        if isinstance(seen, Found) and not isinstance(seen.record, Removed):
            return seen
        raise (yield from _missing(artifact, number, removed=isinstance(seen, Found), tag=version))

    def _number(self, artifact: ArtifactId, version: int | str) -> Steps[int]:
        """The number of a version that is told by one, from the end, or by a tag."""
        if isinstance(version, str):
            from artifactfs.protocol.tags import resolve
            from artifactfs.refs import is_tag

            if is_tag(version):
                try:
                    return (yield from resolve(artifact, version))
                except VersionNotFound:
                    if not (yield from self._numbers(artifact)):
                        raise ArtifactNotFound(
                            f"there is no artifact {artifact.label!r}", artifact=artifact.label
                        ) from None
                    raise
        number = number_of(version, artifact, WANTED)
        return number if number >= 0 else (yield from self._from_the_end(artifact, number))

    def _from_the_end(self, artifact: ArtifactId, version: int) -> Steps[int]:
        numbers = yield from self._numbers(artifact)
        if not numbers:
            raise ArtifactNotFound(f"there is no artifact {artifact.label!r}", artifact=artifact.label)
        if -version > len(numbers):
            raise VersionNotFound(
                f"artifact {artifact.label!r} has no version {version}: from the newest there are {len(numbers)}",
                artifact=artifact.label,
                version=version,
            )
        return numbers[version]

    def _numbers(self, artifact: ArtifactId) -> Steps[list[int]]:
        return (yield from existing(artifact, (yield from look_all(artifact))))

    def _at(self, artifact: ArtifactId, moment: datetime, *, whole: bool) -> Steps[Found]:
        found = yield from at_time(artifact, _aware(moment))
        if found is not None and not isinstance(found.record, Removed):
            seen = yield from fetch(artifact, found.number, whole=whole, limit=self.core.max_bytes)
            if isinstance(seen, Found):
                return seen
        raise _nothing_at(artifact, moment)


def number_of(version: object, artifact: ArtifactId, wanted: str) -> int:
    """*version* as a plain int; integers of other libraries (numpy's) are taken, truth values and floats are not."""
    if not isinstance(version, bool):
        with suppress(TypeError):
            return index(version)  # type: ignore[arg-type]
    raise InvalidRef(f"{wanted}, not {version!r}", artifact=artifact.label)


def _opened(artifact: ArtifactId, record: Blob, codec: Codec, stored: bytes) -> bytes:
    """The content of which all stored bytes are *stored*."""
    try:
        return decode_whole(codec, stored)
    except IntegrityError as error:
        message = f"version {record.version} of {artifact.label!r}: {error}"
        raise IntegrityError(message, artifact=artifact.label) from error


def _nothing_at(artifact: ArtifactId, moment: datetime) -> VersionNotFound:
    return VersionNotFound(
        f"artifact {artifact.label!r} had no version at {moment.isoformat()}",
        artifact=artifact.label,
        version=moment,
    )


def _aware(moment: datetime) -> datetime:
    if not isinstance(moment, datetime):
        raise InvalidRef(f"a time is an aware datetime, not {moment!r}")
    if moment.utcoffset() is None:
        raise InvalidRef(f"the time {moment.isoformat()} has no time zone; give an aware datetime")
    return moment


def _check_texts(*texts: str) -> None:
    for text in texts:
        if not isinstance(text, str):
            raise InvalidName(f"prefix and after are text, not {type(text).__name__}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidName(f"no name holds the lone surrogate in {text[:80]!r}") from error


def blob(record: Record, artifact: ArtifactId) -> Blob:
    """*record*, if it is that of bytes.

    Raises:
        PointerNotManaged: it points to what lies elsewhere.
    """
    if isinstance(record, Blob):
        return record
    assert isinstance(record, Pointer)
    raise PointerNotManaged(
        f"version {record.version} of {artifact.label!r} holds no bytes but points to {shown(record.uri)}; nothing fetches "
        "it unless you say follow=True",
        artifact=artifact.label,
        uri=record.uri,
        record=record,
    )


def _missing(artifact: ArtifactId, number: int, *, removed: bool, tag: object) -> Steps[Exception]:
    """The error for a version that is not there, which says what is."""
    view = yield from look(artifact)
    numbers = yield from existing(artifact, view)
    if not numbers and view.floor:  # the few newest are none, as fences; older ones may be there
        numbers = yield from existing(artifact, (yield from look_all(artifact)))
    if not numbers:
        return ArtifactNotFound(f"there is no artifact {artifact.label!r}", artifact=artifact.label)
    why = f" has no version {number}"
    if removed:
        why = f": version {number} is the removal of the artifact, and holds nothing"
    if isinstance(tag, str):
        why += f", which is what its tag {tag!r} names"
    return VersionNotFound(
        f"artifact {artifact.name!r}{why} (newest is {numbers[-1]}) in {artifact.scope.label}",
        artifact=artifact.label,
        version=number,
    )
