"""``stat`` and ``log``: what is known of one version, and of all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from artifactfs.cli.invocation import REF, Invocation, command
from artifactfs.cli.output import dumps, plain, record_json, record_row, say, say_array, say_table
from artifactfs.errors import ArtifactNotFound

if TYPE_CHECKING:
    from artifactfs.records import Record
    from artifactfs.store import Scope


@command("stat")
@click.argument("ref", type=REF)
def stat(invocation: Invocation, ref: str) -> None:
    """Tell what is known of a version."""
    where = invocation.artifact(ref)
    assert where.name is not None
    scope = invocation.scope_of(where)
    record = scope.stat(where.name, where.version)
    say_record(invocation, record_json(record, where, tags_of(scope, where.name).get(record.version, [])))


def say_record(invocation: Invocation, told: dict[str, Any]) -> None:
    """One version: as JSON, or a line for each fact."""
    if invocation.json:
        say(dumps(told))
        return
    for name, value in told.items():
        if value in (None, {}, []):
            continue
        say(f"{name + ':':<14}{plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}")


@command("log")
@click.argument("ref", type=REF)
def log(invocation: Invocation, ref: str) -> None:
    """List all versions of an artifact, the newest first."""
    where = invocation.without_version(ref, "log")
    assert where.name is not None
    scope = invocation.scope_of(where)
    records = _history(scope, where.name)
    tags = tags_of(scope, where.name)
    if invocation.json:
        say_array(record_json(record, where, tags.get(record.version, [])) for record in records)
    else:
        say_table((record_row(record, tags.get(record.version, [])) for record in records), right=(0, 2))


def _history(scope: Scope, name: str) -> Iterator[Record]:
    none = True
    for record in scope.history(name):
        none = False
        yield record
    if none:
        raise ArtifactNotFound(f"there is no artifact {scope.id.label}/{name}")


def tags_of(scope: Scope, name: str) -> dict[int, list[str]]:
    """The tags of an artifact by the number that they are at."""
    found: dict[int, list[str]] = {}
    for tag, number in scope.tags(name).items():
        found.setdefault(number, []).append(tag)
    return found
