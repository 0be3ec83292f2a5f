"""What can be done with a store and a scope, as protocol generators: the one text behind both kinds of store.

`Settings` are a store's own; `StoreOperations` and `ScopeOperations` add to the protocol what a user of it expects: names
checked for this store, `user:` names, versions by number, from the end or by time, errors that say what was looked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime
from operator import index
from typing import Any, Literal, TypeAlias

import msgspec

from artifactfs.backends.base import Abilities, Backend
from artifactfs.codecs.base import Codec, decode_whole
from artifactfs.content import Content
from artifactfs.custody import NONE, Custody, DataKey
from artifactfs.errors import (
    AccessDenied,
    ArtifactNotFound,
    BackendError,
    IntegrityError,
    InvalidName,
    InvalidRef,
    PointerNotManaged,
    VersionNotFound,
)
from artifactfs.layout import STORE_FOLDER, ArtifactId, ScopeId
from artifactfs.mime import check as check_mime
from artifactfs.mime import guess
from artifactfs.names import USER_SCOPE, check, decode, encode
from artifactfs.pointers import SCHEMES, check_digest, check_size, check_uri, shown
from artifactfs.protocol import ability, erase, names, overview
from artifactfs.protocol.claim import Memory, Seen
from artifactfs.protocol.compact import compact
from artifactfs.protocol.delete import delete_all, delete_version
from artifactfs.protocol.env import HINT_TTL, Clocked, Env
from artifactfs.protocol.expect import Expected
from artifactfs.protocol.listing import View, look, look_all
from artifactfs.protocol.ops import Emit, Get, Lazy, List, Sign, Steps
from artifactfs.protocol.read import AT_ONCE, Found, at_time, confirm_many, existing, fetch, newest, surely_a_version
from artifactfs.protocol.rotate import Rotated, Tally, check_conditional, check_key, rotate
from artifactfs.protocol.save import point, remove, save
from artifactfs.protocol.sealing import data_key
from artifactfs.protocol.stream import save_stream
from artifactfs.protocol.verify import Verified, newest_number, verify
from artifactfs.records import Blob, Pointer, Record, Removed, check_metadata, fits_size
from artifactfs.waiting import Turns

Version: TypeAlias = "int | Literal['latest'] | datetime | None"
"""A number, negative from the newest; ``"latest"`` or None: the newest; an aware datetime: the newest as of then."""

Mode: TypeAlias = Literal["managed", "pointer_only"]
"""Whether a store holds bytes, or only pointers to what lies elsewhere."""

REMEMBERED = 10_000
"""Artifacts whose newest number a store remembers."""

LONGEST_SIGNATURE = 7 * 24 * 3600
"""Seconds that a signed URL can be good for: no store below signs for longer."""

CLOCKS = Env()


class Artifact(msgspec.Struct, frozen=True):
    """A version that was loaded whole: its bytes, checked against its record, and the record.

    The record is that of a pointer where the bytes were fetched from where it points to.
    """

    data: bytes
    record: Blob | Pointer


class Core:
    """A store below, how it is protected, what is known of it, and what was seen in it a short while ago."""

    def __init__(
        self,
        backend: Backend,
        where: str,
        *,
        read_only: bool,
        single_writer: bool,
        max_bytes: int | None,
        custody: Custody = NONE,
        mode: Mode = "managed",
        schemes: Collection[str] = SCHEMES,
    ) -> None:
        self.backend, self.where, self.custody = backend, where, custody
        self.read_only, self.single_writer, self.max_bytes = read_only, single_writer, max_bytes
        self.mode, self.schemes = mode, schemes
        self.abilities: Abilities | None = backend.abilities
        self.env: Env | None = None
        self.turns = Turns()
        self._memories: dict[str, Memory] = {}  # without a lock, which a fork or a collector could meet closed

    def writing(self) -> Steps[Env]:
        """What the protocol needs to write here safely; the store is probed if nobody has done that yet.

        Raises:
            AccessDenied: the store was opened to be read only.
            UnsafeBackend: its creates are not atomic; nothing was written.
        """
        if self.read_only:
            raise AccessDenied(f"the store {self.backend.url} was opened with read_only=True", store=self.backend.url)
        if self.env is None:
            if self.abilities is None and not self.single_writer:
                now = time.time()
                self.abilities = (yield from ability.known(self.backend.identity, now)) or (
                    yield from ability.probe(self.backend.identity, now)
                )
            if self.single_writer:
                self.env = Env()
            else:
                assert self.abilities is not None
                ability.refuse(self.abilities, self.backend.url)
                self.env = Env(
                    conditional=self.abilities.rewrite == "atomic", fence_streams=self.abilities.complete == "atomic"
                )
        return self.env

    def room(self, artifact: ArtifactId) -> ArtifactId:
        """*artifact*, if the store below can hold its keys.

        Raises:
            InvalidName: it cannot; longer names fit into other stores.
        """
        longest, backend = artifact.longest_key, self.backend
        if backend.max_segment is not None:
            for segment in longest.split("/"):
                if 4 * len(segment) > backend.max_segment and len(segment.encode()) > backend.max_segment:
                    raise InvalidName(
                        f"{segment[:40]!r}… takes {len(segment.encode())} bytes as a path segment; {backend.url} holds "
                        f"{backend.max_segment}: use a shorter name, or a store with longer keys",
                        store=backend.url,
                        artifact=artifact.label,
                    )
        if backend.max_key is not None and 4 * len(longest) > backend.max_key < len(longest.encode()):
            raise InvalidName(
                f"the key of {artifact.label[:80]!r}… takes {len(longest.encode())} bytes; {backend.url} holds "
                f"{backend.max_key}: use shorter names",
                store=backend.url,
                artifact=artifact.label,
            )
        return artifact

    def recall(self, artifact: ArtifactId) -> Memory | None:
        memory = self._memories.get(artifact.folder)
        return memory if memory is not None and memory.seen.at.age(CLOCKS) < HINT_TTL else None

    def remember(self, artifact: ArtifactId, record: Record) -> None:
        """*record* was just published."""
        marks = (record.version,) if isinstance(record, Removed) else ()
        seen = Seen(Clocked.read(CLOCKS), record.timestamp.timestamp(), marks)
        self._memories.pop(artifact.folder, None)
        self._memories[artifact.folder] = Memory(record.version + 1, seen)
        if len(self._memories) > REMEMBERED:
            self._memories.pop(next(iter(tuple(self._memories)), ""), None)

    def forget(self, artifact: ArtifactId) -> None:
        self._memories.pop(artifact.folder, None)

    def forget_all(self) -> None:
        self._memories.clear()

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a store is pickled by its URL and options")


class StoreOperations:
    """What can be done with a whole store."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def apps(self) -> Lazy[str]:
        """The apps that have stored anything, sorted by their encoded form, read lazily."""
        return names.folders("", "app", STORE_FOLDER.rstrip("/"))

    def users(self, app: str) -> Lazy[str]:
        """The users of *app*, sorted by their encoded form, read lazily.

        Raises:
            AccessDenied: the store has a ``scope_secret``, and so knows nobody's name.
        """
        if self.core.custody.hides_users:
            raise AccessDenied(
                f"the users of {app!r} cannot be listed: with a scope_secret the store holds only digests of them; "
                "sessions and names of a user that you name can",
                store=self.core.backend.url,
            )
        return names.folders(f"{encode(app, 'app')}/", "user", "")

    def holds(self, app: str) -> Steps[bool]:
        """Whether *app* has stored anything."""
        (page,) = yield (List(f"{encode(app, 'app')}/"),)
        return bool(page.folders)

    def sessions(self, app: str, user: str) -> Lazy[str]:
        """The sessions of a user, sorted by their encoded form, read lazily; the scope that they share is none."""
        return names.folders(self._user_folder(app, user), "session", USER_SCOPE)

    def _user_folder(self, app: str, user: str) -> str:
        return f"{encode(app, 'app')}/{encode(self.core.custody.user(check(app, 'app'), check(user, 'user')), 'user')}/"

    def probe(self) -> Steps[Abilities]:
        """Find out what the store really guarantees: for a create, for completing an upload, for a conditional rewrite.

        Each is ``atomic``, ``racy``, ``ignored`` or ``refused``, judged by racing two writers. Memory, local disk and
        AWS and Google by their own endpoints are known. The answer is kept in the store for thirty days where creates
        are atomic; a save on any other store raises `UnsafeBackend`.

        >>> store.probe().create
        'atomic'

        Raises:
            AccessDenied: the store was opened with ``read_only=True``: a probe writes.
        """
        if self.core.read_only:
            raise AccessDenied(
                f"the store {self.core.backend.url} was opened with read_only=True, and a probe writes",
                store=self.core.backend.url,
            )
        if self.core.backend.abilities is not None:
            return self.core.backend.abilities
        self.core.abilities = yield from ability.probe(self.core.backend.identity, time.time())
        self.core.env = None
        return self.core.abilities

    def compact(self) -> Steps[int]:
        """Remove the tombstones and fences of numbers that ended more than seven days ago; how many there were.

        The newest number of each artifact and every hundredth one stay taken. Safe beside running savers.
        """
        env = yield from self.core.writing()
        cleared = 0
        for scope in (yield from self.scopes()):
            for name in (yield from _subfolders(scope.folder)):
                if not name.startswith("@"):
                    cleared += yield from compact(env, ArtifactId(scope, decode(name)))
        return cleared

    def rotate(self, *, to: str, nobody_deletes: bool = False) -> Steps[Rotated]:
        """As `Scope.rotate`, of everything in the store."""
        env = yield from rotating(self.core, to, nobody_deletes)
        tally = Tally(to)
        for scope in (yield from self.scopes()):
            yield from rotate(env, scope, tally)
        return tally.result()

    def scopes(self) -> Steps[list[ScopeId]]:
        """Every scope that anything lies in; its user is what the store calls them."""
        found = []
        for app in (yield from _subfolders("", STORE_FOLDER.rstrip("/"))):
            for user in (yield from _subfolders(f"{app}/")):
                for session in (yield from _subfolders(f"{app}/{user}/")):
                    inner = None if session == USER_SCOPE else decode(session, "session")
                    place = decode(app, "app"), decode(user, "user"), inner
                    found.append(ScopeId(*place, self.core.custody, as_stored=True))
        return found

    def erase(self, app: str, user: str, session: str | None = None, name: str | None = None) -> Steps[int]:
        """Remove every trace of a user, of one session, or of one artifact; how many objects there were.

        Versions, tombstones and the names in them are gone, and numbers may be given again. To be used when nobody is
        saving there; not atomic: where it fails, erase again. For an artifact of the user's scope give ``name`` alone.
        """
        yield from self.core.writing()
        self.core.forget_all()
        if session is None and name is None:
            return (yield from erase.erase(self._user_folder(app, user)))
        scope = ScopeId(app, user, session, self.core.custody)
        if name is None:
            return (yield from erase.erase(scope.folder))
        artifact = scope.artifact(name)
        count = yield from erase.erase(artifact.folder)
        return count + (yield from erase.erase(artifact.hidden_folder))


