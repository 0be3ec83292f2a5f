"""Migration: all that a store holds, copied to another one as it is, by any number of workers, again and again.

Both stores are read in the order of their keys and held against each other, so that nothing is kept of a run: whatever
is missing at the destination is copied, and a run that was killed is gone on with by starting another.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from threading import Event
from typing import Any, NamedTuple
from uuid import uuid4

from artifactfs.backends.base import Backend, Entry
from artifactfs.backends.read_through import ReadThrough
from artifactfs.bulk import Executor, each
from artifactfs.drivers import perform, run
from artifactfs.errors import ArtifactError, BackendUnavailable, InvalidConfig, InvalidName
from artifactfs.layout import HIDDEN, STORE_FOLDER, TAGS, ArtifactId, ScopeId
from artifactfs.migrated import Migrated, Tally, Trouble
from artifactfs.names import USER_SCOPE, decode, is_segment
from artifactfs.protocol.ops import List
from artifactfs.store import ArtifactStore
from artifactfs.transfer import Item, Transfer, Way

__all__ = ["Migrated", "Trouble", "migrate"]

GIVE_UP = 40
"""Artifacts in a row for which a store did not answer within its tries, after which no more are tried."""

SHARD_KEYS = 2000
"""Keys of the source that one worker is given at a time, at least; an artifact is never divided."""


def migrate(
    source: ArtifactStore,
    destination: ArtifactStore,
    *,
    executor: Executor | None = None,
    dry_run: bool = False,
    progress: Callable[[Migrated], object] | None = None,
) -> Migrated:
    """Copy all that *source* holds to *destination*, byte for byte: numbers, records, times, tags and what was taken away.

    Nothing at the destination is ever overwritten, but a tag that was set later at the source; what is there under a number
    already and is not the same is told as a conflict. A version is there for readers of the destination when it is there
    whole. Each is held against its digest when it is read, and read back when it is written. Sealed payloads are copied
    as they are, and no key is needed. A run that was killed is gone on with by another, which copies only what is missing.

    >>> from artifactfs.migrate import migrate
    >>> migrate(store, ArtifactStore("memory://copy")).copied
    2

    Args:
        executor: who does the work: a pool of processes, the workers of a cluster (see `artifactfs.bulk`); else threads.
            Each of those who work uses some threads.
        dry_run: only tell what would be done. Records are read then, and no payloads.
        progress: called with the report so far, now and then.

    Raises:
        InvalidConfig: the two are one store, the destination reads through to the source, or they spell users in
            different ways.
        AccessDenied, UnsafeBackend: the destination cannot be written to; nothing was.
        BackendUnavailable: one of the two does not answer any more. What was copied stays.
    """
    _check(source, destination)
    job = _Job(source, destination, dry_run, uuid4().hex)
    job.prepare()
    tally = Tally()
    for done in each(job, _shards(source.backend), _Here() if executor is None else executor):
        tally.add(done)
        if progress is not None:
            progress(tally.result(dry_run))
    return tally.result(dry_run)


def _check(source: ArtifactStore, destination: ArtifactStore) -> None:
    for store in (source, destination):
        if not isinstance(store, ArtifactStore):
            raise InvalidConfig(f"migrate takes two stores, as ArtifactStore(url) opens them, not {store!r:.100}")
    first, second = source.backend, destination.backend
    one, other = f"{first.url.rstrip('/')}/", f"{second.url.rstrip('/')}/"
    if first.identity == second.identity and (one.startswith(other) or other.startswith(one)):
        raise InvalidConfig(f"{first.url} and {second.url} are one store, or one lies in the other")
    read = {(store.identity, store.url) for store in _stores(first)}
    if any((store.identity, store.url) in read for store in _stores(second)[1:]):
        raise InvalidConfig(
            f"{second.url} reads through to what is to be migrated, so that nothing would look missing there: open the "
            "destination by itself, without read_through"
        )
    if source._core.custody.user("", "") != destination._core.custody.user("", ""):
        raise InvalidConfig(
            "the two stores have not the same scope_secret: users are copied as they are stored, so nobody would find what "
            "is theirs at the destination; open both with the same secret"
        )
    if source._core.custody.keys is None and not destination._core.custody.takes_plain:
        raise InvalidConfig(
            f"{first.url} was opened without keys, and {second.url} with keys believes nothing that is not sealed: what is "
            "copied could not be read there; open the destination with accept_plain=True, or without keys"
        )


def _stores(backend: Backend) -> tuple[Backend, ...]:
    """The store that is written to, and those that it reads through."""
    return backend._stores if isinstance(backend, ReadThrough) else (backend,)


class _Here:
    """Does the work at once, in the caller's thread: each shard is done by threads anyway."""

    def submit(self, fn: Any, /, *args: Any) -> Any:
        from concurrent.futures import Future

        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args))
        except Exception as error:  # noqa: BLE001
            future.set_exception(error)
        return future


# --- shards -----------------------------------------------------------------------------------------------------------


class _Shard(NamedTuple):
    """The artifacts whose folders sort from *start* on and before *end*."""

    start: str
    end: str | None


def _shards(backend: Backend) -> Iterator[_Shard]:
    start = folder = ""
    count = 0
    walk = _Keys(backend)
    while (key := walk.next_key()) is not None:
        if (before := folder) != (folder := _folder_of(key)) and before and count >= SHARD_KEYS and folder[-1] == "/":
            yield _Shard(start, folder)
            start, count = folder, 0
        walk.pop()
        count += 1
    yield _Shard(start, None)


def _folder_of(key: str) -> str:
    """The folder of the artifact that *key* belongs to, or the key itself where it lies in none."""
    parts = key.split("/", 4)
    return "/".join(parts[:4]) + "/" if len(parts) == 5 else key


