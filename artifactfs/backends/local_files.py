"""Files written whole, published for one of many, read and listed: what the local backend asks of the system."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import stat as modes
from collections.abc import Sequence
from contextlib import suppress

from artifactfs.backends.base import Got
from artifactfs.codecs.base import Bytes
from artifactfs.errors import UnsafeBackend

TEMPORARY = ".tmp-"
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # the last: a pipe that stands in the tree must not block a reader
ABSENT = {errno.ENOENT, errno.ENOTDIR}
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
FOLDER = os.O_RDONLY | os.O_DIRECTORY

DIGESTED = 256 * 1024
"""Bytes. The tag of a file up to this size (any record) is a digest: two writes within one tick of the clock may get
the same inode number and time. A longer one, which nobody rewrites, is named by its inode, time and size."""

TOLD = 1000
"""Bytes. Whoever creates an object of up to this size (hardly a record is longer) is told its tag; others may ask."""


def limit(folder: str, name: str, default: int) -> int:
    """Bytes that the file system allows, or *default* where it says nothing."""
    try:
        limit = os.pathconf(folder, name)
    except (OSError, ValueError):
        return default
    return limit if limit > 0 else default


_own = TEMPORARY + os.urandom(8).hex()
_count = itertools.count()


def temporary() -> str:
    """A name that no other file has: of this process, as a fork makes it another, and of this call."""
    return f"{_own}{next(_count):08x}"


def _forked() -> None:
    global _own
    _own = TEMPORARY + os.urandom(8).hex()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def unlink(path: str, at: int | None = None) -> None:
    try:
        os.unlink(path, dir_fd=at)
    except FileNotFoundError:
        pass


def write_all(fd: int, data: Bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def begin_sync(fd: int, start: int, end: int) -> None:
    """Let the system begin to write these bytes to the disk, where it takes such advice; nothing waits for it."""
    if hasattr(os, "posix_fadvise"):  # Linux begins with what is dirty of the bytes that are said to be needed no more
        with suppress(OSError):  # advice that a file system does not take must not fail a save
            os.posix_fadvise(fd, start, end - start, os.POSIX_FADV_DONTNEED)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if len(data) <= DIGESTED else ""


class Whole(Got):
    """A small object, read whole. Its tag is made when it is asked for, which of a payload nobody does."""

    __slots__ = ()

    @property
    def tag(self) -> str:
        return digest(self.data)


def read(fd: int, start: int, end: int | None) -> Got | None:
    """A range of an open file, with its size, time and tag; None where it is no file. No file is ever written again."""
    stat = os.fstat(fd)
    if not modes.S_ISREG(stat.st_mode):
        return None
    size = stat.st_size
    if size <= DIGESTED:
        whole = _pread(fd, size, 0)
        if start == 0 and (end is None or end >= size):
            return Whole(whole, size, stat.st_mtime, "")
        return Got(whole[start:end], size, stat.st_mtime, digest(whole))
    data = _pread(fd, (size if end is None else min(end, size)) - start, start)
    return Got(data, size, stat.st_mtime, f"{stat.st_ino}-{stat.st_mtime_ns}-{size}")


def _pread(fd: int, length: int, start: int) -> bytes:
    """Up to *length* bytes from *start*; one call of the system may give fewer than there are (2 GiB at most)."""
    if length <= 0:
        return b""
    data = os.pread(fd, length, start)
    if len(data) == length or not data:
        return data
    parts = [data]
    got = len(data)
    while got < length and (data := os.pread(fd, length - got, start + got)):
        parts.append(data)
        got += len(data)
    return b"".join(parts)


def publish(temporary: str, final: str, at: int | None = None) -> bool:
    """Give a temporary file its name if nothing has it; False where something has. The temporary name may stay.

    The two are paths, or names in the open folder *at*.
    """
    try:
        os.link(temporary, final, src_dir_fd=at, dst_dir_fd=at)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _rename_new(temporary, final, at, error)
    return True


def _rename_new(temporary: str, final: str, at: int | None, cause: OSError) -> bool:
    """`publish` for a file system without hard links, by Linux' ``renameat2`` with ``RENAME_NOREPLACE``."""
    import ctypes

    no_replace = 1
    folder = -100 if at is None else at  # AT_FDCWD
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None:
        if renameat2(folder, os.fsencode(temporary), folder, os.fsencode(final), no_replace) == 0:
            return True
        code = ctypes.get_errno()
        if code == errno.EEXIST:
            return False
        if code not in {*NO_LINKS, errno.EINVAL}:
            raise OSError(code, os.strerror(code), final)
    raise UnsafeBackend(
        f"the file system of {final} has neither hard links nor a rename that spares what is there, so savers would "
        "overwrite each other; put the store on another one (ext4, xfs, btrfs, zfs, apfs, tmpfs)"
    ) from cause


def scan(path: str) -> Sequence[os.DirEntry[str]]:
    """What is in a folder; nothing where it is missing or vanishes."""
    try:
        with os.scandir(path) as items:
            return list(items)
    except OSError as error:
        if error.errno in ABSENT:
            return ()
        raise
