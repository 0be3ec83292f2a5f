"""Asking before something is deleted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from artifactfs.cli.exits import Exit
from artifactfs.cli.output import one_line

F = TypeVar("F", bound=Callable[..., Any])


class Failed(click.ClickException):
    """What was asked for, or looked for, is not so; says why."""

    exit_code = Exit.FAILED_CHECK


def dry_run_option(what: F) -> F:
    return click.option("--dry-run", is_flag=True, help="Only tell what would be done.")(what)


def yes_option(what: F) -> F:
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(what)


def confirm(what: str, yes: bool) -> None:
    """Go on only if a person says so, or *yes* was given.

    Raises:
        click.ClickException: nobody is there to ask, or the answer is no.
    """
    if yes:
        return
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(
            f"{what} has to be confirmed, and no terminal is there to ask at: add --yes, or --dry-run."
        )
    if not click.confirm(one_line(f"{what}. Go on?"), err=True):
        raise Failed("nothing was done")
