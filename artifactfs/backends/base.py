"""What a store below must be able to do: one small protocol, the same for every backend.

All methods are coroutines, and `placement` says how they may be run, so that one protocol serves memory, a disk and a
network: see `Backend.placement`. Keys are relative to the store's root, segments joined by ``/``, already encoded
(`artifactfs.layout`); a backend never interprets them. Times are seconds since the epoch by the *store's* clock.

A backend raises only errors of `artifactfs.errors`. A missing object is never an error: reads answer None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from artifactfs.codecs.base import Bytes

Placement = Literal["inline", "thread", "loop", "any"]
"""Where a backend's coroutines may run.

inline
    They never wait and never suspend: any thread runs them to their end at once (memory).
thread
    They never suspend but may block on a disk: a caller on an event loop runs them in a worker thread (local).
loop
    They suspend, and belong to fsspec's own event loop, `fsspec.asyn.get_loop()`, whatever loop the caller is on (s3, gcs).
any
    They suspend, and run on whatever loop the caller is on (obstore); for a caller without one, on fsspec's.
"""

SUSPENDING = frozenset({"loop", "any"})
"""Placements of stores behind a network: several coroutines of theirs are run at once, and none may block."""

Ability = Literal["atomic", "racy", "ignored", "refused"]
"""How a store keeps a precondition, judged by outcome.

atomic
    Of writers that race for one key, exactly one succeeds, and its bytes are there.
racy
    A write that comes after another is refused, but two at the same time may both succeed.
ignored
    The precondition has no effect: a later write overwrites.
refused
    The store answers that it does not know the precondition.
"""

WHOLE_LIMIT = 8 * 1024 * 1024
"""Bytes. A payload of up to this size is written by one plain create; only a longer one is uploaded in parts."""


class Abilities(NamedTuple):
    """What a store guarantees for a create, for the completion of an upload in parts, and for a conditional rewrite."""

    create: Ability
    complete: Ability
    rewrite: Ability


class Written(NamedTuple):
    """The answer to a write with a precondition.

    `done` is False where the precondition failed: the key exists (create, commit), or no longer holds the object with
    that tag (replace). It may then be an earlier try of the very same write that is there. `tries` counts how often the
    write was sent; above 1, an earlier one may still land. `tag` names the object written, where the store told it.
    """

    done: bool
    tries: int = 1
    tag: str = ""


class Stat(NamedTuple):
    """`size` in bytes, `modified` by the store's clock, `tag` (ETag, generation: for `Backend.replace`)."""

    size: int
    modified: float
    tag: str


class Got(NamedTuple):
    """Bytes of an object, the size of the *whole* object in bytes, its time and its tag."""

    data: bytes
    size: int
    modified: float
    tag: str


class Entry(NamedTuple):
    """An object in a listing; `name` is relative to the folder that was listed."""

    name: str
    size: int
    modified: float


class Page(NamedTuple):
    """One page of a listing, in the order of `sort key`: the UTF-8 bytes of the relative key, a folder with its ``/``.

    `folders` are the names of sub-folders, without their slash. `next` is what to give as `after` for the following
    page, and None at the end of the listing. Where `floor` is not 0, the page was asked for the newest numbers alone:
    of the keys that have a number it holds all from that one on, and no other key need be in it.
    """

    entries: tuple[Entry, ...]
    folders: tuple[str, ...]
    next: str | None
    floor: int = 0


class Unfinished(NamedTuple):
    """An upload that was begun and neither committed nor aborted. `token` is the backend's own.

    `size` in bytes is that of what was written, None where the store does not tell.
    """

    key: str
    started: float
    token: str
    size: int | None = None


class Upload(Protocol):
    """A streamed create: nothing is visible under its key before `commit`, and nothing is left of it after `abort`.

    It holds a small, constant number of bytes in memory, whatever is written. After `commit` has answered
    ``done=False`` the upload is still open: it is to be aborted (or, where the store allows it, committed again).
    """

    async def write(self, data: Bytes) -> None:
        """Append *data*: any length. It is the caller's again afterwards, who may change it: what is kept is copied."""
        ...

    async def commit(self) -> Written:
        """Publish all bytes under the key if, at that instant, no object is there."""
        ...

    async def abort(self) -> None:
        """Drop what was written. Also after a failed commit; twice is harmless."""
        ...


