"""``artifact://`` for fsspec: artifacts as files, names with slashes as folders (docs/spec.md, "References").

Paths are those that `artifactfs.refs.Ref` reads and prints; what listings return can be given back as it is. Listings
come from the store each time. `rm` takes an artifact out of view and keeps its history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fsspec.compression import compr
from fsspec.core import get_compression

from artifactfs.async_files import AsyncArtifactReader, AsyncArtifactWriter
from artifactfs.errors import ArtifactNotFound, Conflict
from artifactfs.filesystem.looking import Looking
from artifactfs.filesystem.reader import ArtifactReader
from artifactfs.filesystem.sinks import Append, Sink, Whole
from artifactfs.filesystem.tree import scope_of
from artifactfs.filesystem.writer import ArtifactWriter, Compressed, Text, refuse_mode
from artifactfs.filesystem.writing import Writing


class ArtifactFileSystem(Looking, Writing):
    """The artifacts of a store, as files.

    The store is the one that the URL is chained over (``artifact://shop/alice/s1/report.csv@1::s3://bucket/prefix``),
    else *root*, else the environment variable ``ARTIFACTFS_URL``. All other options are the store's. One instance may be
    shared by threads, pickled, and used after a fork; with ``asynchronous=True`` its coroutines (``_cat_file``, …) run on
    the caller's event loop.

    >>> fs = ArtifactFileSystem("memory://tour")
    >>> with fs.open("shop/alice/s1/notes.txt", "w") as f:
    ...     _ = f.write("first")
    >>> fs.cat("shop/alice/s1/notes.txt@0")
    b'first'

    Raises:
        InvalidConfig: no store is named, or two are.
    """

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
            InvalidRef: a version is opened for writing.
        """
        ref, name = self._file(path)
        if compression is not None:
            compression = get_compression(name, compression)
        if "r" in mode:
            return super().open(ref.path, mode, block_size, cache_options, compression, **kwargs)
        texts = (
            {} if "b" in mode else {key: kwargs.pop(key) for key in ("encoding", "errors", "newline") if key in kwargs}
        )
        target = super().open(ref.path, mode if "b" in mode else mode.replace("t", "") + "b", **kwargs)
        file: Any = target if compression is None else Compressed(compr[compression](target, mode=mode[0]), target)
        return file if "b" in mode else Text(file, **texts)

    def _open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        *,
        cache_type: str = "none",
        size: int | None = None,
        mime_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> ArtifactReader | ArtifactWriter:
        if mode == "rb":  # options of other filesystems' readers, which some tools always give, mean nothing here
            content = self._run(self._version(path))
            return ArtifactReader(self, self._ref(path), content, block_size, cache_type, cache_options)
        if mode not in {"wb", "xb", "ab"}:
            refuse_mode(mode)
        if kwargs:
            raise TypeError(
                f"open has no option {next(iter(kwargs))!r} for writing; mime_type and metadata may be given"
            )
        ref, name = self._target(path)
        scope = self._scope(ref)
        start = 0
        if mode != "wb":
            try:
                start = scope.stat(name).size_bytes or 0
            except ArtifactNotFound:
                pass
            else:
                if mode == "xb":
                    raise Conflict(f"{ref} exists already; mode 'wb' makes its next version")
        expect: Literal["absent"] | None = "absent" if mode == "xb" else None
        sink: Sink
        if mode == "ab":
            sink = Append(scope, name, mime_type, metadata)
        elif autocommit:
            sink = scope.open(name, "wb", mime_type=mime_type, metadata=metadata, expect=expect)
        else:
            self._run(scope_of(self._core, ref).prepare(name, mime_type, metadata, expect))
            sink = Whole(scope, name, mime_type, metadata, expect)
        return ArtifactWriter(self, ref.path, mode, sink, autocommit=autocommit, start=start)

    async def open_async(self, path: Any, mode: str = "rb", **kwargs: Any) -> AsyncArtifactReader | AsyncArtifactWriter:
        """As `open`, for ``rb`` and ``wb``; the file's methods are awaited."""
        if mode == "rb":
            return await self._reader(path)
        if mode != "wb":
            raise ValueError(f"mode {mode!r} is not one of rb and wb; open has ab and xb, too")
        if self._intrans:
            raise ValueError("open_async writes at once, and a transaction is under way: use open in it")
        ref, name = self._target(path)
        return await self._ascope(ref).open(name, "wb", **kwargs)
