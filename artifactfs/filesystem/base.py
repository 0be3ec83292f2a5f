"""What every part of the filesystem stands on: the store below, paths, and methods that are written once for both worlds."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import lru_cache, wraps
from glob import has_magic
from typing import Any, TypeVar, cast

from fsspec.asyn import AsyncFileSystem, get_loop, sync
from fsspec.transaction import Transaction
from fsspec.utils import stringify_path

from artifactfs.async_store import AsyncArtifactStore, AsyncScope, awaited_store
from artifactfs.content import Content
from artifactfs.drivers import arun, run
from artifactfs.errors import ImmutableVersion, InvalidConfig, InvalidName, InvalidRef
from artifactfs.filesystem.recent import Recent
from artifactfs.filesystem.tree import is_a_folder, resolve
from artifactfs.keys.settings import told_by_environment, without_secrets
from artifactfs.operations.core import Core
from artifactfs.protocol.ops import Steps
from artifactfs.refs import SCHEME, Ref
from artifactfs.store import ArtifactStore, Scope, telling

# What fsspec itself may hand to any filesystem, and a store does not know.
_FSSPEC_OPTIONS = ("use_listings_cache", "listings_expiry_time", "max_paths")

_NUMBER = re.compile("@-?[0-9]+")

T = TypeVar("T")


class _Operation:
    """Puts a method's two forms into its class: blocking under its own name, awaited with a ``_`` before it."""

    def __init__(self, steps: Callable[..., Steps[Any]]) -> None:
        self.steps = steps

    def __set_name__(self, owner: type, name: str) -> None:
        steps = self.steps

        @wraps(steps)
        def blocking(self: Base, /, *args: Any, **kwargs: Any) -> Any:
            return self._run(steps(self, *args, **kwargs))

        @wraps(steps)
        async def awaited(self: Base, /, *args: Any, **kwargs: Any) -> Any:
            return await self._arun(steps(self, *args, **kwargs))

        setattr(owner, name, blocking)
        setattr(owner, f"_{name}", awaited)


def operation(steps: Callable[..., Steps[T]]) -> Callable[..., T]:
    """A method of a filesystem that is written as steps, once for blocking and for awaited callers."""
    return cast("Callable[..., T]", _Operation(steps))


class Later:
    """What a transaction does at its end, or does not."""

    def __init__(self, commit: Callable[[], object], discard: Callable[[], object] = lambda: None) -> None:
        self.commit, self.discard = commit, discard


class Held(Transaction):  # type: ignore[misc]
    """What is done to artifacts in a ``with`` block, held back until its end. One at a time for each filesystem."""

    def start(self) -> None:
        if self.fs._intrans:
            raise ValueError("a transaction of this filesystem is under way; end it before another begins")
        super().start()

    def complete(self, commit: bool = True) -> None:
        """Do all of it in its order, or none. Where one fails, what is left is dropped, and the transaction over."""
        fs = self.fs
        try:
            super().complete(commit)
        finally:
            fs._intrans, fs._transaction = False, None
            for left in self.files:
                left.discard()


class _Unshown(dict[str, Any]):
    """Options of a store. Its repr names them and shows no value, since some are secrets."""

    def __repr__(self) -> str:
        return f"<options {', '.join(self)}>"


