"""Reading bytes: whole artifacts, slices of them, files that are opened, and copies on the local disk."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from functools import partial
from glob import has_magic
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from uuid import uuid4

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.utils import isfilelike

from artifactfs.async_files import AsyncArtifactReader
from artifactfs.content import Content
from artifactfs.errors import IntegrityError
from artifactfs.filesystem.base import Base, operation
from artifactfs.filesystem.local_names import local_as
from artifactfs.filesystem.tree import of_a_file, piece, refuse_part, scope_of
from artifactfs.protocol.ops import Steps, together
from artifactfs.records import Blob
from artifactfs.sources import PIECE
from artifactfs.waiting import in_thread

T = TypeVar("T")


class Reading(Base):
    """The part of the filesystem that reads bytes. What is read at once, or from one open file, is of one version."""

    @operation
    def cat_file(self, path: Any, start: int | None = None, end: int | None = None, **kwargs: Any) -> Steps[bytes]:
        """The bytes of an artifact, checked against its digest; or a slice of them, as ``data[start:end]``."""
        if start is None and end is None:
            ref, name = self._file(path)
            refuse_part(ref)
            load = scope_of(self._core, ref).load(name, ref.version)
            return (yield from of_a_file(self._core, ref, load)).data
        return (yield from _slice((yield from self._version(path)), start, end))

    def cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **kwargs: Any) -> Any:
        """The bytes of one artifact; or of all that *path*, a list or a pattern, stands for, by their paths."""
        if isinstance(path, str) and on_error == "raise" and not recursive and not has_magic(path):
            return self.cat_file(path, **kwargs)
        return self._blocking(self._cat, path, recursive=recursive, on_error=on_error, **kwargs)

    @operation
    def cat_ranges(
        self,
        paths: list[Any],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> Steps[list[Any]]:
        """Slices of artifacts, read at the same time. All slices of one path are of one version."""
        if not isinstance(paths, list):
            raise TypeError(f"paths must be a list, not {type(paths).__name__}")
        starts = list(starts) if isinstance(starts, Iterable) else [starts] * len(paths)
        ends = list(ends) if isinstance(ends, Iterable) else [ends] * len(paths)
        if not len(starts) == len(ends) == len(paths):
            raise ValueError(f"{len(paths)} paths, {len(starts)} starts and {len(ends)} ends do not go together")
        distinct = list(dict.fromkeys(paths))
        found = yield from together(*(_or_error(self._version(path)) for path in distinct))
        versions = dict(zip(distinct, found, strict=True))

        def one(path: Any, start: int | None, end: int | None) -> Steps[bytes]:
            found = versions[path]
            if isinstance(found, Exception):
                raise found
            return (yield from _slice(found, start, end))

        out = yield from together(
            *(_or_error(one(path, start, end)) for path, start, end in zip(paths, starts, ends, strict=True))
        )
        if on_error != "return":
            for answer in out:
                if isinstance(answer, Exception):
                    raise answer
        return list(out)

    async def _reader(self, path: Any) -> AsyncArtifactReader:
        return AsyncArtifactReader(await self._arun(self._version(path)))

    async def _get(self, rpath: Any, lpath: Any, *args: Any, **kwargs: Any) -> Any:
        """As fsspec's. A local file that is named after its artifact has the artifact's name, however paths spell that."""
        return await super()._get(rpath, lpath, *args, as_named=not isinstance(lpath, (list, tuple)), **kwargs)

    async def _get_file(
        self, rpath: Any, lpath: Any, callback: Any = DEFAULT_CALLBACK, *, as_named: bool = False, **kwargs: Any
    ) -> None:
        """Write an artifact's bytes to a local file, which is there once they all are and fit their digest.

        *lpath* may be an open file. A folder of artifacts becomes a local folder.
        """
        if as_named:
            spelled, lpath = lpath, local_as(rpath, lpath)
            for folder in Path(spelled).parents:  # fsspec has made them
                if folder in Path(lpath).parents:
                    break
                with suppress(OSError):
                    folder.rmdir()
        try:
            reader = await self._reader(rpath)
        except IsADirectoryError:
            os.makedirs(lpath, exist_ok=True)
            return
        callback.set_size(reader.record.size_bytes)
        if isfilelike(lpath):
            await _copy(reader, lpath, callback)
            return
        goal = Path(lpath).resolve()  # through a link, as any write goes
        if goal.exists() and not goal.is_file() and not goal.is_dir():  # a device or a pipe stays one
            with goal.open("wb") as file:
                await _copy(reader, file, callback)
            return
        if goal.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a local folder is where the artifact was to be written", str(goal))
        goal.parent.mkdir(parents=True, exist_ok=True)
        partly = goal.with_name(f".{uuid4().hex}.partly")
        try:
            with partly.open("xb") as file:
                await _copy(reader, file, callback)
            partly.replace(goal)
        except BaseException:
            with suppress(FileNotFoundError):
                partly.unlink()
            raise


def _slice(content: Content, start: int | None, end: int | None) -> Steps[bytes]:
    (data,) = yield (piece(content, start, end),)
    return cast("bytes", data)


def _or_error(steps: Steps[T]) -> Steps[T | Exception]:
    """The result, or what was raised that is about this one alone."""
    try:
        return (yield from steps)
    except (OSError, ValueError) as error:
        return error


async def pieces(reader: AsyncArtifactReader) -> AsyncIterator[bytes]:
    """All bytes of a version, checked against its digest when the last of them has been given; sealed ones before.

    Raises:
        IntegrityError: they do not fit their digest, and what was made of them is to be thrown away.
    """
    digest = hashlib.sha256()
    while data := await reader.read(PIECE):
        await in_thread(partial(digest.update, data))
        yield data
    record = reader.record
    wanted = record.sha256 if isinstance(record, Blob) and not record.encryption else None
    if wanted is not None and digest.hexdigest() != wanted:
        raise IntegrityError(
            f"the payload of version {reader.record.version} of {reader.record.filename!r} does not match its record: it "
            "was altered after it was saved; other versions are not affected"
        )


async def _copy(reader: AsyncArtifactReader, file: BinaryIO, callback: Any) -> None:
    async for data in pieces(reader):
        await in_thread(partial(file.write, data))
        callback.relative_update(len(data))
