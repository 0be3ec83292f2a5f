"""``compact`` and ``erase``, which take away for good what no other command does."""

from __future__ import annotations

import click

from artifactfs.cli.asking import confirm, dry_run_option, yes_option
from artifactfs.cli.invocation import REF, Invocation, command
from artifactfs.cli.output import dumps, say
from artifactfs.errors import ArtifactNotFound, InvalidRef


@command("compact", scoped=False)
@dry_run_option
@yes_option
def compact(invocation: Invocation, dry_run: bool, yes: bool) -> None:
    """Clear away what deleted versions have left behind.

    The tombstones of numbers that ended more than seven days ago go, in the whole store. Safe beside running savers.
    """
    store = invocation.open(writes=not dry_run)
    if not dry_run:
        confirm(f"clearing old tombstones away in {store.url}", yes)
    count = store.compact(dry_run=dry_run)
    if invocation.json:
        say(dumps({"cleared": count, "dry_run": dry_run}))
    else:
        say(f"{'would clear' if dry_run else 'cleared'} {count} numbers")


@command("erase")
@click.argument("ref", type=REF)
@dry_run_option
@yes_option
def erase(invocation: Invocation, ref: str, dry_run: bool, yes: bool) -> None:
    """Erase every trace of a user, a session or an artifact.

    Versions, history, tags, tombstones and the names in them: all is gone, and nothing brings it back. For the day when a
    law asks for it. Nobody may be saving there meanwhile.
    """
    where = invocation.ref(ref)
    if where.selector is not None:
        raise InvalidRef(
            f"erase takes no version, for it erases all of them: see delete, or leave {ref!r:.200} without it"
        )
    if where.user is None or where.app is None:
        raise InvalidRef(
            f"{where} is too much to erase at once: write app/user, app/user/session or app/user/session/name"
        )
    if where.user_scope and where.name is None:
        raise InvalidRef(f"{where} is what sessions share: erase its artifacts one by one, or the whole user")
    store = invocation.open(writes=not dry_run)
    place = where.app, where.user, where.session, where.name
    count = store.erase(*place, dry_run=True)
    if not count:
        raise ArtifactNotFound(f"nothing lies at {where}")
    if not dry_run:
        confirm(f"erasing every trace of {where} ({count} objects), while nobody saves there", yes)
        count = store.erase(*place)
    if invocation.json:
        say(dumps({"ref": str(where), "objects": count, "dry_run": dry_run}))
    else:
        say(f"{'would erase' if dry_run else 'erased'} {where}: {count} objects")