class Base(AsyncFileSystem):  # type: ignore[misc]
    """A store below, named by a chained URL, by *root*, or by the environment; and the paths of its artifacts."""

    protocol = "artifact"
    transaction_type = Held
    _pid: int

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        fo: str | None = None,
        target_protocol: str | None = None,
        target_options: Mapping[str, Any] | None = None,
        asynchronous: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(asynchronous=asynchronous, loop=loop, batch_size=batch_size)
        self._root = None if root is None else os.fspath(root)
        self._options = _Unshown({name: value for name, value in options.items() if name not in _FSSPEC_OPTIONS})
        self._stores: dict[str, tuple[ArtifactStore, AsyncArtifactStore, Recent]] = {}
        if target_protocol is not None:
            chained = _chained(target_protocol, fo or "", target_options or {})
            if self._root not in (None, chained):
                raise InvalidConfig(
                    "the store is named twice: by the chained URL and by the option root; leave one out"
                )
            self._root = chained
            self._options = _Unshown({**(target_options or {}), **self._options})

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop of blocking calls; after a fork that of the new process."""
        pid = os.getpid()
        if self._pid != pid:
            self._pid = pid
            self._loop = None if self.asynchronous else get_loop()
        loop: asyncio.AbstractEventLoop | None = self._loop
        return loop

    @property
    def storage_options(self) -> dict[str, Any]:
        """What fsspec opens this filesystem with once more, elsewhere, where its keys have to be in the environment."""
        told = told_by_environment()
        return {**self._travelling, **{name: told[name] for name in told if self._options.get(name) is None}}

    @storage_options.setter
    def storage_options(self, options: dict[str, Any]) -> None:
        self._travelling = without_secrets(options)

    @property
    def store(self) -> ArtifactStore:
        """The store below, opened when it is first needed."""
        return self._opened()[0]

    def _opened(self) -> tuple[ArtifactStore, AsyncArtifactStore, Recent]:
        url = self._root or os.environ.get("ARTIFACTFS_URL")
        found = self._stores.get(url or "")
        if found is not None:
            return found
        if not url:
            raise InvalidConfig(
                "no store is named for artifact://: chain the URL over one (artifact://…::s3://bucket/prefix), give "
                "storage_options={'root': …}, or set ARTIFACTFS_URL"
            )
        url = _absolute(url)
        found = self._stores.get(url)
        if found is not None:
            return found
        options = self._options
        if "://" not in url or url.startswith(("file://", "memory://")):
            # After any PermissionError pandas tries once more with anon=True, and that error is the one it shows.
            options = _Unshown({name: value for name, value in options.items() if name != "anon"})
        store = ArtifactStore(url, **options)
        return self._stores.setdefault(url, (store, awaited_store(store), Recent()))

    @property
    def _core(self) -> Core:
        return self.store._core

    @property
    def _recent(self) -> Recent:
        return self._opened()[2]

    def _scope(self, ref: Ref) -> Scope:
        assert ref.app is not None and ref.user is not None
        return self.store.scope(ref.app, ref.user, ref.session)

    def _ascope(self, ref: Ref) -> AsyncScope:
        assert ref.app is not None and ref.user is not None
        return self._opened()[1].scope(ref.app, ref.user, ref.session)

    # running

    def _run(self, steps: Steps[T]) -> T:
        core = self._core
        with telling(core):
            return run(steps, core.backend)

    async def _arun(self, steps: Steps[T]) -> T:
        core = self._core
        with telling(core):
            return await arun(steps, core.backend)

    def _blocking(self, make: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Run a coroutine to its end, on fsspec's event loop."""
        return sync(self.loop or get_loop(), make, *args, **kwargs)

    def _later(self, make: Callable[[], Awaitable[Any]]) -> None:
        """Do it at the end of the transaction that is under way, if that comes."""
        self.transaction.files.append(Later(lambda: self._blocking(make)))

    # paths

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """The path of a URL, spelled as listings spell it, so that what lies below it starts with it.

        fsspec calls this any number of times on one path: what is spelled so stays so.
        """
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        path = stringify_path(path)
        if not isinstance(path, str):
            raise TypeError(f"a path is text or a path object, not {type(path).__name__}")
        return _spelled(path.removeprefix(SCHEME).removeprefix("artifact::").strip("/"))

    @classmethod
    def _parent(cls, path: Any) -> str:
        """The folder of a path, without the number that the path selects: that means nothing for a folder."""
        parent: str = super()._parent(path)
        head, _, last = parent.rpartition("/")
        return head if head.count("/") == 2 and _NUMBER.fullmatch(last) else parent

    def _ref(self, path: Any) -> Ref:
        return _parsed(self._strip_protocol(path))

    def _file(self, path: Any) -> tuple[Ref, str]:
        """What *path* means as that of a file.

        Raises:
            IsADirectoryError: it can only be a folder's.
        """
        ref = self._ref(path)
        if ref.name is None or _of_folder(path):
            raise is_a_folder(ref)
        return ref, ref.name

    def _target(self, path: Any) -> tuple[Ref, str]:
        """Where something is to be written or taken away: the newest of an artifact, never a version."""
        ref, name = self._file(path)
        if ref.version not in (None, "latest"):
            raise ImmutableVersion(
                f"{ref} is one version, which never changes; write to {replace(ref, selector=None, view=False)} instead"
                + (ref.meant and f"; {ref.meant}")
            )
        return ref, name

    def _version(self, path: Any) -> Steps[Content]:
        """The version that *path* means now.

        Raises:
            FileNotFoundError, IsADirectoryError: nothing or a folder is there.
        """
        self._recent.forget()
        ref = self._ref(path)
        found = yield from resolve(self._core, self._recent, ref)
        if _of_folder(path):
            raise is_a_folder(ref)
        return found


_parsed = lru_cache(maxsize=1000)(Ref.parse)


@lru_cache(maxsize=1000)
def _spelled(path: str) -> str:
    """*path* as a listing spells it; as it is where it is a pattern, or where `Ref.parse` will say what is wrong."""
    if has_magic(path):
        return path
    try:
        return _parsed(path).path
    except (InvalidRef, InvalidName):
        return path


def _of_folder(path: Any) -> bool:
    """Whether *path* is written as a folder's, with a slash at its end."""
    return bool(stringify_path(path).endswith("/"))


def _absolute(url: str) -> str:
    """*url*; a path on the local disk as it stands from the current folder."""
    path = url.removeprefix("file://")
    return url if "://" in path or path.startswith("/") else os.path.abspath(os.path.expanduser(path))


def _chained(protocol: str, path: str, options: Mapping[str, Any]) -> str:
    if "target_protocol" in options:
        raise InvalidConfig(f"artifact:// is chained over a store, not over {protocol}:// over another filesystem")
    if protocol in {"file", "local"}:
        return f"file://{path}"
    return f"{protocol}://{path.lstrip('/')}"
