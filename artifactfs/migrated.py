"""What is told of a migration."""

from __future__ import annotations

from typing import Any

import msgspec

MOST_TOLD = 1000
"""Troubles of one kind that are named; more are counted."""


class Trouble(msgspec.Struct, frozen=True, order=True):
    """What was not copied, as ``app/user/session/name@N``, an artifact or a key; and why."""

    what: str
    why: str


class Migrated(msgspec.Struct, frozen=True, kw_only=True):
    """What a migration has seen and done. A number is a version, a removal among them, or what is left of one.

    Attributes:
        copied: numbers that are at the destination now, read back and found to be what the source holds.
        copied_bytes: the bytes of their payloads.
        already: numbers that were there before.
        deleted: versions that were deleted for good at the source since, and are now deleted at the destination, too.
        tags: tags that were set or moved at the destination.
        in_progress: numbers that are claimed at the source and not published. Migrate again when their saves have ended.
        conflicts: numbers that the destination has given to something else. Nothing there was changed.
        damaged: versions that are not what was saved, at the source already. They are not copied.
        left_out: what cannot be kept, or is not to be.
        failed: artifacts, or parts of them, that an error kept from being copied. Migrate again.
        more: for each of these five, how many more there are than are named.
        dry_run: nothing was written, and no payload read: this is what would be done.
    """

    copied: int = 0
    copied_bytes: int = 0
    already: int = 0
    deleted: int = 0
    tags: int = 0
    in_progress: tuple[Trouble, ...] = ()
    conflicts: tuple[Trouble, ...] = ()
    damaged: tuple[Trouble, ...] = ()
    left_out: tuple[Trouble, ...] = ()
    failed: tuple[Trouble, ...] = ()
    more: dict[str, int] = {}
    dry_run: bool = False

    @property
    def complete(self) -> bool:
        """Whether the destination has all that the source had when it was read."""
        return not (self.in_progress or self.conflicts or self.damaged or self.left_out or self.failed)


class Tally:
    """A `Migrated` that is still being counted. It is pickled."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.told: dict[str, list[Trouble]] = {}
        self.more: dict[str, int] = {}

    def count(self, what: str, by: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + by

    def tell(self, kind: str, what: str, why: str) -> None:
        told = self.told.setdefault(kind, [])
        if len(told) < MOST_TOLD:
            told.append(Trouble(what, why))
        else:
            self.more[kind] = self.more.get(kind, 0) + 1

    def add(self, other: Tally) -> None:
        for what, count in other.counts.items():
            self.count(what, count)
        for kind, told in other.told.items():
            for one in told:
                self.tell(kind, one.what, one.why)
        for kind, count in other.more.items():
            self.more[kind] = self.more.get(kind, 0) + count

    def result(self, dry_run: bool) -> Migrated:
        told: dict[str, Any] = dict(self.counts)
        told |= {kind: tuple(sorted(some)) for kind, some in self.told.items()}
        return Migrated(more=dict(self.more), dry_run=dry_run, **told)
