"""``migrate``: from one store to another."""

from __future__ import annotations

import click

from artifactfs.cli.exits import Exit
from artifactfs.cli.invocation import Invocation, command, open_store
from artifactfs.cli.output import dumps, plain, say, size_text, struct_json
from artifactfs.cli.progress import progress


@command("migrate", scoped=False)
@click.argument("source")
@click.argument("destination")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
def migrate(invocation: Invocation, source: str, destination: str, dry_run: bool) -> None:
    """Copy a whole store to another one, as it is.

    Each is a URL, a folder or a YAML file that describes it. A second run copies only what is new. Ends with 1 where
    something was not copied, and with 4 where the destination has given a number to something else.
    """
    from artifactfs.migrate import migrate as run

    first, second = open_store(source), open_store(destination, writes=True)
    with progress(f"copying {first.url}", None, unit="") as _:
        done = run(first, second, dry_run=dry_run)
    if invocation.json:
        say(dumps({**struct_json(done), "complete": done.complete}))
    else:
        would = "would be " if dry_run else ""
        say(f"{done.copied} versions {would}copied ({size_text(done.copied_bytes)}), {done.already} there before")
        say(f"{done.deleted} {would}deleted, {done.tags} tags {would}set")
        for kind in ("in_progress", "conflicts", "damaged", "left_out", "failed"):
            for one in getattr(done, kind):
                say(plain(f"{kind.replace('_', ' ')}: {one.what}: {one.why}"))
            if done.more.get(kind):
                say(f"{kind.replace('_', ' ')}: {done.more[kind]} more")
    if not done.complete:
        click.get_current_context().exit(Exit.CONFLICT if done.conflicts else Exit.FAILED_CHECK)
