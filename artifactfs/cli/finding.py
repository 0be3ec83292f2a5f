"""``search``: versions by what their records say."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from artifactfs.cli.history import Moment
from artifactfs.cli.invocation import Invocation, command
from artifactfs.cli.output import dumps, note, say, say_table, size_text, struct_json, time_text
from artifactfs.cli.saving import metadata_of

if TYPE_CHECKING:
    from artifactfs.search.query import Hit

_SIZE = click.IntRange(min=0)


@command("search", scoped=False)
@click.argument("pattern", required=False)
@click.option("--mime-type", metavar="PATTERN", help="Of that type: image/*.")
@click.option("--since", type=Moment(), metavar="TIME", help="Saved then or later.")
@click.option("--until", type=Moment(), metavar="TIME", help="Saved before.")
@click.option("--min-size", type=_SIZE, metavar="BYTES", help="Of so many bytes or more.")
@click.option("--max-size", type=_SIZE, metavar="BYTES", help="Of so many bytes or fewer.")
@click.option("--metadata", metavar="KEY=VALUE|JSON", multiple=True, help="With that metadata. May be repeated.")
@click.option("--app", metavar="APP", help="Of that app.")
@click.option("--user", metavar="USER", help="Of that user.")
@click.option("--session", metavar="SESSION", help="Of that session.")
@click.option("--tag", metavar="TAG", help="That this tag names, whether newest or not.")
@click.option("--all-versions", is_flag=True, help="All versions, not only the newest of each artifact.")
@click.option("--limit", type=_SIZE, metavar="N", help="No more than so many.")
@click.option("--fresh", is_flag=True, help="Bring the inventory up to date first.")
def search(
    invocation: Invocation,
    pattern: str | None,
    metadata: tuple[str, ...],
    fresh: bool,
    since: datetime | None,
    until: datetime | None,
    **asked: Any,
) -> None:
    """Find versions by name, type, time, size, metadata or tag.

    PATTERN is of the whole name: * stands for any text, ? for one character. The inventory is asked, as of when it was
    last brought up to date; without one the whole store is read.
    """
    store = invocation.open(writes=fresh)
    hits = store.search(pattern, metadata=metadata_of(metadata), since=since, until=until, fresh=fresh, **asked)
    if invocation.json:
        found = [{"ref": _ref(hit), **struct_json(hit)} for hit in hits]
        say(dumps({"as_of": time_text(hits.as_of), "hint": _here(hits.hint), "hits": found}))
        return
    rows = [
        [_ref(hit), time_text(hit.timestamp), size_text(hit.size_bytes), hit.mime_type, " ".join(hit.tags)]
        for hit in hits
    ]
    say_table(rows, right=(2,))
    note(f"{len(rows)} found, as of {time_text(hits.as_of)}" + (hits.hint and f"; {_here(hits.hint)}"))


def _here(hint: str) -> str:
    """*hint* in words of the command line."""
    return hint.replace("store.inventory()", "artifactfs search --fresh")


def _ref(hit: Hit) -> str:
    from artifactfs.refs import Ref

    return str(Ref(hit.app, hit.user, hit.session, hit.name, hit.version, user_scope=hit.session is None))
