"""``verify``, ``gc`` and ``prune``: what keeps a store whole, clean and small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from artifactfs.cli.asking import confirm, dry_run_option, yes_option
from artifactfs.cli.exits import Exit
from artifactfs.cli.invocation import REF, Invocation, command, configured, usage
from artifactfs.cli.output import dumps, note, plain, say, size_text, struct_json
from artifactfs.cli.progress import progress
from artifactfs.errors import InvalidConfig, InvalidRef

if TYPE_CHECKING:
    from artifactfs.refs import Ref
    from artifactfs.retention import RetentionPolicy
    from artifactfs.store import ArtifactStore, Scope


def target(invocation: Invocation, where: Ref, *, writes: bool) -> ArtifactStore | Scope:
    """The whole store, or the scope that *where* names.

    Raises:
        InvalidRef: it names anything else.
    """
    if where.app is None:
        return invocation.open(writes=writes)
    if where.name is not None or where.selector is not None or not (where.session or where.user_scope):
        raise InvalidRef(f"{where} is neither a session nor the whole store: write app/user/session, or artifact://")
    return invocation.scope_of(where, writes=writes)


@command("verify")
@click.argument("ref", type=REF, default="")
@click.option(
    "--checkpoint", metavar="FILE", help="Note in this file how far it is, and go on from there if it was cut off."
)
def verify(invocation: Invocation, ref: str, checkpoint: str | None) -> None:
    """Read versions whole, and tell whether they are what was saved.

    One version, the newest of an artifact, or all of a session or of the store. Ends with 1 where one is not whole.
    """
    where = invocation.ref(ref)
    if where.name is not None:
        if checkpoint is not None:
            usage("--checkpoint is for a session or the whole store.")
        _verify_one(invocation, where)
        return
    place = target(invocation, where, writes=False)
    with progress("verifying", None, unit="versions") as show:
        report = place.verify_all(checkpoint=checkpoint, progress=lambda so_far: show(so_far.versions))
    if invocation.json:
        say(dumps({**struct_json(report), "ok": report.ok}))
    else:
        for one in report.damaged:
            say(plain(f"{one.state}: {one.ref}: {one.detail}"))
        if report.damaged_more:
            say(f"{report.damaged_more} more are damaged")
        for key, count in report.keys_lacking.items():
            say(plain(f"key unavailable: {key}, which seals {count} versions"))
        counts = ", ".join(f"{count} {state}" for state, count in sorted(report.counts.items()))
        say(f"{report.versions} versions, {size_text(report.bytes_checked)} read: {counts or 'nothing is there'}")
    if not report.ok:
        click.get_current_context().exit(Exit.FAILED_CHECK)


def _verify_one(invocation: Invocation, where: Ref) -> None:
    assert where.name is not None
    found = invocation.scope_of(where).verify(where.name, where.version)
    if invocation.json:
        told = {name: value for name, value in struct_json(found).items() if name != "record"}
        say(dumps({**told, "ok": found.ok}))
    else:
        say(plain(f"{found.state}: {found.artifact}@{found.version}: {found.detail}"))
    if not found.ok:
        click.get_current_context().exit(Exit.FAILED_CHECK)


@command("gc")
@click.argument("ref", type=REF, default="")
@click.option("--nobody-writes", is_flag=True, help="Nobody writes there meanwhile: stale streams are ended as well.")
@dry_run_option
@yes_option
def gc(invocation: Invocation, ref: str, nobody_writes: bool, dry_run: bool, yes: bool) -> None:
    """Collect what crashed savers and interrupted deletes have left behind.

    In a session, or in the whole store. Nothing goes that a running saver may still need.
    """
    where = invocation.ref(ref)
    place = target(invocation, where, writes=not dry_run)
    if not dry_run:
        confirm(f"collecting what was left behind in {where}", yes)
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


@command("prune")
@click.argument("ref", type=REF, default="")
@click.option(
    "--policy", "file", metavar="FILE", help="The YAML file that says what is kept; else the configuration does."
)
@dry_run_option
@yes_option
def prune(invocation: Invocation, ref: str, file: str | None, dry_run: bool, yes: bool) -> None:
    """Delete for good what a retention policy keeps no longer.

    In a session, or in the whole store. Each version is told of with the rule that decided. What is saved meanwhile stays.
    """
    policy = _policy(invocation, file)
    where = invocation.ref(ref)
    place = target(invocation, where, writes=not dry_run)
    if not dry_run:
        planned = target(invocation, where, writes=False).prune(policy, dry_run=True)
        if planned.deleted:
            confirm(f"deleting {planned.deleted} versions in {where} for good", yes)
    with progress("pruning", None, unit="") as _:
        found = place.prune(policy, dry_run=dry_run)
    if invocation.json:
        say(dumps(struct_json(found)))
        return
    for one in found.versions:
        action = f"would be {one.action}" if dry_run and one.action == "deleted" else one.action
        say(plain(f"{action}: {one.artifact}@{one.version} ({size_text(one.size_bytes)}): {one.why}"))
    note(f"{found.deleted} of {len(found.versions)} versions {'would be ' if dry_run else ''}deleted")


def _policy(invocation: Invocation, file: str | None) -> RetentionPolicy:
    from artifactfs.config import load_policy

    policy = configured(invocation.store_name).retention if file is None else load_policy(file)
    if policy is None:
        raise InvalidConfig(
            "nothing says what is kept: give --policy a YAML file, or the configuration a retention section"
        )
    return policy
