"""Objects as files below a folder of this machine; threads and processes may share it.

A file is written under a temporary name (``.tmp-…``: no encoded segment starts with a dot) in the folder where it
belongs and then linked to its own name, so that it is there whole or not at all, and only for one of many writers.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal, NoReturn

from artifactfs.backends import local_files as files
from artifactfs.backends import local_listing as listing
from artifactfs.backends.base import Abilities, Entry, Got, Page, Placement, Stat, Unfinished, Written
from artifactfs.codecs.base import Bytes
from artifactfs.errors import (
    AccessDenied,
    ArtifactError,
    BackendError,
    BackendUnavailable,
    InvalidConfig,
    InvalidName,
    UnsafeBackend,
)

Durability = Literal["fsync", "none"]

_LOCK = ".lock"
BEGIN = 2 * 1024 * 1024
"""Bytes after which a stream that is to be synced begins to go to the disk, while the rest is still to come."""

_TRIES = 1000
"""How often a folder is made again that others remove in the very moment."""

_WRITTEN = Written(True)
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_REMOVED = {errno.ENOENT, errno.ESTALE}
"""What an open folder says that was removed in this very moment, over NFS by another machine."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


class LocalBackend:
    """A folder. Creates and commits are atomic by `os.link`; put, replace and delete exclude each other by a file lock.

    With ``durability="fsync"`` an acknowledged write outlives a power cut: file, folder and newly made parents are
    synced. With ``"none"`` it outlives only the process. Files and folders honour the umask.

    Raises:
        InvalidConfig: *path* is a file, or *durability* is unknown.
    """

    identity = ""
    placement: Placement = "thread"
    abilities: Abilities | None = Abilities("atomic", "atomic", "atomic")

    def __init__(
        self, path: str | os.PathLike[str], *, durability: Durability = "fsync", read_only: bool = False
    ) -> None:
        """Open the folder *path* (``file:///dir``, ``./dir``, ``~/dir``); the first write makes it.

        *read_only*: nothing is touched to ask for the time.
        """
        text = os.fspath(path)
        for scheme in ("file://", "local://"):
            text = text.removeprefix(scheme)
        root = os.path.abspath(os.path.expanduser(text))
        self.url = f"file://{root}"
        if durability not in ("fsync", "none"):
            raise InvalidConfig(f"durability is {durability!r}; it may be 'fsync' or 'none'", store=self.url)
        if os.path.exists(root) and not os.path.isdir(root):
            raise InvalidConfig(
                f"{root} is a file; give the path of a folder, which need not exist yet", store=self.url
            )
        self._root, self._read_only = root, read_only
        self._base = root.rstrip("/") + "/"
        self._sync = durability == "fsync"
        there = root
        while not os.path.isdir(there):
            there = os.path.dirname(there)
        self.max_segment: int | None = files.limit(there, "PC_NAME_MAX", 255)
        longest = files.limit(there, "PC_PATH_MAX", 4096) - len(os.fsencode(self._base)) - len(files.temporary()) - 2
        self.max_key: int | None = max(longest, 0)

    # writes

    async def create(self, key: str, data: bytes, content_type: str) -> Written:
        """Store *data* whole under *key* unless it is there."""
        final = self._path(key)
        folder, _, name = final.rpartition("/")
        try:
            at, fd, temporary = self._begin(folder)
            try:
                try:
                    # Spares a loser what takes long; the link decides.
                    done = not (self._sync and os.access(name, os.F_OK, dir_fd=at))
                    if done:
                        files.write_all(fd, data)
                        if self._sync:
                            os.fsync(fd)
                finally:
                    os.close(fd)
                if done:
                    done = files.publish(temporary, name, at)
            except BaseException:
                os.close(at)
                self._drop(f"{folder}/{temporary}")
                raise
            try:
                if not done:
                    files.unlink(temporary, at)
                    return self._exists(final, key)
                self._settle(key, folder, temporary, at)
            finally:
                os.close(at)
        except OSError as error:
            self._fail(error, key)
        return Written(True, 1, files.digest(data)) if len(data) <= files.TOLD else _WRITTEN

    async def upload(self, key: str, content_type: str) -> LocalUpload:
        """Begin a streamed create: a temporary file that `commit` links to its name."""
        final = self._path(key)
        try:
            fd, temporary = self._open_temporary(os.path.dirname(final))
        except OSError as error:
            self._fail(error, key)
        return LocalUpload(self, key, final, temporary, fd)

    async def put(self, key: str, data: bytes, content_type: str, *, once: bool = False) -> Written:
        """Store *data* over whatever is there; no answer is ever lost."""
        final = self._path(key)
        try:
            folder = os.path.dirname(final)
            temporary = self._write(folder, data)
            try:
                with self._locked():
                    os.replace(temporary, final)
            except BaseException:
                self._drop(temporary)
                raise
            self._settle(key, folder)
        except OSError as error:
            self._fail(error, key)
        return Written(True, tag=files.digest(data))

    async def replace(self, key: str, data: bytes, content_type: str, tag: str) -> Written:
        """Store *data* if the file there is the one that *tag* names; a file of the same bytes counts as the same."""
        final = self._path(key)
        folder = os.path.dirname(final)
        try:
            if self._tag(final) != tag:
                return Written(False)
            temporary = self._write(folder, data)
            try:
                with self._locked():
                    if done := self._tag(final) == tag:
                        os.replace(temporary, final)
            except BaseException:
                self._drop(temporary)
                raise
            if not done:
                self._drop(temporary)
                return Written(False)
            self._settle(key, folder)
        except OSError as error:
            self._fail(error, key)
        return Written(True, tag=files.digest(data))

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove these files, and the folders that became empty by it."""
        paths = [self._path(key) for key in keys]
        folders: set[str] = set()
        path = self._base
        try:
            with self._locked():
                for path in paths:
                    try:
                        os.unlink(path)
                    except OSError as error:
                        if error.errno not in files.ABSENT and not os.path.isdir(path):
                            raise
                    else:
                        folders.add(os.path.dirname(path))
            for folder in folders:
                self._sync_folder(self._prune(folder))
        except OSError as error:
            if error.errno not in files.ABSENT:  # no root: there was nothing to delete
                self._fail(error, path[len(self._base) :])

    # reads

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Got | None:
        """The bytes of one file as it was at one instant, or a range of them."""
        try:
            fd = os.open(self._path(key), files.READ)
            try:
                return files.read(fd, start, end)
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno in files.ABSENT:
                return None
            self._fail(error, key)

    async def stat(self, key: str) -> Stat | None:
        """Size, time and tag, or None. A small file is read for its tag."""
        got = await self.get(key, 0, 0)
        return got and Stat(got.size, got.modified, got.tag)

    async def list(
        self, folder: str, after: str = "", *, deep: bool = False, limit: int = 1000, newest: bool = False
    ) -> Page:
        """One page; a folder without any file below it is not shown."""
        path = self._path(folder).rstrip("/")
        entries: list[Entry] = []
        folders: list[str] = []
        last = after
        if not deep and "/" in after:
            after = after.partition("/")[0] + "/"
        tally = listing.Tally()
        try:
            if newest and (page := listing.newest(path)) is not None:
                return page
            for name, item in listing.walk(path, "", after, tally) if deep else listing.level(path, after, tally):
                if name <= after:  # the folder that the page before ended with
                    continue
                if len(entries) + len(folders) >= tally.most(limit):
                    return Page(tuple(entries), tuple(folders), last)
                if name[-1] != "/":
                    try:
                        stat = item.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    entries.append(Entry(name, stat.st_size, stat.st_mtime))
                elif listing.holds_a_file(f"{path}/{name}"):
                    folders.append(name[:-1])
                else:
                    continue
                last = name
        except OSError as error:
            self._fail(error, folder)
        return Page(tuple(entries), tuple(folders), None)

    async def unfinished(self, folder: str) -> Sequence[Unfinished]:
        """Temporary files below *folder*, by the time of their last write; `key` is the temporary file's own."""
        found: list[Unfinished] = []
        pending = [self._path(folder)]
        try:
            while pending:
                for item in files.scan(pending.pop()):
                    if item.is_dir(follow_symlinks=False):
                        pending.append(item.path)
                    elif item.name.startswith(files.TEMPORARY):
                        with suppress(FileNotFoundError):
                            key = item.path[len(self._base) :]
                            stat = item.stat(follow_symlinks=False)
                            found.append(Unfinished(key, stat.st_mtime, key, stat.st_size))
        except OSError as error:
            self._fail(error, folder)
        return found

    async def discard(self, upload: Unfinished) -> None:
        """Remove a temporary file, and the folders that became empty by it."""
        folder, _, name = upload.token.rpartition("/")
        path = self._path(folder)
        try:
            if name.startswith(files.TEMPORARY):
                self._drop(os.path.join(path, name))
        except OSError as error:
            self._fail(error, upload.key)

    async def now(self) -> float:
        """The file system's clock (a server's, on a network share), as the root's own time shows it.

        That of this machine where the root may not be touched.
        """
        if self._read_only:
            return time.time()
        try:
            os.utime(self._root)
            return os.stat(self._root).st_mtime
        except OSError:  # not made yet, or not ours to write
            return time.time()

    async def sign(self, key: str, seconds: int) -> str:
        """Raise `BackendError`: a folder serves nobody."""
        raise BackendError(
            f"{self.url} is a local folder and cannot sign a URL for {key!r}; read the artifact instead", store=self.url
        )

    async def probe(self, folder: str) -> Abilities:
        """All atomic, by link and lock; a file system that has neither is refused by the write itself."""
        return Abilities("atomic", "atomic", "atomic")

    async def close(self) -> None:
        """Keep nothing open: there is nothing to give back."""

    # the disk

    def _path(self, key: str) -> str:
        if key.startswith(".") or "/." in key:
            raise InvalidName(
                f"key {key!r} has a segment that starts with a dot, which no name encodes to", store=self.url
            )
        return self._base + key

    def _exists(self, final: str, key: str) -> Written:
        """The answer of a create that found something, which may be a folder of another program."""
        if os.path.isdir(final):
            self._fail(IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), final), key)
        return Written(False)

    def _tag(self, path: str) -> str | None:
        try:
            fd = os.open(path, files.READ)
        except OSError as error:
            if error.errno in files.ABSENT:
                return None
            raise
        try:
            got = files.read(fd, 0, 0)
        finally:
            os.close(fd)
        return got and got.tag

    def _open_temporary(self, folder: str) -> tuple[int, str]:
        """A new file in *folder*, which is made where it is missing; the file keeps others from removing it."""
        at, fd, name = self._begin(folder)
        os.close(at)
        return fd, f"{folder}/{name}"

    def _begin(self, folder: str) -> tuple[int, int, str]:
        """*folder*, opened, and a new file in it with its name; as `_open_temporary`."""
        name = files.temporary()
        for _ in range(_TRIES):
            try:
                at = os.open(folder, files.FOLDER)
            except FileNotFoundError:
                self._make(folder)
                continue
            try:
                return at, os.open(name, files.NEW, 0o666, dir_fd=at), name
            except BaseException as error:
                os.close(at)
                if isinstance(error, FileExistsError):  # of a copy of this process, as a restored snapshot is
                    name = files.temporary()
                elif not (isinstance(error, OSError) and error.errno in _REMOVED):
                    raise
        raise OSError(errno.EBUSY, "other programs keep removing the folder", folder)

    def _write(self, folder: str, data: bytes) -> str:
        """A temporary file of these bytes, on the disk; nothing is left where that fails."""
        fd, path = self._open_temporary(folder)
        try:
            try:
                files.write_all(fd, data)
                if self._sync:
                    os.fsync(fd)
            finally:
                os.close(fd)
        except BaseException:
            self._drop(path)
            raise
        return path

    def _settle(self, key: str, folder: str, temporary: str = "", at: int | None = None) -> None:
        """Finish a write that everybody sees already. Where that fails the caller must not take it for undone."""
        try:
            if temporary:
                files.unlink(temporary, at)
            if at is None:
                self._sync_folder(folder)
            elif self._sync:
                os.fsync(at)
        except OSError as error:
            raise BackendUnavailable(
                f"{key!r} in {self.url} is written, but the disk would not confirm it ({error.strerror}); "
                "check the disk, then whether it is there",
                store=self.url,
                landed=True,
            ) from error

    def _drop(self, temporary: str) -> None:
        """Remove a temporary file, and the folders that are empty without it."""
        files.unlink(temporary)
        self._prune(os.path.dirname(temporary))

    def _make(self, folder: str) -> None:
        """Make *folder* and its missing parents; one that others make meanwhile is as durable as what is put into it."""
        try:
            os.mkdir(folder)
        except FileExistsError:
            return
        except FileNotFoundError:
            self._make(os.path.dirname(folder))
            with suppress(FileExistsError, FileNotFoundError):  # the latter: removed again; the caller tries again
                os.mkdir(folder)
        self._sync_folder(os.path.dirname(folder))

    def _sync_folder(self, folder: str) -> None:
        """Bring a folder's names to the disk; one that is gone meanwhile holds nothing to be kept."""
        if self._sync:
            try:
                fd = os.open(folder, files.FOLDER)
            except FileNotFoundError:
                return
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def _prune(self, folder: str) -> str:
        """Remove *folder* and its parents as far as they are empty; give back the first that stays."""
        while len(folder) > len(self._root):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError:  # not empty, or not ours to remove: it stays
                return folder
            folder = os.path.dirname(folder)
        return self._root

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Exclude all other put, replace and delete of this store, in whatever thread or process."""
        fd = os.open(self._base + _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno in _NO_LOCKS:
                    raise UnsafeBackend(
                        f"the file system of {self.url} has no file locks, so writers could overwrite each other; "
                        "put the store on one that has",
                        store=self.url,
                    ) from error
                raise
            try:
                yield
            finally:
                # Not left to close: a child forked meanwhile shares this descriptor and would go on holding the lock.
                fcntl.flock(fd, fcntl.LOCK_UN)
        finally:
            os.close(fd)

    def _fail(self, error: OSError, key: str) -> NoReturn:
        """Raise what tells the user what to do about *error*; an error of this library stays itself."""
        if isinstance(error, ArtifactError):
            raise error
        where = f"{key!r} in {self.url}" if key else self.url
        kind: type[ArtifactError] = BackendError
        if error.errno in _FULL:
            text = f"disk full: there is no room for {where}; free some space or raise the quota, then try again"
        elif error.errno in _DENIED:
            kind = AccessDenied
            text = f"no permission for {where} ({error.strerror}); check the owner and mode of the folder and its mount"
        elif error.errno == errno.ENAMETOOLONG:
            kind = InvalidName
            text = f"the encoded name is too long for the file system: {where}; use a shorter name"
        elif error.errno == errno.ENOTDIR:
            text = f"a file stands where a folder is needed for {where}; move that file away"
        elif error.errno == errno.EISDIR:
            text = f"a folder stands in the place of {where}; move that folder away"
        elif error.errno == errno.ELOOP:
            text = f"a symbolic link stands in the place of {where}; put the file itself there"
        else:
            text = f"the disk failed for {where}: {error.strerror or error}; check the disk and its mount"
        failed = kind(text, store=self.url)
        if isinstance(failed, OSError):
            failed.errno = error.errno
        raise failed from error


class LocalUpload:
    """A streamed create into a temporary file, of which nothing is held in memory."""

    def __init__(self, backend: LocalBackend, key: str, final: str, temporary: str, fd: int) -> None:
        self._backend = backend
        self._key = key
        self._final = final
        self._temporary = temporary
        self._fd: int | None = fd
        self._size = self._begun = 0  # bytes written, and those whose way to the disk has begun
        self._lock = threading.Lock()  # a closed descriptor's number is given to the next file that is opened

    async def write(self, data: Bytes) -> None:
        """Append *data*."""
        try:
            with self._lock:
                fd = self._open()
                files.write_all(fd, data)
                self._size += len(data)
                if self._backend._sync and self._size - self._begun >= BEGIN:
                    files.begin_sync(fd, self._begun, self._size)
                    self._begun = self._size
        except OSError as error:
            self._backend._fail(error, self._key)

    async def commit(self) -> Written:
        """Link the file to its name if no object is there; it is dated by this moment."""
        with self._lock:
            return self._commit()

    def _commit(self) -> Written:
        backend, fd = self._backend, self._open()
        try:
            os.utime(fd)
            if backend._sync:
                os.fsync(fd)
            try:
                done = files.publish(self._temporary, self._final)
            except FileNotFoundError as error:
                raise self._ended() from error
            if not done:
                return backend._exists(self._final, self._key)
            self._close()
            backend._settle(self._key, os.path.dirname(self._final), self._temporary)
        except OSError as error:
            backend._fail(error, self._key)
        return Written(True)

    async def abort(self) -> None:
        """Remove the temporary file, and the folders that are empty without it."""
        with self._lock:
            if self._fd is None:
                return
            self._close()
        try:
            self._backend._drop(self._temporary)
        except OSError as error:
            self._backend._fail(error, self._key)

    def _open(self) -> int:
        if self._fd is None:
            raise self._ended()
        return self._fd

    def _ended(self) -> BackendError:
        url = self._backend.url
        return BackendError(f"the upload of {self._key!r} to {url} was ended before its commit; save again", store=url)

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
