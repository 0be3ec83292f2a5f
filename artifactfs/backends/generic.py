"""Objects in any filesystem that fsspec knows, for one writer only.

fsspec promises no atomic create: its own ones look first and write then, and so does this backend. It is right as long as
one process at a time writes, one save after another; any number may read.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Any

from fsspec.core import url_to_fs

from artifactfs.backends import local_files as files
from artifactfs.backends.base import Abilities, Entry, Got, Page, Placement, Stat, Unfinished, Written
from artifactfs.codecs.base import Bytes
from artifactfs.errors import AccessDenied, ArtifactError, BackendError, BackendUnavailable, InvalidConfig, InvalidName

_MISSING = (FileNotFoundError, NotADirectoryError)
_TIMES = ("mtime", "LastModified", "last_modified", "modified", "updated", "created")
"""Where filesystems keep an object's time, the best first."""


class GenericBackend:
    """Any fsspec URL, chained ones too, for one writer: nothing here is decided by the store.

    A put may be seen half written where the filesystem writes in place. A listing is read whole and given as one page.

    Raises:
        InvalidConfig: fsspec knows no such URL, or its package is not installed, or it refuses the options.
    """

    identity = ""
    placement: Placement = "thread"
    abilities: Abilities | None = Abilities("ignored", "ignored", "ignored")
    max_segment: int | None = None
    max_key: int | None = None

    def __init__(self, url: str, *, options: Mapping[str, Any] | None = None) -> None:
        """Open the folder that *url* names; *options* are the filesystem's own."""
        self.url = re.sub(r"://[^/@]+@", "://", url)
        self._opened: tuple[int, Any, str] | None = None
        self._source = (url, dict(options or {}))
        _ = self._fs

    # writes

    async def create(self, key: str, data: bytes, content_type: str) -> Written:
        """Look whether *key* is there, and store *data* if not."""
        with self._mapped(key):
            if self._info(key) is not None:
                return Written(False)
            self._pipe(key, data)
        return Written(True)

    async def upload(self, key: str, content_type: str) -> GenericUpload:
        """Begin a streamed create: a temporary file that `commit` moves to its name."""
        folder, _, _ = key.rpartition("/")
        temporary = f"{folder}/{files.temporary()}".lstrip("/")
        with self._mapped(key):
            stream = self._in_folder(temporary, lambda path: self._fs.open(path, "wb"))
        return GenericUpload(self, key, temporary, stream)

    async def put(self, key: str, data: bytes, content_type: str, *, once: bool = False) -> Written:
        """Store *data* over whatever is there."""
        with self._mapped(key):
            self._pipe(key, data)
        return Written(True)

    async def replace(self, key: str, data: bytes, content_type: str, tag: str) -> Written:
        """Look whether the object is the one that *tag* names, and store *data* if so."""
        stat = await self.stat(key)
        if stat is None or stat.tag != tag:
            return Written(False)
        return await self.put(key, data, content_type)

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects, and the folders that became empty by it."""
        folders: set[str] = set()
        for key in keys:
            with self._mapped(key):
                if self._info(key) is not None:
                    self._remove(key)
                    folders.add(key.rpartition("/")[0])
        for folder in folders:
            self._prune(folder)

    # reads

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Got | None:
        """An object or a range of it; a short one is read whole, for its tag."""
        with self._mapped(key):
            info = self._info(key)
            if info is None:
                return None
            size, modified = info.get("size"), _modified(info)
            path = self._path(key)
            try:
                if size is None or size <= files.DIGESTED:
                    whole: bytes = self._fs.cat_file(path)
                    tag = files.digest(whole) or f"{len(whole)}-{modified}"
                    return Got(whole[start:end], len(whole), modified, tag)
                end = size if end is None else min(end, size)
                data: bytes = self._fs.cat_file(path, start=start, end=end) if start < end else b""
            except _MISSING:
                return None
            return Got(data, size, modified, f"{size}-{modified}")

    async def stat(self, key: str) -> Stat | None:
        """Size, time and tag, or None; the time is 0 where the filesystem keeps none."""
        got = await self.get(key, 0, 0)
        return got and Stat(got.size, got.modified, got.tag)

    async def list(
        self, folder: str, after: str = "", *, deep: bool = False, limit: int = 1000, newest: bool = False
    ) -> Page:
        """The whole rest of the listing as one page."""
        with self._mapped(folder):
            found = dict(self._walk(folder) if deep else self._children(folder))
        if not deep and "/" in after:
            after = after.partition("/")[0] + "/"
        names = sorted(name for name in found if name > after and not name.startswith(".") and "/." not in name)
        return Page(
            tuple(
                Entry(name, found[name].get("size") or 0, _modified(found[name])) for name in names if name[-1] != "/"
            ),
            tuple(name[:-1] for name in names if name[-1] == "/"),
            None,
        )

    async def unfinished(self, folder: str) -> Sequence[Unfinished]:
        """Temporary files below *folder*; one that the filesystem does not date is as new as can be."""
        with self._mapped(folder):
            return [
                Unfinished(folder + name, _modified(info) or time.time(), folder + name)
                for name, info in self._walk(folder)
                if name.rpartition("/")[2].startswith(files.TEMPORARY)
            ]

    async def discard(self, upload: Unfinished) -> None:
        """Remove a temporary file, and the folders that became empty by it."""
        if upload.token.rpartition("/")[2].startswith(files.TEMPORARY):
            with self._mapped(upload.key):
                self._drop(upload.token)

    async def now(self) -> float:
        """This machine's clock: fsspec knows no other."""
        return time.time()

    async def sign(self, key: str, seconds: int) -> str:
        """The filesystem's own signed URL, where it has such."""
        with self._mapped(key):
            return str(self._fs.sign(self._path(key), expiration=seconds))

    async def probe(self, folder: str) -> Abilities:
        """Nothing is guaranteed, so nothing needs to be tried."""
        return Abilities("ignored", "ignored", "ignored")

    async def close(self) -> None:
        """Keep everything: fsspec shares and ends its filesystems itself."""

    # the filesystem

    @property
    def _fs(self) -> Any:
        """The filesystem; a forked child opens its own, since fsspec's do not outlive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            url, options = self._source
            try:
                fs, root = url_to_fs(url, **options)
            except (ValueError, TypeError, AttributeError, ImportError) as error:
                raise InvalidConfig(f"fsspec cannot open {self.url}: {error}", store=self.url) from error
            except Exception as error:  # noqa: BLE001 - some connect here, by a library of their own
                self._fail(error, "")
            if not root or root == getattr(fs, "path", None):  # fsspec's `dir` is below that path already
                root = ""
            self._opened = (os.getpid(), fs, root.rstrip("/"))
        return self._opened[1]

    def _path(self, key: str) -> str:
        if key.startswith("../") or "/../" in key or key.endswith("/.."):
            raise InvalidName(f"key {key!r} leads out of {self.url}", store=self.url)
        root = self._opened[2] if self._opened else ""
        return f"{root}/{key}" if root or self._fs.root_marker else key

    def _info(self, key: str) -> dict[str, Any] | None:
        """What the filesystem says of an object, never out of a cache; None where there is none, or a folder.

        Not `exists`, which takes any failure for a no.
        """
        self._fs.invalidate_cache()
        try:
            info: dict[str, Any] = self._fs.info(self._path(key))
        except _MISSING:
            return None
        return info if info["type"] == "file" else None

    def _pipe(self, key: str, data: bytes) -> None:
        self._in_folder(key, lambda path: self._fs.pipe_file(path, bytes(data)))

    def _in_folder(self, key: str, act: Any) -> Any:
        """Do *act* with the path of *key*; where it fails for want of the folder, make that and do it again."""
        path = self._path(key)
        folder = path.rpartition("/")[0]
        try:
            return act(path)
        except Exception:
            self._fs.invalidate_cache()
            if not folder or self._fs.isdir(folder):
                raise
        self._fs.makedirs(folder, exist_ok=True)
        return act(path)

    def _children(self, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """What one folder holds, hidden names too; a folder's name with its slash."""
        path = self._path(folder).rstrip("/")
        self._fs.invalidate_cache()
        try:
            infos = self._fs.ls(path or self._fs.root_marker, detail=True)
        except _MISSING:
            return
        for info in infos:
            parent, _, name = info["name"].rstrip("/").rpartition("/")
            if name and parent.lstrip("/") == path.lstrip("/"):  # else the folder itself, or a file of its name
                yield (name if info["type"] == "file" else name + "/"), info

    def _walk(self, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """All files below *folder*, hidden ones too. Not `find`, which leaves out what it failed to list."""
        for name, info in self._children(folder):
            if name[-1] != "/":
                yield name, info
            else:
                for below, inside in self._walk(folder + name):
                    yield name + below, inside

    def _remove(self, key: str) -> None:
        try:
            self._fs.rm_file(self._path(key))
        except _MISSING:
            pass

    def _drop(self, temporary: str) -> None:
        """Remove a temporary file, and the folders that are empty without it."""
        if self._info(temporary) is not None:
            self._remove(temporary)
        self._prune(temporary.rpartition("/")[0])

    def _prune(self, folder: str) -> None:
        """Remove *folder* and its parents as far as they are empty; one that cannot be removed stays."""
        while folder:
            try:
                if next(self._children(folder + "/"), None) is not None:
                    return
                self._fs.rmdir(self._path(folder))
            except Exception:  # noqa: BLE001 - an object store has no folders to remove, and says so in many ways
                return
            folder = folder.rpartition("/")[0]

    @contextmanager
    def _mapped(self, key: str) -> Iterator[None]:
        try:
            yield
        except ArtifactError:
            raise
        except Exception as error:  # noqa: BLE001 - each filesystem raises what its library raises
            self._fail(error, key)

    def _fail(self, error: Exception, key: str) -> Any:
        """Raise what tells the user what to do about *error*, whatever library it comes from."""
        where = f"{key!r} in {self.url}"
        code = error.errno if isinstance(error, OSError) else None
        kind: type[ArtifactError] = BackendError
        if code in (errno.ENOSPC, errno.EDQUOT):
            text = (
                f"the store is full: there is no room for {where}; free some space or raise the quota, then save again"
            )
        elif isinstance(error, PermissionError) or code == errno.EROFS:
            kind, text = AccessDenied, f"no permission for {where}; check the credentials and who may write there"
        elif code == errno.ENAMETOOLONG:
            kind, text = InvalidName, f"the encoded name is too long for the store: {where}; use a shorter name"
        elif isinstance(error, NotImplementedError):
            text = f"{self.url} cannot do what is asked of {key!r}: its filesystem does not implement it"
        elif isinstance(error, ConnectionError | TimeoutError):
            kind, text = (
                BackendUnavailable,
                f"no connection for {where}; check its address and the network, then try again",
            )
        else:
            text = f"the filesystem failed for {where}; its own error follows"
        failed = kind(f"{text} ({type(error).__name__}: {error})", store=self.url)
        if isinstance(failed, OSError) and code is not None:
            failed.errno = code
        raise failed from error


class GenericUpload:
    """A streamed create into a temporary file; what is buffered is up to the filesystem."""

    def __init__(self, backend: GenericBackend, key: str, temporary: str, stream: IO[bytes]) -> None:
        self._backend = backend
        self._key = key
        self._temporary = temporary
        self._stream = stream
        self._ended = False

    async def write(self, data: Bytes) -> None:
        """Append *data*."""
        with self._backend._mapped(self._key):
            self._stream.write(bytes(data))  # the filesystem may keep it, or know nothing but bytes

    async def commit(self) -> Written:
        """Look whether the key is there, and move the file to it if not."""
        backend = self._backend
        with backend._mapped(self._key):
            if not self._stream.closed:
                self._stream.close()
            if backend._info(self._key) is not None:
                return Written(False)
            if self._ended or backend._info(self._temporary) is None:
                raise BackendError(
                    f"the upload of {self._key!r} to {backend.url} was ended before its commit; save again",
                    store=backend.url,
                )
            backend._fs.mv(backend._path(self._temporary), backend._path(self._key))
        self._ended = True
        return Written(True)

    async def abort(self) -> None:
        """Remove the temporary file, and the folders that are empty without it."""
        if self._ended:
            return
        self._ended = True
        with self._backend._mapped(self._key):
            if not self._stream.closed:
                self._stream.close()
            self._backend._drop(self._temporary)


def _modified(info: dict[str, Any]) -> float:
    """Seconds since the epoch, of whatever form the filesystem gives; 0 where it gives none."""
    for name in _TIMES:
        value = info.get(name)
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                continue
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, int | float):
            return float(value)
    return 0.0
