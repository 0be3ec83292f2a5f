"""Keys in memory by folder, so that what is done in one folder costs nothing for what lies in others."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator

from artifactfs.layout import RECORD

_FEW = 50
"""So many new names are put in their places one by one; with more of them the whole folder is sorted."""


class Folder:
    """The names in one folder, that of a folder with its slash; they are sorted when somebody asks for them.

    `top` is a number that none in the folder was ever above.
    """

    __slots__ = ("_names", "_new", "top")

    def __init__(self) -> None:
        self._names: list[str] = []
        self._new: list[str] = []
        self.top = -1

    def add(self, name: str) -> None:
        """Add a name that is not there yet."""
        self._new.append(name)
        number = name.removesuffix(RECORD)
        if number.isdecimal() and int(number) > self.top:
            self.top = int(number)

    def remove(self, name: str) -> bool:
        """Remove a name that is there; True where none is left."""
        names = self.names()
        del names[bisect_left(names, name)]
        return not names

    def names(self) -> list[str]:
        """In the order of code points, which is that of UTF-8 bytes."""
        names, new = self._names, self._new
        if len(new) > _FEW:
            names += new
            names.sort()
        else:
            for name in new:
                insort(names, name)
        new.clear()
        return names


class Keys:
    """All keys of a store. A folder is called by its path without a slash at the end; ``""`` holds them all."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._folders = {"": Folder()}
        for key in keys:
            self.add(key)

    def add(self, key: str) -> None:
        """Add a key that is not there yet, and the folders that it lies in."""
        path, _, name = key.rpartition("/")
        folder = self._folders.get(path)
        while folder is None:
            folder = self._folders[path] = Folder()
            folder.add(name)
            path, _, name = path.rpartition("/")
            name += "/"
            folder = self._folders.get(path)
        folder.add(name)

    def remove(self, key: str) -> None:
        """Remove a key that is there, and the folders that are empty without it."""
        path, _, name = key.rpartition("/")
        while self._folders[path].remove(name) and path:
            del self._folders[path]
            path, _, name = path.rpartition("/")
            name += "/"

    def top(self, path: str) -> int:
        """A number that none in the folder is above."""
        folder = self._folders.get(path)
        return -1 if folder is None else folder.top

    def level(self, path: str, after: str) -> Iterator[str]:
        """The names in a folder that sort after *after*, that of a folder with its slash; not one that *after* lies in."""
        folder = self._folders.get(path)
        if folder is not None:
            names = folder.names()
            head, slash, _ = after.partition("/")
            for at in range(bisect_right(names, head + slash) if after else 0, len(names)):
                yield names[at]

    def walk(self, path: str, after: str, prefix: str = "") -> Iterator[str]:
        """The keys below a folder that sort after *after*, relative to it, each with *prefix*."""
        folder = self._folders.get(path)
        if folder is None:
            return
        names = folder.names()
        head, slash, rest = after.partition("/")
        start = bisect_left(names, head + slash) if slash else bisect_right(names, after) if after else 0
        for at in range(start, len(names)):
            name = names[at]
            if name[-1] != "/":
                yield prefix + name
            else:
                inner = f"{path}/{name[:-1]}" if path else name[:-1]
                yield from self.walk(inner, rest if name == head + slash else "", prefix + name)
