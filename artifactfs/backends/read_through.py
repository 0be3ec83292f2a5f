"""A store that lies over older ones: it reads and deletes in all of them, and writes into the first alone.

It is a backend like others, so that saving, reading and deleting need not know of it. Two conditions are the operator's:
nobody writes into an older store any more, and the first one held none of the older ones' artifacts when it was laid over
them. Objects then only ever go from an older store, so looking there and creating in the first is one atomic create, and
an object of the first shadows those of its key in the older ones for good (docs/adr/0023).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from artifactfs.backends.base import (
    SUSPENDING,
    Abilities,
    Backend,
    Entry,
    Got,
    Page,
    Placement,
    Stat,
    Unfinished,
    Upload,
    Written,
)
from artifactfs.codecs.base import Bytes
from artifactfs.errors import InvalidConfig
from artifactfs.layout import STORE_FOLDER
from artifactfs.waiting import in_thread

T = TypeVar("T")

AT_ONCE = 32
"""Keys that are looked for in one older store at the same time, before they are deleted there."""


class ReadThrough:
    """The objects of *first*, and of each of *older* those that none before it has.

    Where one of them cannot be reached, `BackendUnavailable` is raised wherever its answer could count; never is an
    object said to be missing. What a store knows of itself (``@store/``) is the first one's alone.

    Raises:
        InvalidConfig: one store is named twice.
    """

    def __init__(self, first: Backend, older: Sequence[Backend]) -> None:
        self.first, self._stores = first, (first, *older)
        named = [(store.identity, store.url) for store in self._stores]
        twice = next((url for place, (identity, url) in enumerate(named) if (identity, url) in named[:place]), None)
        if twice is not None:
            raise InvalidConfig(f"{twice} is named twice: an older store is another than the one that is written to")
        self.url = first.url
        self.identity = first.identity
        self.abilities: Abilities | None = first.abilities
        self.max_segment: int | None = first.max_segment
        self.max_key: int | None = first.max_key
        placements: set[Placement] = {store.placement for store in self._stores}
        self.placement: Placement = next(each for each in _WIDEST if each in placements)

    # writes

    async def create(self, key: str, data: bytes, content_type: str) -> Written:
        """Store *data* in the first unless any has the key. Nobody writes into an older one after it was looked at."""
        if await self._is_in_older(key):
            return Written(False)
        return _tagged_if_told(await self._at(0, lambda first: first.create(key, data, content_type)))

    async def upload(self, key: str, content_type: str) -> ReadThroughUpload:
        """Begin a streamed create in the first."""
        return ReadThroughUpload(self, key, await self._at(0, lambda first: first.upload(key, content_type)))

    async def put(self, key: str, data: bytes, content_type: str, *, once: bool = False) -> Written:
        """Store *data* in the first, over or in front of whatever is there."""
        return _tagged_if_told(await self._at(0, lambda first: first.put(key, data, content_type, once=once)))

    async def replace(self, key: str, data: bytes, content_type: str, tag: str) -> Written:
        """Rewrite the first's object; an older one's is shadowed, by a create that only one of several writers wins."""
        place, tag = _untagged(tag)
        if place == 0:
            return _tagged_if_told(await self._at(0, lambda first: first.replace(key, data, content_type, tag)))
        there = await self._at(place, lambda older: older.stat(key))
        if there is None or there.tag != tag:
            return Written(False)
        return _tagged_if_told(await self._at(0, lambda first: first.create(key, data, content_type)))

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects everywhere, in the first one last: what shadowed an object must not go before it.

        An older store is asked to delete only what it holds: one that may only be read is no hindrance else.
        """
        places = range(1, len(self._stores))
        await self._each(places, lambda older: _delete_held(older, [key for key in keys if _may_hold(older, key)]))
        await self._at(0, lambda first: first.delete(keys))

    # reads

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Got | None:
        """The object or a range of it, from the first store that has it. The tag tells which one that is."""
        got = await self._at(0, lambda first: first.get(key, start, end))
        if got is not None:
            return Got(got.data, got.size, got.modified, _tag(0, got.tag))
        places = self._older(key)
        for place, got in zip(places, await self._each(places, lambda older: older.get(key, start, end)), strict=True):
            if got is not None:
                return Got(got.data, got.size, got.modified, _tag(place, got.tag))
        return None

    async def stat(self, key: str) -> Stat | None:
        """Size, time and tag, from the first store that has the key, or None."""
        there = await self._at(0, lambda first: first.stat(key))
        if there is not None:
            return there._replace(tag=_tag(0, there.tag))
        places = self._older(key)
        for place, there in zip(places, await self._each(places, lambda older: older.stat(key)), strict=True):
            if there is not None:
                return there._replace(tag=_tag(place, there.tag))
        return None

    async def list(
        self, folder: str, after: str = "", *, deep: bool = False, limit: int = 1000, newest: bool = False
    ) -> Page:
        """One page of all stores together; what several have is listed once, as the first of them has it.

        The first is listed after the older ones: then what is missing of an older store was deleted before, and
        the tombstone that came before that is seen. So the page is one that a single store could have given.
        """

        def page_of(store: Backend) -> Coroutine[Any, Any, Page]:
            return store.list(folder, after, deep=deep, limit=limit)

        places = self._older(folder)
        while True:
            below = [_without_its_own(page, folder) for page in await self._each(places, page_of)]
            page = _merged([await self._at(0, page_of), *below], limit)
            if page.entries or page.folders or page.next is None:
                return page
            after = page.next

    async def unfinished(self, folder: str) -> Sequence[Unfinished]:
        """Unfinished uploads in all stores; whoever erases must find them too."""
        places = [0, *self._older(folder)]
        found = await self._each(places, lambda store: store.unfinished(folder))
        return [
            upload._replace(token=_tag(place, upload.token))
            for place, uploads in zip(places, found, strict=True)
            for upload in uploads
        ]

    async def discard(self, upload: Unfinished) -> None:
        """Abort an upload in the store that it was found in."""
        place, token = _untagged(upload.token)
        await self._at(place, lambda store: store.discard(upload._replace(token=token)))

    async def now(self) -> float:
        """The time by the first one's clock: new objects are dated by it."""
        return await self._at(0, lambda first: first.now())

    async def sign(self, key: str, seconds: int) -> str:
        """A URL by the store that has the object. `BackendError` where that one signs none."""
        there = await self.stat(key)
        place = 0 if there is None else _untagged(there.tag)[0]
        return await self._at(place, lambda store: store.sign(key, seconds))

    async def probe(self, folder: str) -> Abilities:
        """What the first store guarantees."""
        return await self._at(0, lambda first: first.probe(folder))

    async def close(self) -> None:
        """Give back the connections of all stores."""
        await self._each(range(len(self._stores)), lambda store: store.close())

    # the stores

    def _older(self, key: str) -> Sequence[int]:
        """The places of the older stores that may hold *key*."""
        if key.startswith(STORE_FOLDER):
            return []
        return [place for place, store in enumerate(self._stores) if place and _may_hold(store, key)]

    async def _is_in_older(self, key: str) -> bool:
        return any(there is not None for there in await self._each(self._older(key), lambda older: older.stat(key)))

    async def _at(self, place: int, make: Callable[[Backend], Coroutine[Any, Any, T]]) -> T:
        """Run one coroutine of a store where it may run: one that blocks must not hold up the event loop of another."""
        store = self._stores[place]
        if self.placement in SUSPENDING and store.placement == "thread":
            return await in_thread(lambda: _run(make(store)))
        return await make(store)

    async def _each(self, places: Iterable[int], make: Callable[[Backend], Coroutine[Any, Any, T]]) -> Sequence[T]:
        """The answers of several stores, which are asked at the same time where that may be."""
        if self.placement in SUSPENDING:
            return await _together(self._at(place, make) for place in places)
        return [await self._at(place, make) for place in places]


