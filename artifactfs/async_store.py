"""The store as code on an event loop sees it: the methods of `artifactfs.store`, awaited. The loop is never blocked."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Generator, Mapping, Sequence
from datetime import datetime
from functools import partial, wraps
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, overload

from artifactfs.async_files import AsyncArtifactReader, AsyncArtifactWriter
from artifactfs.backends.base import WHOLE_LIMIT, Backend
from artifactfs.content import Fetched
from artifactfs.drivers import acall, aiterate, arun, iterate, run
from artifactfs.errors import ArtifactError, PointerNotManaged
from artifactfs.keys.base import Identity, KeyProvider
from artifactfs.layout import ScopeId
from artifactfs.opening import open_core
from artifactfs.operations.core import Core, Mode
from artifactfs.operations.reading import Artifact, Reading, Version
from artifactfs.operations.scope import ScopeOperations
from artifactfs.operations.store import StoreOperations
from artifactfs.pointers import SCHEMES
from artifactfs.protocol.expect import Expected
from artifactfs.protocol.ops import Lazy, Steps
from artifactfs.records import Blob
from artifactfs.sources import AsyncPayload, AsyncPieceSource
from artifactfs.store import (
    ArtifactStore,
    Older,
    about,
    following,
    older_stores,
    reader_of,
    reopen,
    rescope,
    show_return,
    tell,
    telling,
)
from artifactfs.waiting import in_thread

if TYPE_CHECKING:
    from artifactfs.bulk import Executor
    from artifactfs.diff import Diff
    from artifactfs.following import Follow
    from artifactfs.inventory.refresh import Inventory
    from artifactfs.search.query import AsyncHits, Hit
    from artifactfs.verifying import Checkpoint, Progress, VerifyReport
    from artifactfs.watch.watches import AsyncWatch

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")
Ops = TypeVar("Ops", StoreOperations, ScopeOperations, Reading)
File = TypeVar("File", bound="AsyncArtifactReader | AsyncArtifactWriter")


def awaited(method: Callable[Concatenate[Ops, P], Steps[T]]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """A method that runs an operation to its end."""

    @wraps(method)
    async def wrapped(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await arun(method(self._ops, *args, **kwargs), self._core.backend)
        except ArtifactError as error:
            tell(error, self._core, self._about(*args, **kwargs))
            raise

    show_return(wrapped, "{}")
    return wrapped


def lazily(method: Callable[Concatenate[Ops, P], Lazy[Item]]) -> Callable[Concatenate[Any, P], AsyncIterator[Item]]:
    """A method that runs an operation as far as its items are asked for."""

    @wraps(method)
    def wrapped(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Item]:
        return _items(self._core, method(self._ops, *args, **kwargs), self._about(*args, **kwargs))

    show_return(wrapped, "AsyncIterator[{}]")
    return wrapped


async def _items(core: Core, steps: Lazy[Item], about: str | None) -> AsyncIterator[Item]:
    with telling(core, about):
        async for item in aiterate(steps, core.backend):
            yield item


class AsyncArtifactStore:
    """`ArtifactStore` with awaited methods; what is lazy there is an asynchronous iterator here.

    One store may be shared by any number of tasks, and by loops one after the other. Its arguments and errors are those
    of `ArtifactStore`; opening it asks nothing of the store below, and needs no loop.
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
        self._adopt(core, {**settings, **travels, "read_through": older})

    def _adopt(self, core: Core, settings: dict[str, Any]) -> None:
        self._core, self._made_of = core, (core.where, settings)
        self._ops = StoreOperations(core)

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] | None = None) -> AsyncArtifactStore:
        """As `ArtifactStore.from_config`."""
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

    def scope(self, app: str, user: str, session: str | None = None) -> AsyncScope:
        """As `ArtifactStore.scope`; not awaited."""
        return AsyncScope(self, ScopeId(app, user, session, self._core.custody))

    apps = lazily(StoreOperations.apps)
    users = lazily(StoreOperations.users)
    sessions = lazily(StoreOperations.sessions)
    probe = awaited(StoreOperations.probe)
    compact = awaited(StoreOperations.compact)
    gc = awaited(StoreOperations.gc)
    erase = awaited(StoreOperations.erase)
    rotate = awaited(StoreOperations.rotate)
    prune = awaited(StoreOperations.prune)
    shred = awaited(StoreOperations.shred)

    async def verify_all(
        self, *, checkpoint: Checkpoint = None, executor: Executor | None = None, progress: Progress = None
    ) -> VerifyReport:
        """As `ArtifactStore.verify_all`."""
        from artifactfs.verifying import averify_all

        with telling(self._core):
            return await averify_all(self._core, self, "", checkpoint, executor, progress)

    def watch(self, since: str | None = None, *, every: float = 5.0) -> AsyncWatch:
        """As `ArtifactStore.watch`; not awaited."""
        from artifactfs.watch.walking import Place
        from artifactfs.watch.watches import AsyncWatch

        return AsyncWatch(self._core, Place.of_store(self._core.custody), since, every)

    async def inventory(self) -> Inventory:
        """As `ArtifactStore.inventory`."""
        with telling(self._core):
            return await self._worked(self._ops.inventory())

    async def search(
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
    ) -> AsyncHits:
        """As `ArtifactStore.search`; what is found is an asynchronous iterator."""
        from artifactfs.search.query import AsyncHits, Query

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
            found = await self._worked(self._ops.search(query, fresh))
        return AsyncHits(found.as_of, found.hint, self._found(found.hits))

    async def _worked(self, steps: Steps[T]) -> T:
        """The result of steps that take a while even in memory: a thread does them where the loop would."""
        backend = self._core.backend
        if backend.placement == "inline":
            return await in_thread(partial(run, steps, backend))
        return await arun(steps, backend)

    async def _found(self, hits: Lazy[Hit]) -> AsyncIterator[Hit]:
        if self._core.backend.placement != "inline":
            async for hit in _items(self._core, hits, None):
                yield hit
            return
        found = iterate(hits, self._core.backend)
        with telling(self._core):
            while some := await in_thread(lambda: list(islice(found, 100))):
                for hit in some:
                    yield hit

    def _about(self, *args: Any, **kwargs: Any) -> None:
        """The store itself: errors name no artifact."""

    async def close(self) -> None:
        """Give back connections. The store may be used again."""
        await acall(self._core.backend, self._core.backend.close)

    async def __aenter__(self) -> AsyncArtifactStore:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return reopen, (type(self), *self._made_of)


