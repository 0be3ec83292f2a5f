"""docs/cli.md as it has to be: what click's tree says of each command, in the page's form."""

from __future__ import annotations

from collections.abc import Iterator

import click

from artifactfs.cli.exits import Exit
from artifactfs.cli.root import root

COMMON = ("store_name", "scope", "json")

MEANINGS = {
    Exit.OK: "done",
    Exit.FAILED_CHECK: "a check failed: something is damaged, not complete or not configured rightly; or you said no",
    Exit.USAGE: "the command, a reference, a file that it names or the configuration is wrong; or it takes `--follow`",
    Exit.NOT_FOUND: "no such artifact or version is there",
    Exit.CONFLICT: "a compare-and-set found something else than was expected, or something is in the way",
    Exit.UNAVAILABLE: "the store does not answer, is not there, or cannot be written to safely",
    Exit.DENIED: "the store refused the permission, or a key is not to be had",
    Exit.LOCAL: "a file on this machine could not be read or written",
    Exit.INTERNAL: "a mistake in this program; please report it",
    Exit.INTERRUPTED: "interrupted by Ctrl-C",
    Exit.BROKEN_PIPE: "whoever read standard output stopped doing so; nothing is printed",
    Exit.TERMINATED: "ended by SIGTERM",
}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command by its path, without groups."""
    context = click.Context(root, info_name="artifactfs")
    for name in root.list_commands(context):
        found = root.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from ((f"{name} {inner}", command) for inner, command in found.commands.items())
        else:
            yield name, found


def table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|", *(f"| {first} | {second} |" for first, second in rows)]
    return "\n".join(lines)


def options(command: click.Command, *, common: bool) -> list[tuple[str, str]]:
    """The options of a command and what they are for."""
    rows = []
    for option in command.params:
        if isinstance(option, click.Option) and (option.name in COMMON) == common:
            value = "" if option.is_flag else f" {option.metavar}"
            spelled = ", ".join(f"`{text}{value}`" for text in option.opts).replace("|", "\\|")
            rows.append((spelled, (option.help or "").replace("|", "\\|")))
    return rows


def common() -> str:
    own = [row for row in options(root, common=False) if "--debug" in row[0] or "--version" in row[0]]
    rows = [*options(root, common=True), *own, ("`--help`", "Show what a command does.")]
    return table(("Option", "What it does"), rows)


def exits() -> str:
    return table(("Code", "Meaning"), [(str(int(code)), MEANINGS[code]) for code in Exit])


def section(path: str, command: click.Command) -> str:
    """The heading, usage, help and options of a command."""
    context = click.Context(command, info_name=f"artifactfs {path}")
    usage = " ".join(command.collect_usage_pieces(context))
    text = " ".join((command.help or "").split())
    parts = [f"### {path}", f"`artifactfs {path} {usage}`", text]
    if rows := options(command, common=False):
        parts.append(table(("Option", "What it does"), rows))
    return "\n\n".join(parts)
