"""``gc``: what keeps a store clean and whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from artifactfs.cli.asking import confirm, dry_run_option, yes_option
from artifactfs.cli.invocation import REF, Invocation, command
from artifactfs.cli.output import dumps, plain, say, size_text, struct_json
from artifactfs.cli.progress import progress
from artifactfs.errors import InvalidRef

if TYPE_CHECKING:
    from artifactfs.store import ArtifactStore, Scope


def target(invocation: Invocation, text: str, *, writes: bool) -> ArtifactStore | Scope:
    """The whole store, or the scope that *text* names.

    Raises:
        InvalidRef: it names anything else.
    """
    where = invocation.ref(text)
    if where.app is None:
        return invocation.open(writes=writes)
    if where.name is not None or where.selector is not None or not (where.session or where.user_scope):
        raise InvalidRef(f"{where} is neither a session nor the whole store: write app/user/session, or artifact://")
    return invocation.scope_of(where, writes=writes)


@command("gc")
@click.argument("ref", type=REF, default="")
@click.option("--nobody-writes", is_flag=True, help="Nobody writes there meanwhile: stale streams are ended as well.")
@dry_run_option
@yes_option
def gc(invocation: Invocation, ref: str, nobody_writes: bool, dry_run: bool, yes: bool) -> None:
    """Collect what crashed savers and interrupted deletes have left behind.

    In a session, or in the whole store. Nothing goes that a running saver may still need.
    """
    place = target(invocation, ref, writes=not dry_run)
    if not dry_run:
        confirm(f"collecting what was left behind in {invocation.ref(ref)}", yes)
    with progress("collecting", None, unit="") as _:
        found = place.gc(dry_run=dry_run, nobody_writes=nobody_writes)
    if invocation.json:
        say(dumps({**struct_json(found), "bytes_freed": found.bytes_freed}))
        return
    for one in found.collected:
        say(plain(f"{'would collect' if dry_run else 'collected'} {one.kind} {one.key}: {one.why}"))
    for one in found.left:
        say(plain(f"left {one.kind} {one.key}: {one.why}"))
    would = "would be " if dry_run else ""
    say(f"{len(found.collected)} {would}collected ({size_text(found.bytes_freed)}), {len(found.left)} left")
