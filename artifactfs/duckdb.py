"""duckdb over ``artifact://``: each file that a query names is one version, from the first look at it to the last row.

duckdb opens a file three or four times for one query, and would mix versions if one were saved in between. But it asks
what a path or a glob pattern stands for just once, before it opens anything, and then opens what it was told: so the
answer names versions by their numbers, and nothing of a query's text needs to be understood.
"""

from __future__ import annotations

import io
import os
import re
import threading
from typing import Any, Protocol, TypeVar

from fsspec.spec import AbstractFileSystem

from artifactfs.errors import Conflict
from artifactfs.filesystem import ArtifactFileSystem
from artifactfs.filesystem.reader import ArtifactReader
from artifactfs.filesystem.writer import ArtifactWriter
from artifactfs.pins import pinned
from artifactfs.refs import SCHEME

_KNOWN = 10_000
"""Pinned versions whose size and time are remembered, so that duckdb's questions about them cost no request."""

_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_BESIDE = "tmp_"
"""What duckdb puts before the name of a target that is there already."""


class _Connection(Protocol):
    def filesystem_is_registered(self, name: str) -> bool: ...
    def register_filesystem(self, filesystem: AbstractFileSystem) -> None: ...
    def unregister_filesystem(self, name: str) -> None: ...


_C = TypeVar("_C", bound=_Connection)


def register(connection: _C, root: str | os.PathLike[str] | None = None, **storage_options: Any) -> _C:
    """Let a connection, and all others to its database, read and write ``artifact://``; the connection, for chaining.

    Each file that a query names is read from one version: the one that is newest, or that its selector means, when the
    query is bound. A view looks again for each query, a relation each time it runs.

    A ``COPY … TO`` makes a version once all of it was written, and none if the query fails. A ``COPY`` of which duckdb
    does not tell whether it failed is refused: ``PER_THREAD_OUTPUT``, ``FILE_SIZE_BYTES``, ``USE_TMP_FILE false`` and
    a name without an extension. The exception is ``PARTITION_BY``: if that fails, each part that duckdb had begun may
    become a version, cut off where the query ended. Do not read such parts; write them again.

    *root* and *storage_options* are those of `ArtifactFileSystem`. A second call replaces the first one's. The module
    ``duckdb`` itself may be given, for its default connection.
    """
    if connection.filesystem_is_registered(_PinningFileSystem.protocol):
        connection.unregister_filesystem(_PinningFileSystem.protocol)
    own = ArtifactFileSystem(root, skip_instance_cache=True, **storage_options)  # for transactions are of an instance
    connection.register_filesystem(_PinningFileSystem(own))
    return connection


class _PinningFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """What duckdb asks of a filesystem: artifacts by the numbers of their versions, and new ones once they are whole.

    duckdb closes what it wrote in the same way whether its query failed or not. But where the target is there already
    it writes to ``tmp_<name>``, and moves that if it did not fail. So every target is said to be
    there, and what duckdb takes for that other file is the target's own next version, published when it is "moved".
    """

    protocol = "artifact"
    cachable = False

    def __init__(self, fs: ArtifactFileSystem) -> None:
        super().__init__()
        self._fs = fs
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] = {}
        self._folders: set[str] = set()
        self._beside: dict[str, str] = {}
        self._drafts: dict[str, ArtifactWriter] = {}

    # reading

    def glob(self, path: str, **kwargs: Any) -> list[str]:
        found = pinned(self._fs, path)
        with self._lock:
            self._known.update(found)
            for old in list(self._known)[: max(0, len(self._known) - _KNOWN)]:
                del self._known[old]
        return list(found)

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        known = self._known.get(_path(path))
        info: dict[str, Any] = known if known is not None else self._fs.info(path)
        return info

    def modified(self, path: str) -> Any:
        return self.info(path)["mtime"]

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """duckdb asks what is in the folder that it made for the parts of a table; folders need no making."""
        try:
            found: list[Any] = self._fs.ls(path, detail)
        except FileNotFoundError:
            return []
        return found

    def isdir(self, path: str) -> bool:
        self._folders.add(_path(path))
        there: bool = self._fs.isdir(path)
        return there

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """Nothing: a folder is there where something lies in it."""

    # writing

    def isfile(self, path: str) -> bool:
        """Whether duckdb is to write beside a target and then move.

        The truth is told of a name without an extension, which may be that of a folder for the parts of a table, and
        of a part with a UUID: to append some, duckdb makes up names until one is free.
        """
        path = _path(path)
        folder, _, name = path.rpartition("/")
        if "." not in name or (folder in self._folders and _UUID.search(name)):
            return bool(self._fs.isfile(path))
        self._beside[f"{folder}/{_BESIDE}{name}"] = path
        return True

    def open(self, path: str, mode: str = "rb", *args: Any, **kwargs: Any) -> Any:
        path = _path(path)
        if mode == "rb":
            return _SharedReader(self._fs.open(path, mode, *args, **kwargs))
        folder, _, name = path.rpartition("/")
        target = self._beside.pop(path, None)
        self._beside.pop(f"{folder}/{_BESIDE}{name}", None)  # duckdb asks about every file, and moves few
        if mode == "wb" and target is not None:
            return self._draft(path, target)
        if mode == "wb" and "=" in folder.rpartition("/")[2]:  # a part of a partitioned table
            return self._fs._open(path, mode)
        raise io.UnsupportedOperation(
            f"duckdb would not tell whether {name} is whole: COPY to one name with an extension, without"
            " PER_THREAD_OUTPUT, FILE_SIZE_BYTES and USE_TMP_FILE false, or with PARTITION_BY to a folder"
        )

    def _draft(self, path: str, target: str) -> ArtifactWriter:
        with self._lock:
            left = self._drafts.get(path)
            if left is not None and not left.closed:
                raise _at_once(target)
            # Not by `open`, which would keep it for the end of a transaction.
            draft = self._fs._open(target, "wb", autocommit=False)
            assert isinstance(draft, ArtifactWriter)
            self._drafts[path] = draft
        if left is not None:  # of a query that failed
            left.discard()
        return draft

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        with self._lock:
            draft = self._drafts.pop(_path(path1), None)
            if draft is not None and not draft.closed:
                self._drafts[_path(path1)] = draft
                raise _at_once(path2)
        if draft is None:
            self._fs.mv(path1, path2)
        else:
            draft.commit()

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        draft = self._drafts.pop(_path(path), None)
        if draft is None:
            self._fs.rm(path, recursive, maxdepth)
        else:
            draft.discard()


class _SharedReader:
    """A version that duckdb's threads read at the same time.

    They share one file, and each first moves to a place and then reads there: in between, others have moved. So a thread
    reads where it moved to itself; where it has not, it reads on from where the last read ended.
    """

    def __init__(self, file: ArtifactReader) -> None:
        self._file = file
        self._own = threading.local()
        self._place = 0
        self._read_on = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + (0, self._place, self._file.size)[whence]
        self._own.move = (self._place, self._read_on)
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, size: int = -1) -> bytes:
        place, read_on = getattr(self._own, "move", (0, -1))
        self._own.move = (0, -1)
        if read_on != self._read_on:
            place = self._place
            self._read_on += 1
        end = self._file.size if size < 0 else min(place + size, self._file.size)
        data: bytes = self._file._fetch_range(place, end) if place < end else b""
        self._place = place + len(data)
        return data

    def close(self) -> None:
        self._file.close()


def _at_once(target: str) -> Conflict:
    return Conflict(f"another COPY of this database writes to {target} at the same time; let one follow the other")


def _path(url: str) -> str:
    return url.removeprefix(SCHEME)