class ScopeOperations:
    """What can be done in a session, or in what the sessions of a user share."""

    def __init__(self, core: Core, scope: ScopeId) -> None:
        self.core, self.scope = core, scope

    def artifact(self, name: str) -> ArtifactId:
        return self.core.room(self.scope.artifact(name))

    def save(
        self,
        name: str,
        head: bytes,
        whole: bool,
        mime_type: str | None,
        metadata: Mapping[str, Any] | None,
        expect: Expected | None,
    ) -> Steps[Blob]:
        """Save *head* if that is the *whole*; else what the driver's source brings, which begins like *head*."""
        artifact, env, plain = yield from self.prepare(name, mime_type, metadata, expect)
        kind = guess(artifact.name, head) if mime_type is None else check_mime(mime_type)
        memory = self.core.recall(artifact)
        try:
            if whole:
                record = yield from save(
                    env, artifact, head, mime_type=kind, metadata=plain, expect=expect, memory=memory
                )
            else:
                record = yield from save_stream(
                    env, artifact, mime_type=kind, metadata=plain, expect=expect, memory=memory
                )
        except BaseException:
            self.core.forget(artifact)
            raise
        self.core.remember(artifact, record)
        assert isinstance(record, Blob)
        return record

    def point(
        self,
        name: str,
        uri: str,
        *,
        mime_type: str | None = None,
        size_bytes: int | None = None,
        expected_sha256: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expect: Expected | None = None,
    ) -> Steps[Pointer]:
        """Store a pointer to *uri* as the next version of *name* and return its record. Nothing is fetched.

        Loading or opening the version raises `PointerNotManaged`, which names the URI, unless ``follow`` says otherwise.

        >>> scope.point("paper.pdf", "https://example.org/paper.pdf").uri
        'https://example.org/paper.pdf'

        Args:
            uri: of a scheme that the store's ``pointer_schemes`` name.
            mime_type: else it is guessed from the name.
            size_bytes: of what lies there, if it is known; what is fetched must have it.
            expected_sha256: its SHA-256 in hexadecimal, if it is known; what is fetched must have it.
            metadata, expect: as for `save`.

        Raises:
            InvalidRef: the URI is none, or of a scheme that is not allowed.
            InvalidMetadata: size or digest are none.
            Conflict: *expect* is not so.
        """
        uri = check_uri(uri, self.core.schemes)
        size, digest = check_size(size_bytes), check_digest(expected_sha256)
        artifact, env, plain = yield from self.prepare(name, mime_type, metadata, expect, bytes_too=False)
        kind = guess(artifact.name) if mime_type is None else check_mime(mime_type)
        memory = self.core.recall(artifact)
        try:
            record = yield from point(
                env,
                artifact,
                uri,
                mime_type=kind,
                metadata=plain,
                size=size,
                sha256=digest,
                expect=expect,
                memory=memory,
            )
        except BaseException:
            self.core.forget(artifact)
            raise
        self.core.remember(artifact, record)
        assert isinstance(record, Pointer)
        return record

    def prepare(
        self,
        name: str,
        mime_type: str | None,
        metadata: Mapping[str, Any] | None,
        expect: Expected | None,
        *,
        bytes_too: bool = True,
    ) -> Steps[tuple[ArtifactId, Env, dict[str, Any]]]:
        """Refuse what could not be saved, before anybody writes anything."""
        artifact = self.artifact(name)
        if bytes_too and self.core.mode == "pointer_only":
            raise AccessDenied(
                f"the store {self.core.backend.url} holds no bytes, for it was opened with mode='pointer_only'; save where "
                f"the content of {artifact.label!r} lies with scope.point(name, uri)",
                artifact=artifact.label,
            )
        if mime_type is not None:
            check_mime(mime_type)
        plain = check_metadata(metadata)
        if not (expect is None or expect == "absent" or (type(expect) is int and expect >= 0)):
            raise InvalidRef(f"expect must be a version number or 'absent', not {expect!r}", artifact=artifact.label)
        return artifact, (yield from self.core.writing()), plain

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
        number = _number(version, artifact, "a version is a number, 'latest' or a datetime")
        if number < 0:
            number = yield from self._from_the_end(artifact, number)
        return (yield from verify(artifact, number))

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
            return names.names(self.scope, prefix, after, shared=shared)
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
        records: Lazy[Any] = overview.records(self.scope, prefix, None if at is None else _aware(at), shared=shared)
        return records

    def overview(
        self, prefix: str, at: datetime | None, wanted: Callable[[str], bool]
    ) -> Lazy[tuple[str, Blob | Pointer | None]]:
        """As `records` without what sessions share; a record of a name that is not *wanted* is None if not read."""
        _check_texts(prefix)
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

    def remove(self, name: str) -> Steps[Removed]:
        """Take an artifact out of view: it is gone from listings and from reads of the newest; its history stays.

        Older versions can still be loaded by their number; a later save brings the name back.

        Raises:
            ArtifactNotFound: there is nothing to remove.
        """
        artifact = self.artifact(name)
        env = yield from self.core.writing()
        record = yield from remove(env, artifact)
        self.core.remember(artifact, record)
        assert isinstance(record, Removed)
        return record

    def delete(self, name: str, version: int | None = None) -> Steps[None]:
        """Delete one version, or all, for good: the bytes are gone, the numbers are never given again.

        Raises:
            ArtifactNotFound, VersionNotFound: there is nothing to delete.
        """
        artifact = self.artifact(name)
        env = yield from self.core.writing()
        if version is None:
            yield from delete_all(env, artifact)
            return
        number = _number(version, artifact, "delete takes a version number")
        if number < 0:
            number = yield from self._from_the_end(artifact, number)
        yield from delete_version(env, artifact, number)

    def rotate(self, *, to: str, nobody_deletes: bool = False) -> Steps[Rotated]:
        """Wrap the data keys of all that lies here by the key *to*, and tell what was done. No payload is read or written.

        Safe beside savers and deletes. Where it fails half-way, rotating again goes on. Give *to* to every saver as its
        active key first; once the result is `complete`, nothing here needs the other keys any more. A session's does
        not include what its user's sessions share.

        >>> from artifactfs.keys.keyring import new_key
        >>> sealed = ArtifactStore("memory://rotated", keys=f"{new_key('v1')},{new_key('v2')}", active_key_id="v1")
        >>> scope = sealed.scope("shop", "alice", "s1")
        >>> scope.save("notes.txt", b"first").encryption.key_id
        'v1'
        >>> rotated = scope.rotate(to="v2")
        >>> rotated.rewrapped, rotated.complete
        (1, True)

        Args:
            nobody_deletes: you vouch that nobody deletes, compacts or rotates here meanwhile: for a store that does not
                rewrite on a condition.

        Raises:
            InvalidConfig: the store has no keys.
            KeyUnavailable: there is no key *to*.
            UnsafeBackend: the store has no conditional rewrite.
            AccessDenied: the store was opened with ``read_only=True``.
        """
        env = yield from rotating(self.core, to, nobody_deletes)
        tally = Tally(to)
        yield from rotate(env, self.scope, tally)
        return tally.result()

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
        number = _number(version, artifact, "a version is a number, 'latest' or a datetime")
        if number < 0:
            number = yield from self._from_the_end(artifact, number)
        seen = yield from fetch(artifact, number, whole=whole, limit=limit)
        if isinstance(seen, Found) and not isinstance(seen.record, Removed):
            return seen
        raise (yield from _missing(artifact, number, removed=isinstance(seen, Found)))

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


def _number(version: object, artifact: ArtifactId, wanted: str) -> int:
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


def _missing(artifact: ArtifactId, number: int, *, removed: bool) -> Steps[Exception]:
    """The error for a version that is not there, which says what is."""
    numbers = yield from existing(artifact, (yield from look(artifact)))
    if not numbers:
        return ArtifactNotFound(f"there is no artifact {artifact.label!r}", artifact=artifact.label)
    why = f"version {number} is the removal of the artifact, and holds nothing" if removed else f"no version {number}"
    return VersionNotFound(
        f"artifact {artifact.name!r} has {why} (newest is {numbers[-1]}) in {artifact.scope.label}",
        artifact=artifact.label,
        version=number,
    )


def rotating(core: Core, to: str, nobody_deletes: bool) -> Steps[Env]:
    """What the protocol needs to rewrite records here safely."""
    check_key(core.custody, to)
    env = yield from core.writing()
    check_conditional(env, core.backend.url, nobody_deletes)
    return env


def _subfolders(folder: str, skip: str = "") -> Steps[list[str]]:
    found: list[str] = []
    position: str | None = ""
    while position is not None:
        (page,) = yield (List(folder, position),)
        found += [name for name in page.folders if name != skip]
        position = page.next
    return found
