"""``artifact://`` for universal_pathlib: ``UPath("artifact://…")`` makes an `ArtifactPath`, found by its entry point.

`ArtifactPath` is UPath's own implementation over `ArtifactFileSystem`, and differs where pathlib's words mean something
for versions: what the suffix of ``report.csv@3`` is, and that a folder needs no making.
"""

from __future__ import annotations

import errno
import re
from pathlib import PurePosixPath
from typing import Any

from fsspec import get_filesystem_class
from fsspec.spec import AbstractFileSystem
from upath import UPath
from upath._flavour import WrappedFileSystemFlavour
from upath.types import JoinablePathLike

from artifactfs.filesystem import ArtifactFileSystem
from artifactfs.keys.settings import told_by_environment, without_secrets
from artifactfs.refs import Ref

# UPath reads paths as the filesystem class does, but only where fsspec has loaded that already; else it warns.
get_filesystem_class("artifact")


class _Pieces(ArtifactFileSystem):
    """The filesystem as a path's parser needs it: ``@3`` is a piece of a path like any other."""

    @classmethod
    def _parent(cls, path: Any) -> str:
        return str(AbstractFileSystem._parent(path))


class ArtifactPath(UPath):
    """A path in ``artifact://``; keyword arguments are the filesystem's: ``UPath("artifact://shop/…", root="s3://…")``.

    `name` is the last piece of the path as it is written. `stem`, `suffix` and `suffixes` leave a version out, and
    paths that are derived by them name no version, since a version belongs to one artifact:

    >>> path = ArtifactPath("artifact://shop/alice/s1/report.csv@3")
    >>> path.name, path.suffix, str(path.with_suffix(".parquet"))
    ('report.csv@3', '.csv', 'artifact://shop/alice/s1/report.parquet')
    """

    __slots__ = ()
    parser = WrappedFileSystemFlavour(_Pieces)

    @classmethod
    def _transform_init_args(
        cls, args: tuple[JoinablePathLike, ...], protocol: str, storage_options: dict[str, Any]
    ) -> tuple[tuple[JoinablePathLike, ...], str, dict[str, Any]]:
        """UPath would read a protocol out of two kinds of names: the app ``artifact``, and what starts as data URLs."""
        if args[:1] == ("artifact",):
            args = ("artifact://artifact", *args[1:])
        args = args[:1] + tuple(re.sub("^data:", "data%3A", one) if isinstance(one, str) else one for one in args[1:])
        return args, protocol, storage_options

    @property
    def _file(self) -> PurePosixPath:
        """The name without its version, as pathlib reads it."""
        name = self.name
        try:
            ref = Ref.parse(f"app/user/session/{name}")
        except ValueError:
            return PurePosixPath(name)
        return PurePosixPath(name if ref.name is None or ref.selector is None else name.rpartition("@")[0])

    @property
    def suffix(self) -> str:
        return self._file.suffix

    @property
    def suffixes(self) -> list[str]:
        return self._file.suffixes

    @property
    def stem(self) -> str:
        return self._file.stem

    def __reduce__(self) -> Any:
        """Without keys and secrets, as the filesystem itself."""
        make, (kind, args, options) = super().__reduce__()  # type: ignore[no-untyped-call]
        return make, (kind, args, {**told_by_environment(), **without_secrets(options)})

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a folder exists where something lies below it.

        Raises:
            FileExistsError: an artifact is there; or a folder, and not *exist_ok*.
        """
        if self.is_file() or (not exist_ok and self.is_dir()):
            raise FileExistsError(errno.EEXIST, "something is there already", str(self))
