"""What changes below a folder of this machine, as its system tells: by `watchfiles`, the extra ``artifactfs[watch]``."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchfiles import Change

WAKE = 200
"""Milliseconds between two looks whether a watch was closed."""

QUIET = 50
"""Milliseconds without a change after which those before are told of, so that a save is looked at once."""

GATHERED = 500
"""Milliseconds for which changes are gathered at most."""

MOST = 1000
"""Folders that are looked at one by one; where more have changed, one walk along all is cheaper."""


AT_MOST = 3600.0
"""Seconds for which a thread waits for changes before it begins again to."""


def folder_of(url: str) -> str | None:
    """The folder that a store of this URL lies in; None where it is no local one."""
    return url.removeprefix("file://") if url.startswith("file://") else None


class Changes:
    """What changes below a folder from the time on that this is made. *depth*: how deep below it those of artifacts are.

    Raises:
        ImportError: the extra is not installed.
        OSError, RuntimeError: the folder is not there, or the system refuses.
    """

    def __init__(self, folder: str, depth: int) -> None:
        from watchfiles import watch

        self.folder, self.depth = os.path.realpath(folder), depth
        self._place = _place(self.folder)
        self._stop = threading.Event()
        self._changes: Iterator[set[tuple[Change, str]]] = watch(
            self.folder,
            watch_filter=None,
            debounce=GATHERED,
            step=QUIET,
            stop_event=self._stop,
            rust_timeout=WAKE,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )
        self._early: set[str] | None = {path for _, path in next(self._changes)}  # from here on the system tells

    def wait(self, seconds: float) -> list[str] | None:
        """The folders below which something has changed, as paths with their ``/``; none after the time, or if closed.

        None where nothing is told any more: the folder was removed, or made anew, or the system has given up.
        """
        until = time.monotonic() + seconds
        found, self._early = self._early, set()
        while not self._stop.is_set():
            if found is None or _place(self.folder) != self._place:
                return None
            if found:
                return self._folders(found)
            if time.monotonic() >= until:
                break
            found = self._next()
        return []

    def close(self) -> None:
        """Let `wait` return at once, from any thread."""
        self._stop.set()

    @property
    def closed(self) -> bool:
        return self._stop.is_set()

    def _next(self) -> set[str] | None:
        """Paths that have changed; None where nothing is told any more."""
        try:
            return {path for _, path in next(self._changes)}
        except (StopIteration, OSError, RuntimeError):  # the last is what watchfiles raises for what it does not know
            return None

    def _folders(self, paths: set[str]) -> list[str]:
        """The folders of artifacts that *paths* are in; of a path that is less deep, the folder itself."""
        found: set[str] = set()
        for path in paths:
            parts = path[len(self.folder) :].strip("/").split("/")
            if not any(part.startswith("@") for part in parts) and parts[-1] != ".lock":
                found.add("".join(f"{part}/" for part in parts[: self.depth] if part))
        outer = [one for one in found if not any(above in found for above in _above(one))]
        return [""] if len(outer) > MOST else sorted(outer)


class Feed:
    """Changes for an event loop, from a thread of their own: *wake* is called on *loop* when there are some."""

    def __init__(self, changes: Changes, loop: asyncio.AbstractEventLoop, wake: Callable[[], object]) -> None:
        self._changes = changes
        self._found: deque[list[str] | None] = deque()
        self._thread = threading.Thread(
            target=_feed, args=(changes, self._found, loop, wake), name="artifactfs-watch", daemon=True
        )
        self._thread.start()

    def taken(self) -> list[str] | None:
        """All that has changed since this was asked, as `Changes.wait` tells it."""
        folders: set[str] = set()
        while self._found:
            found = self._found.popleft()
            if found is None:
                return None
            folders.update(found)
        return sorted(folders)

    def close(self) -> None:
        """Wait for the thread to end."""
        self._changes.close()
        self._thread.join()

    def __del__(self) -> None:
        """A watch that nobody closed leaves no thread either."""
        self._changes.close()


def _feed(
    changes: Changes, found: deque[list[str] | None], loop: asyncio.AbstractEventLoop, wake: Callable[[], object]
) -> None:
    while not changes.closed:
        some = changes.wait(AT_MOST)
        if some != []:
            found.append(some)
            try:
                loop.call_soon_threadsafe(wake)
            except RuntimeError:  # the loop is closed
                return
        if some is None:
            return


def _above(path: str) -> list[str]:
    """The folders that *path* lies in, from the root."""
    parts = path.split("/")[:-1]
    return ["".join(f"{part}/" for part in parts[:depth]) for depth in range(len(parts))]


def _place(folder: str) -> tuple[int, int]:
    """Which folder that is, as the file system numbers it."""
    try:
        stat = os.stat(folder)
    except OSError:
        return 0, 0
    return stat.st_dev, stat.st_ino
