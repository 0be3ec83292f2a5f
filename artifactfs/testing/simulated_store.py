"""A model store for the simulator: states of it are numbers, and so are the operations, so that both compare quickly.

Each operation on each state is worked out once. The store is deterministic: its clock stands still, and an object's tag
is made of its bytes (as an ETag is, so that bytes that come back bring the old tag back).
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from artifactfs.backends.base import Entry, Got, Page, Stat, Unfinished, Written
from artifactfs.backends.numbers import newest_page
from artifactfs.layout import parse_entry
from artifactfs.protocol.ops import Create, Delete, Discard, Get, List, ListUnfinished, Op, Put, Replace, StatOf

UPLOADS = "\0uploads/"
"""Where the uploads lie that others can see, by token: an item holds the key that its upload is for."""


class Item(NamedTuple):
    """A stored object: its bytes, and when it was written (seconds by the store's clock)."""

    data: bytes
    modified: float


Contents: TypeAlias = Mapping[str, Item]


@dataclass(frozen=True, slots=True)
class Opened:
    """The beginning of an upload that others can see, and take away."""

    key: str
    token: str


@dataclass(frozen=True, slots=True)
class Completion:
    """The completion of an upload: a create of *data*, or where the store completes without a look, an overwrite.

    With the token *upload* it is of one that others can see, which must be there still.
    """

    key: str
    data: bytes
    overwrites: bool
    upload: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that never came: thrown into the generator as `BackendUnavailable`. *landed* as there.

    Where *gone*, one came: that the upload is gone, thrown as `BackendError`.
    """

    landed: bool
    gone: bool = False


Sent: TypeAlias = Op | Opened | Completion


class ModelStore:
    """All states that a store was in.

    `rows[state][op]` is what performing an operation on a state leads to: the state after it, and its answer's number.
    It tells so many of the *newest* payloads of a folder where it is asked for these; none: it gives a page as ever.
    """

    def __init__(self, now: float, page: int = 1000, newest: int = 0) -> None:
        self.now, self.page, self.newest = now, page, newest
        self.contents: list[Contents] = []
        self.rows: list[dict[int, tuple[int, int]]] = []
        self.ops: list[tuple[Sent, int]] = []
        self.answers: list[Any] = []
        self._states: dict[Hashable, int] = {}
        self._ops: dict[Hashable, int] = {}
        self._answers: dict[Hashable, int] = {}

    def state(self, contents: Contents) -> int:
        """The number of the state in which the store holds *contents*."""
        key = frozenset(contents.items())
        number = self._states.setdefault(key, len(self.contents))
        if number == len(self.contents):
            self.contents.append(MappingProxyType(dict(contents)))
            self.rows.append({})
        return number

    def op(self, op: Sent, tries: int) -> int:
        """The number of *op* when it is sent for the so-manieth time."""
        number = self._ops.setdefault((op, tries), len(self.ops))
        if number == len(self.ops):
            self.ops.append((op, tries))
        return number

    def answer(self, answer: Any) -> int:
        number = self._answers.setdefault((type(answer), answer), len(self.answers))
        if number == len(self.answers):
            self.answers.append(answer)
        return number

    def perform(self, state: int, number: int) -> tuple[int, int]:
        """Perform an operation on a state, at one instant."""
        op, tries = self.ops[number]
        objects = self.contents[state]
        changed: dict[str, Item | None] = {}
        answer: Any = None
        match op:
            case Opened(key, token):
                changed = {UPLOADS + token: Item(key.encode(), self.now)}
            case Discard(Unfinished(token=token)):
                changed = {UPLOADS + token: None} if UPLOADS + token in objects else {}
            case ListUnfinished(folder):
                answer = tuple(_uploads(objects, folder))
            case Completion(upload=token) if token and UPLOADS + token not in objects:
                # Sent twice, the first may have completed it: then it says what a store would that looks at the object.
                answer = Failure(landed=False, gone=True) if tries == 1 else Written(False, tries)
            case Create(key, data, _) | Completion(key, data, False):
                answer = Written(key not in objects, tries, tag(data) if key not in objects else "")
                changed = {key: Item(data, self.now)} if key not in objects else {}
            case Put(key, data, _) | Completion(key, data, True):
                answer, changed = Written(True, tries, tag(data)), {key: Item(data, self.now)}
            case Replace(key, data, _, expected):
                fits = key in objects and tag(objects[key].data) == expected
                answer = Written(fits, tries, tag(data) if fits else "")
                changed = {key: Item(data, self.now)} if fits else {}
            case Delete(keys):
                changed = {key: None for key in keys if key in objects}
            case Get(key, start, end):
                if key in objects:
                    data, modified = objects[key]
                    answer = Got(data[start:end], len(data), modified, tag(data))
            case StatOf(key):
                if key in objects:
                    answer = Stat(len(objects[key].data), objects[key].modified, tag(objects[key].data))
            case List():
                answer = self._list(objects, op)
            case _:
                raise TypeError(f"the model store cannot perform {op!r}")
        if isinstance(op, Completion) and op.upload and isinstance(answer, Written) and answer.done:
            changed[UPLOADS + op.upload] = None
        after = state
        if changed:
            kept = {key: item for key, item in objects.items() if key not in changed}
            after = self.state(kept | {key: item for key, item in changed.items() if item is not None})
        result = self.rows[state][number] = after, self.answer(answer)
        return result

    def _list(self, objects: Contents, op: List) -> Page:
        if op.newest and self.newest and (page := self._newest(objects, op.folder)) is not None:
            return page
        found: dict[bytes, Entry | str] = {}
        for key, item in objects.items():
            if key.startswith(op.folder):
                name, slash, _ = key[len(op.folder) :].partition("/")
                if slash and not op.deep:
                    found[(name + "/").encode()] = name
                else:
                    whole = key[len(op.folder) :]
                    found[whole.encode()] = Entry(whole, len(item.data), item.modified)
        names = sorted(name for name in found if name > op.after.encode())
        limit = min(op.limit, self.page)
        shown = [found[name] for name in names[:limit]]
        return Page(
            tuple(one for one in shown if isinstance(one, Entry)),
            tuple(one for one in shown if isinstance(one, str)),
            names[limit - 1].decode() if len(names) > limit else None,
        )

    def _newest(self, objects: Contents, folder: str) -> Page | None:
        def entry(name: str) -> Entry | None:
            item = objects.get(folder + name)
            return item and Entry(name, len(item.data), item.modified)

        found = [parse_entry(key[len(folder) :]) for key in objects if key.startswith(folder)]
        return newest_page(max((one[1] for one in found if one), default=-1), entry, self.newest)


def _uploads(objects: Contents, folder: str) -> Iterator[Unfinished]:
    for key, item in sorted(objects.items()):
        if key.startswith(UPLOADS) and item.data.startswith(folder.encode()):
            yield Unfinished(item.data.decode(), item.modified, key.removeprefix(UPLOADS))


def tag(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()[:8]
