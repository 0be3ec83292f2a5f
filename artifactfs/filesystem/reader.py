"""The file that ``artifact://`` opens for reading: one version, by ranges, with what fsspec's own caches need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, SupportsIndex

from fsspec.caching import caches

from artifactfs import files
from artifactfs.content import Content
from artifactfs.drivers import call
from artifactfs.filesystem.tree import file_info
from artifactfs.refs import Ref

if TYPE_CHECKING:
    from artifactfs.filesystem import ArtifactFileSystem

BLOCK = 1024 * 1024
"""Bytes that a cache of fsspec's fetches together, where the caller names no block size."""


class ArtifactReader(files.ArtifactReader):
    """A version, read by ranges: the one that was there when the file was opened, whatever is saved meanwhile.

    Attributes:
        size: of the version, in bytes.
        details: what `ArtifactFileSystem.info` says of it.
        cache: one of fsspec's, through which all bytes come; fsspec's caching filesystems put their own in its place.
        blocksize: the bytes that a cache of fsspec's fetches together.
    """

    def __init__(
        self,
        fs: ArtifactFileSystem,
        ref: Ref,
        content: Content,
        blocksize: int | None,
        cache_type: str,
        cache_options: Mapping[str, Any] | None,
    ) -> None:
        super().__init__(content)
        self.fs, self.path, self.details = fs, ref.path, file_info(ref.path, content.record)
        self.size: int = self.details["size"]
        self.blocksize = blocksize or BLOCK
        self._content = content
        if cache_type not in caches:
            raise ValueError(f"cache_type is {cache_type!r}; fsspec has {', '.join(sorted(map(str, caches)))}")
        self.cache = caches[cache_type](self.blocksize, self._fetch_range, self.size, **(cache_options or {}))
        self._raw.source = lambda start, end, _: self._cache._fetch(start, end)
        self._ref, self._again = ref, (blocksize, cache_type, cache_options)

    def _fetch_range(self, start: int, end: int) -> bytes:
        """By a request of its own: some of fsspec's caches fetch from several threads."""
        return call(self._content.backend, lambda: self._content.read(start, end))

    @property
    def cache(self) -> Any:
        return self._cache

    @cache.setter
    def cache(self, cache: Any) -> None:
        # One that fetches several blocks at once would do so by path, and may get those of another version.
        cache.multi_fetcher = None
        self._cache = cache

    @property
    def mode(self) -> str:
        return "rb"

    @property
    def full_name(self) -> str:
        name: str = self.fs.unstrip_protocol(self.path)
        return name

    @property
    def closed(self) -> bool:
        return super().closed

    @closed.setter
    def closed(self, value: bool) -> None:
        """Nothing: fsspec's block cache says so of a file that it has just closed."""

    def info(self) -> dict[str, Any]:
        return self.details

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        path = replace(self._ref, selector=self.record.version).path
        return _reopen, (self.fs, path, *self._again, self.tell())


def _reopen(
    fs: ArtifactFileSystem,
    path: str,
    blocksize: int | None,
    cache_type: str,
    cache_options: dict[str, Any] | None,
    place: int,
) -> ArtifactReader:
    reader: ArtifactReader = fs.open(path, "rb", blocksize, cache_options, cache_type=cache_type)
    reader.seek(place)
    return reader