class _Keys:
    """All keys of a store in their order from *after* on, a page at a time; what nobody asks for is not listed."""

    def __init__(self, backend: Backend, after: str = "") -> None:
        self._backend = backend
        self._entries: deque[Entry] = deque()
        self._position: str | None = after

    def next_key(self) -> str | None:
        while not self._entries and self._position is not None:
            (page,) = perform((List("", self._position, deep=True),), self._backend, None)
            self._entries.extend(page.entries)
            self._position = page.next
        return self._entries[0].name if self._entries else None

    def pop(self) -> Entry:
        return self._entries.popleft()

    def skip_to(self, key: str) -> None:
        """Go on behind all that sorts before *key*, and *key* itself."""
        while self._entries and self._entries[0].name <= key:
            self._entries.popleft()
        if not self._entries and self._position is not None and self._position < key:
            self._position = key

    def below(self, folder: str) -> list[Entry]:
        """What lies below *folder*, which sorts behind all that was asked for before; by names relative to it."""
        self.skip_to(folder)
        found = []
        while (key := self.next_key()) is not None and key.startswith(folder):
            found.append(self.pop()._replace(name=key[len(folder) :]))
        return found


# --- work -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _job(data: bytes) -> _Job:
    """One job for each process, whatever it is sent: its connections last."""
    return _Job(*pickle.loads(data))


def _without_keys(store: ArtifactStore) -> ArtifactStore:
    """The same store for another process, where no key and no secret is needed."""
    url, settings = store._made_of
    bare = {"keys": "none", "active_key_id": None, "accept_plain": False, "scope_secret": "none"}
    older = [_without_keys(one) for one in settings["read_through"]]
    return ArtifactStore(url, **{**settings, **bare, "read_through": older})


class _Job:
    """A migration, to be called with each shard."""

    def __init__(self, source: ArtifactStore, destination: ArtifactStore, dry_run: bool, run_id: str) -> None:
        self.source, self.destination, self.dry_run, self.run_id = source, destination, dry_run, run_id
        self.unanswered = 0

    def prepare(self) -> Way:
        core = self.destination._core
        env = None if self.dry_run else run(core.writing(), core.backend)
        return Way(self.source.backend, core.backend, env, core.mode == "pointer_only", Event())

    def __call__(self, shard: _Shard) -> Tally:
        way, tally = self.prepare(), Tally()
        for done in each(partial(self._copy, way), self._items(shard, tally), stopped=way.stopped):
            tally.add(done)
        return tally

    def _items(self, shard: _Shard, tally: Tally) -> Iterator[Item]:
        """The artifacts of a shard, found by walking along both stores at once; what is none is told of."""
        source, destination = self.source.backend, self.destination.backend
        keys, keys_there = _Keys(source, shard.start), _Keys(destination, shard.start)
        scope = "".join(f"{segment}/" for segment in shard.start.split("/")[:3] if segment)
        marks, tags, marks_there, tags_there = (
            _Keys(store, scope) for store in (source, source, destination, destination)
        )
        while (key := keys.next_key()) is not None:
            folder = _folder_of(key)
            if shard.end is not None and folder >= shard.end:
                return
            artifact = _artifact(folder)
            if artifact is not None:
                yield Item(
                    artifact,
                    keys.below(folder),
                    keys_there.below(folder),
                    _names(marks.below(artifact.hidden_folder)),
                    _names(marks_there.below(artifact.hidden_folder)),
                    _names(tags.below(artifact.tags_folder)),
                    _names(tags_there.below(artifact.tags_folder)),
                )
            elif key.startswith(STORE_FOLDER):
                keys.skip_to(STORE_FOLDER[:-1] + "0")  # "0" comes next after "/"
            elif folder.split("/")[3:4] in ([HIDDEN], [TAGS]):
                keys.skip_to(folder[:-1] + "0")
            else:
                tally.tell("left_out", key, "no key of this format: another program wrote it, or a later release")
                keys.pop()

    def _copy(self, way: Way, item: Item) -> Tally:
        tally = Tally()
        try:
            if self.unanswered >= GIVE_UP:
                raise BackendUnavailable("not tried any more: one of the stores does not answer")
            self.destination._core.room(item.artifact)
            Transfer(way, item, tally).run()
            self.unanswered = 0
        except InvalidName as error:
            tally.tell("left_out", item.artifact.label, str(error))
        except ArtifactError as error:
            if isinstance(error, BackendUnavailable):
                self.unanswered += 1
                if self.unanswered >= GIVE_UP:
                    raise
            tally.tell("failed", item.artifact.label, str(error))
        return tally

    def __reduce__(self) -> tuple[Any, ...]:
        stores = _without_keys(self.source), _without_keys(self.destination)
        return _job, (pickle.dumps((*stores, self.dry_run, self.run_id)),)


def _names(entries: Sequence[Entry]) -> list[str]:
    return [entry.name for entry in entries]


def _artifact(folder: str) -> ArtifactId | None:
    """The artifact that lies in *folder*; None where no artifact does."""
    if not folder.endswith("/"):
        return None
    app, user, session, name = folder[:-1].split("/")
    if not (is_segment(app, "app") and is_segment(user, "user") and is_segment(name)):
        return None
    if session == USER_SCOPE:
        return ArtifactId(ScopeId(decode(app, "app"), decode(user, "user"), None, as_stored=True), decode(name))
    if not is_segment(session, "session"):
        return None
    scope = ScopeId(decode(app, "app"), decode(user, "user"), decode(session, "session"), as_stored=True)
    return ArtifactId(scope, decode(name))
