"""Where an import reads from: any fsspec filesystem, listed folder by folder, and never written to."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO, NamedTuple

from artifactfs.backends.base import WHOLE_LIMIT
from artifactfs.errors import AccessDenied, ArtifactNotFound, BackendUnavailable, InvalidConfig

PIECE = 1024 * 1024


class Unreadable(Exception):
    """One thing of the source cannot be read, or is not what it should be; the message says why."""


class Damaged(Unreadable):
    """A version that the source itself does not load, and never will."""


class Entry(NamedTuple):
    """A file of the source: its path below the location, its path for fsspec, and what the listing tells of it."""

    name: str
    path: str
    info: Mapping[str, Any]

    @property
    def size(self) -> int | None:
        size = self.info.get("size")
        return size if isinstance(size, int) else None

    @property
    def at(self) -> datetime | None:
        """When it was written, as the store knows it; in microseconds, as records have it."""
        for field in ("LastModified", "ctime", "mtime", "created"):
            found = self.info.get(field)
            if isinstance(found, datetime):
                return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
            if field in ("mtime", "created") and isinstance(found, (int, float)):
                return datetime.fromtimestamp(found, UTC)
        return None


class Content(NamedTuple):
    """Bytes that were read: whole, or in a file of this machine that nobody else sees."""

    size: int
    sha256: str
    data: bytes | None
    file: BinaryIO | None


class Source:
    """A location that is read."""

    def __init__(self, location: str, options: Mapping[str, Any]) -> None:
        from fsspec.core import url_to_fs

        try:
            self.fs, root = url_to_fs(location, **options)
        except (ValueError, ImportError, TypeError) as error:
            raise InvalidConfig(f"no filesystem of fsspec opens {shown(location)!r}: {error}") from error
        except FileNotFoundError as error:
            raise ArtifactNotFound(f"{shown(location)} cannot be opened: {_brief(error)}") from error
        except Exception as error:  # noqa: BLE001  (what asks a server at once may name a token in its error)
            raise BackendUnavailable(
                f"{shown(location)} cannot be opened ({type(error).__name__}): check the location and storage_options"
            ) from None
        self.root = root.rstrip("/")
        self.location = shown(location)

    def files(self, depth: int) -> Iterator[list[Entry]]:
        """All files, a folder's at a time: those of each folder *depth* levels down with all below it are together.

        Raises:
            ArtifactNotFound: there is nothing at the location.
            AccessDenied, BackendUnavailable: it cannot be listed.
        """
        with self._telling():
            self.fs.invalidate_cache()
            met = False
            for found in self._walk(self.root, depth):
                met = True
                yield found
            if not met and not self.fs.exists(self.root):
                raise ArtifactNotFound(f"there is nothing at {self.location}")

    def _walk(self, path: str, depth: int) -> Iterator[list[Entry]]:
        if depth == 0:
            infos = [info for info in self.fs.find(path, detail=True).values() if info["type"] != "directory"]
        else:
            try:
                there = self.fs.ls(path, detail=True)
            except FileNotFoundError:
                return
            if len(there) > 1 or not (there and there[0]["name"] == path and there[0]["type"] == "file"):
                there = [info for info in there if info["name"].rstrip("/") != path]  # else the location is a file
            infos = [info for info in there if info["type"] != "directory"]
            for folder in sorted(info["name"].rstrip("/") for info in there if info["type"] == "directory"):
                yield from self._walk(folder, depth - 1)
        if infos:
            yield sorted(Entry(self._below(info["name"]), info["name"], info) for info in infos if info["name"])

    def _below(self, path: str) -> str:
        return path[len(self.root) :].lstrip("/")

    def path(self, name: str) -> str:
        """The path for fsspec of what lies at *name* below the location."""
        return f"{self.root}/{name}"

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise AccessDenied(f"{self.location} may not be read: {error}") from error
        except (ArtifactNotFound, GeneratorExit):
            raise
        except Exception as error:  # whatever a filesystem of fsspec raises
            raise BackendUnavailable(f"{self.location} cannot be listed: {_brief(error)}") from error

    def holds(self, path: str) -> bool:
        """Whether a file is there."""
        try:
            return bool(self.fs.isfile(path))
        except Exception as error:  # whatever a filesystem of fsspec raises
            raise Unreadable(_brief(error)) from error

    def read(self, path: str) -> bytes:
        """All of a file."""
        try:
            data: bytes = self.fs.cat_file(path)
        except Exception as error:  # as there
            raise Unreadable(_brief(error)) from error
        return data

    def telling(self, path: str, size: int | None) -> bytes:
        """All of a file of so many bytes that tells of a version.

        Raises:
            Damaged: it is too long to be read for that.
        """
        if size is not None and size > WHOLE_LIMIT:
            raise Damaged(f"what tells of it has {size} bytes, and more than {WHOLE_LIMIT} are not read for that")
        return self.read(path)

    def head(self, path: str) -> Mapping[str, Any]:
        """What the store knows of a file: ``type`` and ``metadata``, the caller's own, where it keeps them."""
        try:
            if hasattr(self.fs, "call_s3"):  # whose own methods take two requests, and change the keys of the metadata
                bucket, key, _ = self.fs.split_path(path)
                told = self.fs.call_s3("head_object", Bucket=bucket, Key=key)
                return {"type": told.get("ContentType"), "metadata": told.get("Metadata") or {}}
            return of_listing(self.fs.info(path))
        except Exception as error:  # as there
            raise Unreadable(_brief(error)) from error

    def content(self, path: str, size: int | None) -> Content:
        """The bytes of a file, read once. More than 8 MiB are kept in a temporary file, which the caller closes."""
        if size is not None and size <= WHOLE_LIMIT:
            data = self.read(path)
            if len(data) <= WHOLE_LIMIT:
                return Content(len(data), hashlib.sha256(data).hexdigest(), data, None)
        digest, count = hashlib.sha256(), 0
        file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  (it is handed out)
        try:
            with self.fs.open(path, "rb") as reader:
                while piece := reader.read(PIECE):
                    digest.update(piece)
                    count += len(piece)
                    file.write(piece)
            if count <= WHOLE_LIMIT:
                file.seek(0)
                data = file.read()
                file.close()
                return Content(count, digest.hexdigest(), data, None)
            file.seek(0)
        except Exception as error:  # as there
            file.close()
            raise Unreadable(_brief(error)) from error
        except BaseException:
            file.close()
            raise
        return Content(count, digest.hexdigest(), None, file)


def of_listing(info: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a listing tells that has it (Google Cloud Storage's does), as `Source.head` gives it."""
    return {"type": info.get("contentType") or info.get("ContentType"), "metadata": info.get("metadata") or {}}


def shown(location: str) -> str:
    """*location* without a password."""
    scheme, colon, rest = location.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{colon}{host.rpartition('@')[2]}{slash}{path}" if colon else location


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
