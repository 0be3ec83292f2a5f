"""Files written whole, published for one of many, read and listed: what the local backend asks of the system."""

from __future__ import annotations

import errno
import hashlib
import os
import stat as modes
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

from artifactfs.backends.base import Got
from artifactfs.errors import UnsafeBackend

TEMPORARY = ".tmp-"
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # the last: a pipe that stands in the tree must not block a reader
ABSENT = {errno.ENOENT, errno.ENOTDIR}
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}

DIGESTED = 256 * 1024
"""Bytes. The tag of a file up to this size (any record) is a digest: two writes within one tick of the clock may get
the same inode number and time. A longer one, which nobody rewrites, is named by its inode, time and size."""


def limit(folder: str, name: str, default: int) -> int:
    """Bytes that the file system allows, or *default* where it says nothing."""
    try:
        limit = os.pathconf(folder, name)
    except (OSError, ValueError):
        return default
    return limit if limit > 0 else default


def temporary_in(folder: str) -> str:
    return f"{folder}/{TEMPORARY}{os.urandom(12).hex()}"


def unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def write_all(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def digest(data: bytes) -> str:
    return hashlib.sha256(data, usedforsecurity=False).hexdigest() if len(data) <= DIGESTED else ""


def read(fd: int, start: int, end: int | None) -> Got | None:
    """A range of an open file, with its size, time and tag; None where it is no file. No file is ever written again."""
    stat = os.fstat(fd)
    if not modes.S_ISREG(stat.st_mode):
        return None
    size = stat.st_size
    if size <= DIGESTED:
        whole = _pread(fd, size, 0)
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


def publish(temporary: str, final: str) -> bool:
    """Give a temporary file its name if nothing has it; False where something has. The temporary name may stay."""
    try:
        os.link(temporary, final)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _rename_new(temporary, final, error)
    return True


def _rename_new(temporary: str, final: str, cause: OSError) -> bool:
    """`publish` for a file system without hard links, by Linux' ``renameat2`` with ``RENAME_NOREPLACE``."""
    import ctypes

    at_cwd, no_replace = -100, 1
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None:
        if renameat2(at_cwd, os.fsencode(temporary), at_cwd, os.fsencode(final), no_replace) == 0:
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


def level(path: str, low: str) -> Iterator[tuple[str, os.stat_result]]:
    """Files and folders of one folder in order, a folder's name with its slash, from *low* on.

    A folder that *low* lies in is among them. Only what is taken from the iterator is looked at on the disk: a folder
    of 20,000 files costs little more than its names. The order of code points is that of UTF-8 bytes.
    """
    head, slash, _ = low.partition("/")
    inside = head if slash else ""
    try:
        names = os.listdir(path or "/")
    except OSError as error:
        if error.errno in ABSENT:
            return
        raise
    folders: list[tuple[str, os.stat_result]] = []  # a heap: behind a folder `a` still come `a!` and `a.b`
    for name in sorted([name for name in names if name[0] != "." and (name + "/" > low or name == inside)]):
        while folders and folders[0][0] < name:
            yield heappop(folders)
        try:
            stat = os.stat(f"{path}/{name}", follow_symlinks=False)
        except FileNotFoundError:
            continue
        if modes.S_ISDIR(stat.st_mode):
            heappush(folders, (name + "/", stat))
        elif modes.S_ISREG(stat.st_mode) and name > low:
            yield name, stat
    while folders:
        yield heappop(folders)


def walk(path: str, prefix: str, after: str) -> Iterator[tuple[str, os.stat_result]]:
    """All files below a folder whose paths sort behind *after*, in order."""
    low = after[len(prefix) :] if after.startswith(prefix) else ""
    for name, stat in level(path, low):
        if name[-1] == "/":
            yield from walk(f"{path}/{name[:-1]}", prefix + name, after)
        else:
            yield prefix + name, stat


def holds_a_file(path: str) -> bool:
    """Whether any visible file lies below; a folder of a crashed or running write holds none."""
    folders = []
    try:
        with os.scandir(path) as items:
            for item in items:
                if item.name[0] != ".":
                    if item.is_file(follow_symlinks=False):
                        return True
                    if item.is_dir(follow_symlinks=False):
                        folders.append(item.path)
    except OSError as error:
        if error.errno not in ABSENT:
            raise
    return any(map(holds_a_file, folders))
