"""``rm`` and ``delete``: out of view, and for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from artifactfs.cli.asking import confirm, dry_run_option, yes_option
from artifactfs.cli.invocation import REF, Invocation, command
from artifactfs.cli.output import dumps, record_json, say, size_text, version_ref
from artifactfs.errors import ArtifactNotFound, InvalidRef

if TYPE_CHECKING:
    from artifactfs.records import Record
    from artifactfs.store import Scope


@command("rm")
@click.argument("ref", type=REF)
@click.option(
    "--expect", type=click.IntRange(min=0), metavar="N", help="Remove only if the newest version is this one."
)
@dry_run_option
def rm(invocation: Invocation, ref: str, expect: int | None, dry_run: bool) -> None:
    """Take an artifact out of view. Its history stays.

    It is gone from listings and from reads of the newest version; older versions can be read by their number, and a
    later put, or restore, brings it back.
    """
    where = invocation.without_version(ref, "rm")
    assert where.name is not None
    scope = invocation.scope_of(where, writes=not dry_run)
    if dry_run:
        record = scope.stat(where.name)
        told = {"ref": str(where), "newest": record.version, "dry_run": True}
        say(dumps(told) if invocation.json else f"would remove {where}, whose newest version is {record.version}")
        return
    removed = scope.remove(where.name, expect=expect)
    if invocation.json:
        say(dumps(record_json(removed, where)))
    else:
        say(f"removed {where}; its versions before {removed.version} stay")


@command("delete")
@click.argument("ref", type=REF)
@dry_run_option
@yes_option
def delete(invocation: Invocation, ref: str, dry_run: bool, yes: bool) -> None:
    """Delete a version, or a whole artifact, for good.

    With @N behind REF that version, else all of them. The bytes are gone; the numbers are never given again.
    """
    where = invocation.artifact(ref)
    assert where.name is not None
    selected = where.selector
    if not (selected is None or isinstance(selected, int)):
        raise InvalidRef(
            f"delete takes a version by its number, not {ref!r:.200}: what else names it may move meanwhile"
        )
    scope = invocation.scope_of(where, writes=not dry_run)
    if isinstance(selected, int) and selected < 0:
        selected = scope.stat(where.name, selected).version
    found = _records(scope, where.name, selected)
    told = [version_ref(where, record.version) for record in found]
    size = size_text(sum(record.size_bytes or 0 for record in found))
    if selected is not None:
        what = f"{version_ref(where, selected)} ({size})"
    else:
        what = f"{where}, all versions: {len(told)} ({size})"
    if not dry_run:
        confirm(f"deleting {what} for good", yes)
        scope.delete(where.name, selected)
    if invocation.json:
        say(dumps({"deleted": [str(one) for one in told], "dry_run": dry_run}))
    else:
        say(f"{'would delete' if dry_run else 'deleted'} {what}")


def _records(scope: Scope, name: str, number: int | None) -> list[Record]:
    """What is to be deleted: also removals, and what no read would give."""
    found = [record for record in scope.history(name) if number in (None, record.version)]
    if not found and number is not None:
        scope.stat(name, number)  # which says what is there instead
    if not found:
        raise ArtifactNotFound(f"there is no artifact {scope.id.label}/{name}")
    return found
