"""What lies in a folder of this machine, in the order of listings, or its newest numbers alone."""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator
from dataclasses import dataclass

from artifactfs.backends.base import Entry, Page
from artifactfs.backends.local_files import ABSENT
from artifactfs.backends.numbers import newest_page
from artifactfs.layout import RECORD, parse_entry

PAGE = 1000
"""Entries from which on a page may be longer than it was asked for."""

SHARE = 4
"""A page gives at least a quarter of the names that were read for it: however many there are, few pages read them all."""

TRIES = 10
"""How often names are read again of which a payload has gone since; a file system may show it for long."""


@dataclass(slots=True)
class Tally:
    """How many names were read for a page."""

    names: int = 0

    def most(self, limit: int) -> int:
        """How many entries a page gives that was asked for *limit*."""
        return limit if limit < PAGE else max(limit, self.names // SHARE)


def level(path: str, low: str, tally: Tally) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Files and folders of one folder in order, a folder's name with its slash, from *low* on.

    A folder that *low* lies in is among them. The order of code points is that of UTF-8 bytes.
    """
    found: dict[str, os.DirEntry[str]] = {}
    inside = low[: low.find("/") + 1]
    first = inside or low
    try:
        with os.scandir(path or "/") as items:
            for item in items:
                name = item.name
                tally.names += 1
                if name[0] != "." and name + "/" >= first:
                    found[name + "/" if item.is_dir(follow_symlinks=False) else name] = item
    except OSError as error:
        if error.errno in ABSENT:
            return
        raise
    for name in sorted([name for name in found if name > low or name == inside]):
        item = found[name]
        if name[-1] == "/" or item.is_file(follow_symlinks=False):
            yield name, item


def walk(path: str, prefix: str, after: str, tally: Tally) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All files below a folder whose paths sort behind *after*, in order."""
    low = after[len(prefix) :] if after.startswith(prefix) else ""
    for name, item in level(path, low, tally):
        if name[-1] == "/":
            yield from walk(f"{path}/{name[:-1]}", prefix + name, after, tally)
        else:
            yield prefix + name, item


def holds_a_file(path: str) -> bool:
    """Whether any visible file lies below; a folder of a crashed or running write holds none."""
    folders = []
    try:
        with os.scandir(path) as items:
            for item in items:
                if item.name[0] != ".":
                    if item.is_file(follow_symlinks=False):
                        return True
                    if item.is_dir(follow_symlinks=False):
                        folders.append(item.path)
    except OSError as error:
        if error.errno not in ABSENT:
            raise
    return any(map(holds_a_file, folders))


def newest(path: str) -> Page | None:
    """The page of a folder's newest numbers; None where a whole listing tells sooner.

    The names are read once, and looked through by what costs least for each: there may be hundreds of thousands.
    """
    for _ in range(TRIES):
        try:
            names = os.listdir(os.fsencode(path or "/"))
        except OSError as error:
            if error.errno in ABSENT:
                return Page((), (), None)
            raise
        try:
            return _newest(path, names)
        except _Torn:
            continue
    return None


class _Torn(Exception):
    """A payload went after the names were read: one that came before that may be above it, and is not among them."""


def _newest(path: str, names: list[bytes]) -> Page | None:
    payloads = set(map(int, filter(bytes.isdigit, names)))
    top = max(payloads, default=-1)
    # Longer names than this one's, and as long ones behind it: claims above the newest payload, and what is no number.
    last = os.fsencode(f"{max(top, 0)}{RECORD}")
    size = len(last)
    for name in [name for name in names if len(name) >= size and (name >= last or len(name) > size)]:
        match parse_entry(os.fsdecode(name)):
            case ("record", number):
                top = max(top, number)
    if top >= 0 and parse_entry(str(top)) is None:  # what some other program put there hides the numbers below it
        return None

    def entry(name: str) -> Entry | None:
        # A payload that came since is not shown: one above it may have come before, which the names do not show either.
        if name.isdecimal() and int(name) not in payloads:
            return None
        try:
            stat = os.stat(f"{path}/{name}", follow_symlinks=False)
        except FileNotFoundError:
            if name.isdecimal() and os.fsencode(name) in names:
                raise _Torn from None
            return None
        return Entry(name, stat.st_size, stat.st_mtime) if modes.S_ISREG(stat.st_mode) else None

    return newest_page(top, entry)
