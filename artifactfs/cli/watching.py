"""``watch``: what is saved, removed and deleted, as it happens."""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from artifactfs.cli.fetching import whole
from artifactfs.cli.invocation import REF, Invocation, command
from artifactfs.cli.output import dumps, plain, record_json, say, size_text, time_text
from artifactfs.cli.upkeep import target

if TYPE_CHECKING:
    from artifactfs.refs import Ref
    from artifactfs.watch.events import Event


@command("watch")
@click.argument("ref", type=REF, default="")
@click.option("--from-start", is_flag=True, help="Begin with what is there already.")
@click.option("--state", metavar="FILE", help="Note in this file what was told, and go on behind it the next time.")
@click.option(
    "--every",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks, where the system tells of no changes.",
)
def watch(invocation: Invocation, ref: str, from_start: bool, state: str | None, every: float) -> None:
    """Tell of every new version and every deletion, as they happen.

    In a session, or in the whole store, one line each, until it is interrupted. With --json one object a line.
    """
    import logging

    logging.basicConfig(format="artifactfs: %(message)s")
    known = None
    if state is not None and os.path.exists(state):
        known = Path(state).read_text(encoding="utf-8")
    place = target(invocation, invocation.ref(ref), writes=False)
    with place.watch(since=known or ("start" if from_start else None), every=every) as events:
        gone = _when_nobody_reads(events.close)
        _note(state, events.token)
        for event in events:
            _tell(invocation, event)
            _note(state, events.token)
    if gone.is_set():
        raise BrokenPipeError


def _when_nobody_reads(then: Callable[[], None]) -> threading.Event:
    """Call *then* when whoever reads standard output through a pipe stops: the next event, which would tell, may never come.

    The answer is set before that.
    """
    gone = threading.Event()
    try:
        output = sys.stdout.fileno()
        is_pipe = stat.S_ISFIFO(os.fstat(output).st_mode)
    except (OSError, ValueError):  # it is no file
        is_pipe = False
    if is_pipe:
        poll = select.poll()
        poll.register(output, 0)  # that the other end was closed is told all the same

        def wait() -> None:
            poll.poll()
            gone.set()
            then()

        threading.Thread(target=wait, daemon=True).start()
    return gone


def _note(state: str | None, token: str | None) -> None:
    if state is not None and token is not None:
        with whole(Path(state)) as file:
            file.write(token.encode())


def _tell(invocation: Invocation, event: Event) -> None:
    from artifactfs.refs import Ref

    ref = Ref(event.app, event.user, event.session, event.name, event.version, user_scope=event.session is None)
    if invocation.json:
        say(dumps(_json(event, ref), indent=None))
        return
    size = "" if event.record is None or event.kind != "published" else f"  {size_text(event.record.size_bytes)}"
    say(plain(f"{'-' if event.at is None else time_text(event.at)}  {event.kind:<9}  {ref}{size}"))


def _json(event: Event, ref: Ref) -> dict[str, Any]:
    told: dict[str, Any] = {
        "event": event.kind,
        "at": None if event.at is None else time_text(event.at),
        "ref": str(ref),
    }
    return told if event.record is None else {**told, "record": record_json(event.record, ref)}
