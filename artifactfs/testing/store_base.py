"""What all parts of the store conformance suite stand on."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytest

from artifactfs.backends.base import WHOLE_LIMIT, Got, Page
from artifactfs.drivers import perform
from artifactfs.protocol.ops import Delete, Get, List, Put
from artifactfs.store import ArtifactStore, Scope

LONG = random.Random(7).randbytes(WHOLE_LIMIT + 4321)
"""A payload that is streamed."""


class StoreTests:
    """Fixtures: *store* is given by the suite's user; every test works in an app of its own.

    Attributes:
        single_writer: True for a store that is only safe for one writer: the tests of races are left out.
        longest_segment: bytes that a segment of a key may have, where the store below holds less than its backend knows.
    """

    single_writer = False
    longest_segment: int | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.single_writer:
            for name in dir(cls):
                if name.startswith("test_race_"):
                    setattr(cls, name, None)

    @pytest.fixture
    def store(self) -> ArtifactStore:
        raise NotImplementedError("a subclass gives the store that is to be proved")

    @pytest.fixture
    def app(self) -> str:
        return f"shop-{uuid.uuid4().hex[:8]}"

    @pytest.fixture
    def scope(self, store: ArtifactStore, app: str) -> Scope:
        return store.scope(app, "alice", "s1")


def again(store: ArtifactStore, **changed: Any) -> AbstractContextManager[ArtifactStore]:
    """The same store, opened once more by its URL and options, which may be *changed*."""
    make, (kind, url, settings) = store.__reduce__()
    reopened: AbstractContextManager[ArtifactStore] = make(kind, url, {**settings, **changed})
    return reopened


class Raw:
    """The keys of one artifact behind the library's back."""

    def __init__(self, scope: Scope, name: str) -> None:
        self.backend = scope.store.backend
        self.id = scope.id.artifact(name)

    def put(self, entry: str, data: bytes) -> None:
        """Write *entry* (``3``, ``3.metadata``, …) of the artifact's folder, over what is there."""
        perform((Put(self.id.folder + entry, data, "application/octet-stream"),), self.backend, None)

    def get(self, entry: str) -> bytes | None:
        got: Got | None
        (got,) = perform((Get(self.id.folder + entry),), self.backend, None)
        return None if got is None else got.data

    def delete(self, entry: str) -> None:
        perform((Delete((self.id.folder + entry,)),), self.backend, None)


def keys_below(store: ArtifactStore, folder: str) -> list[str]:
    """Every key below *folder*."""
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page: Page
        (page,) = perform((List(folder, after, deep=True),), store.backend, None)
        found += [folder + entry.name for entry in page.entries]
        after = page.next
    return found


def numbers(records: Sequence[Any]) -> list[int]:
    return [record.version for record in records]
