"""What a shell offers for a reference that is half written: never an error, and never a long wait."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from artifactfs.cli.invocation import Invocation
    from artifactfs.cli.listing import Entry

PATIENCE = 2.0
"""Seconds after which what was found by then is offered."""

MOST = 200
"""Offers at most."""


def refs(invocation: Invocation, incomplete: str) -> list[CompletionItem]:
    """The artifacts, and the folders on the way to them, that *incomplete* may become."""
    return _patiently(lambda: _below(invocation, incomplete))


def scopes(invocation: Invocation, incomplete: str) -> list[CompletionItem]:
    """The apps, users and sessions that *incomplete* may become."""

    def found() -> Iterator[CompletionItem]:
        invocation.scope = ""
        for item in _below(invocation, incomplete):
            path = item.value.removeprefix("artifact://").rstrip("/")
            if path.count("/") < 3:
                yield CompletionItem(path + "/" * (path.count("/") < 2), type=item.type)

    return _patiently(found)


def _below(invocation: Invocation, incomplete: str) -> Iterator[CompletionItem]:
    from artifactfs.cli.listing import directly_in

    folder, slash, begun = incomplete.rpartition("/")
    if incomplete.startswith("artifact:/") and not incomplete.startswith("artifact://"):
        return
    if folder == "artifact:/":
        folder, slash = "artifact://", ""
    name, at, _ = begun.rpartition("@")
    if at and name:
        for item in _selectors(invocation, f"{folder}{slash}{name}"):
            if item.value.startswith(incomplete):
                yield item
    for entry in directly_in(invocation, invocation.ref(folder), records=False):
        if entry.shown.startswith(begun) and not _is_itself(entry, begun):
            yield CompletionItem(f"{folder}{slash}{entry.shown}")


def _is_itself(entry: Entry, begun: str) -> bool:
    """Whether an artifact was listed where a folder was asked for."""
    return entry.record is not None and not begun


def _selectors(invocation: Invocation, text: str) -> Iterator[CompletionItem]:
    ref = invocation.artifact(text)
    assert ref.name is not None
    scope = invocation.scope_of(ref)
    for tag in scope.tags(ref.name):
        yield CompletionItem(f"{text}@{tag}")
    for number in reversed(scope.versions(ref.name)):
        yield CompletionItem(f"{text}@{number}")


def _patiently(find: Callable[[], Iterator[CompletionItem]]) -> list[CompletionItem]:
    found: list[CompletionItem] = []

    def gather() -> None:
        with contextlib.suppress(Exception):
            for item in islice(find(), MOST):
                found.append(item)  # noqa: PERF402  (what came so far is read meanwhile)

    thread = threading.Thread(target=gather, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return list(found)
