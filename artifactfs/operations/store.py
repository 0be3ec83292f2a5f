"""What can be done with a whole store."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from artifactfs.backends.base import Abilities
from artifactfs.errors import (
    AccessDenied,
)
from artifactfs.layout import STORE_FOLDER, ArtifactId, ScopeId
from artifactfs.names import USER_SCOPE, check, decode, encode, is_segment
from artifactfs.operations.core import Core, rotating
from artifactfs.protocol import ability
from artifactfs.protocol.ops import Lazy, List, Now, Steps
from artifactfs.protocol.sealing import shred

if TYPE_CHECKING:
    from artifactfs.inventory.refresh import Inventory
    from artifactfs.protocol.gc import Collected
    from artifactfs.protocol.prune import Pruned
    from artifactfs.protocol.rotate import Rotated
    from artifactfs.retention import RetentionPolicy
    from artifactfs.search.query import Query, Started


class StoreOperations:
    """What can be done with a whole store."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def apps(self) -> Lazy[str]:
        """The apps that have stored anything, sorted by their encoded form, read lazily."""
        from artifactfs.protocol import names

        return names.folders("", "app", STORE_FOLDER.rstrip("/"))

    def users(self, app: str) -> Lazy[str]:
        """The users of *app*, sorted by their encoded form, read lazily.

        Raises:
            AccessDenied: the store has a ``scope_secret``, and so knows nobody's name.
        """
        if self.core.custody.hides_users:
            raise AccessDenied(
                f"the users of {app!r} cannot be listed: with a scope_secret the store holds only digests of them; "
                "sessions and names of a user that you name can",
                store=self.core.backend.url,
            )
        from artifactfs.protocol import names

        return names.folders(f"{encode(app, 'app')}/", "user", "")

    def holds(self, app: str) -> Steps[bool]:
        """Whether *app* has stored anything."""
        (page,) = yield (List(f"{encode(app, 'app')}/"),)
        return bool(page.folders)

    def sessions(self, app: str, user: str) -> Lazy[str]:
        """The sessions of a user, sorted by their encoded form, read lazily; the scope that they share is none."""
        from artifactfs.protocol import names

        return names.folders(self._user_folder(app, user), "session", USER_SCOPE)

    def _user_folder(self, app: str, user: str) -> str:
        return f"{encode(app, 'app')}/{encode(self.core.custody.user(check(app, 'app'), check(user, 'user')), 'user')}/"

    def probe(self) -> Steps[Abilities]:
        """Find out what the store really guarantees: for a create, for completing an upload, for a conditional rewrite.

        Each is ``atomic``, ``racy``, ``ignored`` or ``refused``, judged by racing two writers. Memory, local disk and
        AWS and Google by their own endpoints are known. The answer is kept in the store for thirty days where creates
        are atomic; a save on any other store raises `UnsafeBackend`.

        >>> store.probe().create
        'atomic'

        Raises:
            AccessDenied: the store was opened with ``read_only=True``: a probe writes.
        """
        if self.core.read_only:
            raise AccessDenied(
                f"the store {self.core.backend.url} was opened with read_only=True, and a probe writes",
                store=self.core.backend.url,
            )
        if self.core.backend.abilities is not None:
            return self.core.backend.abilities
        self.core.abilities = yield from ability.probe(self.core.backend.identity, time.time())
        self.core.env = None
        return self.core.abilities

    def compact(self, *, dry_run: bool = False) -> Steps[int]:
        """Remove the tombstones and fences of numbers that ended more than seven days ago; how many there were.

        The newest number of each artifact and every hundredth one stay taken. Safe beside running savers. With *dry_run*
        they are counted and stay.
        """
        from artifactfs.operations import upkeep
        from artifactfs.protocol.compact import compact

        env = yield from upkeep.planning(self.core) if dry_run else self.core.writing()
        cleared = 0
        for scope in (yield from self.scopes()):
            for name in (yield from _subfolders(scope.folder)):
                if is_segment(name):
                    cleared += yield from compact(env, ArtifactId(scope, decode(name)), dry_run=dry_run)
        return cleared

    def gc(self, *, dry_run: bool = False, nobody_writes: bool = False) -> Steps[Collected]:
        """As `Scope.gc`, of everything in the store."""
        from artifactfs.operations import upkeep

        return (yield from upkeep.gc(self.core, "", dry_run, nobody_writes))

    def prune(self, policy: RetentionPolicy | Mapping[str, Any], *, dry_run: bool = False) -> Steps[Pruned]:
        """As `Scope.prune`, of everything in the store that a rule is for.

        Raises:
            InvalidConfig: the policy makes no sense, or has patterns of users, and the store has a ``scope_secret``.
        """
        from artifactfs.protocol.prune import prune
        from artifactfs.retention import read_policy

        rules = read_policy(policy)
        env = None if dry_run else (yield from self.core.writing())
        return (yield from prune(env, rules, (yield from self.scopes()), self.core.backend.url))

    def rotate(self, *, to: str, nobody_deletes: bool = False) -> Steps[Rotated]:
        """As `Scope.rotate`, of everything in the store."""
        from artifactfs.protocol.rotate import Tally, rotate

        env = yield from rotating(self.core, to, nobody_deletes)
        tally = Tally(to)
        for scope in (yield from self.scopes()):
            yield from rotate(env, scope, tally)
        return tally.result()

    def shred(self, key_id: str) -> Steps[None]:
        """Have a key destroyed by whoever keeps it: what it wraps can never be read again, here or in any copy.

        Versions, names and numbers stay; ``delete`` and ``erase`` take them away. A key that was given as text is forgotten
        by this process: its copies, in the environment or a file, are yours to destroy. Rotate first what is to stay.

        Raises:
            InvalidConfig: it is the active key, or its keeper has no method ``shred``.
            KeyUnavailable: there is no such key.
        """
        return (yield from shred(self.core.custody, key_id))

    def scopes(self) -> Steps[list[ScopeId]]:
        """Every scope that anything lies in; its user is what the store calls them.

        What no app, user or session is spelled as is another program's, and passed over: it holds no artifacts.
        """
        found = []
        for app in filter(partial(is_segment, what="app"), (yield from _subfolders(""))):
            for user in filter(partial(is_segment, what="user"), (yield from _subfolders(f"{app}/"))):
                for session in (yield from _subfolders(f"{app}/{user}/")):
                    if not (session == USER_SCOPE or is_segment(session, "session")):
                        continue
                    inner = None if session == USER_SCOPE else decode(session, "session")
                    place = decode(app, "app"), decode(user, "user"), inner
                    found.append(ScopeId(*place, self.core.custody, as_stored=True))
        return found

    def erase(
        self, app: str, user: str, session: str | None = None, name: str | None = None, *, dry_run: bool = False
    ) -> Steps[int]:
        """Remove every trace of a user, of one session, or of one artifact; how many objects there were.

        Versions, tombstones and the names in them are gone, and numbers may be given again. To be used when nobody is
        saving there; not atomic: where it fails, erase again. For an artifact of the user's scope give ``name`` alone.
        With *dry_run* the objects are counted and stay. What an inventory tells of them is erased too, and not counted.
        """
        from artifactfs.inventory.forget import forget
        from artifactfs.protocol.erase import erase

        scope = ScopeId(app, user, session, self.core.custody)
        if name is not None:
            artifact = scope.artifact(name)
            folders = [artifact.folder, artifact.hidden_folder, artifact.tags_folder]
        else:
            folders = [self._user_folder(app, user) if session is None else scope.folder]
        if not dry_run:
            env = yield from self.core.writing()
            self.core.forget_all()
        count = 0
        for folder in folders:
            count += yield from erase(folder, dry_run=dry_run)
        if not dry_run:
            yield from forget(env, self.core.custody, folders)
        return count

    def inventory(self) -> Steps[Inventory]:
        """Bring the inventory up to date that `search` looks into, or make it: Parquet files beside the store.

        A listing of the whole store, then a read of each record that is new. Readers have the old inventory or the new
        one, whole; several at the same time do no harm. Versions that are saved meanwhile may be in it or not.

        >>> store.inventory().read
        2

        Raises:
            InvalidConfig: DuckDB is not installed.
            AccessDenied: the store was opened with ``read_only=True``.
            KeyUnavailable: the key that is active for the inventory is not to be had.
        """
        from artifactfs.inventory.refresh import refresh

        env = yield from self.core.writing()
        return (yield from refresh(env, self.core.custody))

    def search(self, query: Query, fresh: bool) -> Steps[Started]:
        """Look into the inventory, brought up to date first if *fresh*; where there is none that can be used, scan."""
        from artifactfs.inventory.table import is_installed
        from artifactfs.search.indexed import over_inventory
        from artifactfs.search.query import Started
        from artifactfs.search.scanning import scan

        hint = ""
        if fresh and self.core.read_only:
            hint = "searched without the inventory: it cannot be brought up to date in a store that is opened read_only"
        else:
            if fresh and is_installed():
                yield from self.inventory()
            started = yield from over_inventory(self.core.custody, query)
            if isinstance(started, Started):
                return started
            hint = started
        logging.getLogger("artifactfs").info("search of %s: %s", self.core.backend.url, hint)
        now: float = time.time()
        if not self.core.read_only:
            (now,) = yield (Now(),)
        return Started(datetime.fromtimestamp(now, UTC), hint, scan(self.core.custody, query))


def _subfolders(folder: str) -> Steps[list[str]]:
    found: list[str] = []
    position: str | None = ""
    while position is not None:
        (page,) = yield (List(folder, position),)
        found += page.folders
        position = page.next
    return found
