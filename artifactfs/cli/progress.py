"""A bar on standard error while something takes its time; nothing at all where that is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

LONG = 8 * 1024 * 1024
"""Bytes from which the transfer of a file is shown."""


@contextmanager
def unseen() -> Iterator[Callable[[float], None]]:
    """As `progress`, and nothing is shown."""
    yield lambda done: None


def progress_of_lines(label: str, total: int) -> AbstractContextManager[Callable[[float], None]]:
    """As `progress`, of files that a line each is printed for: at a terminal the lines are what shows how far it is."""
    return unseen() if sys.stdout.isatty() else progress(label, total, unit="files")


@contextmanager
def progress(label: str, total: float | None = None, *, unit: str = "bytes") -> Iterator[Callable[[float], None]]:
    """A bar of *total* (unknown: None) bytes or items; what is given takes how many of them are done by now.

    Without *unit* nothing is counted, and the bar only shows that something is going on.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            TextColumn,
            TransferSpeedColumn,
        )
    except ModuleNotFoundError:
        yield lambda done: None
        return
    from artifactfs.cli.output import plain

    amount: tuple[ProgressColumn, ...] = (MofNCompleteColumn(),) if unit else ()
    if unit == "bytes":
        amount = (DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *amount)
    # What is printed meanwhile goes where it belongs, and not through the bar.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task(plain(label), total=total)
        yield lambda done: bar.update(task, completed=done)
