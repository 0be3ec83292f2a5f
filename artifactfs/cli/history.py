"""``diff``, ``restore`` and ``undo``: what was, held against what is, and brought back."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import click

from artifactfs.cli.asking import confirm, dry_run_option, yes_option
from artifactfs.cli.exits import Exit
from artifactfs.cli.invocation import REF, Invocation, command, usage
from artifactfs.cli.output import dumps, plain_line, say, struct_json
from artifactfs.cli.saving import Expect, say_version

if TYPE_CHECKING:
    from artifactfs.diff import Side
    from artifactfs.operations.undo import Undo

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@command("diff")
@click.argument("ref", type=REF)
@click.argument("other", type=REF, required=False)
def diff(invocation: Invocation, ref: str, other: str | None) -> None:
    """Tell what differs between two versions.

    They may be of two artifacts. Without OTHER, the newest version of the same one is held against REF. Of texts a unified
    diff is shown, of tables rows and columns, of all what their records tell.
    """
    from artifactfs.diff import compare

    before = _side(invocation, ref)
    if other is None:
        where = invocation.artifact(ref)
        assert where.name is not None
        if where.selector is None:
            usage("say what to compare: REF@N, or two references.")
        found = compare(before, invocation.scope_of(where).side(where.name))
    else:
        found = compare(before, _side(invocation, other))
    if invocation.json:
        say(dumps(struct_json(found)))
        return
    for line in str(found).removesuffix("\n").split("\n"):
        say(click.style(plain_line(line), fg=_COLOURS.get(line[:1])))


def _side(invocation: Invocation, text: str) -> Side:
    where = invocation.artifact(text)
    assert where.name is not None
    return invocation.scope_of(where).side(where.name, where.version)


@command("restore")
@click.argument("ref", type=REF)
@click.option(
    "--expect",
    type=Expect(),
    metavar="N|absent",
    help="Restore only if the newest version is this one, or there is none.",
)
def restore(invocation: Invocation, ref: str, expect: int | Literal["absent"] | None) -> None:
    """Make an old version the newest again, or bring back what was removed.

    The version of REF becomes a new one, and those in between stay. Without a version an artifact that was removed comes
    back as it was before.
    """
    where = invocation.artifact(ref)
    assert where.name is not None
    record = invocation.scope_of(where, writes=True).restore(where.name, where.version, expect=expect)
    say_version(invocation, record, where)


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 alone
    """A time as references have it."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from artifactfs.errors import ArtifactError
        from artifactfs.refs import Ref

        try:
            found = Ref.parse(f"a/u/s/n@{value}").selector
        except ArtifactError:
            found = None
        if not isinstance(found, datetime):
            self.fail(f"{value!r} is no time: write it whole, with its zone, as 2026-11-20T19:03:17Z", param, ctx)
        return found


@command("undo")
@click.argument("ref", type=REF, default="")
@click.option("--at", type=Moment(), metavar="TIME", required=True, help="How it was then: 2026-11-20T19:03:17Z.")
@dry_run_option
@yes_option
def undo(invocation: Invocation, ref: str, at: datetime, dry_run: bool, yes: bool) -> None:
    """Take a whole session back to how it was at a time.

    What was changed or removed since comes back as a new version, what came into being since is removed. Nothing is
    overwritten. What somebody saves meanwhile is left alone, and told of.
    """
    where = invocation.ref(ref)
    if where.name is not None or where.selector is not None or not (where.session or where.user_scope):
        usage("undo takes a whole session back: write app/user/session (of one artifact a version can be restored).")
    scope = invocation.scope_of(where, writes=not dry_run)
    plan = scope.restore_all(at=at, dry_run=True)
    if not dry_run and plan.steps:
        if not yes and not invocation.json:
            _tell(invocation, plan)
        confirm(f"changing {len(plan.steps)} artifacts of {plan.scope}", yes)
        plan = scope.restore_all(plan=plan)
    _tell(invocation, plan)
    if not dry_run and not plan.complete:
        busy = any(step.outcome in ("changed", "busy") for step in plan.steps)
        click.get_current_context().exit(Exit.CONFLICT if busy else Exit.FAILED_CHECK)


def _tell(invocation: Invocation, plan: Undo) -> None:
    if invocation.json:
        say(dumps({**struct_json(plan), "complete": plan.complete}))
        return
    for line in str(plan).split("\n"):
        say(plain_line(line))
