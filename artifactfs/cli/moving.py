"""``migrate`` and ``import``: from one store to another, and from what other systems have stored."""

from __future__ import annotations

from typing import Any

import click

from artifactfs.cli.exits import Exit
from artifactfs.cli.invocation import Invocation, command, open_store, usage
from artifactfs.cli.output import dumps, plain, say, size_text, struct_json
from artifactfs.cli.progress import progress
from artifactfs.cli.saving import metadata_of

KINDS = ("solace", "solace-s3", "adk-file", "adk-gcs", "adk-go", "adk-s3", "amfs", "folder")
"""What can be imported, in the words of `artifactfs.importing.Kind`, which takes a store to import."""


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

    if invocation.store_name is not None:
        usage("migrate is told both stores as arguments: leave --store out.")
    first, second = open_store(source), open_store(destination, writes=True)
    with progress(f"copying {first.url}", None, unit="versions") as show:
        done = run(first, second, dry_run=dry_run, progress=lambda so_far: show(so_far.copied + so_far.already))
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


@command("import", scoped=False)
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("location")
@click.option("--app", metavar="APP", help="Of a folder, or where the source does not tell.")
@click.option("--user", metavar="USER", help="Of a folder.")
@click.option("--session", metavar="SESSION", help="Of a folder; else its files come into the user's scope.")
@click.option(
    "--option",
    "options",
    metavar="KEY=VALUE",
    multiple=True,
    help="What fsspec needs to open LOCATION. May be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
def import_(
    invocation: Invocation, kind: Any, location: str, options: tuple[str, ...], dry_run: bool, **given: Any
) -> None:
    """Bring in what another system has stored.

    The source stays as it is. LOCATION is a folder, or a URL of fsspec. A second run brings in only what is new. Ends
    with 1 where bytes of a version could not be brought.
    """
    from artifactfs.importing import import_artifacts

    if kind == "folder" and (given["app"] is None or given["user"] is None):
        usage("a folder tells neither app nor user: give --app and --user.")
    store = invocation.open(writes=not dry_run)
    with progress(f"importing {location}", None, unit="") as _:
        done = import_artifacts(
            kind, location, store, storage_options=metadata_of(options, "--option"), dry_run=dry_run, **given
        )
    if invocation.json:
        say(dumps({**struct_json(done), "complete": done.complete}))
    else:
        would = "would be " if dry_run else ""
        say(f"{done.versions} versions {would}brought in ({size_text(done.size_bytes)}), {done.already} there before")
        for one in done.notes:
            say(plain(f"{'lost' if one.lost else 'note'}: {one.source}: {one.what}: {one.why}"))
    if not done.complete:
        click.get_current_context().exit(Exit.FAILED_CHECK)
