"""``doctor``: whether the store can be used as it is configured, and what would hurt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from artifactfs.cli.exits import Exit
from artifactfs.cli.invocation import Invocation, command, configured
from artifactfs.cli.output import dumps, one_line, plain, say, struct_json
from artifactfs.errors import ArtifactError

if TYPE_CHECKING:
    from artifactfs.doctor import Diagnosis

MARKS = {"ok": "ok", "note": "note", "warning": "WARNING", "failed": "FAILED", "skipped": "skipped"}


@command("doctor", scoped=False)
@click.option("--read-only", is_flag=True, help="Look only at what reading needs, and write nothing.")
def doctor(invocation: Invocation, read_only: bool) -> None:
    """Tell whether the store can be used, and what would hurt.

    The configuration, the connection, each permission by its name, what creates guarantee, the clocks, the time of a small
    read, keys, and settings of the bucket or disk are looked at. Small objects are written and removed again. Ends with 1
    where something does not work; warnings and notes end with 0.
    """
    found = _diagnosed(invocation, read_only)
    if invocation.json:
        say(dumps(struct_json(found)))
    else:
        _tell(found)
    if found.verdict == "failed":
        click.get_current_context().exit(Exit.FAILED_CHECK)


def _diagnosed(invocation: Invocation, read_only: bool) -> Diagnosis:
    from artifactfs.doctor import diagnose, misconfigured

    try:
        config = configured(invocation.store_name)
    except ArtifactError as error:
        return misconfigured(error)
    return diagnose(config.url, **{**config.options, **({"read_only": True} if read_only else {})})


def _tell(found: Diagnosis) -> None:
    width = max(len(check.name) for check in found.checks)
    for check in found.checks:
        say(f"{MARKS[check.state]:<8}  {check.name:<{width}}  {one_line(check.says)}")
        if check.do:
            say(f"{'':<8}  {'':<{width}}  to do: {one_line(check.do)}")
    say()
    say(plain(found.summary))
