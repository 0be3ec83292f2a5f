"""Erasing: every trace of a user, a session or an artifact, names in tombstones included."""

from __future__ import annotations

from artifactfs.backends.base import Page
from artifactfs.protocol.ops import Delete, Discard, List, ListUnfinished, Steps


def erase(folder: str, *, dry_run: bool = False) -> Steps[int]:
    """Remove every object below *folder*, parts of unfinished uploads included; how many objects there were.

    With *dry_run* they are counted and stay.

    Whoever calls this knows that nobody is writing there.

    Not atomic: where it fails, some are gone, and erasing again goes on.
    """
    if dry_run:
        return (yield from _count(folder))
    count = 0
    (uploads,) = yield (ListUnfinished(folder),)
    for upload in uploads:
        yield (Discard(upload),)
    while True:
        page: Page
        (page,) = yield (List(folder, deep=True),)
        if not page.entries:
            return count
        yield (Delete(tuple(folder + entry.name for entry in page.entries)),)
        count += len(page.entries)


def _count(folder: str) -> Steps[int]:
    count = 0
    after: str | None = ""
    while after is not None:
        page: Page
        (page,) = yield (List(folder, after, deep=True),)
        count += len(page.entries)
        after = page.next
    return count
