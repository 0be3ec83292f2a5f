"""A store below, how it is protected, and what is known of it: what all operations on it share."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection
from contextlib import suppress
from typing import Any, Literal, TypeAlias

from artifactfs.backends.base import Abilities, Backend
from artifactfs.custody import NONE, Custody
from artifactfs.errors import (
    AccessDenied,
    InvalidName,
)
from artifactfs.layout import ArtifactId
from artifactfs.pointers import SCHEMES
from artifactfs.protocol import ability
from artifactfs.protocol.claim import Memory, Seen
from artifactfs.protocol.env import HINT_TTL, Clocked, Env
from artifactfs.protocol.ops import Steps
from artifactfs.records import Record, Removed
from artifactfs.waiting import Turns

Mode: TypeAlias = Literal["managed", "pointer_only"]
"""Whether a store holds bytes, or only pointers to what lies elsewhere."""

REMEMBERED = 10_000
"""Artifacts whose newest number a store remembers."""

MOST = 1 << 62
"""More bytes than any key has."""

CLOCKS = Env()


class Core:
    """A store below, how it is protected, what is known of it, and what was seen in it a short while ago."""

    def __init__(
        self,
        backend: Backend,
        where: str,
        *,
        read_only: bool,
        single_writer: bool,
        max_bytes: int | None,
        custody: Custody = NONE,
        mode: Mode = "managed",
        schemes: Collection[str] = SCHEMES,
    ) -> None:
        self.backend, self.where, self.custody = backend, where, custody
        self.read_only, self.single_writer, self.max_bytes = read_only, single_writer, max_bytes
        self.mode, self.schemes = mode, schemes
        self.abilities: Abilities | None = backend.abilities
        self.env: Env | None = None
        self.turns = Turns()
        self.scopes: dict[
            tuple[str, str, str | None], Any
        ] = {}  # for the filesystem, which is told of one in each call
        # Without a lock, which a fork or a collector could meet closed.
        self._memories: OrderedDict[str, Memory] = OrderedDict()

    def writing(self) -> Steps[Env]:
        """What the protocol needs to write here safely; the store is probed if nobody has done that yet.

        Raises:
            AccessDenied: the store was opened to be read only.
            UnsafeBackend: its creates are not atomic; nothing was written.
        """
        if self.read_only:
            raise AccessDenied(f"the store {self.backend.url} was opened with read_only=True", store=self.backend.url)
        if self.env is None:
            if self.abilities is None and not self.single_writer:
                now = time.time()
                self.abilities = (yield from ability.known(self.backend.identity, now)) or (
                    yield from ability.probe(self.backend.identity, now)
                )
            if self.single_writer:
                self.env = Env()
            else:
                assert self.abilities is not None
                ability.refuse(self.abilities, self.backend.url)
                self.env = Env(
                    conditional=self.abilities.rewrite == "atomic", fence_streams=self.abilities.complete == "atomic"
                )
        return self.env

    def room(self, artifact: ArtifactId) -> ArtifactId:
        """*artifact*, if the store below can hold its keys.

        Raises:
            InvalidName: it cannot; longer names fit into other stores.
        """
        longest, backend = artifact.longest_key, self.backend
        if 4 * len(longest) <= min(backend.max_segment or MOST, backend.max_key or MOST):
            return artifact  # in whatever script
        if backend.max_segment is not None:
            for segment in longest.split("/"):
                if 4 * len(segment) > backend.max_segment and len(segment.encode()) > backend.max_segment:
                    raise InvalidName(
                        f"{segment[:40]!r}… takes {len(segment.encode())} bytes as a path segment; {backend.url} holds "
                        f"{backend.max_segment}: use a shorter name, or a store with longer keys",
                        store=backend.url,
                        artifact=artifact.label,
                    )
        if backend.max_key is not None and 4 * len(longest) > backend.max_key < len(longest.encode()):
            raise InvalidName(
                f"the key of {artifact.label[:80]!r}… takes {len(longest.encode())} bytes; {backend.url} holds "
                f"{backend.max_key}: use shorter names",
                store=backend.url,
                artifact=artifact.label,
            )
        return artifact

    def recall(self, artifact: ArtifactId) -> Memory | None:
        memory = self._memories.get(artifact.folder)
        return memory if memory is not None and memory.seen.at.age(CLOCKS) < HINT_TTL else None

    def remember(self, artifact: ArtifactId, record: Record) -> None:
        """*record* was just published."""
        marks = (record.version,) if isinstance(record, Removed) else ()
        seen = Seen(Clocked.read(CLOCKS), record.timestamp.timestamp(), marks)
        memories, folder = self._memories, artifact.folder
        memories.pop(folder, None)  # so that it is the youngest
        memories[folder] = Memory(record.version + 1, seen)
        if len(memories) > REMEMBERED:
            with suppress(KeyError):  # others may have forgotten all
                memories.popitem(last=False)

    def forget(self, artifact: ArtifactId) -> None:
        self._memories.pop(artifact.folder, None)

    def forget_all(self) -> None:
        self._memories.clear()

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a store is pickled by its URL and options")


def rotating(core: Core, to: str, nobody_deletes: bool) -> Steps[Env]:
    """What the protocol needs to rewrite records here safely."""
    from artifactfs.protocol.rotate import check_conditional, check_key

    check_key(core.custody, to)
    env = yield from core.writing()
    check_conditional(env, core.backend.url, nobody_deletes)
    return env