def awaited_store(store: ArtifactStore) -> AsyncArtifactStore:
    """*store* with awaited methods: the same connections, and the same memory of what was seen."""
    other = AsyncArtifactStore.__new__(AsyncArtifactStore)
    other._adopt(store._core, store._made_of[1])
    return other


class AsyncScope:
    """`Scope` with awaited methods."""

    def __init__(self, store: AsyncArtifactStore, identity: ScopeId) -> None:
        self.store, self.id = store, identity
        self._core = store._core
        self._ops = ScopeOperations(store._core, identity)

    async def save(
        self,
        name: str,
        data: AsyncPayload,
        *,
        mime_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expect: Expected | None = None,
    ) -> Blob:
        """As `Scope.save`; *data* may also be an asynchronous iterable of bytes. What else is read is read in a thread.

        Where the task is cancelled, what it had sent is dropped and nothing is published; a cancellation that comes while
        the payload is being published waits for the answer first.
        """
        if type(data) is bytes and len(data) <= WHOLE_LIMIT:
            return await self._save_whole(name, data, mime_type, metadata, expect)
        source = AsyncPieceSource(data)
        head, whole = await source.head()
        if whole:
            return await self._save_whole(name, head, mime_type, metadata, expect)
        with telling(self._core, self._about(name)):
            steps = self._ops.save(name, head, False, mime_type, metadata, expect)
            return await arun(steps, self._core.backend, source)

    async def _save_whole(
        self,
        name: str,
        data: bytes,
        mime_type: str | None,
        metadata: Mapping[str, Any] | None,
        expect: Expected | None,
    ) -> Blob:
        core = self._core
        steps = self._ops.save(name, data, True, mime_type, metadata, expect)
        try:
            if core.backend.placement == "inline":  # no other task runs meanwhile
                return run(steps, core.backend)
            async with core.turns.for_task(f"{self.id.folder}{name}"):
                return await arun(steps, core.backend)
        except ArtifactError as error:
            tell(error, core, self._about(name))
            raise

    async def load(self, name: str, version: Version = None, *, follow: bool | Follow = False) -> Artifact:
        """As `Scope.load`."""
        try:
            return await self._load(name, version)
        except PointerNotManaged as pointer:
            content = await self._fetched(pointer, follow, self._core.max_bytes)
            return Artifact(await content.read(0, content.size), pointer.record)

    async def _fetched(self, pointer: PointerNotManaged, follow: bool | Follow, most: int | None = None) -> Fetched:
        """What *pointer* points to, if it is to be followed; else it is raised."""
        if (how := following(follow, most)) is None:
            raise pointer
        from artifactfs.following import fetch

        label = pointer.artifact or self.id.label
        with telling(self._core, label):
            file = await in_thread(partial(fetch, pointer.record, how, self._core.schemes, label))
        return Fetched(self._core.backend, pointer.record, file)

    _load = awaited(ScopeOperations.load)
    _content = awaited(ScopeOperations.content)
    point = awaited(ScopeOperations.point)
    restore = awaited(ScopeOperations.restore)
    restore_all = awaited(ScopeOperations.restore_all)
    side = awaited(ScopeOperations.side)
    _sides = awaited(ScopeOperations.sides)

    async def diff(self, name: str, a: Version, b: Version = None) -> Diff:
        """As `Scope.diff`; the two are compared in a thread."""
        from artifactfs.diff import compare

        return await in_thread(partial(compare, *await self._sides(name, a, b)))

    stat = awaited(ScopeOperations.stat)
    verify = awaited(ScopeOperations.verify)
    versions = awaited(ScopeOperations.versions)
    tag = awaited(ScopeOperations.tag)
    untag = awaited(ScopeOperations.untag)
    tags = awaited(ScopeOperations.tags)
    names = lazily(ScopeOperations.names)
    records = lazily(ScopeOperations.records)
    history = lazily(ScopeOperations.history)
    sign = awaited(ScopeOperations.sign)
    remove = awaited(ScopeOperations.remove)
    delete = awaited(ScopeOperations.delete)
    rotate = awaited(ScopeOperations.rotate)
    prune = awaited(ScopeOperations.prune)
    gc = awaited(ScopeOperations.gc)

    async def verify_all(
        self, *, checkpoint: Checkpoint = None, executor: Executor | None = None, progress: Progress = None
    ) -> VerifyReport:
        """As `Scope.verify_all`; without an executor some shards at a time, as tasks."""
        from artifactfs.verifying import averify_all

        with telling(self._core, self.id.label):
            return await averify_all(self._core, self.store, self.id.folder, checkpoint, executor, progress)

    def watch(self, since: str | None = None, *, every: float = 5.0) -> AsyncWatch:
        """As `Scope.watch`: ``async with scope.watch() as events``, then ``async for event in events``."""
        from artifactfs.watch.walking import Place
        from artifactfs.watch.watches import AsyncWatch

        return AsyncWatch(self._core, Place.of_scope(self.id), since, every)

    @overload
    def open(
        self, name: str, mode: Literal["rb"] = "rb", version: Version = None, *, follow: bool | Follow = False
    ) -> Opening[AsyncArtifactReader]: ...

    @overload
    def open(
        self,
        name: str,
        mode: Literal["wb"],
        *,
        mime_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expect: Expected | None = None,
    ) -> Opening[AsyncArtifactWriter]: ...

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
    ) -> Opening[AsyncArtifactReader] | Opening[AsyncArtifactWriter]:
        """As `Scope.open`: ``async with scope.open(…) as file``, or ``file = await scope.open(…)`` and close it."""
        artifact = self._ops.artifact(name)
        if reader_of(artifact, mode, version, mime_type, metadata, expect):

            async def read() -> AsyncArtifactReader:
                try:
                    return AsyncArtifactReader(await self._content(name, version))
                except PointerNotManaged as pointer:
                    return AsyncArtifactReader(await self._fetched(pointer, follow))

            return Opening(read)

        async def save(data: bytes) -> Blob:
            return await self._save_whole(name, data, mime_type, metadata, expect)

        def stream(head: bytes) -> Steps[Blob]:
            return self._ops.save(name, head, False, mime_type, metadata, expect)

        async def write() -> AsyncArtifactWriter:
            with telling(self._core, self._about(name)):
                await arun(self._ops.prepare(name, mime_type, metadata, expect), self._core.backend)
            return AsyncArtifactWriter(self._core.backend, save, stream)

        return Opening(write)

    def _about(self, *args: Any, **kwargs: Any) -> str | None:
        return about(self.id, *args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return rescope, (self.store, self.id.app, self.id.user, self.id.session)

    def __repr__(self) -> str:
        return f"<AsyncScope {self.id.label} of {self.store.url}>"


class Opening(Generic[File]):
    """A file that is about to be opened: to be entered, or awaited."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, File]]) -> None:
        self._make = make
        self._file: File | None = None

    def __await__(self) -> Generator[Any, None, File]:
        return self._make().__await__()

    async def __aenter__(self) -> File:
        self._file = await self._make()
        return self._file

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        await self._file.__aexit__(kind, error, trace)