class ReadThroughUpload:
    """A streamed create in the first store."""

    def __init__(self, over: ReadThrough, key: str, inner: Upload) -> None:
        self._over, self._key, self._inner = over, key, inner

    async def write(self, data: Bytes) -> None:
        """Append *data*."""
        await self._over._at(0, lambda _: self._inner.write(data))

    async def commit(self) -> Written:
        """Publish all bytes in the first store if no store has the key."""
        if await self._over._is_in_older(self._key):
            return Written(False)
        return _tagged_if_told(await self._over._at(0, lambda _: self._inner.commit()))

    async def abort(self) -> None:
        """Drop what was written."""
        await self._over._at(0, lambda _: self._inner.abort())


_WIDEST: tuple[Placement, ...] = ("loop", "any", "thread", "inline")


def _may_hold(store: Backend, key: str) -> bool:
    """Whether *key* is short enough for *store*: to ask it for another would be an error."""
    if store.max_key is not None and len(key.encode()) > store.max_key:
        return False
    longest = store.max_segment
    return longest is None or all(len(segment.encode()) <= longest for segment in key.split("/"))


async def _delete_held(store: Backend, keys: Sequence[str]) -> None:
    held: list[str] = []
    for start in range(0, len(keys), AT_ONCE):
        some = [key for key in keys[start : start + AT_ONCE] if not key.startswith(STORE_FOLDER)]
        if store.placement in SUSPENDING:
            seen = await _together(store.stat(key) for key in some)
        else:
            seen = [await store.stat(key) for key in some]
        held += [key for key, there in zip(some, seen, strict=True) if there is not None]
    if held:
        await store.delete(held)


def _without_its_own(page: Page, folder: str) -> Page:
    """A page of an older store without what that one knows of itself."""
    if folder:
        return page
    entries = tuple(entry for entry in page.entries if not entry.name.startswith(STORE_FOLDER))
    return page._replace(entries=entries, folders=tuple(name for name in page.folders if f"{name}/" != STORE_FOLDER))


def _merged(pages: Sequence[Page], limit: int) -> Page:
    """One page of several that begin at the same place; of what more than one has, the first one's counts.

    It ends where the first of them ends: behind that, others may have what comes before the rest of their own page.
    Text sorts as its UTF-8 does.
    """
    end = min((page.next for page in pages if page.next is not None), default=None)
    found: dict[str, Entry | None] = {}
    for page in reversed(pages):
        found.update((f"{name}/", None) for name in page.folders)
        found.update((entry.name, entry) for entry in page.entries)
    names = sorted(name for name in found if end is None or name <= end)
    if len(names) > limit:
        del names[limit:]
        end = names[-1]
    entries = tuple(entry for name in names if (entry := found[name]) is not None)
    return Page(entries, tuple(name[:-1] for name in names if found[name] is None), end)


def _tag(place: int, tag: str) -> str:
    return f"{place}:{tag}"


def _untagged(tag: str) -> tuple[int, str]:
    place, _, inner = tag.partition(":")
    return int(place), inner


def _tagged_if_told(written: Written) -> Written:
    return written._replace(tag=_tag(0, written.tag)) if written.tag else written


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of placement "thread", which never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    coroutine.close()
    raise RuntimeError("a backend of placement 'thread' suspended; its placement should be 'loop'")


async def _together(coroutines: Iterable[Awaitable[T]]) -> list[T]:
    """The results of all, each let end before an error is raised."""
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