class Flow(Protocol):
    """One answer of a store, taken piece by piece: what is not taken yet has hardly left the store."""

    async def next(self) -> Bytes:
        """The next bytes, up to about 1 MiB of them; none at the end. `BackendError` where the answer broke off."""
        ...

    def wait_for_next(self) -> Bytes:
        """The same for ordinary code, which waits here, as does an interrupt. Not at the same time as the other."""
        ...


@runtime_checkable
class Flowing(Protocol):
    """A `Backend` that can give an object in one answer that is taken piece by piece."""

    async def flow(self, key: str, start: int) -> tuple[int, Flow] | None:
        """The size of the whole object, and its bytes from *start* on; None where it has to be read by ranges."""
        ...


@runtime_checkable
class Backend(Protocol):
    """A store of objects under keys, with creates that only one of any number of racing writers wins.

    Attributes:
        url: the root, as errors name it; never with credentials in it.
        identity: endpoint and bucket: what a probe's answer is valid for. Empty where no probe is ever needed.
        placement: how the coroutines may be run.
        abilities: what the store is known to guarantee; None where only `probe` can tell.
        max_segment: longest segment of a key in bytes, None where only `max_key` counts.
        max_key: longest key in bytes (relative to the root), None where unlimited.
    """

    url: str
    identity: str
    placement: Placement
    abilities: Abilities | None
    max_segment: int | None
    max_key: int | None

    async def create(self, key: str, data: bytes, content_type: str) -> Written:
        """Store *data* whole under *key* if, at that instant, no object is there; else change nothing."""
        ...

    async def upload(self, key: str, content_type: str) -> Upload:
        """Begin a streamed create under *key*."""
        ...

    async def put(self, key: str, data: bytes, content_type: str, *, once: bool = False) -> Written:
        """Store *data* whole under *key*, over whatever is there.

        With *once* it is sent once and never again: where the answer is lost, `BackendUnavailable` with ``landed=True``.
        """
        ...

    async def replace(self, key: str, data: bytes, content_type: str, tag: str) -> Written:
        """Store *data* under *key* if, at that instant, the object there is the one that *tag* names."""
        ...

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Got | None:
        """The bytes ``start <= i < end`` of an object (cut at its end, so perhaps none), or None where there is none."""
        ...

    async def list(
        self, folder: str, after: str = "", *, deep: bool = False, limit: int = 1000, newest: bool = False
    ) -> Page:
        """One page of what lies below *folder* (``""`` or ending in ``/``) whose relative key sorts after *after*.

        One level with its sub-folders, or with *deep* every object below, named by its path. Always fresh: an object
        whose write was acknowledged before the call is in it. At most *limit* entries and folders; a backend may give
        fewer (but a hundred, while there are more: the newest version is found by what the first page shows), and one
        that reads a whole folder at once may give more. A missing folder is an empty page.

        *newest*, given with nothing but a folder, says that its highest numbers are wanted: a backend that can tell them
        without a look at every key may give a page of these alone (`Page.floor`). Any other answers as ever.
        """
        ...

    async def stat(self, key: str) -> Stat | None:
        """Size, time and tag of an object, or None where there is none."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects; one that is not there is no error. Where it raises, some may be gone."""
        ...

    async def unfinished(self, folder: str) -> Sequence[Unfinished]:
        """Uploads below *folder* that were begun and not ended, temporary files included."""
        ...

    async def discard(self, upload: Unfinished) -> None:
        """Abort an upload that `unfinished` listed; one that has ended meanwhile is no error."""
        ...

    async def now(self) -> float:
        """The time by the clock that gives objects their `modified`."""
        ...

    async def sign(self, key: str, seconds: int) -> str:
        """A URL that anyone may GET for so many seconds. `BackendError` where the store has no such thing."""
        ...

    async def probe(self, folder: str) -> Abilities:
        """Find out by racing writers below *folder* what the store guarantees, and leave nothing behind."""
        ...

    async def close(self) -> None:
        """Give back connections. The backend may be used again: it reconnects."""
        ...
