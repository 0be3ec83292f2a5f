"""Making versions, and taking artifacts out of view; in a transaction all of it waits for its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.utils import stringify_path

from artifactfs.async_files import AsyncArtifactReader
from artifactfs.filesystem.base import Later
from artifactfs.filesystem.local_names import spelled_as
from artifactfs.filesystem.reading import Reading, pieces
from artifactfs.filesystem.sinks import Whole
from artifactfs.filesystem.tree import folder_instead, is_a_folder, nothing
from artifactfs.refs import Ref
from artifactfs.sources import PIECE
from artifactfs.waiting import in_thread

AT_ONCE = 16
"""Artifacts that a recursive `rm` or `mv` takes away at the same time."""


class Writing(Reading):
    """The part of the filesystem that changes something. No version is ever changed, and none is lost."""

    def pipe_file(
        self,
        path: Any,
        value: Any,
        mode: str = "overwrite",
        *,
        mime_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Save *value* as the next version; with ``mode="create"`` only where the artifact does not exist."""
        if self._intrans:
            self._blocking(self._pipe_file, path, value, mode, mime_type=mime_type, metadata=metadata)
            return
        ref, name = self._target(path)
        self._scope(ref).save(name, value, mime_type=mime_type, metadata=metadata, expect=_expected(mode))

    async def _pipe_file(
        self,
        path: Any,
        value: Any,
        mode: str = "overwrite",
        *,
        mime_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        ref, name = self._target(path)
        save = partial(self._ascope(ref).save, name, mime_type=mime_type, metadata=metadata, expect=_expected(mode))
        if self._intrans:
            self._later(partial(save, bytes(value) if isinstance(value, (bytearray, memoryview)) else value))
        else:
            await save(value)

    async def _put_file(
        self,
        lpath: Any,
        rpath: Any,
        callback: Any = DEFAULT_CALLBACK,
        mode: str = "overwrite",
        *,
        mime_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Save a local file as the next version; a local folder has nothing to save.

        Where *rpath* ends as the local path does, that end is the name as it is, whatever it looks like.
        """
        local = Path(stringify_path(lpath))
        if local.is_dir():
            return
        self._strip_protocol(rpath)
        ref, name = self._target(spelled_as(local, stringify_path(rpath)))
        callback.set_size(local.stat().st_size)
        if self._intrans:
            sink = Whole(self._scope(ref), name, mime_type, metadata, _expected(mode))
            await in_thread(partial(_keep, local, sink))
            self.transaction.files.append(Later(sink.close, sink.discard))
            callback.absolute_update(local.stat().st_size)
        else:
            saved = await self._ascope(ref).save(
                name, local, mime_type=mime_type, metadata=metadata, expect=_expected(mode)
            )
            callback.absolute_update(saved.size_bytes)

    async def _cp_file(self, path1: Any, path2: Any, *, moves: _Moves | None = None, **kwargs: Any) -> None:
        """Save a version's bytes, MIME type and metadata as the next version of another artifact, or of its own."""
        try:
            reader = await self._reader(path1)
        except IsADirectoryError:
            return  # fsspec's recursive copy comes by folders, too
        goal, _ = self._target(path2)
        if moves is not None:
            moves.seen = True
            source, _ = self._target(path1)
            if _plain(source) == _plain(goal):
                return
        if self._intrans:
            self._later(partial(self._save_again, reader, path2))
        else:
            await self._save_again(reader, path2)
        if moves is not None:
            moves.copied.append(path1)

    async def _save_again(self, reader: AsyncArtifactReader, path: Any) -> None:
        ref, name = self._target(path)
        record = reader.record
        await self._ascope(ref).save(name, pieces(reader), mime_type=record.mime_type, metadata=record.metadata)

    def touch(self, path: Any, truncate: bool = True, **kwargs: Any) -> None:
        """Make an empty version; without *truncate*, one with the newest one's bytes where the artifact exists."""
        self._target(path)
        if self._intrans:
            self._later(partial(self._touch, path, truncate))
        else:
            self._blocking(self._touch, path, truncate)

    async def _touch(self, path: Any, truncate: bool) -> None:
        if not truncate and await self._isfile(path):
            await self._save_again(await self._reader(path), path)
        else:
            ref, name = self._target(path)
            await self._ascope(ref).save(name, b"")

    # taking away

    async def _rm_file(self, path: Any, **kwargs: Any) -> None:
        """Take an artifact out of view. Its versions stay readable by their numbers, and the next save brings it back."""
        self._target(path)
        if self._intrans:
            self._later(partial(self._take_away, path))
        else:
            await self._take_away(path)

    async def _take_away(self, path: Any) -> None:
        ref, name = self._target(path)
        try:
            await self._ascope(ref).remove(name)
        except FileNotFoundError:
            if await self._arun(folder_instead(self._core, ref)):
                raise is_a_folder(ref) from None
            raise
        finally:
            self._recent.forget(everywhere=True)

    async def _rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any) -> None:
        """`rm_file` of each path or glob; with *recursive* also of all that lies below it."""
        for one in await self._expand_path(path):
            if recursive:
                if not await self._remove(await self._all_of(one, maxdepth)):
                    raise nothing(self._ref(one))
            else:
                await self._rm_file(one)

    async def _all_of(self, path: str, maxdepth: int | None = None) -> list[str]:
        """The artifact of that name, should there be one, and all below it."""
        ref = self._ref(path)
        files: list[str] = await self._find(path, maxdepth)
        return files if ref.name is None or ref.path in files else [*files, ref.path]

    async def _remove(self, files: list[str]) -> bool:
        """Take these out of view, those that are there; whether one was. In a transaction, at its end."""
        if self._intrans:
            self._later(partial(self._take_away_all, files))
            return True
        return await self._take_away_all(files)

    async def _take_away_all(self, files: list[str]) -> bool:
        async def remove(path: str) -> bool:
            try:
                await self._take_away(path)
            except (FileNotFoundError, IsADirectoryError):
                return False
            return True

        done: list[bool] = []
        for start in range(0, len(files), AT_ONCE):
            done += await asyncio.gather(*map(remove, files[start : start + AT_ONCE]))
        return any(done)

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any) -> None:
        """Copy, then remove: the history stays under the old name, and the new name goes on with the newest version.

        What someone else saves under the old name in between goes out of view with it, and can be read by its number.
        """
        path1, path2 = stringify_path(path1), stringify_path(path2)
        self._blocking(self._mv, path1, path2, recursive=recursive, maxdepth=maxdepth, **kwargs)

    async def _mv(
        self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any
    ) -> None:
        moves = _Moves()
        await self._copy(path1, path2, recursive=recursive, maxdepth=maxdepth, on_error="raise", moves=moves, **kwargs)
        if not moves.seen:
            await self._rm_file(path1)  # a folder, or nothing: says so
        await self._remove(moves.copied)


class _Moves:
    """What a move has copied, and is to take away then; *seen*: whether it came upon any artifact."""

    def __init__(self) -> None:
        self.copied: list[str] = []
        self.seen = False


def _plain(ref: Ref) -> Ref:
    """The artifact alone, without what is selected of it."""
    return replace(ref, selector=None, view=False)


def _expected(mode: str) -> Literal["absent"] | None:
    if mode not in {"overwrite", "create"}:
        raise ValueError(f"mode is {mode!r}; it may be 'overwrite' or 'create'")
    return "absent" if mode == "create" else None


def _keep(local: Path, sink: Whole) -> None:
    try:
        with local.open("rb") as file:
            while data := file.read(PIECE):
                sink.write(data)
    except BaseException:
        sink.discard()
        raise
