"""``artifact://`` for fsspec: artifacts as files, names with slashes as folders (docs/spec.md, "References").

Paths are those that `artifactfs.refs.Ref` reads and prints; what listings return can be given back as it is. Listings
come from the store each time. `rm` takes an artifact out of view and keeps its history.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.compression import compr
from fsspec.core import get_compression
from fsspec.spec import AbstractFileSystem
from fsspec.utils import stringify_path

from artifactfs.errors import ArtifactNotFound, Conflict, InvalidConfig, InvalidRef
from artifactfs.filesystem_files import Append, ArtifactReader, ArtifactWriter, Compressed, Sink, refuse_mode
from artifactfs.filesystem_tree import (
    at_once,
    describe,
    file_info,
    folder_info,
    folder_instead,
    has,
    is_a_folder,
    may_be_folder,
    nothing,
    scope_of,
    stat,
    tree,
)
from artifactfs.refs import SCHEME, Ref, Version, spell_pattern
from artifactfs.store import ArtifactStore, Scope

# What fsspec itself may hand to any filesystem, and a store does not know.
_FSSPEC_OPTIONS = ("asynchronous", "loop", "use_listings_cache", "listings_expiry_time", "max_paths")

_T = TypeVar("_T")


class ArtifactFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """The artifacts of a store, as files.

    The store is the one that the URL is chained over (``artifact://shop/alice/s1/report.csv@1::s3://bucket/prefix``),
    else *root*, else the environment variable ``ARTIFACTFS_URL``. All other options are the store's.

    >>> fs = ArtifactFileSystem("memory://tour")
    >>> with fs.open("shop/alice/s1/notes.txt", "w") as f:
    ...     _ = f.write("first")
    >>> fs.cat("shop/alice/s1/notes.txt@0")
    b'first'

    Raises:
        InvalidConfig: no store is named, or two are.
    """

    protocol = "artifact"

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        fo: str | None = None,
        target_protocol: str | None = None,
        target_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self._root = None if root is None else os.fspath(root)
        self._options = {name: value for name, value in options.items() if name not in _FSSPEC_OPTIONS}
        self._stores: dict[str, ArtifactStore] = {}
        if target_protocol is not None:
            chained = _chained(target_protocol, fo or "", target_options or {})
            if self._root not in (None, chained):
                raise InvalidConfig(
                    "the store is named twice: by the chained URL and by the option root; leave one out"
                )
            self._root = chained
            self._options = {**(target_options or {}), **self._options}

    @property
    def store(self) -> ArtifactStore:
        """The store below, opened when it is first needed."""
        url = self._root or os.environ.get("ARTIFACTFS_URL")
        if not url:
            raise InvalidConfig(
                "no store is named for artifact://: chain the URL over one (artifact://…::s3://bucket/prefix), give "
                "storage_options={'root': …}, or set ARTIFACTFS_URL"
            )
        found = self._stores.get(url)
        return found if found is not None else self._stores.setdefault(url, ArtifactStore(url, **self._options))

    # paths

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """The path of a URL. Nothing is decoded: fsspec calls this any number of times on one path."""
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        path = stringify_path(path)
        return path.removeprefix(SCHEME).removeprefix("artifact::").strip("/")

    def _ref(self, path: Any) -> Ref:
        return Ref.parse(self._strip_protocol(path))

    def _named(self, path: Any) -> tuple[Ref, str]:
        ref = self._ref(path)
        if ref.name is None:
            raise is_a_folder(ref)
        return ref, ref.name

    def _target(self, path: Any) -> tuple[Scope, str]:
        """Where something is to be written or taken away: the newest of an artifact, never a version."""
        ref, name = self._named(path)
        if ref.version not in (None, "latest"):
            raise InvalidRef(
                f"{ref} is one version, which never changes; write to {replace(ref, selector=None, view=False)} instead"
            )
        return scope_of(self.store, ref), name

    # looking

    def info(self, path: Any, **kwargs: Any) -> dict[str, Any]:
        """Of an artifact: name, size (bytes), type, version, created and mtime (UTC), mime_type, and sha256, which is
        None where another program wrote the version. Of a folder: name, size 0 and type.

        Raises:
            FileNotFoundError: nothing is there.
            InvalidRef: a version is selected, and a folder is there.
        """
        ref = self._ref(path)
        if ref.name is not None:
            try:
                return file_info(ref.path, stat(self.store, ref))
            except FileNotFoundError:
                if not folder_instead(self.store, ref):
                    raise
        elif not has(self.store, ref):
            raise nothing(ref)
        return folder_info(ref.path)

    def exists(self, path: Any, **kwargs: Any) -> bool:
        return self._type(path) is not None

    def isfile(self, path: Any) -> bool:
        return self._type(path) == "file"

    def isdir(self, path: Any) -> bool:
        """Whether a folder is there, and no artifact of that very name."""
        return self._type(path) == "directory"

    def _type(self, path: Any) -> str | None:
        try:
            kind: str = self.info(path)["type"]
        except FileNotFoundError:
            return None
        return kind

    def created(self, path: Any) -> datetime:
        """When the selected version was saved, UTC."""
        info = self.info(path)
        if info["type"] != "file":
            raise is_a_folder(self._ref(path))
        moment: datetime = info["created"]
        return moment

    modified = created

    def ls(self, path: Any, detail: bool = True, *, sizes: bool = True, **kwargs: Any) -> list[Any]:
        """What lies directly in a folder, or an artifact's own entry where there is no folder.

        One listing of names, and with *detail* a record for each artifact; without *sizes* those are None instead.

        Raises:
            FileNotFoundError: nothing is there.
            InvalidRef: a version is selected, and a folder is there.
        """
        ref = self._ref(path)
        found = list(tree(self.store, ref, 1)) if ref.name is None or may_be_folder(ref) else []
        if not found and ref.name is not None:
            info = self.info(path)
            return [info] if detail else [info["name"]]
        if not found and ref.app is not None:
            raise nothing(ref)
        if not detail:
            return sorted({name for name, _ in found})
        folders = [folder_info(name) for name, file in found if file is None]
        files = [(name, file) for name, file in found if file is not None]
        return folders + describe(self.store, files, sizes=sizes)

    def walk(self, path: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """As fsspec's; without ``detail=True`` no record is read."""
        kwargs.setdefault("sizes", kwargs.get("detail", False))
        return super().walk(path, *args, **kwargs)  # type: ignore[no-any-return]

    def find(
        self,
        path: Any,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        *,
        sizes: bool = True,
        **kwargs: Any,
    ) -> Any:
        """All artifacts below a folder, from one listing of names for each session; an artifact's own path where there
        is no folder; nothing where nothing is. A list of paths, or with *detail* a dict of what `info` says of each.
        """
        if maxdepth is not None and maxdepth < 1:
            raise ValueError(f"maxdepth is {maxdepth}; it must be at least 1")
        ref = self._ref(path)
        found: dict[str, Ref | None] = {}
        if ref.name is None or may_be_folder(ref):
            for name, file in tree(self.store, ref, maxdepth):
                if file is not None or withdirs:
                    found[name] = file or found.get(name)
            if found and withdirs and ref.app is not None:
                found[ref.path] = None
        if not found and ref.name is not None and self.isfile(path):
            found[ref.path] = ref
        if not detail:
            return sorted(found)
        infos = {name: folder_info(name) for name, file in found.items() if file is None}
        files = [(name, file) for name, file in found.items() if file is not None]
        infos.update((info["name"], info) for info in describe(self.store, files, sizes=sizes))
        return dict(sorted(infos.items()))

    def glob(self, path: Any, maxdepth: int | None = None, *, detail: bool = False, **kwargs: Any) -> Any:
        """As fsspec's, over the spelling that listings return. Only with *detail* records are read."""
        text = stringify_path(path)
        pattern = spell_pattern(self._strip_protocol(text)) + ("/" if text.endswith("/") else "")
        found = super().glob(pattern, maxdepth, detail=True, sizes=False, **kwargs)
        if not detail:
            return list(found)
        infos = {name: info for name, info in found.items() if info["type"] == "directory"}
        files = [(name, self._ref(name)) for name in found if name not in infos]
        infos.update((info["name"], info) for info in describe(self.store, files, sizes=True))
        return dict(sorted(infos.items()))

    # reading

    def open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: dict[str, Any] | None = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """A file: ``rb`` one version, the same until it is closed; ``wb`` a new one; ``xb`` the first one; ``ab`` the
        newest one's bytes and then more. Text modes and *compression* as fsspec's. Of a writer, ``mime_type`` and
        ``metadata`` may be given.

        A version is made by closing the file (`ArtifactWriter` says when not).

        Raises:
            FileNotFoundError, IsADirectoryError: opened for reading, and nothing or a folder is there.
            FileExistsError: ``xb``, and the artifact is there, at the opening or at the end.
            InvalidRef: a version is opened for writing, or a tag is selected.
        """
        if compression is not None:
            compression = get_compression(self._ref(path).name or "", compression)
        if compression is None or "r" in mode:
            return super().open(path, mode, block_size, cache_options, compression, **kwargs)
        texts = {key: kwargs.pop(key) for key in ("encoding", "errors", "newline") if key in kwargs}
        target = super().open(path, mode[0] + "b", **kwargs)
        file = Compressed(compr[compression](target, mode=mode[0]), target)
        return file if "b" in mode else io.TextIOWrapper(file, **texts)

    def _open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        *,
        cache_type: str | None = None,
        size: int | None = None,
        mime_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> ArtifactReader | ArtifactWriter:
        if mode == "rb":
            ref = self._ref(path)
            source = self._read(path, lambda scope, name, version: scope.open(name, "rb", version))
            return ArtifactReader(self, ref.path, source, file_info(ref.path, source.record), block_size)
        if mode not in {"wb", "xb", "ab"}:
            refuse_mode(mode)
        scope, name = self._target(path)
        start = 0
        if mode != "wb":
            try:
                start = scope.stat(name).size_bytes or 0
            except ArtifactNotFound:
                pass
            else:
                if mode == "xb":
                    raise Conflict(f"{self._ref(path)} exists already; mode 'wb' makes its next version")
        sink: Sink
        if mode == "ab":
            sink = Append(scope, name, mime_type, metadata)
        else:
            sink = scope.open(
                name, "wb", mime_type=mime_type, metadata=metadata, expect="absent" if mode == "xb" else None
            )
        return ArtifactWriter(self, self._ref(path).path, mode, sink, autocommit=autocommit, start=start)

    def open_version(self, path: str, version: int, block_size: int) -> ArtifactReader:
        """The reader of a version whose number is known: what an unpickled reader is made from."""
        ref, name = self._named(path)
        source = scope_of(self.store, ref).open(name, "rb", version)
        return ArtifactReader(self, ref.path, source, file_info(ref.path, source.record), block_size)

    def _read(self, path: Any, read: Callable[[Scope, str, Version | None], _T]) -> _T:
        ref, name = self._named(path)
        try:
            return read(scope_of(self.store, ref), name, ref.version)
        except FileNotFoundError:
            if folder_instead(self.store, ref):
                raise is_a_folder(ref) from None
            raise

    def cat_file(self, path: Any, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """The bytes of an artifact, checked against its digest; or a slice of them, as ``data[start:end]``."""
        if start is None and end is None:
            return self._read(path, lambda scope, name, version: scope.load(name, version).data)
        with self._read(path, lambda scope, name, version: scope.open(name, "rb", version)) as source:
            return _slice(source, start, end)

    def cat_ranges(
        self,
        paths: list[Any],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """Slices of artifacts. All slices of one path are of one version."""
        if not isinstance(paths, list):
            raise TypeError(f"paths must be a list, not {type(paths).__name__}")
        starts = starts if isinstance(starts, list) else [starts] * len(paths)
        ends = ends if isinstance(ends, list) else [ends] * len(paths)
        if not len(starts) == len(ends) == len(paths):
            raise ValueError(f"{len(paths)} paths, {len(starts)} starts and {len(ends)} ends do not go together")
        out: list[Any] = []
        with ExitStack() as opened:
            sources: dict[Any, Any] = {}
            for path, start, end in zip(paths, starts, ends, strict=True):
                try:
                    if path not in sources:
                        source = self._read(path, lambda scope, name, version: scope.open(name, "rb", version))
                        sources[path] = opened.enter_context(source)
                    out.append(_slice(sources[path], start, end))
                except (OSError, ValueError) as error:
                    if on_error != "return":
                        raise
                    out.append(error)
        return out

    # writing

    def pipe_file(
        self,
        path: Any,
        value: Any,
        mode: str = "overwrite",
        *,
        mime_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Save *value* as the next version; with ``mode="create"`` only where the artifact does not exist."""
        scope, name = self._target(path)
        scope.save(name, value, mime_type=mime_type, metadata=metadata, expect=_expected(mode))

    def put_file(
        self, lpath: Any, rpath: Any, callback: Any = DEFAULT_CALLBACK, mode: str = "overwrite", **kwargs: Any
    ) -> None:
        """Save a local file as the next version; a local folder has nothing to save."""
        local = Path(stringify_path(lpath))
        if local.is_dir():
            return
        scope, name = self._target(rpath)
        callback.set_size(local.stat().st_size)
        saved = scope.save(name, local, expect=_expected(mode))
        callback.absolute_update(saved.size_bytes)

    def cp_file(self, path1: Any, path2: Any, **kwargs: Any) -> None:
        """Save a version's bytes, MIME type and metadata as the next version of another artifact, or of its own."""
        try:
            source = self._read(path1, lambda scope, name, version: scope.open(name, "rb", version))
        except IsADirectoryError:
            return  # fsspec's recursive copy comes by folders, too
        with source:
            scope, name = self._target(path2)
            scope.save(name, source, mime_type=source.record.mime_type, metadata=source.record.metadata)

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any) -> None:
        """Copy, then remove: the history stays under the old name, and the new name starts with the newest version."""
        if isinstance(path1, str) and isinstance(path2, str):
            source, goal = (replace(self._ref(path), selector=None, view=False) for path in (path1, path2))
            if self._ref(path1).name is not None:
                self._target(path1)
            if source == goal:
                return
        super().mv(path1, path2, recursive=recursive, maxdepth=maxdepth, **kwargs)

    def rm_file(self, path: Any) -> None:
        """Take an artifact out of view. Its versions stay readable by their numbers, and the next save brings it back."""
        scope, name = self._target(path)
        try:
            scope.remove(name)
        except FileNotFoundError:
            if folder_instead(self.store, self._ref(path)):
                raise is_a_folder(self._ref(path)) from None
            raise

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """`rm_file` of each path or glob; with *recursive* also of all that lies below it."""
        for one in self.expand_path(path):
            if not recursive:
                self.rm_file(one)
                continue
            ref = self._ref(one)
            files = self.find(one, maxdepth)
            if ref.name is not None and ref.path not in files:
                files.append(ref.path)

            def remove(file: str) -> bool:
                scope, name = self._target(file)
                try:
                    scope.remove(name)
                except FileNotFoundError:
                    return False
                return True

            if not any(at_once(remove, files)):
                raise nothing(ref)


def _chained(protocol: str, path: str, options: Mapping[str, Any]) -> str:
    if "target_protocol" in options:
        raise InvalidConfig(f"artifact:// is chained over a store, not over {protocol}:// over another filesystem")
    if protocol in {"file", "local"}:
        return f"file://{path}"
    return f"{protocol}://{path.lstrip('/')}"


def _expected(mode: str) -> Literal["absent"] | None:
    if mode not in {"overwrite", "create"}:
        raise ValueError(f"mode is {mode!r}; it may be 'overwrite' or 'create'")
    return "absent" if mode == "create" else None


def _slice(source: Any, start: int | None, end: int | None) -> bytes:
    part = range(*slice(start, end).indices(source.seek(0, io.SEEK_END)))
    source.seek(part.start)
    data: bytes = source.read(len(part))
    return data
