"""Seeing what a store asks of the store below: a backend that counts, and stores over any backend."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple, TypeVar

from artifactfs.async_store import AsyncArtifactStore
from artifactfs.backends.base import Backend
from artifactfs.operations.core import Core
from artifactfs.operations.store import StoreOperations
from artifactfs.store import ArtifactStore

Store = TypeVar("Store", ArtifactStore, AsyncArtifactStore)


class Call(NamedTuple):
    """A call of a backend: its method, and the key or folder that it was given ("" where that is no text)."""

    method: str
    key: str


class Counting:
    """Passes everything on to the backend *inner*, and keeps every call that it was asked for in `calls`."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.calls: list[Call] = []

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if not inspect.iscoroutinefunction(value):
            return value

        async def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(Call(name, args[0] if args and isinstance(args[0], str) else ""))
            return await value(*args, **kwargs)

        return counted

    def taken(self) -> list[Call]:
        """The calls since the last time that this was asked."""
        calls, self.calls = self.calls, []
        return calls


def store_over(backend: Any, kind: type[Store]) -> Store:
    """A store of *kind* that keeps its objects in *backend*: one that no URL names, or one that counts or fails.

    It cannot be pickled.
    """
    store = kind.__new__(kind)
    store._core = Core(backend, backend.url, read_only=False, single_writer=False, max_bytes=None)
    store._ops = StoreOperations(store._core)
    return store
