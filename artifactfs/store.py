"""The store as ordinary code sees it: `ArtifactStore`, and `Scope` for a session of a user of an app."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeAlias, TypeVar, overload

from artifactfs.backends.base import WHOLE_LIMIT, Backend
from artifactfs.content import Fetched
from artifactfs.drivers import call, iterate, run
from artifactfs.errors import ArtifactError, BackendUnavailable, InvalidConfig, InvalidRef, PointerNotManaged
from artifactfs.keys.base import Identity, KeyProvider
from artifactfs.layout import ArtifactId, ScopeId
from artifactfs.opening import open_core
from artifactfs.operations.core import Core, Mode
from artifactfs.operations.reading import Artifact, Reading, Version
from artifactfs.operations.scope import ScopeOperations
from artifactfs.operations.store import StoreOperations
from artifactfs.pointers import SCHEMES
from artifactfs.protocol.expect import Expected
from artifactfs.protocol.ops import Lazy, Steps
from artifactfs.records import Blob
from artifactfs.sources import Payload, PieceSource

if TYPE_CHECKING:
    from artifactfs.bulk import Executor
    from artifactfs.diff import Diff
    from artifactfs.files import ArtifactReader, ArtifactWriter
    from artifactfs.following import Follow
    from artifactfs.search.query import Hits
    from artifactfs.verifying import Checkpoint, Progress, VerifyReport
    from artifactfs.watch.watches import Watch

Older: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any] | ArtifactStore"
"""A store that another one reads through: its URL or path, what `ArtifactStore` takes by name, or a store."""

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")
Ops = TypeVar("Ops", StoreOperations, ScopeOperations, Reading)


def blocking(method: Callable[Concatenate[Ops, P], Steps[T]]) -> Callable[Concatenate[Any, P], T]:
    """A method that runs an operation to its end."""

    @wraps(method)
    def wrapped(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return run(method(self._ops, *args, **kwargs), self._core.backend)
        except ArtifactError as error:
            tell(error, self._core, self._about(*args, **kwargs))
            raise

    show_return(wrapped, "{}")
    return wrapped


def lazily(method: Callable[Concatenate[Ops, P], Lazy[Item]]) -> Callable[Concatenate[Any, P], Iterator[Item]]:
    """A method that runs an operation as far as its items are asked for."""

    @wraps(method)
    def wrapped(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Item]:
        return _items(self._core, method(self._ops, *args, **kwargs), self._about(*args, **kwargs))

    show_return(wrapped, "Iterator[{}]")
    return wrapped


def _items(core: Core, steps: Lazy[Item], about: str | None) -> Iterator[Item]:
    with telling(core, about):
        yield from iterate(steps, core.backend)


def show_return(wrapped: Callable[..., Any], what: str) -> None:
    """Let help() show what the method returns, not what the operation behind it is."""
    inner = str(wrapped.__annotations__["return"]).partition("[")[2].removesuffix("]")
    returned = what.format(inner)
    wrapped.__annotations__ = {**wrapped.__annotations__, "return": returned}
    wrapped.__signature__ = inspect.signature(wrapped).replace(return_annotation=returned)  # type: ignore[attr-defined]


class telling:
    """A context in which an error is told which store it came from, and what was asked for there."""

    def __init__(self, core: Core, about: str | None = None) -> None:
        self.core, self.about = core, about

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ArtifactError):
            tell(error, self.core, self.about)


def tell(error: ArtifactError, core: Core, about: str | None) -> None:
    """Tell *error* which store it came from, and what was asked for there."""
    error.store = error.store or core.backend.url
    error.artifact = error.artifact or about


def older_stores(read_through: Sequence[Older]) -> list[ArtifactStore]:
    """The stores that another one lies over."""
    if isinstance(read_through, (str, os.PathLike, Mapping, ArtifactStore)):
        raise InvalidConfig("read_through is a list of stores: write read_through=[…]")
    found = []
    for one in read_through:
        if not isinstance(one, ArtifactStore):
            one = ArtifactStore(**one) if isinstance(one, Mapping) else ArtifactStore(one)
        if one._core.read_only:
            raise InvalidConfig(f"{one.url} is read_only, and what is read through is deleted from, too")
        path = one._core.where.removeprefix("file://")
        if "://" not in path and not os.path.isdir(path):  # not mounted, perhaps: its numbers would be given again
            raise BackendUnavailable(f"{path} is to be read through, and no such folder is there", store=one.url)
        found.append(one)
    return found


def reader_of(
    artifact: ArtifactId,
    mode: str,
    version: Version,
    mime_type: str | None,
    metadata: Mapping[str, Any] | None,
    expect: Expected | None,
) -> bool:
    """Whether an artifact is opened to be read (else to be written); refuses what makes no sense together."""
    if mode not in ("rb", "wb"):
        raise InvalidRef(f"an artifact is opened with mode 'rb' or 'wb', not {mode!r}", artifact=artifact.label)
    if mode == "rb" and not (mime_type is None and metadata is None and expect is None):
        raise InvalidRef("mime_type, metadata and expect are for mode 'wb'", artifact=artifact.label)
    if mode == "wb" and version is not None:
        raise InvalidRef("versions never change: leave version out to write a new one", artifact=artifact.label)
    return mode == "rb"


class ArtifactStore:
    """Versioned artifacts in memory, in a folder, in an S3 or Google Cloud Storage bucket, or below any fsspec URL.

    Every save makes a new version that never changes; savers on any number of machines lose nothing to each other. One
    store may be shared by threads, and is usable after a fork.

    >>> store = ArtifactStore("memory://readme")
    >>> store.scope("shop", "alice", "s1").save("notes.txt", b"first").version
    0

    Args:
        url: ``memory://name``, a path, ``s3://bucket/prefix``, ``r2://bucket``, ``gs://bucket/prefix``, or another
            fsspec URL with ``single_writer=True``. Without it the variable ``ARTIFACTFS_URL`` tells.
        read_only: never write, not even to probe.
        max_bytes: the most bytes that `Scope.load` loads whole.
        single_writer: you vouch that this process is the only one that writes.
        durability: ``"fsync"`` or ``"none"``: whether a save to local disk outlives a power cut.
        tries: how often a request to a network store is sent at most.
        deadline: seconds after which no further try is made.
        keys: with keys all that is saved is sealed: text (``v1:<base64url of 32 bytes>``, several with commas between
            them), the path of a file of such text, or an object with ``wrap`` and ``unwrap``. Without it the variable
            ``ARTIFACTFS_KEYS`` tells; ``"none"`` says that there are none, whatever that says.
        active_key_id: the id of the key that seals what is saved, or a function that gives it for an `Identity`. Without
            it the variable ``ARTIFACTFS_ACTIVE_KEY_ID`` tells; one key alone is active by itself.
        accept_plain: read what was saved before there were keys, too. Then a sealed version that was replaced by a plain
            one goes unnoticed.
        scope_secret: users stand in the store as digests made with it. Without it ``ARTIFACTFS_SCOPE_SECRET`` tells.
        mode: ``"pointer_only"``: bytes are never saved, only pointers.
        pointer_schemes: of the URIs that pointers may have.
        provider: this store's own name, which its records bear.
        read_through: older stores that are read from and deleted from too, and never written to.
        options: the filesystem's own, as s3fs and gcsfs name them.

    Raises:
        InvalidConfig: nothing answers to the URL, or a setting is wrong.
    """

    def __init__(
        self,
        url: str | os.PathLike[str] | None = None,
        *,
        read_only: bool = False,
        max_bytes: int | None = None,
        single_writer: bool = False,
        durability: Literal["fsync", "none"] = "fsync",
        tries: int = 5,
        deadline: float = 60.0,
        keys: KeyProvider | str | os.PathLike[str] | None = None,
        active_key_id: str | Callable[[Identity], str] | None = None,
        accept_plain: bool = False,
        scope_secret: str | None = None,
        mode: Mode = "managed",
        pointer_schemes: Collection[str] = SCHEMES,
        provider: str = "",
        read_through: Sequence[Older] = (),
        **options: Any,
    ) -> None:
        settings: dict[str, Any] = {
            "read_only": read_only,
            "max_bytes": max_bytes,
            "single_writer": single_writer,
            "durability": durability,
            "tries": tries,
            "deadline": deadline,
            "keys": keys,
            "active_key_id": active_key_id,
            "accept_plain": accept_plain,
            "scope_secret": scope_secret,
            "mode": mode,
            "pointer_schemes": pointer_schemes,
            "provider": provider,
        }
        older = older_stores(read_through)
        core, travels = open_core(url, **settings, older=[store._core for store in older], options=options)
        self._core: Core = core
        self._made_of = (self._core.where, {**settings, **travels, "read_through": older})
        self._ops = StoreOperations(self._core)

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] | None = None) -> ArtifactStore:
        """The store that a configuration file or the environment describes (see `artifactfs.config`).

        Raises:
            InvalidConfig: nothing describes one, or wrongly; says where.
        """
        from artifactfs.config import load

        config = load(path)
        return cls(config.url, **config.options)

    @property
    def url(self) -> str:
        """The root, as errors name it."""
        return self._core.backend.url

    @property
    def backend(self) -> Backend:
        """The store below."""
        return self._core.backend

    def scope(self, app: str, user: str, session: str | None = None) -> Scope:
        """A session of a user of an app; without *session* what all sessions of that user share.

        Raises:
            InvalidName: one of the three cannot be stored.
        """
        return Scope(self, ScopeId(app, user, session, self._core.custody))

    apps = lazily(StoreOperations.apps)
    users = lazily(StoreOperations.users)
    sessions = lazily(StoreOperations.sessions)
    probe = blocking(StoreOperations.probe)
    compact = blocking(StoreOperations.compact)
    gc = blocking(StoreOperations.gc)
    erase = blocking(StoreOperations.erase)
    rotate = blocking(StoreOperations.rotate)
    prune = blocking(StoreOperations.prune)
    shred = blocking(StoreOperations.shred)

    def verify_all(
        self, *, checkpoint: Checkpoint = None, executor: Executor | None = None, progress: Progress = None
    ) -> VerifyReport:
        """As `Scope.verify_all`, of everything in the store.

        >>> store.verify_all().ok
        True
        """
        from artifactfs.verifying import verify_all

        with telling(self._core):
            return verify_all(self._core, self, "", checkpoint, executor, progress)

    def watch(self, since: str | None = None, *, every: float = 5.0) -> Watch:
        """As `Scope.watch`, of everything in the store; users bear the names that the store calls them by."""
        from artifactfs.watch.walking import Place
        from artifactfs.watch.watches import Watch

        return Watch(self._core, Place.of_store(self._core.custody), since, every)

    inventory = blocking(StoreOperations.inventory)

    def search(
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
        fresh: bool = False,
    ) -> Hits:
        """The versions that fit all that is asked for, read lazily: those that are newest of artifacts that are there.

        The inventory is searched as it was last brought up to date (`inventory`); `Hits.as_of` tells when. Where there
        is none, or DuckDB is not installed, the whole store is scanned; the answer is the same, and `Hits.hint` says
        what would have been quicker. Hits come sorted as they are stored: by app, user, session, name, newest first.

        >>> [(hit.name, hit.version, hit.size_bytes) for hit in store.search("*.txt")]
        [('notes.txt', 1, 6)]

        Args:
            name: a pattern of the whole name: ``*`` for any text, ``?`` for one character, ``[abc]``, ``[!abc]``; ``[*]``
                is a star itself. Names in a user's own scope are without ``user:``.
            mime_type: such a pattern of the type without its parameters, in any case: ``"image/*"``.
            since, until: aware datetimes: saved not before the one, and before the other.
            min_size, max_size: bytes of content; what has no known size fits neither.
            metadata: has at least these fields, with these values; within objects likewise. 1 is 1.0, and not true.
            app, user, session: of these only.
            tag: that this tag names, whether newest or not.
            all_versions: all that can be loaded, not just the newest.
            limit: no more than so many.
            fresh: bring the inventory up to date first: then all that was saved before the call is in the answer.

        Raises:
            InvalidName, InvalidRef, InvalidMetadata: something asked for is of the wrong kind.
        """
        from artifactfs.search.query import Hits, Query

        query = Query(
            name,
            mime_type=mime_type,
            since=since,
            until=until,
            min_size=min_size,
            max_size=max_size,
            metadata=metadata,
            app=app,
            user=user,
            session=session,
            tag=tag,
            all_versions=all_versions,
            limit=limit,
        )
        with telling(self._core):
            found = run(self._ops.search(query, fresh), self._core.backend)
        return Hits(found.as_of, found.hint, _items(self._core, found.hits, None))

    def _about(self, *args: Any, **kwargs: Any) -> None:
        """The store itself: errors name no artifact."""

    def close(self) -> None:
        """Give back connections. The store may be used again."""
        call(self._core.backend, self._core.backend.close)

    def __enter__(self) -> ArtifactStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return reopen, (type(self), *self._made_of)


def reopen(kind: type[Any], url: Any, settings: dict[str, Any]) -> Any:
    return kind(url, **settings)


class Scope:
    """A session of a user of an app, or what all sessions of the user share.

    A name that starts with ``user:`` addresses what they share, from every session.
    """

    def __init__(self, store: ArtifactStore, identity: ScopeId) -> None:
        self.store, self.id = store, identity
        self._core = store._core
        self._ops = ScopeOperations(store._core, identity)

    def save(
        self,
        name: str,
        data: Payload,
        *,
        mime_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expect: Expected | None = None,
    ) -> Blob:
        """Store *data* as the next version of *name* and return its record.

        The version exists from the moment its payload is published: readers never see part of one, two savers never
        share a number, and a save that raises has stored nothing visible. Data of more than 8 MiB is streamed in
        bounded memory.

        >>> scope.save("notes.txt", b"first").version
        0
        >>> scope.save("notes.txt", b"second", expect=0).version
        1

        Args:
            data: bytes-like, text (as UTF-8), a path object (that file), a binary file, or an iterable of bytes.
            mime_type: else it is guessed from the name, or from the first bytes.
            metadata: a JSON object of your own, at most 64 KiB.
            expect: compare-and-set: save only if the newest version is this one, or ``"absent"``.

        Raises:
            InvalidName, InvalidMetadata: the name or the metadata cannot be stored.
            Conflict: *expect* is not so.
            UnsafeBackend: this store would lose saves.
            BackendUnavailable: the store did not answer; ``landed`` tells whether the version may be there.
        """
        if type(data) is bytes and len(data) <= WHOLE_LIMIT:
            return self._save_whole(name, data, mime_type, metadata, expect)
        source = PieceSource(data)
        head, whole = source.head()
        if whole:
            return self._save_whole(name, head, mime_type, metadata, expect)
        with telling(self._core, self._about(name)):
            steps = self._ops.save(name, head, False, mime_type, metadata, expect)
            return run(steps, self._core.backend, source)

    def _save_whole(
        self,
        name: str,
        data: bytes,
        mime_type: str | None,
        metadata: Mapping[str, Any] | None,
        expect: Expected | None,
    ) -> Blob:
        core = self._core
        try:
            with core.turns.for_thread(f"{self.id.folder}{name}"):
                return run(self._ops.save(name, data, True, mime_type, metadata, expect), core.backend)
        except ArtifactError as error:
            tell(error, core, self._about(name))
            raise

    def load(self, name: str, version: Version = None, *, follow: bool | Follow = False) -> Artifact:
        """As the operation behind it; with *follow* the content of a pointer is fetched from where it points to.

        >>> scope.load("notes.txt").data
        b'second'
        """
        try:
            return self._load(name, version)
        except PointerNotManaged as pointer:
            if (how := following(follow, self._core.max_bytes)) is None:
                raise
            from artifactfs.following import fetch

            about = self._about(name)
            with telling(self._core, about), fetch(pointer.record, how, self._core.schemes, about) as file:
                return Artifact(file.read(), pointer.record)

    _load = blocking(ScopeOperations.load)
    point = blocking(ScopeOperations.point)
    restore = blocking(ScopeOperations.restore)
    restore_all = blocking(ScopeOperations.restore_all)
    side = blocking(ScopeOperations.side)
    _sides = blocking(ScopeOperations.sides)

    def diff(self, name: str, a: Version, b: Version = None) -> Diff:
        """What differs between two versions of *name*; without *b* between version *a* and the newest.

        Of texts a unified diff; of Parquet and Arrow files rows and columns, where pyarrow is installed; of all what their
        records tell. At most the first MiB of each is read (of a table the last one too), and what was left out is told.

        >>> print(scope.diff("notes.txt", 0).text, end="")
        --- notes.txt@0
        +++ notes.txt@1
        @@ -1 +1 @@
        -first
        \\ No newline at end of file
        +second
        \\ No newline at end of file

        Raises:
            ArtifactNotFound, VersionNotFound, IntegrityError, KeyUnavailable: as `load`.
        """
        from artifactfs.diff import compare

        return compare(*self._sides(name, a, b))

    stat = blocking(ScopeOperations.stat)
    verify = blocking(ScopeOperations.verify)
    versions = blocking(ScopeOperations.versions)
    tag = blocking(ScopeOperations.tag)
    untag = blocking(ScopeOperations.untag)
    tags = blocking(ScopeOperations.tags)
    names = lazily(ScopeOperations.names)
    records = lazily(ScopeOperations.records)
    history = lazily(ScopeOperations.history)
    sign = blocking(ScopeOperations.sign)
    remove = blocking(ScopeOperations.remove)
    delete = blocking(ScopeOperations.delete)
    rotate = blocking(ScopeOperations.rotate)
    prune = blocking(ScopeOperations.prune)
    gc = blocking(ScopeOperations.gc)

    def verify_all(
        self, *, checkpoint: Checkpoint = None, executor: Executor | None = None, progress: Progress = None
    ) -> VerifyReport:
        """Read every version here and tell what is not what was saved, as `verify` does for one; nothing is changed.

        Many versions at a time; memory does not grow with them. A version that is saved meanwhile may be left out, one
        that is deleted meanwhile counts for nothing. A session's does not include what its user's sessions share.

        >>> report = scope.verify_all()
        >>> report.ok, report.counts
        (True, {'whole': 2})

        Args:
            checkpoint: a file that tells how far the run has come. Where it was cut off, by whatever, the same call goes on
                from there; at its end the file is removed.
            executor: that of a process pool, or of a cluster, whose workers open the store themselves; else threads.
            progress: called with the report so far, now and then.

        Raises:
            InvalidConfig: the checkpoint is one of another run.
            BackendUnavailable, AccessDenied: the store does not answer; what was found before is in the checkpoint.
        """
        from artifactfs.verifying import verify_all

        with telling(self._core, self.id.label):
            return verify_all(self._core, self.store, self.id.folder, checkpoint, executor, progress)

    def watch(self, since: str | None = None, *, every: float = 5.0) -> Watch:
        """Tell every new version and every deletion here once, as they happen; not of what its user's sessions share.

        An iterator without end that waits: ``with scope.watch() as events``, then ``for event in events``. Versions of one
        name come in the order in which they were published; one that is published late, under a lower number, comes late,
        and is never left out. Without *since* it begins when it is entered, or else with the first event that is asked for.

        >>> with scope.watch(since="start") as events:
        ...     next(events).version
        0

        Args:
            since: the `token` of another watch of this scope, to go on behind it, or ``"start"`` for everything.
            every: seconds between two looks. On a local disk the system tells of changes, with ``artifactfs[watch]``.

        Raises:
            InvalidRef: *since* is no token of a watch of this scope.
            BackendUnavailable: the store does not answer at the beginning; later that is logged, and tried again.
        """
        from artifactfs.watch.walking import Place
        from artifactfs.watch.watches import Watch

        return Watch(self._core, Place.of_scope(self.id), since, every)

    @overload
    def open(
        self, name: str, mode: Literal["rb"] = "rb", version: Version = None, *, follow: bool | Follow = False
    ) -> ArtifactReader: ...

    @overload
    def open(
        self,
        name: str,
        mode: Literal["wb"],
        *,
        mime_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expect: Expected | None = None,
    ) -> ArtifactWriter: ...

    def open(
        self,
        name: str,
        mode: Literal["rb", "wb"] = "rb",
        version: Version = None,
        *,
        mime_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expect: Expected | None = None,
        follow: bool | Follow = False,
    ) -> ArtifactReader | ArtifactWriter:
        """A version as a seekable file, pinned when it is opened; or with ``"wb"`` a file that becomes the next one.

        >>> with scope.open("notes.txt", "wb") as file:
        ...     _ = file.write(b"third")
        >>> file.record.version
        2
        >>> scope.open("notes.txt", version=0).read()
        b'first'

        Raises:
            ArtifactNotFound, VersionNotFound, PointerNotManaged: as `load`.
            InvalidRef: another mode, or a version to write to.
        """
        from artifactfs.files import ArtifactReader, ArtifactWriter

        artifact = self._ops.artifact(name)
        if reader_of(artifact, mode, version, mime_type, metadata, expect):
            try:
                return ArtifactReader(self._content(name, version))
            except PointerNotManaged as pointer:
                if (how := following(follow)) is None:
                    raise
                from artifactfs.following import fetch

                with telling(self._core, self._about(name)):
                    file = fetch(pointer.record, how, self._core.schemes, artifact.label)
                return ArtifactReader(Fetched(self._core.backend, pointer.record, file))

        with telling(self._core, self._about(name)):
            run(self._ops.prepare(name, mime_type, metadata, expect), self._core.backend)

        def save(data: bytes) -> Blob:
            return self._save_whole(name, data, mime_type, metadata, expect)

        def stream(head: bytes) -> Steps[Blob]:
            return self._ops.save(name, head, False, mime_type, metadata, expect)

        return ArtifactWriter(self._core.backend, save, stream)

    _content = blocking(ScopeOperations.content)

    def _about(self, *args: Any, **kwargs: Any) -> str:
        """What a method was called for, as errors name it."""
        return about(self.id, *args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return rescope, (self.store, self.id.app, self.id.user, self.id.session)

    def __repr__(self) -> str:
        return f"<Scope {self.id.label} of {self.store.url}>"


def following(follow: object, most: int | None = None) -> Follow | None:
    """How pointers are followed, for at most so many bytes; None where they are not."""
    from artifactfs.following import Follow

    if not isinstance(follow, (bool, Follow)):
        raise InvalidRef(f"follow is True, False or a Follow, not {follow!r}")
    if not follow:
        return None
    how = follow if isinstance(follow, Follow) else Follow()
    return how if most is None else replace(how, max_bytes=min(how.max_bytes, most))


def rescope(store: Any, app: str, user: str, session: str | None) -> Any:
    return store.scope(app, user, session)


def about(scope: ScopeId, name: object = None, *_: Any, **__: Any) -> str:
    """The artifact, or the scope where no artifact is named."""
    return f"{scope.label}/{name}" if isinstance(name, str) and name else scope.label
