"""Looking at what lies in a store: `info`, listings, `find`, `glob`, and what tells one state of a file from another."""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import suppress
from datetime import datetime
from threading import get_ident
from typing import Any

from fsspec.spec import AbstractFileSystem
from fsspec.utils import stringify_path

from artifactfs.filesystem.base import Base, operation
from artifactfs.filesystem.tree import (
    Node,
    below,
    file_info,
    folder_info,
    is_a_folder,
    look,
    may_be_folder,
    nothing,
    of_a_file,
    resolve,
    scope_of,
)
from artifactfs.protocol.ops import Steps
from artifactfs.refs import Ref, spell_pattern

FEW = 16
"""Artifacts that are looked at one by one, where all keys of their folder would have to be listed otherwise."""


class Looking(Base):
    """The part of the filesystem that changes nothing and reads no bytes. Listings come from the store each time."""

    @operation
    def info(self, path: Any, **kwargs: Any) -> Steps[dict[str, Any]]:
        """Of an artifact: name, size (bytes; None of a pointer to what has no known size), type, version, created and mtime
        (UTC), mime_type, sha256 (None where another program wrote the version, and where it is sealed), and the record. Of a
        folder: name, size 0 and type.

        Raises:
            FileNotFoundError: nothing is there.
            InvalidRef: a version is selected, and a folder is there.
        """
        ref, caller = self._ref(path), get_ident()  # now: what follows a request may run in a loop's thread
        info = yield from self._looked(ref)
        if info["type"] == "file":
            self._recent.tell(ref.path, caller)
        return info

    @operation
    def exists(self, path: Any, **kwargs: Any) -> Steps[bool]:
        return (yield from self._kind(self._ref(path))) is not None

    @operation
    def isfile(self, path: Any) -> Steps[bool]:
        """Whether an artifact is there. An `info` that this thread has made a moment ago is believed."""
        ref = self._ref(path)
        return self._recent.just_told(ref.path) or (yield from self._kind(ref)) == "file"

    @operation
    def isdir(self, path: Any) -> Steps[bool]:
        """Whether a folder is there, and no artifact of that very name."""
        return (yield from self._kind(self._ref(path))) == "directory"

    def _looked(self, ref: Ref) -> Steps[dict[str, Any]]:
        self._recent.forget()
        info = yield from look(self._core, ref)
        if ref.name is not None and info["type"] == "file":
            self._recent.note(scope_of(self._core, ref).artifact(ref.name), info["record"])
        return info

    def _kind(self, ref: Ref) -> Steps[str | None]:
        try:
            info = yield from self._looked(ref)
        except FileNotFoundError:
            return None
        return str(info["type"])

    @operation
    def created(self, path: Any) -> Steps[datetime]:
        """When the selected version was saved, UTC."""
        ref, _ = self._file(path)
        info = yield from look(self._core, ref)
        if info["type"] != "file":
            raise is_a_folder(ref)
        moment: datetime = info["created"]
        return moment

    modified = created

    def checksum(self, path: Any) -> int:
        """A number that is the same for the same bytes, from their digest."""
        return int(hashlib.sha256(self.ukey(path).encode()).hexdigest()[:32], 16)

    def ukey(self, path: Any) -> str:
        """A text that is the same for the same bytes: their digest, where the version has one."""
        info = self.info(path)
        if info["type"] != "file":
            return super().ukey(path)  # type: ignore[no-any-return]
        return str(info["sha256"] or f"{info['name']} {info['version']} {info['size']} {info['created'].isoformat()}")

    @operation
    def sign(self, path: Any, expiration: int = 100, **kwargs: Any) -> Steps[str]:
        """A URL that anyone may GET the version's bytes from for *expiration* seconds, where the store below has such.

        Raises:
            BackendError: it has none (memory, local folders).
        """
        ref, name = self._file(path)
        sign = scope_of(self._core, ref).sign(name, ref.version, expiration)
        return (yield from of_a_file(self._core, ref, sign))

    @operation
    def ls(self, path: Any, detail: bool = True, *, sizes: bool = True, **kwargs: Any) -> Steps[list[Any]]:
        """What lies directly in a folder, or an artifact's own entry where there is no folder.

        With *detail* the record of each artifact is read; without *sizes* no record, and sizes are None.

        Raises:
            FileNotFoundError: nothing is there.
            InvalidRef: a version is selected, and a folder is there.
        """
        ref = self._ref(path)
        nodes: list[Node] = []
        if ref.name is None or may_be_folder(ref):
            nodes = yield from below(self._core, ref, 1, records=detail and sizes)
        if not nodes and ref.name is not None:
            info = yield from look(self._core, ref)
            return [info] if detail else [info["name"]]
        if not nodes and ref.app is not None:
            raise nothing(ref)
        if not detail:
            return sorted({node.path for node in nodes})
        nodes.sort(key=lambda node: node.is_file)
        return [_told(node) for node in nodes]

    def walk(
        self, path: Any, maxdepth: int | None = None, topdown: bool = True, on_error: Any = "omit", **kwargs: Any
    ) -> Iterator[Any]:
        """As fsspec's; without ``detail=True`` no record is read. A folder that is gone is left out, not one that cannot
        be listed.
        """
        kwargs.setdefault("sizes", kwargs.get("detail", False))
        return AbstractFileSystem.walk(  # type: ignore[no-any-return]
            self, path, maxdepth, topdown, _omit_missing if on_error == "omit" else on_error, **kwargs
        )

    async def _walk(
        self, path: Any, maxdepth: int | None = None, topdown: bool = True, on_error: Any = "omit", **kwargs: Any
    ) -> AsyncIterator[Any]:
        kwargs.setdefault("sizes", kwargs.get("detail", False))
        on_error = _omit_missing if on_error == "omit" else on_error
        if not topdown:
            kwargs["topdown"] = False
        async for level in super()._walk(path, maxdepth=maxdepth, on_error=on_error, **kwargs):
            yield level

    @operation
    def find(
        self,
        path: Any,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        *,
        sizes: bool = True,
        wanted: Collection[str] | None = None,
        **kwargs: Any,
    ) -> Steps[Any]:
        """All artifacts below a folder; an artifact's own path where there is no folder; nothing where nothing is.

        A list of paths, from one listing for a thousand names; or with *detail* a dict of what `info` says of each, from
        one listing for a thousand keys and one record for each artifact, or for each that is *wanted*.
        """
        if maxdepth is not None and maxdepth < 1:
            raise ValueError(f"maxdepth is {maxdepth}; it must be at least 1")
        ref = self._ref(path)
        found: dict[str, Node] = {}
        if ref.name is None or may_be_folder(ref):
            nodes = yield from below(self._core, ref, maxdepth, records=detail and sizes, wanted=wanted)
            for node in nodes:
                if node.is_file or (withdirs and node.path not in found):
                    found[node.path] = node
            if found and withdirs and ref.app is not None:
                found[ref.path] = Node(ref.path)
        if not found and ref.name is not None:
            with suppress(FileNotFoundError, IsADirectoryError):
                content = yield from resolve(self._core, self._recent, ref)
                found[ref.path] = Node(ref.path, True, content.record)
        if not detail:
            return sorted(found)
        return {path: _told(found[path]) for path in sorted(found)}

    async def _glob(self, path: Any, maxdepth: int | None = None, *, detail: bool = False, **kwargs: Any) -> Any:
        """As fsspec's, over the spelling that listings return. Only with *detail* records are read."""
        text = stringify_path(path)
        pattern = spell_pattern(self._strip_protocol(text)) + ("/" if text.endswith("/") else "")
        found = await super()._glob(pattern, maxdepth, detail=True, sizes=False, **kwargs)
        if not detail:
            return list(found)
        files = {path for path, info in found.items() if info["type"] == "file"}
        if len(files) <= FEW:
            infos = await asyncio.gather(*map(self._info_or_none, files))
            found.update(zip(files, infos, strict=True))
        else:
            base = posixpath.commonpath(files)
            infos = await self._find(posixpath.dirname(base) if base in files else base, detail=True, wanted=files)
            found = {path: infos.get(path) if path in files else info for path, info in found.items()}
        return {path: info for path, info in found.items() if info is not None}

    async def _info_or_none(self, path: str) -> dict[str, Any] | None:
        try:
            info: dict[str, Any] = await self._info(path)
        except FileNotFoundError:
            return None
        return info

    async def _du(self, path: Any, total: bool = True, maxdepth: int | None = None, **kwargs: Any) -> Any:
        """Bytes of the newest versions; 0 of a pointer to what has no known size."""
        infos = await self._find(path, maxdepth, detail=True, **kwargs)
        sizes = {path: info["size"] or 0 for path, info in infos.items()}
        return sum(sizes.values()) if total else sizes


def _omit_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _told(node: Node) -> dict[str, Any]:
    """What a listing says of a node; of an artifact whose record was not read little can be said."""
    if not node.is_file:
        return folder_info(node.path)
    if node.record is None:
        return {"name": node.path, "size": None, "type": "file"}
    return file_info(node.path, node.record)
