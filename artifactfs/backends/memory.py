"""Objects in this process's memory: for tests, and for what need not outlive the process."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Sequence

from artifactfs.backends.base import Abilities, Entry, Got, Page, Placement, Stat, Unfinished, Written
from artifactfs.backends.memory_keys import Keys
from artifactfs.backends.numbers import newest_page
from artifactfs.codecs.base import Bytes
from artifactfs.errors import BackendError, InvalidConfig

# One lock for all roots. No destructor takes it (`abort` does not), so a garbage collection may run while it is held.
_lock = threading.Lock()


class _Root:
    """What all backends of one name share. Order by code points is order by UTF-8 bytes."""

    def __init__(self) -> None:
        self.objects: dict[str, Got] = {}
        self.keys = Keys()
        self.uploads: dict[str, Unfinished] = {}
        self.tags = itertools.count(1)
        self.clock = 0.0

    def time(self) -> float:
        """The wall clock, but never earlier than it was."""
        self.clock = max(self.clock, time.time())
        return self.clock

    def store(self, key: str, data: bytes) -> str:
        tag = str(next(self.tags))
        try:
            if key not in self.objects:
                self.keys.add(key)
            self.objects[key] = Got(data, len(data), self.time(), tag)
        except BaseException:
            self.mend()
            raise
        return tag

    def mend(self) -> None:
        """Sort the keys anew: an interrupt came between two steps."""
        self.keys = Keys(self.objects)


_roots: dict[str, _Root] = {}

# A fork waits for the lock, so that the child's copy is whole and its lock is free.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class MemoryBackend:
    """A store in memory. Backends of one URL see each other within the process; a forked child has its own copy.

    Every write is atomic. ``memory://name/prefix`` is the part below ``prefix/`` of the root ``name``.

    Raises:
        InvalidConfig: *url* is not a ``memory://`` URL, or *page_size* is less than 1.
    """

    identity = ""
    placement: Placement = "inline"
    abilities: Abilities | None = Abilities("atomic", "atomic", "atomic")
    max_segment: int | None = None
    max_key: int | None = None

    def __init__(self, url: str = "memory://", *, page_size: int | None = None) -> None:
        """Open the root that *url* names.

        *page_size* is the most entries that a page of a listing gives; where it is named, pages are all that listings
        give, as those of an object store.
        """
        scheme, separator, path = url.partition("://")
        if scheme != "memory" or not separator:
            raise InvalidConfig(f"{url!r} is no URL of a memory store; write it as memory://name/prefix", store=url)
        if page_size is not None and page_size < 1:
            raise InvalidConfig(f"page_size is {page_size}; a page holds at least 1 entry", store=url)
        name, _, prefix = path.partition("/")
        prefix = prefix.strip("/")
        self.url = url
        self.page_size = page_size
        self._prefix = prefix + "/" if prefix else ""
        with _lock:
            self._root = _roots.setdefault(name, _Root())

    async def create(self, key: str, data: bytes, content_type: str) -> Written:
        """Store *data* under *key* unless it is there."""
        return self._create(self._prefix + key, data)

    def _create(self, key: str, data: bytes) -> Written:
        with _lock:
            if key in self._root.objects:
                return Written(False)
            return Written(True, 1, self._root.store(key, data))

    async def upload(self, key: str, content_type: str) -> MemoryUpload:
        """Begin a streamed create; its bytes are memory, as the object's will be."""
        return MemoryUpload(self, self._root, self._prefix + key)

    async def put(self, key: str, data: bytes, content_type: str, *, once: bool = False) -> Written:
        """Store *data* over whatever is there; no answer is ever lost."""
        with _lock:
            return Written(True, tag=self._root.store(self._prefix + key, data))

    async def replace(self, key: str, data: bytes, content_type: str, tag: str) -> Written:
        """Store *data* if the last write of *key* is the one that *tag* names."""
        key = self._prefix + key
        with _lock:
            there = self._root.objects.get(key)
            if there is None or there.tag != tag:
                return Written(False)
            return Written(True, tag=self._root.store(key, data))

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Got | None:
        """The object or a range of it; the whole is given without a copy."""
        there = self._root.objects.get(self._prefix + key)
        if there is None or (start == 0 and (end is None or end >= there.size)):
            return there
        return there._replace(data=there.data[start:end])

    async def list(
        self, folder: str, after: str = "", *, deep: bool = False, limit: int = 1000, newest: bool = False
    ) -> Page:
        """One page; its cost grows with what it gives, not with what lies in sub-folders or below the newest numbers."""
        base = self._prefix + folder
        if self.page_size is not None:
            limit, newest = min(limit, self.page_size), False
        entries: list[Entry] = []
        folders: list[str] = []
        last = after
        with _lock:
            if newest and (page := self._newest(base)) is not None:
                return page
            keys, objects = self._root.keys, self._root.objects
            path = base.removesuffix("/")
            try:
                for name in keys.walk(path, after) if deep else keys.level(path, after):
                    if len(entries) + len(folders) >= limit:
                        return Page(tuple(entries), tuple(folders), last)
                    last = name
                    if name[-1] == "/":
                        folders.append(name[:-1])
                    else:
                        there = objects[base + name]
                        entries.append(Entry(name, there.size, there.modified))
            except BaseException:
                self._root.mend()
                raise
        return Page(tuple(entries), tuple(folders), None)

    def _newest(self, base: str) -> Page | None:
        objects = self._root.objects

        def entry(name: str) -> Entry | None:
            there = objects.get(base + name)
            return there and Entry(name, there.size, there.modified)

        return newest_page(self._root.keys.top(base[:-1]), entry)

    async def stat(self, key: str) -> Stat | None:
        """Size, time and tag, or None."""
        there = self._root.objects.get(self._prefix + key)
        return there and Stat(there.size, there.modified, there.tag)

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects."""
        with _lock:
            try:
                for key in keys:
                    key = self._prefix + key
                    if self._root.objects.pop(key, None) is not None:
                        self._root.keys.remove(key)
            except BaseException:
                self._root.mend()
                raise

    async def unfinished(self, folder: str) -> Sequence[Unfinished]:
        """Uploads of any backend of this root below *folder*."""
        base, cut = self._prefix + folder, len(self._prefix)
        uploads = list(self._root.uploads.values())
        return [upload._replace(key=upload.key[cut:]) for upload in uploads if upload.key.startswith(base)]

    async def discard(self, upload: Unfinished) -> None:
        """Forget an upload; its commit will raise."""
        self._root.uploads.pop(upload.token, None)

    async def now(self) -> float:
        """The wall clock, never earlier than the newest object."""
        with _lock:
            return self._root.time()

    async def sign(self, key: str, seconds: int) -> str:
        """Raise `BackendError`: nobody else can reach this memory."""
        raise BackendError(
            f"{self.url} lives in one process and cannot sign a URL for {key!r}; read the artifact instead",
            store=self.url,
        )

    async def probe(self, folder: str) -> Abilities:
        """All atomic, by the lock."""
        return Abilities("atomic", "atomic", "atomic")

    async def close(self) -> None:
        """Keep everything: there is nothing to give back."""


class MemoryUpload:
    """A streamed create into memory."""

    def __init__(self, backend: MemoryBackend, root: _Root, key: str) -> None:
        self._backend = backend
        self._root = root
        self._key = key
        self._parts: list[bytes] = []
        with _lock:
            self._token = str(next(root.tags))
            root.uploads[self._token] = Unfinished(key, root.time(), self._token)

    async def write(self, data: Bytes) -> None:
        """Append *data*."""
        self._parts.append(bytes(data))

    async def commit(self) -> Written:
        """Publish all bytes if no object is there."""
        if self._token not in self._root.uploads:
            raise BackendError(
                f"the upload of {self._key!r} to {self._backend.url} was ended before its commit; save again",
                store=self._backend.url,
            )
        written = self._backend._create(self._key, b"".join(self._parts))
        if written.done:
            await self.abort()
        return written

    async def abort(self) -> None:
        """Drop what was written."""
        self._root.uploads.pop(self._token, None)
        self._parts.clear()
